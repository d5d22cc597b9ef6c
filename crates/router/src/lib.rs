//! Asks a model for an answer that satisfies its role's contract, or says why there is none.
//!
//! Read in this order: [`Router::ask`] (the one way to a model), [`Provider`] (what a model is),
//! [`contracts`] (what an answer must be), [`Crew`] (which model serves which role), `select` (how one of them is
//! chosen), [`Shared`] (what all workers know together: money, rates, the kill switch), [`RecipeProvider`]
//! (the provider that answers from a plan written by hand; it takes exactly the same way as any model).

mod answer;
mod call;
pub mod contracts;
mod conversation;
mod crew;
mod provider;
pub mod providers;
mod recipe;
mod record;
mod router;
mod select;
mod shared;

pub use answer::Repair;
pub use crew::{
    Api, Budget, Cooldown, Crew, CrewError, Date, Defaults, Fallbacks, Jitter, Limits, Model, Models,
    OnExhausted, Places, Policy, Price, RECIPE, Reload, Require, Retention, Retry, RetryEvent, RetryOn,
    RoleConfig, Source, Supports, Timeout, day_of,
};
pub use provider::{
    Author, ErrorClass, Finish, Message, ModelError, ModelRequest, ModelResponse, Provider, Role, Usage,
};
pub use recipe::RecipeProvider;
pub use record::{CallRecord, Fallback, Origin, Trail, Verdict};
pub use router::{Answer, Ask, AskError, Earlier, Router};
pub use select::Considered;
pub use shared::account::Limit;
pub use shared::{MemoryShared, SWITCH_KEY, Shared, SharedError, Switch};
