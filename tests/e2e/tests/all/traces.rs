//! Every task is one trace.

use std::time::Duration;

use millrace_e2e::{Cluster, Options, Plan, spec};
use millrace_rpc::v1::TaskStatus;
use millrace_testkit::OtlpReceiver;

const BOUND: Duration = Duration::from_secs(90);

/// S3-4.5a: from intake to the terminal event all spans share one trace id, and every service has its part.
#[tokio::test(flavor = "multi_thread")]
async fn s3_4_5a_a_task_is_one_trace_from_intake_to_its_end() {
    let receiver = OtlpReceiver::start();
    let options = Options { otlp_endpoint: Some(receiver.endpoint()), ..Options::default() };
    let mut cluster = Cluster::start_with(options).await;
    cluster.repository.add_spec("00090", spec("VTID-00090", &Plan::page("traced")));
    cluster.wait_for("VTID-00090", TaskStatus::Complete, BOUND).await;
    let history = cluster.history("VTID-00090").await;
    cluster.repository.add_spec("00091", spec("VTID-00091", &Plan::page("broken")));
    let failed = cluster.wait_for("VTID-00091", TaskStatus::Failed, BOUND).await.failure.unwrap();
    // A stop in order sends what is still held back.
    for name in Cluster::names() {
        cluster.stop(&name);
    }
    let trace_of = |span: &millrace_testkit::otlp::Span| span.trace_id.clone();
    let spans = receiver.spans();
    let trace =
        spans.iter().find(|span| span.name == "submit spec").map(trace_of).expect("the intake's span");
    let ours: Vec<_> = spans.iter().filter(|span| span.trace_id == trace).collect();
    let names: Vec<&str> = ours.iter().map(|span| span.name.as_str()).collect();
    for log in ["intake", "spec-registry", "dispatcher", "worker", "deployer", "validator"] {
        let expected = format!("process millrace.{log}.{{partition}}.{{key}}");
        assert!(names.contains(&expected.as_str()), "no span {expected} in the trace; it has {names:?}");
    }
    let roots =
        ours.iter().filter(|span| !ours.iter().any(|other| other.span_id == span.parent_span_id)).count();
    assert_eq!(roots, 1, "one root: {names:?}");
    assert!(history.len() > 10);
    // S1-Gap6.3: a failure names its source, its causes and its trace.
    assert!(!failed.source.is_empty() && failed.trace_id.len() == 32, "{failed:?}");
    assert!(spans.iter().any(|span| span.trace_id == failed.trace_id), "{failed:?}");
}
