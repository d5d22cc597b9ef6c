//! npm, pnpm, yarn and bun.

use serde_json::Value;

use super::Found;
use super::rust::covers;
use crate::profile::Purpose;
use crate::scan::{Scan, is_below, join, parent};

const MANIFEST: &str = "package.json";

const LOCKFILES: [(&str, &str); 6] = [
    ("pnpm-lock.yaml", "pnpm"),
    ("yarn.lock", "yarn"),
    ("package-lock.json", "npm"),
    ("npm-shrinkwrap.json", "npm"),
    ("bun.lock", "bun"),
    ("bun.lockb", "bun"),
];

/// Packages that run tests, and those that measure them.
const RUNNERS: [&str; 7] = ["vitest", "jest", "mocha", "ava", "jasmine", "@playwright/test", "cypress"];
const COVERAGE: [&str; 5] = ["nyc", "c8", "@vitest/coverage-v8", "@vitest/coverage-istanbul", "istanbul"];

/// Names of scripts for a purpose, the best first.
const SCRIPTS: [(Purpose, &[&str]); 5] = [
    (Purpose::Build, &["build", "compile"]),
    (Purpose::Test, &["test:ci", "test", "tests"]),
    (Purpose::Lint, &["lint", "lint:check", "check"]),
    (Purpose::Format, &["format:check", "fmt:check", "prettier:check"]),
    (Purpose::Coverage, &["coverage", "test:coverage", "cover"]),
];

pub(super) fn find(scan: &Scan<'_>, found: &mut Found) {
    for home in scan.homes(MANIFEST) {
        let file = join(home, MANIFEST);
        let manifest = scan.json(&file).unwrap_or_default();
        let (name, lockfile) = manager(scan, home, &manifest);
        let setup = setup(name, lockfile.is_some(), scan.has(&join(home, ".yarnrc.yml")));
        let why = lockfile.clone().unwrap_or_else(|| file.clone());
        found.manager(name, home, &file, lockfile);
        found.command(Purpose::Setup, setup, home, &why);
        for (purpose, names) in SCRIPTS {
            let script = names.iter().find(|script| is_meant(&manifest, script));
            if let Some(script) = script {
                found.command(purpose, format!("{name} run {script}"), home, &file);
            }
        }
        tools(found, &manifest, &file);
        toolchain(scan, found, home, &manifest, &file);
        packages(scan, found, home, &manifest);
    }
}

/// The manager that the manifest names, else the one whose lockfile is there, else npm.
fn manager(scan: &Scan<'_>, home: &str, manifest: &Value) -> (&'static str, Option<String>) {
    let named = manifest.get("packageManager").and_then(Value::as_str).unwrap_or_default();
    let named = named.split('@').next().unwrap_or_default();
    let named = ["npm", "pnpm", "yarn", "bun"].into_iter().find(|manager| *manager == named);
    let locked = |wanted: Option<&str>| {
        let fits = |manager: &str| wanted.is_none_or(|wanted| wanted == manager);
        LOCKFILES
            .iter()
            .filter(|(_, manager)| fits(manager))
            .find_map(|(lockfile, manager)| scan.in_directory(home, lockfile).map(|path| (*manager, path)))
    };
    match (named, locked(named)) {
        (Some(name), lockfile) => (name, lockfile.map(|(_, path)| path)),
        (None, Some((name, path))) => (name, Some(path)),
        (None, None) => ("npm", None),
    }
}

fn setup(manager: &str, is_locked: bool, is_modern_yarn: bool) -> &'static str {
    match (manager, is_locked) {
        ("pnpm", true) => "pnpm install --frozen-lockfile",
        ("pnpm", false) => "pnpm install",
        ("yarn", true) if is_modern_yarn => "yarn install --immutable",
        ("yarn", true) => "yarn install --frozen-lockfile",
        ("yarn", false) => "yarn install",
        ("bun", true) => "bun install --frozen-lockfile",
        ("bun", false) => "bun install",
        (_, true) => "npm ci",
        (_, false) => "npm install",
    }
}

/// Whether a script is there and is not the one that `npm init` leaves.
fn is_meant(manifest: &Value, script: &str) -> bool {
    let text = manifest.get("scripts").and_then(|scripts| scripts.get(script)).and_then(Value::as_str);
    text.is_some_and(|text| !text.trim().is_empty() && !text.contains("no test specified"))
}

fn tools(found: &mut Found, manifest: &Value, file: &str) {
    let needs = |package: &str| {
        ["dependencies", "devDependencies"]
            .iter()
            .any(|kind| manifest.get(kind).is_some_and(|packages| packages.get(package).is_some()))
    };
    let scripts = manifest.get("scripts").and_then(Value::as_object);
    let mut texts = scripts.into_iter().flat_map(|scripts| scripts.values()).filter_map(Value::as_str);
    let uses_node = texts.clone().any(|text| text.contains("node --test"));
    RUNNERS.iter().filter(|name| needs(name)).for_each(|name| found.runner(name, file));
    if uses_node {
        found.runner("node --test", file);
    }
    COVERAGE.iter().filter(|name| needs(name)).for_each(|name| found.coverage(name, file));
    if needs("jest") && texts.any(|text| text.contains("--coverage")) {
        found.coverage("jest", file);
    }
}

fn toolchain(scan: &Scan<'_>, found: &mut Found, home: &str, manifest: &Value, file: &str) {
    if let Some(path) = scan.first(home, &[".nvmrc", ".node-version"]) {
        let text = scan.text(&path).unwrap_or_default();
        found.toolchain("node", text.lines().next().unwrap_or_default(), &path);
    }
    let engine = manifest.get("engines").and_then(|engines| engines.get("node")).and_then(Value::as_str);
    found.toolchain("node", engine.unwrap_or_default(), file);
    let named = manifest.get("packageManager").and_then(Value::as_str).unwrap_or_default();
    if let Some((name, version)) = named.split_once('@') {
        found.toolchain(name, version.split('+').next().unwrap_or_default(), file);
    }
}

fn packages(scan: &Scan<'_>, found: &mut Found, home: &str, manifest: &Value) {
    let workspaces = manifest.get("workspaces");
    let listed = workspaces.and_then(|value| value.as_array().or_else(|| value.get("packages")?.as_array()));
    let mut patterns: Vec<String> =
        listed.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    if let Some(path) = scan.in_directory(home, "pnpm-workspace.yaml") {
        let workspace = scan.yaml(&path).unwrap_or_default();
        let listed = workspace.get("packages").and_then(|packages| packages.as_sequence());
        patterns
            .extend(listed.into_iter().flatten().filter_map(|pattern| pattern.as_str().map(str::to_owned)));
    }
    let at_home = |pattern: &str| join(home, pattern.trim_start_matches("./").trim_end_matches('/'));
    let excluded: Vec<String> =
        patterns.iter().filter_map(|pattern| pattern.strip_prefix('!')).map(at_home).collect();
    let members: Vec<String> =
        patterns.iter().filter(|pattern| !pattern.starts_with('!')).map(|pattern| at_home(pattern)).collect();
    for file in scan.named(MANIFEST) {
        let directory = parent(file);
        let is_in = |patterns: &[String]| patterns.iter().any(|pattern| covers(pattern, directory));
        if directory != home && is_below(file, home) && is_in(&members) && !is_in(&excluded) {
            let manifest = scan.json(file).unwrap_or_default();
            found.package(directory, manifest.get("name").and_then(Value::as_str), file);
            tools(found, &manifest, file);
        }
    }
}
