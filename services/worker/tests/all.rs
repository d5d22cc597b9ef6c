//! The worker on a broker in memory, with a real git repository and the real sandbox.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "all/changes.rs"]
mod changes;
#[path = "all/checks.rs"]
mod checks;
#[path = "all/claims.rs"]
mod claims;
#[path = "all/endings.rs"]
mod endings;
#[path = "all/leases.rs"]
mod leases;
#[path = "all/model_budgets.rs"]
mod model_budgets;
#[path = "all/outage.rs"]
mod outage;
#[path = "all/process.rs"]
mod process;
#[path = "all/prompts.rs"]
mod prompts;
#[path = "all/refusals.rs"]
mod refusals;
#[path = "all/retries.rs"]
mod retries;
#[path = "all/sandboxes.rs"]
mod sandboxes;
#[path = "all/support.rs"]
mod support;
