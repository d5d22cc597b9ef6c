//! Prints faults the way a compiler does.

use std::fmt::Write as _;

use super::{Problem, Severity};

/// The longest piece of a source line that is quoted, in characters.
const QUOTE_CHARS: usize = 160;

/// One paragraph per fault: place, severity, code, message, the source line, and the advice.
///
/// ```text
/// docs/specs/01213-x.md:4: error[SPEC_INVALID]: the summary has 5 characters, at least 10 are needed
///    |
///  4 | Short
///    |
///    = help: say in a sentence what is asked for
/// ```
///
/// Control characters of the source are escaped, so that a file cannot write to the reader's terminal.
#[must_use]
pub fn render_problems(file: &str, source: &[u8], problems: &[Problem]) -> String {
    let lines: Vec<&[u8]> = if problems.iter().any(|p| p.line.is_some()) {
        source.split(|byte| *byte == b'\n').collect()
    } else {
        Vec::new()
    };
    let mut out = String::new();
    for problem in problems {
        let quoted = problem.line.and_then(|line| {
            let index = usize::try_from(line).ok()?.checked_sub(1)?;
            lines.get(index).map(|bytes| (line, quote(bytes)))
        });
        render_one(&mut out, file, problem, quoted);
    }
    out
}

fn render_one(out: &mut String, file: &str, problem: &Problem, quoted: Option<(u32, String)>) {
    let severity = match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let place = problem.line.map(|line| format!(":{line}")).unwrap_or_default();
    let mut margin = " ".to_owned();
    // Writing to a String cannot fail.
    let _ = writeln!(
        out,
        "{file}{place}: {severity}[{code}]: {message}",
        code = problem.error_code(),
        message = problem.message
    );
    if let Some((line, text)) = quoted {
        let number = line.to_string();
        margin = " ".repeat(number.len());
        let _ = writeln!(out, " {margin} |\n {number} | {text}\n {margin} |");
    }
    let _ = writeln!(out, " {margin} = help: {}\n", problem.advice);
}

fn quote(bytes: &[u8]) -> String {
    // Four bytes per character is the most that UTF-8 needs; the rest of a long line is not looked at.
    let bytes = bytes.get(..QUOTE_CHARS * 4).unwrap_or(bytes);
    let text = String::from_utf8_lossy(bytes);
    let mut quoted = String::new();
    for (count, character) in text.trim_end().chars().enumerate() {
        if count == QUOTE_CHARS {
            quoted.push('…');
            break;
        }
        if character.is_control() && character != '\t' {
            quoted.extend(character.escape_default());
        } else {
            quoted.push(character);
        }
    }
    quoted
}
