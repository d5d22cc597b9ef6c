//! Reads Rust source just well enough to tell code, comments and string literals apart, line by line.

/// One line of a file.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// The code, without comments and with string literals emptied.
    pub code: String,
    /// What stands in string literals on this line.
    pub text: String,
}

enum State {
    Code,
    LineComment,
    BlockComment { depth: u32 },
    Literal,
    RawLiteral { hashes: usize },
}

/// The lines of a file; line 1 is the first.
pub(super) fn lines(source: &str) -> Vec<Line> {
    let mut lines = vec![Line::default()];
    let mut state = State::Code;
    let mut rest = source;
    while let Some(character) = rest.chars().next() {
        if character == '\n' {
            lines.push(Line::default());
            if matches!(state, State::LineComment) {
                state = State::Code;
            }
            rest = &rest[1..];
            continue;
        }
        let line = lines.last_mut().expect("there is always a line");
        let taken = match &mut state {
            State::Code => in_code(rest, line, &mut state),
            State::LineComment => character.len_utf8(),
            State::BlockComment { depth } => {
                let (taken, change) = in_block_comment(rest);
                *depth = depth.saturating_add_signed(change);
                if *depth == 0 {
                    state = State::Code;
                }
                taken
            }
            State::Literal if rest.starts_with("\\\n") => 1,
            State::Literal if character == '\\' => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            State::Literal if character == '"' => {
                state = State::Code;
                1
            }
            State::RawLiteral { hashes } if ends_raw(rest, *hashes) => {
                let taken = 1 + *hashes;
                state = State::Code;
                taken
            }
            State::Literal | State::RawLiteral { .. } => {
                line.text.push(character);
                character.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    lines
}

fn in_code(rest: &str, line: &mut Line, state: &mut State) -> usize {
    if rest.starts_with("//") {
        *state = State::LineComment;
        return 2;
    }
    if rest.starts_with("/*") {
        *state = State::BlockComment { depth: 1 };
        return 2;
    }
    let inside_word = line.code.ends_with(|before: char| before.is_alphanumeric() || before == '_');
    if !inside_word && let Some(hashes) = raw_opening(rest) {
        line.code.push('"');
        line.text.push(' ');
        *state = State::RawLiteral { hashes };
        return hashes + 2;
    }
    if rest.starts_with('"') {
        line.code.push('"');
        line.text.push(' ');
        *state = State::Literal;
        return 1;
    }
    // '"' as a character, which must not open a literal.
    for quote in ["'\"'", "'\\\"'", "b'\"'"] {
        if rest.starts_with(quote) {
            return quote.len();
        }
    }
    let character = rest.chars().next().expect("the caller saw one");
    line.code.push(character);
    character.len_utf8()
}

/// Length of the step, and by how much the nesting changes.
fn in_block_comment(rest: &str) -> (usize, i32) {
    if rest.starts_with("*/") {
        (2, -1)
    } else if rest.starts_with("/*") {
        (2, 1)
    } else {
        (rest.chars().next().map_or(1, char::len_utf8), 0)
    }
}

/// The number of `#` when a raw literal begins here.
fn raw_opening(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix('r')?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

fn ends_raw(rest: &str, hashes: usize) -> bool {
    rest.strip_prefix('"').is_some_and(|after| after.starts_with(&"#".repeat(hashes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes_and_texts(source: &str) -> Vec<(String, String)> {
        lines(source)
            .into_iter()
            .map(|line| (line.code.trim().to_owned(), line.text.trim().to_owned()))
            .collect()
    }

    #[test]
    fn tells_code_comments_and_literals_apart() {
        let source = "let a = \"x // y\"; // \"no\"\n/* \"a\n/* b */ c */ let r = r#\"q\"z\"#;\nlet c = '\"'; d::e();\n\"two\nlines\";";
        let expected = [
            ("let a = \";", "x // y"),
            ("", ""),
            ("let r = \";", "q\"z"),
            ("let c = ; d::e();", ""),
            ("\"", "two"),
            (";", "lines"),
        ];
        let expected: Vec<_> =
            expected.iter().map(|(code, text)| ((*code).to_owned(), (*text).to_owned())).collect();
        assert_eq!(codes_and_texts(source), expected);
    }

    #[test]
    fn escapes_do_not_end_a_literal() {
        assert_eq!(codes_and_texts(r#"f("a\"b", "c\\"); g();"#)[0].0, r#"f(", "); g();"#);
        assert_eq!(codes_and_texts("\"a\\\nb\";")[1], (";".to_owned(), "b".to_owned()));
    }
}
