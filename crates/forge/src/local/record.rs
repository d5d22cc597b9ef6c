//! The stored form of a pull request and its reference.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::repository::Repository;
use crate::error::ForgeError;
use crate::port::{Comment, PullRequest};

const FILE: &str = "pull.json";

/// What `pull.json` holds. Commit ids in it are those of the last write; see [`super::pulls::view`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) pull: PullRequest,
    pub(super) comments: Vec<Comment>,
    pub(super) close_reason: Option<String>,
}

/// A record and the object it was read from, which the next write must still find.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) record: Record,
    pub(super) version: String,
}

pub(super) fn reference(number: u64) -> String {
    format!("refs/millrace/pulls/{number}")
}

pub(super) fn head_reference(number: u64) -> String {
    format!("refs/pull/{number}/head")
}

pub(super) async fn load(repository: &Repository, number: u64) -> Result<Option<Stored>, ForgeError> {
    let Some(version) = repository.resolve(&reference(number)).await? else {
        return Ok(None);
    };
    let read = repository.git().run(["cat-file", "blob", &format!("{version}:{FILE}")]).await?;
    let record = parse(&reference(number), &read.stdout)?;
    Ok(Some(Stored { record, version }))
}

/// Every record, by number.
pub(super) async fn load_all(repository: &Repository) -> Result<BTreeMap<u64, Record>, ForgeError> {
    let listed = repository.list("refs/millrace/pulls").await?;
    let wanted: String = listed.iter().map(|(_, version)| format!("{version}:{FILE}\n")).collect();
    let read = repository.git().run_with(["cat-file", "--batch"], wanted.as_bytes(), &[0]).await?;
    let mut rest = read.stdout.as_slice();
    let mut records = BTreeMap::new();
    for (name, _) in listed {
        let (blob, after) = next_blob(rest).unwrap_or_default();
        rest = after;
        let record = parse(&name, blob)?;
        records.insert(record.pull.number, record);
    }
    Ok(records)
}

/// The highest number that left a trace, of deleted pull requests too.
pub(super) async fn highest_head_number(repository: &Repository) -> Result<u64, ForgeError> {
    let numbers = repository.list("refs/pull").await?;
    Ok(numbers
        .iter()
        .filter_map(|(name, _)| name.strip_prefix("refs/pull/")?.split('/').next()?.parse().ok())
        .max()
        .unwrap_or(0))
}

/// Writes the record as an object and returns the `update-ref` command that makes it current, if the
/// record is still what `over` was read as (or still absent).
pub(super) async fn prepare(
    repository: &Repository,
    record: &Record,
    over: Option<&str>,
    story: &str,
) -> Result<String, ForgeError> {
    let name = reference(record.pull.number);
    let bytes = serde_json::to_vec_pretty(record)
        .map_err(|source| ForgeError::Damaged { reference: name.clone(), source })?;
    let git = repository.git();
    let blob = git.run_with(["hash-object", "-w", "--stdin"], &bytes, &[0]).await?.text();
    let tree =
        git.run_with(["mktree"], format!("100644 blob {blob}\t{FILE}\n").as_bytes(), &[0]).await?.text();
    let mut arguments = vec!["commit-tree", &tree, "-m", story];
    if let Some(version) = over {
        arguments.extend(["-p", version]);
    }
    let commit = git.run(arguments).await?.text();
    Ok(match over {
        None => format!("create {name} {commit}\n"),
        Some(version) => format!("update {name} {commit} {version}\n"),
    })
}

fn parse(reference: &str, bytes: &[u8]) -> Result<Record, ForgeError> {
    serde_json::from_slice(bytes)
        .map_err(|source| ForgeError::Damaged { reference: reference.to_owned(), source })
}

/// Splits `<id> blob <size>\n<bytes>\n` from the front of what `cat-file --batch` wrote.
fn next_blob(output: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = output.iter().position(|byte| *byte == b'\n')?;
    let header = std::str::from_utf8(output.get(..end)?).ok()?;
    let size: usize = header.rsplit(' ').next()?.parse().ok()?;
    let start = end + 1;
    Some((output.get(start..start + size)?, output.get(start + size + 1..)?))
}
