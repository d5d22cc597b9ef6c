//! How work stops short: with a coded failure, or because it was told to.

use millrace_events::Code;
use millrace_events::v1::{Failure, WorkOrderKind};

/// The end of work that came to nothing.
#[derive(Debug)]
pub enum Stop {
    /// It failed.
    Failed(Box<Failure>),
    /// It was cancelled; who cancelled it knows why.
    Cancelled,
}

/// The result of a step of the work.
pub type Step<T> = Result<T, Stop>;

impl Stop {
    /// A failure in a sentence.
    pub fn failed(code: Code, message: impl AsRef<str>) -> Self {
        Self::Failed(Box::new(Failure::new(code, scrub(message.as_ref()))))
    }

    /// A failure with the errors underneath.
    pub(crate) fn caused(code: Code, message: impl AsRef<str>, error: &dyn std::error::Error) -> Self {
        let mut failure = Failure::new(code, scrub(message.as_ref())).caused_by(error);
        for cause in &mut failure.causes {
            *cause = scrub(cause);
        }
        Self::Failed(Box::new(failure))
    }

    /// With a fact.
    pub(super) fn with(self, name: &str, value: impl Into<String>) -> Self {
        match self {
            Self::Failed(failure) => Self::Failed(Box::new(failure.with(name, value))),
            Self::Cancelled => Self::Cancelled,
        }
    }
}

/// The stage of the pipeline in which work of a kind happens.
pub(super) fn stage(kind: WorkOrderKind) -> &'static str {
    match kind {
        WorkOrderKind::Check => "checking",
        WorkOrderKind::Change | WorkOrderKind::Unspecified => "executing",
    }
}

/// Hides what stands before the `@` of a URL.
pub(super) fn scrub(text: &str) -> String {
    let mut scrubbed = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        scrubbed.push_str(before);
        scrubbed.push_str("://");
        let is_end = |c: char| c.is_whitespace() || matches!(c, '/' | '\'' | '"' | '`' | '?' | '#');
        let authority = after.find(is_end).unwrap_or(after.len());
        let (authority, tail) = after.split_at(authority);
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                scrubbed.push_str("***@");
                scrubbed.push_str(host);
            }
            None => scrubbed.push_str(authority),
        }
        rest = tail;
    }
    scrubbed.push_str(rest);
    scrubbed
}

/// A text cut to `limit` characters, on one line and without control characters.
pub(super) fn brief(text: &str, limit: usize) -> String {
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(limit).collect()
}

/// The last line of an output that says something, at most 200 characters.
pub(super) fn last_line(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let says_something = |line: &&str| line.chars().any(char::is_alphanumeric);
    brief(text.lines().rev().find(says_something).unwrap_or_default(), 200)
}

/// The end of an output, at most `limit` characters.
pub(super) fn tail(output: &[u8], limit: usize) -> String {
    let text = String::from_utf8_lossy(output);
    let surplus = text.chars().count().saturating_sub(limit);
    text.chars().skip(surplus).collect::<String>().trim().to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_urls_are_hidden() {
        for (text, scrubbed) in [
            (
                "unable to access 'https://u:to@ken@forge.example/a.git/': 403, see http://h/x",
                "unable to access 'https://***@forge.example/a.git/': 403, see http://h/x",
            ),
            ("ssh://git@host", "ssh://***@host"),
            ("nothing here @ all://", "nothing here @ all://"),
        ] {
            assert_eq!(scrub(text), scrubbed);
        }
        let source = std::io::Error::other("https://secret@forge.example/");
        let Stop::Failed(failure) = Stop::caused(Code::Internal, "x", &source) else { panic!() };
        assert_eq!(failure.causes, ["https://***@forge.example/"]);
    }

    #[test]
    fn an_output_is_told_by_its_end() {
        assert_eq!(last_line(b"ok\nFAILED \x1b (failures=1)\n\n-----\n"), "FAILED   (failures=1)");
        assert_eq!(last_line(b""), "");
        assert_eq!(tail("äöü\nend\n".as_bytes(), 4), "end");
    }
}
