//! Gate 0: before a change is made, it is known how the repository is tested. S4-Q0.

use crate::profile::{GapKind, Profile, Purpose};

/// Why no change can be made yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}; {advice}")]
pub struct Missing {
    /// What is missing.
    pub what: String,
    /// What to do.
    pub advice: String,
}

/// Whether a change can be judged in this repository.
///
/// # Errors
/// `.millrace.toml` cannot be used, or nothing says how the repository is tested. The code is PROFILE_MISSING.
pub fn gate(profile: &Profile) -> Result<(), Missing> {
    if let Some(gap) = profile.missing.iter().find(|gap| gap.what == GapKind::Settings) {
        return Err(Missing { what: gap.message.clone(), advice: gap.advice.clone() });
    }
    let commands = profile.commands();
    if !profile.settings.checks.is_empty() || commands.of(Purpose::Test).next().is_some() {
        return Ok(());
    }
    let known: Vec<&str> = profile.package_managers.iter().map(|manager| manager.file.as_str()).collect();
    let what = if known.is_empty() {
        "no build file that Millrace knows was found, and .millrace.toml names no check".to_owned()
    } else {
        format!("{} do not say how the tests are run, and .millrace.toml names no check", known.join(", "))
    };
    let advice =
        "name a command that tests a change under [checks] in .millrace.toml and commit it".to_owned();
    Err(Missing { what, advice })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use crate::detect_in;
    use crate::tree::Memory;

    use super::*;

    fn gated(files: &[(&str, &str)]) -> Result<(), Missing> {
        gate(&detect_in(&Memory::new(files.iter().copied())))
    }

    /// S4-Q0: without a profile the task waits.
    #[test]
    fn s4_q0_what_cannot_be_tested_is_not_changed() {
        let nothing = gated(&[("README.md", "text")]).unwrap_err();
        assert!(nothing.what.contains("no build file"), "{nothing}");
        assert!(nothing.advice.contains("[checks] in .millrace.toml"), "{nothing}");
        let untested = gated(&[("package.json", "{\"scripts\":{\"build\":\"x\"}}")]).unwrap_err();
        assert!(untested.what.starts_with("package.json do not say"), "{untested}");
        let broken =
            gated(&[("go.mod", "module a\n"), (".millrace.toml", "[checks]\nunit = 3\n")]).unwrap_err();
        assert!(broken.what.contains("`unit` is no text"), "{broken}");
    }

    #[test]
    fn s4_q0_a_check_or_a_test_command_is_enough() {
        assert_eq!(gated(&[("x.css", ""), (".millrace.toml", "[checks]\nunit = 'x'\n")]), Ok(()));
        assert_eq!(gated(&[("x.css", ""), (".millrace.toml", "[commands]\ntest = 'x'\n")]), Ok(()));
        assert_eq!(gated(&[("go.mod", "module a\n")]), Ok(()));
    }
}
