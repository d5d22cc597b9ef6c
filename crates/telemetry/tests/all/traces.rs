use millrace_telemetry::context::{self, current_traceparent, link, set_parent};
use millrace_telemetry::names::{attribute, span, value};
use millrace_telemetry::{LogFormat, TelemetryConfig, TelemetryError, subscriber};
use millrace_testkit::OtlpReceiver;
use std::time::Duration;
use tracing::info_span;

/// The exporter takes spans of targets that begin with `millrace`.
const TARGET: &str = "millrace_test";
const BOUND: Duration = Duration::from_secs(10);

fn config(endpoint: Option<String>) -> TelemetryConfig {
    TelemetryConfig {
        service_name: "millrace-test".to_owned(),
        endpoint,
        log_format: LogFormat::Json,
        log_filter: "off".to_owned(),
        environment: "dev-sandbox".to_owned(),
    }
}

#[tokio::test]
async fn one_task_is_one_trace_across_a_hop_as_strings() {
    let collector = OtlpReceiver::start();
    let (subscriber, guard) = subscriber(&config(Some(collector.endpoint()))).unwrap();
    let (traceparent, tracestate) = tracing::subscriber::with_default(subscriber, || {
        let sent = info_span!(
            target: TARGET,
            "send",
            otel.name = span::messaging(value::SEND, "millrace.intake.{partition}.{key}"),
            otel.kind = "producer",
            { attribute::MILLRACE_SERVICE } = "intake",
        );
        let envelope = sent.in_scope(|| current_traceparent().expect("a recorded trace"));
        drop(sent);

        let handled = info_span!(target: TARGET, "process", otel.kind = "consumer");
        assert!(set_parent(&handled, &envelope.0, &envelope.1));
        link(&handled, &envelope.0);
        context::set_attribute(&handled, attribute::VCS_CHANGE_ID, "7");
        handled.in_scope(|| drop(info_span!(target: TARGET, span::VERIFY)));
        context::set_error(&handled, "CHECKS_FAILED");
        envelope
    });
    guard.shutdown().unwrap();

    let trace_id = context::trace_id(&traceparent).unwrap();
    let expected = "send millrace.intake.{partition}.{key}\n  process\n    agent.verify\n";
    collector.assert_tree(&trace_id, expected, BOUND).await;
    assert_eq!(tracestate, "");

    let sent = collector.span_named("send millrace.intake.{partition}.{key}", BOUND).await;
    assert_eq!(sent.kind, "SPAN_KIND_PRODUCER");
    assert_eq!(sent.attributes["millrace.service"], "intake");
    assert_eq!(sent.resource["service.name"], "millrace-test");
    assert_eq!(sent.resource["deployment.environment.name"], "dev-sandbox");
    let handled = collector.span_named("process", BOUND).await;
    assert_eq!(handled.links, [(sent.trace_id, sent.span_id)]);
    assert_eq!(handled.attributes["vcs.change.id"], "7");
    assert_eq!(handled.error.as_deref(), Some("CHECKS_FAILED"));
}

#[tokio::test]
async fn an_unsampled_sender_is_not_recorded_but_its_trace_goes_on() {
    let collector = OtlpReceiver::start();
    let (subscriber, guard) = subscriber(&config(Some(collector.endpoint()))).unwrap();
    let unsampled = format!("00-{}-{}-00", "ab".repeat(16), "cd".repeat(8));
    let onward = tracing::subscriber::with_default(subscriber, || {
        let handled = info_span!(target: TARGET, "process");
        set_parent(&handled, &unsampled, "vendor=1");
        handled.in_scope(current_traceparent).expect("a trace context")
    });
    guard.shutdown().unwrap();
    assert_eq!(context::trace_id(&onward.0), context::trace_id(&unsampled));
    assert!(onward.0.ends_with("-00"), "{onward:?}");
    assert_eq!(onward.1, "vendor=1");
    assert_eq!(collector.spans(), []);
}

#[tokio::test]
async fn spans_of_libraries_are_not_exported() {
    let collector = OtlpReceiver::start();
    let (subscriber, guard) = subscriber(&config(Some(collector.endpoint()))).unwrap();
    tracing::subscriber::with_default(subscriber, || {
        drop(info_span!(target: "h2", "frame"));
        drop(info_span!(target: TARGET, "ours"));
    });
    guard.shutdown().unwrap();
    let names: Vec<String> = collector.spans().into_iter().map(|span| span.name).collect();
    assert_eq!(names, ["ours"]);
}

#[test]
fn without_an_endpoint_nothing_is_recorded() {
    let (subscriber, guard) = subscriber(&config(None)).unwrap();
    let found = tracing::subscriber::with_default(subscriber, || {
        info_span!(target: TARGET, "process").in_scope(current_traceparent)
    });
    assert_eq!(found, None);
    guard.flush().unwrap();
    guard.shutdown().unwrap();
}

#[test]
fn a_bad_setting_is_named() {
    let filter = TelemetryConfig { log_filter: "millrace=loud".to_owned(), ..config(None) };
    let error = subscriber(&filter).err().unwrap();
    assert!(matches!(error, TelemetryError::LogFilter { .. }), "{error}");
    assert!(error.to_string().contains("millrace=loud"), "{error}");

    for endpoint in ["https://collector:4317", "collector:4317", "http://"] {
        let error = subscriber(&config(Some(endpoint.to_owned()))).err().unwrap();
        assert!(error.to_string().contains(endpoint), "{error}");
    }
}
