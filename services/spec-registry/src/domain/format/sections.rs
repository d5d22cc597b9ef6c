//! Which stretch of the text belongs to which part of the specification.

use std::ops::Range;

use super::headings::{Part, is_scenario, normalise, parts_of};
use super::metadata::key_line;
use super::outline::{Lines, Outline};

/// The level of a bold line that serves as a heading: below all real headings.
const BOLD_LEVEL: u8 = 7;

/// A stretch of text under a heading that announces a part.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) parts: Vec<(Part, usize)>,
    pub(crate) heading: String,
    pub(crate) line: u32,
    /// From the end of the heading to the next heading that ends it.
    pub(crate) body: Range<usize>,
    /// Whether the heading is `Scenario: …`, which makes the whole section one criterion.
    pub(crate) scenario: bool,
}

/// Something that begins or ends a section.
struct Mark {
    level: u8,
    heading: String,
    range: Range<usize>,
    parts: Vec<(Part, usize)>,
}

/// All sections in the order of the text.
pub(crate) fn find(text: &str, outline: &Outline, lines: &Lines) -> Vec<Section> {
    let marks = marks(text, outline, lines);
    let mut sections = Vec::new();
    for (index, mark) in marks.iter().enumerate() {
        if mark.parts.is_empty() {
            continue;
        }
        // A heading that announces nothing stays inside, if it is a deeper one.
        let end = marks
            .iter()
            .skip(index + 1)
            .find(|next| !next.parts.is_empty() || next.level <= mark.level)
            .map_or(text.len(), |next| next.range.start);
        sections.push(Section {
            parts: mark.parts.clone(),
            scenario: is_scenario(&mark.heading),
            heading: mark.heading.clone(),
            line: lines.number(mark.range.start),
            body: mark.range.end.min(end)..end,
        });
    }
    sections
}

fn marks(text: &str, outline: &Outline, lines: &Lines) -> Vec<Mark> {
    let mut marks: Vec<Mark> = outline
        .headings
        .iter()
        .map(|heading| Mark {
            level: heading.level,
            parts: parts_of(&heading.text),
            heading: heading.text.clone(),
            range: heading.range.clone(),
        })
        .collect();
    marks.extend(bold_headings(text, outline, lines));
    marks.sort_by_key(|mark| mark.range.start);
    marks
}

/// Lines such as `**Acceptance Criteria:**` or `**Independent Test**: open the page`.
fn bold_headings(text: &str, outline: &Outline, lines: &Lines) -> Vec<Mark> {
    let mut found = Vec::new();
    for (start, line) in lines.each(text) {
        let Some(key) = key_line(line).filter(|key| key.bold && !key.in_list) else {
            continue;
        };
        // `**Issue:** #123` is a reference, not a problem statement.
        if outline.is_masked(start) || normalise(key.name) == "issue" {
            continue;
        }
        let parts = parts_of(key.name);
        if !parts.is_empty() {
            found.push(Mark {
                level: BOLD_LEVEL,
                heading: key.name.to_owned(),
                range: start..start + key.value_at,
                parts,
            });
        }
    }
    found
}
