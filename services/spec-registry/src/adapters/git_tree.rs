//! Lists and reads files of a commit without a working tree.

use std::collections::HashMap;

use millrace_forge::{Git, GitError};

use super::git_scan::oversize;
use crate::domain::format::MAX_SPEC_BYTES;
use crate::ports::{Blob, ScanLimits, SourceError, SpecFile};

/// The most bytes that one `cat-file` is asked for; below what one call of git may return.
const BATCH_BYTES: u64 = 16 * 1024 * 1024;
/// What every plan beside a specification ends with.
const PLAN_SUFFIX: &str = ".plan.yaml";

/// The specs path of a repository.
pub(super) struct Tree<'a> {
    pub(super) git: &'a Git,
    pub(super) repository: &'a str,
    pub(super) specs_path: &'a str,
    pub(super) limits: &'a ScanLimits,
}

/// A file of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) sha: String,
    pub(super) size: u64,
}

impl Tree<'_> {
    /// Git's id of the folder in that commit; `None` if there is none.
    pub(super) async fn id(&self, commit: &str) -> Result<Option<String>, SourceError> {
        let name = format!("{commit}:{}", self.specs_path);
        let answer = self
            .git
            .run_with(["rev-parse", "--verify", "--quiet", &name], &[], &[0, 1, 128])
            .await
            .map_err(|source| self.failed(source))?;
        Ok((answer.status == 0).then(|| answer.text()))
    }

    /// The regular files below the folder, ordered by path.
    pub(super) async fn list(&self, commit: &str) -> Result<Vec<Entry>, SourceError> {
        let arguments = ["ls-tree", "-r", "-z", "-l", "--full-tree", commit, "--", self.specs_path];
        let answer = self.git.run(arguments).await.map_err(|source| self.failed(source))?;
        let mut entries = Vec::new();
        for record in answer.stdout.split(|byte| *byte == 0) {
            if record.is_empty() {
                continue;
            }
            let record = String::from_utf8_lossy(record);
            entries.extend(entry(&record).ok_or_else(|| self.damaged(&record))?);
            if entries.len() > self.limits.files {
                let (found, limit) = (entries.len() as u64, self.limits.files as u64);
                return Err(self.too_much("files", found, limit));
            }
        }
        Ok(entries)
    }

    /// The specifications with their plans, which are looked up among `all`.
    pub(super) async fn read(&self, specs: &[&Entry], all: &[Entry]) -> Result<Vec<SpecFile>, SourceError> {
        let plans: HashMap<&str, &Entry> = all
            .iter()
            .filter(|entry| entry.path.ends_with(PLAN_SUFFIX))
            .map(|entry| (entry.path.as_str(), entry))
            .collect();
        let plan_of = |spec: &Entry| {
            let stem = spec.path.strip_suffix(".md")?;
            plans.get(format!("{stem}{PLAN_SUFFIX}").as_str()).copied()
        };
        let wanted: Vec<&Entry> = specs
            .iter()
            .flat_map(|spec| std::iter::once(*spec).chain(plan_of(spec)))
            .filter(|entry| fits(entry))
            .collect();
        let bytes = self.read_all(&wanted).await?;
        let blob = |entry: &Entry| match bytes.get(&entry.sha) {
            Some(bytes) => Blob {
                path: entry.path.clone(),
                sha: entry.sha.clone(),
                bytes: bytes.clone(),
                oversize: None,
            },
            None => oversize(entry),
        };
        Ok(specs.iter().map(|spec| SpecFile { spec: blob(spec), plan: plan_of(spec).map(blob) }).collect())
    }

    /// The bytes of every entry by their id.
    async fn read_all(&self, entries: &[&Entry]) -> Result<HashMap<String, Vec<u8>>, SourceError> {
        let total: u64 = entries.iter().map(|entry| entry.size).sum();
        if total > self.limits.total_bytes {
            return Err(self.too_much("bytes", total, self.limits.total_bytes));
        }
        let mut read = HashMap::new();
        let mut rest = entries;
        while !rest.is_empty() {
            let mut batch_bytes = 0;
            let fitting = rest
                .iter()
                .take_while(|entry| {
                    batch_bytes += entry.size;
                    batch_bytes <= BATCH_BYTES
                })
                .count();
            // One entry always fits: it is no larger than a specification may be.
            let (batch, later) = rest.split_at(fitting.clamp(1, rest.len()));
            self.read_batch(batch, &mut read).await?;
            rest = later;
        }
        Ok(read)
    }

    async fn read_batch(
        &self,
        entries: &[&Entry],
        read: &mut HashMap<String, Vec<u8>>,
    ) -> Result<(), SourceError> {
        let mut request = String::new();
        for entry in entries {
            request.push_str(&entry.sha);
            request.push('\n');
        }
        let answer = self
            .git
            .run_with(["cat-file", "--batch"], request.as_bytes(), &[0])
            .await
            .map_err(|source| self.failed(source))?;
        let mut rest = answer.stdout.as_slice();
        for entry in entries {
            // `<id> blob <size>`, the bytes, a line break.
            let header = format!("{} blob {}\n", entry.sha, entry.size);
            let body = rest.strip_prefix(header.as_bytes());
            let size = usize::try_from(entry.size).ok();
            let Some((bytes, after)) = body.zip(size).and_then(|(b, size)| b.split_at_checked(size)) else {
                return Err(self.damaged(&String::from_utf8_lossy(rest)));
            };
            read.insert(entry.sha.clone(), bytes.to_vec());
            rest = after.strip_prefix(b"\n").unwrap_or(after);
        }
        Ok(())
    }

    fn failed(&self, source: GitError) -> SourceError {
        SourceError::Git { repository: self.repository.to_owned(), source }
    }

    fn damaged(&self, answer: &str) -> SourceError {
        SourceError::Damaged {
            repository: self.repository.to_owned(),
            answer: answer.chars().take(80).collect(),
        }
    }

    fn too_much(&self, what: &'static str, found: u64, limit: u64) -> SourceError {
        SourceError::TooMuch {
            repository: self.repository.to_owned(),
            what,
            found,
            limit,
            path: self.specs_path.to_owned(),
        }
    }
}

fn fits(entry: &Entry) -> bool {
    entry.size <= MAX_SPEC_BYTES as u64
}

/// Reads `<mode> <type> <id> <size>\t<path>`: `Some(None)` for what is no regular file, `None` for what
/// is no such line.
fn entry(record: &str) -> Option<Option<Entry>> {
    let (head, path) = record.split_once('\t')?;
    let mut fields = head.split_ascii_whitespace();
    let (mode, kind) = (fields.next()?, fields.next()?);
    let (sha, size) = (fields.next()?, fields.next()?);
    if kind != "blob" || !mode.starts_with("100") {
        return Some(None);
    }
    Some(Some(Entry { path: path.to_owned(), sha: sha.to_owned(), size: size.parse().ok()? }))
}
