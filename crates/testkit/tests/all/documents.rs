//! Documents that name tests name tests that exist.

use std::collections::BTreeMap;
use std::path::Path;

use millrace_testkit::workspace_root;

/// Names of all test functions, by package.
fn tests() -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let root = workspace_root();
    for parent in ["crates", "services", "tests"] {
        for entry in std::fs::read_dir(root.join(parent)).unwrap().flatten() {
            let Ok(manifest) = std::fs::read_to_string(entry.path().join("Cargo.toml")) else { continue };
            let name = manifest.lines().find_map(|line| line.strip_prefix("name = \"")).unwrap();
            collect(&entry.path(), found.entry(name.trim_end_matches('"').to_owned()).or_default());
        }
    }
    found
}

fn collect(folder: &Path, into: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let functions = text.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next());
            into.extend(functions.map(|name| name.trim().to_owned()));
            // Contract suites name their cases in a macro.
            into.extend(
                text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .filter(|word| word.len() > 20)
                    .map(str::to_owned),
            );
        }
    }
}

/// `package::test` in backticks.
fn named(text: &str) -> Vec<(String, String)> {
    text.split('`')
        .filter_map(|quoted| quoted.split_once("::"))
        .filter(|(package, _)| package.starts_with("millrace"))
        .map(|(package, test)| (package.to_owned(), test.rsplit("::").next().unwrap().to_owned()))
        .collect()
}

#[test]
fn every_named_test_exists() {
    let tests = tests();
    for document in ["ARCHITECTURE.md", "docs/requirements.md"] {
        let text = std::fs::read_to_string(workspace_root().join(document)).unwrap();
        let named = named(&text);
        assert!(named.len() > 5, "{document} names hardly any test");
        for (package, test) in named {
            let known =
                tests.get(&package).unwrap_or_else(|| panic!("{document} names the package {package}"));
            assert!(known.contains(&test), "{document}: {package} has no test {test}");
        }
    }
}
