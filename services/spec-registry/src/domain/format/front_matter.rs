//! YAML front matter: the keys between two `---` lines at the very top of a file.

use std::collections::HashMap;

use serde_norway::Value;

use super::{Problem, ProblemCode};

/// The largest front matter that is read, in bytes. What is longer is a document, not a set of keys, and
/// reading YAML takes time in the square of its nesting.
const MAX_BYTES: usize = 16 * 1024;

/// The keys of a front matter and where the text after it begins.
#[derive(Debug, Default)]
pub(crate) struct FrontMatter {
    pub(crate) entries: Vec<Entry>,
    /// Offset of the first byte after the front matter.
    pub(crate) end: usize,
}

/// One key of a front matter.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// A scalar as one text, a list as one text per element.
    pub(crate) values: Vec<String>,
    pub(crate) line: u32,
}

/// Reads the front matter of a text, if it has one; a fault in it is pushed to `problems`.
pub(crate) fn read(text: &str, start: usize, problems: &mut Vec<Problem>) -> FrontMatter {
    let mut result = FrontMatter { end: start, ..FrontMatter::default() };
    let Some((yaml, end)) = split(text, start) else {
        if looks_begun(text, start) {
            problems.push(Problem::error(
                ProblemCode::FrontMatterInvalid,
                Some(1),
                format!("the front matter is not closed within {} KiB", MAX_BYTES / 1024),
                "end it with a line of three dashes, and move long text below it",
            ));
        }
        return result;
    };
    match serde_norway::from_str::<Value>(yaml) {
        Ok(Value::Mapping(mapping)) => {
            result.end = end;
            let lines = key_lines(yaml);
            for (key, value) in mapping {
                let Some(key) = scalar(&key) else { continue };
                result.entries.push(Entry {
                    line: lines.get(key.as_str()).copied().unwrap_or(2),
                    values: values(&value),
                    key,
                });
            }
        }
        // Two thematic breaks with prose between them are no front matter.
        Ok(_) => {}
        Err(error) => {
            result.end = end;
            let line = error.location().map_or(1, |at| at.line());
            problems.push(Problem::error(
                ProblemCode::FrontMatterInvalid,
                // The first line of the file is the fence.
                Some(u32::try_from(line).unwrap_or(u32::MAX).saturating_add(1)),
                format!("the front matter is not valid YAML: {error}"),
                "write one `key: value` per line between the two `---` lines, and quote values that contain `: ` or `#`",
            ));
        }
    }
    result
}

/// The YAML between the fences, and the offset after the second one.
fn split(text: &str, start: usize) -> Option<(&str, usize)> {
    let mut lines = text.get(start..)?.split_inclusive('\n');
    let first = lines.next()?;
    if first.trim_end() != "---" {
        return None;
    }
    let yaml_start = start + first.len();
    let mut at = yaml_start;
    for line in lines {
        if matches!(line.trim_end(), "---" | "...") {
            return Some((text.get(yaml_start..at)?, at + line.len()));
        }
        at += line.len();
        if at - yaml_start > MAX_BYTES {
            return None;
        }
    }
    None
}

/// Whether the text begins with `---` and a line that looks like a key, and not with a thematic break.
fn looks_begun(text: &str, start: usize) -> bool {
    let mut lines = text.get(start..).unwrap_or_default().lines();
    lines.next().is_some_and(|line| line.trim_end() == "---")
        && lines.next().is_some_and(|line| {
            line.split_once(':').is_some_and(|(key, _)| {
                !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-')
            })
        })
}

/// The line of every key that stands at the left margin. The first line of the file is the fence, and
/// lines count from 1.
fn key_lines(yaml: &str) -> HashMap<&str, u32> {
    let mut found = HashMap::new();
    for (number, line) in (2..).zip(yaml.lines()) {
        if let Some((key, _)) = line.split_once(':') {
            let key = key.trim_end().trim_matches(['"', '\'']);
            found.entry(key).or_insert(number);
        }
    }
    found
}

fn values(value: &Value) -> Vec<String> {
    match value {
        Value::Sequence(items) => items.iter().filter_map(scalar).collect(),
        other => scalar(other).into_iter().collect(),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Tagged(tagged) => scalar(&tagged.value),
        Value::Null | Value::Sequence(_) | Value::Mapping(_) => None,
    }
}
