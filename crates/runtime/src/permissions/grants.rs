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
        Identity::Auditor => {
            let mut publish = BTreeSet::new();
            for partition in 0..installation.partitions {
                for log in Log::ALL {
                    publish.extend(read_grants(&log.stream(partition)));
                }
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
    publish
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
    fn nobody_fires_a_deadline_by_hand() {
        let key = Key::new("VTID-01213").unwrap();
        for identity in Identity::all() {
            for service in Service::ALL {
                assert!(!may_publish(identity, &service.due_subject(&key, "lease")), "{identity}");
            }
        }
    }
}
