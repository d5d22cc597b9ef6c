//! What is to be changed, and what was.

use serde_json::Value;

use super::{Flaw, invalid, list, text};

/// A list of `{path, action}`, every path once and inside the repository.
pub(super) fn file_map(bytes: &[u8]) -> Result<(), Flaw> {
    entries(bytes, "action", &["create", "modify", "delete"])
}

/// A list of `{path, status}` as git gives it.
pub(super) fn modified_files(bytes: &[u8]) -> Result<(), Flaw> {
    entries(bytes, "status", &["A", "M", "D", "T"])
}

fn entries(bytes: &[u8], field: &str, allowed: &[&str]) -> Result<(), Flaw> {
    let mut seen = std::collections::BTreeSet::new();
    for (number, entry) in list(bytes)?.iter().enumerate() {
        let named = |field: &str| entry.get(field).and_then(Value::as_str);
        let at = number + 1;
        let path = named("path").filter(|path| is_inside(path));
        let path = path.ok_or_else(|| invalid(format!("entry {at} has no `path` inside the repository")))?;
        if !named(field).is_some_and(|word| allowed.contains(&word)) {
            let allowed = allowed.join(", ");
            return Err(invalid(format!("entry {at}: `{field}` must be one of {allowed}")));
        }
        if !seen.insert(path.to_owned()) {
            return Err(invalid(format!("entry {at}: `{path}` stands twice")));
        }
    }
    Ok(())
}

/// Relative, and without a part that leads elsewhere.
fn is_inside(path: &str) -> bool {
    path.split('/').all(|part| !matches!(part, "" | "." | "..") && !part.eq_ignore_ascii_case(".git"))
}

/// Bytes outside of UTF-8 may stand in a patch of a file that has them; its frame is ASCII.
pub(super) fn patch(bytes: &[u8]) -> Result<(), Flaw> {
    let lossy = String::from_utf8_lossy(bytes);
    if text(bytes).is_err() && lossy.trim().is_empty() {
        return Err(Flaw::Empty);
    }
    if !lossy.starts_with("diff --git ") {
        return Err(invalid("it does not begin with `diff --git`"));
    }
    let says = |start: &str| lossy.lines().any(|line| line.starts_with(start));
    let is_change = ["@@ ", "GIT binary patch", "deleted file mode ", "new file mode ", "old mode "];
    if is_change.into_iter().any(says) { Ok(()) } else { Err(invalid("it changes nothing")) }
}
