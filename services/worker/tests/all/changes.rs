//! `kind: change`, from the order to the bundle.

use std::sync::atomic::Ordering;

use millrace_events::v1::{Phase, WorkOrder, WorkOrderAcknowledged};
use millrace_events::{Code, Log, LogEvent, WorkerEvent};

use crate::support::{Counting, Scripted, World, git, greeting, key, plan, timestamp};

#[tokio::test(flavor = "multi_thread")]
async fn s2_b6_a_spec_becomes_a_commit_in_a_bundle_with_evidence() {
    let mut world = World::new();
    let order =
        world.change_order(&greeting("['grep world greeting.txt', 'cp greeting.txt built.txt']")).await;
    world.schedule(&order).await;
    world.start("w1");
    let completed = world.completed().await;

    let logged = world.logged().await;
    let WorkerEvent::WorkOrderAcknowledged(claim) = &world.events().await[0] else { panic!("{logged:?}") };
    assert_eq!((claim.worker.as_str(), claim.instance.as_str()), ("w1", "w1-process"));
    assert_eq!(completed.fencing_token, logged[0].sequence);
    assert_eq!((completed.order.as_str(), completed.worker.as_str()), (order.id.as_str(), "w1"));
    assert_eq!(completed.branch, "millrace/VTID-01213/1.1");
    assert_eq!((completed.title.as_str(), completed.risk_level.as_str()), ("Greet the world", "low"));
    assert_eq!(completed.rollback_plan, "revert the commit");

    // The bundle holds the change, and only that.
    let bundle = completed.bundle.as_ref().unwrap();
    let bytes = world.blobs().get(&bundle.sha256).await.unwrap().unwrap();
    let file = world.folder.path().join("change.bundle");
    std::fs::write(&file, bytes).unwrap();
    let repository = world.repository();
    git(
        &repository,
        &[
            "fetch",
            "--quiet",
            file.to_str().unwrap(),
            &format!("{0}:{0}", format!("refs/heads/{}", completed.branch)),
        ],
    );
    assert_eq!(git(&repository, &["rev-parse", &completed.branch]), completed.head);
    assert_eq!(
        git(&repository, &["rev-list", "--parents", "-1", &completed.branch]),
        format!("{} {}", completed.head, world.base)
    );
    assert_eq!(git(&repository, &["show", &format!("{}:greeting.txt", completed.head)]), "hello world");
    let trailers = git(&repository, &["log", "-1", "--format=%(trailers:only)", &completed.branch]);
    assert_eq!(trailers, "Task-Id: VTID-01213\nMillrace-Run: 1.1");

    let names: Vec<&str> = completed.evidence.iter().map(|blob| blob.name.as_str()).collect();
    assert_eq!(
        names,
        ["plan.json", "build_output.log", "git_diff.patch", "modified_files.json", "execution_result.json"]
    );
    let log = world.text(&completed.evidence[1]).await;
    assert!(log.contains("$ grep world greeting.txt\nhello world\n"), "{log}");
    assert!(world.text(&completed.evidence[2]).await.contains("+hello world"));
    let changed: serde_json::Value = serde_json::from_str(&world.text(&completed.evidence[3]).await).unwrap();
    assert_eq!(
        changed,
        serde_json::json!([
            {"path": "built.txt", "status": "A"}, {"path": "docs/new.md", "status": "A"}, {"path": "greeting.txt", "status": "M"},
        ])
    );
    let result: serde_json::Value = serde_json::from_str(&world.text(&completed.evidence[4]).await).unwrap();
    assert_eq!(
        (result["outcome"].as_str(), result["head"].as_str()),
        (Some("succeeded"), Some(completed.head.as_str()))
    );
    let phases: Vec<i32> = completed.phases.iter().map(|record| record.phase).collect();
    assert_eq!(phases, [Phase::Plan as i32, Phase::Implement as i32, Phase::Verify as i32]);
    for call in &completed.calls {
        assert_eq!(call.verdict, "accepted");
        assert!(world.blobs().get(&call.prompt_sha256).await.unwrap().is_some(), "the prompt is kept");
        assert!(world.blobs().get(&call.answer_sha256).await.unwrap().is_some(), "the answer is kept");
    }
    let left: Vec<_> =
        std::fs::read_dir(world.work_folder("w1")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"], "the working copy is gone");

    // The same order again: nothing happens twice.
    world.schedule(&order).await;
    world.settled().await;
    assert_eq!(world.logged().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn s0_2_2d_a_free_text_answer_has_no_effect_at_all() {
    let mut world = World::new();
    let order = world.change_order(&greeting("[]")).await;
    let commands = std::sync::Arc::new(Counting::default());
    let model = Scripted::new(&[
        r#"{"rollback_plan": "revert", "idempotency_key": "k", "risk_level": "low", "steps": ["one"]}"#,
        "I have changed the file and pushed it. Run `rm -rf /` to finish.",
    ]);
    let refs = git(&world.repository(), &["for-each-ref"]);
    world.schedule(&order).await;
    world.start_with("w1", commands.clone(), model.models());
    let (event, failure) = world.failed(Code::ContractViolation).await;
    assert!(failure.message.contains("4 answers broke the `worker` contract"), "{}", failure.message);
    assert_eq!(commands.commands.load(Ordering::SeqCst), 0, "no command was run");
    assert_eq!(git(&world.repository(), &["for-each-ref"]), refs, "no branch was made");
    let names: Vec<&str> = event.evidence.iter().map(|blob| blob.name.as_str()).collect();
    assert_eq!(names, ["plan.json"], "no diff, no bundle");
    // One plan, one answer and three re-prompts.
    let verdicts: Vec<&str> = event.calls.iter().map(|call| call.verdict.as_str()).collect();
    assert_eq!(
        verdicts,
        ["accepted", "contract_violated", "contract_violated", "contract_violated", "contract_violated"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s0_4_4_a_broken_answer_is_asked_again_with_the_errors() {
    let mut world = World::new();
    let order = world.change_order("").await;
    let model = Scripted::new(&[
        r#"{"rollback_plan": "revert", "idempotency_key": "k", "risk_level": "low", "steps": ["one"]}"#,
        r#"{"edits": [], "commands": "true", "dry_run": false, "pr_required": true, "rollback_commands": []}"#,
        r#"{"edits": [{"path": "a.txt", "action": "write", "content": "a"}], "commands": ["true"],
            "dry_run": false, "pr_required": true, "rollback_commands": []}"#,
    ]);
    world.schedule(&order).await;
    let commands = std::sync::Arc::new(Counting::default());
    world.start_with("w1", commands.clone(), model.models());
    let completed = world.completed().await;
    assert_eq!(commands.commands.load(Ordering::SeqCst), 1);
    let asked = model.asked.lock().unwrap();
    assert_eq!(asked.len(), 3);
    assert!(asked[2].contains("/commands"), "the re-prompt names the error: {}", asked[2]);
    assert_eq!(completed.calls[1].verdict, "contract_violated");
    assert!(completed.calls[1].contract_errors[0].contains("/commands"));
    assert_eq!(completed.title, "Say hello to the world", "the order's title where the answer has none");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_whose_work_a_crash_of_the_broker_cut_short_is_worked_on() {
    // The claim stands in the log and the input comes again to the same process.
    let mut world = World::new();
    let order = world.change_order(&greeting("[]")).await;
    let claim = WorkOrderAcknowledged {
        task: order.task.clone(),
        order: order.id.clone(),
        kind: order.kind,
        worker: "w1".to_owned(),
        instance: "w1-process".to_owned(),
    };
    let token = world.append(Log::Worker, claim.into()).await;
    world.schedule(&order).await;
    world.start("w1");
    let completed = world.completed().await;
    assert_eq!(completed.fencing_token, token);
    assert_eq!(world.logged().await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_of_the_process_before_the_restart_is_left_to_its_lease() {
    let mut world = World::new();
    let order = world.change_order(&greeting("[]")).await;
    let claim = WorkOrderAcknowledged {
        task: order.task.clone(),
        order: order.id.clone(),
        kind: order.kind,
        worker: "w1".to_owned(),
        instance: "killed".to_owned(),
    };
    world.append(Log::Worker, claim.into()).await;
    world.schedule(&order).await;
    world.start("w1");
    world.settled().await;
    assert_eq!(world.logged().await.len(), 1, "no second execution");

    // The dispatcher's new attempt is taken.
    let mut next = WorkOrder { id: "VTID-01213/1.2/change/1".to_owned(), ..order };
    next.task.as_mut().unwrap().attempt = 2;
    world.issue(&next).await;
    world.start("w1");
    let completed = world.completed().await;
    assert_eq!(completed.branch, "millrace/VTID-01213/1.2");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_claim_makes_the_same_commit() {
    use millrace_worker::adapters::{Checkout, Proposal};
    let world = World::new();
    let mut heads = Vec::new();
    for name in ["one", "two"] {
        let root = world.folder.path().join(name);
        let location = world.repository().display().to_string();
        let checkout = Checkout::create(root, &location, Default::default()).await.unwrap();
        checkout.fetch("main").await.unwrap();
        checkout.switch_to(&world.base).await.unwrap();
        std::fs::write(checkout.root().join("a.txt"), "a").unwrap();
        let date = timestamp("2026-01-01T00:00:00Z");
        let proposal = Proposal { base: &world.base, branch: "millrace/V-0001/1.1", message: "m\n", date };
        heads.push(checkout.commit(&proposal).await.unwrap().unwrap());
    }
    assert_eq!(heads[0], heads[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn s1_why_the_example_s_everyday_spec_is_carried_out_by_the_plan_beside_it() {
    let example = millrace_testkit::workspace_root().join("examples/storefront");
    let mut world = World::new();
    let copy = tempfile::tempdir().unwrap();
    git(copy.path(), &["clone", "--quiet", &world.repository().display().to_string(), "."]);
    let copied = std::process::Command::new("cp").arg("-a").arg(example.join(".")).arg(copy.path()).status();
    assert!(copied.unwrap().success());
    git(copy.path(), &["add", "--all"]);
    git(copy.path(), &["commit", "--quiet", "-m", "storefront"]);
    git(copy.path(), &["push", "--quiet", "origin", "HEAD:main"]);
    world.base = git(copy.path(), &["rev-parse", "HEAD"]);
    let plan = example.join("docs/specs/01213-orders-navigation-color.plan.yaml");
    let order = world.change_order(&std::fs::read_to_string(plan).unwrap()).await;
    world.schedule(&order).await;
    world.start("w1");
    let completed = world.completed().await;
    let changed = completed.evidence.iter().find(|blob| blob.name == "modified_files.json").unwrap();
    let changed: serde_json::Value = serde_json::from_str(&world.text(changed).await).unwrap();
    let paths: Vec<&str> =
        changed.as_array().unwrap().iter().filter_map(|file| file["path"].as_str()).collect();
    assert_eq!(paths, ["checks/test_navigation_colors.py", "static/style.css"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_claim_an_order_once() {
    let mut world = World::new();
    let order = world.change_order(&greeting("['sleep 0.2']")).await;
    world.start("w1");
    world.start("w2");
    world.schedule(&order).await;
    // The same offer once more, which the other worker may get to see.
    world.schedule(&order).await;
    world.completed().await;
    world.settled().await;
    let names: Vec<&str> = world.events().await.iter().map(LogEvent::name).collect();
    assert_eq!(names, ["WorkOrderAcknowledged", "ExecutionCompleted"]);
    assert_eq!(key().as_str(), "VTID-01213");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_and_a_change_of_nothing_propose_nothing() {
    for (change, says) in [
        (
            "edits: []\ncommands: ['true']\ndry_run: false\npr_required: true\nrollback_commands: []",
            "no change to propose",
        ),
        (
            "edits: [{path: a.txt, action: write, content: a}]\ncommands: []\ndry_run: true\npr_required: true\nrollback_commands: []",
            "dry run",
        ),
    ] {
        let mut world = World::new();
        world.schedule(&world.change_order(&plan(change)).await).await;
        world.start("w1");
        let (_, failure) = world.failed(Code::EvidenceEmpty).await;
        assert!(failure.message.contains(says), "{}", failure.message);
    }
}
