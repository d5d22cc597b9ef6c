//! The registry's own settings: the section `[spec_registry]`.

use std::path::PathBuf;

use millrace_runtime::settings::{Settings, SettingsError};
use serde::Deserialize;

/// What only the registry needs to know.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The folder for mirrors of repositories that have a URL. Nothing in it is missed when it is deleted.
    pub directory: PathBuf,
}

impl Default for Config {
    fn default() -> Self {
        Self { directory: PathBuf::from(".millrace/spec-registry") }
    }
}

impl Config {
    /// Reads the section.
    ///
    /// # Errors
    /// An unknown key or a wrong type, named with the section.
    pub fn of(settings: &Settings) -> Result<Self, SettingsError> {
        settings.section("spec_registry", &settings.spec_registry)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_named_with_its_section() {
        assert_eq!(Config::of(&Settings::default()).unwrap(), Config::default());
        let mut settings = Settings::default();
        settings.spec_registry.insert("directroy".to_owned(), "x".into());
        let error = Config::of(&settings).unwrap_err().to_string();
        assert!(error.contains("[spec_registry]") && error.contains("directroy"), "{error}");
    }
}
