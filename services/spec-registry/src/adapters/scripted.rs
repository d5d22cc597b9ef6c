//! A source that says what it was told to say.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use crate::domain::format::{ParseSettings, task_id_in_file_name};
use crate::ports::{Blob, Found, Scan, ScanCursor, SourceError, SpecFile, SpecSource};

/// The stand-in for tests: files are put in, each [`ScriptedSource::put`] makes a new commit.
#[derive(Debug, Default)]
pub struct ScriptedSource {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    commits: u64,
    files: Vec<Blob>,
    failures: Vec<SourceError>,
}

impl ScriptedSource {
    /// A source without files.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes or replaces a file.
    pub fn put(&self, path: &str, bytes: &[u8]) {
        let mut state = self.state();
        state.commits += 1;
        state.files.retain(|file| file.path != path);
        state.files.push(Blob {
            path: path.to_owned(),
            sha: hex::encode(Sha256::digest(bytes)),
            bytes: bytes.to_vec(),
            oversize: None,
        });
        state.files.sort_by(|a, b| a.path.cmp(&b.path));
    }

    /// Makes the next call fail.
    pub fn fail_next(&self, error: SourceError) {
        self.state().failures.push(error);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked elsewhere has told its story already.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn head(&self) -> String {
        format!("{:040x}", self.commits)
    }

    fn specs(&self) -> impl Iterator<Item = SpecFile> {
        self.files.iter().filter_map(|spec| {
            let stem = spec.path.strip_suffix(".md")?;
            let plan = format!("{stem}.plan.yaml");
            Some(SpecFile {
                spec: spec.clone(),
                plan: self.files.iter().find(|file| file.path == plan).cloned(),
            })
        })
    }
}

#[async_trait]
impl SpecSource for ScriptedSource {
    async fn scan(&self, since: Option<&ScanCursor>) -> Result<Scan, SourceError> {
        let mut state = self.state();
        if let Some(error) = state.failures.pop() {
            return Err(error);
        }
        let commit = state.head();
        let cursor = ScanCursor { tree: Some(commit.clone()), commit: commit.clone() };
        let unchanged = since == Some(&cursor);
        Ok(Scan {
            commit,
            files: if unchanged { Vec::new() } else { state.specs().collect() },
            unchanged,
            cursor,
        })
    }

    async fn find(&self, task_id: &str) -> Result<Option<Found>, SourceError> {
        let mut state = self.state();
        if let Some(error) = state.failures.pop() {
            return Err(error);
        }
        let commit = state.head();
        let settings = ParseSettings::default();
        let file = state.specs().find(|file| {
            let id = task_id_in_file_name(&file.spec.path, &settings)
                .or_else(|| file.parse(&settings).ok()?.task_id);
            id.as_deref() == Some(task_id)
        });
        Ok(file.map(|file| Found { commit, file }))
    }

    async fn head(&self) -> Result<String, SourceError> {
        let mut state = self.state();
        match state.failures.pop() {
            Some(error) => Err(error),
            None => Ok(state.head()),
        }
    }
}
