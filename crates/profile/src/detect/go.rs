//! Go modules.

use super::Found;
use crate::profile::Purpose;
use crate::scan::{Scan, join};

pub(super) fn find(scan: &Scan<'_>, found: &mut Found) {
    let workspaces = scan.homes("go.work");
    for home in &workspaces {
        workspace(scan, found, home);
    }
    let of_workspace = |home: &str| workspaces.iter().any(|work| crate::scan::is_below(home, work));
    for home in scan.homes("go.mod") {
        let in_workspace = of_workspace(home) || workspaces.contains(&home);
        module(scan, found, home, in_workspace);
    }
}

fn workspace(scan: &Scan<'_>, found: &mut Found, home: &str) {
    let file = join(home, "go.work");
    let text = scan.text(&file).unwrap_or_default();
    for (word, value) in directives(&text) {
        match word {
            "go" => found.toolchain("go", value, &file),
            "use" => {
                let directory = join(home, value.trim_start_matches("./").trim_end_matches('/'));
                let directory = directory.trim_end_matches("/.").to_owned();
                let manifest = join(&directory, "go.mod");
                if let Some(module) = module_name(scan, &manifest) {
                    found.package(&directory, Some(&module), &manifest);
                }
            }
            _ => {}
        }
    }
}

fn module(scan: &Scan<'_>, found: &mut Found, home: &str, in_workspace: bool) {
    let file = join(home, "go.mod");
    let text = scan.text(&file).unwrap_or_default();
    let needs_nothing = !text.contains("require");
    let lockfile = scan.in_directory(home, "go.sum");
    // A module without dependencies has nothing to pin.
    found.manager("go", home, &file, lockfile.or_else(|| needs_nothing.then(|| file.clone())));
    for (word, value) in directives(&text) {
        if matches!(word, "go" | "toolchain") {
            found.toolchain("go", value.trim_start_matches("go"), &file);
        }
    }
    if !in_workspace || home == "." {
        found.command(Purpose::Setup, "go mod download", home, &file);
    } else {
        found.command(Purpose::Setup, "go work sync", ".", "go.work");
    }
    found.command(Purpose::Build, "go build ./...", home, &file);
    found.command(Purpose::Test, "go test ./...", home, &file);
    found.runner("go test", &file);
    let config = [".golangci.yml", ".golangci.yaml", ".golangci.toml"];
    match scan.first(home, &config) {
        Some(config) => found.command(Purpose::Lint, "golangci-lint run", home, &config),
        None => found.command(Purpose::Lint, "go vet ./...", home, &file),
    }
    found.command(Purpose::Format, "test -z \"$(gofmt -l .)\"", home, &file);
    found.coverage("go test -cover", &file);
    found.command(Purpose::Coverage, "go test -cover ./...", home, &file);
}

fn module_name(scan: &Scan<'_>, file: &str) -> Option<String> {
    let text = scan.text(file)?;
    directives(&text).find(|(word, _)| *word == "module").map(|(_, value)| value.to_owned())
}

/// `word value` of each line; the lines of `word ( … )` have that word too.
fn directives(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut block = "";
    text.lines().filter_map(move |line| {
        let line = line.split("//").next().unwrap_or_default().trim();
        if line == ")" {
            block = "";
            return None;
        }
        if let Some(word) = line.strip_suffix('(') {
            block = word.trim();
            return None;
        }
        match (block, line.split_once(char::is_whitespace)) {
            ("", Some((word, value))) => Some((word, value.trim())),
            ("", None) => None,
            (block, _) => (!line.is_empty()).then_some((block, line)),
        }
    })
}
