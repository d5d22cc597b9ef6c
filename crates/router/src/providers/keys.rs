//! Keys: read from the environment or a file for every call, sent in one header, shown nowhere.

use std::fmt;
use std::fmt::Write as _;

use crate::crew::Model;

use super::config::Profile;

/// Looks up a variable.
pub(super) type Environment = fn(&str) -> Option<String>;

/// The variable of this process, without blanks around it; nothing if it is not set or empty.
pub(super) fn process_environment(name: &str) -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the crew file names the variables of its keys and addresses; they are read where they are used, so \
                  that no copy of a key is kept"
    )]
    let value = std::env::var(name).ok()?;
    let value = value.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// A key. Neither `Debug` nor anything else shows it; [`Key::expose`] is for the one header.
pub(super) struct Key(String);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[key]")
    }
}

impl Key {
    /// The key of a model; nothing for a provider that needs none and a crew file that names none.
    ///
    /// # Errors
    /// What is missing, with the variable or file, and never the key.
    pub(super) fn load(
        profile: &Profile,
        model: &Model,
        environment: Environment,
    ) -> Result<Option<Self>, String> {
        let found = match (&model.key_env, &model.key_file) {
            (Some(_), Some(_)) => return Err("`key_env` and `key_file` are both set; keep one".to_owned()),
            (None, Some(file)) => {
                let text = std::fs::read_to_string(file)
                    .map_err(|error| format!("`key_file`: {} cannot be read: {error}", file.display()))?;
                let text = text.trim().to_owned();
                if text.is_empty() {
                    return Err(format!("`key_file`: {} is empty", file.display()));
                }
                text
            }
            (Some(name), None) => environment(name)
                .ok_or_else(|| format!("`key_env`: the variable {name} is not set, and the key is in it"))?,
            (None, None) => match profile.key_env {
                None => return Ok(None),
                Some(name) => environment(name).ok_or_else(|| {
                    format!("the key is missing: set the variable {name}, or `key_env` or `key_file`")
                })?,
            },
        };
        if !found.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(
                "the key has blanks, line ends or other characters that no key has; check its source"
                    .to_owned(),
            );
        }
        Ok(Some(Self(found)))
    }

    /// The key itself.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

const SCRUBBED: &str = "[key]";
/// How keys of the known providers begin.
const BEGINNINGS: [&str; 12] = [
    "sk-",
    "sk_",
    "sess-",
    "AIza",
    "ya29.",
    "AKIA",
    "ASIA",
    "ABSK",
    "bedrock-api-key-",
    "gsk_",
    "xai-",
    "eyJ",
];
/// A part of a key this long gives it away.
const TELLING: usize = 4;
/// A word this long of letters and digits may be a key.
const LONG: usize = 40;

/// The text without the key, parts of it, and words that look like any key: providers repeat what they were
/// sent, whole or with its middle starred out.
pub(super) fn scrub(text: &str, key: Option<&Key>) -> String {
    let key = key.map(|key| key.0.as_str()).filter(|key| key.len() >= TELLING);
    let text = match key {
        Some(key) => text.replace(key, SCRUBBED),
        None => text.to_owned(),
    };
    let mut clean = String::with_capacity(text.len());
    let mut word = String::new();
    for character in text.chars().map(Some).chain([None]) {
        match character {
            Some(character) if is_part_of_a_key(character) => word.push(character),
            end => {
                if gives_away(&word, key) {
                    clean.push_str(SCRUBBED);
                } else {
                    clean.push_str(&word);
                }
                word.clear();
                clean.extend(end);
            }
        }
    }
    clean
}

fn is_part_of_a_key(character: char) -> bool {
    character.is_ascii_alphanumeric() || "-_.*+/=…~".contains(character)
}

fn gives_away(word: &str, key: Option<&str>) -> bool {
    let begins = |part: &str| BEGINNINGS.iter().any(|beginning| part.starts_with(beginning));
    if word.split(['=', '/']).any(begins) || word.contains("**") {
        return true;
    }
    let is_mixed = word.bytes().any(|b| b.is_ascii_digit()) && word.bytes().any(|b| b.is_ascii_alphabetic());
    if word.len() >= LONG && is_mixed && !word.contains('/') {
        return true;
    }
    let Some(key) = key else { return false };
    // The middle may be dots, or one ellipsis.
    let mut parts = word.split(|c: char| ".*…=/".contains(c));
    parts.any(|part| part.len() >= TELLING && (key.starts_with(part) || key.ends_with(part)))
}

/// A header or word of a provider, as it may be kept: scrubbed, and short.
pub(super) fn word(text: &str, key: Option<&Key>) -> String {
    const LONGEST: usize = 128;
    let visible: String = text.chars().filter(|c| c.is_ascii_graphic()).take(LONGEST).collect();
    let bare = match key {
        Some(key) if key.0.len() >= TELLING => visible.replace(&key.0, SCRUBBED),
        _ => visible,
    };
    // Ids of requests are long words of letters and digits: only what begins as a key does is none.
    if BEGINNINGS.iter().any(|beginning| bare.starts_with(beginning)) { SCRUBBED.to_owned() } else { bare }
}

/// The beginning of a text on one line, for a message.
pub(super) fn beginning(text: &str, longest: usize) -> String {
    let mut line = String::new();
    for character in text.chars().take(longest) {
        line.push(if character.is_control() { ' ' } else { character });
    }
    if text.chars().nth(longest).is_some() {
        // Writing to a String cannot fail.
        let _ = write!(line, " …");
    }
    line.trim().to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    const KEY: &str = "kod-460fQz81Lm55Tt2829";

    fn environment(name: &str) -> Option<String> {
        ["OPENAI_API_KEY", "OTHER"].contains(&name).then(|| KEY.to_owned())
    }

    fn load(provider: &str, change: impl FnOnce(&mut Model)) -> Result<Option<Key>, String> {
        let mut model = Model::default();
        change(&mut model);
        Key::load(Profile::named(provider).unwrap(), &model, environment)
    }

    #[test]
    fn a_key_comes_from_the_variable_or_the_file_that_is_named_or_from_the_usual_variable() {
        assert_eq!(load("openai", |_| ()).unwrap().unwrap().expose(), KEY);
        assert_eq!(load("gemini", |m| m.key_env = Some("OTHER".into())).unwrap().unwrap().expose(), KEY);
        assert!(load("openai_compatible", |_| ()).unwrap().is_none());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, format!(" {KEY}\n")).unwrap();
        assert_eq!(load("gemini", |m| m.key_file = Some(file.clone())).unwrap().unwrap().expose(), KEY);
        std::fs::write(&file, "\n").unwrap();
        assert!(load("gemini", |m| m.key_file = Some(file.clone())).unwrap_err().contains("is empty"));
        std::fs::write(&file, "two words").unwrap();
        let error = load("gemini", |m| m.key_file = Some(file.clone())).unwrap_err();
        assert!(error.contains("blanks") && !error.contains("words"), "{error}");
    }

    #[test]
    fn a_missing_key_is_named_by_its_variable() {
        assert!(load("anthropic", |_| ()).unwrap_err().contains("ANTHROPIC_API_KEY"));
        assert!(load("bedrock", |_| ()).unwrap_err().contains("AWS_BEARER_TOKEN_BEDROCK"));
        let named = load("openai", |m| m.key_env = Some("MY_KEY".into())).unwrap_err();
        assert!(named.contains("MY_KEY"), "{named}");
        let both = load("openai", |m| {
            m.key_env = Some("OTHER".into());
            m.key_file = Some("x".into());
        });
        assert!(both.unwrap_err().contains("both set"));
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", load("openai", |_| ()).unwrap()), "Some([key])");
    }

    #[test]
    fn what_a_provider_says_of_a_key_is_scrubbed() {
        let key = Key(KEY.to_owned());
        for said in [
            "Incorrect API key provided: kod-460fQz81Lm55Tt2829. See HOST",
            "Incorrect API key provided: kod-460f****2829. See HOST",
            "Incorrect API key provided: kod-460f...2829. See HOST",
            "Bearer kod-460fQz81Lm55Tt2829, no",
            "the key that ends with 2829 is revoked",
            "\"kod-460f\" is no key",
        ] {
            let clean = scrub(said, Some(&key));
            assert!(!clean.contains("460f") && !clean.contains("2829"), "{clean}");
            assert!(clean.contains("[key]"), "{clean}");
        }
        for other in ["sk-ant-api03-abc", "AIzaSyA1234567890", "ya29.a0Af", "?key=AIzaSyB-1"] {
            let clean = scrub(&format!("got {other} here"), Some(&key));
            assert!(["got [key] here", "got ?[key] here"].contains(&clean.as_str()), "{clean}");
        }
        let plain = "model m-4-5-20250929 of task-1: maximum context length is 8192 tokens (req_011CSHoE)";
        assert_eq!(scrub(plain, Some(&key)), plain);
        assert_eq!(word("req_011CSHoEabcdefghijklmnopqrstuvwxyz0123456789", Some(&key)).len(), 48);
        assert_eq!(word(KEY, Some(&key)), "[key]");
    }
}
