//! Key lines: `**Status:** Draft`, `**VTID**: VTID-01213`, `Ticket: VTID-01213`, `# VTID: VTID-01213`.

use super::headings::normalise;
use super::outline::{Lines, Outline};
use super::sections::Section;

/// Keys that are recognised without being set in bold.
const PLAIN_KEYS: &[&str] =
    &["vtid", "task id", "ticket", "id", "status", "priority", "scope", "owner", "domain", "type"];
/// Subheadings below which keys speak of the whole text.
const HEAD_HEADINGS: &[&str] = &["metadata", "details", "document information"];
/// A key longer than this is a sentence.
const MAX_KEY_CHARS: usize = 40;

/// A line that gives a value to a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct KeyLine<'a> {
    pub(crate) name: &'a str,
    pub(crate) value: &'a str,
    /// Offset of the value within the line.
    pub(crate) value_at: usize,
    pub(crate) bold: bool,
    pub(crate) in_list: bool,
}

/// A key with its value and line.
#[derive(Debug)]
pub(crate) struct Pair {
    /// Lower case, words joined by `_`.
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) line: u32,
    /// Whether it stands where keys speak of the whole text: above the first subheading, or below one
    /// that says so. Elsewhere `**id**: …` may describe anything.
    pub(crate) in_head: bool,
}

/// The canonical form of a key: `Task ID` becomes `task_id`.
pub(crate) fn canonical_key(name: &str) -> String {
    normalise(&name.replace('_', " ")).replace(' ', "_")
}

/// All key lines outside code, comments and the sections that announce a part: `**VTID:** …` under
/// *Dependencies* speaks of another task.
pub(crate) fn pairs(text: &str, outline: &Outline, lines: &Lines, sections: &[Section]) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let mut sections = sections.iter().peekable();
    let mut headings = outline.headings.iter().peekable();
    let mut in_head = true;
    for (start, line) in lines.each(text) {
        while let Some(heading) = headings.next_if(|h| h.range.start <= start) {
            let says_so = HEAD_HEADINGS.contains(&normalise(&heading.text).as_str());
            in_head = says_so || (in_head && heading.level == 1);
        }
        while sections.next_if(|s| s.body.end <= start).is_some() {}
        let in_section = sections.peek().is_some_and(|s| s.line <= lines.number(start));
        if in_section || outline.is_masked(start) {
            continue;
        }
        if let Some(key) = key_line(line) {
            let value = key.value.trim_matches(['`', '*', ' ']);
            if !value.is_empty() {
                pairs.push(Pair {
                    key: canonical_key(key.name),
                    value: value.to_owned(),
                    line: lines.number(start),
                    in_head,
                });
            }
        }
    }
    pairs
}

/// Reads one line; a bold key may stand alone, so that it can serve as a heading.
pub(crate) fn key_line(line: &str) -> Option<KeyLine<'_>> {
    let trimmed = line.trim_start();
    let after_bullet = trimmed.strip_prefix(['-', '*', '+']).filter(|rest| rest.starts_with(' '));
    let rest = after_bullet.unwrap_or(trimmed).trim_start();
    let (name, value, bold) = bold_key(rest).or_else(|| plain_key(rest))?;
    let name = name.trim();
    if name.is_empty() || name.chars().count() > MAX_KEY_CHARS {
        return None;
    }
    Some(KeyLine {
        name,
        value_at: line.len() - value.len(),
        value: value.trim(),
        bold,
        in_list: after_bullet.is_some(),
    })
}

/// `**Key:** value`, `**Key**: value`, or `**Key**` alone on its line.
fn bold_key(text: &str) -> Option<(&str, &str, bool)> {
    let (name, after) = text.strip_prefix("**")?.split_once("**")?;
    if let Some(name) = name.trim_end().strip_suffix(':') {
        return Some((name, after, true));
    }
    match after.trim_start().strip_prefix(':') {
        Some(value) => Some((name, value, true)),
        None if after.trim().is_empty() => Some((name, "", true)),
        None => None,
    }
}

/// `Key: value` or `# Key: value` for the few keys that need no emphasis.
fn plain_key(text: &str) -> Option<(&str, &str, bool)> {
    let text = text.strip_prefix("# ").map_or(text, |heading| heading.trim_start());
    let (name, value) = text.split_once(':')?;
    PLAIN_KEYS.iter().any(|key| name.trim().eq_ignore_ascii_case(key)).then_some((name, value, false))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_to_write_a_key() {
        for line in [
            "**VTID:** VTID-01213",
            "**VTID**: VTID-01213",
            "- **VTID:** VTID-01213",
            "VTID: VTID-01213",
            "# VTID: VTID-01213",
        ] {
            let key = key_line(line).unwrap();
            assert_eq!((key.name, key.value), ("VTID", "VTID-01213"), "{line}");
        }
    }

    #[test]
    fn prose_is_no_key() {
        for line in
            ["Note: mind the gap", "**bold** words in a sentence", "# A title: and more", "**", "****", ""]
        {
            assert_eq!(key_line(line), None, "{line}");
        }
    }
}
