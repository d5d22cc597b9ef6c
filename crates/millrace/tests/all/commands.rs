//! Each command against a server, with its exit code.

use millrace_events::{Code, v1 as events};
use serde_json::Value;

use crate::support::{World, err, millrace, out, task_ref};

const TASK: &str = "VTID-00002";

/// A task whose check failed.
async fn with_failed_check() -> World {
    let world = World::start().await;
    let registered = events::SpecRegistered {
        task: TASK.to_owned(),
        repository: "shop".to_owned(),
        version: 1,
        title: "Pale text".to_owned(),
        path: "docs/specs/00002-pale.md".to_owned(),
        ..Default::default()
    };
    world.log(TASK, registered).await;
    world.log(TASK, events::TaskScheduled { task: task_ref(TASK), ..order() }).await;
    let pull_request =
        events::PullRequest { number: 7, url: "file:///shop.git#7".to_owned(), ..Default::default() };
    let opened = events::PullRequestOpened {
        task: task_ref(TASK),
        pull_request: Some(pull_request.clone()),
        ..Default::default()
    };
    world.log(TASK, opened).await;
    let result = events::CheckResult {
        name: "contrast".to_owned(),
        exit_code: 1,
        summary: "2.1 is below 4.5".to_owned(),
        ..Default::default()
    };
    let checks = events::ChecksCompleted {
        task: task_ref(TASK),
        pull_request: Some(pull_request),
        results: vec![result],
        ..Default::default()
    };
    world.log(TASK, checks).await;
    let failure = events::Failure::new(Code::ChecksFailed, "check `contrast` failed").at_stage("checking");
    let failed = events::TaskFailed { task: task_ref(TASK), failure: Some(failure), ..Default::default() };
    world.log(TASK, failed).await;
    world.project().await;
    world
}

fn order() -> events::TaskScheduled {
    let order = events::WorkOrder {
        id: format!("{TASK}/1.1/change/1"),
        kind: events::WorkOrderKind::Change as i32,
        task: task_ref(TASK),
        ..Default::default()
    };
    events::TaskScheduled { order: Some(order), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s2_a12_why_says_what_happened_where_and_what_to_do() {
    let world = with_failed_check().await;
    let why = world.millrace(&["task", "why", TASK]).await;
    assert_eq!(why.status.code(), Some(0), "{}", err(&why));
    let text = out(&why);
    for part in [
        "VTID-00002 \"Pale text\" failed at checking (run 1, attempt 1)",
        "pull request #7 opened",
        "CHECKS_FAILED: check `contrast` failed",
        "check contrast: 2.1 is below 4.5",
        "Nothing was merged and nothing was released.",
        Code::ChecksFailed.advice(),
        "docs/errors/CHECKS_FAILED.md",
        "Next: millrace task retry VTID-00002",
    ] {
        assert!(text.contains(part), "`{part}` is missing in:\n{text}");
    }
    let json: Value =
        serde_json::from_str(&out(&world.millrace(&["task", "why", TASK, "-o", "json"]).await)).unwrap();
    assert_eq!(json["next"], "millrace task retry VTID-00002");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_and_timelines_for_people_and_programs() {
    let world = with_failed_check().await;
    let list = out(&world.millrace(&["task", "list", "--status", "failed"]).await);
    assert!(list.contains("TASK") && list.contains(TASK) && list.contains("Pale text"), "{list}");
    let none = world.millrace(&["task", "list", "--status", "active"]).await;
    assert_eq!((none.status.code(), out(&none).as_str()), (Some(0), ""));
    let json: Value =
        serde_json::from_str(&out(&world.millrace(&["task", "list", "-o", "json"]).await)).unwrap();
    assert_eq!(json["tasks"][0]["failure"]["code"], "CHECKS_FAILED");
    assert_eq!(json["tasks"][0]["status"], "TASK_STATUS_FAILED");

    let show = out(&world.millrace(&["task", "show", TASK]).await);
    assert!(show.contains("+1.0 s") && show.contains("checks failed on"), "{show}");
    let json: Value =
        serde_json::from_str(&out(&world.millrace(&["task", "show", TASK, "-o", "json"]).await)).unwrap();
    assert_eq!(json["events"].as_array().unwrap().len(), 5);
    assert_eq!(json["events"][0]["data"]["title"], "Pale text");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_ends_with_the_task_and_its_exit_code_says_how() {
    let world = with_failed_check().await;
    let failed = world.millrace(&["task", "watch", TASK]).await;
    assert_eq!(failed.status.code(), Some(1), "{}", err(&failed));
    assert!(out(&failed).contains("VTID-00002 is failed: CHECKS_FAILED"), "{}", out(&failed));

    let task = "VTID-00003";
    world.log(task, events::TaskScheduled { task: task_ref(task), ..order() }).await;
    world.project().await;
    let watch = ["task", "watch", task];
    let (watched, ()) = tokio::join!(world.millrace(&watch), async {
        let verified = events::DeploymentVerified {
            task: task_ref(task),
            release_commit: "0123456789abcdef".to_owned(),
            ..Default::default()
        };
        world.log(task, verified).await;
        world.log(task, events::TaskCompleted { task: task_ref(task), ..Default::default() }).await;
        world.project().await;
    });
    assert_eq!(watched.status.code(), Some(0), "{}", err(&watched));
    assert!(out(&watched).contains("VTID-00003 is complete: 0123456789"), "{}", out(&watched));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn decisions_are_published_and_refusals_have_their_own_exit_codes() {
    let world = with_failed_check().await;
    let retry = world.millrace(&["task", "retry", TASK, "--reason", "flaky"]).await;
    assert_eq!(retry.status.code(), Some(0), "{}", err(&retry));
    assert!(out(&retry).contains("MILLRACE_OPERATOR_0:1"), "{}", out(&retry));
    let again = world.millrace(&["task", "retry", TASK, "--reason", "flaky"]).await;
    assert!(out(&again).contains("requested already"), "{}", out(&again));

    let cases: [(&[&str], i32, &str); 11] = [
        (&["task", "show", "VTID-99999"], 5, "no task"),
        (&["task", "show", "nonsense"], 6, "error[TASK_ID_INVALID]"),
        (&["task", "deny", TASK], 6, "needs one"),
        (&["spec", "show", TASK, "--version", "9"], 5, "error[SPEC_NOT_FOUND]"),
        (&["dead-letter", "show", "MILLRACE_INTAKE_0:1"], 5, "not a dead letter"),
        (&["dead-letter", "show", "nonsense"], 2, "<stream>:<sequence>"),
        (&["task", "submit", "--spec", "missing.md", "--repository", "shop"], 3, "missing.md"),
        (&["task", "submit", "--spec", "missing.md"], 2, "--repository"),
        (&["task", "submit", "VTID-99999"], 6, "repository"),
        (&["task", "nonsense"], 2, "unrecognized"),
        (&["health"], 1, ""),
    ];
    for (arguments, code, part) in cases {
        let output = world.millrace(arguments).await;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", err(&output));
        assert!(err(&output).contains(part), "{arguments:?}: {}", err(&output));
    }
    let json = world.millrace(&["task", "show", "nonsense", "-o", "json"]).await;
    let error: Value = serde_json::from_str(&err(&json)).unwrap();
    assert_eq!(
        (&error["error"]["code"], &error["error"]["exit_code"]),
        (&"TASK_ID_INVALID".into(), &6.into())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spec_is_handed_in_and_its_answer_is_waited_for() {
    let world = with_failed_check().await;
    std::fs::write(world.folder.path().join("new.md"), "# New").unwrap();
    let submit = ["task", "submit", "--spec", "new.md", "--repository", "shop", "--wait", "30s"];
    let (submitted, ()) = tokio::join!(world.millrace(&submit), async {
        use millrace_runtime::broker::Broker as _;
        let stream = millrace_events::Log::Intake.stream(0);
        // The registry answers once the submission is there.
        let stored = loop {
            match world.broker.get(&stream, 1).await.unwrap() {
                Some(stored) => break stored,
                None => tokio::task::yield_now().await,
            }
        };
        let key = millrace_events::Log::Intake.key(&stored.subject).unwrap().to_string();
        let failure = events::Failure::new(Code::SpecInvalid, "new.md has 1 fault");
        let problem = events::SpecProblem { line: 1, message: "no summary".to_owned(), ..Default::default() };
        let rejected = events::SpecRejected {
            submission: key.clone(),
            failure: Some(failure),
            problems: vec![problem],
            ..Default::default()
        };
        world.log(&key, rejected).await;
        world.project().await;
    });
    assert_eq!(submitted.status.code(), Some(6), "{}", err(&submitted));
    let text = err(&submitted);
    assert!(
        text.contains("error[SPEC_INVALID]: new.md has 1 fault") && text.contains("line 1: no summary"),
        "{text}"
    );

    let waits = ["spec", "register", "new.md", "--repository", "other", "--wait", "0s"];
    assert_eq!(world.millrace(&waits).await.status.code(), Some(7));
}

#[tokio::test]
async fn without_a_server_the_exit_code_says_so() {
    let folder = tempfile::tempdir().unwrap();
    // A port that was free a moment ago and that nobody listens on.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    std::fs::create_dir(folder.path().join(".millrace")).unwrap();
    let dev = format!("{{\"grpc\":\"http://{free}\"}}");
    std::fs::write(folder.path().join(".millrace/dev.json"), dev).unwrap();
    let list = millrace(folder.path(), &["task", "list"]).await;
    assert_eq!(list.status.code(), Some(4), "{}", err(&list));
    assert!(err(&list).contains(&free.to_string()) && err(&list).contains("millrace dev"), "{}", err(&list));
    std::fs::write(folder.path().join(".millrace/dev.json"), "{").unwrap();
    assert_eq!(millrace(folder.path(), &["task", "list"]).await.status.code(), Some(3));
}

#[tokio::test]
async fn specs_are_checked_without_a_server() {
    let folder = tempfile::tempdir().unwrap();
    let good = "# Blue navigation\n\n## Summary\n\nThe navigation becomes blue.\n\n## Problem\n\nIt is grey today.\n\n\
                ## Acceptance criteria\n\n- The navigation is blue.\n";
    std::fs::write(folder.path().join("VTID-01213-good.md"), good).unwrap();
    std::fs::write(folder.path().join("VTID-01214-bad.md"), "# Nothing\n").unwrap();
    let fine = millrace(folder.path(), &["spec", "lint", "VTID-01213-good.md"]).await;
    assert_eq!(fine.status.code(), Some(0), "{}{}", out(&fine), err(&fine));
    let both = millrace(folder.path(), &["spec", "lint", "VTID-01213-good.md", "VTID-01214-bad.md"]).await;
    assert_eq!(both.status.code(), Some(1));
    assert!(out(&both).contains("error[SPEC_INVALID]"), "{}", out(&both));
    let missing = millrace(folder.path(), &["spec", "lint", "no.md"]).await;
    assert_eq!(missing.status.code(), Some(3));
}

#[tokio::test]
async fn a_ledger_is_migrated_once_and_exported() {
    let world = with_failed_check().await;
    let url = format!("sqlite://{}", world.folder.path().join("fresh.db").display());
    let migrate = ["ledger", "migrate", "--database-url", url.as_str(), "-o", "json"];
    let first: Value = serde_json::from_str(&out(&millrace(world.folder.path(), &migrate).await)).unwrap();
    let second: Value = serde_json::from_str(&out(&millrace(world.folder.path(), &migrate).await)).unwrap();
    assert_eq!((&first["changed"], &second["changed"]), (&true.into(), &false.into()));
    assert_eq!(first["schema"], second["schema"]);

    let live = format!("sqlite://{}", world.folder.path().join("ledger.db").display());
    let export = millrace(world.folder.path(), &["ledger", "export", "--database-url", &live]).await;
    assert_eq!(export.status.code(), Some(0), "{}", err(&export));
    assert!(out(&export).lines().count() > 5 && out(&export).contains(TASK));
    let none = millrace(world.folder.path(), &["ledger", "export"]).await;
    assert_eq!(none.status.code(), Some(3), "{}", err(&none));
}
