//! The deployer's own settings: `[deployer]` and the `[[target]]` tables.

use std::path::PathBuf;
use std::time::Duration;

use millrace_runtime::settings::{Section, Settings, SettingsError, parse_duration};
use serde::Deserialize;

use crate::adapters::process_target::ProcessTargetConfig;

/// Settings that can work.
#[derive(Debug, Clone)]
pub struct Config {
    /// A healthy release may report another commit for so long, for it may still be starting.
    pub wrong_sha_grace: Duration,
    /// The configured targets.
    pub targets: Vec<ProcessTargetConfig>,
}

/// `[deployer]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Deployer {
    directory: PathBuf,
    wrong_sha_grace: String,
}

impl Default for Deployer {
    fn default() -> Self {
        Self { directory: PathBuf::from(".millrace/deployer"), wrong_sha_grace: "10s".to_owned() }
    }
}

impl Config {
    /// Reads and checks both.
    pub fn from_settings(settings: &Settings) -> Result<Self, SettingsError> {
        let own: Deployer = settings.section("deployer", &settings.deployer)?;
        let wrong_sha_grace = parse_duration(&own.wrong_sha_grace)
            .map_err(|problem| SettingsError::invalid(format!("deployer.wrong_sha_grace: {problem}")))?;
        let directory = std::path::absolute(&own.directory).map_err(|error| {
            SettingsError::invalid(format!("deployer.directory {}: {error}", own.directory.display()))
        })?;
        let mut targets = Vec::new();
        for table in &settings.targets {
            let target = target(settings, table, &directory)?;
            let users: Vec<&str> = settings
                .repositories
                .iter()
                .filter(|repository| repository.target == target.id)
                .map(|repository| repository.id.as_str())
                .collect();
            if users.len() > 1 {
                return Err(SettingsError::invalid(format!(
                    "target `{}` is named by the repositories {}: one target runs one repository's releases",
                    target.id,
                    users.join(" and ")
                )));
            }
            targets.push(target);
        }
        Ok(Self { wrong_sha_grace, targets })
    }
}

fn target(
    settings: &Settings,
    table: &Section,
    directory: &std::path::Path,
) -> Result<ProcessTargetConfig, SettingsError> {
    let id = table.get("id").and_then(toml::Value::as_str).unwrap_or("(without an id)").to_owned();
    let mut table = table.clone();
    match table.remove("kind").as_ref().and_then(toml::Value::as_str) {
        Some("process") => {}
        Some(other) => {
            return Err(SettingsError::invalid(format!(
                "target `{id}`: kind `{other}` is not known; this version knows `process`"
            )));
        }
        None => {
            return Err(SettingsError::invalid(format!(
                "target `{id}` has no kind; write kind = \"process\""
            )));
        }
    }
    if !table.contains_key("root") {
        let root = directory.join("targets").join(&id).display().to_string();
        table.insert("root".to_owned(), toml::Value::String(root));
    }
    let target: ProcessTargetConfig = settings.section(&format!("target `{id}`"), &table)?;
    target.validate().map_err(|error| SettingsError::invalid(error.to_string()))?;
    Ok(target)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    const REPOSITORY: &str = "[[repository]]\nid = 'shop'\nurl = '/srv/shop.git'\ntarget = 'web'\n";
    const TARGET: &str = "[[target]]\nid = 'web'\nkind = 'process'\nstart_command = './run'\n";

    fn read(text: &str) -> Result<Config, SettingsError> {
        Config::from_settings(&toml::from_str::<Settings>(text).unwrap())
    }

    #[test]
    fn a_target_without_a_root_lies_in_the_deployers_directory() {
        let config = read(&format!("deployer.directory = '/var/millrace'\n{REPOSITORY}{TARGET}")).unwrap();
        assert_eq!(config.targets[0].root, PathBuf::from("/var/millrace/targets/web"));
        assert_eq!(config.wrong_sha_grace, Duration::from_secs(10));
        assert!(read(&format!("{REPOSITORY}{TARGET}")).unwrap().targets[0].root.is_absolute());
    }

    #[test]
    fn what_cannot_work_is_named() {
        let other = REPOSITORY.replace("'shop'", "'other'");
        for (text, word) in [
            ("deployer.directry = '/x'\n".to_owned(), "directry"),
            ("deployer.wrong_sha_grace = 'soon'\n".to_owned(), "wrong_sha_grace"),
            (TARGET.replace("process", "kubernetes"), "kubernetes"),
            (TARGET.replace("kind = 'process'\n", ""), "no kind"),
            (format!("{TARGET}helth_path = '/h'\n"), "helth_path"),
            (format!("{TARGET}root = 'relative'\n"), "absolute"),
            (format!("{REPOSITORY}{other}{TARGET}"), "shop and other"),
        ] {
            let error = read(&text).expect_err(&text).to_string();
            assert!(error.contains(word), "{word}: {error}");
        }
    }
}
