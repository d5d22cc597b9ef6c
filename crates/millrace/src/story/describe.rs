//! One event in one line.

use millrace_rpc::v1::HistoryEvent;

use super::data::Data;
use super::{duration, short};

/// What happened, in a line without its time. An event of a type that this version does not know is named.
pub(crate) fn describe(event: &HistoryEvent) -> String {
    let data = Data::of(event);
    let told = match event.log.as_str() {
        "intake" | "spec-registry" => arrival(&event.name, &data),
        "dispatcher" => life_cycle(&event.name, &data),
        "worker" => work(&event.name, &data),
        "validator" => verdict(&event.name, &data),
        "deployer" => release(&event.name, &data),
        "operator" => Some(decision(&event.name, &data)),
        _ => other(&event.name, &data),
    };
    let told = told.unwrap_or_else(|| event.name.clone());
    // One line, whatever stands in the event's texts.
    told.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn arrival(name: &str, data: &Data) -> Option<String> {
    Some(match name {
        "SpecSubmitted" => {
            format!("{} handed in {}", or(data.text("/submitted_by"), "somebody"), data.text("/path"))
        }
        "TaskRequested" => {
            with_reason(format!("{} asked for it", or(data.text("/requested_by"), "somebody")), data)
        }
        "TaskAllocated" => format!("the submission became {}", data.text("/task")),
        "SpecRegistered" => {
            let ready = match data.text("/readiness") {
                "SPEC_READINESS_DRAFT" => " (a draft: open questions, not dispatched)",
                "SPEC_READINESS_DONE" => " (already done, not dispatched)",
                _ => "",
            };
            format!("spec version {} registered: {}{ready}", data.number("/version"), data.text("/title"))
        }
        "SpecRejected" => {
            let faults = match data.list("/problems").len() {
                0 | 1 => String::new(),
                count => format!(" ({count} faults)"),
            };
            format!("spec rejected, {}{faults}", failure(data))
        }
        _ => return None,
    })
}

fn life_cycle(name: &str, data: &Data) -> Option<String> {
    Some(match name {
        "TaskScheduled" => {
            let run = data.number("/task/run");
            let version = data.number("/task/spec_version");
            let scheduled = format!("run {run} scheduled with spec version {version}");
            match data.text("/waits_for") {
                "" => scheduled,
                reason => format!("{scheduled}; it waits: {reason}"),
            }
        }
        "WorkOrderIssued" => {
            let kind = data.word("/order/kind", "WORK_ORDER_KIND_");
            let tries = match data.number("/order/tries") {
                0 | 1 => String::new(),
                tries => format!(", offered for the {tries}. time"),
            };
            let previous = data.failure("/order/previous_failure").map(|f| format!(", after {f}"));
            format!("work order ({kind}) issued{tries}{}", previous.unwrap_or_default())
        }
        "WorkOrderExpired" => {
            format!("work order ({}) expired, {}", data.word("/kind", "WORK_ORDER_KIND_"), failure(data))
        }
        "ApprovalRequired" => with_reason("waits for approval".to_owned(), data),
        "TaskBlocked" => format!("blocked, {}", failure(data)),
        "TaskPaused" => with_reason(format!("paused by {}", data.text("/actor")), data),
        "TaskResumed" => with_reason(format!("resumed by {}", data.text("/actor")), data),
        "TaskCompleted" => match data.text("/url") {
            "" => format!("complete, released {}", short(data.text("/release_commit"))),
            url => format!("complete, released {} at {url}", short(data.text("/release_commit"))),
        },
        "TaskFailed" => format!("failed, {}", failure(data)),
        "TaskCancelled" => with_reason(format!("cancelled by {}", or(data.text("/actor"), "somebody")), data),
        "TransitionRefused" => format!("refused, {}", failure(data)),
        _ => return None,
    })
}

fn work(name: &str, data: &Data) -> Option<String> {
    Some(match name {
        "WorkOrderAcknowledged" => {
            format!(
                "{} took the work order ({})",
                data.text("/worker"),
                data.word("/kind", "WORK_ORDER_KIND_")
            )
        }
        "PhaseCompleted" => {
            let phase = data.word("/record/phase", "PHASE_");
            let took = duration(data.number("/record/duration_ms"));
            tail(format!("phase {phase} done in {took}"), data.text("/record/summary"))
        }
        "PhaseReverted" => with_reason(
            format!("back from {} to {}", data.word("/from", "PHASE_"), data.word("/to", "PHASE_")),
            data,
        ),
        "ModelCalled" => format!(
            "{} asked {}: {}",
            data.text("/call/role"),
            data.text("/call/model"),
            data.text("/call/verdict").replace('_', " ")
        ),
        "ModelFellBack" => format!(
            "{} was asked instead of {} ({})",
            data.text("/to"),
            data.text("/from"),
            data.text("/class").replace('_', " ")
        ),
        "ContractViolated" => {
            let first =
                data.list("/errors").first().map(|error| error.itself().to_owned()).unwrap_or_default();
            tail(
                format!(
                    "answer {} of the {} does not fit its schema",
                    data.number("/call"),
                    data.text("/role")
                ),
                &first,
            )
        }
        "ToolCallRefused" => format!("tool {} refused, {}", data.text("/tool"), failure(data)),
        "PromptDriftDetected" => format!("prompt {} is not its baseline", data.text("/prompt")),
        "ExecutionCompleted" => tail(
            format!("change {} made in {}", short(data.text("/head")), duration(data.number("/duration_ms"))),
            data.text("/summary"),
        ),
        "ExecutionFailed" => {
            format!("{} failed, {}", or(&data.word("/kind", "WORK_ORDER_KIND_"), "the work"), failure(data))
        }
        "ExecutionSuspended" => with_reason(format!("waits after {}", data.word("/phase", "PHASE_")), data),
        "ChecksCompleted" => checks(data),
        _ => return None,
    })
}

fn checks(data: &Data) -> String {
    let results = data.list("/results");
    let broken: Vec<&str> =
        results.iter().filter(|check| !check.is("/passed")).map(|check| check.text("/name")).collect();
    if data.is("/passed") {
        format!(
            "{} of {} checks passed on {}",
            results.len() - broken.len(),
            results.len(),
            short(data.text("/head"))
        )
    } else {
        format!("checks failed on {}: {}", short(data.text("/head")), broken.join(", "))
    }
}

fn verdict(name: &str, data: &Data) -> Option<String> {
    Some(match name {
        "ValidationPassed" => format!("pull request #{} validated", data.number("/pull_request/number")),
        "ValidationFailed" => format!("validation failed, {}", failure(data)),
        _ => return None,
    })
}

fn release(name: &str, data: &Data) -> Option<String> {
    let number = data.number("/pull_request/number");
    Some(match name {
        "PullRequestOpened" => format!("pull request #{number} opened {}", data.text("/pull_request/url")),
        "PullRequestFailed" => format!("no pull request, {}", failure(data)),
        "MergeCompleted" => format!("pull request #{number} merged as {}", short(data.text("/merge_commit"))),
        "MergeFailed" => format!("pull request #{number} not merged, {}", failure(data)),
        "DeploymentVerified" => {
            format!("{} seen live at {}", short(data.text("/release_commit")), data.text("/url"))
        }
        "DeploymentFailed" => format!("release failed, {}", failure(data)),
        "RollbackCompleted" => match data.text("/restored_commit") {
            "" => "release taken back; nothing ran before it".to_owned(),
            commit => format!("release taken back, {} runs again", short(commit)),
        },
        "RollbackFailed" => format!("rollback failed, {}", failure(data)),
        "StageStopped" => match data.text("/stage") {
            // The deployer had nothing of the run; how far the worker was is not its to say.
            "scheduled" => with_reason("stopped before any pull request".to_owned(), data),
            stage => with_reason(format!("{stage} stopped"), data),
        },
        _ => return None,
    })
}

fn decision(name: &str, data: &Data) -> String {
    let did = match name {
        "ApprovalGranted" => "approved it",
        "ApprovalDenied" => "denied it",
        "ChangesRequested" => "asked for changes",
        "CancelRequested" => "asked to cancel it",
        "RetryRequested" => "asked for another run",
        "PauseRequested" => "asked to pause it",
        "ResumeRequested" => "asked to resume it",
        "DeadLetterReplayRequested" => "asked to read it again",
        other => other,
    };
    with_reason(format!("{} {did}", or(data.text("/actor"), "somebody")), data)
}

fn other(name: &str, data: &Data) -> Option<String> {
    Some(match name {
        "FailureClassified" => format!("failure counted in {}", data.text("/group")),
        "OverdueNoticed" => format!("silent for {}", duration(data.number("/idle_ms"))),
        "DeadLettered" => format!(
            "{} could not handle {}:{}, {}",
            data.text("/service"),
            data.text("/stream"),
            data.number("/sequence"),
            failure(data)
        ),
        "DeadLetterReplayed" => format!(
            "{} has handled {}:{} after all",
            data.text("/service"),
            data.text("/stream"),
            data.number("/sequence")
        ),
        _ => return None,
    })
}

fn failure(data: &Data) -> String {
    data.failure("/failure").unwrap_or_else(|| "for a reason that the event does not name".to_owned())
}

fn with_reason(text: String, data: &Data) -> String {
    tail(text, data.text("/reason"))
}

fn tail(text: String, more: &str) -> String {
    if more.is_empty() { text } else { format!("{text}: {more}") }
}

fn or<'a>(text: &'a str, otherwise: &'a str) -> &'a str {
    if text.is_empty() { otherwise } else { text }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
pub(crate) mod tests {
    use millrace_decider::Timestamp;
    use millrace_events::{Code, Envelope, Event, Key, v1};
    use millrace_rpc::v1::HistoryEvent;

    use super::*;

    /// An event as the query service sends it.
    pub(crate) fn sent(event: impl Into<Event>) -> HistoryEvent {
        let event = event.into();
        let key = Key::new("VTID-00001").unwrap();
        let envelope = Envelope::new("1", "/x", key, Timestamp::default(), &event);
        HistoryEvent {
            log: event.log().name().to_owned(),
            name: event.name().to_owned(),
            data: envelope.to_json()["data"].to_string(),
            run: 1,
            ..HistoryEvent::default()
        }
    }

    #[test]
    fn every_event_about_a_task_is_told_in_words() {
        let aggregates = [
            "OverrideGranted",
            "PromptBaselineReset",
            "InsightPublished",
            "PromptVersionPromoted",
            "LedgerRegressed",
            "LogDiffers",
            "LogRecovered",
            "LedgerRebuilt",
            "ChainHeadSigned",
        ];
        for (log, name) in Event::CATALOGUE.iter().filter(|(_, name)| !aggregates.contains(name)) {
            let told = describe(&sent(Event::empty(*log, name).unwrap()));
            assert_ne!(&told, name, "{name} is not told in words");
            assert!(!told.contains("  "), "{name}: `{told}`");
        }
    }

    #[test]
    fn a_failure_is_told_with_its_code_and_sentence() {
        let failure = v1::Failure::new(Code::ChecksFailed, "check `contrast` failed on 0123456789");
        let told = describe(&sent(v1::TaskFailed { failure: Some(failure), ..Default::default() }));
        assert_eq!(told, "failed, CHECKS_FAILED: check `contrast` failed on 0123456789");
    }

    #[test]
    fn failed_checks_are_named() {
        let result =
            |name: &str, passed| v1::CheckResult { name: name.to_owned(), passed, ..Default::default() };
        let event = v1::ChecksCompleted {
            head: "0123456789abcdef".to_owned(),
            results: vec![result("lint", true), result("contrast", false)],
            ..Default::default()
        };
        assert_eq!(describe(&sent(event)), "checks failed on 0123456789: contrast");
    }
}
