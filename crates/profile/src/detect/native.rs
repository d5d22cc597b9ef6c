//! make and just, whose targets are what people chose to run; cmake; and repositories of shell scripts alone.

use super::Found;
use crate::profile::Purpose;
use crate::scan::{Scan, base, join, parent};

const MAKEFILES: [&str; 3] = ["GNUmakefile", "makefile", "Makefile"];
const JUSTFILES: [&str; 3] = ["justfile", "Justfile", ".justfile"];

/// Names of targets for a purpose, the best first.
const TARGETS: [(Purpose, &[&str]); 6] = [
    (Purpose::Setup, &["setup", "bootstrap", "deps", "install-deps"]),
    (Purpose::Build, &["build", "compile", "all"]),
    (Purpose::Lint, &["lint", "vet"]),
    (Purpose::Format, &["fmt-check", "format-check", "check-format", "check-fmt"]),
    (Purpose::Test, &["test", "tests", "check"]),
    (Purpose::Coverage, &["coverage", "cover"]),
];

/// Commands of the root's Makefile and justfile.
pub(super) fn task_runners(scan: &Scan<'_>, found: &mut Found) {
    for (program, names) in [("make", MAKEFILES), ("just", JUSTFILES)] {
        let Some(file) = scan.first(".", &names) else { continue };
        let text = scan.text(&file).unwrap_or_default();
        let targets = targets(&text);
        for (purpose, names) in TARGETS {
            if let Some(target) = names.iter().find(|name| targets.contains(*name)) {
                found.command(purpose, format!("{program} {target}"), ".", &file);
                if purpose == Purpose::Test {
                    found.runner(program, &file);
                }
                if purpose == Purpose::Coverage {
                    found.coverage(program, &file);
                }
            }
        }
    }
}

/// The names before a colon at the start of a line; no assignments, no recipes.
fn targets(text: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with(['\t', ' ', '#', '.', '@'])) {
        let Some((names, rest)) = line.split_once(':') else { continue };
        if !rest.starts_with('=') && !rest.starts_with(":=") && !names.contains(['=', '$']) {
            // A recipe of just may have parameters behind its name; several targets of make may share a rule.
            found.extend(names.split_whitespace());
        }
    }
    found
}

pub(super) fn find(scan: &Scan<'_>, found: &mut Found) {
    for home in scan.homes("CMakeLists.txt") {
        cmake(scan, found, home);
    }
    shell(scan, found);
}

fn cmake(scan: &Scan<'_>, found: &mut Found, home: &str) {
    let file = join(home, "CMakeLists.txt");
    let text = scan.text(&file).unwrap_or_default();
    found.command(Purpose::Build, "cmake -S . -B build && cmake --build build", home, &file);
    if text.contains("enable_testing") || text.contains("add_test") || text.contains("include(CTest)") {
        found.runner("ctest", &file);
        let build = "cmake -S . -B build && cmake --build build";
        found.command(
            Purpose::Test,
            format!("{build} && ctest --test-dir build --output-on-failure"),
            home,
            &file,
        );
    }
    if let Some(config) = scan.in_directory(home, ".clang-format") {
        let sources = "git ls-files '*.c' '*.h' '*.cc' '*.cpp' '*.hpp'";
        let command = format!("{sources} | xargs clang-format --dry-run -Werror");
        found.command(Purpose::Format, command, home, &config);
    }
}

fn shell(scan: &Scan<'_>, found: &mut Found) {
    if let Some(bats) = scan.ending(".bats").next() {
        found.runner("bats", bats);
        found.command(Purpose::Test, format!("bats {}", parent(bats)), ".", bats);
    }
    if let Some(config) = scan.in_directory(".", ".shellcheckrc") {
        found.command(Purpose::Lint, "git ls-files '*.sh' | xargs shellcheck", ".", &config);
    }
    let is_test = |path: &&str| {
        let stem = base(path).trim_end_matches(".sh");
        let in_place = matches!(parent(path), "." | "test" | "tests" | "scripts" | "ci");
        in_place
            && path.ends_with(".sh")
            && matches!(stem, "test" | "tests" | "run_tests" | "run-tests" | "check")
    };
    if let Some(script) = scan.ending(".sh").find(is_test) {
        found.runner("sh", script);
        found.command(Purpose::Test, format!("sh {script}"), ".", script);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_neither_assignments_nor_recipes() {
        let text = "A := 1\nB ::= 2\nall: build\nbuild test: x\n\techo a: b\n.PHONY: all\n# c: d\n$(D): e\n";
        assert_eq!(targets(text), ["all", "build", "test"]);
        assert_eq!(targets("test filter='': build\n  cargo test\n"), [""; 0]);
        assert_eq!(targets("lint *flags:\n  x\n"), ["lint", "*flags"]);
    }
}
