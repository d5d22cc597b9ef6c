//! Reading for the profile, within a budget: which manifests there are, and their texts.

use std::cell::Cell;
use std::collections::BTreeSet;

use crate::tree::{Entry, MAX_FILE_BYTES, Tree};

/// Bytes that the profile reads of one repository.
const READ_BUDGET: u64 = 64 * 1024 * 1024;

/// Folders whose manifests are not those of the repository itself.
const NOT_OWN: &[&str] = &[
    "examples",
    "example",
    "fixtures",
    "__fixtures__",
    "testdata",
    "test-data",
    "node_modules",
    "site-packages",
    "third_party",
    "vendor",
];

/// A tree, read within a budget.
pub(crate) struct Scan<'a> {
    tree: &'a dyn Tree,
    /// Files of the repository itself.
    own: Vec<&'a Entry>,
    left: Cell<u64>,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(tree: &'a dyn Tree) -> Self {
        let own = tree.files().iter().filter(|entry| is_own(&entry.path)).collect();
        Self { tree, own, left: Cell::new(READ_BUDGET) }
    }

    /// The files that are the repository's own: no examples, nothing copied in.
    pub(crate) fn own(&self) -> &[&'a Entry] {
        &self.own
    }

    /// Whether something was not read because the budget was spent.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.left.get() == 0
    }

    /// A file's text; bytes that are no UTF-8 are replaced. `None`: not there, too long, or the budget is spent.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        let limit = MAX_FILE_BYTES.min(self.left.get());
        let size = self.entry(path)?.size;
        if size > limit {
            if size <= MAX_FILE_BYTES {
                self.left.set(0);
            }
            return None;
        }
        let bytes = self.tree.read(path, limit)?;
        self.left.set(self.left.get().saturating_sub(bytes.len() as u64));
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    pub(crate) fn toml(&self, path: &str) -> Option<toml::Table> {
        self.text(path)?.parse().ok()
    }

    pub(crate) fn json(&self, path: &str) -> Option<serde_json::Value> {
        serde_json::from_str(&self.text(path)?).ok()
    }

    pub(crate) fn yaml(&self, path: &str) -> Option<serde_norway::Value> {
        serde_norway::from_str(&self.text(path)?).ok()
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.entry(path).is_some()
    }

    /// `name` in `directory`, if it is there.
    pub(crate) fn in_directory(&self, directory: &str, name: &str) -> Option<String> {
        let path = join(directory, name);
        self.has(&path).then_some(path)
    }

    /// The first of these names that is in `directory`.
    pub(crate) fn first(&self, directory: &str, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.in_directory(directory, name))
    }

    /// Own files with that name.
    pub(crate) fn named(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.own.iter().map(|entry| entry.path.as_str()).filter(move |path| base(path) == name)
    }

    /// Own files with that ending, such as `.sln`.
    pub(crate) fn ending(&self, ending: &str) -> impl Iterator<Item = &'a str> {
        self.own.iter().map(|entry| entry.path.as_str()).filter(move |path| path.ends_with(ending))
    }

    /// Own files below a folder.
    pub(crate) fn below(&self, directory: &str) -> impl Iterator<Item = &'a str> {
        let own = self.own.iter().map(|entry| entry.path.as_str());
        own.filter(move |path| is_below(path, directory))
    }

    /// The folders that hold a file of that name and lie below no other that does: where a tool is at home.
    pub(crate) fn homes(&self, name: &str) -> Vec<&'a str> {
        topmost(self.named(name).map(parent).collect())
    }

    fn entry(&self, path: &str) -> Option<&Entry> {
        let files = self.tree.files();
        files.binary_search_by(|entry| entry.path.as_str().cmp(path)).ok().and_then(|at| files.get(at))
    }
}

/// Of some folders those that lie below no other of them.
pub(crate) fn topmost(directories: BTreeSet<&str>) -> Vec<&str> {
    let is_top = |&&directory: &&&str| {
        !directories.iter().any(|&other| other != directory && (other == "." || is_below(directory, other)))
    };
    directories.iter().filter(is_top).copied().collect()
}

fn is_own(path: &str) -> bool {
    !parent(path).split('/').any(|part| NOT_OWN.contains(&part))
}

/// `.` is above everything.
pub(crate) fn is_below(path: &str, directory: &str) -> bool {
    directory == "." || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

/// The folder of a file; `.` is the root.
pub(crate) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or(".", |(directory, _)| directory)
}

/// The name of a file in its folder.
pub(crate) fn base(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

pub(crate) fn join(directory: &str, name: &str) -> String {
    if directory == "." { name.to_owned() } else { format!("{directory}/{name}") }
}
