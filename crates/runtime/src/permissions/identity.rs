//! The identities that a server knows.

use std::fmt;

use millrace_events::Service;

/// Who connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// A service.
    Service(Service),
    /// Makes streams and consumers; may not write to them, nor read or purge what they hold.
    Bootstrap,
    /// A program that submits work: publishes to the intake and reads nothing.
    Producer,
    /// A person or program that looks: reads all logs and writes nothing.
    Auditor,
    /// Writes events back into logs that have lost them, from the ledger: publishes to every log and reads
    /// all. Used by `millrace ledger reseed` alone.
    Restorer,
}

impl Identity {
    /// All, in the order in which they are rendered.
    pub fn all() -> impl Iterator<Item = Self> {
        let others = [Self::Bootstrap, Self::Producer, Self::Auditor, Self::Restorer];
        Service::ALL.into_iter().map(Self::Service).chain(others)
    }

    /// The name, as in inboxes and key files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Service(service) => service.name(),
            Self::Bootstrap => "bootstrap",
            Self::Producer => "producer",
            Self::Auditor => "auditor",
            Self::Restorer => "restorer",
        }
    }

    /// The environment variable that holds its public key where a server's configuration refers to one,
    /// such as `MILLRACE_NKEY_SPEC_REGISTRY`.
    pub fn key_variable(self) -> String {
        format!("MILLRACE_NKEY_{}", self.name().to_uppercase().replace('-', "_"))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
