//! Which commands may run: prefix rules from a file, each with examples that are tried when the file is read.
//!
//! The strictest rule that matches any simple command of a line wins. What a line consists of is read by
//! `shell`; a line that hides a program in a way that is not understood there is still held by
//! the sandbox, whatever is decided here.

mod shell;

use serde::Deserialize;

use shell::{Simple, simple_commands};

/// The rules that come with Millrace, as a file.
pub const BUILT_IN: &str = include_str!("../../../policy/exec.toml");

/// What is to be done about a command, from mild to strict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It may run.
    Allow,
    /// A person has to say so; where there is none, it may not run.
    Prompt,
    /// It may not run.
    Forbid,
}

/// The rules of one file, whose examples all came out as they should.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecPolicy {
    default: Decision,
    dynamic: Decision,
    #[serde(default)]
    rules: Vec<Rule>,
}

/// What was decided about a command line, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The strictest decision about any part of it.
    pub decision: Decision,
    /// The part that decided, as it was understood.
    pub part: String,
    /// Why, for whoever wrote the command; empty where a default decided.
    pub reason: String,
}

/// Why a file of rules cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecPolicyError {
    /// It cannot be read.
    #[error("the exec policy cannot be read: {0}")]
    Unreadable(String),
    /// A rule says nothing.
    #[error("rule {number} of the exec policy has {what}")]
    Empty {
        /// Counted from 1.
        number: usize,
        /// What is missing.
        what: &'static str,
    },
    /// An example comes out differently.
    #[error("rule {number} of the exec policy ({prefix}) {problem}: `{example}`")]
    Example {
        /// Counted from 1.
        number: usize,
        /// The rule.
        prefix: String,
        /// What is wrong with the example.
        problem: &'static str,
        /// The example.
        example: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    prefix: Vec<Choice>,
    #[serde(default)]
    valued: Vec<String>,
    decision: Decision,
    reason: String,
    #[serde(rename = "match")]
    matching: Vec<String>,
    not_match: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Choice {
    One(String),
    Either(Vec<String>),
}

impl ExecPolicy {
    /// The rules that come with Millrace.
    ///
    /// # Errors
    /// Never, as a test shows: the file is part of the program.
    pub fn built_in() -> Result<Self, ExecPolicyError> {
        Self::read(BUILT_IN)
    }

    /// Reads rules and tries their examples.
    ///
    /// # Errors
    /// The first rule that cannot be used, by its number.
    pub fn read(text: &str) -> Result<Self, ExecPolicyError> {
        let policy: Self =
            toml::from_str(text).map_err(|error| ExecPolicyError::Unreadable(error.to_string()))?;
        for (index, rule) in policy.rules.iter().enumerate() {
            rule.try_examples(index + 1)?;
        }
        Ok(policy)
    }

    /// Decides about a command line as a shell would read it.
    #[must_use]
    pub fn judge(&self, line: &str) -> Verdict {
        let mut verdict = Verdict { decision: Decision::Allow, part: String::new(), reason: String::new() };
        for command in simple_commands(line) {
            let found = self.judge_one(&command);
            if found.decision > verdict.decision || verdict.part.is_empty() {
                verdict = found;
            }
        }
        verdict
    }

    fn judge_one(&self, command: &Simple) -> Verdict {
        let rules = self.rules.iter().filter(|rule| rule.matches(command));
        let part = command.to_string();
        match rules.max_by_key(|rule| rule.decision) {
            Some(rule) => Verdict { decision: rule.decision, part, reason: rule.reason.clone() },
            None if command.is_dynamic() => Verdict {
                decision: self.dynamic,
                part,
                reason: "the name of the program is only known when it runs; write it out".to_owned(),
            },
            None => Verdict { decision: self.default, part, reason: String::new() },
        }
    }
}

impl Rule {
    fn try_examples(&self, number: usize) -> Result<(), ExecPolicyError> {
        let empty = |what| Err(ExecPolicyError::Empty { number, what });
        if self.prefix.is_empty() {
            return empty("no `prefix`");
        }
        if self.matching.is_empty() || self.not_match.is_empty() {
            return empty("no example in `match` or in `not_match`");
        }
        let wrong = |examples: &[String], wanted: bool| {
            let matches = |line: &str| simple_commands(line).iter().any(|command| self.matches(command));
            examples.iter().find(|line| matches(line) != wanted).cloned()
        };
        for (examples, wanted, problem) in [
            (&self.matching, true, "does not match its own example"),
            (&self.not_match, false, "matches what it must not"),
        ] {
            if let Some(example) = wrong(examples, wanted) {
                return Err(ExecPolicyError::Example { number, prefix: self.shown(), problem, example });
            }
        }
        Ok(())
    }

    fn matches(&self, command: &Simple) -> bool {
        let Some((program, following)) = self.prefix.split_first() else { return false };
        if !command.program().is_some_and(|name| program.is(name)) {
            return false;
        }
        let mut words = command.arguments();
        following.iter().all(|choice| self.next_plain(&mut words).is_some_and(|word| choice.is(word)))
    }

    /// The next word that is neither an option nor the value of one.
    fn next_plain<'a>(&self, words: &mut impl Iterator<Item = &'a str>) -> Option<&'a str> {
        while let Some(word) = words.next() {
            if !word.starts_with('-') {
                return Some(word);
            }
            if self.valued.iter().any(|option| option == word) {
                words.next();
            }
        }
        None
    }

    fn shown(&self) -> String {
        let words = self.prefix.iter().map(|choice| match choice {
            Choice::One(word) => word.clone(),
            Choice::Either(words) => words.join("|"),
        });
        words.collect::<Vec<_>>().join(" ")
    }
}

impl Choice {
    fn is(&self, word: &str) -> bool {
        match self {
            Self::One(only) => only == word,
            Self::Either(words) => words.iter().any(|one| one == word),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn decision(line: &str) -> Decision {
        ExecPolicy::built_in().unwrap().judge(line).decision
    }

    #[test]
    fn the_rules_that_come_with_millrace_hold_their_own_examples() {
        assert!(ExecPolicy::built_in().unwrap().rules.len() > 5);
    }

    #[test]
    fn ordinary_work_is_allowed() {
        for line in [
            "python3 -m unittest -q",
            "cargo test --offline && cargo clippy",
            "for f in *.py; do python3 -m py_compile \"$f\" || exit 1; done",
            "if [ -f x ]; then echo '$(git push)'; fi > out 2>&1",
            "cat <<'E' > notes\ngit push\nE\nmake",
            "VAR=$(git rev-parse HEAD) make # git push",
            "test \"$(cat greeting.txt)\" = hello",
        ] {
            assert_eq!(decision(line), Decision::Allow, "{line}");
        }
    }

    #[test]
    fn the_strictest_part_decides_wherever_it_hides() {
        for line in [
            "true; git push",
            "true | git -c a=b push",
            "echo $(git push)",
            "echo \"`git push`\"",
            "bash -ec 'cd x && git push'",
            "env -i PATH=/bin git push",
            "timeout -k 5 10m git push",
            "find . -name x -exec git push {} ;",
            "eval git push",
            "(cd x; git push)",
            "f() { git push; }; f",
            "gi''t \"push\"",
            "\\git push",
            "A=1 B=2 /usr/bin/git push",
            "while true; do sudo x; done",
            "cat <<E\n$(git push)\nE",
            "curl x || git push",
            "! git push",
            "true &git push&",
        ] {
            assert_eq!(decision(line), Decision::Forbid, "{line}");
        }
        let verdict = ExecPolicy::built_in().unwrap().judge("make && curl -f https://x/y");
        assert_eq!((verdict.decision, verdict.part.as_str()), (Decision::Prompt, "curl -f https://x/y"));
        assert!(verdict.reason.contains("setup step"), "{verdict:?}");
        assert_eq!(decision("x=git; $x push"), Decision::Prompt);
        assert_eq!(decision(&format!("{} git push", "env ".repeat(1000))), Decision::Prompt);
        assert_eq!(decision(&format!("{}git push", "$(".repeat(1000))), Decision::Prompt);
    }

    #[test]
    fn an_example_that_comes_out_differently_refuses_the_file() {
        let file = |prefix: &str, yes: &str, no: &str| {
            format!(
                "default = \"forbid\"\ndynamic = \"forbid\"\n[[rules]]\nprefix = {prefix}\ndecision = \"allow\"\n\
                 reason = \"\"\nmatch = [\"{yes}\"]\nnot_match = [\"{no}\"]\n"
            )
        };
        let policy = ExecPolicy::read(&file("[\"make\"]", "make x", "cmake")).unwrap();
        assert_eq!(policy.judge("make x").decision, Decision::Allow);
        assert_eq!(policy.judge("make x; ls").decision, Decision::Forbid, "unknown: the default of the file");
        let error = ExecPolicy::read(&file("[\"make\"]", "cmake", "x")).unwrap_err().to_string();
        assert_eq!(error, "rule 1 of the exec policy (make) does not match its own example: `cmake`");
        let error = ExecPolicy::read(&file("[\"make\"]", "make", "make x")).unwrap_err().to_string();
        assert!(error.contains("matches what it must not: `make x`"), "{error}");
        assert!(ExecPolicy::read(&file("[]", "x", "y")).unwrap_err().to_string().contains("prefix"));
        assert!(ExecPolicy::read("default = \"allow\"").is_err());
    }
}
