//! What a model is to the router: one request, one text back.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::Instant;

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
    /// The provider's own id of the model.
    pub model: String,
    /// The system prompt.
    pub system: String,
    /// The conversation so far, oldest first, ending with a message of [`Author::User`].
    pub prompt: Vec<Message>,
    /// Name of the contract, `[A-Za-z0-9_-]`.
    pub contract: &'static str,
    /// The contract itself, for providers that can enforce a schema.
    pub schema: &'a Value,
    /// The plan that stands in the task's spec, for the recipe provider.
    pub recipe: Option<String>,
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
    /// All input tokens, cached ones included.
    pub input_tokens: u64,
    /// All output tokens, reasoning included.
    pub output_tokens: u64,
}

/// Why there is no answer. Each kind is one error code of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// `MODEL_UNAVAILABLE`: not reachable, not there, or too slow. Another candidate may be asked.
    #[error("the model is unavailable: {message}")]
    Unavailable {
        /// What was tried and what happened.
        message: String,
    },
    /// `MODEL_RATE_LIMITED`: for the moment. Another candidate may be asked.
    #[error("the model is rate limited: {message}")]
    RateLimited {
        /// The provider's words.
        message: String,
        /// When to come back, if it said so.
        retry_after: Option<Duration>,
    },
    /// `MODEL_QUOTA_EXHAUSTED`: billing or a quota; only a person can help.
    #[error("the model's quota is exhausted: {message}")]
    QuotaExhausted {
        /// The provider's words.
        message: String,
    },
    /// `MODEL_REFUSED`: the model or its provider declines this request.
    #[error("the model refused: {message}")]
    Refused {
        /// The provider's words.
        message: String,
    },
}

impl ModelError {
    /// Whether the role's next candidate may be asked instead.
    #[must_use]
    pub fn next_candidate(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::RateLimited { .. })
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
