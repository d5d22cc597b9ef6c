//! Every task is one trace.

use std::time::Duration;

use millrace_e2e::{Cluster, Options, Plan, spec};
use millrace_rpc::v1::TaskStatus;
use millrace_testkit::OtlpReceiver;
use millrace_testkit::otlp::Span;

const BOUND: Duration = Duration::from_secs(90);

/// S3-4.5a: from intake to the terminal event all spans share one trace id, and every service has its part.
#[tokio::test(flavor = "multi_thread")]
async fn s3_4_5a_a_task_is_one_trace_from_intake_to_its_end() {
    let receiver = OtlpReceiver::start();
    let options = Options { otlp_endpoint: Some(receiver.endpoint()), ..Options::default() };
    let mut cluster = Cluster::start_with(options).await;
    cluster.repository.add_spec("00090", spec("VTID-00090", &Plan::page("traced")));
    let task = cluster.wait_for("VTID-00090", TaskStatus::Complete, BOUND).await;
    let history = cluster.history("VTID-00090").await;
    cluster.repository.add_spec("00091", spec("VTID-00091", &Plan::page("broken")));
    let failed = cluster.wait_for("VTID-00091", TaskStatus::Failed, BOUND).await.failure.unwrap();
    // A stop in order sends what is still held back.
    for name in Cluster::names() {
        cluster.stop(&name);
    }
    let trace_of = |span: &Span| span.trace_id.clone();
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
    // S3-4.5a: each message is handled below the span that sent it, and links to it.
    let span_of = |id: &str| ours.iter().find(|span| span.span_id == id);
    let attribute = |span: &Span, name: &str| span.attributes.get(name).cloned().unwrap_or_default();
    for span in ours.iter().filter(|span| span.name.starts_with("process ")) {
        let parent = span_of(&span.parent_span_id).unwrap_or_else(|| panic!("no parent: {span:?}"));
        assert_eq!(parent.kind, "SPAN_KIND_PRODUCER", "{span:?}");
        assert_eq!(span.links, [(parent.trace_id.clone(), parent.span_id.clone())]);
        if parent.name != "submit spec" && !span.name.contains(".due.") {
            assert_eq!(span.name.replacen("process", "send", 1), parent.name);
            for name in ["messaging.message.id", "millrace.event.type"] {
                assert_eq!(attribute(span, name), attribute(parent, name), "{name}");
            }
        }
    }
    // From the end back to the spec, step by step.
    let completed = ours.iter().find(|span| {
        span.name.starts_with("send ") && attribute(span, "millrace.event.type") == "TaskCompleted"
    });
    let completed = completed.expect("the last event's span");
    let mut chain = vec![*completed];
    while let Some(parent) = chain.last().and_then(|span| span_of(&span.parent_span_id)) {
        chain.push(parent);
    }
    assert_eq!(chain.last().map(|span| span.name.as_str()), Some("submit spec"));
    let events: Vec<String> = chain.iter().map(|span| attribute(span, "millrace.event.type")).collect();
    for event in
        ["SpecSubmitted", "SpecRegistered", "TaskScheduled", "ValidationPassed", "DeploymentVerified"]
    {
        assert!(events.contains(&event.to_owned()), "{event}: {events:?}");
    }
    for (name, value) in [
        ("millrace.task.id", "VTID-00090"),
        ("cicd.pipeline.run.id", "VTID-00090/1"),
        ("millrace.service", "dispatcher"),
        ("messaging.system", "nats"),
        ("vcs.change.id", task.pull_request.as_ref().unwrap().number.to_string().as_str()),
        ("vcs.ref.head.revision", task.pull_request.as_ref().unwrap().head.as_str()),
    ] {
        assert_eq!(attribute(completed, name), value, "{name}");
    }
    let ended =
        ours.iter().find(|span| span.parent_span_id == completed.span_id && span.kind.ends_with("INTERNAL"));
    let ended = ended.expect("the transition");
    assert_eq!(ended.name, "agent.state.transition");
    assert_eq!(attribute(ended, "cicd.pipeline.result"), "success");
    assert!(names.contains(&"agent.verify"), "{names:?}");
    // S1-Gap6.3: a failure names its source, its causes and its trace.
    assert!(!failed.source.is_empty() && failed.trace_id.len() == 32, "{failed:?}");
    assert!(spans.iter().any(|span| span.trace_id == failed.trace_id), "{failed:?}");
}
