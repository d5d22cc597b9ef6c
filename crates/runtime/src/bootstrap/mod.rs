//! What must exist on a NATS server before a service starts, made and compared by the bootstrap identity.
//!
//! [`Declared`] says it, derived from the catalogue; [`bootstrap`] makes it, safe to repeat, and reports
//! what differs. Nobody else may create, update or delete a stream or a consumer.

mod apply;
mod compare;
mod declaration;
mod declared;

pub use apply::{BootstrapError, OnDifference, Report, bootstrap, delete_stream};
pub use compare::Difference;
pub(crate) use compare::{compare_consumer, compare_stream};
pub use declaration::{ConsumerDeclaration, StreamDeclaration};
pub(crate) use declared::deciders;
pub use declared::{Declared, Installation, MAX_ACK_PENDING, reported_under};
