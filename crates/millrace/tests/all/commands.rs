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
    for arguments in [["task", "list", "--limit=0"], ["task", "list", "--status=x"], ["task", "submit", "-q"]]
    {
        let output = world.millrace(&[arguments.as_slice(), &["--output", "json"]].concat()).await;
        assert_eq!(output.status.code(), Some(2));
        let error: Value = serde_json::from_str(&err(&output)).unwrap();
        assert_eq!(error["error"]["exit_code"], 2, "{arguments:?}");
        assert!(!error["error"]["message"].as_str().unwrap().starts_with("error"), "{error}");
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
        let failure =
            events::Failure::new(Code::SpecInvalid, "new.md has 1 fault").from_source("spec-registry");
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
    assert_eq!(submitted.status.code(), Some(1), "{}", err(&submitted));
    let text = err(&submitted);
    assert!(
        text.contains("error[SPEC_INVALID]: new.md has 1 fault") && text.contains("line 1: no summary"),
        "{text}"
    );

    let listed = out(&world.millrace(&["spec", "rejected"]).await);
    assert!(listed.contains("no task SPEC_INVALID") && listed.contains("new.md has 1 fault"), "{listed}");

    let waits = ["spec", "register", "new.md", "--repository", "other", "--wait", "0s"];
    assert_eq!(world.millrace(&waits).await.status.code(), Some(7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s1_gap2_5_a_version_is_shown_with_its_text_and_handing_it_in_again_ends_at_once() {
    let world = with_failed_check().await;
    let text = b"# VTID-00004: New\n\nbell \x07 inside\n";
    let sha256 = world.blobs.put(text).await.unwrap();
    let registered = events::SpecRegistered {
        task: "VTID-00004".to_owned(),
        repository: "shop".to_owned(),
        version: 1,
        checksum: sha256.clone(),
        spec: Some(events::Blob { sha256: sha256.clone(), size: text.len() as u64, ..Default::default() }),
        ..Default::default()
    };
    world.log("VTID-00004", registered).await;
    world.project().await;
    let shown = world.millrace(&["spec", "show", "VTID-00004"]).await;
    let told = out(&shown);
    assert!(told.contains("# VTID-00004: New") && told.contains("bell   inside"), "{told}{}", err(&shown));

    std::fs::write(world.folder.path().join("new.md"), text).unwrap();
    let submit = ["task", "submit", "--spec", "new.md", "--repository", "shop", "--wait", "1s"];
    assert_eq!(world.millrace(&submit).await.status.code(), Some(7), "not in the ledger yet");
    world.project().await;
    let again = world.millrace(&submit).await;
    assert_eq!(again.status.code(), Some(0), "{}", err(&again));
    let told = out(&again);
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(
        lines,
        ["VTID-00004 is already registered, spec version 1", &format!("SHA-256 {sha256}")],
        "S1-Gap1.C: the checksum too"
    );

    let text = world.millrace(&["text", &sha256]).await;
    assert_eq!(out(&text).lines().next(), Some("# VTID-00004: New"), "{}", err(&text));
    world.blobs.delete(&sha256).await.unwrap();
    assert_eq!(world.millrace(&["text", &sha256]).await.status.code(), Some(5));
    let erased = out(&world.millrace(&["spec", "show", "VTID-00004"]).await);
    assert!(erased.contains("erased") && erased.contains(&sha256), "{erased}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_is_shown_with_its_bytes() {
    use millrace_runtime::broker::{Append, Broker as _};
    let world = with_failed_check().await;
    let (stream, subject) = ("MILLRACE_INTAKE_0", "millrace.intake.0.req-1");
    let garbage = Append::new(stream, subject, b"nonsense".to_vec());
    let _ = world.broker.append(&garbage).await.unwrap();
    let letter = events::DeadLettered {
        stream: stream.to_owned(),
        sequence: 1,
        subject: subject.to_owned(),
        service: "spec-registry".to_owned(),
        failure: Some(events::Failure::new(Code::EventInvalid, "no event")),
        attempts: 3,
        replay: 0,
    };
    world.log("req-1", letter).await;
    world.project().await;
    let shown = out(&world.millrace(&["dead-letter", "show", "MILLRACE_INTAKE_0:1"]).await);
    for part in
        [subject, "spec-registry", "3", "EVENT_INVALID", "no event", "8 bytes", "6e 6f 6e 73", "nonsense"]
    {
        assert!(shown.contains(part), "`{part}` is missing in:\n{shown}");
    }
    let json = world.millrace(&["dead-letter", "show", "MILLRACE_INTAKE_0:1", "-o", "json"]).await;
    let json: Value = serde_json::from_str(&out(&json)).unwrap();
    assert_eq!(json["message"]["payload"], "bm9uc2Vuc2U=");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_tells_what_came_of_it() {
    use millrace_runtime::broker::Broker as _;
    let world = World::start().await;
    let message = millrace_decider::Cause::new("MILLRACE_INTAKE_0", 1);
    let (service, place) = ("spec-registry", "MILLRACE_INTAKE_0:1");
    let key = millrace_events::Key::dead_letter(&message, service).to_string();
    let letter = |replay| events::DeadLettered {
        stream: message.stream.clone(),
        sequence: message.sequence,
        service: service.to_owned(),
        failure: Some(events::Failure::new(Code::RepositoryUnavailable, "no repository `shop`")),
        attempts: 1,
        replay,
        ..Default::default()
    };
    world.log(&key, letter(0)).await;
    world.project().await;
    let listed = out(&world.millrace(&["dead-letter", "list"]).await);
    assert!(listed.contains(place) && listed.contains("open"), "{listed}");
    let replay = ["dead-letter", "replay", place, "--reason", "mended", "--wait", "1s"];
    let late = world.millrace(&replay).await;
    assert_eq!(late.status.code(), Some(7), "{}", err(&late));
    assert!(out(&late).contains("replay requested") && err(&late).contains("no answer after 1 s"));
    // The service answers the next request while it is waited for: it failed again.
    world.log(&key, letter(1)).await;
    world.project().await;
    let again = ["dead-letter", "replay", place, "-o", "json"];
    let asking = world.millrace(&again);
    let answering = async {
        while world.broker.stream_state("MILLRACE_OPERATOR_0").await.unwrap().last < 2 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        world.log(&key, letter(2)).await;
        world.project().await;
    };
    let (failed, ()) = tokio::join!(asking, answering);
    assert_eq!(failed.status.code(), Some(1), "{}", err(&failed));
    let json: Value = serde_json::from_str(&out(&failed)).unwrap();
    let letter = &json["dead_letters"][0];
    assert_eq!((letter["failures"].as_u64(), letter["answered"].as_u64()), (Some(3), Some(2)), "{json}");

    let asked = world.millrace(&["dead-letter", "replay", "--all", "--no-wait"]).await;
    assert_eq!(asked.status.code(), Some(0), "{}", err(&asked));
    let replayed = events::DeadLetterReplayed {
        stream: message.stream.clone(),
        sequence: message.sequence,
        service: service.to_owned(),
        replay: 3,
    };
    world.log(&key, replayed).await;
    world.project().await;
    let handled = world.millrace(&replay).await;
    assert_eq!(handled.status.code(), Some(6), "{}", err(&handled));
    assert!(err(&handled).contains("handled already"), "{}", err(&handled));
    assert_eq!(world.millrace(&["dead-letter", "replay", "--all"]).await.status.code(), Some(0));
    let shown = out(&world.millrace(&["dead-letter", "show", place]).await);
    for part in ["handled", "3 times", "asked to read it again: mended", "has handled it", "read again:"] {
        let part = part.replace("has handled it", "has handled MILLRACE_INTAKE_0:1 after all");
        assert!(shown.contains(&part), "`{part}` is missing in:\n{shown}");
    }
    for wrong in [&["dead-letter", "replay"][..], &["dead-letter", "replay", place, "--all"]] {
        assert_eq!(world.millrace(wrong).await.status.code(), Some(2), "{wrong:?}");
    }
}

#[tokio::test]
async fn what_no_dead_letter_can_have_is_no_filter() {
    let folder = tempfile::tempdir().unwrap();
    let place = "MILLRACE_INTAKE_0:1";
    let cases: [(&[&str], &str); 5] = [
        (&["list", "--code", "NOPE"], "EVENT_INVALID"),
        (&["list", "--service", "nobody"], "spec-registry"),
        (&["replay", "--all", "--code", "NOPE"], "EVENT_INVALID"),
        (&["replay", "--all", "--service", "nobody"], "spec-registry"),
        (&["replay", place, "--code", "EVENT_INVALID"], "--code"),
    ];
    for (arguments, part) in cases {
        let refused = millrace(folder.path(), &[&["dead-letter"], arguments].concat()).await;
        let said = err(&refused);
        assert!(refused.status.code() == Some(2) && said.contains(part), "{arguments:?}: {said}");
    }
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_millrace"));
    std::fs::write(folder.path().join("a.md"), "# A\n").unwrap();
    let output = command
        .args(["spec", "lint", "a.md"])
        .current_dir(folder.path())
        .stdout(writer)
        .kill_on_drop(true)
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let output = output.wait_with_output().await.unwrap();
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""));
}

#[tokio::test]
async fn a_service_without_what_it_needs_names_the_variable() {
    let folder = tempfile::tempdir().unwrap();
    let refused = millrace(folder.path(), &["run", "projector"]).await;
    assert_eq!(refused.status.code(), Some(3));
    assert!(err(&refused).contains("MILLRACE_DATABASE_URL"), "{}", err(&refused));
    for (text, part) in [
        ("colour = \"blue\"", "unknown field `colour`"),
        ("[limits]\nlease = \"soon\"", "`soon` is no duration"),
    ] {
        std::fs::write(folder.path().join("m.toml"), text).unwrap();
        let refused = millrace(folder.path(), &["run", "dispatcher", "--config", "m.toml"]).await;
        assert_eq!(refused.status.code(), Some(3));
        assert!(err(&refused).contains(part) && err(&refused).contains("m.toml"), "{}", err(&refused));
        let json = ["run", "dispatcher", "--config", "m.toml", "-o", "json"];
        let error: Value = serde_json::from_str(&err(&millrace(folder.path(), &json).await)).unwrap();
        assert_eq!(error["error"]["exit_code"], 3);
    }
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
    std::fs::copy(folder.path().join("VTID-01213-good.md"), folder.path().join("VTID-01213-copy.md"))
        .unwrap();
    let twice = millrace(folder.path(), &["spec", "lint", "VTID-01213-good.md", "VTID-01213-copy.md"]).await;
    assert_eq!(twice.status.code(), Some(1));
    assert!(out(&twice).contains("error[SPEC_ID_CONFLICT]: VTID-01213 is the task of"), "{}", out(&twice));
    let beside = folder.path().join("VTID-01213-good.plan.yaml");
    std::fs::write(&beside, " ".repeat(128 * 1024 + 1)).unwrap();
    let large = millrace(folder.path(), &["spec", "lint", "VTID-01213-good.md"]).await;
    assert!(out(&large).contains("the plan is larger than 128 KiB"), "{}", out(&large));
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
