//! Applies the edits of an answer to a checkout. Paths are checked here once more, for the contract knows
//! nothing of what lies in the repository: a symbolic link would lead out of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// One change to one file, as the contract has it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
pub enum Edit {
    /// Create or overwrite.
    Write {
        /// From the repository's root.
        path: String,
        /// The whole new text.
        content: String,
    },
    /// Remove a file.
    Delete {
        /// From the repository's root.
        path: String,
    },
    /// Replace a text that occurs exactly once.
    Replace {
        /// From the repository's root.
        path: String,
        /// What stands there.
        find: String,
        /// What shall stand there.
        replace: String,
    },
}

/// Why an edit was not applied.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// It leads out of the repository, or into what is not the author's to change.
    #[error("edit of `{path}` is refused: {reason}")]
    Escapes {
        /// The path in the answer.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// It does not fit the file that is there.
    #[error("edit of `{path}` does not fit the repository: {reason}")]
    DoesNotFit {
        /// The path in the answer.
        path: String,
        /// What was expected and what was found.
        reason: String,
    },
    /// The disk failed.
    #[error("edit of `{path}` could not be written")]
    Io {
        /// The path in the answer.
        path: String,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
}

/// Applies edits in order, and stops at the first that cannot be. Nothing untrusted may run meanwhile.
///
/// # Errors
/// See [`EditError`]; the edits before it stay applied, for the checkout is thrown away then.
pub fn apply(root: &Path, edits: &[Edit]) -> Result<(), EditError> {
    edits.iter().try_for_each(|edit| one(root, edit))
}

fn one(root: &Path, edit: &Edit) -> Result<(), EditError> {
    match edit {
        Edit::Write { path, content } => {
            let file = locate(root, path)?;
            if let Some(parent) = file.parent() {
                fs::create_dir_all(parent).map_err(|source| io_error(path, source))?;
            }
            fs::write(&file, content).map_err(|source| io_error(path, source))
        }
        Edit::Delete { path } => {
            let file = existing(root, path)?;
            fs::remove_file(&file).map_err(|source| io_error(path, source))
        }
        Edit::Replace { path, find, replace } => {
            let file = existing(root, path)?;
            let bytes = fs::read(&file).map_err(|source| io_error(path, source))?;
            let text = String::from_utf8(bytes).map_err(|_| does_not_fit(path, "the file is not UTF-8"))?;
            match text.matches(find.as_str()).count() {
                1 => fs::write(&file, text.replacen(find.as_str(), replace, 1))
                    .map_err(|source| io_error(path, source)),
                count => Err(does_not_fit(
                    path,
                    format!("the text to replace must occur exactly once and occurs {count} times"),
                )),
            }
        }
    }
}

/// The regular file that a path names, inside `root` and through no link.
pub(crate) fn existing(root: &Path, path: &str) -> Result<PathBuf, EditError> {
    let file = locate(root, path)?;
    if file.is_file() { Ok(file) } else { Err(does_not_fit(path, "there is no such file")) }
}

/// The file that a path names: inside `root`, through directories that are no links, and itself a regular
/// file or nothing yet.
fn locate(root: &Path, path: &str) -> Result<PathBuf, EditError> {
    let refuse = |reason| Err(EditError::Escapes { path: path.to_owned(), reason });
    if path.contains(['\0', '\\']) {
        return refuse("a path holds no backslash and no NUL");
    }
    let parts: Vec<&str> = path.split('/').collect();
    let mut found = root.to_owned();
    for (number, part) in parts.iter().enumerate() {
        if part.is_empty() || *part == "." || *part == ".." {
            return refuse("a path is relative and has no empty, `.` or `..` part");
        }
        if part.eq_ignore_ascii_case(".git") {
            return refuse("nothing inside `.git` may be changed");
        }
        found.push(part);
        let is_last = number + 1 == parts.len();
        match fs::symlink_metadata(&found) {
            Ok(entry) if entry.is_symlink() => return refuse("a part of it is a symbolic link"),
            Ok(entry) if is_last && !entry.is_file() => return refuse("it is not a regular file"),
            Ok(entry) if !is_last && !entry.is_dir() => return refuse("a part of it is not a directory"),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(io_error(path, source)),
        }
    }
    Ok(found)
}

fn does_not_fit(path: &str, reason: impl Into<String>) -> EditError {
    EditError::DoesNotFit { path: path.to_owned(), reason: reason.into() }
}

fn io_error(path: &str, source: io::Error) -> EditError {
    EditError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn write(path: &str) -> Edit {
        Edit::Write { path: path.to_owned(), content: "new".to_owned() }
    }

    fn replace(find: &str) -> Edit {
        Edit::Replace { path: "a.txt".to_owned(), find: find.to_owned(), replace: "x".to_owned() }
    }

    #[test]
    fn edits_are_applied_in_order() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a.txt"), "one two").unwrap();
        let delete = Edit::Delete { path: "b/c.txt".to_owned() };
        apply(root.path(), &[write("b/c.txt"), replace("two"), write("b/d.txt"), delete]).unwrap();
        assert_eq!(fs::read_to_string(root.path().join("a.txt")).unwrap(), "one x");
        assert_eq!(fs::read_to_string(root.path().join("b/d.txt")).unwrap(), "new");
        assert!(!root.path().join("b/c.txt").exists());
    }

    #[test]
    fn no_path_leads_out_or_into_git() {
        let outside = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join(".git")).unwrap();
        fs::write(outside.path().join("target"), "kept").unwrap();
        symlink(outside.path(), root.path().join("link")).unwrap();
        symlink(outside.path().join("target"), root.path().join("file-link")).unwrap();
        symlink(outside.path().join("later"), root.path().join("dangling")).unwrap();
        for path in [
            "../x",
            "a/../../x",
            "/etc/x",
            "",
            "a//b",
            "./a",
            ".git/hooks/x",
            ".GIT/config",
            "a/.git/x",
            "link/x",
            "file-link",
            "dangling",
            "a\\b",
            "a\0b",
            "..",
        ] {
            let error = apply(root.path(), &[write(path)]).unwrap_err();
            assert!(matches!(error, EditError::Escapes { .. }), "{path:?}: {error}");
        }
        assert_eq!(fs::read_to_string(outside.path().join("target")).unwrap(), "kept");
        assert!(!outside.path().join("x").exists() && !outside.path().join("later").exists());
    }

    #[test]
    fn a_replacement_must_fit_exactly_once() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a.txt"), "one one").unwrap();
        for (edit, count) in [(replace("one"), "2 times"), (replace("three"), "0 times")] {
            assert!(apply(root.path(), &[edit]).unwrap_err().to_string().contains(count));
        }
        let delete = Edit::Delete { path: "none".to_owned() };
        assert!(matches!(apply(root.path(), &[delete]), Err(EditError::DoesNotFit { .. })));
        assert_eq!(fs::read_to_string(root.path().join("a.txt")).unwrap(), "one one");
    }
}
