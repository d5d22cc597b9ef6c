//! What a repository lacks, with what to do about it.

use crate::profile::{Gap, GapKind, Profile, Purpose};
use crate::scan::{Scan, base, parent};
use crate::settings::SettingsError;

/// Sources that are opened to see whether they hold tests.
const MAX_OPENED: usize = 2_000;

pub(super) fn find(
    profile: &Profile,
    scan: &Scan<'_>,
    settings: Option<SettingsError>,
    is_cut: bool,
) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut gap = |what, message: String, advice: &str| {
        gaps.push(Gap { what, message, advice: advice.to_owned() });
    };
    if let Some(error) = settings {
        gap(GapKind::Settings, error.to_string(), "mend the file and commit it");
    }
    let has = |purpose| profile.commands().of(purpose).next().is_some();
    if !has_tests(scan) {
        gap(
            GapKind::Tests,
            "no file of tests was found".to_owned(),
            "add a test that fails when the change is wrong",
        );
    }
    if !has(Purpose::Test) && profile.settings.checks.is_empty() {
        let message = "nothing says how the tests are run".to_owned();
        gap(GapKind::TestCommand, message, "add a check to .millrace.toml: [checks], then unit = \"…\"");
    }
    for manager in profile.package_managers.iter().filter(|manager| manager.lockfile.is_none()) {
        let message = format!("{}: {} pins no versions", manager.file, manager.name);
        gap(GapKind::Lockfile, message, "commit the lockfile, so that every run gets the same dependencies");
    }
    if !has(Purpose::Coverage) && profile.coverage_tools.is_empty() {
        gap(
            GapKind::Coverage,
            "nothing measures what the tests reach".to_owned(),
            "add a coverage command under [commands] in .millrace.toml",
        );
    }
    if !has(Purpose::Lint) {
        gap(
            GapKind::Lint,
            "no linter is configured".to_owned(),
            "add a lint command under [commands] in .millrace.toml",
        );
    }
    if profile.ci.is_empty() {
        gap(
            GapKind::Ci,
            "no continuous integration was found".to_owned(),
            "none is needed for Millrace; its checks run in its own sandbox",
        );
    }
    if profile.owners.is_none() {
        gap(
            GapKind::Owners,
            "no CODEOWNERS was found".to_owned(),
            "add one, so that a review knows whom to ask",
        );
    }
    if is_cut {
        gap(
            GapKind::Bounds,
            "the repository is larger than what is looked at; the rest was left out".to_owned(),
            "name commands and checks in .millrace.toml",
        );
    }
    gaps
}

fn has_tests(scan: &Scan<'_>) -> bool {
    let own = || scan.own().iter().map(|entry| entry.path.as_str());
    own().any(is_test_file) || {
        // Rust keeps small tests beside the code.
        let sources = own().filter(|path| path.ends_with(".rs")).take(MAX_OPENED);
        sources
            .filter_map(|path| scan.text(path))
            .any(|text| text.contains("#[test]") || text.contains("::test]"))
    }
}

/// Whether a file is one of tests, by the habits of its language.
fn is_test_file(path: &str) -> bool {
    let name = base(path);
    let Some((stem, ending)) = name.rsplit_once('.') else { return false };
    let in_folder = |names: &[&str]| parent(path).split('/').any(|part| names.contains(&part));
    match ending {
        "rs" => in_folder(&["tests"]),
        "py" => stem.starts_with("test_") || stem.ends_with("_test") || (stem == "tests"),
        "js" | "mjs" | "cjs" | "jsx" | "ts" | "tsx" | "mts" => {
            stem.ends_with(".test") || stem.ends_with(".spec") || in_folder(&["__tests__", "test", "tests"])
        }
        "go" => stem.ends_with("_test"),
        "java" | "kt" | "scala" | "groovy" => {
            path.contains("src/test/") || stem.ends_with("Test") || stem.ends_with("Tests")
        }
        "rb" => stem.ends_with("_spec") || stem.ends_with("_test") || stem.starts_with("test_"),
        "cs" | "php" => stem.ends_with("Test") || stem.ends_with("Tests"),
        "c" | "cc" | "cpp" => in_folder(&["test", "tests"]) || stem.ends_with("_test"),
        "bats" => true,
        "sh" => in_folder(&["test", "tests"]) || matches!(stem, "test" | "tests" | "run_tests" | "run-tests"),
        _ => false,
    }
}
