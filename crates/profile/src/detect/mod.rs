//! From files to a profile. One file per family of tools; none of them runs anything.

mod ci;
mod gaps;
mod go;
mod jvm;
mod languages;
mod native;
mod node;
mod others;
mod owners;
mod python;
mod rust;

use std::io;
use std::path::Path;

use crate::profile::{Command, DiffLimit, Finding, Package, PackageManager, Profile, Purpose, Toolchain};
use crate::scan::Scan;
use crate::settings::{SETTINGS_FILE, Settings};
use crate::tree::{Folder, Tree};

/// The shape of the profile that is written here.
const VERSION: u32 = 1;
/// Packages, commands and other findings of one kind, at most.
const MAX_FINDINGS: usize = 500;

/// The profile of a folder in which somebody works: what `.gitignore` excludes does not count.
///
/// # Errors
/// `root` is no folder that can be read. What is in it never is an error: it becomes a gap of the profile.
pub fn detect(root: &Path) -> io::Result<Profile> {
    Ok(detect_in(&Folder::working_copy(root)?))
}

/// The profile of a tree.
#[must_use]
pub fn detect_in(tree: &dyn Tree) -> Profile {
    let scan = Scan::new(tree);
    let settings = Settings::of(tree);
    let mut found = Found::default();
    // What people wrote down as their commands comes before what a manifest suggests.
    native::task_runners(&scan, &mut found);
    rust::find(&scan, &mut found);
    node::find(&scan, &mut found);
    python::find(&scan, &mut found);
    go::find(&scan, &mut found);
    jvm::find(&scan, &mut found);
    others::find(&scan, &mut found);
    native::find(&scan, &mut found);
    found.tidy();
    let mut profile = Profile {
        version: VERSION,
        languages: languages::find(&scan),
        package_managers: found.managers,
        toolchains: found.toolchains,
        packages: found.packages,
        commands: found.commands,
        test_runners: found.runners,
        coverage_tools: found.coverage,
        ci: ci::find(&scan),
        owners: owners::find(&scan),
        diff_limit: DiffLimit::default(),
        settings: Settings::default(),
        missing: Vec::new(),
    };
    let problem = match settings {
        Ok(settings) => {
            profile.diff_limit = limit(&settings);
            profile.settings = settings;
            None
        }
        Err(error) => Some(error),
    };
    let is_cut = tree.is_cut() || scan.is_exhausted() || found.is_cut;
    profile.missing = gaps::find(&profile, &scan, problem, is_cut);
    profile
}

fn limit(settings: &Settings) -> DiffLimit {
    let usual = DiffLimit::default();
    let is_set = settings.diff_files.is_some() || settings.diff_lines.is_some();
    DiffLimit {
        files: settings.diff_files.unwrap_or(usual.files),
        lines: settings.diff_lines.unwrap_or(usual.lines),
        file: is_set.then(|| SETTINGS_FILE.to_owned()),
    }
}

/// What the families have found so far.
#[derive(Debug, Default)]
struct Found {
    managers: Vec<PackageManager>,
    toolchains: Vec<Toolchain>,
    packages: Vec<Package>,
    commands: Vec<Command>,
    runners: Vec<Finding>,
    coverage: Vec<Finding>,
    is_cut: bool,
}

impl Found {
    fn manager(&mut self, name: &str, directory: &str, file: &str, lockfile: Option<String>) {
        let (name, directory, file) = (name.to_owned(), directory.to_owned(), file.to_owned());
        self.managers.push(PackageManager { name, directory, file, lockfile });
    }

    fn toolchain(&mut self, name: &str, version: &str, file: &str) {
        let version = one_line(version);
        if !version.is_empty() {
            self.toolchains.push(Toolchain { name: name.to_owned(), version, file: file.to_owned() });
        }
    }

    fn package(&mut self, directory: &str, name: Option<&str>, file: &str) {
        let name = name.map(one_line).filter(|name| !name.is_empty());
        let name = name.unwrap_or_else(|| crate::scan::base(directory).to_owned());
        self.packages.push(Package { directory: directory.to_owned(), name, file: file.to_owned() });
    }

    fn command(&mut self, purpose: Purpose, command: impl Into<String>, directory: &str, file: &str) {
        let (directory, file) = (directory.to_owned(), file.to_owned());
        self.commands.push(Command { purpose, command: command.into(), directory, file });
    }

    fn runner(&mut self, name: &str, file: &str) {
        self.runners.push(Finding { name: name.to_owned(), file: file.to_owned() });
    }

    fn coverage(&mut self, name: &str, file: &str) {
        self.coverage.push(Finding { name: name.to_owned(), file: file.to_owned() });
    }

    /// Sorts what has no order of its own, drops what is said twice, and keeps the bounds.
    fn tidy(&mut self) {
        self.managers.sort_by(|one, other| (&one.directory, &one.name).cmp(&(&other.directory, &other.name)));
        self.toolchains.sort_by(|one, other| (&one.name, &one.file).cmp(&(&other.name, &other.file)));
        self.packages.sort();
        self.runners.sort();
        self.coverage.sort();
        let mut seen = std::collections::BTreeSet::new();
        self.commands
            .retain(|found| seen.insert((found.purpose, found.command.clone(), found.directory.clone())));
        self.is_cut = bound(&mut self.managers)
            | bound(&mut self.toolchains)
            | bound(&mut self.packages)
            | bound(&mut self.commands)
            | bound(&mut self.runners)
            | bound(&mut self.coverage);
    }
}

fn bound<T: PartialEq>(found: &mut Vec<T>) -> bool {
    found.dedup();
    let is_cut = found.len() > MAX_FINDINGS;
    found.truncate(MAX_FINDINGS);
    is_cut
}

/// A short text of a file on one line, without control characters.
fn one_line(text: &str) -> String {
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect()
}

/// A text inside nested tables.
fn text_at<'a>(table: &'a toml::Table, keys: &[&str]) -> Option<&'a str> {
    value_at(table, keys)?.as_str()
}

/// A value inside nested tables.
fn value_at<'a>(table: &'a toml::Table, keys: &[&str]) -> Option<&'a toml::Value> {
    let (first, rest) = keys.split_first()?;
    rest.iter().try_fold(table.get(*first)?, |value, key| value.get(key))
}
