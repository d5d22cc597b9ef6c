//! Edits, made on a copy in memory by the rules by which the worker makes them on disk.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::tree::Tree;

/// Bytes of a file that is edited.
const MAX_EDITED: u64 = 64 * 1024 * 1024;

/// One change to one file, as the contract of the implementer has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub enum Edit {
    /// Create or overwrite.
    Write {
        /// From the root.
        path: String,
        /// The whole new text.
        content: String,
    },
    /// Remove a file.
    Delete {
        /// From the root.
        path: String,
    },
    /// Replace a text that occurs exactly once.
    Replace {
        /// From the root.
        path: String,
        /// What stands there.
        find: String,
        /// What shall stand there.
        replace: String,
    },
}

/// An edit that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the edit of `{path}` cannot be made: {reason}")]
pub struct EditError {
    /// The path in the edit.
    pub path: String,
    /// What is wrong.
    pub reason: String,
}

/// A tree with edits on top of it.
pub(super) struct Overlay<'a> {
    tree: &'a dyn Tree,
    /// What was edited: the new bytes, or nothing where the file is gone.
    edited: BTreeMap<String, Option<Vec<u8>>>,
    /// What the tree has at edited paths.
    before: BTreeMap<String, Option<Vec<u8>>>,
    /// Folders that were made; they stay when their last file goes.
    folders: BTreeSet<String>,
}

impl<'a> Overlay<'a> {
    pub(super) fn new(tree: &'a dyn Tree) -> Self {
        Self { tree, edited: BTreeMap::new(), before: BTreeMap::new(), folders: BTreeSet::new() }
    }

    pub(super) fn apply(&mut self, edit: &Edit) -> Result<(), EditError> {
        match edit {
            Edit::Write { path, content } => {
                self.locate(path)?;
                for (at, _) in path.match_indices('/') {
                    self.folders.extend(path.get(..at).map(str::to_owned));
                }
                self.put(path, Some(content.clone().into_bytes()));
                Ok(())
            }
            Edit::Delete { path } => {
                self.existing(path)?;
                self.put(path, None);
                Ok(())
            }
            Edit::Replace { path, find, replace } => {
                let bytes = self.existing(path)?;
                let text = String::from_utf8(bytes).map_err(|_| error(path, "the file is not UTF-8"))?;
                match text.matches(find.as_str()).count() {
                    1 => {
                        self.put(path, Some(text.replacen(find.as_str(), replace, 1).into_bytes()));
                        Ok(())
                    }
                    count => {
                        let reason =
                            format!("the text to replace must occur exactly once and occurs {count} times");
                        Err(error(path, reason))
                    }
                }
            }
        }
    }

    /// Path, bytes before and bytes after of every file that differs.
    pub(super) fn differences(&self) -> impl Iterator<Item = (&str, Option<&[u8]>, Option<&[u8]>)> {
        self.edited.iter().filter_map(|(path, after)| {
            let before = self.before.get(path)?;
            (before != after).then_some((path.as_str(), before.as_deref(), after.as_deref()))
        })
    }

    /// A file's bytes after the edits.
    pub(super) fn read(&self, path: &str) -> Option<Vec<u8>> {
        match self.edited.get(path) {
            Some(after) => after.clone(),
            None => self.has(path).then(|| self.tree.read(path, MAX_EDITED)).flatten(),
        }
    }

    fn put(&mut self, path: &str, after: Option<Vec<u8>>) {
        if !self.before.contains_key(path) {
            let before = self.read(path);
            self.before.insert(path.to_owned(), before);
        }
        self.edited.insert(path.to_owned(), after);
    }

    fn existing(&self, path: &str) -> Result<Vec<u8>, EditError> {
        self.locate(path)?;
        if !self.has(path) {
            return Err(error(path, "there is no such file"));
        }
        self.read(path)
            .ok_or_else(|| error(path, format!("it cannot be read, or has more than {MAX_EDITED} bytes")))
    }

    fn has(&self, path: &str) -> bool {
        let files = self.tree.files();
        match self.edited.get(path) {
            Some(after) => after.is_some(),
            None => files.binary_search_by(|entry| entry.path.as_str().cmp(path)).is_ok(),
        }
    }

    /// Refuses what leads out, into git, or through something that is no folder.
    fn locate(&self, path: &str) -> Result<(), EditError> {
        if path.contains(['\0', '\\']) {
            return Err(error(path, "a path holds no backslash and no NUL"));
        }
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(error(path, "a path is relative and has no empty, `.` or `..` part"));
        }
        if path.split('/').any(|part| part.eq_ignore_ascii_case(".git")) {
            return Err(error(path, "nothing inside `.git` may be changed"));
        }
        let mut above = path.match_indices('/').filter_map(|(at, _)| path.get(..at));
        if above.any(|folder| self.has(folder)) {
            return Err(error(path, "a part of it is not a directory"));
        }
        let is_gone = |path: &str| self.edited.get(path).is_some_and(Option::is_none);
        let was_made_room =
            is_gone(path) || path.match_indices('/').any(|(at, _)| path.get(..at).is_some_and(is_gone));
        if self.folders.contains(path) || (!was_made_room && self.tree.is_special(path)) {
            return Err(error(path, "it is not a regular file, or a part of it is no folder but a link"));
        }
        Ok(())
    }
}

fn error(path: &str, reason: impl Into<String>) -> EditError {
    EditError { path: path.to_owned(), reason: reason.into() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use crate::tree::Memory;

    fn write(path: &str) -> Edit {
        Edit::Write { path: path.to_owned(), content: "new".to_owned() }
    }

    fn delete(path: &str) -> Edit {
        Edit::Delete { path: path.to_owned() }
    }

    fn replace(path: &str, find: &str) -> Edit {
        Edit::Replace { path: path.to_owned(), find: find.to_owned(), replace: "x".to_owned() }
    }

    #[test]
    fn edits_build_on_each_other_and_cancel_out() {
        let tree = Memory::new([("a", "one two"), ("b/c", "x")]);
        let mut overlay = Overlay::new(&tree);
        for edit in [replace("a", "two"), replace("a", "one"), write("d/e"), delete("d/e"), delete("b/c")] {
            overlay.apply(&edit).unwrap();
        }
        overlay.apply(&Edit::Write { path: "b/c".to_owned(), content: "x".to_owned() }).unwrap();
        let found: Vec<_> = overlay.differences().collect();
        assert_eq!(found, [("a", Some(b"one two".as_slice()), Some(b"x x".as_slice()))]);
    }

    #[test]
    fn what_cannot_be_made_on_disk_cannot_be_made_here() {
        let tree = Memory::new([("a", "one one"), ("b/c", "x")]);
        for (edit, word) in [
            (write("../x"), "relative"),
            (write("/x"), "relative"),
            (write("x/.GIT/y"), ".git"),
            (write("a\\b"), "backslash"),
            (write("b"), "regular file"),
            (write("a/x"), "not a directory"),
            (delete("none"), "no such file"),
            (delete("b"), "regular file"),
            (replace("a", "one"), "occurs 2 times"),
            (replace("a", "three"), "occurs 0 times"),
        ] {
            let refused = Overlay::new(&tree).apply(&edit).unwrap_err();
            assert!(refused.reason.contains(word), "{refused}");
        }
        let mut overlay = Overlay::new(&tree);
        overlay.apply(&delete("a")).unwrap();
        overlay.apply(&write("a/x")).unwrap();
        overlay.apply(&delete("a/x")).unwrap();
        assert!(overlay.apply(&write("a")).is_err(), "the folder stays");
    }
}
