//! The one way to a model: a question in, an answer that satisfies its contract out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::contracts::{ContractError, Contracts};
use crate::conversation::{Conversation, End};
use crate::crew::{Crew, CrewError, Retention};
use crate::provider::{ModelError, Provider, Role};
use crate::record::{CallRecord, Fallback, Origin, Trail};
use crate::shared::account::Limit;
use crate::shared::{MemoryShared, SWITCH_KEY, Shared, Switch, look};

/// Routes questions to the models of the crew.
pub struct Router {
    crew: RwLock<Arc<Crew>>,
    contracts: Contracts,
    providers: BTreeMap<String, Arc<dyn Provider>>,
    shared: Arc<dyn Shared>,
    /// How long each model's answers took lately, as this process saw them.
    latencies: Mutex<BTreeMap<String, Duration>>,
}

/// One question.
#[derive(Debug, Clone)]
pub struct Ask {
    /// For whom; decides candidates and contract.
    pub role: Role,
    /// The contract that the answer must satisfy; the role's if absent.
    pub contract: Option<String>,
    /// The system prompt.
    pub system: String,
    /// The question itself.
    pub prompt: String,
    /// The plan that stands in the task's spec, if any.
    pub recipe: Option<String>,
    /// When the answer is of no more use.
    pub deadline: Instant,
    /// The task whose budget it counts against; empty: none.
    pub task: String,
    /// The repository whose texts are sent; empty: none.
    pub repository: String,
    /// Decides lots and pauses, so that a run can be repeated.
    pub seed: u64,
    /// Where what is sent may be kept or read; anywhere if empty.
    pub data_residency: Vec<String>,
    /// How long what is sent may be kept; as long as they like if absent.
    pub data_retention: Option<Retention>,
    /// Who has answered for the same task before.
    pub earlier: Vec<Earlier>,
    /// Where the prompt comes from, for the records.
    pub origin: Origin,
}

/// A model that answered for a role of the same task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier {
    /// The role.
    pub role: Role,
    /// As in [`CallRecord::provider`].
    pub provider: String,
    /// As in [`CallRecord::model`].
    pub model: String,
}

/// An answer that satisfies its contract.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The answer.
    pub value: Value,
    /// Every call that was made for it, oldest first.
    pub calls: Vec<CallRecord>,
    /// Every time that another model stepped in.
    pub fallbacks: Vec<Fallback>,
    /// How many of the calls broke the contract.
    pub violations: u32,
}

/// Why a question has no answer. Every kind carries what was done for it.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// `CONTRACT_VIOLATION`: the last permitted answer still broke the contract.
    #[error("{attempts} answers broke the `{contract}` contract; the last: {}", listed(errors))]
    ContractViolation {
        /// Which contract.
        contract: String,
        /// How many answers were judged: one, and one per re-prompt.
        attempts: u32,
        /// What was wrong with the last one.
        errors: Vec<ContractError>,
        /// What was done.
        trail: Trail,
    },
    /// No candidate gave an answer; the source says which error code it is.
    #[error("no model answered for the {}", role.name())]
    Model {
        /// For whom.
        role: Role,
        /// What the last candidate said.
        #[source]
        source: ModelError,
        /// What was done.
        trail: Trail,
    },
    /// `BUDGET_EXCEEDED`: no candidate can be asked with the money that is left.
    #[error("the budget of the {} does not allow to ask for the {}: {reason}", which.name(), role.name())]
    BudgetExceeded {
        /// Which limit.
        which: Limit,
        /// For whom.
        role: Role,
        /// Each candidate, and what it lacks.
        reason: String,
        /// The limit, in millionths of a US dollar.
        limit_micro_usd: u64,
        /// What is spent of it, in the same.
        spent_micro_usd: u64,
        /// What was done.
        trail: Trail,
    },
    /// `MODELS_SWITCHED_OFF`: an operator has switched off all models.
    #[error("all models are switched off by {by}: {reason}")]
    SwitchedOff {
        /// Who did it.
        by: String,
        /// Why.
        reason: String,
        /// What was done.
        trail: Trail,
    },
    /// The crew or this program has nothing for that role.
    #[error("the {} cannot be asked: {reason}", role.name())]
    Unroutable {
        /// For whom.
        role: Role,
        /// What is missing.
        reason: String,
        /// What was done before that showed.
        trail: Trail,
    },
    /// The question's own deadline passed.
    #[error("the deadline passed before a model answered")]
    DeadlineExceeded {
        /// What was done.
        trail: Trail,
    },
    /// The caller cancelled.
    #[error("cancelled")]
    Cancelled {
        /// What was done.
        trail: Trail,
    },
}

/// How often the switch is looked at while a question is under way.
const LOOK_AT_SWITCH: Duration = Duration::from_secs(1);
/// How long the books of what was cut short may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

impl Ask {
    /// A question without more than its texts; `deadline` is when the answer is of no more use.
    #[must_use]
    pub fn new(role: Role, system: impl Into<String>, prompt: impl Into<String>, deadline: Instant) -> Self {
        Self {
            role,
            contract: None,
            system: system.into(),
            prompt: prompt.into(),
            recipe: None,
            deadline,
            task: String::new(),
            repository: String::new(),
            seed: 0,
            data_residency: Vec::new(),
            data_retention: None,
            earlier: Vec::new(),
            origin: Origin::default(),
        }
    }
}

impl Router {
    /// A router for a crew and the providers that this program offers. Its budgets and limits are its own until
    /// [`sharing`](Self::sharing) gives it those of all workers.
    ///
    /// # Errors
    /// A model names a provider that is not offered, or a role a contract that there is not.
    pub fn new(
        crew: Crew,
        contracts: Contracts,
        providers: Vec<Arc<dyn Provider>>,
    ) -> Result<Self, CrewError> {
        let providers =
            providers.into_iter().map(|provider| (provider.name().to_owned(), provider)).collect();
        let router = Self {
            crew: RwLock::default(),
            contracts,
            providers,
            shared: Arc::new(MemoryShared::at(0)),
            latencies: Mutex::default(),
        };
        router.replace(crew)?;
        Ok(router)
    }

    /// With what all workers know together.
    #[must_use]
    pub fn sharing(self, shared: Arc<dyn Shared>) -> Self {
        Self { shared, ..self }
    }

    /// Takes another crew from the next question on (S0-4.3).
    ///
    /// # Errors
    /// As [`new`](Self::new); the crew from before stays.
    pub fn replace(&self, crew: Crew) -> Result<(), CrewError> {
        for (name, model) in &crew.models {
            if !self.providers.contains_key(&model.provider) {
                let message = format!("provider `{}` is not enabled here", model.provider);
                return Err(crew.error(format!("models.{name}.provider"), message));
            }
        }
        crew.check_contracts(&self.contracts)?;
        *self.crew.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(crew);
        Ok(())
    }

    /// The crew that the next question goes by.
    #[must_use]
    pub fn crew(&self) -> Arc<Crew> {
        self.crew.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The contracts that answers are checked against.
    #[must_use]
    pub fn contracts(&self) -> &Contracts {
        &self.contracts
    }

    /// Asks the role's candidates in the order of its policy until one answers, and asks that one again, with the
    /// exact errors, while its answer breaks the contract: at most `contract_retries` times (S0-4.4, S0-4.9b).
    ///
    /// # Errors
    /// See [`AskError`]. Nothing that broke the contract is ever returned.
    pub async fn ask(&self, ask: &Ask, cancel: &CancellationToken) -> Result<Answer, AskError> {
        let crew = self.crew();
        let mut conversation = match self.open(&crew, ask) {
            Ok(conversation) => conversation,
            Err(reason) => {
                return Err(AskError::Unroutable { role: ask.role, reason, trail: Trail::default() });
            }
        };
        let watched = conversation.is_switched();
        let cut = tokio::select! {
            biased;
            () = cancel.cancelled() => Cut::Cancelled,
            switch = self.switched_off(), if watched => Cut::Switched(switch),
            ended = timeout_at(ask.deadline, conversation.hold()) => match ended {
                Ok(Ok(value)) => {
                    let violations = conversation.attempts - 1;
                    let Trail { calls, fallbacks } = conversation.trail;
                    return Ok(Answer { value, calls, fallbacks, violations });
                }
                // The last call ran into the question's deadline, not into its own.
                Ok(Err(End::Model(_))) if ask.deadline <= Instant::now() => Cut::Deadline,
                Ok(Err(end)) => return Err(failed(ask.role, conversation, end)),
                Err(_) => Cut::Deadline,
            }
        };
        let why = match &cut {
            Cut::Cancelled => "the caller cancelled",
            Cut::Switched(_) => "all models were switched off",
            Cut::Deadline => "the question's deadline passed",
        };
        let closed = tokio::time::timeout(CLOSE_WITHIN, conversation.cut_short(why)).await;
        // What could not be written runs out by itself.
        drop(closed);
        let trail = conversation.trail;
        Err(match cut {
            Cut::Cancelled => AskError::Cancelled { trail },
            Cut::Switched(Switch { by, reason, .. }) => AskError::SwitchedOff { by, reason, trail },
            Cut::Deadline => AskError::DeadlineExceeded { trail },
        })
    }

    /// Returns as soon as models may not be asked, and else never.
    async fn switched_off(&self) -> Switch {
        loop {
            // A switch that cannot be read says nothing: before each request it must be.
            if let Ok(switch) = look::<Switch>(self.shared.as_ref(), SWITCH_KEY).await
                && switch.off
            {
                return switch;
            }
            tokio::time::sleep(LOOK_AT_SWITCH).await;
        }
    }

    /// The question, ready to be asked; otherwise what is missing for it.
    fn open<'a>(&'a self, crew: &'a Crew, ask: &'a Ask) -> Result<Conversation<'a>, String> {
        let config = crew.roles.get(&ask.role).ok_or("the crew file has no such role")?;
        let name =
            ask.contract.as_deref().or(config.contract.as_deref()).unwrap_or_else(|| ask.role.contract());
        let contract = self.contracts.get(name).ok_or_else(|| format!("there is no `{name}` contract"))?;
        Ok(Conversation::new(self, crew, config, ask, (name, contract)))
    }

    /// Now, as all workers have it, in microseconds since 1970.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.shared.now()
    }

    pub(crate) fn provider(&self, name: &str) -> Option<&dyn Provider> {
        self.providers.get(name).map(AsRef::as_ref)
    }

    pub(crate) fn shared(&self) -> &dyn Shared {
        self.shared.as_ref()
    }

    pub(crate) fn latencies(&self) -> BTreeMap<String, Duration> {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes how long an answer took: an average in which the last answers count most.
    pub(crate) fn answered(&self, model: &str, after: Duration) {
        let mut latencies = self.latencies.lock().unwrap_or_else(PoisonError::into_inner);
        let average = latencies.entry(model.to_owned()).or_insert(after);
        *average = (*average * 3 + after) / 4;
    }
}

/// Why a question was not carried to its end.
enum Cut {
    Cancelled,
    Switched(Switch),
    Deadline,
}

impl AskError {
    /// What was done before it failed.
    #[must_use]
    pub fn trail(&self) -> &Trail {
        match self {
            Self::ContractViolation { trail, .. }
            | Self::Model { trail, .. }
            | Self::BudgetExceeded { trail, .. }
            | Self::SwitchedOff { trail, .. }
            | Self::Unroutable { trail, .. }
            | Self::DeadlineExceeded { trail }
            | Self::Cancelled { trail } => trail,
        }
    }

    /// The calls that were made before it failed, oldest first.
    #[must_use]
    pub fn calls(&self) -> &[CallRecord] {
        &self.trail().calls
    }

    /// Every time that another model stepped in before it failed.
    #[must_use]
    pub fn fallbacks(&self) -> &[Fallback] {
        &self.trail().fallbacks
    }
}

fn failed(role: Role, conversation: Conversation<'_>, end: End) -> AskError {
    let contract = conversation.contract_name().to_owned();
    let attempts = conversation.attempts;
    let trail = conversation.trail;
    match end {
        End::Violation(errors) => AskError::ContractViolation { contract, attempts, errors, trail },
        End::Model(source) => AskError::Model { role, source, trail },
        End::Money(short, reason) => AskError::BudgetExceeded {
            which: short.which,
            role,
            reason,
            limit_micro_usd: short.limit,
            spent_micro_usd: short.spent,
            trail,
        },
        End::Nobody(reason) => AskError::Unroutable { role, reason, trail },
    }
}

fn listed(errors: &[ContractError]) -> String {
    let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
    lines.join("; ")
}
