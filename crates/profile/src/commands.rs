//! Which commands and gates count: those of `.millrace.toml` first, then what people wrote into a Makefile or a
//! justfile, then what the manifests suggest.

use std::collections::BTreeSet;

use crate::profile::{Profile, Purpose};
use crate::settings::SETTINGS_FILE;

/// The commands to use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commands {
    /// In the order in which they are run.
    pub selected: Vec<Selected>,
    /// What every change must pass, in order.
    pub gates: Vec<Gate>,
}

/// A command for a purpose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// What it is for.
    pub purpose: Purpose,
    /// For a shell, from the root: it changes the folder itself where it must.
    pub command: String,
    /// Why: the file that says so.
    pub file: String,
}

/// A command that must succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gate {
    /// A check's name, or a purpose.
    pub name: String,
    /// For a shell, from the root.
    pub command: String,
    /// Why: the file that says so.
    pub file: String,
}

impl Commands {
    /// Those for a purpose.
    pub fn of(&self, purpose: Purpose) -> impl Iterator<Item = &Selected> {
        self.selected.iter().filter(move |selected| selected.purpose == purpose)
    }
}

impl Profile {
    /// The commands and gates of this repository. Without `[checks]` the gates are its build, lint, format and
    /// test commands.
    #[must_use]
    pub fn commands(&self) -> Commands {
        let selected: Vec<Selected> =
            Purpose::ALL.into_iter().flat_map(|purpose| self.selected(purpose)).collect();
        let gates = if self.settings.checks.is_empty() { usual_gates(&selected) } else { self.checks() };
        Commands { selected, gates }
    }

    fn selected(&self, purpose: Purpose) -> Vec<Selected> {
        let select = |command: String, file: &str| Selected { purpose, command, file: file.to_owned() };
        let set: Vec<Selected> = self
            .settings
            .for_purpose(purpose)
            .map(|command| select(command.to_owned(), SETTINGS_FILE))
            .collect();
        if !set.is_empty() {
            return set;
        }
        let detected: Vec<_> = self.commands.iter().filter(|found| found.purpose == purpose).collect();
        // What a Makefile or a justfile calls by this name is the way of the whole repository.
        let is_chosen = |command: &str| command.starts_with("make ") || command.starts_with("just ");
        if let Some(chosen) = detected.iter().find(|found| is_chosen(&found.command)) {
            return vec![select(chosen.command.clone(), &chosen.file)];
        }
        let mut places = BTreeSet::new();
        let first = |found: &&&crate::profile::Command| {
            let tool = if purpose == Purpose::Lint { found.command.clone() } else { family(&found.command) };
            places.insert((found.directory.clone(), tool))
        };
        detected
            .iter()
            .filter(first)
            .map(|found| select(at(&found.directory, &found.command), &found.file))
            .collect()
    }

    fn checks(&self) -> Vec<Gate> {
        let gate = |check: &crate::profile::Named| Gate {
            name: check.name.clone(),
            command: check.command.clone(),
            file: SETTINGS_FILE.to_owned(),
        };
        self.settings.checks.iter().map(gate).collect()
    }
}

fn usual_gates(selected: &[Selected]) -> Vec<Gate> {
    let counts = |found: &&Selected| !matches!(found.purpose, Purpose::Setup | Purpose::Coverage);
    let gate = |found: &Selected| Gate {
        name: found.purpose.name().to_owned(),
        command: found.command.clone(),
        file: found.file.clone(),
    };
    selected.iter().filter(counts).map(gate).collect()
}

/// The tools that do the same work for one language, so that only the first of them is used.
fn family(command: &str) -> String {
    const PYTHON: [&str; 11] =
        ["uv", "poetry", "pdm", "pipenv", "pytest", "tox", "python3", "coverage", "black", "ruff", "pip"];
    const NODE: [&str; 4] = ["npm", "pnpm", "yarn", "bun"];
    let program = command.split_whitespace().next().unwrap_or_default();
    match program {
        program if PYTHON.contains(&program) => "python".to_owned(),
        program if NODE.contains(&program) => "node".to_owned(),
        "vendor/bin/phpunit" | "composer" => "php".to_owned(),
        program => program.to_owned(),
    }
}

fn at(directory: &str, command: &str) -> String {
    if directory == "." { command.to_owned() } else { format!("cd {} && {command}", quoted(directory)) }
}

/// A path as one word of a shell, whatever is in it.
fn quoted(path: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '@' | '+');
    let path = if path.starts_with('-') { format!("./{path}") } else { path.to_owned() };
    if path.chars().all(is_plain) { path } else { format!("'{}'", path.replace('\'', "'\\''")) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use crate::detect_in;
    use crate::tree::Memory;

    use super::*;

    fn commands(files: &[(&str, &str)], purpose: Purpose) -> Vec<String> {
        let profile = detect_in(&Memory::new(files.iter().copied()));
        profile.commands().of(purpose).map(|found| found.command.clone()).collect()
    }

    #[test]
    fn settings_win_over_a_makefile_and_that_over_a_manifest() {
        let manifest = ("Cargo.toml", "[package]\nname = 'a'\n");
        let makefile = ("Makefile", "test:\n\tcargo test\n");
        let settings = (".millrace.toml", "[commands]\ntest = ['one', 'two']\n");
        assert_eq!(commands(&[manifest], Purpose::Test), ["cargo test"]);
        assert_eq!(commands(&[manifest, makefile], Purpose::Test), ["make test"]);
        assert_eq!(commands(&[manifest, makefile, settings], Purpose::Test), ["one", "two"]);
        assert_eq!(commands(&[manifest, makefile, settings], Purpose::Build), ["cargo build --all-targets"]);
    }

    #[test]
    fn checks_are_the_gates_where_there_are_any() {
        let manifest = ("go.mod", "module a\n");
        let profile = detect_in(&Memory::new([manifest]));
        let names: Vec<String> = profile.commands().gates.into_iter().map(|gate| gate.name).collect();
        assert_eq!(names, ["build", "lint", "format", "test"]);
        let settings = (".millrace.toml", "[checks]\nunit = 'x'\n");
        let gates = detect_in(&Memory::new([manifest, settings])).commands().gates;
        assert_eq!(gates.len(), 1);
        assert_eq!((gates[0].name.as_str(), gates[0].command.as_str()), ("unit", "x"));
    }

    #[test]
    fn a_folder_is_one_word_of_the_shell() {
        let found = commands(&[("web; rm -rf ~/go.mod", "module a\n")], Purpose::Test);
        assert_eq!(found, ["cd 'web; rm -rf ~' && go test ./..."]);
        assert_eq!(quoted("a'b"), "'a'\\''b'");
        assert_eq!(quoted("-a"), "./-a");
    }
}
