//! One question: what is sent, how often, and what is kept of it.

use std::sync::Arc;
use std::time::Duration;

use millrace_router::{AskError, Author, ErrorClass, ModelError, Role, Verdict};
use sha2::{Digest, Sha256};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::{CREW, Scripted, ask, good_change, good_plan, router};

const BAD: &str = r#"{"rollback_plan": "", "idempotency_key": "k", "risk_level": "huge"}"#;

fn unavailable() -> ModelError {
    ModelError::new(ErrorClass::Server, "503")
}

fn silent() -> Arc<Scripted> {
    Scripted::new("second", [])
}

#[tokio::test]
async fn s0_4_4_the_second_request_carries_the_exact_errors_of_the_first_answer() {
    let first = Scripted::new("first", [Ok(BAD.to_owned()), Ok(good_plan().to_string())]);
    let answer = router(CREW, vec![first.clone(), silent()])
        .ask(&ask(Role::Planner), &CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(answer.value, good_plan());
    assert_eq!((answer.violations, first.calls()), (1, 2));
    let asked = first.asked.lock().unwrap();
    let (_, second) = &asked[1];
    assert_eq!(
        second.iter().map(|m| m.author).collect::<Vec<_>>(),
        [Author::User, Author::Assistant, Author::User]
    );
    assert_eq!(second[1].text, BAD);
    let errors = &answer.calls[0].contract_errors;
    assert_eq!(
        errors.iter().map(|e| e.pointer.as_str()).collect::<Vec<_>>(),
        ["/risk_level", "/rollback_plan", "/steps"]
    );
    for error in errors {
        assert!(second[2].text.contains(&error.to_string()), "{}", second[2].text);
    }
}

#[tokio::test]
async fn s0_4_9b_an_always_bad_model_is_called_exactly_one_plus_three_times() {
    let first = Scripted::new("first", [Ok(BAD.to_owned())]);
    let second = silent();
    let error = router(CREW, vec![first.clone(), second.clone()])
        .ask(&ask(Role::Planner), &CancellationToken::new())
        .await
        .unwrap_err();
    assert_eq!((first.calls(), second.calls()), (4, 0), "and nobody else is asked");
    assert_eq!(error.calls().len(), 4);
    assert!(error.calls().iter().all(|call| call.verdict == Verdict::ContractViolated));
    let text = error.to_string();
    let AskError::ContractViolation { contract, attempts, errors, .. } = error else {
        panic!("{text}");
    };
    assert_eq!((contract.as_str(), attempts, errors.len()), ("planner", 4, 3));
    assert!(text.contains("/steps"), "{text}");
}

#[tokio::test]
async fn s0_4_9b_the_cap_of_the_crew_file_is_honoured() {
    for retries in [0, 1] {
        let crew = CREW.replace("contract_retries: 3", &format!("contract_retries: {retries}"));
        let first = Scripted::new("first", [Ok("I would rather not.".to_owned())]);
        let error = router(&crew, vec![first.clone(), silent()])
            .ask(&ask(Role::Planner), &CancellationToken::new())
            .await
            .unwrap_err();
        assert_eq!(first.calls(), 1 + retries);
        assert!(error.to_string().contains("I would rather not."), "{error}");
    }
}

#[tokio::test]
async fn a_call_is_recorded_with_hashes_tokens_and_cost() {
    let fenced = format!("Here:\n```json\n{}\n```", good_plan());
    let first = Scripted::new("first", [Ok(fenced.clone())]);
    let answer = router(CREW, vec![first, silent()])
        .ask(&ask(Role::Planner), &CancellationToken::new())
        .await
        .unwrap();
    let call = &answer.calls[0];
    assert_eq!((call.provider.as_str(), call.model.as_str()), ("first", "model-1"));
    assert_eq!(call.answer_sha256.as_deref(), Some(hex::encode(Sha256::digest(&fenced)).as_str()));
    assert_eq!(call.prompt_sha256, hex::encode(Sha256::digest(&call.prompt)));
    assert!(call.prompt.contains("Make the link red.") && call.prompt.contains("You plan."));
    // 1000 * 3.0 + 10 * 15.0 millionths.
    assert_eq!((call.usage.input, call.usage.output, call.cost_micro_usd), (1000, 10, 3150));
    assert_eq!((call.verdict, call.repaired, call.error.clone()), (Verdict::Accepted, true, None));
}

#[tokio::test(start_paused = true)]
async fn s0_4_2_an_unavailable_candidate_is_followed_by_the_next_and_both_are_recorded() {
    let first = Scripted::new("first", [Err(unavailable())]);
    let second = Scripted::new("second", [Ok(BAD.to_owned()), Ok(good_plan().to_string())]);
    let answer = router(CREW, vec![first.clone(), second.clone()])
        .ask(&ask(Role::Planner), &CancellationToken::new())
        .await
        .unwrap();
    assert_eq!((first.calls(), second.calls()), (5, 2), "the one that answered mends its answer");
    assert_eq!(answer.calls[0].requests, 5);
    let fallback = &answer.fallbacks[0];
    assert_eq!((fallback.from.as_str(), fallback.to.as_str()), ("one", "two"));
    assert_eq!((fallback.class, answer.fallbacks.len()), (ErrorClass::Server, 1));
    assert_eq!(
        answer.calls.iter().map(|call| call.verdict).collect::<Vec<_>>(),
        [Verdict::Failed, Verdict::ContractViolated, Verdict::Accepted]
    );
    assert_eq!(answer.calls[0].error, Some(unavailable()));
    assert_eq!(answer.violations, 1);
}

#[tokio::test]
async fn s0_4_2_an_exhausted_quota_is_not_worked_around() {
    let quota = ModelError::new(ErrorClass::Billing, "pay first");
    let first = Scripted::new("first", [Err(quota.clone())]);
    let second = Scripted::new("second", [Ok(good_plan().to_string())]);
    let error = router(CREW, vec![first, second.clone()])
        .ask(&ask(Role::Planner), &CancellationToken::new())
        .await
        .unwrap_err();
    assert_eq!(second.calls(), 0);
    assert!(matches!(error, AskError::Model { source, .. } if source == quota));
}

#[tokio::test(start_paused = true)]
async fn a_silent_model_is_given_up_after_the_request_timeout() {
    let first = Scripted::new("first", []);
    let second = Scripted::new("second", [Ok(good_plan().to_string())]);
    let crew = CREW.replace("timeout:", "retry: {attempts: 1}, timeout:");
    let answer =
        router(&crew, vec![first, second]).ask(&ask(Role::Planner), &CancellationToken::new()).await.unwrap();
    let error = answer.calls[0].error.as_ref().unwrap().to_string();
    assert!(error.contains("60000 ms"), "{error}");
    assert_eq!(answer.calls[0].duration, Duration::from_secs(60));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_the_question_ends_it_and_keeps_the_calls() {
    let mut ask = ask(Role::Implementer);
    ask.deadline = Instant::now() + Duration::from_secs(5);
    let first = Scripted::new("first", []);
    let error = router(CREW, vec![first, silent()]).ask(&ask, &CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, AskError::DeadlineExceeded { .. }), "{error}");
    assert_eq!(error.calls().len(), 1);
}

#[tokio::test]
async fn cancelling_ends_a_call_and_keeps_its_record() {
    let (first, second) = (Scripted::new("first", []), silent());
    let router = router(CREW, vec![first.clone(), second]);
    let (ask, cancel) = (ask(Role::Planner), CancellationToken::new());
    let (ended, ()) = tokio::join!(router.ask(&ask, &cancel), async {
        while first.calls() == 0 {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    });
    let error = ended.unwrap_err();
    assert!(matches!(error, AskError::Cancelled { .. }), "{error}");
    assert_eq!(error.calls().len(), 1);
    assert_eq!(error.calls()[0].verdict, Verdict::Failed);
}

#[tokio::test]
async fn each_role_has_its_own_contract_and_a_role_without_one_cannot_be_asked() {
    let second = Scripted::new("second", [Ok(good_change().to_string())]);
    let router = router(CREW, vec![Scripted::new("first", []), second.clone()]);
    let cancel = CancellationToken::new();
    assert_eq!(router.ask(&ask(Role::Implementer), &cancel).await.unwrap().value, good_change());
    let error = router.ask(&ask(Role::Reviewer), &cancel).await.unwrap_err();
    assert!(matches!(error, AskError::Unroutable { .. }), "{error}");
    assert_eq!(second.calls(), 1);
}
