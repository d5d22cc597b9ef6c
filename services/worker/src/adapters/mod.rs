//! The real sandbox, git, the files of a checkout, the models.

mod checkout;
mod dependencies;
mod edits;
mod models;
mod sandboxed;
mod shared;
mod workplace;

pub use checkout::{Changed, Checkout, CheckoutError, Merge, Proposal};
pub use dependencies::Dependencies;
pub(crate) use edits::existing;
pub use edits::{Edit, EditError, apply};
pub use models::{Models, built_in_crew};
pub use sandboxed::Sandboxed;
pub use shared::SharedBuckets;
pub use workplace::Workplace;
pub(crate) use workplace::{prepare, remove};
