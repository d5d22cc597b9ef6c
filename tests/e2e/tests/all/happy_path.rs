//! A spec in a git repository becomes a verified release.

use std::time::Duration;

use millrace_e2e::{Cluster, Plan, spec};
use millrace_events::Log;
use millrace_rpc::v1::{GetSpecRequest, TaskStatus};

const BOUND: Duration = Duration::from_secs(60);

/// What the running release answers.
fn get(address: &str, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let host = address.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    // In one piece: the application reads once.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

/// S1-why, S0-4.6, S1-Gap1.B, S1-Gap7.3, S2-A1 to S2-A11, S2-G7: pushed, found, carried out, checked by
/// somebody else, merged, released and verified, with no other action.
#[tokio::test(flavor = "multi_thread")]
async fn s1_why_s2_a1_to_a11_a_pushed_spec_becomes_a_verified_release() {
    let cluster = Cluster::start().await;
    cluster.repository.add_spec("01213", spec("VTID-01213", &Plan::page("welcome")));
    let task = cluster.wait_for("VTID-01213", TaskStatus::Complete, BOUND).await;

    assert_eq!(task.stage, "done");
    assert_eq!(task.merge_commit, task.release_commit);
    assert_eq!(cluster.repository.git(&["rev-parse", "main"]), task.merge_commit);
    assert_eq!(get(&task.release_url, "/"), "welcome\n");
    assert!(get(&task.release_url, "/version").contains(&task.merge_commit));
    assert_eq!(cluster.repository.commits_of("VTID-01213"), 1);

    let expected = [
        "SpecSubmitted",
        "SpecRegistered",
        "TaskScheduled",
        "WorkOrderAcknowledged",
        "ExecutionCompleted",
        "PullRequestOpened",
        "WorkOrderIssued",
        "WorkOrderAcknowledged",
        "ChecksCompleted",
        "ValidationPassed",
        "MergeCompleted",
        "DeploymentVerified",
        "TaskCompleted",
    ];
    let history = cluster.history("VTID-01213").await;
    let names: Vec<&str> =
        history.iter().map(|event| event.name.as_str()).filter(|name| expected.contains(name)).collect();
    assert_eq!(names, expected);
    assert!(history.iter().skip(1).all(|event| event.cause.is_some()), "every event names its cause");

    let data = |name: &str| Cluster::data(history.iter().find(|event| event.name == name).unwrap());
    let scheduled = data("TaskScheduled");
    assert_eq!(scheduled["spec_registered"], true);
    assert_eq!(scheduled["task"]["spec_checksum"], data("SpecRegistered")["checksum"]);
    let workers: Vec<serde_json::Value> = history
        .iter()
        .filter(|event| event.name == "WorkOrderAcknowledged")
        .map(|event| Cluster::data(event)["worker"].clone())
        .collect();
    assert_ne!(workers[0], workers[1], "S4-ROLE: who made the change does not check it");
    assert_eq!(cluster.terminal_events("VTID-01213").await.len(), 1);
    assert!(cluster.log(Log::DeadLetter).await.is_empty());
}

/// S1-Gap2.5: an edit is a new version; the old one stays readable by its checksum, and the finished run
/// keeps what it was locked to.
#[tokio::test(flavor = "multi_thread")]
async fn s1_gap2_5_an_edited_spec_is_a_new_version_and_the_old_one_stays() {
    let cluster = Cluster::start().await;
    let first = spec("VTID-00001", &Plan::page("one"));
    cluster.repository.add_spec("00001", first.clone());
    let task = cluster.wait_for("VTID-00001", TaskStatus::Complete, BOUND).await;
    cluster.repository.add_spec("00001", spec("VTID-00001", &Plan::page("two")));
    millrace_testkit::eventually("version 2 is registered", BOUND, async || {
        cluster.event_names("VTID-00001").await.iter().filter(|name| *name == "SpecRegistered").count() == 2
    })
    .await;
    let again = cluster.wait_for("VTID-00001", TaskStatus::Complete, BOUND).await;
    assert_eq!((again.run, &again.spec_checksum), (1, &task.spec_checksum), "a finished run keeps its lock");
    let mut query = cluster.query().await;
    let request = GetSpecRequest { task: "VTID-00001".to_owned(), version: 1, ..Default::default() };
    let old = query.get_spec(request).await.unwrap().into_inner();
    assert_eq!(old.spec.unwrap().checksum, millrace_runtime::blobs::digest_of(first.as_bytes()));
}

/// S2-A1 to S2-A3: a submitted spec is accepted with its place in the log; each of many tasks has its work
/// order within 5 seconds of its registration and is taken within 30, by the times that the events carry.
#[tokio::test(flavor = "multi_thread")]
async fn s2_a1_s2_a2_s2_a3_submitted_tasks_are_dispatched_and_taken_in_time() {
    let cluster = Cluster::start().await;
    let mut operator = cluster.operator().await;
    let tasks: Vec<String> = (100..112).map(|number| format!("VTID-{number:05}")).collect();
    for task in &tasks {
        let plan =
            Plan { writes: vec![("notes.txt", format!("{task}\n"))], commands: vec![], without: vec![] };
        let request = millrace_rpc::v1::SubmitSpecRequest {
            repository: "shop".to_owned(),
            path: format!("{task}-x.md"),
            content: spec(task, &plan).into_bytes(),
            plan: vec![],
        };
        let published = operator.submit_spec(request).await.unwrap().into_inner();
        assert!(published.position.unwrap().sequence > 0);
    }
    for task in &tasks {
        cluster.wait_for_event(task, "WorkOrderAcknowledged", BOUND).await;
        let history = cluster.history(task).await;
        let at = |name: &str| {
            let time = history.iter().find(|event| event.name == name).unwrap().time.unwrap();
            time.seconds * 1_000 + i64::from(time.nanos) / 1_000_000
        };
        assert!(at("TaskScheduled") - at("SpecRegistered") < 5_000, "{task}");
        assert!(at("WorkOrderAcknowledged") - at("TaskScheduled") < 30_000, "{task}");
    }
}

/// S1-Gap1.C: a spec registered by hand gives its checksum; a bad one all its faults, and another exit code.
#[tokio::test(flavor = "multi_thread")]
async fn s1_gap1_c_a_spec_is_registered_by_hand() {
    let cluster = Cluster::start().await;
    let register = |name: &str, text: &str| {
        std::fs::write(cluster.path(name), text).unwrap();
        let server = cluster.address();
        let arguments = ["spec", "register", name, "--repository", "shop", "--server", &server];
        let output = millrace_e2e::millrace(&cluster.path(""), &arguments);
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (output.status.code(), said.join("\n"))
    };
    let good = spec("VTID-00200", &Plan::page("by hand"));
    let (code, said) = register("VTID-00200-x.md", &good);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(&millrace_runtime::blobs::digest_of(good.as_bytes())), "{said}");
    let task = cluster.wait_for("VTID-00200", TaskStatus::Complete, BOUND).await;
    assert_eq!(task.repository, "shop");
    let (code, said) = register("VTID-00201-x.md", "# VTID-00201\n\n## Summary\n\nshort\n");
    assert_eq!(code, Some(1), "{said}");
    for fault in ["summary", "problem", "acceptance"] {
        assert!(said.to_lowercase().contains(fault), "no word of the {fault}: {said}");
    }
}

/// A repository that asks for no checks: the whole way is ten events, DESIGN section 2.
#[tokio::test(flavor = "multi_thread")]
async fn without_checks_the_whole_way_is_ten_events() {
    let cluster = Cluster::start().await;
    cluster.repository.commit(&[(".millrace.toml", "[checks]\n".to_owned())]);
    cluster.repository.add_spec("00300", spec("VTID-00300", &Plan::page("ten")));
    cluster.wait_for("VTID-00300", TaskStatus::Complete, BOUND).await;
    let expected = [
        "SpecSubmitted",
        "SpecRegistered",
        "TaskScheduled",
        "WorkOrderAcknowledged",
        "ExecutionCompleted",
        "PullRequestOpened",
        "ValidationPassed",
        "MergeCompleted",
        "DeploymentVerified",
        "TaskCompleted",
    ];
    assert_eq!(cluster.event_names("VTID-00300").await, expected);
}
