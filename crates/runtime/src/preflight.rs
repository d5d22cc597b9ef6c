//! Looks at the server before a service starts: is it new enough, has it JetStream, is everything there
//! and as declared?

use std::fmt;

use crate::bootstrap::{Declared, Difference, compare_consumer, compare_stream};
use crate::broker::BrokerError;
use crate::inspect::Inspect;
use crate::nats::NatsBroker;

/// The oldest server that will do: scheduled messages, atomic batches and the strict API came with it.
pub const FLOOR: (u32, u32) = (2, 12);

/// Why a service must not start on this server. Each says in one line what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub enum PreflightError {
    /// An old server.
    #[error(
        "nats-server {found} is too old: {}.{} or newer is needed; install a newer one, for example with `make setup`",
        FLOOR.0,
        FLOOR.1
    )]
    TooOld {
        /// What the server says of itself.
        found: String,
    },
    /// A server without JetStream.
    #[error("this nats-server has no JetStream: start it with `--jetstream` or a `jetstream` block")]
    NoJetStream,
    /// Streams or consumers are missing or are not as declared.
    #[error(
        "the server's streams and consumers are not as declared: {0}; run `millrace bootstrap`, with `--update` where a setting differs"
    )]
    Differs(Differences),
    /// The server did not answer.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// One or more differences, shown in one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Differences(pub Vec<Difference>);

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 3;
        let Self(all) = self;
        let shown: Vec<String> = all.iter().take(SHOWN).map(ToString::to_string).collect();
        f.write_str(&shown.join("; "))?;
        match all.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

/// Checks the server for whoever needs `declared`: [`Declared::for_service`] at the start of a service,
/// [`Declared::of`] for the bootstrap. Needs no more than permission to look.
pub async fn preflight(broker: &NatsBroker, declared: &Declared) -> Result<(), PreflightError> {
    check_server(broker)?;
    let differences = differences(broker, declared).await?;
    if differences.is_empty() { Ok(()) } else { Err(PreflightError::Differs(Differences(differences))) }
}

/// The part of it that needs no stream: for the bootstrap itself.
pub fn check_server(broker: &NatsBroker) -> Result<(), PreflightError> {
    let info = broker.server_info();
    // A version that cannot be read is of a server that we do not know.
    if version(&info.version).is_none_or(|found| found < FLOOR) {
        return Err(PreflightError::TooOld { found: info.version });
    }
    if info.has_jetstream { Ok(()) } else { Err(PreflightError::NoJetStream) }
}

/// Everything on the server that is missing or not as declared.
pub async fn differences(broker: &dyn Inspect, declared: &Declared) -> Result<Vec<Difference>, BrokerError> {
    let mut differences = Vec::new();
    for stream in &declared.streams {
        match broker.stream_config(&stream.name).await? {
            Some(found) => differences.extend(compare_stream(stream, &found)),
            None => differences.push(Difference::missing(stream.name.clone())),
        }
    }
    for consumer in &declared.consumers {
        match broker.consumer_config(&consumer.stream, &consumer.durable).await? {
            Some(found) => differences.extend(compare_consumer(consumer, &found)),
            None => {
                differences.push(Difference::missing(format!("{} > {}", consumer.stream, consumer.durable)))
            }
        }
    }
    Ok(differences)
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number_and_not_by_text() {
        assert!(version("2.9.10") < Some(FLOOR));
        assert_eq!(version("2.12.0"), Some(FLOOR));
        assert!(version("2.15.1-dev") > Some(FLOOR));
        assert_eq!(version("unknown"), None);
    }
}
