//! From text to a crew.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_norway::Value;
use sha2::{Digest as _, Sha256};

use super::{Crew, CrewError, Defaults, Fallbacks, Model, Models, Places, RECIPE, RoleConfig, legacy};
use crate::provider::Role;

pub(super) const VERSION: &str = "3";

/// The file as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    version: String,
    #[serde(default)]
    defaults: Defaults,
    models: Models,
    roles: BTreeMap<String, RoleConfig>,
    #[serde(default)]
    fallbacks: Fallbacks,
    #[serde(default)]
    repositories: BTreeMap<String, Places>,
}

/// Words that name a secret. None of them is a key of the file.
const SECRETS: [&str; 9] =
    ["key", "api_key", "apikey", "api-key", "token", "secret", "password", "authorization", "bearer"];

impl Crew {
    /// Reads and checks a crew file, of this shape or of the older one. `file` is its name, for messages.
    ///
    /// # Errors
    /// The first thing that is wrong, with file and key.
    pub fn parse(text: &str, file: &str) -> Result<Self, CrewError> {
        let syntax = |source| CrewError::Syntax { file: file.to_owned(), source };
        let value: Value = serde_norway::from_str(text).map_err(syntax)?;
        refuse_secrets(&value, "", file)?;
        let crew = if value.get(legacy::ROOT).is_some() {
            legacy::read(value, file)?
        } else {
            // From the text again: only then errors name lines.
            let raw: File = serde_norway::from_str(text).map_err(syntax)?;
            of_version(&raw.version, file)?;
            Self {
                defaults: raw.defaults,
                models: raw.models,
                roles: roles(raw.roles, file)?,
                fallbacks: raw.fallbacks,
                repositories: raw.repositories,
                file: file.to_owned(),
                sha256: String::new(),
                notes: Vec::new(),
            }
        };
        let crew = Self { sha256: hex::encode(Sha256::digest(text)), ..crew };
        crew.check()?;
        Ok(crew)
    }
}

impl Default for Crew {
    /// The built-in crew: the recipe for every role.
    fn default() -> Self {
        const NAME: &str = "the built-in crew";
        let recipe = Model { provider: RECIPE.to_owned(), model_id: RECIPE.to_owned(), ..Model::default() };
        let by_recipe = RoleConfig { candidates: vec![RECIPE.to_owned()], ..RoleConfig::default() };
        Self {
            defaults: Defaults::default(),
            models: BTreeMap::from([(RECIPE.to_owned(), recipe)]),
            roles: [Role::Planner, Role::Implementer, Role::Reviewer]
                .map(|role| (role, by_recipe.clone()))
                .into(),
            fallbacks: Fallbacks::default(),
            repositories: BTreeMap::new(),
            file: NAME.to_owned(),
            sha256: hex::encode(Sha256::digest(NAME)),
            notes: Vec::new(),
        }
    }
}

fn of_version(version: &str, file: &str) -> Result<(), CrewError> {
    if version == VERSION {
        return Ok(());
    }
    Err(CrewError::Invalid {
        file: file.to_owned(),
        key: "version".to_owned(),
        message: format!("version {version} is not known; write \"{VERSION}\""),
    })
}

/// The role of that name; the older names of two of them are understood.
pub(super) fn role(name: &str) -> Option<Role> {
    match name {
        "planner" => Some(Role::Planner),
        "implementer" | "worker" => Some(Role::Implementer),
        "reviewer" | "validator" => Some(Role::Reviewer),
        _ => None,
    }
}

const ROLES: &str = "the roles are planner, implementer (or worker) and reviewer (or validator)";

fn roles(written: BTreeMap<String, RoleConfig>, file: &str) -> Result<BTreeMap<Role, RoleConfig>, CrewError> {
    let invalid = |key: String, message: String| CrewError::Invalid { file: file.to_owned(), key, message };
    let mut roles = BTreeMap::new();
    for (name, mut config) in written {
        let known =
            role(&name).ok_or_else(|| invalid(format!("roles.{name}"), format!("is not a role; {ROLES}")))?;
        config.must_differ_from = match config.must_differ_from_name.as_deref() {
            None => None,
            Some(other) => Some(role(other).filter(|other| *other != known).ok_or_else(|| {
                let key = format!("roles.{name}.must_differ_from");
                invalid(key, format!("`{other}` is not another role; {ROLES}"))
            })?),
        };
        if roles.insert(known, config).is_some() {
            let message = format!("the {} is there twice, under its older name too; keep one", known.name());
            return Err(invalid(format!("roles.{name}"), message));
        }
    }
    Ok(roles)
}

/// A key that stands in the file is refused before anything quotes it. S0-4.3: keys come from elsewhere.
fn refuse_secrets(value: &Value, path: &str, file: &str) -> Result<(), CrewError> {
    let invalid = |key: String, message: &str| {
        Err(CrewError::Invalid { file: file.to_owned(), key, message: message.to_owned() })
    };
    let Value::Mapping(mapping) = value else { return Ok(()) };
    for (key, inner) in mapping {
        let Some(name) = key.as_str() else { continue };
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        // The name of a model or role is anybody's choice; what stands under it is not.
        let is_leaf = !matches!(inner, Value::Mapping(_));
        if is_leaf && SECRETS.contains(&name.to_lowercase().as_str()) {
            let message = "keys never stand in this file; write `key_env` with the name of an environment \
                           variable or `key_file` with the path of a mounted file, and revoke this key";
            return invalid(path, message);
        }
        if matches!(name, "key_env" | "base_url_env") && !inner.as_str().is_some_and(is_variable) {
            let message =
                "must be the name of an environment variable, such as ANTHROPIC_API_KEY, not its value";
            return invalid(path, message);
        }
        refuse_secrets(inner, &path, file)?;
    }
    Ok(())
}

fn is_variable(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|next| next.is_ascii_alphanumeric() || next == '_')
        && name.len() <= 100
}
