//! Acceptance criteria: boxes, plain list items, Given/When/Then and EARS lines.

use std::collections::HashSet;

use super::headings::Part;
use super::outline::{Block, BlockKind, Lines, Outline};
use super::sections::Section;
use super::{AcceptanceItem, AcceptanceKind};

/// All criteria in the order of the text.
pub(crate) fn items(outline: &Outline, lines: &Lines, sections: &[Section]) -> Vec<AcceptanceItem> {
    let mut collector = Collector::default();
    for section in sections {
        if !section.parts.iter().any(|(part, _)| *part == Part::Acceptance) {
            continue;
        }
        collector.break_off();
        if section.scenario {
            collector.open_scenario(&section.heading, section.line);
        }
        for block in outline.blocks_in(&section.body) {
            collector.take(block, lines.number(block.range.start));
        }
    }
    collector.finish()
}

#[derive(Default)]
struct Collector {
    drafts: Vec<Draft>,
    /// Whether the last draft still takes steps.
    open: Option<Open>,
}

struct Draft {
    text: String,
    kind: AcceptanceKind,
    done: Option<bool>,
    line: u32,
}

/// How far a Given/When/Then has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    /// Under a `Scenario:`; takes everything up to the next one.
    Scenario,
    /// A When may follow.
    Given,
    /// A Then may follow; another When is another criterion.
    When,
    /// Only And and But may follow.
    Then,
}

impl Collector {
    fn break_off(&mut self) {
        self.open = None;
    }

    fn open_scenario(&mut self, heading: &str, line: u32) {
        self.push(heading, AcceptanceKind::Gherkin, None, line);
        self.open = Some(Open::Scenario);
    }

    fn take(&mut self, block: &Block, line: u32) {
        match &block.kind {
            BlockKind::Item { done } => self.item(&block.text, *done, line),
            BlockKind::Paragraph => self.lines(&block.text, line),
            BlockKind::Fence { info } if info == "gherkin" || info == "cucumber" => {
                // The criteria begin on the line after the fence.
                self.lines(&block.text, line.saturating_add(1));
            }
            BlockKind::Fence { .. } => {}
        }
    }

    fn item(&mut self, text: &str, done: Option<bool>, line: u32) {
        let text = squeeze(text);
        // `- [ ]` with nothing behind it is an empty line of a template.
        if text.is_empty() || text == "[ ]" {
            return;
        }
        if done.is_none() && self.step(&text, line) {
            return;
        }
        let kind = match done {
            _ if is_ears(&text) => AcceptanceKind::Ears,
            _ if step_word(&text).is_some() => AcceptanceKind::Gherkin,
            Some(_) => AcceptanceKind::Checkbox,
            None => AcceptanceKind::Plain,
        };
        self.push(&text, kind, done, line);
        self.open = None;
    }

    /// Prose counts only where it is a step, a scenario or an EARS sentence.
    fn lines(&mut self, text: &str, first: u32) {
        let mut continues = false;
        for (line, text) in (first..).zip(text.lines()) {
            let text = squeeze(text);
            if text.to_lowercase().starts_with("scenario") && text.contains(':') {
                self.open_scenario(&text, line);
                continues = true;
            } else if self.step(&text, line) {
                continues = true;
            } else if is_ears(&text) {
                self.push(&text, AcceptanceKind::Ears, None, line);
                continues = true;
            } else if continues {
                self.append(&text);
            }
        }
    }

    /// Takes a Given/When/Then step, into the last criterion if it continues that one.
    fn step(&mut self, text: &str, line: u32) -> bool {
        if self.open == Some(Open::Scenario) {
            self.append(text);
            return true;
        }
        let Some(word) = step_word(text).filter(|_| !is_ears(text)) else {
            return false;
        };
        let joins = match self.open {
            Some(Open::Given) => word != "given",
            Some(Open::When) => matches!(word, "then" | "and" | "but"),
            Some(Open::Then) => matches!(word, "and" | "but"),
            Some(Open::Scenario) | None => false,
        };
        if joins {
            self.append(text);
        } else if matches!(word, "given" | "when") {
            self.push(text, AcceptanceKind::Gherkin, None, line);
        } else {
            return false;
        }
        self.open = match word {
            _ if contains_word(text, "then") => Some(Open::Then),
            "given" => Some(Open::Given),
            "when" => Some(Open::When),
            _ => self.open,
        };
        true
    }

    fn push(&mut self, text: &str, kind: AcceptanceKind, done: Option<bool>, line: u32) {
        self.drafts.push(Draft { text: text.to_owned(), kind, done, line });
    }

    fn append(&mut self, text: &str) {
        if let Some(draft) = self.drafts.last_mut() {
            draft.text.push(' ');
            draft.text.push_str(text);
        }
    }

    fn finish(self) -> Vec<AcceptanceItem> {
        let mut taken = HashSet::new();
        let own_ids: Vec<Option<String>> = self
            .drafts
            .iter()
            .map(|draft| own_id(&draft.text).filter(|id| taken.insert(id.clone())))
            .collect();
        let mut number = 0_usize;
        self.drafts
            .into_iter()
            .zip(own_ids)
            .map(|(draft, own)| AcceptanceItem {
                id: own.unwrap_or_else(|| {
                    loop {
                        number += 1;
                        let id = format!("AC-{number}");
                        if taken.insert(id.clone()) {
                            break id;
                        }
                    }
                }),
                text: draft.text,
                kind: draft.kind,
                done: draft.done,
                line: draft.line,
            })
            .collect()
    }
}

/// The id an author gave: `FR-001: …`, `AC1: …`, `#1 …`.
fn own_id(text: &str) -> Option<String> {
    let word = text.split_whitespace().next()?;
    if let Some(number) = word.strip_prefix('#') {
        let is_number = !number.is_empty() && number.chars().all(|c| c.is_ascii_digit());
        return is_number.then(|| word.to_owned());
    }
    let id = word.strip_suffix(':')?;
    let letters = id.chars().take_while(char::is_ascii_uppercase).count();
    let digits = id.get(letters..)?;
    let digits = digits.strip_prefix('-').unwrap_or(digits);
    let plausible = (1..=4).contains(&letters)
        && (1..=4).contains(&digits.len())
        && digits.chars().all(|c| c.is_ascii_digit());
    plausible.then(|| id.to_owned())
}

/// The Gherkin keyword a text begins with, in lower case.
fn step_word(text: &str) -> Option<&'static str> {
    let first = text.split([' ', ',', ':']).next()?;
    ["given", "when", "then", "and", "but"].into_iter().find(|word| first.eq_ignore_ascii_case(word))
}

/// The Easy Approach to Requirements Syntax: a condition, then `SHALL` in capitals.
fn is_ears(text: &str) -> bool {
    let first = text.split(' ').next().unwrap_or_default();
    ["WHEN", "IF", "WHILE", "WHERE", "THE"].iter().any(|word| first.eq_ignore_ascii_case(word))
        && text.split(' ').any(|word| word == "SHALL")
}

fn contains_word(text: &str, wanted: &str) -> bool {
    text.split(|c: char| !c.is_alphanumeric()).any(|word| word.eq_ignore_ascii_case(wanted))
}

fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
