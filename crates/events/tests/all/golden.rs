//! The bytes of every event, once for ever: what was written must be read, and read the same.
//!
//! Each event of the catalogue is filled by rule (every field, from the descriptors), put into an envelope
//! and compared with `tests/golden/events.txt`. `MILLRACE_REGENERATE=1` adds lines for new events and for
//! added fields; a line that changed otherwise is a broken contract.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use millrace_decider::{Cause, Timestamp};
use millrace_events::{Envelope, Event, Key, v1};
use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value,
};

fn golden_file() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/events.txt")
}

fn pool() -> DescriptorPool {
    DescriptorPool::decode(millrace_events::descriptors()).unwrap()
}

/// A message with every field set, by rule: texts are the field's name, numbers its number, one element
/// per list and map, enums their second value.
fn filled(descriptor: &MessageDescriptor, depth: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        // Of a oneof the first member is taken.
        let first =
            field.containing_oneof().is_none_or(|one| one.fields().next().is_some_and(|f| f == field));
        if first && depth < 5 {
            message.set_field(&field, value(&field, depth));
        }
    }
    message
}

fn value(field: &FieldDescriptor, depth: usize) -> Value {
    if field.is_map() {
        let key = MapKey::String(format!("{}-key", field.name()));
        return Value::Map([(key, Value::String(format!("{}-value", field.name())))].into());
    }
    let one = single(field, depth);
    if field.is_list() { Value::List(vec![one]) } else { one }
}

fn single(field: &FieldDescriptor, depth: usize) -> Value {
    let number = field.number();
    match field.kind() {
        Kind::String => Value::String(field.name().to_owned()),
        Kind::Bytes => Value::Bytes(field.name().as_bytes().to_vec().into()),
        Kind::Bool => Value::Bool(true),
        Kind::Uint32 => Value::U32(number),
        Kind::Uint64 => Value::U64(u64::from(number) * 1_000_000_007),
        Kind::Int32 => Value::I32(-i32::try_from(number).unwrap()),
        Kind::Int64 => Value::I64(i64::from(number) * 1_000_000_007),
        Kind::Enum(kind) => Value::EnumNumber(kind.values().nth(1).unwrap().number()),
        Kind::Message(message) => Value::Message(filled(&message, depth + 1)),
        other => panic!("{}: {other:?} is not filled by any rule", field.full_name()),
    }
}

fn envelope(log: millrace_events::Log, name: &str) -> Envelope {
    let descriptor = pool().get_message_by_name(&format!("millrace.events.v1.{name}")).unwrap();
    let event = Event::decode(log, name, &filled(&descriptor, 0).encode_to_vec()).unwrap().unwrap();
    let time = Timestamp::from_micros(1_790_000_000_123_456);
    let mut envelope = Envelope::new("id-1", "/millrace/test", Key::new("VTID-01213").unwrap(), time, &event);
    envelope.cause = Some(Cause::new("MILLRACE_INTAKE_0", 7));
    envelope.run = 2;
    envelope.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned();
    envelope
}

#[test]
fn every_event_has_the_bytes_it_always_had() {
    let mut made = String::new();
    for (log, name) in Event::CATALOGUE {
        let bytes = envelope(*log, name).encode();
        writeln!(made, "{} {}", envelope(*log, name).event_type, hex::encode(bytes)).unwrap();
    }
    let file = golden_file();
    if std::env::var_os("MILLRACE_REGENERATE").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, &made).unwrap();
    }
    let golden = std::fs::read_to_string(&file).unwrap();
    for (made, golden) in made.lines().zip(golden.lines()) {
        assert_eq!(made, golden);
    }
    assert_eq!(made.lines().count(), golden.lines().count(), "an event was added or removed");
}

#[test]
fn what_was_written_is_read_and_is_the_same_again() {
    for line in std::fs::read_to_string(golden_file()).unwrap().lines() {
        let (event_type, bytes) = line.split_once(' ').unwrap();
        let bytes = hex::decode(bytes).unwrap();
        let envelope = Envelope::decode(&bytes).unwrap();
        assert_eq!(envelope.event_type, event_type);
        let event = envelope.event().unwrap().unwrap();
        assert_eq!(event.type_name(), event_type);
        assert_eq!(
            event.encode(),
            envelope.data,
            "{event_type}: a field is lost between reading and writing"
        );
        assert_eq!(envelope.encode(), bytes, "{event_type}: the envelope is not stable");
        let json = envelope.to_json();
        assert_eq!(json["type"], event_type);
        assert!(json["data"].as_object().is_some_and(|data| !data.is_empty()), "{event_type}: no JSON");
    }
}

#[test]
fn s0_1_h_every_event_type_has_a_message_and_unknown_ones_are_kept_apart() {
    let pool = pool();
    for (log, name) in Event::CATALOGUE {
        assert!(pool.get_message_by_name(&format!("millrace.events.v1.{name}")).is_some(), "{name}");
        assert!(Event::empty(*log, name).is_some());
    }
    let mut unknown = envelope(millrace_events::Log::Worker, "ModelCalled");
    for event_type in ["millrace.worker.v2.ModelCalled", "millrace.worker.v1.Dreamt", "com.example.v1.Other"]
    {
        unknown.event_type = event_type.to_owned();
        let read = Envelope::decode(&unknown.encode()).unwrap();
        assert_eq!(read.event().unwrap(), None, "{event_type}");
    }
    unknown.event_type = "millrace.worker.v1.ModelCalled".to_owned();
    unknown.data = vec![0xff, 0xff, 0xff];
    assert!(unknown.event().is_err());
}

#[test]
fn a_map_is_written_in_the_order_of_its_keys() {
    let failure = |order: &[&str]| {
        let mut failure = v1::Failure::new(millrace_events::Code::Internal, "x");
        failure.context =
            order.iter().map(|key| ((*key).to_owned(), "v".to_owned())).collect::<BTreeMap<_, _>>();
        failure.encode_to_vec()
    };
    assert_eq!(failure(&["a", "b", "c"]), failure(&["c", "b", "a"]));
}

#[test]
fn producers_may_write_json_and_are_told_what_does_not_fit() {
    let log = millrace_events::Log::Intake;
    let now = Timestamp::from_millis(0);
    let good = serde_json::json!({
        "specversion": "1.0", "id": "1", "source": "/ci", "type": "millrace.intake.v1.TaskRequested",
        "subject": "req-1", "cause": "MILLRACE_WORKER_0:1", "data": {"task": "VTID-01213", "repository": "shop"},
    });
    let envelope = Envelope::from_producer_json(log, &good, now).unwrap();
    assert_eq!(envelope.cause, None, "a cause from outside is ignored");
    let Some(Event::Intake(millrace_events::IntakeEvent::TaskRequested(event))) = envelope.event().unwrap()
    else {
        panic!()
    };
    assert_eq!(event.task, "VTID-01213");
    for (field, value, expected) in [
        ("type", serde_json::json!("millrace.worker.v1.ModelCalled"), "TaskRequested"),
        ("subject", serde_json::json!("a.b"), "letters"),
        ("data", serde_json::json!({"tusk": "x"}), "tusk"),
        ("specversion", serde_json::json!("0.3"), "1.0"),
        ("time", serde_json::json!("yesterday"), "RFC 3339"),
    ] {
        let mut bad = good.clone();
        bad[field] = value;
        let error = Envelope::from_producer_json(log, &bad, now).unwrap_err();
        assert_eq!(error.field, field);
        assert!(error.problem.contains(expected), "{error}");
    }
}

/// A producer's message in binary mode: attributes in `ce-` headers, exact in case.
#[test]
fn producers_may_write_the_binary_mode() {
    use millrace_events::{Log, read_message};
    let event =
        v1::TaskRequested { task: "VTID-01213".into(), repository: "shop".into(), ..Default::default() };
    let headers = |content_type: &'static str| {
        move |name: &str| match name {
            "ce-specversion" => Some("1.0"),
            "ce-id" => Some("1"),
            "ce-source" => Some("/ci"),
            "ce-type" => Some("millrace.intake.v1.TaskRequested"),
            "ce-subject" => Some("req-1"),
            "ce-cause" => Some("MILLRACE_WORKER_0:1"),
            "Content-Type" => Some(content_type),
            _ => None,
        }
    };
    let now = Timestamp::from_millis(5);
    let json = br#"{"task": "VTID-01213", "repository": "shop"}"#;
    for (content_type, payload) in
        [("application/json; charset=utf-8", json.to_vec()), ("application/protobuf", event.encode_to_vec())]
    {
        let envelope = read_message(Log::Intake, headers(content_type), &payload, now).unwrap();
        assert_eq!((envelope.cause.as_ref(), envelope.time), (None, now));
        assert_eq!(envelope.event().unwrap(), Some(event.clone().into()));
    }
    let error = read_message(Log::Intake, headers("text/plain"), json, now).unwrap_err();
    assert!(error.to_string().contains("text/plain"), "{error}");
    // The services' own logs know one form only.
    assert!(read_message(Log::Worker, headers("application/json"), json, now).is_err());
}
