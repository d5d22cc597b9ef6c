//! Takes secrets out of texts before they are recorded. A net for accidents, not a guard: the guards are
//! that credentials never reach who writes the texts.

/// Put where something was taken out.
const MASK: &str = "***";
/// Beginnings of tokens of well-known makes. What follows, up to a character that no token has, is masked.
const TOKEN_PREFIXES: [&str; 14] = [
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "github_pat_",
    "glpat-",
    "sk-",
    "xoxb-",
    "xoxp-",
    "AKIA",
    "ASIA",
    "eyJ",
    "npm_",
    "SU",
];
/// Fewest characters after a prefix that make a token.
const SHORTEST_TOKEN: usize = 16;

/// `text` with credentials in URLs and tokens of well-known makes masked.
pub fn scrub(text: &str) -> String {
    let mut scrubbed = String::with_capacity(text.len());
    for (index, word) in text.split_inclusive(char::is_whitespace).enumerate() {
        let after_bearer = index > 0 && scrubbed.trim_end().to_ascii_lowercase().ends_with("bearer");
        scrubbed.push_str(&if after_bearer { mask_all(word) } else { mask_tokens(&mask_user_info(word)) });
    }
    scrubbed
}

/// `scheme://user:secret@host` without what stands before the `@`.
fn mask_user_info(word: &str) -> String {
    let Some((scheme, rest)) = word.split_once("://") else { return word.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://{MASK}@{host}{path}"),
        None => word.to_owned(),
    }
}

fn mask_tokens(word: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let mut masked = String::with_capacity(word.len());
    let mut rest = word;
    while !rest.is_empty() {
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        let (part, after) = rest.split_at(end);
        masked.push_str(if is_token(part) { MASK } else { part });
        let next = after.find(is_part).unwrap_or(after.len());
        let (between, further) = after.split_at(next);
        masked.push_str(between);
        rest = further;
    }
    masked
}

fn is_token(part: &str) -> bool {
    TOKEN_PREFIXES.iter().any(|prefix| {
        part.strip_prefix(prefix)
            .is_some_and(|rest| rest.len() >= SHORTEST_TOKEN && rest.chars().any(|c| c.is_ascii_digit()))
    })
}

fn mask_all(word: &str) -> String {
    let blank: String = word.chars().skip_while(|c| !c.is_whitespace()).collect();
    format!("{MASK}{blank}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s1_gap6_3_secrets_do_not_reach_a_failure() {
        let token = format!("ghp_{}", "a1".repeat(18));
        for (text, expected) in [
            (
                "cannot clone https://ada:hunter2@git.local/shop.git now".to_owned(),
                "cannot clone https://***@git.local/shop.git now",
            ),
            (format!("token {token}, refused"), "token ***, refused"),
            (format!("env KEY={token}"), "env KEY=***"),
            ("Authorization: Bearer abc.def\nnext".to_owned(), "Authorization: Bearer ***\nnext"),
        ] {
            assert_eq!(scrub(&text), expected);
        }
    }

    #[test]
    fn what_is_no_secret_stays_as_it_is() {
        for text in [
            "VTID-01213/1.1/change/1 at 936827ec86a0b1c2d3e4f5",
            "http://127.0.0.1:4222/version and git@host",
            "  two\n lines, sk-shop and SUMMARY",
        ] {
            assert_eq!(scrub(text), text);
        }
    }
}
