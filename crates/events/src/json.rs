//! Events as proto3 JSON, through the compiled descriptors.

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

use crate::generated::DESCRIPTORS;

static POOL: LazyLock<Option<DescriptorPool>> = LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).ok());

/// The encoded `FileDescriptorSet` of all events.
pub fn descriptors() -> &'static [u8] {
    DESCRIPTORS
}

/// The message `name` (full, such as `millrace.events.v1.TaskScheduled`) as proto3 JSON with the field
/// names of the proto files. `None` when the name is not known or the bytes are not that message.
pub fn message_to_json(name: &str, data: &[u8]) -> Option<serde_json::Value> {
    let descriptor = POOL.as_ref()?.get_message_by_name(name)?;
    let message = DynamicMessage::decode(descriptor, data).ok()?;
    let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false);
    message.serialize_with_options(serde_json::value::Serializer, &options).ok()
}

/// The message `name` from proto3 JSON, encoded. The error says where the JSON does not fit.
pub(crate) fn message_from_json(name: &str, value: serde_json::Value) -> Result<Vec<u8>, String> {
    use prost_reflect::prost::Message as _;
    let descriptor = POOL
        .as_ref()
        .and_then(|pool| pool.get_message_by_name(name))
        .ok_or_else(|| format!("there is no message {name}"))?;
    let options = prost_reflect::DeserializeOptions::new().deny_unknown_fields(true);
    let message = DynamicMessage::deserialize_with_options(descriptor, value, &options)
        .map_err(|error| error.to_string())?;
    Ok(message.encode_to_vec())
}
