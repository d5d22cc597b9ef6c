//! Pure rules between the API's messages and the events: which event a request becomes, what became of a submission, whether the system is healthy.

mod alarm;
mod assessment;
mod replay;
mod request;
mod submission;

pub(crate) use alarm::alarm;
pub(crate) use assessment::{assess, recent_letters};
pub(crate) use replay::{meant, place, replay_event};
pub(crate) use request::{Action, RequestError, operator_event, request_task, submit_spec};
pub(crate) use submission::explained;
pub(crate) use submission::submission_state;
