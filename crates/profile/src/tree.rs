//! The files that are looked at: a folder, or a list with contents. Links are not followed, and how many files,
//! how deep and how many bytes is bounded.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;

/// Files of one repository that are looked at.
pub const MAX_FILES: usize = 50_000;
/// Folders above a file.
pub const MAX_DEPTH: usize = 32;
/// Bytes of one file; of a longer one only name and size count.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// Folders that hold what tools made, never what people wrote.
const MADE: &[&str] = &[".git", ".hg", ".svn", ".millrace", ".tox", ".venv", "__pycache__", "node_modules"];
/// Marks a folder as a cache (<https://bford.info/cachedir/>): `target` of cargo, `.pytest_cache` and others.
const CACHE_MARK: &str = "CACHEDIR.TAG";

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// From the root, with forward slashes.
    pub path: String,
    /// In bytes.
    pub size: u64,
}

/// A repository's files. Paths are relative to the root, with forward slashes, and sorted.
pub trait Tree {
    /// All regular files, at most [`MAX_FILES`].
    fn files(&self) -> &[Entry];

    /// The bytes of a regular file; `None` where there is none, where it cannot be read, and where it has more
    /// than `limit` bytes.
    fn read(&self, path: &str, limit: u64) -> Option<Vec<u8>>;

    /// Whether there were more files, or deeper ones, than are listed.
    fn is_cut(&self) -> bool;

    /// Whether something stands at a path that is no regular file, such as a link: nobody may write through it.
    fn is_special(&self, path: &str) -> bool;
}

/// A folder on disk.
#[derive(Debug, Clone)]
pub struct Folder {
    root: PathBuf,
    files: Vec<Entry>,
    is_cut: bool,
}

impl Folder {
    /// A fresh checkout: all that is in it belongs to the commit, but for the repository itself.
    ///
    /// # Errors
    /// `root` is no folder that can be read.
    pub fn checkout(root: impl Into<PathBuf>) -> io::Result<Self> {
        Self::walk(root.into(), false)
    }

    /// A folder in which somebody works: what `.gitignore` excludes, and what tools made, is left out.
    ///
    /// # Errors
    /// `root` is no folder that can be read.
    pub fn working_copy(root: impl Into<PathBuf>) -> io::Result<Self> {
        Self::walk(root.into(), true)
    }

    /// The files that somebody else lists, such as git those of a commit. What is not a regular file on disk is
    /// left out.
    pub fn listed<P: Into<String>>(root: impl Into<PathBuf>, paths: impl IntoIterator<Item = P>) -> Self {
        let mut tree = Self { root: root.into(), files: Vec::new(), is_cut: false };
        for path in paths {
            let path = path.into();
            if tree.files.len() >= MAX_FILES || path.matches('/').count() > MAX_DEPTH {
                tree.is_cut = true;
                continue;
            }
            let found = tree.locate(&path).and_then(|file| fs::symlink_metadata(file).ok());
            if let Some(found) = found.filter(fs::Metadata::is_file) {
                tree.files.push(Entry { path, size: found.len() });
            }
        }
        tree.files.sort();
        tree.files.dedup();
        tree
    }

    fn walk(root: PathBuf, only_sources: bool) -> io::Result<Self> {
        fs::read_dir(&root)?;
        let mut walk = WalkBuilder::new(&root);
        walk.standard_filters(false)
            .follow_links(false)
            .max_depth(Some(MAX_DEPTH + 1))
            .sort_by_file_name(|one, other| one.cmp(other));
        if only_sources {
            // Without a repository above, `.gitignore` holds all the same.
            walk.git_ignore(true).require_git(false);
        }
        let start = root.clone();
        walk.filter_entry(move |entry| {
            entry.path() == start || !is_left_out(entry.path(), entry.file_name().to_str(), only_sources)
        });
        let (mut files, mut is_cut) = (Vec::new(), false);
        for entry in walk.build().flatten() {
            is_cut |= entry.depth() > MAX_DEPTH;
            if !entry.file_type().is_some_and(|kind| kind.is_file()) || entry.depth() > MAX_DEPTH {
                continue;
            }
            if files.len() >= MAX_FILES {
                is_cut = true;
                break;
            }
            // A name that is no UTF-8 can be cited by nobody.
            let Some(path) = entry.path().strip_prefix(&root).ok().and_then(Path::to_str) else { continue };
            let size = entry.metadata().map_or(0, |found| found.len());
            files.push(Entry { path: path.to_owned(), size });
        }
        files.sort();
        Ok(Self { root, files, is_cut })
    }

    /// The path on disk, unless a part of it is a link or leads out.
    fn locate(&self, path: &str) -> Option<PathBuf> {
        let mut found = self.root.clone();
        for part in path.split('/') {
            if matches!(part, "" | "." | "..") {
                return None;
            }
            found.push(part);
            if fs::symlink_metadata(&found).ok()?.is_symlink() {
                return None;
            }
        }
        Some(found)
    }
}

/// Whether a folder's content does not count.
fn is_left_out(path: &Path, name: Option<&str>, only_sources: bool) -> bool {
    let is_made = name.is_some_and(|name| if only_sources { MADE.contains(&name) } else { name == ".git" });
    is_made || (only_sources && path.is_dir() && path.join(CACHE_MARK).is_file())
}

impl Tree for Folder {
    fn files(&self) -> &[Entry] {
        &self.files
    }

    fn read(&self, path: &str, limit: u64) -> Option<Vec<u8>> {
        let path = self.locate(path)?;
        // A pipe or a device would be opened, and waited for.
        let found = fs::symlink_metadata(&path).ok()?;
        if !found.is_file() || found.len() > limit {
            return None;
        }
        let mut bytes = Vec::new();
        // It may have grown since.
        fs::File::open(&path).ok()?.take(limit.saturating_add(1)).read_to_end(&mut bytes).ok()?;
        (bytes.len() as u64 <= limit).then_some(bytes)
    }

    fn is_cut(&self) -> bool {
        self.is_cut
    }

    fn is_special(&self, path: &str) -> bool {
        let mut found = self.root.clone();
        let parts: Vec<&str> = path.split('/').collect();
        parts.iter().enumerate().any(|(number, part)| {
            found.push(part);
            match fs::symlink_metadata(&found) {
                Ok(entry) if number + 1 == parts.len() => !entry.is_file(),
                Ok(entry) => !entry.is_dir(),
                Err(_) => false,
            }
        })
    }
}

/// Files in memory, such as those of a commit that is not checked out.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    files: Vec<Entry>,
    contents: BTreeMap<String, Vec<u8>>,
    is_cut: bool,
}

impl Memory {
    /// The first [`MAX_FILES`] of these, by path.
    pub fn new<P: Into<String>, B: Into<Vec<u8>>>(files: impl IntoIterator<Item = (P, B)>) -> Self {
        let mut contents: BTreeMap<String, Vec<u8>> =
            files.into_iter().map(|(path, bytes)| (path.into(), bytes.into())).collect();
        let beyond = contents.keys().nth(MAX_FILES).cloned();
        let is_cut = beyond.is_some();
        if let Some(beyond) = beyond {
            contents.split_off(&beyond);
        }
        let entry =
            |(path, bytes): (&String, &Vec<u8>)| Entry { path: path.clone(), size: bytes.len() as u64 };
        let files = contents.iter().map(entry).collect();
        Self { files, contents, is_cut }
    }
}

impl Tree for Memory {
    fn files(&self) -> &[Entry] {
        &self.files
    }

    fn read(&self, path: &str, limit: u64) -> Option<Vec<u8>> {
        self.contents.get(path).filter(|bytes| bytes.len() as u64 <= limit).cloned()
    }

    fn is_cut(&self) -> bool {
        self.is_cut
    }

    fn is_special(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        let is_folder =
            self.contents.range(folder.clone()..).next().is_some_and(|(next, _)| next.starts_with(&folder));
        let is_below_a_file = path
            .match_indices('/')
            .any(|(at, _)| path.get(..at).is_some_and(|above| self.contents.contains_key(above)));
        is_folder || is_below_a_file
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn paths(tree: &impl Tree) -> Vec<&str> {
        tree.files().iter().map(|entry| entry.path.as_str()).collect()
    }

    fn write(root: &Path, path: &str, text: &str) {
        let file = root.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    #[test]
    fn links_are_not_followed_and_made_files_are_left_out() {
        let outside = tempfile::tempdir().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        write(outside.path(), "secret", "kept");
        for path in
            ["src/a.rs", ".git/config", "node_modules/x.js", "cache/CACHEDIR.TAG", "out/b", ".github/c"]
        {
            write(root, path, "text");
        }
        write(root, ".gitignore", "out/\n");
        symlink(outside.path(), root.join("link")).unwrap();
        symlink(outside.path().join("secret"), root.join("file-link")).unwrap();
        let tree = Folder::working_copy(root).unwrap();
        assert_eq!(paths(&tree), [".github/c", ".gitignore", "src/a.rs"]);
        let whole = Folder::checkout(root).unwrap();
        assert!(paths(&whole).contains(&"out/b") && paths(&whole).contains(&"node_modules/x.js"));
        assert!(!paths(&whole).iter().any(|path| path.contains("link") || path.contains(".git/")));
        for path in ["file-link", "link/secret", "../x", "/etc/passwd", "", "src", "none"] {
            assert_eq!(whole.read(path, MAX_FILE_BYTES), None, "{path}");
        }
        assert!(whole.is_special("file-link") && whole.is_special("link/secret") && whole.is_special("src"));
        assert!(
            whole.is_special("src/a.rs/x") && !whole.is_special("src/a.rs") && !whole.is_special("new/x")
        );
        assert_eq!(whole.read("src/a.rs", 4).unwrap(), b"text");
        assert_eq!(whole.read("src/a.rs", 3), None, "longer than asked for");
        assert!(Folder::checkout(root.join("none")).is_err());
        let listed = Folder::listed(root, ["src/a.rs", "file-link", "../x", "none", "link/secret", "out/b"]);
        assert_eq!(paths(&listed), ["out/b", "src/a.rs"]);
    }

    #[test]
    fn depth_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let deep = |depth: usize| format!("{}f", "d/".repeat(depth));
        write(folder.path(), &deep(MAX_DEPTH - 1), "");
        assert_eq!(paths(&Folder::checkout(folder.path()).unwrap()).len(), 1);
        write(folder.path(), &deep(MAX_DEPTH + 3), "");
        let tree = Folder::checkout(folder.path()).unwrap();
        assert_eq!((paths(&tree).len(), tree.is_cut()), (1, true));
    }

    #[test]
    fn memory_is_bounded_too_and_knows_its_folders() {
        let tree = Memory::new((0..=MAX_FILES).map(|number| (format!("f{number:06}"), "x")));
        assert_eq!((tree.files().len(), tree.is_cut()), (MAX_FILES, true));
        let tree = Memory::new([("a/b", "x")]);
        assert!(tree.is_special("a") && tree.is_special("a/b/c") && !tree.is_special("a/b"));
        assert_eq!(tree.read("a/b", 0), None);
    }
}
