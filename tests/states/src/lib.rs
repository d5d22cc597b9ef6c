//! Every event of the catalogue in every state of every decider. S2-G9a, S2-G9b, S4-SP1.
//!
//! A state is the fold of a beginning of a history of the decider's own log; equal states are one. What comes
//! is every event of every log, filled by reflection, about the present, an older and a future attempt and
//! run, with other codes and orders, empty, and as a later version may write it ([`facts`]); every deadline
//! that the decider arms anywhere; and every answer of the world. Each passes the service's real rim. A cell
//! must not panic, must not record a second event when the same comes again, must follow the life cycle, and
//! where nothing follows there must be a reason of this list, given by a small model that knows only the
//! history ([`subjects`]):
//!
//! | reason | what it means |
//! |---|---|
//! | `record` | the fact is the business of its own log; the present state neither follows from it nor forbids it |
//! | `past` | about a run or attempt that is over: delivered again, or late |
//! | `done` | this very thing is in effect already |
//! | `asks` | a question to the world is due; its answer decides |
//! | `begins` | work in the world is due; its outcome is recorded |
//! | `arms` | only a deadline follows |
//! | `moot` | a deadline whose reason is gone |
//! | `locked` | a running or finished task keeps the spec that it is locked to |
//! | `not ready` | a spec that is a draft or done is never dispatched |
//! | `unknown` | of a kind that this version does not know: kept and skipped |
//! | `paused` | a person holds the run; the resume takes it up |
//! | `busy` | another worker, or a process that is gone, holds it: its lease decides |
//! | `unasked` | the answer of an effect that is not due any more; the first answer stands |
//!
//! `golden/<service>.txt` has every cell. `MILLRACE_REGENERATE=1 cargo test -p millrace-states` writes it anew;
//! what changes in it is a change of behaviour and is to be reviewed as one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "only tests use this crate"
)]
#![allow(clippy::disallowed_methods, reason = "only tests use this crate")]

pub mod facts;
pub mod golden;
pub mod matrix;
pub mod subjects;
pub mod watched;
pub mod world;
