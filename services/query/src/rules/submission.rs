//! What became of a submission.

use millrace_rpc::v1;
use serde_json::Value;

/// Folds the spec-registry's answers to a submission. No answer yet: waiting.
pub(crate) fn submission_state(answers: &[v1::HistoryEvent]) -> v1::GetSubmissionResponse {
    let mut state = v1::GetSubmissionResponse::default();
    state.set_state(v1::SubmissionState::Waiting);
    for answer in answers {
        let Ok(data) = serde_json::from_str::<Value>(&answer.data) else { continue };
        if let Some(task) = data.get("task").and_then(Value::as_str).filter(|task| !task.is_empty()) {
            state.task = task.to_owned();
        }
        match answer.name.as_str() {
            "SpecRegistered" => {
                state.set_state(v1::SubmissionState::Registered);
                state.spec_version = data.get("version").and_then(Value::as_u64).map_or(0, clamp);
            }
            "SpecRejected" => {
                state.set_state(v1::SubmissionState::Rejected);
                state.failure = data.get("failure").map(failure);
                state.problems = list(&data, "problems").map(problem).collect();
            }
            _ => {}
        }
    }
    state
}

/// A failure of the events, in proto3 JSON, as the API has it.
fn failure(value: &Value) -> v1::Failure {
    let code = code_name(value);
    v1::Failure {
        message: text(value, "message"),
        source: text(value, "source"),
        stage: text(value, "stage"),
        causes: list(value, "causes").filter_map(|cause| cause.as_str().map(str::to_owned)).collect(),
        context: value
            .get("context")
            .and_then(Value::as_object)
            .map(|facts| {
                facts.iter().filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
            })
            .unwrap_or_default(),
        trace_id: text(value, "trace_id"),
        ..explained(code)
    }
}

/// A failure with nothing but what its code says.
pub(crate) fn explained(code: String) -> v1::Failure {
    let known = millrace_events::Code::from_name(&code);
    v1::Failure {
        advice: known.map_or_else(String::new, |code| code.advice().to_owned()),
        class: known.map_or_else(String::new, |code| code.class().name().to_owned()),
        retryable: known.is_some_and(millrace_events::Code::is_retryable),
        code,
        ..v1::Failure::default()
    }
}

fn problem(value: &Value) -> v1::SpecProblem {
    v1::SpecProblem {
        code: code_name(value),
        line: value.get("line").and_then(Value::as_u64).map_or(0, clamp),
        message: text(value, "message"),
        advice: text(value, "advice"),
    }
}

/// `ERROR_CODE_CHECKS_FAILED` without the prefix that the wire needs.
fn code_name(value: &Value) -> String {
    let code = text(value, "code");
    code.strip_prefix("ERROR_CODE_").map_or_else(|| code.clone(), str::to_owned)
}

fn list<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    value.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn text(value: &Value, name: &str) -> String {
    value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn clamp(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use millrace_events::{Code, Envelope, Event, Key, v1 as events};

    use super::*;

    fn answer(event: impl Into<Event>) -> v1::HistoryEvent {
        let event = event.into();
        let key = Key::new("req-1").unwrap();
        let envelope = Envelope::new("1", "/x", key, millrace_decider::Timestamp::default(), &event);
        let json = envelope.to_json();
        v1::HistoryEvent {
            name: event.name().to_owned(),
            data: json["data"].to_string(),
            ..v1::HistoryEvent::default()
        }
    }

    #[test]
    fn without_an_answer_it_waits() {
        assert_eq!(submission_state(&[]).state(), v1::SubmissionState::Waiting);
    }

    #[test]
    fn an_allocation_names_the_task_and_the_registration_the_version() {
        let allocated =
            answer(events::TaskAllocated { task: "VTID-00007".to_owned(), submission: "req-1".to_owned() });
        let state = submission_state(std::slice::from_ref(&allocated));
        assert_eq!((state.state(), state.task.as_str()), (v1::SubmissionState::Waiting, "VTID-00007"));
        let registered = answer(events::SpecRegistered {
            task: "VTID-00007".to_owned(),
            version: 2,
            ..events::SpecRegistered::default()
        });
        let state = submission_state(&[allocated, registered]);
        assert_eq!((state.state(), state.spec_version), (v1::SubmissionState::Registered, 2));
    }

    #[test]
    fn s2_a12_a_rejection_shows_code_sentence_advice_and_every_fault() {
        let rejected = answer(events::SpecRejected {
            failure: Some(events::Failure::new(Code::SpecInvalid, "2 faults in a.md").at_stage("registered")),
            problems: vec![events::SpecProblem {
                code: events::ErrorCode::SpecInvalid as i32,
                line: 4,
                message: "no summary".to_owned(),
                advice: "write one".to_owned(),
            }],
            ..events::SpecRejected::default()
        });
        let state = submission_state(&[rejected]);
        assert_eq!(state.state(), v1::SubmissionState::Rejected);
        let failure = state.failure.unwrap();
        assert_eq!((failure.code.as_str(), failure.stage.as_str()), ("SPEC_INVALID", "registered"));
        assert_eq!(failure.advice, Code::SpecInvalid.advice());
        assert_eq!((state.problems[0].line, state.problems[0].code.as_str()), (4, "SPEC_INVALID"));
    }
}
