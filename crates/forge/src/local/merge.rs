//! Merging by compare-and-swap, and finding out who merged what.

use super::pulls::{keep_head, require, view};
use super::record::{self, Record, Stored};
use super::repository::{MAX_TRIES, Repository, branch_reference, step_back};
use crate::error::ForgeError;
use crate::port::{MergeRequest, Merged, PullRequest, State};

pub(super) async fn merge(repository: &Repository, request: &MergeRequest) -> Result<Merged, ForgeError> {
    let mut detail = String::new();
    for attempt in 0..MAX_TRIES {
        let Stored { record, version } = require(repository, request.number).await?;
        let seen = view(repository, record.clone()).await?;
        let settled = settled(&seen, request)?;
        let (merged, moves) = match &settled {
            Some(merged) if record.pull.state == State::Merged => return Ok(merged.clone()),
            // The base moved but the record does not know: a crash, or a person, came in between.
            Some(merged) => (merged.clone(), String::new()),
            None => {
                let merged = merge_commit(repository, &seen, request).await?;
                let moves = moves(&seen, &merged);
                (merged, moves)
            }
        };
        let record = Record {
            pull: PullRequest {
                state: State::Merged,
                merge_commit: Some(merged.commit.clone()),
                base_sha: merged.base_before.clone(),
                ..seen
            },
            ..record
        };
        let update = record::prepare(repository, &record, Some(&version), "Merged").await?;
        match repository.swap(&format!("{moves}{update}")).await? {
            Ok(()) => {
                keep_head(repository, &record).await?;
                return Ok(merged);
            }
            Err(lost) => detail = lost,
        }
        step_back(attempt).await;
    }
    Err(ForgeError::Contended { reference: record::reference(request.number), detail })
}

/// The commit by which `base` came to contain `head`, if it does. `base_at_opening` is the answer to
/// "where was the base before" when the base was simply moved forward onto the head.
pub(super) async fn containing_commit(
    repository: &Repository,
    head: &str,
    base: &str,
    base_at_opening: &str,
) -> Result<Option<Merged>, ForgeError> {
    if !repository.is_ancestor(head, base).await? {
        return Ok(None);
    }
    let range = format!("{head}..{base}");
    let git = repository.git();
    let descendants = git.run(["rev-list", "--ancestry-path", &range]).await?.text();
    let main_line = git.run(["rev-list", "--first-parent", "--parents", &range]).await?.text();
    let descendants: std::collections::HashSet<&str> = descendants.lines().collect();
    let oldest = main_line
        .lines()
        .filter_map(|line| line.split_once(' '))
        .rfind(|(commit, _)| descendants.contains(commit));
    let fast_forward = Merged { commit: head.to_owned(), base_before: base_at_opening.to_owned() };
    Ok(Some(match oldest {
        None => fast_forward,
        Some((commit, parents)) => match parents.split(' ').next() {
            Some(first) if first != head => {
                Merged { commit: commit.to_owned(), base_before: first.to_owned() }
            }
            _ => fast_forward,
        },
    }))
}

/// Whether the answer is known without merging; refuses what must not be merged.
fn settled(seen: &PullRequest, request: &MergeRequest) -> Result<Option<Merged>, ForgeError> {
    let number = request.number;
    if seen.state == State::Closed {
        return Err(ForgeError::Closed { number });
    }
    if seen.head_sha != request.expected_head {
        return Err(ForgeError::HeadMoved {
            number,
            expected: request.expected_head.clone(),
            actual: seen.head_sha.clone(),
        });
    }
    if let (State::Merged, Some(commit)) = (seen.state, &seen.merge_commit) {
        return Ok(Some(Merged { commit: commit.clone(), base_before: seen.base_sha.clone() }));
    }
    if seen.draft {
        return Err(ForgeError::Draft { number });
    }
    match &request.expected_base {
        Some(expected) if *expected != seen.base_sha => {
            Err(ForgeError::BaseMoved { number, expected: expected.clone(), actual: seen.base_sha.clone() })
        }
        _ => Ok(None),
    }
}

/// Writes the merge commit as an object; no reference points to it yet.
async fn merge_commit(
    repository: &Repository,
    seen: &PullRequest,
    request: &MergeRequest,
) -> Result<Merged, ForgeError> {
    if repository.branch_head(&seen.base_branch).await?.is_none() {
        return Err(ForgeError::BranchNotFound { branch: seen.base_branch.clone() });
    }
    let tree = merged_tree(repository, seen).await?;
    let mut git = repository.git().clone();
    if let Some(at) = request.at {
        let date = format!("@{} +0000", at.as_second());
        git = git.with_variable("GIT_AUTHOR_DATE", &date).with_variable("GIT_COMMITTER_DATE", &date);
    }
    let arguments = ["commit-tree", &tree, "-p", &seen.base_sha, "-p", &seen.head_sha];
    let commit = git.run_with(arguments, request.message.as_bytes(), &[0]).await?.text();
    Ok(Merged { commit, base_before: seen.base_sha.clone() })
}

async fn merged_tree(repository: &Repository, seen: &PullRequest) -> Result<String, ForgeError> {
    let arguments =
        ["merge-tree", "--write-tree", "--name-only", "--no-messages", "-z", &seen.base_sha, &seen.head_sha];
    let answer = repository.git().run_with(arguments, &[], &[0, 1]).await?;
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    let mut parts = text.split('\0').filter(|part| !part.is_empty());
    let tree = parts.next().unwrap_or_default().trim().to_owned();
    if answer.status == 0 {
        return Ok(tree);
    }
    let mut paths: Vec<String> = parts.map(str::to_owned).collect();
    paths.sort();
    paths.dedup();
    Err(ForgeError::Conflict { number: seen.number, paths })
}

/// Moves the base, only if head and base are still what was merged.
fn moves(seen: &PullRequest, merged: &Merged) -> String {
    format!(
        "verify {} {}\nupdate {} {} {}\n",
        branch_reference(&seen.head_branch),
        seen.head_sha,
        branch_reference(&seen.base_branch),
        merged.commit,
        merged.base_before,
    )
}
