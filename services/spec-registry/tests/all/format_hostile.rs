//! Bytes that no author would write.

use millrace_spec_registry::domain::format::{
    MAX_SPEC_BYTES, ParseSettings, Problem, ProblemCode, parse, render_problems,
};
use proptest::prelude::*;

use super::format_rules::GOOD;

fn faults(bytes: &[u8]) -> Vec<Problem> {
    parse("01213-x.md", bytes, &ParseSettings::default()).expect_err("the bytes must be refused")
}

#[test]
fn a_file_of_two_mebibytes_is_refused_by_its_length() {
    let found = faults(&vec![0xff; 2 * 1024 * 1024]);
    // Neither NUL nor UTF-8 is looked for.
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].code, ProblemCode::TooLarge);
    assert_eq!(found[0].error_code(), "SPEC_INVALID");
}

#[test]
fn the_largest_file_is_read() {
    let mut text = GOOD.to_owned();
    text.push_str(&" ".repeat(MAX_SPEC_BYTES - text.len()));
    assert!(parse("01213-x.md", text.as_bytes(), &ParseSettings::default()).is_ok());
    text.push(' ');
    assert_eq!(faults(text.as_bytes())[0].code, ProblemCode::TooLarge);
}

#[test]
fn bytes_that_are_no_text_are_named_with_their_line() {
    let found = faults(b"# A\n\n\xff\xfe\n\0");
    let codes: Vec<_> = found.iter().map(|p| (p.code, p.line)).collect();
    assert_eq!(codes, [(ProblemCode::NulByte, Some(4)), (ProblemCode::NotUtf8, Some(3))]);
}

#[test]
fn nothing_is_not_a_specification() {
    for bytes in ["", "\u{feff}", " \r\n\t\n"] {
        assert_eq!(faults(bytes.as_bytes())[0].code, ProblemCode::Empty);
    }
}

#[test]
fn broken_front_matter_is_named_with_its_line() {
    let found = faults(format!("---\nid: 01213\nstatus: [a\n---\n{GOOD}").as_bytes());
    assert_eq!(found[0].code, ProblemCode::FrontMatterInvalid);
    assert!(found[0].line.is_some_and(|line| (2..=4).contains(&line)), "{found:?}");
}

#[test]
fn front_matter_without_an_end_does_not_lose_its_id_in_silence() {
    let long = format!("title: {}\n---\n", "x".repeat(17 * 1024));
    for rest in ["", long.as_str()] {
        let found = faults(format!("---\nid: 01213\n{rest}{GOOD}").as_bytes());
        assert_eq!(found[0].code, ProblemCode::FrontMatterInvalid);
    }
    // A thematic break is none.
    let text = format!("---\n\n{GOOD}");
    assert!(parse("01213-x.md", text.as_bytes(), &ParseSettings::default()).is_ok());
}

#[test]
fn a_comment_that_never_ends_is_pointed_out() {
    let found = faults(GOOD.replace("## Problem", "<!-- later\n## Problem").as_bytes());
    assert!(found.iter().any(|p| p.code == ProblemCode::CommentUnclosed && p.line == Some(6)), "{found:?}");
}

#[test]
fn the_list_of_faults_is_bounded() {
    let text = format!("{GOOD}\n{}", "[FEATURE NAME]\n".repeat(5000));
    let found = faults(text.as_bytes());
    assert_eq!(found.len(), 101);
    assert!(found[100].message.contains("4900 more"));
}

#[test]
fn a_text_full_of_open_questions_is_read_once() {
    // Without a bound on each question this takes the square of the file's size.
    let room = MAX_SPEC_BYTES - GOOD.len();
    let text = format!("{GOOD}{}", "[NEEDS CLARIFICATION".repeat(room / 20));
    let spec = parse("01213-x.md", text.as_bytes(), &ParseSettings::default()).unwrap();
    assert_eq!(spec.open_questions.len(), 100);
    assert!(spec.open_questions.iter().all(|q| q.len() <= 500));
}

#[test]
fn a_file_cannot_write_to_the_terminal_of_its_reader() {
    let text = "# \u{1b}[2J\u{7}title\n".to_owned() + &"x".repeat(4000);
    let found = faults(text.as_bytes());
    let printed = render_problems("x.md", text.as_bytes(), &found);
    assert!(!printed.contains('\u{1b}') && !printed.contains('\u{7}'), "{printed}");
    assert!(printed.lines().all(|line| line.chars().count() < 400));
}

/// Pieces that Markdown, YAML and our own rules give a meaning to.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "# ",
        "## Summary\n",
        "## Problem\n",
        "### Acceptance Criteria\n",
        "#### Scenario: s\n",
        "---\n",
        "...\n",
        "id: ",
        "VTID-01213",
        "VTID-XXXXX",
        "**VTID:** ",
        "**Summary**",
        "**",
        "*",
        "- ",
        "- [ ] ",
        "- [x] ",
        "1. ",
        "  ",
        "    ",
        "\t",
        "\n",
        "\r\n",
        "\r",
        "```",
        "```millrace\n",
        "```gherkin\n",
        "~~~\n",
        "> ",
        "<!--",
        "-->",
        "<div>",
        "|a|b|\n|-|-|\n",
        "Given ",
        "When ",
        "Then ",
        "SHALL ",
        "[NEEDS CLARIFICATION",
        "[FEATURE NAME]",
        "]",
        "(",
        ":",
        "é",
        "受入基準",
        "🎉",
        "\u{feff}",
        "\u{0}",
        "[a](b)",
        "`",
        "&amp;",
        "\\",
        "&a [*a",
        "words ",
    ]);
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

fn survives(name: &str, bytes: &[u8]) {
    let settings = ParseSettings::default();
    match parse(name, bytes, &settings) {
        Ok(spec) => {
            assert!(!spec.acceptance.is_empty());
            assert!(!spec.summary.is_empty());
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            let lines = bytes.split(|byte| *byte == b'\n').count();
            assert!(problems.iter().all(|p| p.line.is_none_or(|l| l >= 1 && l as usize <= lines)));
            let _ = render_problems(name, bytes, &problems);
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(name in ".{0,20}", bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        survives(&name, &bytes);
    }

    #[test]
    fn no_markdown_makes_it_panic(name in "(VTID-)?[0-9X]{0,6}[-a-z.]{0,6}", text in pieces()) {
        survives(&name, text.as_bytes());
    }

    #[test]
    fn no_ending_of_a_good_text_makes_it_panic(text in pieces()) {
        survives("01213-x.md", format!("{GOOD}{text}").as_bytes());
    }
}
