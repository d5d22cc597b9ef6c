//! Every dependency has a reason that people can read.

use super::Violation;

/// Checks that each entry of `[workspace.dependencies]` has a row in `docs/dependencies.md`: the name in
/// backquotes at the beginning of a table row. The workspace's own crates need none.
///
/// # Panics
/// When the manifest is not one of a workspace.
#[must_use]
pub fn check_documented(manifest: &str, page: &str) -> Vec<Violation> {
    let manifest: toml::Table = manifest.parse().expect("the workspace's manifest");
    let dependencies = manifest["workspace"]["dependencies"].as_table().expect("a table of dependencies");
    let foreign: Vec<&str> = dependencies
        .iter()
        .filter(|(_, entry)| entry.get("path").is_none())
        .map(|(name, _)| name.as_str())
        .collect();
    let rows: Vec<&str> = page.lines().filter_map(row_name).collect();
    let missing = foreign.iter().filter(|name| !rows.contains(name));
    let stale = rows.iter().filter(|name| !foreign.contains(name));
    let missing = missing.map(|name| violation(name, "is a dependency without a reason"));
    missing.chain(stale.map(|name| violation(name, "is no dependency any more"))).collect()
}

fn violation(name: &str, what: &str) -> Violation {
    Violation {
        place: "docs/dependencies.md".to_owned(),
        what: format!("{name} {what}"),
        rule: "every dependency is listed with a reason",
    }
}

/// `name` of a row such as: | `name` | reason |. A row without a reason is none.
fn row_name(line: &str) -> Option<&str> {
    let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
    let reason = rest.strip_suffix('|')?.trim();
    (!reason.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[workspace.dependencies]\ntokio = \"1\"\nown = { path = \"crates/own\" }\n";

    fn found(page: &str) -> Vec<String> {
        check_documented(MANIFEST, page).into_iter().map(|found| found.what).collect()
    }

    #[test]
    fn a_dependency_needs_a_row_with_a_reason() {
        assert_eq!(found("| `tokio` | runs tasks |\n"), [""; 0]);
        assert_eq!(found("tokio is mentioned\n"), ["tokio is a dependency without a reason"]);
        assert_eq!(found("| `tokio` |  |\n"), ["tokio is a dependency without a reason"]);
    }

    #[test]
    fn a_row_without_a_dependency_is_stale() {
        assert_eq!(
            found("| `tokio` | runs tasks |\n| `gone` | was used |\n"),
            ["gone is no dependency any more"]
        );
    }
}
