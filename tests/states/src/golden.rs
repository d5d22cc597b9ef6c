//! The table as text that a person can review: by state, the inputs that come to the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use crate::facts::{Label, tally};
use crate::matrix::{Outcome, Table};

/// Width of a line.
const WIDTH: usize = 118;

/// The table as text.
pub fn text(service: &str, table: &Table) -> String {
    let mut text = String::new();
    let cells: Vec<&Outcome> =
        table.rows.iter().flat_map(|(_, row)| row.iter().map(|cell| &cell.1)).collect();
    let kinds = tally(cells.iter().map(|outcome| kind(outcome)));
    let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let states = table.rows.len();
    writeln!(text, "{service}: {states} states, {} cells: {}", cells.len(), kinds.join(", ")).unwrap();
    let handled = table.rows.first().map_or(&[] as &[_], |(_, row)| row.as_slice());
    let all: Vec<&Label> = table.ignored.iter().chain(handled.iter().map(|cell| &cell.0)).collect();
    list(&mut text, "ignored by the rim", &names(table.ignored.iter(), &all));
    for (state, row) in &table.rows {
        writeln!(text, "\n{state}").unwrap();
        let mut groups: BTreeMap<String, Vec<&Label>> = BTreeMap::new();
        for (label, outcome, owed) in row {
            let owes = if owed.is_empty() { String::new() } else { format!(", owes {}", owed.join(" ")) };
            groups.entry(format!("{}{owes}", outcome_text(outcome))).or_default().push(label);
        }
        let all: Vec<&Label> = row.iter().map(|cell| &cell.0).collect();
        // Nearly everything is refused or about another key; what is not is worth reading.
        let most = groups.iter().max_by_key(|(_, labels)| labels.len()).map(|(outcome, _)| outcome.clone());
        for (outcome, labels) in groups {
            let is_rest = Some(&outcome) == most.as_ref() && labels.len() * 3 > all.len();
            let names = if is_rest {
                vec![format!("everything else, {} inputs", labels.len())]
            } else {
                names(labels.into_iter(), &all)
            };
            list(&mut text, &outcome, &names);
        }
    }
    text
}

/// Compares with the file, or writes it where `MILLRACE_REGENERATE` is set.
pub fn compare(service: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(format!("{service}.txt"));
    if std::env::var_os("MILLRACE_REGENERATE").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = golden.lines().zip(text.lines()).position(|(one, other)| one != other);
    if let Some(line) = differs {
        let (one, other) = (golden.lines().nth(line), text.lines().nth(line));
        panic!(
            "{}: line {} is\n{one:?}\nand should be\n{other:?}\nReview what changed, then write it anew with \
             MILLRACE_REGENERATE=1.",
            path.display(),
            line + 1
        );
    }
    assert_eq!(golden.len(), text.len(), "{}: one of the two is longer", path.display());
}

fn kind(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Appended(_) => "appended",
        Outcome::Recorded(_) => "refused and recorded",
        Outcome::Refused => "refused",
        Outcome::Held => "held",
        Outcome::NoOp(_) => "no-ops",
        Outcome::Elsewhere => "of another key",
    }
}

fn outcome_text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Appended(event) => format!("=> {event}"),
        Outcome::Recorded(event) => format!("refused, {event}"),
        Outcome::Refused => "refused".to_owned(),
        Outcome::Held => "held".to_owned(),
        Outcome::NoOp(reason) => format!("no-op ({reason})"),
        Outcome::Elsewhere => "of another key".to_owned(),
    }
}

/// Each event once: with `*` where it is all of its variants, else with those that it is; a place with `*` is
/// all of the variants about it.
fn names<'a>(labels: impl Iterator<Item = &'a Label>, all: &[&Label]) -> Vec<String> {
    let mut groups: Vec<Vec<&Label>> = Vec::new();
    for label in labels {
        match groups.last_mut() {
            Some(group) if group[0].name == label.name => group.push(label),
            _ => groups.push(vec![label]),
        }
    }
    let shown = groups.into_iter().map(|group| {
        let name = &group[0].name;
        let of_name: Vec<&&Label> = all.iter().filter(|label| label.name == *name).collect();
        if group.len() == of_name.len() {
            return format!("{name}*");
        }
        let mut parts: Vec<String> = Vec::new();
        for label in &group {
            let at_place = |labels: &[&Label]| labels.iter().filter(|l| l.place() == label.place()).count();
            let existing = of_name.iter().filter(|found| found.place() == label.place()).count();
            let full = label.to_string();
            let rest = full.split_once(' ').map_or("", |(_, rest)| rest);
            let part = if existing > 1 && at_place(&group) == existing {
                format!("{}.{}*", label.run, label.attempt)
            } else {
                rest.to_owned()
            };
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        format!("{name}{{{}}}", parts.join(", "))
    });
    shown.collect()
}

fn list(text: &mut String, title: &str, items: &[String]) {
    let mut line = format!("  {title}:");
    for item in items {
        if line.len() + item.len() + 1 > WIDTH && line.trim().len() > 1 {
            text.push_str(&line);
            text.push('\n');
            line = "     ".to_owned();
        }
        line.push(' ');
        line.push_str(item);
    }
    text.push_str(&line);
    text.push('\n');
}
