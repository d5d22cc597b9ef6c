//! Every crash point of every service, walked by a table.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use millrace_e2e::{Campaign, Cluster, Plan, Submitted, Work};
use millrace_events::{Event, Log, SpecRegistryEvent};

use super::{BOUND, events};

/// A task that leads over a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    /// Without checks, to its release.
    Plain,
    /// With checks.
    Checked,
    /// Refused by the validator.
    Refused,
    /// Rolled back, for it reports another commit.
    RolledBack,
    /// Without an id: the registry gives it one.
    Unnamed,
    /// Longer than a lease.
    Long,
    /// Cancelled while a worker is at it.
    Cancelled,
}

/// Process (`worker`: whichever takes the order), point, and the way that leads over it.
const POINTS: &[(&str, &str, Way)] = &[
    ("spec-registry", "spec-registry.performed.Read", Way::Plain),
    ("spec-registry", "spec-registry.allocated", Way::Unnamed),
    ("spec-registry", "spec-registry.appended.TaskAllocated", Way::Unnamed),
    ("spec-registry", "spec-registry.appended.SpecRegistered", Way::Plain),
    ("spec-registry", "spec-registry.settled.SpecSubmitted", Way::Plain),
    ("dispatcher", "dispatcher.appended.TaskScheduled", Way::Plain),
    ("dispatcher", "dispatcher.settled.SpecRegistered", Way::Plain),
    ("dispatcher", "dispatcher.settled.WorkOrderAcknowledged", Way::Plain),
    ("dispatcher", "dispatcher.performed.Inquire", Way::Long),
    ("dispatcher", "dispatcher.performed.AskCancel", Way::Cancelled),
    ("dispatcher", "dispatcher.revoked", Way::Cancelled),
    ("dispatcher", "dispatcher.appended.TaskCancelled", Way::Cancelled),
    ("dispatcher", "dispatcher.performed.Admit", Way::Plain),
    ("dispatcher", "dispatcher.appended.WorkOrderIssued", Way::Checked),
    ("dispatcher", "dispatcher.appended.TaskFailed", Way::Refused),
    ("dispatcher", "dispatcher.appended.TaskCompleted", Way::Plain),
    ("dispatcher", "dispatcher.settled.DeploymentVerified", Way::Plain),
    ("worker", "worker.appended.WorkOrderAcknowledged", Way::Plain),
    ("worker", "worker.performed.Execute", Way::Plain),
    ("worker", "worker.appended.ExecutionCompleted", Way::Plain),
    ("worker", "worker.performed.Release", Way::Plain),
    ("worker", "worker.settled.TaskScheduled", Way::Plain),
    ("worker", "worker.appended.ChecksCompleted", Way::Checked),
    ("validator", "validator.performed.Inspect", Way::Plain),
    ("validator", "validator.appended.ValidationPassed", Way::Plain),
    ("validator", "validator.appended.ValidationFailed", Way::Refused),
    ("validator", "validator.settled.PullRequestOpened", Way::Plain),
    ("deployer", "deployer.pushed", Way::Plain),
    ("deployer", "deployer.proposed", Way::Plain),
    ("deployer", "deployer.appended.PullRequestOpened", Way::Plain),
    ("deployer", "deployer.settled.ExecutionCompleted", Way::Plain),
    ("deployer", "deployer.merged", Way::Plain),
    ("deployer", "deployer.appended.MergeCompleted", Way::Plain),
    ("deployer", "deployer.rolled_out", Way::Plain),
    ("deployer", "deployer.performed.Deploy", Way::Plain),
    ("deployer", "deployer.appended.DeploymentVerified", Way::Plain),
    ("deployer", "deployer.performed.FreeTarget", Way::Plain),
    ("deployer", "deployer.performed.CleanUp", Way::Refused),
    ("deployer", "deployer.performed.FindRun", Way::Cancelled),
    ("deployer", "deployer.appended.StageStopped", Way::Cancelled),
    ("deployer", "deployer.restored", Way::RolledBack),
    ("deployer", "deployer.reverted", Way::RolledBack),
    ("deployer", "deployer.appended.RollbackCompleted", Way::RolledBack),
    ("failure-analyzer", "failure-analyzer.performed.Classify", Way::Refused),
    ("failure-analyzer", "failure-analyzer.appended.FailureClassified", Way::Refused),
    ("failure-analyzer", "failure-analyzer.settled.TaskFailed", Way::Refused),
    ("projector", "projector.committed", Way::Plain),
    ("projector", "projector.committed:4", Way::Plain),
    ("projector", "projector.committed:9", Way::Plain),
];

/// F02, F17, S2-G10, S4-IMP-30, S4-TH2: each service dies once at each of its points, between what it did and
/// what it says about it, and is started again. Every task ends once; nothing happens twice.
///
/// In each wave every service is armed with its next point, and the tasks go over all of them.
#[tokio::test(flavor = "multi_thread")]
async fn f02_s2_g10_s4_imp_30_s4_th2_a_crash_at_every_point_changes_nothing() {
    let mut options = Campaign::options();
    options.config.push_str("[deployer]\nwrong_sha_grace = \"1s\"\n");
    let cluster = Cluster::start_with(options).await;
    let mut campaign = Campaign::on("F02", cluster).await;
    // What a rollback goes back to.
    campaign.hand_in(2, Work::Plain, &Plan::page("first")).await;
    campaign.all_ended(BOUND).await;
    let mut left: BTreeMap<&str, Vec<(&str, Way)>> = BTreeMap::new();
    for (process, point, way) in POINTS.iter().rev() {
        left.entry(process).or_default().push((point, *way));
    }
    while left.values().any(|points| !points.is_empty()) {
        let armed: Vec<(&str, &str, Way)> = left
            .iter_mut()
            .filter_map(|(process, points)| points.pop().map(|(point, way)| (*process, point, way)))
            .collect();
        wave(&mut campaign, &armed).await;
    }
    let evidence = campaign.reckon(BOUND).await;
    // S4-TH2: a validator that died between what it found and its verdict gave one verdict.
    for submitted in campaign.submitted.iter().filter(|submitted| submitted.work != Work::Cancelled) {
        let of_it = evidence.events(Log::Validator).filter_map(|(_, event)| event.task_ref());
        let of_it = of_it.filter(|about| about.task == submitted.task).map(|about| about.attempt);
        let verdicts: Vec<u32> = of_it.collect();
        let attempts: BTreeSet<&u32> = verdicts.iter().collect();
        assert_eq!(verdicts.len(), attempts.len(), "{}: {verdicts:?}", submitted.task);
        assert!(!verdicts.is_empty(), "{}: no verdict", submitted.task);
    }
}

/// The processes that stand for a name of the table.
fn processes(name: &str) -> Vec<String> {
    if name == "worker" { vec!["worker-1".into(), "worker-2".into()] } else { vec![name.into()] }
}

async fn wave(campaign: &mut Campaign, armed: &[(&str, &str, Way)]) {
    for (process, point, _) in armed {
        for name in processes(process) {
            campaign.cluster.kill(&name);
            campaign.cluster.start_process_with(&name, &[("MILLRACE_CRASH_POINT", point)]);
        }
    }
    let ways: BTreeSet<Way> = armed.iter().map(|(.., way)| *way).collect();
    let mut unnamed = 0;
    for way in ways {
        unnamed += send(campaign, way).await;
    }
    let mut to_cancel: Vec<String> = campaign.open().await.into_iter().collect();
    to_cancel.retain(|task| campaign.is_meant(task, Work::Cancelled));
    let deadline = Instant::now() + BOUND;
    let mut waited_for: BTreeMap<String, &str> = BTreeMap::new();
    for (process, point, _) in armed {
        waited_for.extend(processes(process).into_iter().map(|name| (name, *point)));
    }
    let mut died: BTreeSet<&str> = BTreeSet::new();
    loop {
        waited_for.retain(|name, point| {
            if campaign.cluster.is_up(name) {
                return true;
            }
            assert!(campaign.cluster.log_of(name).contains("the crash that was asked for"), "{name}");
            died.insert(point);
            campaign.cluster.kill(name);
            campaign.cluster.start_process(name);
            campaign.injected("crash-point");
            false
        });
        if unnamed > 0 {
            unnamed -= name_them(campaign).await;
        }
        for task in std::mem::take(&mut to_cancel) {
            if is_taken(campaign, &task).await {
                campaign.cancel(&task).await;
            } else {
                to_cancel.push(task);
            }
        }
        let open = campaign.open().await;
        if unnamed == 0 && open.is_empty() && died.len() == armed.len() {
            break;
        }
        if Instant::now() > deadline {
            let not_reached: Vec<_> = armed.iter().filter(|(_, point, _)| !died.contains(point)).collect();
            let task = open.iter().next().cloned().unwrap_or_default();
            panic!("{not_reached:?} not reached; open: {open:?}\n{}", campaign.cluster.explain(&task).await);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // A worker that did not get that far.
    for name in waited_for.keys() {
        campaign.cluster.kill(name);
        campaign.cluster.start_process(name);
    }
}

/// Whether a worker is or was at it.
async fn is_taken(campaign: &Campaign, task: &str) -> bool {
    let of_it = |event: &Event| event.task_ref().is_some_and(|about| about.task == task);
    events(campaign, Log::Worker).await.iter().any(of_it)
}

/// Hands in a task of that way; how many have no name yet.
async fn send(campaign: &mut Campaign, way: Way) -> usize {
    let number = campaign.submitted.len();
    let own_file = || Plan::file(format!("notes/{number}.txt"), "crash");
    match way {
        Way::Plain => campaign.hand_in(1, Work::Plain, &own_file()).await,
        Way::Long => campaign.hand_in(1, Work::Plain, &own_file().command("sleep 4")).await,
        Way::Cancelled => campaign.hand_in(1, Work::Cancelled, &own_file().command("sleep 60")).await,
        Way::Checked => campaign.hand_in(0, Work::Plain, &own_file()).await,
        Way::Refused => {
            let forbidden = Plan::file(".millrace.toml".to_owned(), "[checks]");
            campaign.hand_in(1, Work::Failing, &forbidden).await
        }
        Way::RolledBack => {
            let lie = Plan::file("sha.txt".to_owned(), &"0".repeat(40));
            campaign.hand_in(2, Work::Failing, &lie).await
        }
        Way::Unnamed => {
            let letters: String = number.to_string().bytes().map(|digit| char::from(digit + 49)).collect();
            let text =
                millrace_e2e::spec("TASK", &own_file()).replace("# TASK: another page", "# Another page");
            campaign.hand_in_text(3, &format!("docs/specs/{letters}.md"), &text).await;
            return 1;
        }
    };
    0
}

/// Adds the tasks that were given an id since; how many.
async fn name_them(campaign: &mut Campaign) -> usize {
    let mut found = 0;
    for event in events(campaign, Log::SpecRegistry).await {
        let Event::SpecRegistry(SpecRegistryEvent::TaskAllocated(event)) = event else { continue };
        if campaign.submitted.iter().all(|known| known.task != event.task) {
            campaign.submitted.push(Submitted { task: event.task, repository: 3, work: Work::Plain });
            found += 1;
        }
    }
    found
}
