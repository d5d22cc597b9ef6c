//! Takes secrets out of texts before they are recorded. A net for accidents, not a guard: the guards are
//! that credentials never reach who writes the texts.

/// Put where something was taken out.
const MASK: &str = "***";
/// Fewest characters after a prefix that make a token.
const SHORTEST_TOKEN: usize = 16;

/// One well-known make of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenMake {
    /// Who issues it, such as `github-token`.
    pub name: &'static str,
    /// How it begins.
    pub prefix: &'static str,
    /// Fewest characters after the prefix that real ones have. [`scrub`] masks shorter ones too.
    pub shortest: usize,
}

/// The makes of tokens that are known, the only such list; of two prefixes that fit, the one that stands first counts.
/// What follows a prefix, up to a character that no token has, belongs to the token.
pub const TOKEN_MAKES: &[TokenMake] = &[
    make("github-token", "ghp_", 36),
    make("github-token", "gho_", 36),
    make("github-token", "ghs_", 36),
    make("github-token", "ghu_", 36),
    make("github-token", "ghr_", 36),
    make("github-token", "github_pat_", 36),
    make("gitlab-token", "glpat-", 20),
    make("gitlab-token", "gldt-", 20),
    make("gitlab-token", "glrt-", 20),
    make("gitlab-token", "glptt-", 20),
    make("anthropic-key", "sk-ant-", 32),
    make("openai-key", "sk-proj-", 32),
    make("openai-key", "sk-svcacct-", 32),
    make("openai-key", "sk-", 32),
    make("slack-token", "xoxb-", 20),
    make("slack-token", "xoxp-", 20),
    make("slack-token", "xoxa-", 20),
    make("slack-token", "xoxr-", 20),
    make("slack-token", "xoxs-", 20),
    make("slack-token", "xapp-", 20),
    make("aws-access-key-id", "AKIA", 16),
    make("aws-access-key-id", "ASIA", 16),
    make("google-api-key", "AIza", 35),
    make("google-token", "ya29.", 30),
    make("stripe-key", "sk_live_", 16),
    make("stripe-key", "rk_live_", 16),
    make("stripe-key", "sk_test_", 16),
    make("stripe-key", "rk_test_", 16),
    make("stripe-key", "whsec_", 24),
    make("npm-token", "npm_", 36),
    make("hugging-face-token", "hf_", 30),
    make("groq-key", "gsk_", 40),
    make("xai-key", "xai-", 40),
    make("aws-bedrock-key", "ABSK", 40),
    make("json-web-token", "eyJ", 24),
    make("nats-seed", "SU", 56),
];

const fn make(name: &'static str, prefix: &'static str, shortest: usize) -> TokenMake {
    TokenMake { name, prefix, shortest }
}

/// Whether a character may stand in a token.
#[must_use]
pub fn is_part_of_token(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.')
}

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
    let is_part = is_part_of_token;
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
    TOKEN_MAKES.iter().any(|make| {
        part.strip_prefix(make.prefix)
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
    fn every_make_is_masked() {
        for make in TOKEN_MAKES {
            assert!(make.shortest >= SHORTEST_TOKEN, "{make:?}");
            let token = format!("{}{}", make.prefix, "a1B2".repeat(14));
            assert_eq!(scrub(&token), "***", "{make:?}");
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
