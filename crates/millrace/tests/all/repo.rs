//! `millrace repo …` as somebody would type it: no server, nothing run, nothing written.

use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../profile/tests/fixtures").join(name)
}

fn repo(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_millrace");
    std::process::Command::new(program).arg("repo").args(arguments).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Every path with its bytes.
fn state(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            found.push((path.clone(), std::fs::read(&path).unwrap_or_default()));
            if path.is_dir() {
                folders.push(path);
            }
        }
    }
    found.sort();
    found
}

/// S4-D1: what the command prints as YAML is the expected profile.
#[test]
fn s4_d1_the_profile_is_printed_for_people_and_programs() {
    let root = fixture("go-service");
    let path = root.to_str().unwrap();
    let golden = root.join("../../golden/go-service.profile.yaml");
    let yaml = repo(&["profile", path, "--output", "yaml"]);
    assert_eq!(out(&yaml), format!("---\n{}", std::fs::read_to_string(golden).unwrap()));
    assert!(yaml.status.success());
    let json: Value = serde_json::from_str(&out(&repo(&["profile", path, "--output", "json"]))).unwrap();
    assert_eq!(json["package_managers"][0]["name"], "go");
    let human = out(&repo(&["profile", path]));
    assert!(human.contains("golangci-lint run") && human.contains("no CODEOWNERS"), "{human}");
}

/// S4-Q0: a repository that nobody knows how to test is told so.
#[test]
fn s4_q0_a_repository_without_a_profile_ends_with_1_and_advice() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("README.md"), "text").unwrap();
    let refused = repo(&["profile", folder.path().to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        err(&refused).contains("PROFILE_MISSING") && err(&refused).contains("[checks]"),
        "{}",
        err(&refused)
    );
    let nowhere = repo(&["profile", "/nowhere/at/all"]);
    assert_eq!(nowhere.status.code(), Some(3));
    assert!(err(&nowhere).contains("/nowhere/at/all"), "{}", err(&nowhere));
}

/// S4-EX3: a symbol is found, or the nearest is named.
#[test]
fn s4_ex3_a_symbol_is_found_or_the_nearest_named() {
    let root = fixture("python-service");
    let path = root.to_str().unwrap();
    let found = repo(&["index", path, "--symbol", "Cart.total"]);
    assert!(out(&found).contains("src/shop/cart.py:15"), "{}", out(&found));
    let missing = repo(&["index", path, "--symbol", "totals"]);
    assert_eq!(missing.status.code(), Some(5));
    assert!(err(&missing).contains("Nearest: Cart::total"), "{}", err(&missing));
    let all: Value = serde_json::from_str(&out(&repo(&["index", path, "-o", "json"]))).unwrap();
    assert!(all["files"].as_array().unwrap().contains(&Value::from("pyproject.toml")));
}

/// S4-D5: the command shows what a change would do and leaves every byte as it is.
#[test]
fn s4_d5_a_dry_run_shows_the_change_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("shop");
    std::fs::create_dir_all(root.join("src")).unwrap();
    std::fs::write(root.join("go.mod"), "module shop\n").unwrap();
    std::fs::write(root.join("src/a.go"), "package a\n").unwrap();
    let change = folder.path().join("change.yaml");
    let text = "change:\n  edits:\n    - {action: replace, path: src/a.go, find: package a, replace: package b}\n    \
                - {action: write, path: .millrace.toml, content: ''}\n  commands: [git push]\n";
    std::fs::write(&change, text).unwrap();
    let before = state(&root);
    let (path, change) = (root.to_str().unwrap(), change.to_str().unwrap());
    let tried = repo(&["dry-run", path, "--change", change]);
    let human = out(&tried);
    assert!(human.contains("src/a.go") && human.contains("+1 -1"), "{human}");
    assert!(human.contains("defines the checks of every later change"), "{human}");
    assert_eq!(tried.status.code(), Some(1), "a rule forbids it");
    let json: Value =
        serde_json::from_str(&out(&repo(&["dry-run", path, "--change", change, "-o", "json"]))).unwrap();
    assert_eq!(json["files"][1]["path"], "src/a.go");
    std::fs::write(change, "edits:\n  - {action: delete, path: none.go}\n").unwrap();
    let unfit = repo(&["dry-run", path, "--change", change]);
    assert_eq!(unfit.status.code(), Some(1));
    assert!(err(&unfit).contains("`none.go`") && err(&unfit).contains("no such file"), "{}", err(&unfit));
    std::fs::write(change, "commands: []\n").unwrap();
    assert_eq!(repo(&["dry-run", path, "--change", change]).status.code(), Some(3));
    assert_eq!(state(&root), before);
}
