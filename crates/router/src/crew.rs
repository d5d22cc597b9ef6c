//! The crew file: which model serves which role. `crew.yaml` is the only place that says so (S0-4.3).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::provider::{Role, Usage};

/// The crew file as read and checked.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Crew {
    /// The shape of this file; only `"3"` is known.
    pub version: String,
    /// What holds for every call.
    #[serde(default)]
    pub defaults: Defaults,
    /// Models by the name that `candidates` use.
    pub models: BTreeMap<String, Model>,
    /// The models of each role.
    pub roles: BTreeMap<Role, RoleConfig>,
    /// Where it was read from, for messages.
    #[serde(skip)]
    file: String,
}

/// What holds for every call.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Defaults {
    /// How often a model is asked again after an answer that breaks its contract (S0-4.9b). 0 to 10.
    pub contract_retries: u32,
    /// How long one call may take, in milliseconds. 1 to 1,800,000.
    pub request_timeout_ms: u64,
}

/// One model.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Name of a provider of this program, such as `anthropic`.
    pub provider: String,
    /// The provider's own id of the model.
    pub model_id: String,
    /// Which of the provider's interfaces is spoken; the provider's usual one if absent.
    #[serde(default)]
    pub api: Option<Api>,
    /// Where it is reached, such as `https://api.openai.com/v1`; the provider's own address if absent.
    #[serde(default)]
    pub base_url: Option<String>,
    /// Environment variable that holds `base_url`.
    #[serde(default)]
    pub base_url_env: Option<String>,
    /// Environment variable that holds the key.
    #[serde(default)]
    pub key_env: Option<String>,
    /// File that holds the key, such as a mounted secret.
    #[serde(default)]
    pub key_file: Option<std::path::PathBuf>,
    /// Cloud region or location (Bedrock, Vertex).
    #[serde(default)]
    pub region: Option<String>,
    /// Cloud project (Vertex).
    #[serde(default)]
    pub project: Option<String>,
    /// Tokens that it can read, answer included.
    #[serde(default)]
    pub context_window: Option<u64>,
    /// The most output tokens that are asked for.
    #[serde(default)]
    pub max_output_tokens: Option<u64>,
    /// What it can do.
    #[serde(default)]
    pub supports: Supports,
    /// What it costs; free if absent.
    #[serde(default)]
    pub price: Price,
}

/// The interface that a model is asked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// OpenAI's `POST /chat/completions`, and what others offer under that path.
    ChatCompletions,
    /// OpenAI's `POST /responses`.
    Responses,
    /// Anthropic's messages.
    Messages,
    /// Google's `generateContent`.
    GenerateContent,
}

/// What a model can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Supports {
    /// It can be held to a JSON Schema.
    pub json_schema: bool,
    /// It takes a seed.
    pub seed: bool,
}

impl Default for Supports {
    fn default() -> Self {
        Self { json_schema: true, seed: false }
    }
}

/// US dollars per token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// Per input token.
    pub input: f64,
    /// Per input token read from a cache; as `input` if absent.
    #[serde(default)]
    pub cached_input: Option<f64>,
    /// Per input token written to a cache; as `input` if absent.
    #[serde(default)]
    pub cache_write: Option<f64>,
    /// Per output token.
    pub output: f64,
}

/// The models of one role.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleConfig {
    /// Names under `models`, tried in this order.
    pub candidates: Vec<String>,
}

/// A crew file that cannot be used. Names the file and, where there is one, the key.
#[derive(Debug, thiserror::Error)]
pub enum CrewError {
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
}

const VERSION: &str = "3";
const MOST_CONTRACT_RETRIES: u32 = 10;
const LONGEST_REQUEST_MS: u64 = 1_800_000;

impl Crew {
    /// Reads and checks a crew file. `file` is its name, for messages.
    ///
    /// # Errors
    /// The first thing that is wrong, with file and key.
    pub fn parse(text: &str, file: &str) -> Result<Self, CrewError> {
        let crew: Self = serde_norway::from_str(text)
            .map_err(|source| CrewError::Syntax { file: file.to_owned(), source })?;
        let crew = Self { file: file.to_owned(), ..crew };
        crew.check()?;
        Ok(crew)
    }

    /// An error about one key of this file.
    pub(crate) fn error(&self, key: impl Into<String>, message: impl Into<String>) -> CrewError {
        CrewError::Invalid { file: self.file.clone(), key: key.into(), message: message.into() }
    }

    fn check(&self) -> Result<(), CrewError> {
        if self.version != VERSION {
            let message = format!("version {} is not known; write \"{VERSION}\"", self.version);
            return Err(self.error("version", message));
        }
        if self.defaults.contract_retries > MOST_CONTRACT_RETRIES {
            let message = format!("must be 0 to {MOST_CONTRACT_RETRIES}");
            return Err(self.error("defaults.contract_retries", message));
        }
        if !(1..=LONGEST_REQUEST_MS).contains(&self.defaults.request_timeout_ms) {
            let message = format!("must be 1 to {LONGEST_REQUEST_MS}");
            return Err(self.error("defaults.request_timeout_ms", message));
        }
        for (name, model) in &self.models {
            for (key, price) in [("input", model.price.input), ("output", model.price.output)] {
                if !(0.0..1.0).contains(&price) {
                    let key = format!("models.{name}.price.{key}");
                    return Err(self.error(key, "must be US dollars per token, 0 or more and below 1"));
                }
            }
        }
        for (role, config) in &self.roles {
            let key = format!("roles.{}.candidates", role.name());
            if config.candidates.is_empty() {
                return Err(self.error(key, "names no model"));
            }
            for candidate in &config.candidates {
                if !self.models.contains_key(candidate) {
                    let message = format!("`{candidate}` is not a key of `models`");
                    return Err(self.error(key, message));
                }
            }
        }
        Ok(())
    }
}

impl Defaults {
    /// How long one call may take.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms)
    }
}

impl Default for Defaults {
    fn default() -> Self {
        Self { contract_retries: 3, request_timeout_ms: 120_000 }
    }
}

impl Default for Crew {
    /// The built-in crew: the recipe for every role.
    fn default() -> Self {
        let recipe =
            Model { provider: "recipe".to_owned(), model_id: "recipe".to_owned(), ..Model::default() };
        let by_recipe = RoleConfig { candidates: vec!["recipe".to_owned()] };
        Self {
            version: VERSION.to_owned(),
            defaults: Defaults::default(),
            models: BTreeMap::from([("recipe".to_owned(), recipe)]),
            roles: [Role::Planner, Role::Implementer, Role::Reviewer]
                .map(|role| (role, by_recipe.clone()))
                .into(),
            file: "the built-in crew".to_owned(),
        }
    }
}

impl Price {
    /// What one call cost, in millionths of a US dollar, rounded up to a whole one.
    #[must_use]
    pub(crate) fn micro_usd(self, usage: &Usage) -> u64 {
        let plain = usage.input.saturating_sub(usage.cached_input).saturating_sub(usage.cache_write);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "token counts are far below 2^53, and a float that is out of range saturates"
        )]
        let micro = {
            let usd = self.input * plain as f64
                + self.cached_input.unwrap_or(self.input) * usage.cached_input as f64
                + self.cache_write.unwrap_or(self.input) * usage.cache_write as f64
                + self.output * usage.output as f64;
            // A hair below the next whole one is a rounding error of the products, not a cost.
            (usd * 1e6 - 1e-6).ceil().max(0.0) as u64
        };
        micro
    }
}
