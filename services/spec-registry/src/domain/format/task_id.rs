//! Task ids: a prefix, a dash, four or more digits (`VTID-01213`).

use super::ParseSettings;

/// The fewest digits of a task id.
const MIN_DIGITS: usize = 4;
/// The most; a subject's key has 64 characters at most, and nobody has written more than a billion specs.
const MAX_DIGITS: usize = 12;
/// The fewest `X` that make a number a placeholder.
const MIN_PLACEHOLDER: usize = 3;

/// What a piece of text says about the task id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reading {
    /// A task id, in its canonical form.
    Id(String),
    /// It begins like a task id of ours and is none.
    Malformed(String),
    /// The placeholder of a template.
    Placeholder(String),
    /// An id, but not one of ours.
    Foreign(String),
    /// Says nothing.
    Absent,
}

/// The task id in a file name: `VTID-01213-x.md`, or `01213-x.md` with the default prefix.
#[must_use]
pub fn task_id_in_file_name(file_name: &str, settings: &ParseSettings) -> Option<String> {
    match read_file_name(file_name, settings) {
        Reading::Id(id) => Some(id),
        _ => None,
    }
}

/// Reads a file name, with or without its folders.
pub(crate) fn read_file_name(file_name: &str, settings: &ParseSettings) -> Reading {
    let base = file_name.rsplit('/').next().unwrap_or(file_name);
    let stem = base.strip_suffix(".md").unwrap_or(base);
    for prefix in prefixes(settings) {
        let Some(rest) = strip_prefix_ignoring_case(stem, prefix) else {
            continue;
        };
        let number = head(rest, |c| c.is_ascii_digit());
        let placeholder = head(rest, |c| c == 'X' || c == 'x');
        if placeholder.len() >= MIN_PLACEHOLDER && ends_there(rest, placeholder) {
            return Reading::Placeholder(format!("{prefix}-{placeholder}"));
        }
        if number.is_empty() {
            continue;
        }
        return if ends_there(rest, number) {
            with_prefix(prefix, number)
        } else {
            Reading::Malformed(stem.to_owned())
        };
    }
    let number = head(stem, |c| c.is_ascii_digit());
    // `2026-07-31-notes.md` is a date, and `001-x.md` some other numbering: neither is a task id.
    if number.len() < MIN_DIGITS || !ends_there(stem, number) || starts_with_date(stem) {
        return Reading::Absent;
    }
    with_prefix(&settings.default_prefix, number)
}

/// Reads the value of a key that should hold a task id. `ours` says that the key can hold nothing else.
pub(crate) fn read_value(value: &str, ours: bool, settings: &ParseSettings) -> Reading {
    let value = value.trim().trim_start_matches(['`', '[', '*', '"', '\'']);
    let token = head(value, |c| c.is_alphanumeric() || c == '-' || c == '_');
    if token.is_empty() {
        return Reading::Absent;
    }
    if token.chars().all(|c| c.is_ascii_digit()) {
        return with_prefix(&settings.default_prefix, token);
    }
    for prefix in prefixes(settings) {
        let Some(rest) = strip_prefix_ignoring_case(token, prefix) else {
            continue;
        };
        if !rest.is_empty() && rest.chars().all(|c| c.is_ascii_digit()) {
            return with_prefix(prefix, rest);
        }
        if rest.len() >= MIN_PLACEHOLDER && rest.chars().all(|c| c == 'X' || c == 'x') {
            return Reading::Placeholder(token.to_owned());
        }
        return Reading::Malformed(token.to_owned());
    }
    if ours { Reading::Malformed(token.to_owned()) } else { Reading::Foreign(token.to_owned()) }
}

/// The id that a title begins with (`VTID-01213: Orders`), and the rest of the title.
pub(crate) fn split_title<'a>(title: &'a str, settings: &ParseSettings) -> Option<(String, &'a str)> {
    prefixes(settings).find_map(|prefix| {
        let rest = strip_prefix_ignoring_case(title, prefix)?;
        let number = head(rest, |c| c.is_ascii_digit());
        let after = rest.get(number.len()..)?.trim_start();
        let title = after.strip_prefix([':', '-', '–', '—'])?.trim();
        match with_prefix(prefix, number) {
            Reading::Id(id) if !title.is_empty() => Some((id, title)),
            _ => None,
        }
    })
}

/// The prefixes that make a task id in this repository.
pub(crate) fn prefixes(settings: &ParseSettings) -> impl Iterator<Item = &str> {
    std::iter::once(settings.default_prefix.as_str())
        .chain(settings.other_prefixes.iter().map(String::as_str))
}

fn with_prefix(prefix: &str, digits: &str) -> Reading {
    let id = format!("{}-{digits}", prefix.to_ascii_uppercase());
    if (MIN_DIGITS..=MAX_DIGITS).contains(&digits.len()) { Reading::Id(id) } else { Reading::Malformed(id) }
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let start = text.get(..prefix.len())?;
    let rest = text.get(prefix.len()..)?.strip_prefix('-')?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn head(text: &str, keep: impl Fn(char) -> bool) -> &str {
    let end = text.find(|c| !keep(c)).unwrap_or(text.len());
    text.get(..end).unwrap_or_default()
}

fn ends_there(text: &str, head: &str) -> bool {
    text.get(head.len()..).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_', '.', ' ']))
}

fn starts_with_date(stem: &str) -> bool {
    let mut fields = stem.splitn(4, '-');
    let mut next_is = |width: usize| {
        fields.next().is_some_and(|field| {
            let digits = head(field, |c| c.is_ascii_digit());
            digits.len() == width && ends_there(field, digits)
        })
    };
    next_is(4) && next_is(2) && next_is(2)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn name(file: &str) -> Reading {
        read_file_name(file, &ParseSettings::default())
    }

    #[test]
    fn file_names_with_an_id() {
        for (file, id) in [
            ("VTID-01213-orders.md", "VTID-01213"),
            ("docs/specs/01213-orders.md", "VTID-01213"),
            ("vtid-1213.md", "VTID-1213"),
            ("1213_orders.md", "VTID-1213"),
            ("123456-x.md", "VTID-123456"),
        ] {
            assert_eq!(name(file), Reading::Id(id.to_owned()), "{file}");
        }
    }

    #[test]
    fn file_names_without_one() {
        for file in [
            "orders.md",
            "001-web.md",
            "2026-07-31-notes.md",
            "01213orders.md",
            "SPEC-orders.md",
            "vtid-overview.md",
            "",
        ] {
            assert_eq!(name(file), Reading::Absent, "{file}");
        }
    }

    #[test]
    fn file_names_that_try_and_fail() {
        assert!(matches!(name("VTID-12-x.md"), Reading::Malformed(_)));
        assert!(matches!(name("VTID-12345678901234-x.md"), Reading::Malformed(_)));
        assert!(matches!(name("VTID-XXXXX-x.md"), Reading::Placeholder(_)));
    }

    #[test]
    fn values_of_keys() {
        let settings = ParseSettings::default();
        let read = |value, ours| read_value(value, ours, &settings);
        let id = Reading::Id("VTID-01213".to_owned());
        assert_eq!(read("`VTID-01213`", true), id);
        assert_eq!(read("[vtid-01213](https://example.org)", false), id);
        assert_eq!(read("01213", false), id);
        assert_eq!(read("BACK-560", false), Reading::Foreign("BACK-560".to_owned()));
        assert!(matches!(read("BACK-560", true), Reading::Malformed(_)));
        assert!(matches!(read("VTID-12", false), Reading::Malformed(_)));
        assert!(matches!(read("VTID-XXXXX", true), Reading::Placeholder(_)));
        assert_eq!(read("  ", true), Reading::Absent);
    }

    #[test]
    fn a_title_may_begin_with_the_id() {
        let settings = ParseSettings::default();
        assert_eq!(split_title("VTID-01213: Orders", &settings), Some(("VTID-01213".to_owned(), "Orders")));
        assert_eq!(split_title("VTID-01213 follow-up", &settings), None);
    }
}
