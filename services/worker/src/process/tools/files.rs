//! The tools that look at files and change them. Every path is checked as those of an answer's edits are: inside
//! the checkout, through no link, not into `.git`.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::adapters::{Edit, EditError, apply, existing};

/// Bytes of a file that a tool looks at.
const MOST_BYTES: u64 = 4 * 1024 * 1024;
const MOST_LISTED: usize = 2_000;
const MOST_FOUND: usize = 200;
/// Characters of a line that holds what is searched for.
const LINE_CHARS: usize = 300;

/// The files of a working copy.
#[derive(Debug, Clone)]
pub struct Files {
    root: PathBuf,
}

#[derive(Deserialize)]
struct Read {
    path: String,
    #[serde(default)]
    first_line: Option<usize>,
    #[serde(default)]
    lines: Option<usize>,
}

#[derive(Deserialize)]
struct Below {
    #[serde(default)]
    path: String,
    #[serde(default)]
    text: String,
}

impl Files {
    /// Those below `root`.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Carries a call of `read`, `list`, `search`, `write`, `patch` or `delete` out.
    ///
    /// # Errors
    /// Why it was not done, for the caller to read.
    pub fn call(&self, tool: &str, arguments: &Value) -> Result<String, EditError> {
        match tool {
            "read" => self.read(&read_as(arguments)?),
            "list" => self.list(&read_as(arguments)?),
            "search" => self.search(&read_as(arguments)?),
            _ => self.edit(tool, arguments),
        }
    }

    fn read(&self, call: &Read) -> Result<String, EditError> {
        let file = existing(&self.root, &call.path)?;
        let text = text_of(&file, &call.path)?;
        if call.first_line.is_none() && call.lines.is_none() {
            return Ok(text);
        }
        let first = call.first_line.unwrap_or(1).max(1);
        let lines = text.lines().skip(first - 1).take(call.lines.unwrap_or(usize::MAX));
        Ok(lines.enumerate().fold(String::new(), |mut told, (number, line)| {
            // Writing to a String cannot fail, here and below.
            let _ = writeln!(told, "{}: {line}", first + number);
            told
        }))
    }

    fn list(&self, call: &Below) -> Result<String, EditError> {
        let mut names = Vec::new();
        for name in self.names(&call.path)? {
            if names.len() == MOST_LISTED {
                names.push(format!("[more than {MOST_LISTED} files; name a folder]"));
                break;
            }
            names.push(name);
        }
        if names.is_empty() {
            return Err(does_not_fit(&call.path, "there are no files"));
        }
        Ok(names.join("\n"))
    }

    fn search(&self, call: &Below) -> Result<String, EditError> {
        let mut told = String::new();
        let mut found = 0;
        for name in self.names(&call.path)? {
            let Ok(text) = text_of(&self.root.join(&name), &name) else { continue };
            for (number, line) in text.lines().enumerate().filter(|(_, line)| line.contains(&call.text)) {
                found += 1;
                if found > MOST_FOUND {
                    let _ = writeln!(told, "[more than {MOST_FOUND} lines; name a folder or a longer text]");
                    return Ok(told);
                }
                let line: String = line.chars().take(LINE_CHARS).collect();
                let _ = writeln!(told, "{name}:{}: {line}", number + 1);
            }
        }
        if told.is_empty() {
            told.push_str("nothing found");
        }
        Ok(told)
    }

    fn edit(&self, tool: &str, arguments: &Value) -> Result<String, EditError> {
        let action = match tool {
            "write" => "write",
            "patch" => "replace",
            "delete" => "delete",
            other => return Err(does_not_fit(other, "this is no tool for files")),
        };
        let mut edit = arguments.clone();
        if let Value::Object(fields) = &mut edit {
            fields.insert("action".to_owned(), Value::from(action));
        }
        let edit: Edit = read_as(&edit)?;
        apply(&self.root, &[edit])?;
        Ok("done".to_owned())
    }

    /// The regular files below a folder, or the one file of that name, sorted; links are not followed.
    fn names(&self, below: &str) -> Result<Vec<String>, EditError> {
        let below = below.trim_end_matches('/');
        let is_plain = |part: &str| !part.is_empty() && part != "." && part != "..";
        if !below.is_empty() && !below.split('/').all(is_plain) {
            let reason = "a path is relative and has no empty, `.` or `..` part";
            return Err(EditError::Escapes { path: below.to_owned(), reason });
        }
        let walk = walkdir::WalkDir::new(&self.root).follow_links(false).sort_by_file_name();
        let walk = walk.into_iter().filter_entry(|entry| !entry.file_name().eq_ignore_ascii_case(".git"));
        let files = walk.filter_map(Result::ok).filter(|entry| entry.file_type().is_file());
        let names = files.filter_map(|entry| {
            let name = entry.path().strip_prefix(&self.root).ok()?.to_str()?.to_owned();
            let is_below = below.is_empty()
                || name.strip_prefix(below).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            is_below.then_some(name)
        });
        Ok(names.collect())
    }
}

/// A file's text, if it is one and not too long.
fn text_of(file: &Path, path: &str) -> Result<String, EditError> {
    let failed = |source: io::Error| EditError::Io { path: path.to_owned(), source };
    let size = fs::metadata(file).map_err(failed)?.len();
    if size > MOST_BYTES {
        return Err(does_not_fit(path, format!("it has {size} bytes; at most {MOST_BYTES} are read")));
    }
    let bytes = fs::read(file).map_err(failed)?;
    String::from_utf8(bytes).map_err(|_| does_not_fit(path, "it is not text"))
}

/// The arguments have satisfied the tool's schema.
fn read_as<T: serde::de::DeserializeOwned>(arguments: &Value) -> Result<T, EditError> {
    T::deserialize(arguments).map_err(|error| does_not_fit("arguments", error.to_string()))
}

fn does_not_fit(path: &str, reason: impl Into<String>) -> EditError {
    EditError::DoesNotFit { path: path.to_owned(), reason: reason.into() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use std::os::unix::fs::symlink;

    use serde_json::json;

    use super::*;

    fn files() -> (tempfile::TempDir, Files) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("src")).unwrap();
        fs::create_dir_all(root.path().join(".git")).unwrap();
        fs::write(root.path().join(".git/config"), "secret needle").unwrap();
        fs::write(root.path().join("src/a.rs"), "one\ntwo needle\nthree\n").unwrap();
        fs::write(root.path().join("binary"), b"\xff\xfe").unwrap();
        let files = Files::new(root.path().to_owned());
        (root, files)
    }

    #[test]
    fn files_are_read_listed_searched_and_changed() {
        let (root, files) = files();
        let call = |tool: &str, arguments: Value| files.call(tool, &arguments);
        assert_eq!(call("read", json!({"path": "src/a.rs"})).unwrap(), "one\ntwo needle\nthree\n");
        let some = json!({"path": "src/a.rs", "first_line": 2, "lines": 1});
        assert_eq!(call("read", some).unwrap(), "2: two needle\n");
        assert_eq!(call("list", json!({})).unwrap(), "binary\nsrc/a.rs");
        assert_eq!(call("list", json!({"path": "src"})).unwrap(), "src/a.rs");
        assert!(call("list", json!({"path": "sr"})).is_err());
        assert_eq!(call("search", json!({"text": "needle"})).unwrap(), "src/a.rs:2: two needle\n");
        assert_eq!(call("search", json!({"text": "x.*y"})).unwrap(), "nothing found");
        call("write", json!({"path": "new/b.rs", "content": "b"})).unwrap();
        call("patch", json!({"path": "src/a.rs", "find": "two", "replace": "2"})).unwrap();
        assert_eq!(fs::read_to_string(root.path().join("src/a.rs")).unwrap(), "one\n2 needle\nthree\n");
        call("delete", json!({"path": "new/b.rs"})).unwrap();
        assert!(!root.path().join("new/b.rs").exists());
        assert!(call("read", json!({"path": "binary"})).unwrap_err().to_string().contains("not text"));
    }

    #[test]
    fn no_tool_leaves_the_checkout_or_touches_git() {
        let (root, files) = files();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("password"), "needle").unwrap();
        symlink(outside.path(), root.path().join("link")).unwrap();
        symlink(outside.path().join("password"), root.path().join("file-link")).unwrap();
        for path in [
            "../x",
            "/etc/passwd",
            ".git/config",
            ".GIT/config",
            "link/password",
            "file-link",
            "src/../.git/config",
        ] {
            for (tool, arguments) in [
                ("read", json!({"path": path})),
                ("write", json!({"path": path, "content": "x"})),
                ("patch", json!({"path": path, "find": "needle", "replace": "x"})),
                ("delete", json!({"path": path})),
            ] {
                assert!(files.call(tool, &arguments).is_err(), "{tool} {path}");
            }
        }
        for path in ["link", "../", ".git", "/etc"] {
            for tool in ["list", "search"] {
                let answer = files.call(tool, &json!({"path": path, "text": "needle"}));
                let text = answer.unwrap_or_default();
                assert!(text.is_empty() || text == "nothing found", "{tool} {path}: {text}");
            }
        }
        assert!(!files.call("search", &json!({"text": "needle"})).unwrap().contains("password"));
        assert_eq!(fs::read_to_string(outside.path().join("password")).unwrap(), "needle");
        assert_eq!(fs::read_to_string(root.path().join(".git/config")).unwrap(), "secret needle");
    }
}
