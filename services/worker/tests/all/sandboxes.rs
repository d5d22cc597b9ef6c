//! What a command may do, and what it needs: the exec policy and the setup step.

use std::collections::BTreeMap;
use std::path::PathBuf;

use millrace_events::Code;
use millrace_worker::{SetupConfig, SetupStep, WorkerConfig};

use crate::support::{World, greeting};

/// A step that writes down the lockfile, here `README.md`; `extra` may spoil it.
fn setup(extra: &str) -> SetupConfig {
    let step = SetupStep {
        command: format!("echo fetching; cat README.md > /dependencies/list; {extra}"),
        lockfiles: vec![PathBuf::from("README.md")],
        env: BTreeMap::from([("DEPENDENCIES".to_owned(), "/dependencies".to_owned())]),
        offline_env: BTreeMap::from([("OFFLINE".to_owned(), "yes".to_owned())]),
    };
    SetupConfig { steps: BTreeMap::from([("demo".to_owned(), step)]), ..SetupConfig::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_imp_29_a_command_that_the_rules_forbid_is_not_run() {
    for (command, says) in [
        ("touch ran && git push origin main", "`git push origin main` is forbidden"),
        ("touch ran && curl -O x.example", "would need a person's consent"),
    ] {
        let mut world = World::new();
        let order = world.change_order(&greeting(&format!("['{command}']"))).await;
        world.schedule(&order).await;
        world.start("w1");
        let (_, failure) = world.failed(Code::PolicyDenied).await;
        assert!(failure.message.contains(says), "{}", failure.message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_of_an_operator_take_the_place_of_ours() {
    let mut world = World::new();
    let rules = world.folder.path().join("exec.toml");
    let text = "default = \"forbid\"\ndynamic = \"forbid\"\n[[rules]]\nprefix = [\"grep\"]\ndecision = \"allow\"\n\
                reason = \"\"\nmatch = [\"grep x\"]\nnot_match = [\"cat x\"]\n";
    std::fs::write(&rules, text).unwrap();
    let order = world.change_order(&greeting("['grep world greeting.txt', 'cat greeting.txt']")).await;
    world.schedule(&order).await;
    world.start_as(WorkerConfig { exec_policy: Some(rules), ..world.config("w1") });
    let (_, failure) = world.failed(Code::PolicyDenied).await;
    assert!(failure.message.contains("`cat greeting.txt` is forbidden"), "{}", failure.message);
}

#[tokio::test(flavor = "multi_thread")]
async fn s4_d7_dependencies_are_there_before_the_first_command() {
    let mut world = World::new();
    let commands = "['grep Demo $DEPENDENCIES/list', 'test $OFFLINE = yes', '! touch $DEPENDENCIES/more']";
    let order = world.change_order(&greeting(commands)).await;
    world.schedule(&order).await;
    world.start_as(WorkerConfig { setup: setup("true"), ..world.config("w1") });
    let completed = world.completed().await;
    let log = completed.evidence.iter().find(|blob| blob.name == "build_output.log").unwrap();
    assert!(world.text(log).await.contains("# Demo"), "the step's result was read");
    let kept = std::fs::read_dir(world.folder.path().join("work/.dependencies")).unwrap().count();
    assert_eq!(kept, 2, "a result and its lock, for all workers of the folder");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setup_step_that_fails_is_setup_failed_with_its_output() {
    let mut world = World::new();
    let order = world.change_order(&greeting("['touch ran']")).await;
    world.schedule(&order).await;
    world.start_as(WorkerConfig { setup: setup("echo no such package; exit 4"), ..world.config("w1") });
    let (_, failure) = world.failed(Code::SetupFailed).await;
    assert!(failure.message.contains("repository demo"), "{}", failure.message);
    let output = failure.context.get("output_tail").map(String::as_str).unwrap_or_default();
    assert!(output.contains("no such package"), "{failure:?}");
}
