//! Opening, reading and changing pull requests.

use super::merge::containing_commit;
use super::record::{self, Record, Stored};
use super::repository::{MAX_TRIES, Repository, step_back};
use crate::error::ForgeError;
use crate::port::{Comment, Merged, NewPullRequest, PullRequest, State};

pub(super) async fn open(repository: &Repository, new: &NewPullRequest) -> Result<PullRequest, ForgeError> {
    let mut detail = String::new();
    for attempt in 0..MAX_TRIES {
        // Heads are listed before records: whoever opened one in between has taken the number computed
        // here, so that the creation below fails and the next round finds that pull request.
        let highest_head = record::highest_head_number(repository).await?;
        let records = record::load_all(repository).await?;
        let highest = records.keys().last().copied().unwrap_or(0).max(highest_head);
        if let Some(existing) = pick(records.into_values(), &new.head_branch) {
            return view(repository, existing).await;
        }
        let record = new_record(repository, new, highest + 1).await?;
        let create = record::prepare(repository, &record, None, "Opened").await?;
        match repository.swap(&create).await? {
            Ok(()) => {
                keep_head(repository, &record).await?;
                return view(repository, record).await;
            }
            Err(lost) => detail = lost,
        }
        step_back(attempt).await;
    }
    Err(ForgeError::Contended { reference: "refs/millrace/pulls".to_owned(), detail })
}

pub(super) async fn find(
    repository: &Repository,
    head_branch: &str,
) -> Result<Option<PullRequest>, ForgeError> {
    let records = record::load_all(repository).await?;
    match pick(records.into_values(), head_branch) {
        Some(record) => view(repository, record).await.map(Some),
        None => Ok(None),
    }
}

pub(super) async fn get(repository: &Repository, number: u64) -> Result<Option<PullRequest>, ForgeError> {
    match record::load(repository, number).await? {
        Some(stored) => view(repository, stored.record).await.map(Some),
        None => Ok(None),
    }
}

pub(super) async fn comments(repository: &Repository, number: u64) -> Result<Vec<Comment>, ForgeError> {
    Ok(require(repository, number).await?.record.comments)
}

pub(super) async fn comment(
    repository: &Repository,
    number: u64,
    idempotency_key: &str,
    body: &str,
) -> Result<Comment, ForgeError> {
    let new = Comment { idempotency_key: idempotency_key.to_owned(), body: body.to_owned() };
    let record = change(repository, number, "Commented", |mut record, _| {
        let is_there = record.comments.iter().any(|comment| comment.idempotency_key == new.idempotency_key);
        if is_there {
            return Ok(Change::Nothing(record));
        }
        record.comments.push(new.clone());
        Ok(Change::Write(record))
    })
    .await?;
    let stored = record.comments.into_iter().find(|comment| comment.idempotency_key == new.idempotency_key);
    Ok(stored.unwrap_or(new))
}

pub(super) async fn mark_ready(repository: &Repository, number: u64) -> Result<(), ForgeError> {
    change(repository, number, "Ready", |mut record, seen| match seen.state {
        State::Closed => Err(ForgeError::Closed { number }),
        State::Open if record.pull.draft => {
            record.pull.draft = false;
            Ok(Change::Write(record))
        }
        State::Open | State::Merged => Ok(Change::Nothing(record)),
    })
    .await
    .map(drop)
}

pub(super) async fn close(repository: &Repository, number: u64, reason: &str) -> Result<(), ForgeError> {
    let record = change(repository, number, "Closed", |mut record, seen| {
        if seen.state == State::Merged {
            return Err(ForgeError::AlreadyMerged { number });
        }
        if record.pull.state == State::Closed {
            return Ok(Change::Nothing(record));
        }
        record.pull = PullRequest { state: State::Closed, ..seen };
        record.close_reason = Some(reason.to_owned());
        Ok(Change::Write(record))
    })
    .await?;
    keep_head(repository, &record).await
}

/// The pull request as the branches say it is, which may be more than the record knows.
pub(super) async fn view(repository: &Repository, record: Record) -> Result<PullRequest, ForgeError> {
    let mut pull = record.pull;
    if pull.state != State::Open {
        return Ok(pull);
    }
    let head = repository.branch_head(&pull.head_branch).await?;
    let head_is_gone = head.is_none();
    if let Some(head) = head {
        pull.head_sha = head;
    }
    if let Some(base) = repository.branch_head(&pull.base_branch).await? {
        if let Some(Merged { commit, base_before }) =
            containing_commit(repository, &pull.head_sha, &base, &pull.base_sha).await?
        {
            pull.state = State::Merged;
            pull.merge_commit = Some(commit);
            pull.base_sha = base_before;
            return Ok(pull);
        }
        pull.base_sha = base;
    }
    if head_is_gone {
        pull.state = State::Closed;
    }
    Ok(pull)
}

pub(super) async fn require(repository: &Repository, number: u64) -> Result<Stored, ForgeError> {
    record::load(repository, number).await?.ok_or(ForgeError::PullRequestNotFound { number })
}

/// Points `refs/pull/<n>/head` at the head. It is a convenience for `git fetch` and the trace by which a
/// number is never given twice; nothing reads a head from it.
pub(super) async fn keep_head(repository: &Repository, record: &Record) -> Result<(), ForgeError> {
    let name = record::head_reference(record.pull.number);
    let command = format!("update {name} {}\n", record.pull.head_sha);
    match repository.swap(&command).await? {
        Ok(()) => Ok(()),
        Err(detail) => Err(ForgeError::Contended { reference: name, detail }),
    }
}

enum Change {
    Nothing(Record),
    Write(Record),
}

/// Reads, decides and writes until the record did not change in between. The decision sees the record
/// and what [`view`] makes of it.
async fn change(
    repository: &Repository,
    number: u64,
    story: &str,
    decide: impl Fn(Record, PullRequest) -> Result<Change, ForgeError>,
) -> Result<Record, ForgeError> {
    let mut detail = String::new();
    for attempt in 0..MAX_TRIES {
        let Stored { record, version } = require(repository, number).await?;
        let seen = view(repository, record.clone()).await?;
        let record = match decide(record, seen)? {
            Change::Nothing(record) => return Ok(record),
            Change::Write(record) => record,
        };
        let update = record::prepare(repository, &record, Some(&version), story).await?;
        match repository.swap(&update).await? {
            Ok(()) => return Ok(record),
            Err(lost) => detail = lost,
        }
        step_back(attempt).await;
    }
    Err(ForgeError::Contended { reference: record::reference(number), detail })
}

async fn new_record(
    repository: &Repository,
    new: &NewPullRequest,
    number: u64,
) -> Result<Record, ForgeError> {
    let head_sha = require_branch(repository, &new.head_branch).await?;
    let base_sha = require_branch(repository, &new.base_branch).await?;
    if repository.is_ancestor(&head_sha, &base_sha).await? {
        return Err(ForgeError::NothingToMerge {
            head_branch: new.head_branch.clone(),
            base_branch: new.base_branch.clone(),
        });
    }
    Ok(Record {
        pull: PullRequest {
            number,
            title: new.title.clone(),
            body: new.body.clone(),
            state: State::Open,
            draft: new.draft,
            head_branch: new.head_branch.clone(),
            head_sha,
            base_branch: new.base_branch.clone(),
            base_sha,
            merge_commit: None,
            labels: new.labels.clone(),
        },
        comments: Vec::new(),
        close_reason: None,
    })
}

async fn require_branch(repository: &Repository, branch: &str) -> Result<String, ForgeError> {
    repository
        .branch_head(branch)
        .await?
        .ok_or_else(|| ForgeError::BranchNotFound { branch: branch.to_owned() })
}

/// The open pull request of a head branch, else its newest.
fn pick(records: impl Iterator<Item = Record>, head_branch: &str) -> Option<Record> {
    records
        .filter(|record| record.pull.head_branch == head_branch)
        .max_by_key(|record| (record.pull.state == State::Open, record.pull.number))
}
