//! Every effect, with NATS away from any of its questions on: a fault that is waited out, never an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use millrace_decider::{Cause, Timestamp};
use millrace_deployer::domain::{Effect, Input, Merge};
use millrace_deployer::effects::DeployerService;
use millrace_events::v1::{Failure, TaskRef, ValidationPassed};
use millrace_events::{Code, DeployerEvent, Key};
use millrace_runtime::clock::{Clock as _, System};
use millrace_runtime::host::{EffectContext, Hosted as _};
use millrace_runtime::memory::GatedBroker;
use tokio_util::sync::CancellationToken;

use super::stage::{Stage, task};

/// A gate that opens so many times, and then never again.
fn opens(times: usize) -> impl Fn(&str) -> bool + Send + Sync + 'static {
    let left = AtomicUsize::new(times);
    move |_| left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
}

/// Does the effect with ever fewer failures, until it gets through. How many questions that takes, and what
/// came of it.
async fn done(stage: &Stage, effect: &Effect, of: &TaskRef) -> (usize, Option<Input>) {
    for answered in 0..200 {
        let broker = GatedBroker::new(stage.broker.clone(), opens(answered));
        let service = DeployerService::new(stage.world(Arc::new(broker)));
        let context = EffectContext {
            key: Key::new(of.task.as_str()).unwrap(),
            cause: Cause::new("MILLRACE_VALIDATOR_0", 1),
            now: System.now(),
            attempt: 1,
            stop: CancellationToken::new(),
        };
        match service.perform(effect, &context).await {
            Ok(input) => return (answered, input),
            Err(fault) => assert!(fault.waits, "{effect:?} after {answered} answers: {fault:?}"),
        }
    }
    panic!("{effect:?} never ends");
}

#[tokio::test]
async fn no_effect_takes_an_outage_for_an_answer() {
    let stage = Stage::silent(Arc::new(System), None).await;
    let one = task("VTID-00001", 1, 1);
    stage.scheduled(&one).await;
    let change = stage.change(&one, &[("page.css", "red\n")]).await;
    let open = Effect::OpenPullRequest {
        execution: Box::new(change),
        position: "MILLRACE_WORKER_0:1".to_owned(),
        previous: None,
    };
    let (asked, found) = done(&stage, &open, &one).await;
    let Some(Input::Found(event)) = found else { panic!("{found:?}") };
    let DeployerEvent::PullRequestOpened(opened) = *event else { panic!("{event:?}") };
    assert!(asked > 3, "{asked}");

    let passed = ValidationPassed {
        task: Some(one.clone()),
        pull_request: opened.pull_request.clone(),
        verdicts: Vec::new(),
        base_checked: true,
    };
    let (asked, found) = done(&stage, &Effect::Merge(Box::new(passed.clone())), &one).await;
    let Some(Input::Found(event)) = found else { panic!("{found:?}") };
    let DeployerEvent::MergeCompleted(merged) = *event else { panic!("{event:?}") };
    assert!(asked > 3, "{asked}");

    let merge = Box::new(Merge {
        task: one.clone(),
        pull_request: opened.pull_request.unwrap(),
        commit: merged.merge_commit,
        at: Timestamp::from_millis(0),
    });
    let (asked, found) = done(&stage, &Effect::Deploy(merge.clone()), &one).await;
    let verified = matches!(&found, Some(Input::Found(event))
        if matches!(event.as_ref(), DeployerEvent::DeploymentVerified(_)));
    assert!(verified && asked > 1, "{asked}: {found:?}");

    let failure = Failure::new(Code::HealthCheckFailed, "it was sick");
    let (asked, found) = done(&stage, &Effect::RollBack { merge, failure }, &one).await;
    let back = matches!(&found, Some(Input::Found(event))
        if matches!(event.as_ref(), DeployerEvent::RollbackCompleted(_)));
    assert!(back && asked > 3, "{asked}: {found:?}");

    let free = Effect::FreeTarget { task: one.clone(), release: None };
    let clean = Effect::CleanUp { task: one.clone(), reason: "over".to_owned(), frees_target: true };
    assert!(stage.entry().await.owner.is_some());
    assert!(done(&stage, &free, &one).await.0 > 1);
    assert_eq!(stage.entry().await.owner, None);
    assert!(done(&stage, &clean, &one).await.0 > 0);
}
