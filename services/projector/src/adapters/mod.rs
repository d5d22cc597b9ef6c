//! The ledger's seams over the runtime's.

mod logs;

pub use logs::{BrokerReader, BrokerWriter, stored_event};
