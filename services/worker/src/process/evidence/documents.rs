//! Texts for people.

use super::{Flaw, invalid, text};

/// A text in which every one of these headings has something under it.
pub(super) fn document(sections: &[String], bytes: &[u8]) -> Result<(), Flaw> {
    let text = text(bytes)?;
    for wanted in sections {
        match section(text, wanted) {
            None => return Err(invalid(format!("the section `{wanted}` is missing"))),
            Some(false) => return Err(invalid(format!("the section `{wanted}` is empty"))),
            Some(true) => {}
        }
    }
    if text.lines().any(|line| heading(line).is_none() && says_something(line)) {
        Ok(())
    } else {
        Err(Flaw::Empty)
    }
}

/// Whether the section of that heading says something; `None`: there is no such heading.
fn section(text: &str, wanted: &str) -> Option<bool> {
    let mut lines = text.lines();
    let depth = lines.by_ref().find_map(|line| {
        heading(line).filter(|(_, title)| title.eq_ignore_ascii_case(wanted)).map(|(depth, _)| depth)
    })?;
    let own = lines.take_while(|line| heading(line).is_none_or(|(other, _)| other > depth));
    Some(own.into_iter().any(|line| heading(line).is_none() && says_something(line)))
}

/// Depth and title of a heading.
fn heading(line: &str) -> Option<(usize, &str)> {
    let rest = line.trim_start_matches('#');
    let depth = line.len() - rest.len();
    ((1..=6).contains(&depth) && rest.starts_with(' ')).then(|| (depth, rest.trim()))
}

/// A comment in a template is no answer to it.
fn says_something(line: &str) -> bool {
    let line = line.trim();
    !line.starts_with("<!--") && line.chars().any(char::is_alphanumeric)
}
