//! The producer's own journal: what it asked for and what it was told, kept outside of everything it talks
//! to. The form is Jepsen's: an operation is invoked and then is `ok`, or failed, or nobody knows (`info`).

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

/// How an operation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Asked for.
    Invoke,
    /// Acknowledged: it must never be lost.
    Ok,
    /// Refused: it must not be there.
    Fail,
    /// No answer: it may or may not be there.
    Info,
}

/// A line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Who.
    pub process: String,
    /// What, such as `append`.
    pub op: String,
    /// The key in the log.
    pub key: String,
    /// SHA-256 of the bytes.
    pub value: String,
    /// How it stands.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Milliseconds since the journal was opened.
    pub t: u64,
}

/// A file of lines, each written before the next thing is done.
pub struct Journal {
    path: PathBuf,
    file: Mutex<std::fs::File>,
    opened: std::time::Instant,
}

impl Journal {
    /// A new journal.
    pub fn create(path: &Path) -> Self {
        let file = std::fs::File::create(path).expect("a journal");
        Self { path: path.to_owned(), file: Mutex::new(file), opened: std::time::Instant::now() }
    }

    /// Writes a line.
    pub fn note(&self, process: &str, op: &str, key: &str, value: &str, kind: Kind) {
        let t = self.opened.elapsed().as_millis() as u64;
        let (process, op) = (process.to_owned(), op.to_owned());
        let entry = Entry { process, op, key: key.to_owned(), value: value.to_owned(), kind, t };
        let line = serde_json::to_string(&entry).unwrap() + "\n";
        self.file.lock().unwrap().write_all(line.as_bytes()).expect("the journal is written");
    }

    /// All lines.
    pub fn entries(&self) -> Vec<Entry> {
        let text = std::fs::read_to_string(&self.path).expect("the journal is read");
        text.lines().map(|line| serde_json::from_str(line).expect("a line of the journal")).collect()
    }
}
