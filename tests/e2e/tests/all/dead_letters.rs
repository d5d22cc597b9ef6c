//! F18, S4-SP1, S4-EX1: what cannot be handled is put aside with its bytes, blocks nothing, and is read again
//! on request.

use std::process::Output;
use std::time::Duration;

use millrace_e2e::{Cluster, Options, Plan, millrace, spec};
use millrace_events::{CONTENT_TYPE_PROTOBUF, Envelope, Event, Key, Log, Service, v1};
use millrace_rpc::v1::TaskStatus;
use millrace_runtime::broker::{Append, Broker as _};
use millrace_runtime::permissions::Identity;
use millrace_testkit::{OtlpReceiver, eventually};
use serde_json::Value;

const BOUND: Duration = Duration::from_secs(90);

fn dead_letter(cluster: &Cluster, arguments: &[&str]) -> Output {
    let address = cluster.address();
    let all = [&["dead-letter"], arguments, &["--server", &address]].concat();
    millrace(&cluster.path(""), &all)
}

fn text(output: &Output) -> String {
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    format!("{out}{error}")
}

/// The letters that `list` shows, as `service stream:sequence code`.
fn letters(cluster: &Cluster, arguments: &[&str]) -> Vec<String> {
    let listed = dead_letter(cluster, &[&["list", "--output", "json"], arguments].concat());
    let json: Value = serde_json::from_slice(&listed.stdout).unwrap_or_else(|_| panic!("{}", text(&listed)));
    let letter = |letter: &Value| {
        let (place, failure) = (&letter["position"], &letter["failure"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let sequence = place["sequence"].as_u64().unwrap_or_default();
        format!(
            "{} {}:{sequence} {}",
            text(&letter["service"]),
            text(&place["stream"]),
            text(&failure["code"])
        )
    };
    let mut letters: Vec<String> = json["dead_letters"].as_array().unwrap().iter().map(letter).collect();
    letters.sort();
    letters
}

async fn publish(cluster: &Cluster, identity: Identity, log: Log, key: &str, payload: Vec<u8>) -> u64 {
    let subject = log.subject(&Key::new(key).unwrap(), 1);
    let append = Append::new(log.stream(0), subject, payload).content_type(CONTENT_TYPE_PROTOBUF);
    cluster.connect(identity).await.append(&append).await.unwrap().sequence
}

#[tokio::test(flavor = "multi_thread")]
async fn f18_poison_in_two_logs_blocks_nothing_and_is_shown_with_its_bytes() {
    let cluster = Cluster::start().await;
    // A producer's garbage, and an event whose key is not that of its subject.
    let producer = Identity::Producer;
    let garbage = publish(&cluster, producer, Log::Intake, "req-garbage", b"\xff\x00nonsense".to_vec()).await;
    let asked: Event = v1::TaskRequested { task: "VTID-09999".to_owned(), ..Default::default() }.into();
    let now = millrace_decider::Timestamp::from_millis(1_790_000_000_000);
    let other = Envelope::new("1", "/test", Key::new("req-other").unwrap(), now, &asked);
    let wrong = publish(&cluster, producer, Log::Intake, "req-this", other.encode()).await;
    // Nonsense in a service's own log, under the key of a task that is about to be worked on.
    let worker = Identity::Service(Service::Worker);
    let own = publish(&cluster, worker, Log::Worker, "VTID-00070", b"nonsense".to_vec()).await;
    for task in ["00070", "00071"] {
        let id = format!("VTID-{task}");
        cluster.repository.add_spec(task, spec(&id, &Plan::page(&format!("page of {task}"))));
    }
    cluster.wait_for("VTID-00070", TaskStatus::Complete, BOUND).await;
    cluster.wait_for("VTID-00071", TaskStatus::Complete, BOUND).await;

    let (intake, log) = (Log::Intake.stream(0), Log::Worker.stream(0));
    let mut expected = vec![
        format!("spec-registry {intake}:{garbage} EVENT_INVALID"),
        format!("spec-registry {intake}:{wrong} EVENT_INVALID"),
    ];
    for service in ["dispatcher", "validator", "deployer"] {
        expected.push(format!("{service} {log}:{own} EVENT_INVALID"));
    }
    expected.sort();
    eventually("every letter is listed", BOUND, async || (letters(&cluster, &[]) == expected).then_some(()))
        .await;

    let place = format!("{intake}:{garbage}");
    let shown = text(&dead_letter(&cluster, &["show", &place]));
    for part in ["req-garbage", "spec-registry", "EVENT_INVALID", "10 bytes", "ff 00 6e 6f", "once"] {
        assert!(shown.contains(part), "`{part}` is missing in:\n{shown}");
    }
    // It is no better the second time, and says so.
    let replayed = dead_letter(&cluster, &["replay", &place, "--reason", "once more"]);
    assert_eq!(replayed.status.code(), Some(1), "{}", text(&replayed));
    assert!(text(&replayed).contains("failed again (EVENT_INVALID"), "{}", text(&replayed));
    let shown = text(&dead_letter(&cluster, &["show", &place]));
    for part in ["2 times", "read again: once", "asked to read it again: once more"] {
        assert!(shown.contains(part), "`{part}` is missing in:\n{shown}");
    }
    // All three services that gave up on one message are asked.
    let place = format!("{log}:{own}");
    let replayed = dead_letter(&cluster, &["replay", &place]);
    assert_eq!(
        (replayed.status.code(), text(&replayed).lines().count()),
        (Some(1), 3),
        "{}",
        text(&replayed)
    );
    let one = dead_letter(&cluster, &["replay", &place, "--service", "validator", "--no-wait"]);
    assert_eq!(one.status.code(), Some(0), "{}", text(&one));
    let nobodys = dead_letter(&cluster, &["replay", &place, "--service", "worker"]);
    assert_eq!(nobodys.status.code(), Some(5), "{}", text(&nobodys));
    let missing = dead_letter(&cluster, &["replay", &format!("{intake}:99")]);
    assert_eq!(missing.status.code(), Some(5), "{}", text(&missing));
    // What came behind all this goes on.
    cluster.repository.add_spec("00072", spec("VTID-00072", &Plan::page("afterwards")));
    cluster.wait_for("VTID-00072", TaskStatus::Complete, BOUND).await;
}

/// A deployer whose repository has the wrong address cannot clean up after a run; once that is mended, the
/// replay does. S2-G2c: what was counted reaches the collector.
#[tokio::test(flavor = "multi_thread")]
async fn a_letter_whose_cause_is_mended_is_handled_by_its_replay() {
    let collector = OtlpReceiver::start();
    let options = Options { otlp_endpoint: Some(collector.endpoint()), ..Options::default() };
    let mut cluster = Cluster::start_with(options).await;
    let slow = "[checks]\nwords = \"sleep 4; ! grep -q broken page.txt\"\n";
    cluster.repository.commit(&[(".millrace.toml", slow.to_owned())]);
    cluster.repository.add_spec("00073", spec("VTID-00073", &Plan::page("broken")));
    cluster.wait_for_event("VTID-00073", "PullRequestOpened", BOUND).await;
    cluster.stop("deployer");
    let file = cluster.path("millrace.toml");
    let config = std::fs::read_to_string(&file).unwrap();
    let nowhere = cluster.path("nowhere.git");
    std::fs::create_dir(&nowhere).unwrap();
    let right = format!("url = \"{}\"", cluster.repository.bare.display());
    assert!(config.contains(&right), "{config}");
    std::fs::write(&file, config.replace(&right, &format!("url = \"{}\"", nowhere.display()))).unwrap();
    cluster.start_process("deployer");
    cluster.wait_for("VTID-00073", TaskStatus::Failed, BOUND).await;
    let letters_now = eventually("the deployer gives up", BOUND, async || {
        Some(letters(&cluster, &["--service", "deployer"])).filter(|letters| !letters.is_empty())
    })
    .await;
    let [letter] = letters_now.as_slice() else { panic!("{letters_now:?}") };
    let place = letter.split(' ').nth(1).unwrap().to_owned();
    assert_eq!(*letter, format!("deployer {place} REPOSITORY_UNAVAILABLE"));
    let branches = |cluster: &Cluster| cluster.repository.git(&["for-each-ref", "refs/heads/millrace"]);
    assert_ne!(branches(&cluster), "", "nothing was cleaned up");
    let early = dead_letter(&cluster, &["replay", &place]);
    assert_eq!(early.status.code(), Some(1), "{}", text(&early));

    cluster.stop("deployer");
    std::fs::write(&file, config).unwrap();
    cluster.start_process("deployer");
    let code = "REPOSITORY_UNAVAILABLE";
    let replayed =
        dead_letter(&cluster, &["replay", "--all", "--code", code, "--reason", "the address is mended"]);
    assert_eq!(replayed.status.code(), Some(0), "{}", text(&replayed));
    assert!(text(&replayed).contains("handled"), "{}", text(&replayed));
    assert_eq!(branches(&cluster), "", "the replay has cleaned up");
    assert_eq!(letters(&cluster, &[]), Vec::<String>::new());
    assert_eq!(letters(&cluster, &["--all"]), std::slice::from_ref(letter));
    let shown = text(&dead_letter(&cluster, &["show", &place]));
    assert!(shown.contains("handled") && shown.contains("the address is mended"), "{shown}");
    let again = dead_letter(&cluster, &["replay", &place]);
    assert_eq!(again.status.code(), Some(6), "{}", text(&again));
    assert!(text(&again).contains("handled already"), "{}", text(&again));
    let none = dead_letter(&cluster, &["replay", "--all"]);
    assert_eq!(none.status.code(), Some(0), "{}", text(&none));

    cluster.stop("deployer");
    let counted = |name: &str| collector.count(name, "millrace.service", "deployer");
    assert_eq!(counted("millrace.dead_letters"), 2, "given up, and once more");
    assert_eq!(counted("millrace.dead_letters.replayed"), 1);
    assert!(counted("messaging.client.consumed.messages") > 5);
    assert!(counted("messaging.process.duration") > 5);
    assert!(counted("messaging.client.sent.messages") > 0);
}
