//! New files that git would not take into a commit.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use super::apply::Overlay;
use crate::scan::{join, parent};

/// The `.gitignore` files of a tree after its edits, read when they are needed.
pub(super) struct Excludes<'a> {
    overlay: &'a Overlay<'a>,
    read: RefCell<BTreeMap<String, Option<Gitignore>>>,
}

impl<'a> Excludes<'a> {
    pub(super) fn new(overlay: &'a Overlay<'a>) -> Self {
        Self { overlay, read: RefCell::new(BTreeMap::new()) }
    }

    /// Whether a path, or a folder above it, is excluded: what lies in an excluded folder cannot be let in again.
    pub(super) fn holds(&self, path: &str) -> bool {
        let folders =
            path.match_indices('/').filter_map(|(at, _)| path.get(..at)).map(|folder| (folder, true));
        folders.chain([(path, false)]).any(|(path, is_folder)| self.excludes(path, is_folder))
    }

    /// The file nearest to the path decides.
    fn excludes(&self, path: &str, is_folder: bool) -> bool {
        let mut folder = parent(path);
        loop {
            match self.matched(folder, path, is_folder) {
                Match::Ignore(()) => return true,
                Match::Whitelist(()) => return false,
                Match::None if folder == "." => return false,
                Match::None => folder = parent(folder),
            }
        }
    }

    fn matched(&self, folder: &str, path: &str, is_folder: bool) -> Match<()> {
        let mut read = self.read.borrow_mut();
        let rules = read.entry(folder.to_owned()).or_insert_with(|| {
            let bytes = self.overlay.read(&join(folder, ".gitignore"))?;
            let root = if folder == "." { "/".to_owned() } else { format!("/{folder}") };
            let mut builder = GitignoreBuilder::new(root);
            for line in String::from_utf8_lossy(&bytes).lines() {
                // A line that is no pattern excludes nothing.
                let _unreadable = builder.add_line(None, line);
            }
            builder.build().ok()
        });
        let Some(rules) = rules else { return Match::None };
        rules.matched(Path::new(&format!("/{path}")), is_folder).map(|_| ())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::tree::Memory;

    #[test]
    fn the_nearest_file_decides() {
        let tree = Memory::new([(".gitignore", "*.log\n/out/\n[\n"), ("a/.gitignore", "!keep.log\nlocal\n")]);
        let overlay = Overlay::new(&tree);
        let excludes = Excludes::new(&overlay);
        for path in ["x.log", "a/b/x.log", "out/y", "a/local", "a/local/z"] {
            assert!(excludes.holds(path), "{path}");
        }
        for path in ["x.txt", "a/keep.log", "a/out/y", "local"] {
            assert!(!excludes.holds(path), "{path}");
        }
    }
}
