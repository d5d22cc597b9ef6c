//! The older shape of the crew file, `provider_policy`, read into the newer one.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_norway::Value;

use super::{Crew, CrewError, Defaults, Fallbacks, Jitter, Model, Price, Retry, RetryOn, RoleConfig, read};

/// The key by which a file of this shape is known.
pub(super) const ROOT: &str = "provider_policy";

/// What a model is counted at that has no price in a file of this shape: more than any model costs, so that budgets
/// hold.
const UNKNOWN_PRICE: Price =
    Price { input: 15.0e-6, cached_input: None, cache_write: None, output: 75.0e-6, as_of: None };

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    provider_policy: Policy,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    /// Of no consequence: the shape is known by its first key.
    #[serde(rename = "version")]
    _version: Value,
    models: BTreeMap<String, OldModel>,
    #[serde(default)]
    defaults: OldDefaults,
    roles: BTreeMap<String, OldRole>,
    #[serde(default)]
    fallbacks: BTreeMap<String, OneOrMore>,
    #[serde(default)]
    reporting: Reporting,
}

#[derive(Debug, Deserialize)]
struct OldModel {
    #[serde(default)]
    fallback_model_id: Option<String>,
    /// Everything that a model of the newer shape may have, its provider and id above all.
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct OldDefaults {
    retry: OldRetry,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct OldRetry {
    on: Option<Vec<RetryOn>>,
    attempts: Option<u32>,
    /// Always exponential.
    backoff: Option<Backoff>,
    base_ms: Option<u64>,
    max_ms: Option<u64>,
    jitter: Option<Jitter>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Backoff {
    Exponential,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OldRole {
    primary: String,
    #[serde(default)]
    fallback: Option<OneOrMore>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

/// Every call is recorded in full, whatever is asked for here.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Reporting {
    #[serde(rename = "required_fields")]
    _required_fields: Vec<String>,
}

impl OneOrMore {
    fn names(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::More(names) => names,
        }
    }
}

pub(super) fn read(value: Value, file: &str) -> Result<Crew, CrewError> {
    let syntax = |source| CrewError::Syntax { file: file.to_owned(), source };
    let invalid = |key: String, message: String| CrewError::Invalid { file: file.to_owned(), key, message };
    let File { provider_policy: policy } = serde_norway::from_value(value).map_err(syntax)?;
    let Policy {
        models: old_models, defaults, roles: old_roles, fallbacks, reporting: Reporting { .. }, ..
    } = policy;
    let mut notes = Vec::new();
    let mut models = BTreeMap::new();
    let mut second_ids = BTreeMap::new();
    for (name, old) in old_models {
        let mut model: Model = serde_norway::to_value(old.rest)
            .and_then(serde_norway::from_value)
            .map_err(|error| invalid(format!("{ROOT}.models.{name}"), error.to_string()))?;
        if model.price.is_none() && !model.is_recipe() && model.base_url.is_none() {
            model.price = Some(UNKNOWN_PRICE);
            notes.push(format!(
                "{file}: `{ROOT}.models.{name}.price` is missing: every token is counted at more than any model \
                 costs; write {{input: …, output: …, as_of: …}}"
            ));
        }
        if let Some(model_id) = old.fallback_model_id {
            let second = format!("{name}_fallback");
            models.insert(second.clone(), Model { model_id, ..model.clone() });
            second_ids.insert(name.clone(), second);
        }
        models.insert(name, model);
    }
    for (from, to) in &fallbacks {
        for name in [from].into_iter().chain(to.names()) {
            if !models.contains_key(name) {
                let message = format!("`{name}` is not a key of `{ROOT}.models`");
                return Err(invalid(format!("{ROOT}.fallbacks.{from}"), message));
            }
        }
    }
    let mut roles = BTreeMap::new();
    for (name, old) in old_roles {
        let Some(role) = read::role(&name) else {
            notes.push(format!("{file}: `{ROOT}.roles.{name}`: nothing asks for this role; it is not used"));
            continue;
        };
        let mut candidates = Vec::new();
        let named = old.fallback.as_ref().map(OneOrMore::names).unwrap_or_default();
        let mut open: Vec<&String> = [&old.primary].into_iter().chain(named).collect();
        open.reverse();
        // Each model once, its second id right after it, and what steps in for it after that.
        while let Some(next) = open.pop() {
            if candidates.contains(next) {
                continue;
            }
            candidates.push(next.clone());
            open.extend(fallbacks.get(next).into_iter().flat_map(OneOrMore::names).rev());
            open.extend(second_ids.get(next));
        }
        if roles.insert(role, RoleConfig { candidates, lightweight: true, ..RoleConfig::default() }).is_some()
        {
            let message = format!("the {} is there twice, under two names; keep one", role.name());
            return Err(invalid(format!("{ROOT}.roles.{name}"), message));
        }
    }
    Ok(Crew {
        defaults: Defaults { retry: defaults.retry.read(), ..Defaults::default() },
        models,
        roles,
        fallbacks: Fallbacks::default(),
        repositories: BTreeMap::new(),
        file: file.to_owned(),
        sha256: String::new(),
        notes,
    })
}

impl OldRetry {
    fn read(self) -> Retry {
        let usual = Retry::default();
        let Self { on, attempts, backoff: Some(Backoff::Exponential) | None, base_ms, max_ms, jitter } = self;
        Retry {
            on: on.unwrap_or(usual.on),
            attempts: attempts.unwrap_or(usual.attempts),
            base_ms: base_ms.unwrap_or(usual.base_ms),
            max_ms: max_ms.unwrap_or(usual.max_ms),
            jitter: jitter.unwrap_or(usual.jitter),
            honour_retry_after_max_ms: usual.honour_retry_after_max_ms,
        }
    }
}
