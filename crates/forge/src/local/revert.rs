//! Taking a merge back: its opposite as a commit on top of it, proposed and merged like any change.

use super::repository::{Repository, branch_reference};
use super::{merge, pulls};
use crate::error::ForgeError;
use crate::names::BRANCH_PREFIX;
use crate::port::{MergeRequest, NewPullRequest, PullRequest, RevertRequest, Reverted, State};

pub(super) async fn revert(repository: &Repository, request: &RevertRequest) -> Result<Reverted, ForgeError> {
    let RevertRequest { merge_commit, base_branch, reason } = request;
    repository.require_commit(merge_commit).await?;
    let base = repository
        .branch_head(base_branch)
        .await?
        .ok_or_else(|| ForgeError::BranchNotFound { branch: base_branch.clone() })?;
    if let Some(commit) = reverted_by(repository, merge_commit, &base).await? {
        return Ok(Reverted { commit });
    }
    let nothing = |reason| Err(ForgeError::NothingToRevert { commit: merge_commit.clone(), reason });
    if !repository.is_ancestor(merge_commit, &base).await? {
        return nothing("is not in the branch");
    }
    let Some(opposite) = opposite(repository, merge_commit, reason).await? else {
        return nothing("is not a merge");
    };
    let branch = format!("{BRANCH_PREFIX}revert/{merge_commit}");
    let pull = propose(repository, request, &branch, &opposite).await?;
    if pull.state == State::Closed {
        return Err(ForgeError::Closed { number: pull.number });
    }
    let merge_request = MergeRequest {
        number: pull.number,
        expected_head: opposite.clone(),
        expected_base: None,
        message: format!("Merge the revert of {merge_commit}\n\n{reason}\n"),
        at: None,
    };
    let _merged = merge::merge(repository, &merge_request).await?;
    repository.delete_branch(&branch).await?;
    Ok(Reverted { commit: opposite })
}

pub(super) async fn reverted_by(
    repository: &Repository,
    commit: &str,
    descendant: &str,
) -> Result<Option<String>, ForgeError> {
    repository.require_commit(commit).await?;
    repository.require_commit(descendant).await?;
    let trailer = format!("--grep=^Reverts: {commit}$");
    let sentence = format!("--grep=^This reverts commit {commit}");
    let range = format!("{commit}..{descendant}");
    let found = repository
        .git()
        .run(["log", "--format=%H", "--max-count=1", &trailer, &sentence, &range])
        .await?
        .text();
    Ok((!found.is_empty()).then_some(found))
}

/// A commit on top of the merge that has the tree of the merge's first parent. Its dates are the merge's,
/// so that a second try makes the same commit.
async fn opposite(
    repository: &Repository,
    merge_commit: &str,
    reason: &str,
) -> Result<Option<String>, ForgeError> {
    let shown = repository.git().run(["show", "-s", "--format=%ct %P", merge_commit]).await?.text();
    let mut words = shown.split(' ');
    let (Some(time), Some(first), Some(_second)) = (words.next(), words.next(), words.next()) else {
        return Ok(None);
    };
    let date = format!("@{time} +0000");
    let git = repository
        .git()
        .clone()
        .with_variable("GIT_AUTHOR_DATE", &date)
        .with_variable("GIT_COMMITTER_DATE", &date);
    let tree = format!("{first}^{{tree}}");
    let message = format!("Revert {merge_commit}\n\n{reason}\n\nReverts: {merge_commit}\n");
    let commit = git.run_with(["commit-tree", &tree, "-p", merge_commit], message.as_bytes(), &[0]).await?;
    Ok(Some(commit.text()))
}

async fn propose(
    repository: &Repository,
    request: &RevertRequest,
    branch: &str,
    opposite: &str,
) -> Result<PullRequest, ForgeError> {
    let reference = branch_reference(branch);
    match repository.branch_head(branch).await? {
        Some(actual) if actual == opposite => {}
        Some(actual) => {
            let branch = branch.to_owned();
            return Err(ForgeError::BranchTaken { branch, expected: opposite.to_owned(), actual });
        }
        None => {
            if let Err(detail) = repository.swap(&format!("create {reference} {opposite}\n")).await? {
                return Err(ForgeError::Contended { reference, detail });
            }
        }
    }
    let new = NewPullRequest {
        title: format!("Revert {}", request.merge_commit),
        body: request.reason.clone(),
        head_branch: branch.to_owned(),
        base_branch: request.base_branch.clone(),
        draft: false,
        labels: vec!["millrace".to_owned(), "revert".to_owned()],
    };
    pulls::open(repository, &new).await
}
