//! W3C trace context as strings, for envelopes: out of the current span, and into a new one.
//!
//! Rules (`traceparent`, `tracestate`: W3C Trace Context, level 1): one process span has the message's
//! creation context as its parent **and** as a link, so that one task is one trace; a rebuild starts a new
//! trace that only links.

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry::trace::{SpanContext, Status, TraceContextExt};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// `traceparent` and `tracestate` (often empty) of the current span; none where no trace is recorded, and
/// then the context that a message came with is to be forwarded as it is.
#[must_use]
pub fn current_traceparent() -> Option<(String, String)> {
    traceparent_of(&Span::current())
}

/// As [`current_traceparent`], of this span.
#[must_use]
pub fn traceparent_of(span: &Span) -> Option<(String, String)> {
    let context = span.context();
    if !context.span().span_context().is_valid() {
        return None;
    }
    let mut carrier = Carrier::default();
    TraceContextPropagator::new().inject_context(&context, &mut carrier);
    Some((carrier.traceparent, carrier.tracestate))
}

/// Makes the sender's span the parent of `span`, which must not have been entered yet. Returns whether it
/// did: text that is not a trace context is ignored, as W3C asks, and so is any where no trace is recorded.
pub fn set_parent(span: &Span, traceparent: &str, tracestate: &str) -> bool {
    match remote(traceparent, tracestate) {
        Some(parent) => span.set_parent(Context::new().with_remote_span_context(parent)).is_ok(),
        None => false,
    }
}

/// Links `span` to the sender's span. Text that is not a trace context is ignored.
pub fn link(span: &Span, traceparent: &str) {
    if let Some(linked) = remote(traceparent, "") {
        span.add_link(linked);
    }
}

/// The trace context of a new, sampled trace, for a message that comes without one. The bytes are random;
/// W3C forbids all zeros, so those count as one.
#[must_use]
pub fn new_root_traceparent(trace_id: [u8; 16], span_id: [u8; 8]) -> String {
    let trace_id = u128::from_be_bytes(trace_id).max(1);
    let span_id = u64::from_be_bytes(span_id).max(1);
    format!("00-{trace_id:032x}-{span_id:016x}-01")
}

/// The trace id (32 hex digits) in a `traceparent`, for people to look the trace up by.
#[must_use]
pub fn trace_id(traceparent: &str) -> Option<String> {
    remote(traceparent, "").map(|context| context.trace_id().to_string())
}

/// Sets an attribute whose name is one of [`crate::names::attribute`] and was not declared with the span.
pub fn set_attribute(span: &Span, name: &'static str, value: impl Into<opentelemetry::Value>) {
    span.set_attribute(name, value);
}

/// Marks the span as failed, with a sentence (scrubbed of secrets by the caller).
pub fn set_error(span: &Span, sentence: &str) {
    span.set_status(Status::error(sentence.to_owned()));
}

/// `traceparent` of version 00 is 2 + 32 + 16 + 2 hex digits and three dashes; later versions only add.
const TRACEPARENT_LENGTH: usize = 55;
/// What W3C asks everyone to carry at least; more is dropped, so that no sender can bloat the log.
const TRACESTATE_LENGTH_MAX: usize = 512;

fn remote(traceparent: &str, tracestate: &str) -> Option<SpanContext> {
    if traceparent.len() < TRACEPARENT_LENGTH {
        return None; // the propagator takes short ids
    }
    let tracestate = if tracestate.len() > TRACESTATE_LENGTH_MAX { "" } else { tracestate };
    let carrier = Carrier { traceparent: traceparent.to_owned(), tracestate: tracestate.to_owned() };
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &carrier);
    let found = context.span().span_context().clone();
    found.is_valid().then_some(found)
}

/// The two strings, seen as the headers that the propagator knows.
#[derive(Default)]
struct Carrier {
    traceparent: String,
    tracestate: String,
}

impl Extractor for Carrier {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            "traceparent" => Some(&self.traceparent),
            "tracestate" => Some(&self.tracestate),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent", "tracestate"]
    }
}

impl Injector for Carrier {
    fn set(&mut self, key: &str, value: String) {
        match key {
            "traceparent" => self.traceparent = value,
            "tracestate" => self.tracestate = value,
            _ => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_new_root_is_a_valid_sampled_context() {
        let traceparent = new_root_traceparent([0xab; 16], [0xcd; 8]);
        assert_eq!(traceparent, format!("00-{}-{}-01", "ab".repeat(16), "cd".repeat(8)));
        assert_eq!(trace_id(&traceparent), Some("ab".repeat(16)));
        assert!(remote(&traceparent, "").unwrap().is_sampled());
    }

    #[test]
    fn zeros_are_never_an_id() {
        assert!(trace_id(&new_root_traceparent([0; 16], [0; 8])).is_some());
    }

    #[test]
    fn text_that_is_not_a_trace_context_is_none() {
        let zero = format!("00-{}-{}-01", "0".repeat(32), "0".repeat(16));
        let upper = format!("00-{}-{}-01", "AB".repeat(16), "CD".repeat(8));
        for text in ["", "nonsense", "00-1-2-01", "ff-00-00-00", zero.as_str(), upper.as_str()] {
            assert_eq!(trace_id(text), None, "{text}");
        }
    }

    #[test]
    fn without_an_exporter_there_is_no_context_and_no_parent() {
        let span = tracing::info_span!("quiet");
        assert_eq!(traceparent_of(&span), None);
        assert!(!set_parent(&span, &new_root_traceparent([1; 16], [2; 8]), ""));
    }
}
