//! What reaches the terminal: tables and sentences for people, JSON for programs. Results go to standard
//! output, everything else to standard error.

use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::process::ExitCode;

use millrace_rpc::to_json;
use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::{Color, Format, Global};
use crate::exit::{Exit, Failure};

/// How to print, from the flags and the terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    pub(crate) format: Format,
    pub(crate) quiet: bool,
    color: bool,
    /// Whether a person watches standard error, where progress is drawn.
    pub(crate) live: bool,
}

/// How a piece of text is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Bad,
    Waiting,
    Strong,
    Faint,
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        let color = match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        Self {
            format: global.output,
            quiet: global.quiet,
            color,
            live: global.output == Format::Human && !global.quiet && std::io::stderr().is_terminal(),
        }
    }

    /// JSON whatever the flags say, for when they could not be read.
    pub(crate) const fn for_programs() -> Self {
        Self { format: Format::Json, quiet: true, color: false, live: false }
    }

    /// Whether it is for programs: JSON, or the same as YAML.
    pub(crate) fn is_json(&self) -> bool {
        self.format != Format::Human
    }

    /// A message of the API, as JSON for programs; `human` prints it for people.
    pub(crate) fn message<M: prost::Message + prost::Name>(&self, message: &M, human: impl FnOnce(&M)) {
        if self.is_json() { self.json(&readable(to_json(message))) } else { human(message) }
    }

    /// A JSON document on one line, so that streams are lines too; or the same as YAML. Keys keep their order.
    pub(crate) fn json(&self, value: &impl Serialize) {
        let text = if self.format == Format::Yaml {
            serde_norway::to_string(value)
                .map(|text| format!("---\n{}", text.trim_end()))
                .map_err(|e| e.to_string())
        } else {
            serde_json::to_string(value).map_err(|error| error.to_string())
        };
        match text {
            Ok(text) => print(&text),
            // Maps whose keys are no texts: none of ours are.
            Err(error) => say(&format!("error: the result cannot be written: {error}")),
        }
    }

    /// A line of the result.
    pub(crate) fn line(&self, text: impl AsRef<str>) {
        print(text.as_ref());
    }

    /// A remark for people that is not part of the result.
    pub(crate) fn remark(&self, text: impl AsRef<str>) {
        if !self.quiet && !self.is_json() {
            say(text.as_ref());
        }
    }

    /// Text in a tone; plain when there are no colours.
    pub(crate) fn paint(&self, tone: Tone, text: impl AsRef<str>) -> String {
        let text = text.as_ref();
        if !self.color || text.is_empty() {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Waiting => "33",
            Tone::Strong => "1",
            Tone::Faint => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    /// A table with aligned columns. A cell may carry a tone; the last column is not padded.
    pub(crate) fn table<const N: usize>(&self, headers: [&str; N], rows: &[[Cell; N]]) {
        for line in layout(headers, rows, |tone, text| self.paint(tone, text)) {
            print(&line);
        }
    }

    /// Prints why a command failed; the exit code that says so.
    pub(crate) fn failed(&self, failure: &Failure) -> ExitCode {
        if self.is_json() {
            let error = json!({
                "exit_code": failure.exit as u8,
                "code": failure.code.map(|code| code.name()),
                "message": failure.message,
                "advice": failure.advice,
            });
            say(&json!({ "error": error }).to_string());
        } else {
            let code = failure.code.map(|code| format!("[{}]", code.name())).unwrap_or_default();
            say(&format!("error{code}: {}", failure.message));
            if !failure.advice.is_empty() {
                say(&format!("  help: {}", failure.advice));
            }
        }
        failure.exit.into()
    }
}

/// A line on standard output. A reader that has gone has seen enough, as `head` does: the command ends there,
/// and well.
fn print(line: &str) {
    match writeln!(std::io::stdout().lock(), "{line}") {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(Exit::Ok as i32),
        Err(error) => {
            say(&format!("error: standard output: {error}"));
            std::process::exit(Exit::Configuration as i32);
        }
    }
}

/// A line on standard error; where that is closed nobody wants to read it.
fn say(line: &str) {
    let _unread = writeln!(std::io::stderr().lock(), "{line}");
}

/// A table cell.
#[derive(Debug, Clone)]
pub(crate) struct Cell {
    text: String,
    tone: Option<Tone>,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: printable(&text.into()), tone: None }
    }
}

impl Cell {
    pub(crate) fn toned(text: impl Into<String>, tone: Option<Tone>) -> Self {
        Self { tone, ..Self::from(text) }
    }
}

/// Control characters of what others wrote must not reach the reader's terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The same for text of several lines.
pub(crate) fn printable_lines(text: &str) -> impl Iterator<Item = String> {
    text.lines().map(printable)
}

fn layout<const N: usize>(
    headers: [&str; N],
    rows: &[[Cell; N]],
    paint: impl Fn(Tone, &str) -> String,
) -> Vec<String> {
    let mut widths = headers.map(|header| header.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.text.chars().count());
        }
    }
    let line = |cells: &[Cell]| {
        let mut line = String::new();
        for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let padding = if index + 1 == N { 0 } else { width - cell.text.chars().count() + 2 };
            line.push_str(&cell.tone.map_or_else(|| cell.text.clone(), |tone| paint(tone, &cell.text)));
            line.push_str(&" ".repeat(padding));
        }
        line.trim_end().to_owned()
    };
    let headers = headers.map(|header| Cell::toned(header, Some(Tone::Faint)));
    std::iter::once(line(&headers)).chain(rows.iter().map(|row| line(row))).collect()
}

/// An event's data travels as JSON inside a string; programs get it as JSON.
fn readable(mut value: Value) -> Value {
    let Some(events) = value.get_mut("events").and_then(Value::as_array_mut) else { return value };
    for event in events {
        let data = event.get("data").and_then(Value::as_str).and_then(|text| serde_json::from_str(text).ok());
        if let (Some(data), Some(event)) = (data, event.as_object_mut()) {
            event.insert("data".to_owned(), data);
        }
    }
    value
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_characters_and_controls_do_not_pass() {
        let rows =
            [["VTID-1".into(), "größer".into(), "a\u{1b}[31mb".into()], ["V".into(), "x".into(), "c".into()]];
        let lines = layout(["TASK", "T", "LAST"], &rows, |_, text| text.to_owned());
        assert_eq!(lines, ["TASK    T       LAST", "VTID-1  größer  a [31mb", "V       x       c"]);
    }

    #[test]
    fn an_events_data_is_json_not_a_string() {
        let value = readable(json!({ "events": [{ "data": "{\"task\":{\"run\":2}}" }, { "data": "" }] }));
        assert_eq!(value["events"][0]["data"]["task"]["run"], 2);
        assert_eq!(value["events"][1]["data"], "");
    }
}
