//! What happened to a task, where it stands and what to do, in plain English.

use millrace_events::Code;
use millrace_rpc::v1::{Failure, HistoryEvent, Task, TaskStatus};

use super::data::Data;
use super::{describe, short};

/// Lines of a command's output that are shown.
const MAX_TAIL_LINES: usize = 20;
/// Stages in which a worker may be at work.
const AT_WORK: [&str; 3] = ["acknowledged", "executing", "checking"];
/// After these a worker has the work no longer, or not yet.
const NOT_HELD: [&str; 6] = [
    "WorkOrderIssued",
    "WorkOrderExpired",
    "ExecutionCompleted",
    "ExecutionFailed",
    "ExecutionSuspended",
    "ChecksCompleted",
];
/// How the dispatcher's reason begins while a log is under an alarm; docs/operations.md lists the reasons.
const DISPATCH_STOPPED: &str = "dispatch is stopped: ";

/// The answer to "why?": four short parts and the next command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Why {
    /// `VTID-00002 "Title" failed at checking (run 1, attempt 2)`
    pub(crate) headline: String,
    /// The steps of the current run that changed something, in order.
    pub(crate) happened: Vec<String>,
    /// Code, sentence, causes, output; empty when nothing went wrong.
    pub(crate) reason: Vec<String>,
    /// What is merged, open, live or waited for.
    pub(crate) stands: Vec<String>,
    /// What to do, and the command for it.
    pub(crate) advice: Vec<String>,
    /// The command that is most likely next.
    pub(crate) next: String,
}

/// Puts the answer together from the task and its events.
pub(crate) fn why(task: &Task, history: &[HistoryEvent]) -> Why {
    let run: Vec<&HistoryEvent> =
        history.iter().filter(|event| event.run == 0 || event.run == task.run).collect();
    let failure = task.failure.as_ref().filter(|_| task.status() != TaskStatus::Complete);
    Why {
        headline: headline(task, failure),
        happened: run.iter().filter(|event| matters(event)).map(|event| describe(event)).collect(),
        reason: failure.map(|failure| reason(failure, &run)).unwrap_or_default(),
        stands: stands(task, &run),
        advice: advice(task, failure),
        next: next(task, failure, &run),
    }
}

fn headline(task: &Task, failure: Option<&Failure>) -> String {
    let title = if task.title.is_empty() { String::new() } else { format!(" \"{}\"", task.title) };
    let stage = failure.map(|f| f.stage.as_str()).filter(|stage| !stage.is_empty()).unwrap_or(&task.stage);
    let state = match task.status() {
        TaskStatus::Complete => "is complete".to_owned(),
        TaskStatus::Failed => format!("failed at {stage}"),
        TaskStatus::Blocked => format!("is blocked at {stage} and needs a person"),
        TaskStatus::Cancelled => "was cancelled".to_owned(),
        _ if task.waiting == "resume" => format!("is paused at {}", task.stage),
        _ if task.waiting == "approval" => "waits for approval".to_owned(),
        TaskStatus::Active => format!("is under way: {}", task.stage),
        TaskStatus::Pending if task.run > 0 => "waits to be dispatched".to_owned(),
        _ => "is registered and not started".to_owned(),
    };
    match task.run {
        0 => format!("{}{title} {state}", task.id),
        run => format!("{}{title} {state} (run {run}, attempt {})", task.id, task.attempt.max(1)),
    }
}

/// Events that a person wants to hear of here; the whole timeline is in `task show`.
fn matters(event: &HistoryEvent) -> bool {
    !matches!(
        event.name.as_str(),
        "PhaseCompleted" | "ModelCalled" | "FailureClassified" | "InsightPublished" | "TaskAllocated"
    )
}

fn reason(failure: &Failure, run: &[&HistoryEvent]) -> Vec<String> {
    let mut lines = vec![format!("{}: {}", failure.code, failure.message)];
    let mut outer = failure.message.as_str();
    for cause in &failure.causes {
        if !outer.contains(cause.as_str()) && !failure.message.contains(cause.as_str()) {
            lines.push(format!("caused by: {cause}"));
        }
        outer = cause;
    }
    let facts = failure.context.iter().filter(|(_, value)| !failure.message.contains(value.as_str()));
    lines.extend(facts.map(|(name, value)| match name.as_str() {
        // The name of a verdict says what it means when it is given; here it was not.
        "verdict" => format!("verdict not given: {}", value.replace('_', " ")),
        "output_tail" => format!("output tail: {}", last_lines(value)),
        name => format!("{}: {value}", name.replace('_', " ")),
    }));
    lines.extend(output(failure, run));
    if !failure.trace_id.is_empty() {
        lines.push(format!("trace: {}", failure.trace_id));
    }
    lines
}

/// The end of an output: the whole of it is kept by its SHA-256.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let left_out = lines.len().saturating_sub(MAX_TAIL_LINES);
    if left_out == 0 {
        return text.to_owned();
    }
    let shown: Vec<&str> = lines.into_iter().skip(left_out).collect();
    format!("({left_out} lines left out)\n{}", shown.join("\n"))
}

/// What the last event of the run that had something to show says: failed checks, or faults of the spec.
fn output(failure: &Failure, run: &[&HistoryEvent]) -> Vec<String> {
    for event in run.iter().rev() {
        let data = Data::of(event);
        let lines: Vec<String> = match event.name.as_str() {
            "ChecksCompleted" => {
                data.list("/results").iter().filter(|r| !r.is("/passed")).map(check).collect()
            }
            // A later spec may have been refused for another reason, which is not why the run ended.
            "SpecRejected" if data.code("/failure").as_ref() != Some(&failure.code) => continue,
            "SpecRejected" => data.list("/problems").iter().map(problem).collect(),
            "ExecutionCompleted" | "SpecRegistered" => return Vec::new(),
            _ => continue,
        };
        return lines;
    }
    Vec::new()
}

fn check(result: &Data) -> String {
    let output = match result.text("/output/sha256") {
        "" => String::new(),
        digest => format!(" (whole output: millrace text {digest})"),
    };
    let summary = match result.text("/summary") {
        "" => format!("`{}` did not succeed", result.text("/command")),
        summary => summary.to_owned(),
    };
    format!("check {}: {summary}{output}", result.text("/name"))
}

fn problem(problem: &Data) -> String {
    let place = match problem.number("/line") {
        0 => String::new(),
        line => format!("line {line}: "),
    };
    format!("{place}{} ({})", problem.text("/message"), problem.text("/advice"))
}

fn stands(task: &Task, run: &[&HistoryEvent]) -> Vec<String> {
    let mut lines = Vec::new();
    let rolled_back = run.iter().rev().copied().find(|event| event.name == "RollbackCompleted");
    if let Some(pull_request) = task.pull_request.as_ref().filter(|_| task.merge_commit.is_empty()) {
        lines.push(format!(
            "Pull request #{} ({}) is not merged. {}",
            pull_request.number,
            short(&pull_request.head),
            pull_request.url
        ));
    }
    if !task.merge_commit.is_empty() {
        lines.push(merged(task, rolled_back));
    } else if matches!(task.status(), TaskStatus::Failed | TaskStatus::Blocked | TaskStatus::Cancelled) {
        lines.push("Nothing was merged and nothing was released.".to_owned());
    }
    if let Some(event) = rolled_back {
        lines.push(format!("{}.", capital(&describe(event))));
    } else if !task.release_commit.is_empty() {
        lines.push(format!("{} is live at {}.", short(&task.release_commit), task.release_url));
    }
    if is_held(task, run) {
        lines.push(format!("{} holds the work.", task.worker));
    }
    if let Some(reason) = waits_for(task) {
        lines.push(format!("What it waited for when it was scheduled: {reason}."));
    }
    if lines.is_empty() {
        lines.push("Nothing has been changed yet.".to_owned());
    }
    lines
}

/// Whether a worker has taken the last work order and nothing says that it is done with it.
fn is_held(task: &Task, run: &[&HistoryEvent]) -> bool {
    let taken_or_not = |event: &&&HistoryEvent| {
        event.name == "WorkOrderAcknowledged" || NOT_HELD.contains(&event.name.as_str())
    };
    let is_taken =
        run.iter().rev().find(taken_or_not).is_some_and(|event| event.name == "WorkOrderAcknowledged");
    let may_be = task.status() == TaskStatus::Active && AT_WORK.contains(&task.stage.as_str());
    may_be && is_taken && !task.worker.is_empty()
}

/// Why a run is not let in yet; what a person has stopped has a reason of another kind.
fn waits_for(task: &Task) -> Option<&str> {
    let waits = task.status() == TaskStatus::Pending && task.waiting.is_empty();
    Some(task.reason.as_str()).filter(|reason| waits && !reason.is_empty())
}

fn is_dispatch_stopped(task: &Task) -> bool {
    waits_for(task).is_some_and(|reason| reason.starts_with(DISPATCH_STOPPED))
}

/// What became of the merged change on its branch: a rollback takes it back there too, where it can.
fn merged(task: &Task, rolled_back: Option<&HistoryEvent>) -> String {
    let commit = short(&task.merge_commit);
    let rollback = rolled_back.map(Data::of);
    let fact =
        |name: &str| rollback.as_ref().map(|data| data.text(&format!("/failure/context/{name}")).to_owned());
    match (fact("reverted_by").unwrap_or_default(), fact("not_reverted").unwrap_or_default()) {
        (by, _) if !by.is_empty() => {
            format!("The change was merged as {commit} and is reverted on its branch by {}.", short(&by))
        }
        (_, why) if !why.is_empty() => {
            format!("The change is merged as {commit} and still on its branch: {why}")
        }
        _ => format!("The change is merged as {commit}."),
    }
}

fn advice(task: &Task, failure: Option<&Failure>) -> Vec<String> {
    match (failure, task.status()) {
        (Some(failure), status) => {
            let mut lines = vec![failure.advice.clone()];
            if status == TaskStatus::Active {
                lines.push("A further attempt is under way by itself.".to_owned());
            }
            if !failure.code.is_empty() {
                lines.push(format!("More: docs/errors/{}.md", failure.code));
            }
            lines.retain(|line| !line.is_empty());
            lines
        }
        (None, TaskStatus::Complete) => vec!["Nothing.".to_owned()],
        (None, TaskStatus::Cancelled) => vec![Code::Cancelled.advice().to_owned()],
        (None, _) if task.waiting == "resume" => {
            vec!["Resume it when the reason for the pause is gone.".to_owned()]
        }
        (None, _) if task.waiting == "approval" => vec!["Look at it, then approve or deny it.".to_owned()],
        (None, _) if is_dispatch_stopped(task) => vec![
            "See `millrace health`: while it shows an alarm, nothing new is dispatched.".to_owned(),
            "The way back: docs/operations.md, \"When a log has lost something\".".to_owned(),
        ],
        (None, _) => vec!["Nothing; it goes on by itself.".to_owned()],
    }
}

fn next(task: &Task, failure: Option<&Failure>, run: &[&HistoryEvent]) -> String {
    let id = &task.id;
    let code = failure.and_then(|failure| Code::from_name(&failure.code));
    if let Some(Code::SpecInvalid | Code::SpecTemplateUnfilled | Code::TaskIdInvalid) = code {
        let path = run.iter().rev().map(|event| Data::of(event).text("/path").to_owned());
        let path = path.into_iter().find(|path| !path.is_empty()).unwrap_or_else(|| "FILE".to_owned());
        return format!("millrace spec lint {path}");
    }
    match task.status() {
        TaskStatus::Complete => format!("millrace task show {id}"),
        TaskStatus::Failed | TaskStatus::Blocked | TaskStatus::Cancelled => {
            format!("millrace task retry {id}")
        }
        _ if task.waiting == "resume" => format!("millrace task resume {id}"),
        _ if task.waiting == "approval" => format!("millrace task approve {id}"),
        _ if is_dispatch_stopped(task) => "millrace health".to_owned(),
        _ => format!("millrace task watch {id}"),
    }
}

fn capital(text: &str) -> String {
    let mut characters = text.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use millrace_events::v1 as events;
    use millrace_rpc::v1::PullRequest;

    use super::*;
    use crate::story::describe::tests::sent;

    fn task(status: TaskStatus, code: Option<Code>) -> Task {
        let failure = code.map(|code| Failure {
            code: code.name().to_owned(),
            message: "check `contrast` failed on the pull request".to_owned(),
            advice: code.advice().to_owned(),
            stage: "checking".to_owned(),
            causes: vec!["exit code 1".to_owned()],
            ..Failure::default()
        });
        Task {
            id: "VTID-00002".to_owned(),
            title: "Pale text".to_owned(),
            status: status as i32,
            stage: "checking".to_owned(),
            run: 1,
            attempt: 1,
            failure,
            ..Task::default()
        }
    }

    #[test]
    fn s2_a12_a_failed_check_is_explained_with_code_step_output_and_next_command() {
        let pull_request =
            PullRequest { number: 2, head: "abcdef0123456789".to_owned(), ..Default::default() };
        let failed =
            Task { pull_request: Some(pull_request), ..task(TaskStatus::Failed, Some(Code::ChecksFailed)) };
        let history = [
            sent(events::SpecRegistered { version: 1, title: "Pale text".to_owned(), ..Default::default() }),
            sent(events::ChecksCompleted {
                results: vec![events::CheckResult {
                    name: "contrast".to_owned(),
                    summary: "2.1 is below 4.5".to_owned(),
                    ..Default::default()
                }],
                ..Default::default()
            }),
        ];
        let why = why(&failed, &history);
        assert_eq!(why.headline, "VTID-00002 \"Pale text\" failed at checking (run 1, attempt 1)");
        assert_eq!(why.happened.len(), 2);
        assert_eq!(why.reason[0], "CHECKS_FAILED: check `contrast` failed on the pull request");
        assert!(why.reason.contains(&"caused by: exit code 1".to_owned()), "{:?}", why.reason);
        assert!(why.reason.contains(&"check contrast: 2.1 is below 4.5".to_owned()), "{:?}", why.reason);
        assert!(
            why.stands[0].contains("#2") && why.stands[1].contains("Nothing was merged"),
            "{:?}",
            why.stands
        );
        assert_eq!(why.advice[0], Code::ChecksFailed.advice());
        assert_eq!(why.next, "millrace task retry VTID-00002");
    }

    #[test]
    fn every_code_in_every_end_gives_a_reason_advice_and_a_command() {
        for code in Code::ALL {
            for status in [TaskStatus::Failed, TaskStatus::Blocked, TaskStatus::Active] {
                let why = why(&task(status, Some(*code)), &[]);
                assert!(why.reason[0].starts_with(code.name()), "{}", code.name());
                assert!(why.advice[0] == code.advice() && why.next.starts_with("millrace "), "{why:?}");
            }
        }
    }

    #[test]
    fn a_rejected_spec_lists_its_faults_and_names_the_file_to_lint() {
        let rejected = sent(events::SpecRejected {
            path: "docs/specs/00002-pale.md".to_owned(),
            failure: Some(events::Failure::new(Code::SpecInvalid, "1 fault")),
            problems: vec![events::SpecProblem {
                line: 3,
                message: "no summary".to_owned(),
                advice: "write one".to_owned(),
                ..Default::default()
            }],
            ..Default::default()
        });
        let why = why(&task(TaskStatus::Failed, Some(Code::SpecInvalid)), &[rejected]);
        assert!(why.reason.contains(&"line 3: no summary (write one)".to_owned()), "{:?}", why.reason);
        assert_eq!(why.next, "millrace spec lint docs/specs/00002-pale.md");
    }

    #[test]
    fn what_is_fine_needs_nothing() {
        let complete = Task {
            release_commit: "abcdef0123456789".to_owned(),
            release_url: "http://127.0.0.1:8080".to_owned(),
            merge_commit: "abcdef0123456789".to_owned(),
            ..task(TaskStatus::Complete, None)
        };
        let answer = why(&complete, &[]);
        assert!(answer.reason.is_empty());
        assert_eq!(answer.stands[1], "abcdef0123 is live at http://127.0.0.1:8080.");
        assert_eq!(why(&task(TaskStatus::Active, None), &[]).next, "millrace task watch VTID-00002");
    }

    #[test]
    fn a_task_without_room_says_what_it_waits_for() {
        let reason = "repository shop has 1 of 1 runs under way";
        let waits = Task { reason: reason.to_owned(), ..task(TaskStatus::Pending, None) };
        let scheduled = events::TaskScheduled { waits_for: reason.to_owned(), ..Default::default() };
        let answer = why(&waits, &[sent(scheduled)]);
        assert_eq!(answer.headline, "VTID-00002 \"Pale text\" waits to be dispatched (run 1, attempt 1)");
        assert!(answer.happened[0].ends_with(&format!("; it waits: {reason}")), "{:?}", answer.happened);
        assert_eq!(answer.stands, [format!("What it waited for when it was scheduled: {reason}.")]);
        assert_eq!(answer.advice, ["Nothing; it goes on by itself."]);
    }

    #[test]
    fn a_task_that_an_alarm_keeps_waiting_is_sent_to_the_alarm_and_the_way_back() {
        let reason = "dispatch is stopped: worker lost 7 events".to_owned();
        let waits = Task { reason, ..task(TaskStatus::Pending, None) };
        let answer = why(&waits, &[]);
        assert!(answer.advice[0].contains("`millrace health`"), "{:?}", answer.advice);
        let heading = answer.advice[1].split('"').nth(1).unwrap();
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md");
        assert!(std::fs::read_to_string(page).unwrap().contains(&format!("# {heading}\n")), "{heading}");
        assert_eq!(answer.next, "millrace health");
        let paused = why(&Task { waiting: "resume".to_owned(), ..waits }, &[]);
        assert_eq!(paused.next, "millrace task resume VTID-00002");
    }

    #[test]
    fn a_worker_holds_the_work_from_its_acknowledgement_to_its_end() {
        let at = |stage: &str| Task {
            worker: "worker-1".to_owned(),
            stage: stage.to_owned(),
            ..task(TaskStatus::Active, None)
        };
        let taken = sent(events::WorkOrderAcknowledged::default());
        let holds = ["worker-1 holds the work."];
        assert_eq!(why(&at("executing"), std::slice::from_ref(&taken)).stands, holds);
        assert_ne!(why(&at("pr_opened"), std::slice::from_ref(&taken)).stands, holds);
        let change = sent(events::ExecutionCompleted::default());
        let paused = Task { waiting: "resume".to_owned(), ..at("executing") };
        assert_ne!(why(&paused, &[taken.clone(), change.clone()]).stands, holds);
        let offered = sent(events::WorkOrderIssued::default());
        assert_ne!(why(&at("checking"), &[taken.clone(), change.clone(), offered.clone()]).stands, holds);
        assert_eq!(why(&at("checking"), &[taken.clone(), change, offered, taken]).stands, holds);
    }

    #[test]
    fn a_spec_that_is_refused_later_is_not_why_the_run_ended() {
        let task = task(TaskStatus::Blocked, Some(Code::ModelUnavailable));
        let refused = events::SpecRejected {
            failure: Some(events::Failure::new(Code::SpecIdConflict, "two claim it")),
            problems: vec![events::SpecProblem {
                message: "belongs to another".to_owned(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let reason = why(&task, &[sent(refused)]).reason;
        assert!(reason.iter().all(|line| !line.contains("belongs to another")), "{reason:?}");
    }

    #[test]
    fn a_cause_that_the_sentence_names_is_not_told_again() {
        let mut task = task(TaskStatus::Failed, Some(Code::ModelUnavailable));
        let failure = task.failure.as_mut().unwrap();
        failure.message = "no model answered: it is down: no route".to_owned();
        failure.causes = vec!["no model answered".to_owned(), "it is down: no route".to_owned()];
        assert_eq!(why(&task, &[]).reason.len(), 1);
    }

    #[test]
    fn a_rollback_says_what_became_of_the_merged_commit() {
        let task =
            Task { merge_commit: "1".repeat(40), ..task(TaskStatus::Failed, Some(Code::HealthCheckFailed)) };
        for (name, value, said) in [
            ("reverted_by", "2".repeat(40), "is reverted on its branch by 2222222222"),
            ("not_reverted", "main moved; revert it by hand".to_owned(), "revert it by hand"),
        ] {
            let failure = events::Failure::new(Code::HealthCheckFailed, "503").with(name, value);
            let rollback = sent(events::RollbackCompleted { failure: Some(failure), ..Default::default() });
            let why = why(&task, &[rollback]);
            assert!(why.stands[0].contains("1111111111") && why.stands[0].contains(said), "{:?}", why.stands);
        }
    }

    #[test]
    fn a_long_output_is_shown_from_its_end() {
        let long: Vec<String> = (1..=50).map(|line| format!("line {line}")).collect();
        let shown = last_lines(&long.join("\n"));
        assert!(shown.starts_with("(30 lines left out)\nline 31\n") && shown.ends_with("line 50"), "{shown}");
        assert_eq!(last_lines("short"), "short");
    }
}
