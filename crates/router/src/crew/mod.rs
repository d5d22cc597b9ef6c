//! The crew file: which model serves which role. `crew.yaml` is the only place that says so (S0-4.3).
//!
//! Read in this order: [`Crew`] (the file), [`Model`], `read` (from text, with what is refused), `check` (what the
//! types do not say), `legacy` (the older shape), [`Source`] (where it comes from, and when it is read anew).

mod check;
mod legacy;
mod model;
mod read;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;

use crate::provider::{ErrorClass, Role};

pub use jiff::civil::Date;
pub(crate) use model::micro;
pub use model::{Api, Cooldown, Limits, Model, Models, Price, RECIPE, Retention, Supports};
pub use source::{Reload, Source};

/// The crew file as read and checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Crew {
    /// What holds for every call.
    pub defaults: Defaults,
    /// Models by the name that `candidates` use.
    pub models: Models,
    /// The models of each role.
    pub roles: BTreeMap<Role, RoleConfig>,
    /// Who steps in, and when.
    pub fallbacks: Fallbacks,
    /// What the texts of a repository require of every model, by the repository's id.
    pub repositories: BTreeMap<String, Places>,
    /// Where it was read from, for messages.
    file: String,
    /// Of its bytes, in hex.
    sha256: String,
    /// What could be read and is not used.
    notes: Vec<String>,
}

/// What holds for every call.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Defaults {
    /// How often a model is asked again after an answer that breaks its contract (S0-4.9b). 0 to 10.
    pub contract_retries: u32,
    /// When and how often a request is sent again.
    pub retry: Retry,
    /// How long things may take.
    pub timeout: Timeout,
    /// How much may be spent.
    pub budget: Budget,
    /// By how much a model may be slower than the fastest and still be taken first, in per cent: so that models of
    /// about the same speed do not take turns.
    pub latency_buffer_percent: u32,
}

/// When and how often a request is sent again to the same model.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retry {
    /// Statuses and events after which it is.
    pub on: Vec<RetryOn>,
    /// How often it is sent at most, the first time included. 1 to 20.
    pub attempts: u32,
    /// The first pause is at most so long, in milliseconds; it doubles …
    pub base_ms: u64,
    /// … up to this.
    pub max_ms: u64,
    /// Which part of the pause is left to chance.
    pub jitter: Jitter,
    /// A provider that asks for a longer pause than this is not waited for, in milliseconds.
    pub honour_retry_after_max_ms: u64,
}

/// After what a request is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum RetryOn {
    /// An HTTP status: 408, 409, 429, 5xx.
    Status(u16),
    /// Something that has no status.
    Event(RetryEvent),
}

/// What has no status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetryEvent {
    /// Not reachable, or the connection broke.
    ConnectionReset,
    /// No answer in time.
    Timeout,
    /// An answer that is not the API's.
    Garbled,
}

/// Which part of a pause is left to chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Jitter {
    /// All of it: anything from nothing to the whole pause.
    Full,
    /// None.
    None,
}

/// How long things may take, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timeout {
    /// Until there is a connection. 1 to 60,000.
    pub connect_ms: u64,
    /// One request. 1 to 1,800,000.
    pub request_ms: u64,
}

/// How much may be spent, in US dollars.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// On one request.
    pub per_call_usd: f64,
    /// On one task, all its runs together.
    pub per_task_usd: f64,
    /// On one day (UTC), all tasks together.
    pub per_day_usd: f64,
    /// What happens from 90 % on.
    pub on_exhausted: OnExhausted,
}

/// What happens when 90 % of a budget is spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExhausted {
    /// The light model is asked instead, where the role allows it.
    Downgrade,
    /// Nothing, until all of it is spent.
    Block,
}

/// The models of one role.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleConfig {
    /// How the order in which they are asked comes about.
    #[serde(default)]
    pub policy: Policy,
    /// Names under `models`.
    pub candidates: Vec<String>,
    /// For `weighted`: the share of each candidate; 1 if absent.
    #[serde(default)]
    pub weights: BTreeMap<String, u32>,
    /// What a model must be or do.
    #[serde(default)]
    pub require: Require,
    /// What may be spent on this role in one task.
    #[serde(default)]
    pub max_usd_per_task: Option<f64>,
    /// The contract that answers must satisfy; the role's own if absent.
    #[serde(default)]
    pub contract: Option<String>,
    /// A role whose model must be another one (S4-ROLE).
    #[serde(default, rename = "must_differ_from")]
    must_differ_from_name: Option<String>,
    /// The same, resolved.
    #[serde(skip)]
    pub must_differ_from: Option<Role>,
    /// Whether the light model may step in when money runs short.
    #[serde(default = "yes")]
    pub lightweight: bool,
}

fn yes() -> bool {
    true
}

/// How the order in which candidates are asked comes about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// As they are written.
    #[default]
    Ordered,
    /// By what this question would cost.
    Cheapest,
    /// By how long their answers took lately.
    Fastest,
    /// By lot, with the weights of the role.
    Weighted,
}

impl Policy {
    /// As in the crew file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ordered => "ordered",
            Self::Cheapest => "cheapest",
            Self::Fastest => "fastest",
            Self::Weighted => "weighted",
        }
    }
}

/// What a model must be or do to serve a role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Require {
    /// It can be held to a JSON Schema.
    pub json_schema: bool,
    /// It can be offered tools.
    pub tools: bool,
    /// It takes a seed.
    pub seed: bool,
    /// It reads at least so many tokens.
    pub context_window: Option<u64>,
    /// What it is sent stays within these places; anywhere if empty.
    pub data_residency: Vec<String>,
    /// What it is sent is kept no longer.
    pub data_retention: Option<Retention>,
}

/// Where the texts of a repository may go, whatever the role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Places {
    /// What a model is sent stays within these places; anywhere if empty.
    pub data_residency: Vec<String>,
    /// What a model is sent is kept no longer.
    pub data_retention: Option<Retention>,
}

/// Who steps in, and when. A model of a provider that the role does not name is never asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fallbacks {
    /// When the question is longer than a model can read.
    pub on_context_window: BTreeMap<String, String>,
    /// When a model or its provider declines to answer.
    pub on_content_policy: BTreeMap<String, String>,
    /// The model for when money runs short.
    pub lightweight: Option<String>,
}

/// A crew file that cannot be used. Names the file and, where there is one, the key.
#[derive(Debug, thiserror::Error)]
pub enum CrewError {
    /// It cannot be read at all.
    #[error("{file}: {source}")]
    Io {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not YAML, an unknown or missing key, or a value of the wrong type.
    #[error("{file}: {source}")]
    Syntax {
        /// The file.
        file: String,
        /// Key, line and column.
        #[source]
        source: serde_norway::Error,
    },
    /// A value that makes no sense.
    #[error("{file}: `{key}`: {message}")]
    Invalid {
        /// The file.
        file: String,
        /// The key, as a path with dots.
        key: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// Two files say which model plays which role, and not the same (S0-3).
    #[error(
        "{first} and {second} disagree about {roles}: exactly one file may say which model plays which role; \
             delete one of them or move it elsewhere"
    )]
    Disagree {
        /// One file.
        first: String,
        /// The other.
        second: String,
        /// The roles, and what each file says.
        roles: String,
    },
}

impl Crew {
    /// SHA-256 of the file's bytes in hex; of the words `the built-in crew` where there is no file.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Where it was read from.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// An error about one key of this file.
    pub(crate) fn error(&self, key: impl Into<String>, message: impl Into<String>) -> CrewError {
        CrewError::Invalid { file: self.file.clone(), key: key.into(), message: message.into() }
    }

    /// Every model that a role may come to use: its candidates and, where they may step in, others.
    pub(crate) fn reachable(&self, role: Role) -> BTreeSet<&str> {
        let Some(config) = self.roles.get(&role) else { return BTreeSet::new() };
        let mut found: BTreeSet<&str> = config.candidates.iter().map(String::as_str).collect();
        if config.lightweight {
            found.extend(self.fallbacks.lightweight.as_deref());
        }
        // Chains of fallbacks are short, and the loop ends when nothing is added.
        loop {
            let before = found.len();
            for map in [&self.fallbacks.on_context_window, &self.fallbacks.on_content_policy] {
                let stepping_in = map.iter().filter(|(from, _)| found.contains(from.as_str()));
                let stepping_in: Vec<&str> = stepping_in.map(|(_, to)| to.as_str()).collect();
                found.extend(stepping_in);
            }
            if found.len() == before {
                return found;
            }
        }
    }

    /// What a person should know though the file can be used: prices older than 90 days, and what is not used.
    #[must_use]
    pub fn warnings(&self, today: Date) -> Vec<String> {
        const OLDEST_PRICE_DAYS: i32 = 90;
        let old = self.models.iter().filter_map(|(name, model)| {
            let as_of = model.price?.as_of?;
            let days = today.since(as_of).map_or(0, |age| age.get_days());
            (days > OLDEST_PRICE_DAYS).then(|| {
                format!(
                    "{}: `models.{name}.price.as_of`: the price is {days} days old: look it up and write the day",
                    self.file
                )
            })
        });
        self.notes.iter().cloned().chain(old).collect()
    }
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            contract_retries: 3,
            retry: Retry::default(),
            timeout: Timeout::default(),
            budget: Budget::default(),
            latency_buffer_percent: 10,
        }
    }
}

impl Default for Retry {
    fn default() -> Self {
        let statuses = [408, 409, 429, 500, 502, 503, 504, 529].map(RetryOn::Status);
        let events =
            [RetryEvent::ConnectionReset, RetryEvent::Timeout, RetryEvent::Garbled].map(RetryOn::Event);
        Self {
            on: statuses.into_iter().chain(events).collect(),
            attempts: 5,
            base_ms: 200,
            max_ms: 3000,
            jitter: Jitter::Full,
            honour_retry_after_max_ms: 60_000,
        }
    }
}

impl Retry {
    /// Whether a request that failed like this may be sent again. Never for what does not pass.
    pub(crate) fn covers(&self, class: ErrorClass) -> bool {
        let event = |event| self.on.contains(&RetryOn::Event(event));
        let status = |wanted: fn(u16) -> bool| {
            self.on.iter().any(|on| matches!(on, RetryOn::Status(status) if wanted(*status)))
        };
        match class {
            ErrorClass::Connection => event(RetryEvent::ConnectionReset),
            ErrorClass::Timeout => event(RetryEvent::Timeout),
            ErrorClass::Garbled => event(RetryEvent::Garbled),
            ErrorClass::Server => status(|status| status != 429),
            ErrorClass::RateLimited => status(|status| status == 429),
            ErrorClass::DailyQuota
            | ErrorClass::Billing
            | ErrorClass::Authentication
            | ErrorClass::InvalidRequest
            | ErrorClass::ContextWindow
            | ErrorClass::ContentPolicy => false,
        }
    }

    /// The longest pause that a provider may ask for.
    pub(crate) fn longest_hint(&self) -> Duration {
        Duration::from_millis(self.honour_retry_after_max_ms)
    }
}

impl Default for Timeout {
    fn default() -> Self {
        Self { connect_ms: 5_000, request_ms: 120_000 }
    }
}

impl Timeout {
    /// How long it may take to be connected.
    #[must_use]
    pub fn connect(&self) -> Duration {
        Duration::from_millis(self.connect_ms)
    }

    /// How long one request may take.
    #[must_use]
    pub fn request(&self) -> Duration {
        Duration::from_millis(self.request_ms)
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            per_call_usd: 0.50,
            per_task_usd: 3.00,
            per_day_usd: 50.00,
            on_exhausted: OnExhausted::Downgrade,
        }
    }
}

/// The day in UTC of a moment, in microseconds since 1970.
#[must_use]
pub fn day_of(micros: i64) -> Date {
    let moment = jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    jiff::tz::TimeZone::UTC.to_datetime(moment).date()
}
