//! One part of a prompt: a file with a name and a version.

use crate::library::LibraryError;
use crate::sha256;

/// Longest part, in bytes.
const LONGEST: usize = 256 * 1024;

/// One part of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its path below `prompts/` without the ending, such as `phases/plan`; a second variant ends in `.b`.
    pub name: String,
    /// Counted up by whoever changes it. Letters, digits and dots.
    pub version: String,
    /// SHA-256 of the whole file in hexadecimal.
    pub sha256: String,
    /// What is sent of it.
    pub body: String,
}

impl Part {
    /// Reads a part: front matter between lines of `---` with `name` and `version`, then the body.
    ///
    /// # Errors
    /// The file is not such a text, or names another part than `name`.
    pub fn parse(name: &str, text: &str) -> Result<Self, LibraryError> {
        let refuse = |problem: String| LibraryError::Part { name: name.to_owned(), problem };
        if text.len() > LONGEST {
            return Err(refuse(format!("it has {} bytes; at most {LONGEST} are read", text.len())));
        }
        let front = text.strip_prefix("---\n").and_then(|rest| rest.split_once("\n---\n"));
        let (front, body) = front.ok_or_else(|| {
            refuse("it must begin with a line `---`, `name:` and `version:`, and a line `---`".to_owned())
        })?;
        let (mut named, mut version) = (None, None);
        for line in front.lines() {
            match line.split_once(':').map(|(key, value)| (key.trim(), value.trim())) {
                Some(("name", value)) if named.is_none() => named = Some(value),
                Some(("version", value)) if version.is_none() => version = Some(value),
                _ => return Err(refuse(format!("`{line}` is not `name: …` or `version: …`, each once"))),
            }
        }
        if named != Some(name) {
            return Err(refuse(format!("its front matter must say `name: {name}`")));
        }
        let is_version = |version: &&str| {
            !version.is_empty()
                && version.len() <= 32
                && version.chars().all(|c| c.is_ascii_alphanumeric() || c == '.')
        };
        let version = version.filter(is_version);
        let version =
            version.ok_or_else(|| refuse("it needs a `version` of letters, digits and dots".to_owned()))?;
        let body = body.trim();
        if body.is_empty() {
            return Err(refuse("it is empty".to_owned()));
        }
        Ok(Self {
            name: name.to_owned(),
            version: version.to_owned(),
            sha256: sha256(text.as_bytes()),
            body: body.to_owned(),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_part_says_what_it_is() {
        let part = Part::parse("core", "---\nname: core\nversion: 1.2\n---\n\n# Rules\n\nOne.\n").unwrap();
        assert_eq!((part.version.as_str(), part.body.as_str()), ("1.2", "# Rules\n\nOne."));
        assert_eq!(part.sha256.len(), 64);
    }

    #[test]
    fn what_is_no_part_is_refused_with_its_name_and_a_reason() {
        for (text, reason) in [
            ("# Rules", "must begin with a line `---`"),
            ("---\nname: core\n---\nx", "needs a `version`"),
            ("---\nname: core\nversion: 1 2\n---\nx", "needs a `version`"),
            ("---\nname: roles/planner\nversion: 1\n---\nx", "must say `name: core`"),
            ("---\nname: core\nversion: 1\nname: core\n---\nx", "each once"),
            ("---\nname: core\nversion: 1\nowner: x\n---\nx", "`owner: x` is not"),
            ("---\nname: core\nversion: 1\n---\n \n", "it is empty"),
        ] {
            let error = Part::parse("core", text).unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains("`core`"), "{error}");
        }
        assert!(Part::parse("core", &"x".repeat(LONGEST + 1)).is_err());
    }
}
