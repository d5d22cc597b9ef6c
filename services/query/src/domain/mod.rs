//! Pure rules: which event a request becomes, what became of a submission, whether the system is healthy.

mod assessment;
mod request;
mod submission;

pub use assessment::assess;
pub use request::{Action, RequestError, operator_event, request_task, submit_spec};
pub(crate) use submission::explained;
pub use submission::submission_state;
