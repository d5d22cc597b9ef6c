//! Asks a model for an answer that satisfies its role's contract, or says why there is none.
//!
//! Read in this order: [`Router::ask`] (the one way to a model), [`Provider`] (what a model is),
//! [`contracts`] (what an answer must be), [`Crew`] (which model serves which role), [`RecipeProvider`]
//! (the provider that answers from a plan written by hand; it takes exactly the same way as any model).

mod answer;
pub mod contracts;
mod conversation;
mod crew;
mod provider;
mod recipe;
mod record;
mod router;

pub use crew::{Api, Crew, CrewError, Defaults, Model, Price, RoleConfig, Supports};
pub use provider::{
    Author, ErrorClass, Finish, Message, ModelError, ModelRequest, ModelResponse, Provider, Role, Usage,
};
pub use recipe::RecipeProvider;
pub use record::{CallRecord, Verdict};
pub use router::{Answer, Ask, AskError, Router};
