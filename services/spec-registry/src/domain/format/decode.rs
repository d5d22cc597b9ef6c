//! From bytes to text.

use super::{MAX_SPEC_BYTES, Problem, ProblemCode};

/// The bytes as text, if they are text of a permitted length.
pub(crate) fn decode(bytes: &[u8]) -> Result<&str, Vec<Problem>> {
    if bytes.len() > MAX_SPEC_BYTES {
        return Err(vec![Problem::too_large("the file")]);
    }
    let line_at = |offset: usize| {
        let before = bytes.get(..offset).unwrap_or(bytes);
        let breaks = before.iter().filter(|byte| **byte == b'\n').count();
        Some(u32::try_from(breaks + 1).unwrap_or(u32::MAX))
    };
    let mut problems = Vec::new();
    if let Some(offset) = bytes.iter().position(|byte| *byte == 0) {
        problems.push(Problem::error(
            ProblemCode::NulByte,
            line_at(offset),
            "the file contains a NUL byte, so it is not text",
            "save it as plain UTF-8 text",
        ));
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            problems.push(Problem::error(
                ProblemCode::NotUtf8,
                line_at(error.valid_up_to()),
                format!("the file is not UTF-8 from byte {} on", error.valid_up_to()),
                "save it as UTF-8",
            ));
            ""
        }
    };
    if problems.is_empty() && without_bom(text).trim().is_empty() {
        problems.push(Problem::error(
            ProblemCode::Empty,
            None,
            "the file is empty",
            "write at least a summary, a problem statement and one acceptance criterion",
        ));
    }
    if problems.is_empty() { Ok(text) } else { Err(problems) }
}

/// The text after a byte order mark.
pub(crate) fn without_bom(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}
