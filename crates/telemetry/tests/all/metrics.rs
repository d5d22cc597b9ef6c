//! What is counted arrives at the collector.

use millrace_telemetry::metrics::{Counter, Durations};
use millrace_telemetry::names::{attribute, metric};
use millrace_telemetry::{LogFormat, TelemetryConfig, init};
use millrace_testkit::OtlpReceiver;
use std::time::Duration;

/// S2-G2c. The only test of this binary that sets up the process, which can be done once.
#[tokio::test]
async fn s2_g2c_a_counter_and_a_duration_arrive() {
    let attributes: millrace_telemetry::metrics::Attributes<'_> = &[(attribute::MILLRACE_SERVICE, "worker")];
    let early = Counter::new(&metric::CLAIM_CONFLICTS, attributes);
    early.add_one();
    let collector = OtlpReceiver::start();
    let guard = init(&TelemetryConfig {
        service_name: "millrace-worker".to_owned(),
        endpoint: Some(collector.endpoint()),
        log_format: LogFormat::Json,
        log_filter: "off".to_owned(),
        environment: "dev-sandbox".to_owned(),
    })
    .unwrap();
    let conflicts = Counter::new(&metric::CLAIM_CONFLICTS, attributes);
    let took = Durations::new(&metric::PROCESS_DURATION, attributes);
    for _ in 0..3 {
        conflicts.add_one();
    }
    took.record(Duration::from_millis(7));
    guard.shutdown().unwrap();

    let count = |name| collector.count(name, "millrace.service", "worker");
    assert_eq!(count("millrace.claim.conflicts"), 3, "what was counted before the start is not sent");
    assert_eq!(count("messaging.process.duration"), 1);
    let counts = collector.counts();
    let series = counts.keys().find(|series| series.name == "millrace.claim.conflicts").unwrap();
    assert_eq!(
        (series.unit.as_str(), series.resource["service.name"].as_str()),
        ("{claim}", "millrace-worker")
    );
    assert!(!series.resource["service.instance.id"].is_empty(), "processes of one service are told apart");
}
