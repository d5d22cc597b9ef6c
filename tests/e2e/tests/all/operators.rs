//! Cancel, pause, resume and retry on running processes: what a person stops leaves nothing, what a person holds
//! goes on where it stood, and asking twice is asking once.

use std::time::Duration;

use millrace_e2e::{Cluster, Options, Plan, is_running, spec};
use millrace_events::v1::{CancelRequested, PauseRequested, ResumeRequested, RetryRequested};
use millrace_events::{CONTENT_TYPE_PROTOBUF, Envelope, Event, Key, Log, Service};
use millrace_rpc::v1::{HistoryEvent, OperatorRequest, TaskStatus};
use millrace_runtime::broker::{Append, Broker as _};
use millrace_runtime::clock::{Clock as _, System};
use millrace_runtime::permissions::Identity;
use millrace_testkit::eventually;

const BOUND: Duration = Duration::from_secs(60);

fn request(task: &str, run: u32) -> OperatorRequest {
    OperatorRequest { task: task.to_owned(), run, reason: "changed our minds".to_owned() }
}

/// Publishes an operator event once more, under no id: another message that says the same.
async fn again(cluster: &Cluster, task: &str, event: impl Into<Event>) {
    let event = event.into();
    let key = Key::new(task).unwrap();
    let envelope = Envelope::new("again", "/test", key.clone(), System.now(), &event);
    let append = Append::new(Log::Operator.stream(0), Log::Operator.subject(&key, 1), envelope.encode());
    let query = cluster.connect(Identity::Service(Service::Query)).await;
    let _position = query.append(&append.content_type(CONTENT_TYPE_PROTOBUF)).await.unwrap();
}

fn count(events: &[HistoryEvent], name: &str) -> usize {
    events.iter().filter(|event| event.name == name).count()
}

async fn started(command: &str) {
    eventually(command, BOUND, async || is_running(command)).await;
}

/// Waits until so many refusals stand in the task's history, and returns what they say.
async fn refusals(cluster: &Cluster, task: &str, expected: usize) -> Vec<String> {
    let said = async || {
        let history = cluster.history(task).await;
        let refused = history.iter().filter(|event| event.name == "TransitionRefused");
        refused.map(|event| Cluster::data(event)["failure"]["message"].to_string()).collect::<Vec<_>>()
    };
    eventually("refusals", BOUND, async || said().await.len() >= expected).await;
    said().await
}

/// Nothing of the task is left where effects land: no branch, no open pull request, no sandbox, no folder.
async fn assert_nothing_is_left(cluster: &Cluster) {
    let repository = &cluster.repository;
    eventually("no branch is left", BOUND, async || {
        repository.git(&["for-each-ref", "refs/heads/millrace"]).is_empty()
    })
    .await;
    for name in repository.git(&["for-each-ref", "--format=%(refname)", "refs/millrace/pulls"]).lines() {
        let record = repository.git(&["cat-file", "blob", &format!("{name}:pull.json")]);
        let record: serde_json::Value = serde_json::from_str(&record).unwrap();
        let state = record["pull"]["state"].to_string().to_lowercase();
        assert!(!state.contains("open"), "{record}");
    }
    for worker in ["worker-1", "worker-2"] {
        eventually("no sandbox is left", BOUND, async || {
            millrace_e2e::leftovers::sandboxes(&cluster.path(worker)).is_empty()
        })
        .await;
    }
}

/// A cancel ends the running command, leaves nothing, and a retry is run 2, with run 1 in the history.
/// S1-ops.2, S1-ops.3.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_kills_what_runs_and_leaves_nothing_and_a_retry_is_run_2() {
    let cluster = Cluster::start().await;
    let task = "VTID-00050";
    cluster.repository.add_spec("00050", spec(task, &Plan::page("never").command("sleep 3601")));
    started("sleep 3601").await;
    let mut operator = cluster.operator().await;
    for _ in 0..2 {
        operator.cancel(request(task, 0)).await.unwrap();
    }
    let asked = std::time::Instant::now();
    eventually("the command is killed", BOUND, async || !is_running("sleep 3601")).await;
    let killed_after = asked.elapsed();
    let cancelled = cluster.wait_for(task, TaskStatus::Cancelled, BOUND).await;
    assert_eq!((cancelled.run, cancelled.reason.as_str()), (1, "changed our minds"));
    let actor = "ada".to_owned();
    let cancel =
        CancelRequested { task: task.to_owned(), run: 1, actor: actor.clone(), ..Default::default() };
    again(&cluster, task, cancel).await;
    assert_nothing_is_left(&cluster).await;

    // The next run works on the spec as it is then.
    cluster.repository.add_spec("00050", spec(task, &Plan::page("at last")));
    eventually("the second version", BOUND, async || {
        count(&cluster.history(task).await, "SpecRegistered") == 2
    })
    .await;
    let retry = RetryRequested { task: task.to_owned(), run: 1, actor, ..Default::default() };
    for _ in 0..2 {
        operator.retry(request(task, 1)).await.unwrap();
        again(&cluster, task, retry.clone()).await;
    }
    let done = cluster.wait_for(task, TaskStatus::Complete, BOUND).await;
    assert_eq!((done.run, done.attempt), (2, 1));
    let history = cluster.history(task).await;
    for (name, times) in [
        ("TaskScheduled", 2),
        ("StageStopped", 1),
        ("TaskCancelled", 1),
        ("TaskCompleted", 1),
        ("MergeCompleted", 1),
    ] {
        assert_eq!(count(&history, name), times, "{name}");
    }
    assert_eq!(cluster.terminal_events(task).await.len(), 2);
    assert_eq!(cluster.repository.commits_of(task), 1);
    assert!(killed_after < BOUND, "{killed_after:?}");
}

/// A run with a pull request whose checks are running: all of it goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_closes_the_pull_request_and_ends_its_checks() {
    let cluster = Cluster::start().await;
    let profile = "[checks]\nslow = \"sleep 3602\"\n".to_owned();
    cluster.repository.commit(&[(".millrace.toml", profile)]);
    let task = "VTID-00051";
    cluster.repository.add_spec("00051", spec(task, &Plan::page("never")));
    started("sleep 3602").await;
    let head = cluster.repository.git(&["rev-parse", "main"]);
    cluster.operator().await.cancel(request(task, 1)).await.unwrap();
    eventually("the check is killed", BOUND, async || !is_running("sleep 3602")).await;
    cluster.wait_for(task, TaskStatus::Cancelled, BOUND).await;
    assert_nothing_is_left(&cluster).await;
    assert_eq!(cluster.repository.git(&["rev-parse", "main"]), head, "nothing was merged");
    assert_eq!(cluster.terminal_events(task).await.len(), 1);
}

/// The merge is the point of no return: the cancel and the pause are refused with the commit, and the release
/// comes to its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_after_the_merge_is_refused_with_the_commit() {
    let options = Options { start_command: "sleep 4; exec python3 app.py".to_owned(), ..Options::default() };
    let cluster = Cluster::start_with(options).await;
    let task = "VTID-00052";
    cluster.repository.add_spec("00052", spec(task, &Plan::page("released")));
    cluster.wait_for_event(task, "MergeCompleted", BOUND).await;
    let mut operator = cluster.operator().await;
    operator.cancel(request(task, 1)).await.unwrap();
    operator.pause(request(task, 1)).await.unwrap();
    let said = refusals(&cluster, task, 2).await;
    let done = cluster.wait_for(task, TaskStatus::Complete, BOUND).await;
    assert!(said.iter().all(|said| said.contains(&done.merge_commit)), "{said:?}");
    operator.cancel(request(task, 1)).await.unwrap();
    let cancel =
        CancelRequested { task: task.to_owned(), run: 1, actor: "ada".to_owned(), ..Default::default() };
    again(&cluster, task, cancel).await;
    let said = refusals(&cluster, task, 3).await;
    assert!(said[2].contains("which is complete"), "{said:?}");
    assert_eq!(count(&cluster.history(task).await, "StageStopped"), 0);
}

/// Paused twice, once while the change and once while its checks are worked on: each goes on to its end, and
/// nothing follows before the resume.
#[tokio::test(flavor = "multi_thread")]
async fn a_pause_holds_before_the_next_stage_and_a_resume_goes_on() {
    let cluster = Cluster::start().await;
    let profile = "[checks]\nslow = \"sleep 5.0171\"\n".to_owned();
    cluster.repository.commit(&[(".millrace.toml", profile)]);
    let (task, other) = ("VTID-00053", "VTID-00054");
    let slow = Plan::file("paused.txt".to_owned(), "later").command("sleep 5.0172");
    cluster.repository.add_spec("00053", spec(task, &slow));
    let mut operator = cluster.operator().await;
    let pause =
        PauseRequested { task: task.to_owned(), run: 1, actor: "ada".to_owned(), ..Default::default() };
    let resume =
        ResumeRequested { task: task.to_owned(), run: 1, actor: "ada".to_owned(), ..Default::default() };

    started("sleep 5.0172").await;
    operator.pause(request(task, 0)).await.unwrap();
    cluster.wait_for_event(task, "TaskPaused", BOUND).await;
    again(&cluster, task, pause.clone()).await;
    cluster.wait_for_event(task, "ExecutionCompleted", BOUND).await;
    // Another task goes its whole way meanwhile, through the same processes.
    let plan = Plan::file("other.txt".to_owned(), "other");
    cluster.repository.add_spec("00054", spec(other, &plan));
    cluster.wait_for(other, TaskStatus::Complete, BOUND).await;
    let history = cluster.history(task).await;
    let last = history.iter().rev().find(|event| event.name != "FailureClassified").unwrap();
    assert_eq!((last.name.as_str(), count(&history, "TaskPaused")), ("ExecutionCompleted", 1));
    let why = ["task", "why", task, "--server", &cluster.address()];
    let why = String::from_utf8_lossy(&millrace_e2e::millrace(&cluster.path(""), &why).stdout).into_owned();
    assert!(why.contains("is paused") && why.contains("changed our minds"), "{why}");
    assert!(why.contains("millrace task resume"), "{why}");

    operator.resume(request(task, 0)).await.unwrap();
    started("sleep 5.0171").await;
    assert_eq!(count(&cluster.history(task).await, "PullRequestOpened"), 1);
    operator.pause(request(task, 1)).await.unwrap();
    eventually("the second pause", BOUND, async || count(&cluster.history(task).await, "TaskPaused") == 2)
        .await;
    cluster.wait_for_event(task, "ValidationPassed", BOUND).await;
    let head = cluster.repository.git(&["rev-parse", "main"]);
    let again_other = "VTID-00055";
    cluster.repository.add_spec("00055", spec(again_other, &Plan::file("third.txt".to_owned(), "x")));
    let third = cluster.wait_for(again_other, TaskStatus::Complete, BOUND).await;
    assert_ne!(third.merge_commit, head);
    assert_eq!(count(&cluster.history(task).await, "MergeCompleted"), 0);
    assert_eq!(cluster.repository.commits_of(task), 0);

    operator.resume(request(task, 1)).await.unwrap();
    again(&cluster, task, resume).await;
    let done = cluster.wait_for(task, TaskStatus::Complete, BOUND).await;
    assert_eq!((done.run, done.attempt), (1, 1), "no try was counted for the pauses");
    assert_eq!(cluster.terminal_events(task).await.len(), 1);
    assert_eq!(cluster.repository.commits_of(task), 1);
}
