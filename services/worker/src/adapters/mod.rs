//! The real sandbox, git, the files of a checkout, the models.

mod checkout;
mod edits;
mod models;
mod sandboxed;
mod workplace;

pub use checkout::{Changed, Checkout, CheckoutError, Merge, Proposal};
pub use edits::{Edit, EditError, apply};
pub use models::{Models, built_in_crew};
pub use sandboxed::Sandboxed;
pub use workplace::Workplace;
pub(crate) use workplace::{prepare, remove};
