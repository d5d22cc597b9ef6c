//! `.millrace.toml`: what a repository says of itself. It wins over what is detected. Tables that are not named
//! here are for others and are left alone.

use serde::{Deserialize, Serialize};

use crate::profile::{Named, Purpose};
use crate::tree::{MAX_FILE_BYTES, Tree};

/// Where it lies.
pub const SETTINGS_FILE: &str = ".millrace.toml";
/// Checks, and commands for one purpose, at most; as many as the deployer takes.
const MAX_COMMANDS: usize = 64;
/// Files and lines that a limit may allow: beyond it is none.
const MAX_LIMIT: i64 = 1_000_000;

/// The part of the file that concerns building and testing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `[checks]`, in its order: the gates of every change.
    pub checks: Vec<Named>,
    /// `[commands]`: the commands for a purpose, each under the purpose's name.
    pub commands: Vec<Named>,
    /// `[limits] diff_files`.
    pub diff_files: Option<u64>,
    /// `[limits] diff_lines`, added and removed together.
    pub diff_lines: Option<u64>,
}

/// Why the file cannot be used: a sentence with place and advice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{SETTINGS_FILE}: {0}")]
pub struct SettingsError(String);

impl Settings {
    /// Those of a tree; the default where there is no file.
    ///
    /// # Errors
    /// The file is there and cannot be used.
    pub fn of(tree: &dyn Tree) -> Result<Self, SettingsError> {
        if !tree.files().iter().any(|entry| entry.path == SETTINGS_FILE) {
            if tree.is_special(SETTINGS_FILE) {
                return Err(SettingsError("it is not a regular file".to_owned()));
            }
            return Ok(Self::default());
        }
        let bytes = tree.read(SETTINGS_FILE, MAX_FILE_BYTES);
        let bytes = bytes.ok_or_else(|| {
            SettingsError(format!("it cannot be read, or has more than {MAX_FILE_BYTES} bytes"))
        })?;
        Self::parse(&bytes)
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// It is no TOML, or a value has the wrong shape.
    pub fn parse(bytes: &[u8]) -> Result<Self, SettingsError> {
        let text =
            std::str::from_utf8(bytes).map_err(|error| SettingsError(format!("it is not UTF-8: {error}")))?;
        let file: toml::Table = toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .map_or(1, |span| text.get(..span.start).unwrap_or_default().matches('\n').count() + 1);
            SettingsError(format!("line {line}: {}", error.message()))
        })?;
        let limits = table(&file, "limits")?;
        let limit = |key| limits.map_or(Ok(None), |limits| limit(limits, key));
        Ok(Self {
            checks: checks(&file)?,
            commands: commands(&file)?,
            diff_files: limit("diff_files")?,
            diff_lines: limit("diff_lines")?,
        })
    }

    /// The commands for a purpose; empty means: what was detected.
    pub(crate) fn for_purpose(&self, purpose: Purpose) -> impl Iterator<Item = &str> {
        let named = self.commands.iter().filter(move |named| named.name == purpose.name());
        named.map(|named| named.command.as_str())
    }
}

fn table<'a>(file: &'a toml::Table, name: &str) -> Result<Option<&'a toml::Table>, SettingsError> {
    match file.get(name) {
        None => Ok(None),
        Some(value) => {
            let wrong =
                || SettingsError(format!("`{name}` is no table; write `[{name}]` on a line of its own"));
            value.as_table().map(Some).ok_or_else(wrong)
        }
    }
}

fn checks(file: &toml::Table) -> Result<Vec<Named>, SettingsError> {
    let Some(checks) = table(file, "checks")? else { return Ok(Vec::new()) };
    if checks.len() > MAX_COMMANDS {
        let message = format!("[checks] has {} entries; at most {MAX_COMMANDS} are run", checks.len());
        return Err(SettingsError(message));
    }
    checks
        .iter()
        .map(|(name, value)| Ok(Named { name: name.clone(), command: command("checks", name, value)? }))
        .collect()
}

fn commands(file: &toml::Table) -> Result<Vec<Named>, SettingsError> {
    let Some(commands) = table(file, "commands")? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for (name, value) in commands {
        if !Purpose::ALL.iter().any(|purpose| purpose.name() == name) {
            let known: Vec<&str> = Purpose::ALL.iter().map(|purpose| purpose.name()).collect();
            let message = format!("[commands]: `{name}` is not known; there are {}", known.join(", "));
            return Err(SettingsError(message));
        }
        let one = std::slice::from_ref(value);
        let values = value.as_array().map_or(one, Vec::as_slice);
        if values.len() > MAX_COMMANDS {
            let message =
                format!("[commands]: `{name}` has {} entries; at most {MAX_COMMANDS}", values.len());
            return Err(SettingsError(message));
        }
        for value in values {
            found.push(Named { name: name.clone(), command: command("commands", name, value)? });
        }
    }
    Ok(found)
}

fn command(table: &str, name: &str, value: &toml::Value) -> Result<String, SettingsError> {
    match value.as_str().map(str::trim) {
        Some("") => {
            Err(SettingsError(format!("[{table}]: `{name}` is empty; write the command that runs it")))
        }
        Some(command) => Ok(command.to_owned()),
        None => {
            let message = format!("[{table}]: `{name}` is no text; write the command that runs it in quotes");
            Err(SettingsError(message))
        }
    }
}

fn limit(limits: &toml::Table, key: &str) -> Result<Option<u64>, SettingsError> {
    let Some(value) = limits.get(key) else { return Ok(None) };
    let number = value.as_integer().filter(|number| (1..=MAX_LIMIT).contains(number));
    let number = number.and_then(|number| u64::try_from(number).ok());
    number
        .map(Some)
        .ok_or_else(|| SettingsError(format!("[limits]: `{key}` must be a number from 1 to {MAX_LIMIT}")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn what_concerns_others_is_left_alone() {
        let text = "[release]\nstart = 3\n[checks]\nunit = ' b '\nlint = 'a'\n[commands]\ntest = ['x', 'y']\n\
                    setup = 's'\n[limits]\ndiff_lines = 7\nother = 'x'\n";
        let found = Settings::parse(text.as_bytes()).unwrap();
        let names: Vec<&str> = found.checks.iter().map(|check| check.name.as_str()).collect();
        assert_eq!(names, ["unit", "lint"], "in the file's order");
        assert_eq!(found.checks[0].command, "b");
        assert_eq!(found.for_purpose(Purpose::Test).collect::<Vec<_>>(), ["x", "y"]);
        assert_eq!((found.diff_files, found.diff_lines), (None, Some(7)));
        assert_eq!(Settings::parse(b"").unwrap(), Settings::default());
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let many: String = (0..65).map(|number| format!("c{number} = 'x'\n")).collect();
        for (bytes, word) in [
            (b"\n[checks]\nunit = ".as_slice(), "line 3"),
            (b"[checks]\nunit = 3", "`unit` is no text"),
            (b"[checks]\nunit = ' '", "`unit` is empty"),
            (b"checks = 'x'", "`[checks]`"),
            (b"[commands]\ntset = 'x'", "setup, build, lint, format, test, coverage"),
            (b"[commands]\ntest = ['x', 3]", "`test` is no text"),
            (b"[limits]\ndiff_files = 0", "from 1 to"),
            (b"[limits]\ndiff_lines = 'x'", "from 1 to"),
            (b"\xff", "UTF-8"),
            (format!("[checks]\n{many}").as_bytes(), "65"),
        ] {
            let problem = Settings::parse(bytes).unwrap_err().to_string();
            assert!(problem.starts_with(".millrace.toml: ") && problem.contains(word), "{problem}");
        }
    }
}
