//! `CODEOWNERS`.

use super::one_line;
use crate::profile::{OwnerRule, Owners};
use crate::scan::Scan;

/// Where the forges look, in their order.
pub(crate) const PLACES: [&str; 4] =
    [".github/CODEOWNERS", "CODEOWNERS", ".gitlab/CODEOWNERS", "docs/CODEOWNERS"];
const MAX_RULES: usize = 500;

/// The rules of the first file that is there.
pub(super) fn find(scan: &Scan<'_>) -> Option<Owners> {
    let file = PLACES.into_iter().find(|path| scan.has(path))?;
    let text = scan.text(file).unwrap_or_default();
    Some(Owners { file: file.to_owned(), rules: text.lines().filter_map(rule).take(MAX_RULES).collect() })
}

fn rule(line: &str) -> Option<OwnerRule> {
    let line = line.trim();
    // A section of GitLab: `[Documentation]`, `^[Optional]`.
    if line.is_empty() || line.starts_with(['#', '[', '^']) {
        return None;
    }
    let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#')).map(one_line);
    Some(OwnerRule { pattern: words.next()?, owners: words.collect() })
}
