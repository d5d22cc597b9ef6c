//! Credentials that are known by their form.

use millrace_events::{TOKEN_MAKES, TokenMake, is_part_of_token};

use super::{Hit, entropy, is_placeholder};

/// Fewest bits per character of a token. Words and names that happen to begin like one have fewer.
const LEAST_ENTROPY: f64 = 3.0;

pub(super) fn hits(text: &str) -> Vec<Hit> {
    let mut hits = Vec::new();
    words(text, &mut hits);
    user_infos(text, &mut hits);
    private_keys(text, &mut hits);
    hits
}

/// Tokens of well-known makes: each run of characters that may stand in a token is looked at once.
fn words(text: &str, hits: &mut Vec<Hit>) {
    let mut from = 0;
    for word in text.split(|c| !is_part_of_token(c)) {
        let trimmed = word.trim_matches('.');
        let start = from + (word.len() - word.trim_start_matches('.').len());
        let make = TOKEN_MAKES.iter().find(|make| trimmed.starts_with(make.prefix));
        if let Some(make) = make.filter(|make| is_token(make, trimmed)) {
            hits.push(Hit { rule: make.name, range: start..start + trimmed.len() });
        }
        // The character that ended the word may have several bytes.
        let end = from + word.len();
        from = end + text.get(end..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
    }
}

fn is_token(make: &TokenMake, word: &str) -> bool {
    let body = word.strip_prefix(make.prefix).unwrap_or_default();
    let any = |is: fn(&char) -> bool| body.chars().any(|c| is(&c));
    let is_mixed = any(char::is_ascii_digit) && any(char::is_ascii_alphabetic);
    let form = match make.name {
        "json-web-token" => {
            let parts: Vec<&str> = word.split('.').collect();
            parts.len() == 3 && parts.iter().all(|part| part.len() >= 8)
        }
        "aws-access-key-id" => {
            body.len() == 16 && body.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit())
        }
        "nats-seed" => {
            body.len() == 56 && body.chars().all(|c| c.is_ascii_uppercase() || ('2'..='7').contains(&c))
        }
        // `sk-` begins many a name in small letters.
        "openai-key" if make.prefix == "sk-" => {
            any(char::is_ascii_uppercase) && any(char::is_ascii_lowercase)
        }
        _ => true,
    };
    form && is_mixed && body.len() >= make.shortest && !is_placeholder(body) && entropy(body) >= LEAST_ENTROPY
}

/// `scheme://user:password@host`.
fn user_infos(text: &str, hits: &mut Vec<Hit>) {
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|rest| rest.find("://")) {
        let start = from + at + "://".len();
        let rest = text.get(start..).unwrap_or_default();
        let is_end =
            |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | '`' | '<' | '>' | ')');
        // A password may hold characters that end other parts, but not whitespace or quotes.
        let authority = rest.get(..rest.find(is_end).unwrap_or(rest.len())).unwrap_or_default();
        if let Some((info, _host)) = authority.rsplit_once('@')
            && let Some((user, password)) = info.split_once(':')
            && !password.is_empty()
            && !is_placeholder(password)
            && !is_masked(password)
        {
            let begin = start + user.len() + 1;
            hits.push(Hit { rule: "connection-string", range: begin..begin + password.len() });
        }
        from = start;
    }
}

/// Words that stand in examples of such addresses.
fn is_masked(password: &str) -> bool {
    ["password", "pass", "pwd", "secret", "user", "***"].contains(&password.to_ascii_lowercase().as_str())
}

/// `-----BEGIN … PRIVATE KEY-----` with something in it.
fn private_keys(text: &str, hits: &mut Vec<Hit>) {
    const BEGIN: &str = "-----BEGIN ";
    const END: &str = "PRIVATE KEY";
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|rest| rest.find(BEGIN)) {
        let start = from + at;
        let rest = text.get(start + BEGIN.len()..).unwrap_or_default();
        from = start + BEGIN.len();
        // The label is one short line: `RSA PRIVATE KEY-----` or `PGP PRIVATE KEY BLOCK-----`.
        let label: String =
            rest.chars().take_while(|c| c.is_ascii_uppercase() || *c == ' ').take(40).collect();
        if !label.contains(END) {
            continue;
        }
        let body = rest.get(label.len()..).unwrap_or_default();
        let Some(body) = body.strip_prefix("-----") else { continue };
        let inside = body.get(..body.find("-----").unwrap_or(body.len())).unwrap_or_default();
        // Strings in code write line ends as `\n`.
        let key = inside.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/')).count();
        if key < 32 || is_placeholder(inside.trim()) {
            continue;
        }
        let end = text.len() - body.len() + inside.len();
        hits.push(Hit { rule: "private-key", range: start..end });
        from = end;
    }
}
