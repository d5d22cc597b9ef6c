//! Which task a specification belongs to: every place that names one, and whether they agree.

use super::task_id::{self, Reading};
use super::{ParseSettings, Problem, ProblemCode, placeholders};

/// Keys that hold a task id and nothing else.
const OWN_KEYS: &[&str] = &["vtid", "task_id"];
/// Keys that may hold a task id or the id of another tracker.
const SHARED_KEYS: &[&str] = &["ticket", "id"];
/// The most places that one message names.
const NAMED_PLACES: usize = 10;

/// Every place that names a task id, with its line (`None`: the file name).
pub(crate) struct Claims<'a> {
    settings: &'a ParseSettings,
    readings: Vec<(Option<u32>, Reading)>,
}

impl<'a> Claims<'a> {
    /// Begins with the file name.
    pub(crate) fn new(file_name: &str, settings: &'a ParseSettings) -> Self {
        Self { settings, readings: vec![(None, task_id::read_file_name(file_name, settings))] }
    }

    /// Adds the value of a key, if it is one that holds ids. Outside the head of a text, only keys that
    /// hold nothing else count.
    pub(crate) fn key(&mut self, key: &str, value: &str, line: u32, in_head: bool) {
        let own = OWN_KEYS.contains(&key);
        if own || (in_head && SHARED_KEYS.contains(&key)) {
            let reading = task_id::read_value(value, own, self.settings);
            self.readings.push((Some(line), reading));
        }
    }

    /// Adds the title, if it begins with an id.
    pub(crate) fn title(&mut self, title: &str, line: u32) {
        if let Some((id, _)) = task_id::split_title(title, self.settings) {
            self.readings.push((Some(line), Reading::Id(id)));
        }
    }

    /// The one id that all places agree on; what is wrong with the others goes to `problems`.
    pub(crate) fn settle(self, problems: &mut Vec<Problem>) -> Option<String> {
        let prefix = &self.settings.default_prefix;
        let mut ids: Vec<(Option<u32>, String)> = Vec::new();
        let mut unclear = false;
        for (line, reading) in self.readings {
            match reading {
                Reading::Id(id) => ids.push((line, id)),
                Reading::Absent => {}
                Reading::Foreign(id) => problems.push(foreign(line, &id)),
                Reading::Malformed(id) => {
                    unclear = true;
                    problems.push(malformed(line, &id, prefix));
                }
                Reading::Placeholder(id) => {
                    unclear = true;
                    problems.push(placeholders::problem(line, &id));
                }
            }
        }
        let first = ids.first().map(|(_, id)| id.clone());
        if let Some((line, _)) = ids.iter().find(|(_, id)| Some(id) != first.as_ref()) {
            problems.push(conflict(*line, &ids));
        } else if first.is_none() && !unclear {
            problems.push(missing(prefix));
        }
        first
    }
}

fn foreign(line: Option<u32>, id: &str) -> Problem {
    Problem::warning(
        ProblemCode::TaskIdForeign,
        line,
        format!("`{id}` is not a task id of this repository; it is kept as metadata"),
        "nothing to do if it belongs to another tracker",
    )
}

fn malformed(line: Option<u32>, id: &str, prefix: &str) -> Problem {
    Problem::error(
        ProblemCode::TaskIdInvalid,
        line,
        format!("`{id}` is not a task id"),
        format!("a task id is `{prefix}-` and 4 to 12 digits, such as `{prefix}-01213`"),
    )
}

fn missing(prefix: &str) -> Problem {
    Problem::warning(
        ProblemCode::TaskIdMissing,
        None,
        "no id in the file name or in the text: one will be allocated",
        format!("to choose it yourself, name the file `{prefix}-01213-short-title.md`"),
    )
}

fn conflict(line: Option<u32>, ids: &[(Option<u32>, String)]) -> Problem {
    let named: Vec<String> = ids
        .iter()
        .take(NAMED_PLACES)
        .map(|(line, id)| match line {
            Some(line) => format!("line {line} says {id}"),
            None => format!("the file name says {id}"),
        })
        .collect();
    Problem::error(
        ProblemCode::TaskIdConflict,
        line,
        format!("two different ids for one specification: {}", named.join(", ")),
        "keep the one that is right; a second task needs a file of its own",
    )
}
