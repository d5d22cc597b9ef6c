//! A verdict and a deadline that are handled at the same time: what the one was about to do when the other had
//! done it already is not done again.

use std::sync::Arc;

use millrace_decider::{Cause, Timestamp};
use millrace_deployer::domain::{Effect, Input, Merge};
use millrace_deployer::effects::DeployerService;
use millrace_events::v1::{Failure, TaskRef};
use millrace_events::{Code, DeployerEvent, Event, Key};
use millrace_forge::MergeRequest;
use millrace_runtime::clock::{Clock as _, System};
use millrace_runtime::host::{EffectContext, Hosted as _};
use tokio_util::sync::CancellationToken;

use super::scripted_target::Behaviour;
use super::stage::{Stage, task};

/// Does what became due for `of`, as one of its handlers.
async fn done(handler: &DeployerService, effect: &Effect, of: &TaskRef) -> Option<DeployerEvent> {
    let context = EffectContext {
        key: Key::new(of.task.as_str()).unwrap(),
        cause: Cause::new("MILLRACE_VALIDATOR_0", 1),
        now: System.now(),
        attempt: 1,
        stop: CancellationToken::new(),
    };
    match handler.perform(effect, &context).await.unwrap()? {
        Input::Found(event) => Some(*event),
        other => panic!("{other:?}"),
    }
}

/// A merge of `of` that stands on the forge.
async fn merged(stage: &mut Stage, of: &TaskRef, files: &[(&str, &str)]) -> Box<Merge> {
    stage.start();
    let opened = stage.proposed(of, files).await.pull_request.unwrap();
    stage.kill();
    let request = MergeRequest {
        number: opened.number,
        expected_head: opened.head.clone(),
        expected_base: None,
        message: "merged".to_owned(),
        at: None,
    };
    let commit = stage.forge.merge(&request).await.unwrap().commit;
    Box::new(Merge { task: of.clone(), pull_request: opened, commit, at: Timestamp::from_millis(0) })
}

#[tokio::test]
async fn the_second_of_two_handlers_neither_rolls_out_nor_back_what_is_answered() {
    let mut stage = Stage::silent(Arc::new(System), None).await;
    // Two processes: in one of them they would wait for each other.
    let verdict = DeployerService::new(stage.world(stage.broker.clone()));
    let deadline = DeployerService::new(stage.world(stage.broker.clone()));
    let (one, two) = (task("VTID-00001", 1, 1), task("VTID-00002", 1, 1));
    let first = merged(&mut stage, &one, &[("page.css", "red\n")]).await;
    let roll_out = Effect::Deploy(first.clone());
    let verified = done(&verdict, &roll_out, &one).await.unwrap();
    assert!(matches!(verified, DeployerEvent::DeploymentVerified(_)), "{verified:?}");
    stage.say(&one, Event::Deployer(verified)).await;
    let free = Effect::FreeTarget { task: one.clone(), release: Some(first.commit.clone()) };
    assert_eq!(done(&verdict, &free, &one).await, None);

    stage.target.next_releases(Some(Behaviour::Exits));
    let second = merged(&mut stage, &two, &[("other.css", "y\n")]).await;
    let failed = done(&verdict, &Effect::Deploy(second.clone()), &two).await.unwrap();
    assert!(matches!(failed, DeployerEvent::DeploymentFailed(_)), "{failed:?}");
    stage.say(&two, Event::Deployer(failed)).await;
    let failure = Failure::new(Code::HealthCheckFailed, "it was sick");
    let roll_back = Effect::RollBack { merge: second, failure };
    let rolled_back = done(&verdict, &roll_back, &two).await.unwrap();
    assert!(matches!(rolled_back, DeployerEvent::RollbackCompleted(_)), "{rolled_back:?}");
    stage.say(&two, Event::Deployer(rolled_back)).await;
    let free = Effect::FreeTarget { task: two.clone(), release: None };
    assert_eq!(done(&verdict, &free, &two).await, None);

    // All of that is over. What became due to the other handler before it is looked up and left alone.
    let (calls, entry, base) = (stage.target.calls(), stage.entry().await, stage.base().await);
    assert_eq!(entry.owner, None);
    assert_eq!(done(&deadline, &roll_out, &one).await, None);
    assert_eq!(done(&deadline, &roll_back, &two).await, None);
    let now = (stage.target.calls(), stage.entry().await, stage.base().await);
    assert_eq!(now, (calls, entry, base), "not a call, and nobody has taken the target");
}
