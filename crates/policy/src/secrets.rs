//! Credentials in a text: whether there are any, which, and where (S4-Q1). The text itself is never repeated.
//!
//! Every rule reads the text once from its beginning to its end, without backtracking, so the time is bounded by the
//! length whatever stands in it. The makes of tokens are those of [`millrace_events::TOKEN_MAKES`].

mod assignment;
mod formats;

use std::ops::Range;

/// A credential that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which rule found it, such as `github-token`.
    pub rule: &'static str,
    /// Line, from 1.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
    /// Bytes of the text that are the credential.
    pub range: Range<usize>,
    /// The line with every credential on it masked, at most 120 characters.
    pub excerpt: String,
}

/// A comment on the same line that says that what looks like a credential is none.
pub const ALLOW_COMMENTS: [&str; 3] = ["millrace:allow-secret", "gitleaks:allow", "pragma: allowlist secret"];

/// Put where a credential was.
const MASK: &str = "***";
/// Characters of a line that are shown.
const EXCERPT_CHARS: usize = 120;
/// Findings that are told of one text. One is enough to refuse it.
const MOST_FINDINGS: usize = 100;

/// What a rule has found, before lines are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hit {
    rule: &'static str,
    range: Range<usize>,
}

/// The credentials in a text, in order, overlapping ones once; at most 100.
#[must_use]
pub fn scan(text: &str) -> Vec<Finding> {
    located(text, &hits(text))
}

/// `text` with everything in it that looks like a credential masked, allowed or not.
#[must_use]
pub fn redact(text: &str) -> String {
    let ranges: Vec<Range<usize>> = hits(text).into_iter().map(|hit| hit.range).collect();
    masked(text, 0..text.len(), &ranges)
}

fn hits(text: &str) -> Vec<Hit> {
    let mut hits = formats::hits(text);
    hits.extend(assignment::hits(text));
    hits.sort_by_key(|hit| (hit.range.start, usize::MAX - hit.range.end));
    let mut apart: Vec<Hit> = Vec::new();
    for hit in hits {
        match apart.last_mut() {
            Some(last) if hit.range.start < last.range.end => {
                last.range.end = last.range.end.max(hit.range.end);
            }
            _ => apart.push(hit),
        }
    }
    apart
}

/// The line that a finding stands on. Looked at once, however many findings it has.
#[derive(Default)]
struct Line {
    number: usize,
    start: usize,
    end: usize,
    allowed: bool,
    excerpt: String,
}

impl Line {
    /// The line of the byte at `at`, which lies after this line's start.
    fn of(&self, text: &str, at: usize, ranges: &[Range<usize>]) -> Self {
        let between = text.get(self.start..at).unwrap_or_default();
        let number = self.number.max(1) + between.matches('\n').count();
        let start = self.start + between.rfind('\n').map_or(0, |at| at + 1);
        let rest = text.get(at..).unwrap_or_default();
        let end = at + rest.find('\n').unwrap_or(rest.len());
        let whole = text.get(start..end).unwrap_or_default();
        let allowed = ALLOW_COMMENTS.iter().any(|comment| whole.contains(comment));
        Self { number, start, end, allowed, excerpt: shown(&masked(text, start..end, ranges)) }
    }
}

fn located(text: &str, hits: &[Hit]) -> Vec<Finding> {
    let ranges: Vec<Range<usize>> = hits.iter().map(|hit| hit.range.clone()).collect();
    let (mut findings, mut line) = (Vec::new(), Line::default());
    for hit in hits {
        let at = hit.range.start;
        if line.number == 0 || at > line.end {
            line = line.of(text, at, &ranges);
        }
        if line.allowed {
            continue;
        }
        if findings.len() == MOST_FINDINGS {
            break;
        }
        let before = text.get(line.start..at).unwrap_or_default();
        findings.push(Finding {
            rule: hit.rule,
            line: line.number,
            column: before.chars().count() + 1,
            range: hit.range.clone(),
            excerpt: line.excerpt.clone(),
        });
    }
    findings
}

/// A part of a text with what lies in the ranges, which are in order, masked.
fn masked(text: &str, part: Range<usize>, ranges: &[Range<usize>]) -> String {
    let (mut out, mut from) = (String::new(), part.start);
    let first = ranges.partition_point(|range| range.end <= part.start);
    for range in ranges.iter().skip(first).take_while(|range| range.start < part.end) {
        out.push_str(text.get(from..range.start.max(from)).unwrap_or_default());
        out.push_str(MASK);
        from = range.end.min(part.end);
    }
    out.push_str(text.get(from..part.end).unwrap_or_default());
    out
}

fn shown(line: &str) -> String {
    let line: String = line.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match line.char_indices().nth(EXCERPT_CHARS) {
        Some((end, _)) => format!("{} …", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

/// Whether a value stands for a credential without being one: `changeme`, `xxxx`, `<token>`, `${TOKEN}`.
fn is_placeholder(value: &str) -> bool {
    const WORDS: [&str; 16] = [
        "changeme",
        "change-me",
        "change_me",
        "example",
        "placeholder",
        "redacted",
        "dummy",
        "your-",
        "your_",
        "insert",
        "replace",
        "xxxx",
        "****",
        "....",
        "todo",
        "12345678",
    ];
    let lower = value.to_ascii_lowercase();
    let mut characters = lower.chars();
    let first = characters.next();
    first.is_none_or(|first| characters.all(|c| c == first))
        || value.starts_with(['<', '$', '%', '{', '['])
        || value.contains("${")
        || value.contains("{{")
        || WORDS.iter().any(|word| lower.contains(word))
}

/// Bits of information per character, by the frequencies of the characters (Shannon).
fn entropy(value: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in value.bytes() {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count += 1;
        }
    }
    let length = value.len().max(1) as f64;
    let share = |count: &u32| f64::from(*count) / length;
    counts.iter().filter(|count| **count > 0).map(|count| -share(count) * share(count).log2()).sum()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use millrace_events::TOKEN_MAKES;
    use proptest::prelude::*;

    use super::*;

    /// Looks like chance and is none: no key of anybody's.
    const CHANCE: &str = "q7Rt2Zx9Lm4Vb8Nc3Kd6Wf1Yh5Gj0PsTq7Rt2Zx9Lm4Vb8Nc3Kd6Wf1Yh5Gj";

    fn rules(text: &str) -> Vec<&'static str> {
        scan(text).into_iter().map(|finding| finding.rule).collect()
    }

    /// One good example of every make.
    fn token(prefix: &str) -> String {
        match prefix {
            "AKIA" | "ASIA" => format!("{prefix}Q7RT2ZX9LM4VB8NC"),
            "SU" => format!("SU{}", "Q7RT2ZX4LM4VB3NC3KD6WF5YH5GJ".repeat(2)),
            "eyJ" => format!("eyJhbGciOiJIUzI1NiJ9.eyJ{}.{}", &CHANCE[..24], &CHANCE[..32]),
            prefix => format!("{prefix}{}", &CHANCE[..40]),
        }
    }

    #[test]
    fn s4_q1_every_known_make_is_found_where_it_stands() {
        for make in TOKEN_MAKES {
            let token = token(make.prefix);
            for (before, after) in [("", ""), ("key: `", "`."), ("x=", "&y=1"), ("ä \"", "\",\n"), ("(", ")")]
            {
                let text = format!("first line\n{before}{token}{after}");
                let found = scan(&text);
                assert_eq!(found.len(), 1, "{text}: {found:?}");
                assert_eq!((found[0].rule, found[0].line), (make.name, 2), "{text}");
                assert_eq!(found[0].column, before.chars().count() + 1, "{text}");
                assert_eq!(&text[found[0].range.clone()], token);
                assert!(!found[0].excerpt.contains(&token[make.prefix.len()..]), "{}", found[0].excerpt);
                assert!(found[0].excerpt.contains("***"), "{}", found[0].excerpt);
            }
        }
    }

    #[test]
    fn s4_q1_keys_connection_strings_and_assignments_are_found() {
        let body = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7";
        for (text, rule) in [
            (
                format!("-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----"),
                "private-key",
            ),
            (format!("k = \"-----BEGIN PRIVATE KEY-----\\n{body}\\n\""), "private-key"),
            (format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{body}"), "private-key"),
            ("postgres://ada:h7nter2x@db.local:5432/shop".to_owned(), "connection-string"),
            ("url: https://x:q7Rt2Zx9Lm@git.local/a.git".to_owned(), "connection-string"),
            (format!("password = \"{}\"", &CHANCE[..14]), "assigned-secret"),
            (format!("DB_PASSWORD={}", &CHANCE[..20]), "assigned-secret"),
            (format!("  \"client_secret\": \"{}\",", &CHANCE[..24]), "assigned-secret"),
            (format!("auth_token := '{}'", &CHANCE[..24]), "assigned-secret"),
            (format!("apiKey: {}", &CHANCE[..32]), "assigned-secret"),
        ] {
            assert_eq!(rules(&text), [rule], "{text}");
            assert!(!redact(&text).contains(&CHANCE[..14]) && !redact(&text).contains(body), "{text}");
        }
    }

    #[test]
    fn what_is_no_secret_is_left_alone() {
        for text in [
            "password = \"changeme\"",
            "token: xxxxxxxxxxxxxxxxxxxx",
            "api_key = \"<your key here 123>\"",
            "token = \"<token>\"",
            "SECRET=${SECRET_FROM_THE_STORE_1}",
            "secret: {{ vault.shop.key1 }}",
            "aws_access_key_id = AKIAIOSFODNN7EXAMPLE",
            "postgres://user:password@localhost/db",
            "postgres://user:${PG_PASSWORD}@localhost/db",
            "let token = tokenizer.next_token(4096);",
            "let token = self.tokens_by_name2[index];",
            "max_tokens: 200000000000000000",
            "token_url = \"https://auth.local/oauth2/token\"",
            "secret_name: shop-database-1-credentials",
            "key_env: OPENAI_API_KEY",
            "password_hash = \"q7Rt2Zx9Lm4Vb8Nc3Kd6\"",
            "fencing_token: 12345678901234567890",
            "sk-shop-2-discount-banner-for-the-second-visit-v2",
            "the task-id VTID-01213-sk-learn-and-more-words-2024-10-11",
            "SUMMARY-2024-10-11-of-the-second-release-train-A1",
            "ghp_a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1",
            "eyJ is how base64 of {\" begins",
            "-----BEGIN CERTIFICATE-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7",
            "-----BEGIN PRIVATE KEY-----\n...\n-----END PRIVATE KEY-----",
            "`-----BEGIN RSA PRIVATE KEY-----` begins a key",
            "commit 936827ec86a0b1c2d3e4f5a6b7c8d9e0f1a2b3c4 of https://git.local/a",
            "sha256: 936827ec86a0b1c2d3e4f5a6b7c8d9e0f1a2b3c4936827ec86a0b1c2d3e4f5a6",
            "idempotency_key: VTID-01213-footer-town",
        ] {
            assert_eq!(scan(text), [], "{text}");
            assert_eq!(redact(text), text);
        }
    }

    #[test]
    fn an_allow_comment_counts_for_its_line_only() {
        let token = token("ghp_");
        for comment in ALLOW_COMMENTS {
            assert_eq!(scan(&format!("a = \"{token}\" # {comment}\n")), []);
            let found = scan(&format!("# {comment}\na = \"{token}\"\n"));
            assert_eq!(found.iter().map(|finding| finding.line).collect::<Vec<_>>(), [2]);
        }
    }

    #[test]
    fn an_excerpt_masks_every_secret_of_the_line_and_is_short() {
        let (one, two) = (token("ghp_"), token("glpat-"));
        let found = scan(&format!("{one} and {two} {}", "long ".repeat(100)));
        assert_eq!(found.len(), 2);
        for finding in found {
            assert!(finding.excerpt.starts_with("*** and *** long"), "{}", finding.excerpt);
            assert!(finding.excerpt.chars().count() <= EXCERPT_CHARS + 2);
        }
    }

    /// What would make a backtracking search slow, half a megabyte of each.
    #[test]
    fn s4_q1_the_time_is_bounded_by_the_length() {
        let repeats = |piece: &str| piece.repeat(500_000 / piece.len());
        for text in [
            repeats(":"),
            repeats("="),
            repeats("token="),
            repeats("token=\""),
            repeats("://"),
            repeats("a://b:c@"),
            repeats("-----BEGIN "),
            repeats("-----BEGIN PRIVATE KEY-----"),
            repeats("ghp_"),
            repeats("."),
            repeats(&format!("{} ", token("ghp_"))),
            format!("{}{}", repeats(&format!("{} ", token("ghp_"))), ALLOW_COMMENTS[0]),
            repeats("ä"),
        ] {
            assert!(scan(&text).len() <= MOST_FINDINGS);
        }
    }

    proptest! {
        #[test]
        fn any_text_is_answered_and_redacting_leaves_nothing(text in "\\PC{0,120}", tail in "[a-z:=/@ \"-]{0,40}") {
            let token = token("glpat-");
            let text = format!("{text} {token} {tail}");
            prop_assert!(!redact(&text).contains(&token));
            for finding in scan(&text) {
                prop_assert!(text.get(finding.range).is_some());
                prop_assert!(!finding.excerpt.contains(&token));
            }
        }
    }
}
