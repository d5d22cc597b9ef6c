//! The ports over the real thing: the ledger's queries, and the broker.

mod ledger;
mod logs;
mod rows;
mod streams;
mod submission;
mod texts;

pub use ledger::StoredLedger;
pub use logs::BrokerLogs;
pub use streams::{BrokerStreams, ChainVerifier, verdicts};
pub use texts::StoredTexts;
