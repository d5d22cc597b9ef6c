//! The subjects that an identity may use.

use std::collections::BTreeSet;

use millrace_events::{Log, Service};

use super::{Access, Identity};
use crate::bootstrap::{Declared, Installation};

/// What an identity may publish and subscribe to; everything else is refused by the server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grants {
    /// Subject patterns to publish on.
    pub publish: BTreeSet<String>,
    /// Subject patterns to subscribe to.
    pub subscribe: BTreeSet<String>,
}

/// The least that an identity needs.
pub fn grants(identity: Identity, installation: &Installation) -> Grants {
    let publish = match identity {
        Identity::Service(service) => service_grants(service, installation),
        Identity::Bootstrap => bootstrap_grants(),
        Identity::Producer => (0..installation.partitions).map(|p| Log::Intake.subjects(p)).collect(),
        Identity::Auditor => read_all_grants(installation),
        Identity::Restorer => {
            let mut publish = read_all_grants(installation);
            for partition in 0..installation.partitions {
                publish.extend(Log::ALL.map(|log| log.subjects(partition)));
            }
            publish
        }
    };
    let subscribe = BTreeSet::from([format!("_INBOX_{}.>", identity.name())]);
    Grants { publish, subscribe }
}

fn service_grants(service: Service, installation: &Installation) -> BTreeSet<String> {
    let access = Access::of(service, installation);
    let mut publish = access.writes;
    publish.extend(access.inspects.iter().map(|stream| inspect_grant(stream)));
    publish.extend(access.reads.iter().flat_map(|stream| read_grants(stream)));
    publish.extend(access.purges.iter().map(|stream| format!("$JS.API.STREAM.PURGE.{stream}")));
    for consumer in Declared::for_service(installation, service).consumers {
        let (stream, durable) = (consumer.stream, consumer.durable);
        publish.insert(format!("$JS.API.CONSUMER.INFO.{stream}.{durable}"));
        publish.insert(format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"));
        publish.insert(format!("$JS.ACK.{stream}.{durable}.>"));
        // Newer servers put the domain and a hash of the account before the stream.
        publish.insert(format!("$JS.ACK.*.*.{stream}.{durable}.>"));
    }
    if service == Service::Projector {
        publish.extend(watch_grants(installation));
    }
    publish
}

/// The watchdog looks at how everything is configured, and at nothing that it holds.
fn watch_grants(installation: &Installation) -> BTreeSet<String> {
    let Declared { streams, consumers } = Declared::of(installation);
    let consumers = consumers.into_iter().map(|consumer| {
        let (stream, durable) = (consumer.stream, consumer.durable);
        format!("$JS.API.CONSUMER.INFO.{stream}.{durable}")
    });
    streams.iter().map(|stream| inspect_grant(&stream.name)).chain(consumers).collect()
}

fn read_all_grants(installation: &Installation) -> BTreeSet<String> {
    let streams = (0..installation.partitions).flat_map(|one| Log::ALL.map(|log| log.stream(one)));
    streams.flat_map(|stream| read_grants(&stream)).collect()
}

/// Create, update, delete and look at; neither purge nor delete messages, nor read them.
fn bootstrap_grants() -> BTreeSet<String> {
    let verbs = [
        "INFO",
        "STREAM.CREATE.*",
        "STREAM.UPDATE.*",
        "STREAM.DELETE.*",
        "STREAM.INFO.*",
        "STREAM.LIST",
        "STREAM.NAMES",
        "CONSUMER.CREATE.*.*",
        "CONSUMER.DELETE.*.*",
        "CONSUMER.INFO.*.*",
        "CONSUMER.LIST.*",
        "CONSUMER.NAMES.*",
    ];
    verbs.into_iter().map(|verb| format!("$JS.API.{verb}")).collect()
}

fn inspect_grant(stream: &str) -> String {
    format!("$JS.API.STREAM.INFO.{stream}")
}

fn read_grants(stream: &str) -> [String; 3] {
    [
        inspect_grant(stream),
        format!("$JS.API.STREAM.MSG.GET.{stream}"),
        format!("$JS.API.DIRECT.GET.{stream}"),
    ]
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use millrace_events::Key;

    use super::*;
    use crate::broker::subject::matches;

    fn may_publish(identity: Identity, subject: &str) -> bool {
        let granted = grants(identity, &Installation::default()).publish;
        granted.iter().any(|pattern| matches(pattern, subject))
    }

    #[test]
    fn a_log_is_written_by_those_whom_the_catalogue_names_and_by_nobody_else() {
        let key = Key::new("VTID-01213").unwrap();
        for identity in Identity::all() {
            for log in Log::ALL {
                let allowed = match identity {
                    Identity::Service(service) => log == Log::DeadLetter || service.writes().contains(&log),
                    Identity::Producer => log == Log::Intake,
                    Identity::Restorer => true,
                    Identity::Bootstrap | Identity::Auditor => false,
                };
                let subject = log.subject(&key, 1);
                assert_eq!(may_publish(identity, &subject), allowed, "{identity} on {subject}");
            }
        }
    }

    #[test]
    fn only_the_bootstrap_may_change_streams_and_nobody_may_purge_a_log() {
        for identity in Identity::all() {
            let is_bootstrap = identity == Identity::Bootstrap;
            for log in Log::ALL {
                let stream = log.stream(0);
                for verb in ["CREATE", "UPDATE", "DELETE"] {
                    let subject = format!("$JS.API.STREAM.{verb}.{stream}");
                    assert_eq!(may_publish(identity, &subject), is_bootstrap, "{identity}: {subject}");
                }
                for verb in ["PURGE", "MSG.DELETE", "SNAPSHOT", "RESTORE"] {
                    let subject = format!("$JS.API.STREAM.{verb}.{stream}");
                    assert!(!may_publish(identity, &subject), "{identity}: {subject}");
                }
                let consumer = format!("$JS.API.CONSUMER.CREATE.{stream}.mine");
                assert_eq!(may_publish(identity, &consumer), is_bootstrap, "{identity}: {consumer}");
            }
        }
    }

    #[test]
    fn the_projector_looks_at_every_configuration_and_nobody_else_does() {
        let declared = Declared::of(&Installation::default());
        let looks_at_all = |identity: Identity| {
            let streams = declared.streams.iter().map(|stream| inspect_grant(&stream.name));
            let consumers = declared
                .consumers
                .iter()
                .map(|consumer| format!("$JS.API.CONSUMER.INFO.{}.{}", consumer.stream, consumer.durable));
            streams.chain(consumers).all(|subject| may_publish(identity, &subject))
        };
        for identity in Identity::all() {
            let expected = matches!(identity, Identity::Bootstrap | Identity::Service(Service::Projector));
            assert_eq!(looks_at_all(identity), expected, "{identity}");
        }
    }

    #[test]
    fn the_restorer_writes_logs_and_nothing_else() {
        for stream in Declared::of(&Installation::default()).streams {
            let is_log = Log::from_stream(&stream.name).is_some();
            for pattern in stream.subjects {
                let subject = pattern.replace('>', "x");
                assert_eq!(may_publish(Identity::Restorer, &subject), is_log, "{subject}");
            }
        }
    }

    #[test]
    fn nobody_fires_a_deadline_by_hand() {
        let key = Key::new("VTID-01213").unwrap();
        for identity in Identity::all() {
            for service in Service::ALL {
                assert!(!may_publish(identity, &service.due_subject(&key, "lease")), "{identity}");
            }
        }
    }
}
