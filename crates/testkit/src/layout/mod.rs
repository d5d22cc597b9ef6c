//! The layout rules of this workspace as functions: who may import whom, how long a file may be, what may
//! not be written where. DESIGN section 8. A test runs them on the tree ([`check`]); each is proved to fire
//! by a made-up tree.

mod dependencies;
mod documentation;
mod scan;
mod sources;

pub use dependencies::{Package, check_dependencies};
pub use documentation::check_documented;
pub use sources::{Source, check_sources};

use cargo_metadata::{DependencyKind, MetadataCommand};
use std::fmt;
use std::path::Path;

/// One place that breaks one rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// A package folder, or `file:line`.
    pub place: String,
    /// What is wrong there.
    pub what: String,
    /// The rule that it breaks.
    pub rule: &'static str,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, what, rule } = self;
        write!(formatter, "{place}: {what} (rule: {rule})")
    }
}

/// Every rule on the workspace below `root`; an empty list is a tree in order.
///
/// # Panics
/// When the workspace cannot be read.
#[must_use]
pub fn check(root: &Path) -> Vec<Violation> {
    let packages = packages(root);
    let mut found = check_dependencies(&packages);
    found.extend(check_sources(&packages, &sources(root)));
    let manifest = read(&root.join("Cargo.toml"));
    found.extend(check_documented(&manifest, &read(&root.join("docs/dependencies.md"))));
    found.sort();
    found
}

fn packages(root: &Path) -> Vec<Package> {
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .other_options(vec!["--offline".to_owned()])
        .exec()
        .expect("cargo metadata");
    let read = |package: &cargo_metadata::Package| {
        let folder = package.manifest_path.parent().expect("a folder").as_std_path();
        let shipped = package.dependencies.iter().filter(|found| found.kind != DependencyKind::Development);
        Package {
            name: package.name.to_string(),
            folder: relative(root, folder),
            dependencies: shipped.map(|found| found.name.clone()).collect(),
        }
    };
    metadata.workspace_packages().into_iter().map(read).collect()
}

/// The Rust files that ship: those below `crates/*/src` and `services/*/src`.
fn sources(root: &Path) -> Vec<Source> {
    let files = ["crates", "services"].into_iter().flat_map(|top| walkdir::WalkDir::new(root.join(top)));
    let files = files.map(|entry| entry.expect("read the tree").into_path());
    let shipped = |path: &Path| path.extension().is_some_and(|end| end == "rs") && has_part(path, "src");
    files
        .filter(|path| shipped(path))
        .map(|path| Source { path: relative(root, &path), text: read(&path) })
        .collect()
}

fn has_part(path: &Path, part: &str) -> bool {
    path.components().any(|found| found.as_os_str() == part)
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).expect("a path in the workspace").to_string_lossy().into_owned()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
