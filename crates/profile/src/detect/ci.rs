//! Continuous integration: which systems, and the commands that stand there as plain text.

use serde_norway::Value;

use super::one_line;
use crate::profile::Ci;
use crate::scan::Scan;

/// Definitions, and commands of one definition, at most.
const MAX_FILES: usize = 50;
const MAX_COMMANDS: usize = 200;
/// Nested values that are looked into.
const MAX_DEPTH: usize = 16;

/// The definitions, by system and path. Only files at the places where the systems look.
pub(super) fn find(scan: &Scan<'_>) -> Vec<Ci> {
    let mut found = Vec::new();
    let is_yaml = |path: &str| path.ends_with(".yml") || path.ends_with(".yaml");
    for path in scan.below(".github/workflows").filter(|path| is_yaml(path)).take(MAX_FILES) {
        found.push(of_yaml(scan, "github_actions", path, &["run"]));
    }
    let scripts = &["script", "before_script", "after_script"];
    if scan.has(".gitlab-ci.yml") {
        found.push(of_yaml(scan, "gitlab", ".gitlab-ci.yml", scripts));
    }
    if scan.has(".circleci/config.yml") {
        found.push(of_yaml(scan, "circleci", ".circleci/config.yml", &["run", "command"]));
    }
    for path in ["azure-pipelines.yml", "azure-pipelines.yaml", ".azure-pipelines.yml"] {
        if scan.has(path) {
            found.push(of_yaml(scan, "azure_pipelines", path, &["script", "bash", "pwsh", "powershell"]));
        }
    }
    if scan.has("Jenkinsfile") {
        let text = scan.text("Jenkinsfile").unwrap_or_default();
        found.push(ci("jenkins", "Jenkinsfile", of_jenkins(&text)));
    }
    found
}

fn ci(system: &str, file: &str, commands: Vec<String>) -> Ci {
    Ci { system: system.to_owned(), file: file.to_owned(), commands }
}

/// The texts under some keys, anywhere in the document.
fn of_yaml(scan: &Scan<'_>, system: &str, path: &str, keys: &[&str]) -> Ci {
    let document = scan.yaml(path).unwrap_or_default();
    let mut commands = Vec::new();
    collect(&document, keys, 0, &mut commands);
    commands.truncate(MAX_COMMANDS);
    ci(system, path, commands)
}

fn collect(value: &Value, keys: &[&str], depth: usize, commands: &mut Vec<String>) {
    if depth > MAX_DEPTH || commands.len() > MAX_COMMANDS {
        return;
    }
    match value {
        Value::Sequence(values) => values.iter().for_each(|value| collect(value, keys, depth + 1, commands)),
        Value::Mapping(entries) => {
            for (key, value) in entries {
                if key.as_str().is_some_and(|key| keys.contains(&key)) {
                    texts(value, commands);
                }
                collect(value, keys, depth + 1, commands);
            }
        }
        _ => {}
    }
}

/// A text, or a list of texts, as lines.
fn texts(value: &Value, commands: &mut Vec<String>) {
    match value {
        Value::String(text) => lines(text, commands),
        Value::Sequence(values) => {
            values.iter().filter_map(Value::as_str).for_each(|text| lines(text, commands))
        }
        _ => {}
    }
}

fn lines(text: &str, commands: &mut Vec<String>) {
    let lines = text.lines().map(one_line).filter(|line| !line.is_empty() && !line.starts_with('#'));
    commands.extend(lines);
}

/// `sh '…'` and `sh "…"` on one line; what is computed is left out.
fn of_jenkins(text: &str) -> Vec<String> {
    let mut commands = Vec::new();
    for line in text.lines().map(str::trim) {
        let Some(rest) = line.strip_prefix("sh ").or_else(|| line.strip_prefix("sh(")) else { continue };
        let rest = rest.trim_start();
        let Some(quote) = rest.chars().next().filter(|first| matches!(first, '\'' | '"')) else { continue };
        let inner = rest.trim_start_matches(quote);
        let Some((command, _)) = inner.split_once(quote) else { continue };
        if !command.contains("${") && !command.trim().is_empty() && commands.len() < MAX_COMMANDS {
            commands.push(one_line(command));
        }
    }
    commands
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::tree::Memory;

    #[test]
    fn each_system_shows_its_plain_commands() {
        let tree = Memory::new([
            (
                ".circleci/config.yml",
                "jobs:\n  t:\n    steps:\n      - checkout\n      - run: a\n      - run: {name: x, command: b}\n",
            ),
            (
                ".github/workflows/ci.yml",
                "jobs:\n  t:\n    steps:\n      - uses: x\n      - run: |\n          c\n          # no\n          d\n",
            ),
            (".gitlab-ci.yml", "t:\n  before_script: [e]\n  script:\n    - f\n"),
            ("Jenkinsfile", "stage('x') {\n  sh 'g'\n  sh \"h ${i}\"\n  sh \"j\"\n}\n"),
            ("azure-pipelines.yml", "steps:\n- script: k\n- bash: l\n"),
            ("docs/.gitlab-ci.yml", "t: {script: [never]}"),
        ]);
        let found = find(&Scan::new(&tree));
        let found: Vec<(&str, String)> =
            found.iter().map(|ci| (ci.system.as_str(), ci.commands.join(" "))).collect();
        let expected = [
            ("github_actions", "c d"),
            ("gitlab", "e f"),
            ("circleci", "a b"),
            ("azure_pipelines", "k l"),
            ("jenkins", "g j"),
        ];
        assert_eq!(found, expected.map(|(system, commands)| (system, commands.to_owned())));
    }
}
