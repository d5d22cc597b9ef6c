//! Cargo.

use super::{Found, text_at, value_at};
use crate::profile::Purpose;
use crate::scan::{Scan, join, parent};

const MANIFEST: &str = "Cargo.toml";

pub(super) fn find(scan: &Scan<'_>, found: &mut Found) {
    for home in scan.homes(MANIFEST) {
        let file = join(home, MANIFEST);
        let manifest = scan.toml(&file).unwrap_or_default();
        let lockfile = scan.in_directory(home, "Cargo.lock");
        let locked = if lockfile.is_some() { " --locked" } else { "" };
        let is_workspace = manifest.contains_key("workspace");
        let whole = if is_workspace { " --workspace" } else { "" };
        found.manager("cargo", home, &file, lockfile);
        found.command(Purpose::Setup, format!("cargo fetch{locked}"), home, &file);
        found.command(Purpose::Build, format!("cargo build{whole} --all-targets{locked}"), home, &file);
        let nextest = scan.in_directory(home, ".config/nextest.toml");
        if let Some(config) = &nextest {
            found.runner("cargo-nextest", config);
            found.command(Purpose::Test, format!("cargo nextest run{whole}{locked}"), home, config);
        }
        found.runner("cargo test", &file);
        found.command(Purpose::Test, format!("cargo test{whole}{locked}"), home, &file);
        let lint = format!("cargo clippy{whole} --all-targets{locked} -- -D warnings");
        let clippy = scan.first(home, &["clippy.toml", ".clippy.toml"]);
        found.command(Purpose::Lint, lint, home, clippy.as_deref().unwrap_or(&file));
        let rustfmt = scan.first(home, &["rustfmt.toml", ".rustfmt.toml"]);
        let format = rustfmt.as_deref().unwrap_or(&file);
        found.command(Purpose::Format, "cargo fmt --all -- --check", home, format);
        if let Some(config) = scan.first(home, &["tarpaulin.toml", ".tarpaulin.toml"]) {
            found.coverage("cargo-tarpaulin", &config);
            found.command(Purpose::Coverage, format!("cargo tarpaulin{whole}{locked}"), home, &config);
        }
        toolchain(scan, found, home, &file, &manifest);
        if is_workspace {
            packages(scan, found, home, &manifest);
        }
    }
}

fn toolchain(scan: &Scan<'_>, found: &mut Found, home: &str, file: &str, manifest: &toml::Table) {
    if let Some(path) = scan.in_directory(home, "rust-toolchain.toml") {
        let table = scan.toml(&path).unwrap_or_default();
        found.toolchain("rust", text_at(&table, &["toolchain", "channel"]).unwrap_or_default(), &path);
    } else if let Some(path) = scan.in_directory(home, "rust-toolchain") {
        let text = scan.text(&path).unwrap_or_default();
        let table: toml::Table = text.parse().unwrap_or_default();
        let channel = text_at(&table, &["toolchain", "channel"]);
        found.toolchain("rust", channel.unwrap_or_else(|| text.lines().next().unwrap_or_default()), &path);
    }
    let oldest = text_at(manifest, &["workspace", "package", "rust-version"])
        .or_else(|| text_at(manifest, &["package", "rust-version"]));
    if let Some(version) = oldest {
        found.toolchain("rust", &format!(">={version}"), file);
    }
}

/// Members as the manifest lists them, with `*` for one folder.
fn packages(scan: &Scan<'_>, found: &mut Found, home: &str, manifest: &toml::Table) {
    let list = |key| value_at(manifest, &["workspace", key]).and_then(toml::Value::as_array);
    let texts = |key| -> Vec<String> {
        let values = list(key).into_iter().flatten().filter_map(toml::Value::as_str);
        values.map(|pattern| join(home, pattern.trim_start_matches("./").trim_end_matches('/'))).collect()
    };
    let (members, excluded) = (texts("members"), texts("exclude"));
    for file in scan.named(MANIFEST).filter(|file| parent(file) != home) {
        let directory = parent(file);
        let is_in = |patterns: &[String]| patterns.iter().any(|pattern| covers(pattern, directory));
        if is_in(&members) && !is_in(&excluded) {
            let manifest = scan.toml(file).unwrap_or_default();
            found.package(directory, text_at(&manifest, &["package", "name"]), file);
        }
    }
}

/// Whether a pattern with `*` (part of one folder's name) and `**` (any folders) names a folder.
pub(super) fn covers(pattern: &str, directory: &str) -> bool {
    let (pattern, parts): (Vec<&str>, Vec<&str>) =
        (pattern.split('/').collect(), directory.split('/').collect());
    // A row per pattern part: which beginnings of the folder it reaches. Linear in both, whatever they hold.
    let mut reached = vec![false; parts.len() + 1];
    if let Some(first) = reached.first_mut() {
        *first = true;
    }
    for part in pattern {
        let mut next = vec![false; parts.len() + 1];
        for (at, slot) in next.iter_mut().enumerate() {
            let before = at.checked_sub(1);
            let from = |row: &[bool], index: Option<usize>| index.and_then(|index| row.get(index)).copied();
            *slot = if part == "**" {
                reached.get(..=at).is_some_and(|row| row.contains(&true))
            } else {
                let name = before.and_then(|before| parts.get(before));
                from(&reached, before) == Some(true) && name.is_some_and(|name| part_covers(part, name))
            };
        }
        reached = next;
    }
    reached.last().copied().unwrap_or_default()
}

fn part_covers(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, end)) => {
            name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end)
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_members() {
        for (pattern, directory, covered) in [
            ("crates/*", "crates/a", true),
            ("crates/*", "crates/a/b", false),
            ("crates/*", "crates", false),
            ("crates/x-*", "crates/x-1", true),
            ("a/**", "a/b/c", true),
            ("**", "a", true),
            ("**/web", "a/b/web", true),
            ("a", "a", true),
            ("a", "b", false),
        ] {
            assert_eq!(covers(pattern, directory), covered, "{pattern} {directory}");
        }
    }
}
