use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use millrace_events::catalogue::{
    BLOB_STREAM, HEALTH_BUCKET, LEASE_BUCKET, MODEL_SWITCH_BUCKET, MODEL_USE_BUCKET, TARGET_BUCKET,
};
use millrace_events::{Key, Log, Service};
use millrace_runtime::blobs::Blobs;
use millrace_runtime::bootstrap::{Declared, Installation, OnDifference, bootstrap};
use millrace_runtime::broker::{Append, AppendError, Broker, BrokerError, Schedule};
use millrace_runtime::bucket::Bucket;
use millrace_runtime::clock::{Clock, System};
use millrace_runtime::kv::Kv;
use millrace_runtime::nats::NatsBroker;
use millrace_runtime::permissions::{Identity, auth_template};
use millrace_runtime::preflight::preflight;
use millrace_testkit::eventually;

use super::secured::{BOUND, Committed, Secured};

fn key() -> Key {
    Key::new("VTID-01213").unwrap()
}

fn message(log: Log) -> Append {
    Append::new(log.stream(0), log.subject(&key(), 1), b"x".to_vec())
}

/// Says which; panics on anything but a yes or a refusal.
fn allowed<T: std::fmt::Debug>(answer: Result<T, BrokerError>) -> bool {
    match answer {
        Ok(_) => true,
        Err(BrokerError::Forbidden { .. }) => false,
        Err(other) => panic!("{other:?}"),
    }
}

async fn may_append(broker: &NatsBroker, append: &Append) -> bool {
    match tokio::time::timeout(BOUND, broker.append(append)).await.expect("an answer") {
        Ok(_) => true,
        Err(AppendError::Forbidden { .. }) => false,
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_log_takes_events_from_its_writers_and_a_forbidden_publish_says_so_at_once() {
    let secured = Secured::start().await;
    for identity in Identity::all() {
        let broker = secured.connect(identity).await;
        for log in Log::ALL {
            let expected = match identity {
                Identity::Service(service) => log == Log::DeadLetter || service.writes().contains(&log),
                Identity::Producer => log == Log::Intake,
                Identity::Restorer => true,
                Identity::Bootstrap | Identity::Auditor => false,
            };
            assert_eq!(may_append(&broker, &message(log)).await, expected, "{identity} to {}", log.name());
        }
    }
}

#[tokio::test]
async fn a_service_reads_what_it_consumes_and_owns_and_nothing_else() {
    let secured = Secured::start().await;
    for identity in Identity::all() {
        let broker = secured.connect(identity).await;
        for log in Log::ALL {
            let stream = log.stream(0);
            let expected = match identity {
                Identity::Service(service) => {
                    // The query service verifies the ledger against every log.
                    let verifies = service == Service::Query;
                    // A decider looks whether a replay that is asked for has an answer.
                    let replays = log == Log::DeadLetter && service != Service::Query;
                    verifies || replays || service.own_log() == Some(log) || service.consumes().contains(&log)
                }
                Identity::Auditor | Identity::Restorer => true,
                Identity::Bootstrap | Identity::Producer => false,
            };
            let what = format!("{identity} from {stream}");
            assert_eq!(allowed(broker.read(&stream, None, 1, 1).await), expected, "{what}");
            assert_eq!(allowed(broker.get(&stream, 1).await), expected, "{what}");
            assert!(!allowed(broker.purge_subject(&stream, ">").await), "{what}");
        }
    }
}

#[tokio::test]
async fn a_service_uses_its_own_consumers_and_nobody_elses() {
    let secured = Secured::start().await;
    let all = Declared::of(&secured.installation).consumers;
    for service in Service::ALL {
        let broker = secured.connect(Identity::Service(service)).await;
        for consumer in &all {
            let what = format!("{} > {} by {}", consumer.stream, consumer.durable, service.name());
            let is_own = consumer.durable == service.durable();
            let answer = broker.consumer(&consumer.stream, &consumer.durable).await;
            // The projector's watchdog looks at all of them.
            let looks = is_own || service == Service::Projector;
            match answer {
                Ok(_) if is_own => {}
                Ok(others) => {
                    assert!(looks, "{what}");
                    let fetched = others.fetch(1, BOUND).await.map(|_| ());
                    assert!(!allowed(fetched), "{what}");
                }
                Err(error) => assert_eq!(allowed::<()>(Err(error)), looks, "{what}"),
            }
        }
    }
}

#[tokio::test]
async fn only_the_bootstrap_changes_streams_and_nobody_hears_anothers_answers() {
    let secured = Secured::start().await;
    let declared = Declared::of(&secured.installation);
    let writer = secured.connect(Identity::Service(Service::Worker)).await;
    let kept = writer.append(&message(Log::Worker)).await.unwrap().sequence;
    for identity in Identity::all().filter(|identity| *identity != Identity::Bootstrap) {
        let client = secured.raw_client(identity).await;
        for stream in &declared.streams {
            for verb in ["STREAM.DELETE", "STREAM.MSG.DELETE", "STREAM.UPDATE", "CONSUMER.DELETE"] {
                let body = format!(r#"{{"seq":{kept},"name":"{}"}}"#, stream.name);
                let subject = format!("$JS.API.{verb}.{}", stream.name);
                client.publish(subject, body.into()).await.unwrap();
            }
        }
        let mut foreign = client.subscribe("_INBOX_worker.>").await.unwrap();
        let mut everything = client.subscribe(">").await.unwrap();
        client.flush().await.unwrap();
        assert_eq!(writer.get(&Log::Worker.stream(0), kept).await.unwrap().unwrap().payload, b"x");
        client.flush().await.unwrap();
        if identity != Identity::Service(Service::Worker) {
            assert!(
                foreign.next().now_or_never().flatten().is_none(),
                "{identity} hears the worker's answers"
            );
        }
        assert!(everything.next().now_or_never().flatten().is_none(), "{identity} hears everything");
    }
    // Nothing was deleted or changed.
    let looking = secured.connect(Identity::Bootstrap).await;
    preflight(&looking, &declared).await.unwrap();
}

#[tokio::test]
async fn deadlines_leases_targets_heartbeats_and_blobs_belong_to_those_who_need_them() {
    let secured = Secured::start().await;
    for service in Service::ALL {
        let broker = secured.connect(Identity::Service(service)).await;
        let name = service.name();
        for other in Service::ALL.into_iter().filter(|other| *other != Service::Query) {
            let armed = deadline(other);
            let expected = other == service && service != Service::Projector;
            if other != Service::Projector {
                assert_eq!(may_append(&broker, &armed).await, expected, "{name} arms for {}", other.name());
                let purged = broker.purge_subject(&other.timer_stream(), &armed.subject).await;
                assert_eq!(allowed(purged), expected, "{name} cancels for {}", other.name());
            }
            let forged = Append::new(other.timer_stream(), other.due_subject(&key(), "lease"), Vec::new());
            assert!(!may_append(&broker, &forged).await, "{name} fires for {}", other.name());
            let beat = kv_write(HEALTH_BUCKET, &format!("{}.1", other.name()));
            assert_eq!(
                may_append(&broker, &beat).await,
                other == service,
                "{name} beats as {}",
                other.name()
            );
        }
        let holds_leases = matches!(service, Service::Worker | Service::Dispatcher);
        assert_eq!(may_append(&broker, &kv_write(LEASE_BUCKET, "order-1")).await, holds_leases, "{name}");
        let releases = service == Service::Deployer;
        assert_eq!(may_append(&broker, &kv_write(TARGET_BUCKET, "target-a")).await, releases, "{name}");
        let (counts, switches) = (service == Service::Worker, service == Service::Query);
        assert_eq!(
            may_append(&broker, &kv_write(MODEL_USE_BUCKET, "day.2026-11-20")).await,
            counts,
            "{name}"
        );
        assert_eq!(may_append(&broker, &kv_write(MODEL_SWITCH_BUCKET, "switch")).await, switches, "{name}");
        let blob = Append::new(BLOB_STREAM, format!("millrace.blobs.{}.0", "0".repeat(64)), Vec::new());
        let writes = matches!(service, Service::SpecRegistry | Service::Worker | Service::Deployer);
        assert_eq!(may_append(&broker, &blob).await, writes, "{name}");
        let reads = !matches!(service, Service::Dispatcher | Service::FailureAnalyzer);
        assert_eq!(allowed(broker.read(BLOB_STREAM, None, 1, 1).await), reads, "{name}");
        assert!(!allowed(broker.purge_subject(BLOB_STREAM, ">").await), "{name}");
    }
}

/// The whole working day of each service under its own identity, with both forms of acknowledgement.
#[tokio::test]
async fn every_service_can_do_what_it_must() {
    for config in ["", "feature_flags { js_ack_fc_v2: true }\n"] {
        let secured = Secured::start_with(config).await;
        for service in Service::ALL {
            work_as(&secured, service).await;
        }
    }
}

async fn work_as(secured: &Secured, service: Service) {
    let connection = secured.connect(Identity::Service(service)).await;
    let declared = Declared::for_service(&secured.installation, service);
    preflight(&connection, &declared).await.unwrap();
    let broker: Arc<dyn Broker> = Arc::new(connection);
    for log in service.consumes() {
        for writer in Service::ALL {
            if writer.writes().contains(log) || (*log == Log::DeadLetter && writer == service) {
                let writer = secured.connect(Identity::Service(writer)).await;
                let _ = writer.append(&message(*log)).await.unwrap();
            }
        }
    }
    if service != Service::Projector && service != Service::Query {
        let _ = broker.append(&deadline(service)).await.unwrap();
    }
    for consumer in declared.consumers {
        let attached = broker.consumer(&consumer.stream, &consumer.durable).await.unwrap();
        let delivery = attached.fetch(1, BOUND).await.unwrap().remove(0);
        delivery.in_progress().await.unwrap();
        delivery.give_back(Duration::ZERO).await.unwrap();
        let returned = delivery.message().sequence;
        // The next message may overtake the one that was given back.
        loop {
            let next = attached.fetch(1, BOUND).await.unwrap().remove(0);
            next.acknowledge().await.unwrap();
            if next.message().sequence == returned {
                break;
            }
        }
        // The answers have arrived: the consumer has nothing open.
        let bootstrap = secured.raw_client(Identity::Bootstrap).await;
        let info = format!("$JS.API.CONSUMER.INFO.{}.{}", consumer.stream, consumer.durable);
        eventually("every delivery is acknowledged", BOUND, async || {
            let answer = bootstrap.request(info.clone(), "".into()).await.unwrap();
            String::from_utf8_lossy(&answer.payload).contains("\"num_ack_pending\":0")
        })
        .await;
    }
    let heartbeats = Bucket::new(broker.clone(), HEALTH_BUCKET);
    heartbeats.put(&format!("{}.1", service.name()), b"alive").await.unwrap();
    heartbeats.delete(&format!("{}.1", service.name())).await.unwrap();
    if service == Service::Query {
        heartbeats.entries().await.unwrap();
    }
    if matches!(service, Service::Worker | Service::Dispatcher) {
        let leases = Bucket::new(broker.clone(), LEASE_BUCKET);
        let revision = leases.create("order-1", b"me").await.unwrap().expect("free");
        leases.update("order-1", b"me", revision).await.unwrap().expect("mine");
        leases.delete("order-1").await.unwrap();
    }
    if matches!(service, Service::SpecRegistry | Service::Worker | Service::Deployer) {
        let blobs = Blobs::new(broker, 1_000);
        let digest = blobs.put(b"evidence").await.unwrap();
        assert_eq!(blobs.get(&digest).await.unwrap().unwrap(), b"evidence");
    }
}

/// `MILLRACE_REGENERATE=1` writes it anew.
#[test]
fn the_committed_permissions_of_the_manifests_are_those_of_the_catalogue() {
    let file = Committed::permissions();
    let rendered = auth_template(&Installation::default());
    // A cluster has more copies of every stream, and the same subjects.
    assert_eq!(rendered, auth_template(&Installation { replicas: 3, ..Installation::default() }));
    if std::env::var_os("MILLRACE_REGENERATE").is_some() {
        std::fs::write(&file, &rendered).unwrap();
    }
    let committed = std::fs::read_to_string(&file).unwrap_or_default();
    let write = "MILLRACE_REGENERATE=1 cargo test -p millrace-runtime --test all committed";
    assert!(committed == rendered, "{} is out of date: {write}", file.display());
}

#[tokio::test]
async fn the_committed_configuration_takes_its_keys_from_the_environment_and_limits_every_service() {
    let server = Committed::start().await;
    let declared = Declared::of(&Installation::default());
    let maker = server.connect(Identity::Bootstrap).await;
    bootstrap(&maker, &declared, OnDifference::Report).await.unwrap();
    for service in Service::ALL {
        let broker = server.connect(Identity::Service(service)).await;
        preflight(&broker, &Declared::for_service(&Installation::default(), service)).await.unwrap();
        for log in Log::ALL {
            let expected = log == Log::DeadLetter || service.writes().contains(&log);
            let answer = may_append(&broker, &message(log)).await;
            assert_eq!(answer, expected, "{} to {}", service.name(), log.name());
        }
    }
    let anonymous = async_nats::connect(server.url.as_str()).await;
    assert!(anonymous.is_err(), "nobody connects without a key");
}

fn deadline(service: Service) -> Append {
    let (subject, target) = (service.timer_subject(&key(), "lease"), service.due_subject(&key(), "lease"));
    let schedule = Schedule { at: System.now(), target, keep: Duration::from_secs(60) };
    Append::new(service.timer_stream(), subject, b"late".to_vec()).scheduled(schedule)
}

fn kv_write(bucket: &str, key: &str) -> Append {
    Append::new(format!("KV_{bucket}"), format!("$KV.{bucket}.{key}"), b"x".to_vec())
}
