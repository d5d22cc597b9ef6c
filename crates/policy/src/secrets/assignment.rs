//! Values that look like chance, given to names such as `token`, `secret` or `password`.

use super::{Hit, entropy, is_placeholder};

/// Parts of names whose values are secret.
const NAMES: [&str; 12] = [
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "apikey",
    "api_key",
    "api-key",
    "access_key",
    "private_key",
    "credential",
];
/// Ends of names that tell where a secret is, or how it is called, but not the secret.
const ABOUT: [&str; 18] = [
    "_name", "_id", "_url", "_uri", "_file", "_path", "_env", "_ref", "_hash", "_digest", "_sha256", "_type",
    "_count", "_limit", "_length", "_header", "_field", "_budget",
];
const LONGEST_NAME: usize = 64;
/// Shortest values that are looked at: in quotes, and bare, where most words are code.
const SHORTEST_QUOTED: usize = 10;
const SHORTEST_BARE: usize = 16;
const LONGEST_VALUE: usize = 512;
/// Fewest bits per character, in quotes and bare.
const LEAST_QUOTED: f64 = 3.0;
const LEAST_BARE: f64 = 3.5;

pub(super) fn hits(text: &str) -> Vec<Hit> {
    let mut hits = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        in_line(line, start, &mut hits);
        start += line.len();
    }
    hits
}

/// Each `:` and `=` of a line is looked at with the name before it and the value after it, each of bounded length.
fn in_line(line: &str, start: usize, hits: &mut Vec<Hit>) {
    for (at, _) in line.match_indices([':', '=']) {
        let from = line.floor_char_boundary(at.saturating_sub(LONGEST_NAME));
        let to = line.floor_char_boundary((at + LONGEST_VALUE + 16).min(line.len()));
        let name = line.get(from..at).unwrap_or_default();
        if !is_secret_name(name_before(name)) {
            continue;
        }
        let after = line.get(at..to).unwrap_or_default();
        // `:=`, `=>`, `==` and `::` are read from their last character on.
        let rest = after.trim_start_matches([':', '=', '>']);
        if let Some((skipped, value)) = secret_value(rest) {
            let begin = start + at + (after.len() - rest.len()) + skipped;
            let range = begin..begin + value.len();
            if hits.last().is_none_or(|last| last.range != range) {
                hits.push(Hit { rule: "assigned-secret", range });
            }
        }
    }
}

/// The name that ends where a value begins, without quotes and blanks.
fn name_before(before: &str) -> &str {
    let name = before.trim_end_matches([':', '=', ' ', '\t', '"', '\'', '`', ']', '?']);
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let start = name.char_indices().rev().take_while(|(_, c)| is_part(*c)).last();
    name.get(start.map_or(name.len(), |(at, _)| at)..).unwrap_or_default()
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    // `maxTokens` and `tokens_used` count, they do not hold.
    let counts = name.contains("tokens") || name.contains("tokenizer");
    let is_about = ABOUT.iter().any(|end| name.ends_with(end) || name.ends_with(&end.replace('_', "-")));
    NAMES.iter().any(|part| name.contains(part)) && !counts && !is_about
}

/// The secret at the beginning of what follows an assignment, and the bytes before it.
fn secret_value(rest: &str) -> Option<(usize, &str)> {
    let trimmed = rest.trim_start_matches([' ', '\t']);
    let blanks = rest.len() - trimmed.len();
    let quote = trimmed.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'));
    match quote {
        Some(quote) => {
            let inside = trimmed.get(1..)?;
            let value = inside.get(..inside.find([quote, '\n'])?)?;
            is_secret(value, SHORTEST_QUOTED, LEAST_QUOTED).then_some((blanks + 1, value))
        }
        None => {
            let is_part =
                |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+' | '/' | '=' | '.');
            let value = trimmed.get(..trimmed.find(|c| !is_part(c)).unwrap_or(trimmed.len()))?;
            // A call, a path of fields, a list: code, not a value.
            let next = trimmed.get(value.len()..).and_then(|rest| rest.chars().next());
            let is_code = next.is_some_and(|c| matches!(c, '(' | '[' | '{' | ':' | '<' | '!' | '?'));
            let is_value = !is_code && !value.contains('.');
            (is_value && is_secret(value, SHORTEST_BARE, LEAST_BARE)).then_some((blanks, value))
        }
    }
}

fn is_secret(value: &str, shortest: usize, least: f64) -> bool {
    let has = |is: fn(char) -> bool| value.chars().any(is);
    (shortest..=LONGEST_VALUE).contains(&value.len())
        && has(|c| c.is_ascii_digit())
        && has(|c| c.is_ascii_alphabetic())
        && !has(char::is_whitespace)
        && !value.contains("://")
        && !is_placeholder(value)
        && entropy(value) >= least
}
