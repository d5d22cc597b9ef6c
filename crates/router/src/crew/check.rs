//! What the types of the crew file do not say.

use std::collections::{BTreeMap, BTreeSet};

use super::{Crew, CrewError, Model, RetryOn, RoleConfig};
use crate::contracts::Contracts;
use crate::provider::Role;

const MOST_CONTRACT_RETRIES: u32 = 10;
const MOST_ATTEMPTS: u32 = 20;
const LONGEST_CONNECT_MS: u64 = 60_000;
const LONGEST_REQUEST_MS: u64 = 1_800_000;
const LONGEST_PAUSE_MS: u64 = 3_600_000;
const MOST_USD: f64 = 1_000_000.0;
const LONGEST_NAME: usize = 64;
/// Providers whose every model is paid for by the token. Any other may be a server of one's own.
const PAID: [&str; 5] = ["openai", "anthropic", "bedrock", "gemini", "vertex"];

impl Crew {
    pub(super) fn check(&self) -> Result<(), CrewError> {
        self.check_defaults()?;
        for (name, model) in &self.models {
            self.check_model(name, model)?;
        }
        for (role, config) in &self.roles {
            self.check_role(*role, config)?;
        }
        self.check_fallbacks()?;
        self.roles.keys().try_for_each(|role| self.check_difference(*role))
    }

    /// Checks that every contract that a role names is known.
    ///
    /// # Errors
    /// The first that is not, with its key.
    pub fn check_contracts(&self, contracts: &Contracts) -> Result<(), CrewError> {
        for (role, config) in &self.roles {
            let Some(name) = &config.contract else { continue };
            if contracts.get(name).is_none() {
                let message =
                    format!("there is no contract `{name}`; the role's own is `{}`", role.contract());
                return Err(self.error(format!("roles.{}.contract", role.name()), message));
            }
        }
        Ok(())
    }

    fn within<T: PartialOrd + std::fmt::Display>(
        &self,
        key: &str,
        value: T,
        (least, most): (T, T),
    ) -> Result<(), CrewError> {
        if value >= least && value <= most {
            return Ok(());
        }
        Err(self.error(key, format!("must be {least} to {most}")))
    }

    fn check_defaults(&self) -> Result<(), CrewError> {
        let defaults = &self.defaults;
        self.within("defaults.contract_retries", defaults.contract_retries, (0, MOST_CONTRACT_RETRIES))?;
        self.within("defaults.latency_buffer_percent", defaults.latency_buffer_percent, (0, 1000))?;
        let timeout = &defaults.timeout;
        self.within("defaults.timeout.connect_ms", timeout.connect_ms, (1, LONGEST_CONNECT_MS))?;
        self.within("defaults.timeout.request_ms", timeout.request_ms, (1, LONGEST_REQUEST_MS))?;
        let retry = &defaults.retry;
        self.within("defaults.retry.attempts", retry.attempts, (1, MOST_ATTEMPTS))?;
        self.within("defaults.retry.base_ms", retry.base_ms, (1, LONGEST_PAUSE_MS))?;
        self.within("defaults.retry.max_ms", retry.max_ms, (retry.base_ms, LONGEST_PAUSE_MS))?;
        let hint = retry.honour_retry_after_max_ms;
        self.within("defaults.retry.honour_retry_after_max_ms", hint, (0, LONGEST_PAUSE_MS))?;
        for on in &retry.on {
            if let RetryOn::Status(status) = on
                && !matches!(status, 408 | 409 | 429 | 500..=599)
            {
                let message = format!("{status} does not pass by itself; 408, 409, 429 and 500 to 599 may");
                return Err(self.error("defaults.retry.on", message));
            }
        }
        let budget = &defaults.budget;
        self.within("defaults.budget.per_call_usd", budget.per_call_usd, (0.0, MOST_USD))?;
        self.within("defaults.budget.per_task_usd", budget.per_task_usd, (0.0, MOST_USD))?;
        self.within("defaults.budget.per_day_usd", budget.per_day_usd, (0.0, MOST_USD))
    }

    fn check_model(&self, name: &str, model: &Model) -> Result<(), CrewError> {
        let key = |key: &str| format!("models.{name}.{key}");
        let is_token = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if name.is_empty() || name.len() > LONGEST_NAME || !is_token(name) {
            let message = format!("the name must be 1 to {LONGEST_NAME} letters, digits, `_` or `-`");
            return Err(self.error(format!("models.{name}"), message));
        }
        if model.key_env.is_some() && model.key_file.is_some() {
            return Err(self.error(key("key_file"), "there is a `key_env` too; keep one of them"));
        }
        let is_plain = |url: &String| {
            (url.starts_with("https://") || url.starts_with("http://")) && !url.contains(['@', '?', '#'])
        };
        if !model.base_url.iter().all(is_plain) {
            let message = "must begin with https:// or http:// and hold neither a user nor a query: keys go to \
                           `key_env` or `key_file`";
            return Err(self.error(key("base_url"), message));
        }
        match &model.price {
            Some(price) => {
                let optional = [("cached_input", price.cached_input), ("cache_write", price.cache_write)];
                let optional = optional.into_iter().filter_map(|(key, price)| Some((key, price?)));
                for (part, price) in
                    [("input", price.input), ("output", price.output)].into_iter().chain(optional)
                {
                    if !(0.0..1.0).contains(&price) {
                        let message = "must be US dollars per token, 0 or more and below 1";
                        return Err(self.error(key(&format!("price.{part}")), message));
                    }
                }
            }
            None if PAID.contains(&model.provider.as_str()) => {
                let message = format!(
                    "is missing, and `{}` is paid for: write the US dollars per token as \
                     {{input: …, output: …, as_of: …}}; without it no budget holds",
                    model.provider
                );
                return Err(self.error(key("price"), message));
            }
            None => {}
        }
        for (part, value) in [
            ("context_window", model.context_window),
            ("max_output_tokens", model.max_output_tokens),
            ("limits.rpm", model.limits.rpm),
            ("limits.tpm", model.limits.tpm),
            ("limits.max_parallel", model.limits.max_parallel),
        ] {
            if value == Some(0) {
                return Err(self.error(key(part), "must be 1 or more; leave it out for no limit"));
            }
        }
        let cooldown = model.cooldown;
        self.within(&key("cooldown.after_fails"), cooldown.after_fails, (1, 1000))?;
        self.within(&key("cooldown.window_s"), cooldown.window_s, (1, 86_400))?;
        self.within(&key("cooldown.for_s"), cooldown.for_s, (1, 86_400))
    }

    fn check_role(&self, role: Role, config: &RoleConfig) -> Result<(), CrewError> {
        let key = |key: &str| format!("roles.{}.{key}", role.name());
        if config.candidates.is_empty() {
            return Err(self.error(key("candidates"), "names no model"));
        }
        let mut seen = BTreeSet::new();
        for candidate in &config.candidates {
            self.check_named(&key("candidates"), candidate)?;
            if !seen.insert(candidate) {
                return Err(self.error(key("candidates"), format!("`{candidate}` is there twice")));
            }
        }
        for (name, weight) in &config.weights {
            if !seen.contains(name) || *weight == 0 {
                let message = "must be a candidate of the role, and its weight 1 or more";
                return Err(self.error(key(&format!("weights.{name}")), message));
            }
        }
        match config.max_usd_per_task {
            Some(usd) => self.within(&key("max_usd_per_task"), usd, (0.0, MOST_USD)),
            None => Ok(()),
        }
    }

    fn check_named(&self, key: &str, model: &str) -> Result<(), CrewError> {
        if self.models.contains_key(model) {
            return Ok(());
        }
        let known: Vec<&str> = self.models.keys().map(String::as_str).collect();
        let message = format!("`{model}` is not a key of `models`; these are: {}", known.join(", "));
        Err(self.error(key, message))
    }

    fn check_fallbacks(&self) -> Result<(), CrewError> {
        let fallbacks = &self.fallbacks;
        if let Some(name) = &fallbacks.lightweight {
            self.check_named("fallbacks.lightweight", name)?;
        }
        for (key, map) in [
            ("fallbacks.on_context_window", &fallbacks.on_context_window),
            ("fallbacks.on_content_policy", &fallbacks.on_content_policy),
        ] {
            for (from, to) in map {
                self.check_named(key, from)?;
                self.check_named(&format!("{key}.{from}"), to)?;
            }
            for start in map.keys() {
                if let Some(cycle) = cycle(map, start) {
                    let message = format!("goes round in a circle: {}", cycle.join(" → "));
                    return Err(self.error(format!("{key}.{start}"), message));
                }
            }
        }
        Ok(())
    }

    /// Whatever model the other role used, one of this role's candidates must be another (S4-ROLE).
    fn check_difference(&self, role: Role) -> Result<(), CrewError> {
        let Some(config) = self.roles.get(&role) else { return Ok(()) };
        let Some(other) = config.must_differ_from else { return Ok(()) };
        let others =
            self.reachable(other).into_iter().filter_map(|name| Some((name, self.models.get(name)?)));
        for (name, used) in others {
            let own = config.candidates.iter().filter_map(|name| self.models.get(name));
            if own.into_iter().all(|own| own.is(&used.provider, &used.model_id)) {
                let message = format!(
                    "no candidate can satisfy this: when the {} is `{name}`, every candidate of the {} is the same \
                     model; add another one",
                    other.name(),
                    role.name()
                );
                return Err(self.error(format!("roles.{}.must_differ_from", role.name()), message));
            }
        }
        Ok(())
    }
}

/// The way from `start` back to a model that was there already.
fn cycle<'a>(map: &'a BTreeMap<String, String>, start: &'a str) -> Option<Vec<&'a str>> {
    let mut way = vec![start];
    let mut at = start;
    while let Some(next) = map.get(at) {
        let again = way.contains(&next.as_str());
        way.push(next);
        if again {
            return Some(way);
        }
        at = next;
    }
    None
}
