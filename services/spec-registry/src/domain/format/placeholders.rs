//! What templates leave behind, and the marker for what an author has left open.

use super::outline::{Lines, Outline};
use super::{ParseSettings, Problem, ProblemCode, task_id};

/// The marker of an open question, from spec-kit's template.
const NEEDS_CLARIFICATION: &str = "[NEEDS CLARIFICATION";

/// The most open questions that are read; spec-kit allows three.
const MAX_QUESTIONS: usize = 100;
/// The longest question that is kept, in characters.
const MAX_QUESTION_CHARS: usize = 500;

/// Placeholders of spec-kit's specification template.
const PLACEHOLDERS: &[&str] =
    &["[FEATURE NAME]", "[###-feature-name]", "[DATE]", "[Brief Title]", "$ARGUMENTS"];

/// A fault for every placeholder outside code and comments.
pub(crate) fn unfilled(
    text: &str,
    outline: &Outline,
    lines: &Lines,
    settings: &ParseSettings,
) -> Vec<Problem> {
    let ids = task_id::prefixes(settings).map(|prefix| format!("{prefix}-XXX"));
    let mut found: Vec<(usize, String)> = Vec::new();
    for pattern in PLACEHOLDERS.iter().map(|p| (*p).to_owned()).chain(ids) {
        for (at, _) in text.match_indices(&pattern) {
            if !outline.is_masked(at) && !outline.is_inline_code(at) {
                found.push((at, pattern.clone()));
            }
        }
    }
    found.sort();
    found.into_iter().map(|(at, pattern)| problem(Some(lines.number(at)), &pattern)).collect()
}

/// The fault for one placeholder.
pub(crate) fn problem(line: Option<u32>, placeholder: &str) -> Problem {
    Problem::error(
        ProblemCode::TemplateUnfilled,
        line,
        format!("the placeholder `{placeholder}` of a template was never filled in"),
        "write what it stands for, or remove the line",
    )
}

/// The open questions that are marked in the text: `[NEEDS CLARIFICATION: which colour?]`.
pub(crate) fn clarifications(text: &str, outline: &Outline) -> Vec<String> {
    text.match_indices(NEEDS_CLARIFICATION)
        .filter(|(at, _)| !outline.is_masked(*at) && !outline.is_inline_code(*at))
        .take(MAX_QUESTIONS)
        .map(|(at, marker)| {
            let rest = text.get(at + marker.len()..).unwrap_or_default();
            let question: String =
                rest.chars().take(MAX_QUESTION_CHARS).take_while(|c| !matches!(c, ']' | '\n')).collect();
            question.trim_start_matches(':').trim().to_owned()
        })
        .collect()
}
