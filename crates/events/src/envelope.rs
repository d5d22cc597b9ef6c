//! The envelope: CloudEvents 1.0, structured mode, protobuf format; JSON where people and other programs
//! write. DESIGN section 3.

use std::collections::BTreeMap;

use millrace_decider::{Cause, Timestamp};
use prost::Message as _;
use serde_json::{Map, Value, json};

use crate::event::{Event, message_name, parse_type, type_name, type_url};
use crate::generated::cloudevents::{
    CloudEvent,
    cloud_event::{CloudEventAttributeValue, Data, cloud_event_attribute_value::Attr},
};
use crate::generated::v1;
use crate::json::{message_from_json, message_to_json};
use crate::{Key, Log, Service};

/// Content type of the protobuf format.
pub const CONTENT_TYPE_PROTOBUF: &str = "application/cloudevents+protobuf";
/// Content type of the JSON format.
pub const CONTENT_TYPE_JSON: &str = "application/cloudevents+json";
const SPEC_VERSION: &str = "1.0";
const TIMER_FIRED: &str = "TimerFired";

/// An event in its envelope.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// Names the event; see [`crate::event_id`].
    pub id: String,
    /// Who wrote it, such as `/millrace/dispatcher`.
    pub source: String,
    /// The CloudEvents type, such as `millrace.dispatcher.v1.TaskScheduled`.
    pub event_type: String,
    /// What it is about; equal to the last token of its subject.
    pub key: Key,
    /// When it was decided.
    pub time: Timestamp,
    /// The log message that led to it. Never taken over from outside.
    pub cause: Option<Cause>,
    /// The run of the task; 0 when it concerns none.
    pub run: u32,
    /// W3C trace context of the span that wrote it; empty when not traced.
    pub traceparent: String,
    /// W3C trace state.
    pub tracestate: String,
    /// The encoded message.
    pub data: Vec<u8>,
}

/// Bytes that are no envelope of ours.
#[derive(Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Not the protobuf format of CloudEvents, or not the message that its type names.
    #[error("the bytes are no {what}: {source}")]
    Malformed {
        /// What was expected.
        what: String,
        /// What the decoder says.
        source: prost::DecodeError,
    },
    /// A required attribute is missing or unusable.
    #[error("attribute `{name}`: {problem}")]
    Attribute {
        /// The attribute.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

/// JSON that is no event that a producer may send.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct JsonEventError {
    /// The attribute or `data`.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

impl Envelope {
    /// Wraps `event`. Trace context and cause are set by the caller.
    pub fn new(
        id: impl Into<String>,
        source: impl Into<String>,
        key: Key,
        time: Timestamp,
        event: &Event,
    ) -> Self {
        Self {
            id: id.into(),
            source: source.into(),
            event_type: event.type_name(),
            key,
            time,
            cause: None,
            run: 0,
            traceparent: String::new(),
            tracestate: String::new(),
            data: event.encode(),
        }
    }

    /// Wraps a deadline of `service` that will come back when it fires.
    pub fn timer(
        service: Service,
        id: impl Into<String>,
        key: Key,
        time: Timestamp,
        timer: &v1::TimerFired,
    ) -> Self {
        Self {
            id: id.into(),
            source: service.source(),
            event_type: format!("{}.{}.v1.{TIMER_FIRED}", crate::catalogue::NAMESPACE, service.name()),
            key,
            time,
            cause: None,
            run: timer.task.as_ref().map_or(0, |task| task.run),
            traceparent: String::new(),
            tracestate: String::new(),
            data: timer.encode_to_vec(),
        }
    }

    /// The event's own name, such as `TaskScheduled`; the whole type when it is of another make.
    pub fn name(&self) -> &str {
        self.event_type.rsplit_once('.').map_or(self.event_type.as_str(), |(_, name)| name)
    }

    /// The event. `Ok(None)`: a type or version that this one does not know, to be kept and skipped.
    pub fn event(&self) -> Result<Option<Event>, EnvelopeError> {
        let Some((log, name)) = parse_type(&self.event_type) else { return Ok(None) };
        Event::decode(log, name, &self.data)
            .map_err(|source| EnvelopeError::Malformed { what: self.event_type.clone(), source })
    }

    /// The deadline in it; `None` when it is something else.
    pub fn fired_timer(&self) -> Result<Option<v1::TimerFired>, EnvelopeError> {
        if self.name() != TIMER_FIRED {
            return Ok(None);
        }
        v1::TimerFired::decode(self.data.as_slice())
            .map(Some)
            .map_err(|source| EnvelopeError::Malformed { what: self.event_type.clone(), source })
    }

    /// The bytes of the protobuf format. The same envelope always has the same bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut attributes = BTreeMap::new();
        let mut set = |name: &str, attr: Attr| {
            attributes.insert(name.to_owned(), CloudEventAttributeValue { attr: Some(attr) });
        };
        set("subject", Attr::CeString(self.key.to_string()));
        set("time", Attr::CeTimestamp(to_wire_time(self.time)));
        if let Some(cause) = &self.cause {
            set("cause", Attr::CeString(cause.to_string()));
        }
        if self.run > 0 {
            set("run", Attr::CeInteger(i32::try_from(self.run).unwrap_or(i32::MAX)));
        }
        if !self.traceparent.is_empty() {
            set("traceparent", Attr::CeString(self.traceparent.clone()));
        }
        if !self.tracestate.is_empty() {
            set("tracestate", Attr::CeString(self.tracestate.clone()));
        }
        let data = prost_types::Any { type_url: type_url(self.name()), value: self.data.clone() };
        CloudEvent {
            id: self.id.clone(),
            source: self.source.clone(),
            spec_version: SPEC_VERSION.to_owned(),
            r#type: self.event_type.clone(),
            attributes,
            data: Some(Data::ProtoData(data)),
        }
        .encode_to_vec()
    }

    /// Reads the protobuf format.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let event = CloudEvent::decode(bytes)
            .map_err(|source| EnvelopeError::Malformed { what: "CloudEvent".to_owned(), source })?;
        let attribute = |name: &'static str, problem: &str| EnvelopeError::Attribute {
            name,
            problem: problem.to_owned(),
        };
        if event.spec_version != SPEC_VERSION {
            return Err(attribute("specversion", "only 1.0 is understood"));
        }
        if event.id.is_empty() {
            return Err(attribute("id", "is empty"));
        }
        let text = |name: &str| match event.attributes.get(name).and_then(|value| value.attr.as_ref()) {
            Some(Attr::CeString(text)) => Some(text.clone()),
            _ => None,
        };
        let key = text("subject").ok_or_else(|| attribute("subject", "is missing"))?;
        let key = Key::new(key).map_err(|error| attribute("subject", &error.to_string()))?;
        let time = match event.attributes.get("time").and_then(|value| value.attr.as_ref()) {
            Some(Attr::CeTimestamp(time)) => from_wire_time(time),
            Some(Attr::CeString(text)) => {
                Timestamp::parse(text).ok_or_else(|| attribute("time", "is no RFC 3339 time"))?
            }
            _ => return Err(attribute("time", "is missing")),
        };
        let cause = match text("cause") {
            Some(text) => {
                Some(Cause::parse(&text).ok_or_else(|| attribute("cause", "is no <stream>:<sequence>"))?)
            }
            None => None,
        };
        let run = match event.attributes.get("run").and_then(|value| value.attr.as_ref()) {
            Some(Attr::CeInteger(run)) => u32::try_from(*run).unwrap_or(0),
            _ => 0,
        };
        let data = match event.data.as_ref() {
            Some(Data::ProtoData(any)) => any.value.clone(),
            Some(Data::BinaryData(bytes)) => bytes.clone(),
            Some(Data::TextData(_)) => {
                return Err(attribute("data", "is text; a protobuf message is expected"));
            }
            None => Vec::new(),
        };
        Ok(Self {
            key,
            time,
            cause,
            run,
            traceparent: text("traceparent").unwrap_or_default(),
            tracestate: text("tracestate").unwrap_or_default(),
            data,
            id: event.id,
            source: event.source,
            event_type: event.r#type,
        })
    }

    /// The JSON format, data as proto3 JSON. Data of a type that this version does not know is left out.
    pub fn to_json(&self) -> Value {
        let mut event = Map::new();
        let mut set = |name: &str, value: Value| {
            event.insert(name.to_owned(), value);
        };
        set("specversion", json!(SPEC_VERSION));
        set("id", json!(self.id));
        set("source", json!(self.source));
        set("type", json!(self.event_type));
        set("subject", json!(self.key.as_str()));
        set("time", json!(self.time.to_string()));
        if let Some(cause) = &self.cause {
            set("cause", json!(cause.to_string()));
        }
        if self.run > 0 {
            set("run", json!(self.run));
        }
        if !self.traceparent.is_empty() {
            set("traceparent", json!(self.traceparent));
        }
        if !self.tracestate.is_empty() {
            set("tracestate", json!(self.tracestate));
        }
        if let Some(data) = message_to_json(&message_name(self.name()), &self.data) {
            set("data", data);
        }
        Value::Object(event)
    }

    /// Reads the JSON format as a producer may send it to `log` (`intake` or `operator`): a known type of
    /// that log, data as proto3 JSON. `cause` is ignored; a missing `time` is `now`.
    pub fn from_producer_json(log: Log, value: &Value, now: Timestamp) -> Result<Self, JsonEventError> {
        let refuse = |field: &str, problem: String| JsonEventError { field: field.to_owned(), problem };
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let required = |name: &str| {
            text(name).filter(|text| !text.is_empty()).ok_or_else(|| refuse(name, "is missing".to_owned()))
        };
        if required("specversion")? != SPEC_VERSION {
            return Err(refuse("specversion", "only 1.0 is understood".to_owned()));
        }
        let event_type = required("type")?;
        let name = parse_type(event_type)
            .filter(|(found, name)| *found == log && Event::CATALOGUE.contains(&(log, name)))
            .map(|(_, name)| name)
            .ok_or_else(|| {
                let known: Vec<String> = Event::CATALOGUE
                    .iter()
                    .filter(|(of, _)| *of == log)
                    .map(|(of, name)| type_name(*of, name))
                    .collect();
                refuse(
                    "type",
                    format!(
                        "`{event_type}` is no event of the log `{}`; it has {}",
                        log.name(),
                        known.join(", ")
                    ),
                )
            })?;
        let key = Key::new(required("subject")?).map_err(|error| refuse("subject", error.to_string()))?;
        let time = match text("time") {
            Some(text) => Timestamp::parse(text)
                .ok_or_else(|| refuse("time", format!("`{text}` is no RFC 3339 time")))?,
            None => now,
        };
        let data = value.get("data").cloned().unwrap_or_else(|| json!({}));
        let data = message_from_json(&message_name(name), data).map_err(|problem| refuse("data", problem))?;
        Ok(Self {
            id: required("id")?.to_owned(),
            source: required("source")?.to_owned(),
            event_type: event_type.to_owned(),
            key,
            time,
            cause: None,
            run: 0,
            traceparent: text("traceparent").unwrap_or_default().to_owned(),
            tracestate: text("tracestate").unwrap_or_default().to_owned(),
            data,
        })
    }
}

/// A timestamp as the wire has it.
pub(crate) fn to_wire_time(time: Timestamp) -> prost_types::Timestamp {
    let micros = time.as_micros();
    let nanos = i32::try_from(micros.rem_euclid(1_000_000) * 1_000).unwrap_or(0);
    prost_types::Timestamp { seconds: micros.div_euclid(1_000_000), nanos }
}

/// A timestamp of the wire, cut to microseconds.
pub(crate) fn from_wire_time(time: &prost_types::Timestamp) -> Timestamp {
    Timestamp::from_micros(
        time.seconds.saturating_mul(1_000_000).saturating_add(i64::from(time.nanos) / 1_000),
    )
}
