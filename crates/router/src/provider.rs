//! What a model is to the router: one request, one text back.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

use crate::crew::Model;

/// One way to reach models: an HTTP API, or the recipe. Keeps no state between calls.
#[async_trait]
pub trait Provider: Send + Sync {
    /// What `provider:` in the crew file says, for instance `recipe`.
    fn name(&self) -> &str;

    /// Sends one request and returns the model's text as it came; the router judges it.
    ///
    /// # Errors
    /// There is no text to judge. The kind decides whether another candidate may be asked.
    async fn complete(&self, request: &ModelRequest<'_>) -> Result<ModelResponse, ModelError>;
}

/// One call of a model.
#[derive(Debug, Clone)]
pub struct ModelRequest<'a> {
    /// For whom the model speaks.
    pub role: Role,
    /// The model, as the crew file has it.
    pub model: &'a Model,
    /// The system prompt.
    pub system: String,
    /// The conversation so far, oldest first, ending with a message of [`Author::User`].
    pub prompt: Vec<Message>,
    /// Name of the contract, `[A-Za-z0-9_-]`, at most 64.
    pub contract: &'a str,
    /// The contract itself: the whole schema. What of it a provider can enforce is the provider's affair.
    pub schema: &'a Value,
    /// The plan that stands in the task's spec, for the recipe provider.
    pub recipe: Option<String>,
    /// How long it may take to be connected.
    pub connect_timeout: Duration,
    /// When the router stops waiting.
    pub deadline: Instant,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Who said it.
    pub author: Author,
    /// What was said.
    pub text: String,
}

/// Who says a [`Message`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Author {
    /// Millrace.
    User,
    /// The model, in an earlier answer.
    Assistant,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelResponse {
    /// The model's text as it came.
    pub text: String,
    /// What it is charged for.
    pub usage: Usage,
    /// How it ended.
    pub finish: Finish,
    /// The provider's own word for that, such as `end_turn`.
    pub finish_word: String,
    /// The provider's id of the request; empty where it has none.
    pub request_id: String,
}

/// Tokens of one call, counted alike for every provider: parts are inside their totals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// All input tokens.
    pub input: u64,
    /// Of these, read from a cache.
    pub cached_input: u64,
    /// Of these, written to a cache.
    pub cache_write: u64,
    /// All output tokens.
    pub output: u64,
    /// Of these, reasoning.
    pub reasoning: u64,
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The model was done.
    Complete,
    /// It ran into the limit of output tokens, or its window was full: the text may be cut off.
    CutOff,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", class.sentence())]
pub struct ModelError {
    /// What kind of failure: decides what is tried next, and the error code.
    pub class: ErrorClass,
    /// What was tried and what the provider said, keys scrubbed.
    pub message: String,
    /// When to come back, if the provider said so.
    pub retry_after: Option<Duration>,
    /// What it is charged for all the same.
    pub usage: Option<Usage>,
    /// The provider's id of the request; empty where there is none.
    pub request_id: String,
}

/// Kinds of failure. Each has one error code and one rule for what is tried next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// Not reachable, or the connection broke.
    Connection,
    /// No answer in time.
    Timeout,
    /// The provider failed or is overloaded: 408, 409, 5xx, 529.
    Server,
    /// An answer with status 200 that is not the API's: HTML, half a body, no content.
    Garbled,
    /// Too many requests or tokens for the moment: a 429 that passes.
    RateLimited,
    /// The quota of the day is spent: a 429 that does not pass.
    DailyQuota,
    /// Billing: only a person can help.
    Billing,
    /// 401 or 403: the key is not accepted.
    Authentication,
    /// The request is wrong, its schema included.
    InvalidRequest,
    /// The question is longer than the model can read.
    ContextWindow,
    /// The model or its provider declines to answer.
    ContentPolicy,
}

impl ErrorClass {
    /// As in events and in the crew file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Timeout => "timeout",
            Self::Server => "server",
            Self::Garbled => "garbled",
            Self::RateLimited => "rate_limited",
            Self::DailyQuota => "daily_quota",
            Self::Billing => "billing",
            Self::Authentication => "authentication",
            Self::InvalidRequest => "invalid_request",
            Self::ContextWindow => "context_window",
            Self::ContentPolicy => "content_policy",
        }
    }

    /// Whether the same model may be asked again (facts: wire formats, errors).
    #[must_use]
    pub fn is_passing(self) -> bool {
        matches!(self, Self::Connection | Self::Timeout | Self::Server | Self::Garbled | Self::RateLimited)
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Connection | Self::Timeout | Self::Server => "the model is unavailable",
            Self::Garbled => "the provider's answer cannot be read",
            Self::RateLimited => "the model is rate limited",
            Self::DailyQuota | Self::Billing => "the model's quota is exhausted",
            Self::Authentication => "the provider rejects the key",
            Self::InvalidRequest => "the provider does not accept the request",
            Self::ContextWindow => "the question is longer than the model can read",
            Self::ContentPolicy => "the model refused",
        }
    }
}

impl ModelError {
    /// An error without more than its kind and a sentence.
    #[must_use]
    pub fn new(class: ErrorClass, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { class, message, retry_after: None, usage: None, request_id: String::new() }
    }

    /// Whether the role's next candidate may be asked instead.
    #[must_use]
    pub fn next_candidate(&self) -> bool {
        self.class.is_passing()
    }
}

/// For whom a model speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Says what will be done and how it is undone.
    Planner,
    /// Says which edits and commands do it.
    Implementer,
    /// Judges a change it did not make.
    Reviewer,
}

impl Role {
    /// As in the crew file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Planner => "planner",
            Self::Implementer => "implementer",
            Self::Reviewer => "reviewer",
        }
    }

    /// The name of the contract that this role's answers must satisfy.
    #[must_use]
    pub fn contract(self) -> &'static str {
        match self {
            Self::Planner => "planner",
            Self::Implementer => "worker",
            Self::Reviewer => "reviewer",
        }
    }
}
