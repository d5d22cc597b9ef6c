//! The one way to a model: a question in, an answer that satisfies its contract out.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::contracts::{ContractError, Contracts};
use crate::conversation::{Conversation, End};
use crate::crew::{Crew, CrewError};
use crate::provider::{ModelError, Provider, Role};
use crate::record::CallRecord;

/// Routes questions to the models of the crew.
pub struct Router {
    crew: Crew,
    contracts: Contracts,
    providers: BTreeMap<String, Arc<dyn Provider>>,
}

/// One question.
#[derive(Debug, Clone)]
pub struct Ask {
    /// For whom; decides candidates and contract.
    pub role: Role,
    /// The system prompt.
    pub system: String,
    /// The question itself.
    pub prompt: String,
    /// The plan that stands in the task's spec, if any.
    pub recipe: Option<String>,
    /// When the answer is of no more use.
    pub deadline: Instant,
}

/// An answer that satisfies its contract.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The answer.
    pub value: Value,
    /// Every call that was made for it, oldest first.
    pub calls: Vec<CallRecord>,
    /// How many of them broke the contract.
    pub violations: u32,
}

/// Why a question has no answer. Every kind carries the calls that were made.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// `CONTRACT_VIOLATION`: the last permitted answer still broke the contract.
    #[error("{attempts} answers broke the `{contract}` contract; the last: {}", listed(errors))]
    ContractViolation {
        /// Which contract.
        contract: &'static str,
        /// How many answers were judged: one, and one per re-prompt.
        attempts: u32,
        /// What was wrong with the last one.
        errors: Vec<ContractError>,
        /// The calls made.
        calls: Vec<CallRecord>,
    },
    /// No candidate gave an answer; the source says which error code it is.
    #[error("no model answered for the {}", role.name())]
    Model {
        /// For whom.
        role: Role,
        /// What the last candidate said.
        #[source]
        source: ModelError,
        /// The calls made.
        calls: Vec<CallRecord>,
    },
    /// The crew or this program has nothing for that role.
    #[error("the {} cannot be asked: {reason}", role.name())]
    Unroutable {
        /// For whom.
        role: Role,
        /// What is missing.
        reason: String,
    },
    /// The question's own deadline passed.
    #[error("the deadline passed before a model answered")]
    DeadlineExceeded {
        /// The calls made.
        calls: Vec<CallRecord>,
    },
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled {
        /// The calls made.
        calls: Vec<CallRecord>,
    },
}

impl Router {
    /// A router for a crew and the providers that this program offers.
    ///
    /// # Errors
    /// A model names a provider that is not offered.
    pub fn new(
        crew: Crew,
        contracts: Contracts,
        providers: Vec<Arc<dyn Provider>>,
    ) -> Result<Self, CrewError> {
        let providers: BTreeMap<String, Arc<dyn Provider>> =
            providers.into_iter().map(|provider| (provider.name().to_owned(), provider)).collect();
        for (name, model) in &crew.models {
            if !providers.contains_key(&model.provider) {
                let message = format!("provider `{}` is not enabled here", model.provider);
                return Err(crew.error(format!("models.{name}.provider"), message));
            }
        }
        Ok(Self { crew, contracts, providers })
    }

    /// The contracts that answers are checked against.
    #[must_use]
    pub fn contracts(&self) -> &Contracts {
        &self.contracts
    }

    /// Asks the role's candidates in order until one answers, and asks that one again, with the exact errors,
    /// while its answer breaks the contract: at most `contract_retries` times (S0-4.4, S0-4.9b).
    ///
    /// # Errors
    /// See [`AskError`]. Nothing that broke the contract is ever returned.
    pub async fn ask(&self, ask: &Ask, cancel: &CancellationToken) -> Result<Answer, AskError> {
        let mut conversation = self.open(ask)?;
        tokio::select! {
            biased;
            () = cancel.cancelled() => {}
            ended = timeout_at(ask.deadline, conversation.hold()) => match ended {
                Ok(Ok(value)) => {
                    let calls = conversation.calls;
                    let violations = conversation.attempts - 1;
                    return Ok(Answer { value, calls, violations });
                }
                Ok(Err(end)) if ask.deadline > Instant::now() => return Err(failed(ask.role, conversation, end)),
                // The last call ran into the question's deadline, not into its own.
                Ok(Err(End::Model(_))) | Err(_) => {
                    conversation.record_unanswered("the question's deadline passed");
                    return Err(AskError::DeadlineExceeded { calls: conversation.calls });
                }
                Ok(Err(end)) => return Err(failed(ask.role, conversation, end)),
            }
        }
        conversation.record_unanswered("the caller cancelled");
        Err(AskError::Cancelled { calls: conversation.calls })
    }

    fn open<'a>(&'a self, ask: &'a Ask) -> Result<Conversation<'a>, AskError> {
        let role = ask.role;
        let unroutable = |reason: String| AskError::Unroutable { role, reason };
        let config = self.crew.roles.get(&role);
        let config = config.ok_or_else(|| unroutable("the crew file has no such role".to_owned()))?;
        let contract = self.contracts.get(role.contract());
        let contract =
            contract.ok_or_else(|| unroutable(format!("there is no `{}` contract", role.contract())))?;
        let candidates = config.candidates.iter().filter_map(|name| {
            let model = self.crew.models.get(name)?;
            Some((model, self.providers.get(&model.provider)?.as_ref()))
        });
        let candidates = candidates.collect();
        Ok(Conversation::new(ask, contract, candidates, &self.crew.defaults))
    }
}

impl AskError {
    /// The calls that were made before it failed, oldest first.
    #[must_use]
    pub fn calls(&self) -> &[CallRecord] {
        match self {
            Self::ContractViolation { calls, .. }
            | Self::Model { calls, .. }
            | Self::DeadlineExceeded { calls }
            | Self::Cancelled { calls } => calls,
            Self::Unroutable { .. } => &[],
        }
    }
}

fn failed(role: Role, conversation: Conversation<'_>, end: End) -> AskError {
    match end {
        End::Violation(errors) => AskError::ContractViolation {
            contract: role.contract(),
            attempts: conversation.attempts,
            errors,
            calls: conversation.calls,
        },
        End::Model(source) => AskError::Model { role, source, calls: conversation.calls },
    }
}

fn listed(errors: &[ContractError]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("; ")
}
