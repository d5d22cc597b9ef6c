//! `.millrace.toml` of a repository: which checks its base commit asks for.

use millrace_events::v1::CheckDefinition;
use serde::Deserialize;

/// Where it lies.
pub(super) const PATH: &str = ".millrace.toml";
/// Checks that a repository may ask for at most.
const MAX_CHECKS: usize = 64;

/// The part that concerns checks; the rest is for others.
#[derive(Debug, Default, Deserialize)]
struct Profile {
    #[serde(default)]
    checks: toml::Table,
}

/// The checks in their order; the error is a sentence about what is wrong.
pub(super) fn checks(bytes: &[u8]) -> Result<Vec<CheckDefinition>, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| format!("it is not UTF-8: {error}"))?;
    let profile: Profile = toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| text.get(..span.start).unwrap_or_default().lines().count().max(1));
        match line {
            Some(line) => format!("line {line}: {}", error.message()),
            None => error.message().to_owned(),
        }
    })?;
    if profile.checks.len() > MAX_CHECKS {
        return Err(format!("[checks] has {} entries; at most {MAX_CHECKS} are run", profile.checks.len()));
    }
    profile.checks.into_iter().map(|(name, command)| check(name, &command)).collect()
}

fn check(name: String, command: &toml::Value) -> Result<CheckDefinition, String> {
    match command.as_str().map(str::trim) {
        Some("") => Err(format!("[checks]: `{name}` is empty; write the command that runs it")),
        Some(command) => Ok(CheckDefinition { name, command: command.to_owned() }),
        None => Err(format!("[checks]: `{name}` is no text; write the command that runs it in quotes")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn checks_keep_their_order_and_the_rest_is_for_others() {
        let found =
            checks(b"[release]\nstart = './run'\n[checks]\nunit = 'b'\nlint = 'a'\na = 'c'\n").unwrap();
        let names: Vec<&str> = found.iter().map(|check| check.name.as_str()).collect();
        assert_eq!(names, ["unit", "lint", "a"]);
        assert_eq!(found[0].command, "b");
        assert_eq!(checks(b"").unwrap(), []);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (bytes, word) in [
            (b"[checks]\nunit = ".as_slice(), "line 2"),
            (b"[checks]\nunit = 3", "`unit` is no text"),
            (b"[checks]\nunit = ' '", "`unit` is empty"),
            (b"checks = 'x'", "line 1"),
            (b"\xff", "UTF-8"),
        ] {
            let problem = checks(bytes).unwrap_err();
            assert!(problem.contains(word), "{problem}");
        }
        let many: String = (0..65).map(|n| format!("c{n} = 'x'\n")).collect();
        assert!(checks(format!("[checks]\n{many}").as_bytes()).unwrap_err().contains("65"));
    }
}
