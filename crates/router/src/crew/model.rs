//! A model of the crew file: where it is, what it can do, what it costs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::provider::Usage;

/// The provider that answers from plans that people wrote. It is no model: nothing is sent anywhere.
pub const RECIPE: &str = "recipe";

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
    pub key_file: Option<PathBuf>,
    /// Cloud region or location (Bedrock, Vertex).
    #[serde(default)]
    pub region: Option<String>,
    /// Cloud project (Vertex).
    #[serde(default)]
    pub project: Option<String>,
    /// Tokens that it can read, answer included.
    #[serde(default)]
    pub context_window: Option<u64>,
    /// The most output tokens that are asked for. Money may bound it further.
    #[serde(default)]
    pub max_output_tokens: Option<u64>,
    /// What it can do.
    #[serde(default)]
    pub supports: Supports,
    /// What it costs. Must be there unless the provider is free; zeros for a model of one's own.
    #[serde(default)]
    pub price: Option<Price>,
    /// Where what is sent may be kept or read, such as `eu`; unknown if empty.
    #[serde(default)]
    pub data_residency: Vec<String>,
    /// How long what is sent is kept; unknown if absent.
    #[serde(default)]
    pub data_retention: Option<Retention>,
    /// How much may be asked of it by all workers together.
    #[serde(default)]
    pub limits: Limits,
    /// When it is left alone for a while.
    #[serde(default)]
    pub cooldown: Cooldown,
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
    /// It can be offered tools.
    pub tools: bool,
    /// It takes a seed.
    pub seed: bool,
    /// It takes a temperature; some models that reason refuse any.
    pub temperature: bool,
}

impl Default for Supports {
    fn default() -> Self {
        Self { json_schema: true, tools: true, seed: false, temperature: true }
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
    /// The day on which somebody looked it up.
    #[serde(default)]
    pub as_of: Option<Date>,
}

/// How long a provider keeps what it is sent: `zero`, or days as in `30d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Retention {
    days: u32,
}

impl TryFrom<String> for Retention {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "zero" {
            return Ok(Self { days: 0 });
        }
        let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
        days.map(|days| Self { days })
            .ok_or_else(|| format!("`{text}` is neither `zero` nor days as in `30d`"))
    }
}

impl From<Retention> for String {
    fn from(retention: Retention) -> Self {
        if retention.days == 0 { "zero".to_owned() } else { format!("{}d", retention.days) }
    }
}

/// How much may be asked of one model by all workers together. What is absent is not limited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Requests a minute.
    pub rpm: Option<u64>,
    /// Tokens a minute, input and output.
    pub tpm: Option<u64>,
    /// Requests under way at a time.
    pub max_parallel: Option<u64>,
}

impl Limits {
    /// Whether anything is limited.
    #[must_use]
    pub(crate) fn any(self) -> bool {
        self.rpm.is_some() || self.tpm.is_some() || self.max_parallel.is_some()
    }
}

/// When a model is left alone for a while, by all workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cooldown {
    /// After so many failed requests …
    pub after_fails: u32,
    /// … within so many seconds …
    pub window_s: u64,
    /// … for so many seconds.
    pub for_s: u64,
}

impl Default for Cooldown {
    fn default() -> Self {
        Self { after_fails: 3, window_s: 60, for_s: 30 }
    }
}

/// What is asked for where `max_output_tokens` is absent and tokens cost money.
const USUAL_OUTPUT_TOKENS: u64 = 8192;

impl Model {
    /// Whether it is the recipe, for which nothing is sent, spent or switched off.
    #[must_use]
    pub fn is_recipe(&self) -> bool {
        self.provider == RECIPE
    }

    /// Whether the same model: its name in the crew file does not matter.
    #[must_use]
    pub(crate) fn is(&self, provider: &str, model_id: &str) -> bool {
        self.provider == provider && self.model_id == model_id
    }

    /// The price, zeros if there is none.
    #[must_use]
    pub(crate) fn price(&self) -> Price {
        self.price.unwrap_or_default()
    }

    /// The most output tokens of one answer as far as money and the window are concerned.
    #[must_use]
    pub(crate) fn output_tokens(&self) -> u64 {
        self.max_output_tokens.unwrap_or(USUAL_OUTPUT_TOKENS)
    }
}

impl Price {
    /// What one call cost, in millionths of a US dollar, rounded up to a whole one.
    #[must_use]
    pub(crate) fn micro_usd(self, usage: &Usage) -> u64 {
        let plain = usage.input.saturating_sub(usage.cached_input).saturating_sub(usage.cache_write);
        #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^53")]
        let usd = self.input * plain as f64
            + self.cached_input.unwrap_or(self.input) * usage.cached_input as f64
            + self.cache_write.unwrap_or(self.input) * usage.cache_write as f64
            + self.output * usage.output as f64;
        micro(usd)
    }

    /// The most that so many tokens can cost, in millionths of a US dollar.
    #[must_use]
    pub(crate) fn most_micro_usd(self, input: u64, output: u64) -> u64 {
        let dearest = self.input.max(self.cache_write.unwrap_or(0.0)).max(self.cached_input.unwrap_or(0.0));
        let usage = Usage { input, output, ..Usage::default() };
        Self { input: dearest, cached_input: None, cache_write: None, ..self }.micro_usd(&usage)
    }

    /// How many output tokens fit into `micro_usd` beside `input` tokens of input.
    #[must_use]
    pub(crate) fn affordable_output(self, input: u64, micro_usd: u64) -> u64 {
        let left = micro_usd.saturating_sub(self.most_micro_usd(input, 0));
        if self.output <= 0.0 {
            return u64::MAX;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "both are positive and a float that is out of range saturates"
        )]
        let tokens = (left as f64 / 1e6 / self.output).floor() as u64;
        tokens
    }
}

impl Cooldown {
    pub(crate) fn window(self) -> Duration {
        Duration::from_secs(self.window_s)
    }

    pub(crate) fn length(self) -> Duration {
        Duration::from_secs(self.for_s)
    }
}

/// Millionths of a US dollar, rounded up to a whole one.
pub(crate) fn micro(usd: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float that is out of range saturates"
    )]
    // A hair below the next whole one is a rounding error of the products, not a cost.
    let micro = (usd * 1e6 - 1e-6).ceil().max(0.0) as u64;
    micro
}

/// Models by the name that `candidates` use.
pub type Models = BTreeMap<String, Model>;
