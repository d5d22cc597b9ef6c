//! Messages of `millrace.v1` as JSON, through the compiled descriptors.

use std::sync::LazyLock;

use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

use crate::generated::DESCRIPTORS;

static POOL: LazyLock<Option<DescriptorPool>> = LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).ok());

/// A message as proto3 JSON with the field names of the proto files, 64-bit numbers as numbers, and every
/// field present, so that a script need not know which are empty. `null` for a message of another package.
pub fn to_json<M: Message + Name>(message: &M) -> serde_json::Value {
    try_to_json(message).unwrap_or_default()
}

fn try_to_json<M: Message + Name>(message: &M) -> Option<serde_json::Value> {
    let descriptor = POOL.as_ref()?.get_message_by_name(&M::full_name())?;
    let message = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).ok()?;
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false)
        .skip_default_fields(false);
    message.serialize_with_options(serde_json::value::Serializer, &options).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::v1;

    #[test]
    fn numbers_are_numbers_and_empty_fields_are_there() {
        let position = v1::Position { stream: "MILLRACE_WORKER_0".to_owned(), sequence: 1 << 40 };
        let json = to_json(&v1::Published { position: Some(position), ..v1::Published::default() });
        assert_eq!(json["position"]["sequence"], 1_u64 << 40);
        assert_eq!(json["duplicate"], false);
        assert_eq!(json["key"], "");
    }
}
