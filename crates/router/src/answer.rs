//! Finds the JSON in a model's text. Only its surroundings and its commas are mended, never its meaning.

use serde_json::Value;

/// The value that a text holds.
#[derive(Debug, PartialEq)]
pub(crate) struct Parsed {
    pub(crate) value: Value,
    /// Whether anything had to be taken away: a code fence, prose around it, a trailing comma.
    pub(crate) repaired: bool,
}

/// # Errors
/// One line that says why there is no single JSON object, with the start of the text.
pub(crate) fn parse(text: &str) -> Result<Parsed, String> {
    let strict = match serde_json::from_str(text) {
        Ok(value) => {
            return Ok(Parsed { value, repaired: false });
        }
        Err(error) => error,
    };
    let mut found = objects_in(text);
    match (found.pop(), found.len()) {
        (Some(value), 0) => Ok(Parsed { value, repaired: true }),
        (Some(_), others) => {
            Err(format!("the answer holds {} JSON objects and must be exactly one", others + 1))
        }
        (None, _) => {
            Err(format!("the answer is not a JSON object ({strict}); it begins: {}", beginning(text)))
        }
    }
}

/// How many opening braces are tried, so that a text full of them costs little.
const MOST_ATTEMPTS: usize = 64;

fn objects_in(text: &str) -> Vec<Value> {
    let mut found = Vec::new();
    let mut rest = text;
    for _ in 0..MOST_ATTEMPTS {
        let Some((_, from_brace)) = rest.find('{').and_then(|at| rest.split_at_checked(at)) else {
            break;
        };
        let object = balanced(from_brace).and_then(|span| {
            let value =
                serde_json::from_str(span).or_else(|_| serde_json::from_str(&without_trailing_commas(span)));
            Some((span.len(), value.ok()?))
        });
        let skip = match object {
            Some((length, value)) => {
                found.push(value);
                length
            }
            None => 1,
        };
        rest = from_brace.get(skip..).unwrap_or_default();
    }
    found
}

/// From an opening brace to the one that closes it, braces in strings not counted.
fn balanced(text: &str) -> Option<&str> {
    let mut depth = 0_usize;
    let mut strings = Strings::default();
    for (at, character) in text.char_indices() {
        if strings.inside(character) {
            continue;
        }
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return text.get(..=at);
        }
    }
    None
}

fn without_trailing_commas(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut strings = Strings::default();
    for (at, character) in text.char_indices() {
        let comma = !strings.inside(character) && character == ',';
        let after = text.get(at + 1..).unwrap_or_default();
        if !(comma && after.trim_start().starts_with(['}', ']'])) {
            kept.push(character);
        }
    }
    kept
}

/// Follows JSON strings through a text.
#[derive(Default)]
struct Strings {
    open: bool,
    escaped: bool,
}

impl Strings {
    /// Whether this character, the next one of the text, belongs to a string (its quotes included).
    fn inside(&mut self, character: char) -> bool {
        let was_open = self.open;
        match character {
            _ if self.escaped => self.escaped = false,
            '\\' if self.open => self.escaped = true,
            '"' => self.open = !self.open,
            _ => {}
        }
        was_open || self.open
    }
}

fn beginning(text: &str) -> String {
    const LONGEST: usize = 160;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let start: String = line.chars().take(LONGEST).collect();
    if start.len() < line.len() { format!("{start} …") } else { start }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_json_is_taken_as_it_is() {
        let parsed = parse(" {\"a\": \"}{,}\"}\n").unwrap();
        assert_eq!(parsed.value, json!({"a": "}{,}"}));
        assert!(!parsed.repaired);
    }

    #[test]
    fn fences_prose_and_trailing_commas_are_taken_away() {
        for text in [
            "```json\n{\"a\": [1, 2]}\n```",
            "Sure, here it is (for {you}):\n{\"a\": [1, 2]}\nThat \"was\" it.",
            "{\"a\": [1, 2,],}",
            "```\n{\"a\": [1, 2 , ] }\n```\n",
        ] {
            let parsed = parse(text).unwrap();
            assert_eq!(parsed.value, json!({"a": [1, 2]}), "{text}");
            assert!(parsed.repaired, "{text}");
        }
    }

    #[test]
    fn strings_survive_the_repair() {
        let parsed = parse("x {\"a\": \",} \\\" ,]\",}").unwrap();
        assert_eq!(parsed.value, json!({"a": ",} \" ,]"}));
    }

    #[test]
    fn nothing_is_guessed() {
        assert!(parse("{\"a\": 1} or {\"a\": 2}").unwrap_err().contains("2 JSON objects"));
        for text in ["{\"a\": 1", "{'a': 1}", "{a: 1}", "{\"a\": tru}", "", "no"] {
            assert!(parse(text).unwrap_err().contains("not a JSON object"), "{text}");
        }
        assert!(parse(&"{".repeat(1_000_000)).is_err());
    }
}
