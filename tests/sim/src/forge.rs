//! A forge in memory. It follows the port's contract, but opens a pull request as often as it is asked to; it
//! counts everything that was done to it, and its answers may be late or wrong about whether something was done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use millrace_decider::Timestamp;
use millrace_forge::names::BRANCH_PREFIX;
use millrace_forge::{
    Comment, Forge, ForgeError, MergeRequest, Merged, NewPullRequest, PullRequest, RevertRequest, Reverted,
    State,
};
use millrace_runtime::blobs::digest_of;

use crate::gate::{Gate, Weather};

/// The one branch that everything is merged into.
pub const BASE: &str = "main";

/// Something that was done to a forge or target: what the receiving side counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// The repository or target.
    pub place: String,
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: Did,
}

/// The kinds of deeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Did {
    /// A branch was made.
    Pushed {
        /// The branch.
        branch: String,
        /// Its commit.
        head: String,
    },
    /// A pull request was opened.
    Opened {
        /// Its number.
        number: u64,
        /// Its head branch.
        branch: String,
    },
    /// A pull request was merged.
    Merged {
        /// Its number.
        number: u64,
        /// Its head branch.
        branch: String,
        /// The head that was merged.
        head: String,
        /// The merge commit.
        commit: String,
    },
    /// A merge was taken back.
    Reverted {
        /// The merge commit.
        commit: String,
    },
    /// A release was started.
    Started {
        /// Its commit.
        commit: String,
    },
}

/// All repositories of a run.
pub struct ForgeWorld {
    weather: Arc<Weather>,
    repositories: BTreeMap<String, Mutex<Repository>>,
    deeds: Mutex<Vec<Deed>>,
}

#[derive(Default)]
struct Repository {
    commits: BTreeMap<String, Commit>,
    branches: BTreeMap<String, String>,
    pulls: Vec<Pull>,
    /// `.millrace.toml` of every commit.
    profile: String,
}

#[derive(Clone, Default)]
struct Commit {
    parents: Vec<String>,
    /// The commit that this one takes back.
    reverts: Option<String>,
    /// The file that it touches, where that matters.
    touches: Option<u64>,
}

struct Pull {
    shown: PullRequest,
    base_before: String,
    comments: Vec<Comment>,
}

/// What a worker hands over: the simulator's bundle.
pub fn bundle(head: &str, base: &str) -> Vec<u8> {
    format!("# simulated bundle\n{head}\n{base}\n").into_bytes()
}

/// A commit id that follows from what it is made of.
pub fn commit_id(of: &str) -> String {
    digest_of(of.as_bytes()).chars().take(40).collect()
}

impl ForgeWorld {
    /// With these repositories, each with one commit on its base branch.
    pub fn new(weather: Arc<Weather>, ids: &[String]) -> Self {
        let made = |(number, id): (usize, &String)| {
            let first = commit_id(id);
            let mut repository = Repository::default();
            repository.commits.insert(first.clone(), Commit::default());
            repository.branches.insert(BASE.to_owned(), first);
            // Every third repository has no checks.
            if number % 3 != 2 {
                repository.profile = "[checks]\nunit = \"make unit\"\nlint = \"make lint\"\n".to_owned();
            }
            (id.clone(), Mutex::new(repository))
        };
        Self { weather, repositories: ids.iter().enumerate().map(made).collect(), deeds: Mutex::default() }
    }

    /// Everything that was done.
    pub fn deeds(&self) -> Vec<Deed> {
        self.deeds.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Remembers a deed.
    pub fn did(&self, who: &str, place: &str, what: Did) {
        self.weather.history.tell(who, || format!("{place}: {what:?}"));
        let deed = Deed { place: place.to_owned(), at: self.weather.now(), what };
        self.deeds.lock().unwrap_or_else(PoisonError::into_inner).push(deed);
    }

    /// The head of a repository's base branch.
    pub fn base(&self, id: &str) -> String {
        self.repository(id).and_then(|found| found.branches.get(BASE).cloned()).unwrap_or_default()
    }

    /// The branches of Millrace that stand.
    pub fn branches(&self, id: &str) -> Vec<String> {
        let found = self.repository(id);
        let names = found.iter().flat_map(|found| found.branches.keys());
        names.filter(|name| name.starts_with(BRANCH_PREFIX)).cloned().collect()
    }

    /// A person takes a commit out of the base branch, if that contains it and nobody else has.
    pub fn revert_by_hand(&self, id: &str, commit: &str) {
        let Some(mut repository) = self.repository(id) else { return };
        let base = repository.branches.get(BASE).cloned().unwrap_or_default();
        if repository.contains(&base, commit) && repository.reverted_by(commit, &base).is_none() {
            repository.revert(commit);
            self.weather.history.tell("person", || format!("{id}: reverts {commit} by hand"));
        }
    }

    fn repository(&self, id: &str) -> Option<MutexGuard<'_, Repository>> {
        Some(self.repositories.get(id)?.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Repository {
    fn ancestors(&self, of: &str) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let mut left = vec![of.to_owned()];
        while let Some(next) = left.pop() {
            if let Some(commit) = self.commits.get(&next)
                && seen.insert(next)
            {
                left.extend(commit.parents.iter().cloned());
            }
        }
        seen
    }

    fn contains(&self, descendant: &str, ancestor: &str) -> bool {
        self.ancestors(descendant).contains(ancestor)
    }

    fn reverted_by(&self, commit: &str, descendant: &str) -> Option<String> {
        let is_revert =
            |id: &String| self.commits.get(id).is_some_and(|found| found.reverts.as_deref() == Some(commit));
        self.ancestors(descendant).into_iter().find(is_revert)
    }

    fn revert(&mut self, commit: &str) -> String {
        let base = self.branches.get(BASE).cloned().unwrap_or_default();
        let id = commit_id(&format!("revert {commit} {base}"));
        let made = Commit { parents: vec![base], reverts: Some(commit.to_owned()), touches: None };
        self.commits.insert(id.clone(), made);
        self.branches.insert(BASE.to_owned(), id.clone());
        id
    }

    /// A pull request as it stands.
    fn shown(&self, pull: &Pull) -> PullRequest {
        let mut shown = pull.shown.clone();
        if shown.state == State::Open {
            match self.branches.get(&shown.head_branch) {
                Some(head) => shown.head_sha.clone_from(head),
                None => shown.state = State::Closed,
            }
            shown.base_sha = self.branches.get(&shown.base_branch).cloned().unwrap_or_default();
        }
        shown
    }

    fn pull(&mut self, number: u64) -> Option<&mut Pull> {
        self.pulls.iter_mut().find(|pull| pull.shown.number == number)
    }

    fn find(&self, branch: &str) -> Option<PullRequest> {
        let shown = self.pulls.iter().map(|pull| self.shown(pull));
        shown.rev().find(|shown| shown.head_branch == branch)
    }

    fn conflicts(&self, base: &str, head: &str) -> bool {
        let (base, head) = (self.ancestors(base), self.ancestors(head));
        let touched = |these: &BTreeSet<String>, those: &BTreeSet<String>| -> BTreeSet<u64> {
            these.difference(those).filter_map(|id| self.commits.get(id)?.touches).collect()
        };
        !touched(&base, &head).is_disjoint(&touched(&head, &base))
    }
}

/// A repository as one life of one process reaches it.
pub struct ScriptedForge {
    world: Arc<ForgeWorld>,
    id: String,
    gate: Gate,
}

impl ScriptedForge {
    /// The repository `id`.
    pub fn new(world: Arc<ForgeWorld>, id: &str, gate: Gate) -> Self {
        Self { world, id: id.to_owned(), gate }
    }

    /// Does something and answers, if nothing comes between.
    async fn work<T>(
        &self,
        what: &'static str,
        does: impl FnOnce(&mut Repository) -> Result<T, ForgeError> + Send,
    ) -> Result<T, ForgeError> {
        let profile = &self.gate.weather().profile;
        let failed = |detail: &str| ForgeError::Contended {
            reference: format!("{} of {}", what, self.id),
            detail: detail.to_owned(),
        };
        self.gate.step("before the forge").await;
        if self.gate.fault("forge failed", profile.world_fails, || what.to_owned()) {
            return Err(failed("it did not answer"));
        }
        let done = match self.world.repository(&self.id) {
            Some(mut repository) => does(&mut repository),
            None => Err(failed("there is no such repository")),
        };
        self.gate.weather().history.tell(self.gate.name(), || {
            let how = done.as_ref().err().map(ToString::to_string).unwrap_or_else(|| "done".to_owned());
            format!("forge {}: {what}: {how}", self.id)
        });
        self.gate.step("after the forge").await;
        if self.gate.fault("forge failed after", profile.world_fails_after, || what.to_owned()) {
            return Err(failed("502 after it was done"));
        }
        done
    }

    fn did(&self, what: Did) {
        self.world.did(self.gate.name(), &self.id, what);
    }
}

fn no_such(number: u64) -> ForgeError {
    ForgeError::PullRequestNotFound { number }
}

fn own(branch: &str) -> Result<(), ForgeError> {
    if branch.starts_with(BRANCH_PREFIX) {
        return Ok(());
    }
    Err(ForgeError::BranchRefused { branch: branch.to_owned(), reason: "it is not Millrace's" })
}

#[async_trait]
impl Forge for ScriptedForge {
    async fn push_bundle(&self, branch: &str, bundle: &[u8], head_sha: &str) -> Result<(), ForgeError> {
        own(branch)?;
        let invalid = |detail: &str| ForgeError::BundleInvalid {
            head_sha: head_sha.to_owned(),
            detail: detail.to_owned(),
        };
        let text = String::from_utf8(bundle.to_vec()).map_err(|_| invalid("it is no bundle"))?;
        let mut lines = text.lines().skip(1);
        let (Some(head), Some(base)) = (lines.next(), lines.next()) else {
            return Err(invalid("it is cut short"));
        };
        if head != head_sha {
            return Err(invalid("it holds another commit"));
        }
        let has_files = self.gate.weather().profile.conflicts;
        self.work("push", |repository| {
            match repository.branches.get(branch) {
                Some(actual) if actual == head_sha => return Ok(()),
                Some(actual) => {
                    return Err(ForgeError::BranchTaken {
                        branch: branch.to_owned(),
                        expected: head_sha.to_owned(),
                        actual: actual.clone(),
                    });
                }
                None => {}
            }
            if !repository.commits.contains_key(base) {
                return Err(invalid("its base is not here"));
            }
            let file =
                head.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
            let commit = Commit {
                parents: vec![base.to_owned()],
                reverts: None,
                touches: has_files.then_some(file % 4),
            };
            repository.commits.insert(head_sha.to_owned(), commit);
            repository.branches.insert(branch.to_owned(), head_sha.to_owned());
            self.did(Did::Pushed { branch: branch.to_owned(), head: head_sha.to_owned() });
            Ok(())
        })
        .await
    }

    async fn find_pull_request(&self, head_branch: &str) -> Result<Option<PullRequest>, ForgeError> {
        self.work("find", |repository| Ok(repository.find(head_branch))).await
    }

    async fn open_pull_request(&self, new: &NewPullRequest) -> Result<PullRequest, ForgeError> {
        // Less than the port promises: it opens another each time, so that the deployer has to look first.
        self.work("open", |repository| {
            let head = repository.branches.get(&new.head_branch).cloned();
            let head = head.ok_or_else(|| ForgeError::BranchNotFound { branch: new.head_branch.clone() })?;
            let base = repository.branches.get(&new.base_branch).cloned();
            let base = base.ok_or_else(|| ForgeError::BranchNotFound { branch: new.base_branch.clone() })?;
            if repository.contains(&base, &head) {
                return Err(ForgeError::NothingToMerge {
                    head_branch: new.head_branch.clone(),
                    base_branch: new.base_branch.clone(),
                });
            }
            let number = repository.pulls.len() as u64 + 1;
            let shown = PullRequest {
                number,
                title: new.title.clone(),
                body: new.body.clone(),
                state: State::Open,
                draft: new.draft,
                head_branch: new.head_branch.clone(),
                head_sha: head,
                base_branch: new.base_branch.clone(),
                base_sha: base,
                merge_commit: None,
                labels: new.labels.clone(),
            };
            let pull = Pull { shown: shown.clone(), base_before: String::new(), comments: Vec::new() };
            repository.pulls.push(pull);
            self.did(Did::Opened { number, branch: new.head_branch.clone() });
            Ok(shown)
        })
        .await
    }

    async fn pull_request(&self, number: u64) -> Result<Option<PullRequest>, ForgeError> {
        self.work("look", |repository| {
            let found = repository.pulls.iter().find(|pull| pull.shown.number == number);
            Ok(found.map(|pull| repository.shown(pull)))
        })
        .await
    }

    async fn comment(&self, number: u64, idempotency_key: &str, body: &str) -> Result<Comment, ForgeError> {
        self.work("comment", |repository| {
            let pull = repository.pull(number).ok_or_else(|| no_such(number))?;
            let known = pull.comments.iter().find(|found| found.idempotency_key == idempotency_key);
            if let Some(known) = known {
                return Ok(known.clone());
            }
            let comment = Comment { idempotency_key: idempotency_key.to_owned(), body: body.to_owned() };
            pull.comments.push(comment.clone());
            Ok(comment)
        })
        .await
    }

    async fn comments(&self, number: u64) -> Result<Vec<Comment>, ForgeError> {
        self.work("comments", |repository| {
            Ok(repository.pull(number).ok_or_else(|| no_such(number))?.comments.clone())
        })
        .await
    }

    async fn mark_ready(&self, number: u64) -> Result<(), ForgeError> {
        self.work("mark ready", |repository| {
            repository.pull(number).ok_or_else(|| no_such(number))?.shown.draft = false;
            Ok(())
        })
        .await
    }

    async fn close_pull_request(&self, number: u64, _reason: &str) -> Result<(), ForgeError> {
        self.work("close", |repository| {
            let pull = repository.pull(number).ok_or_else(|| no_such(number))?;
            match pull.shown.state {
                State::Merged => Err(ForgeError::AlreadyMerged { number }),
                State::Open | State::Closed => {
                    pull.shown.state = State::Closed;
                    Ok(())
                }
            }
        })
        .await
    }

    async fn branch_head(&self, branch: &str) -> Result<Option<String>, ForgeError> {
        self.work("branch head", |repository| Ok(repository.branches.get(branch).cloned())).await
    }

    async fn delete_branch(&self, branch: &str) -> Result<(), ForgeError> {
        own(branch)?;
        self.work("delete branch", |repository| {
            repository.branches.remove(branch);
            Ok(())
        })
        .await
    }

    async fn merge(&self, request: &MergeRequest) -> Result<Merged, ForgeError> {
        let number = request.number;
        self.work("merge", |repository| {
            let pull = repository.pulls.iter().find(|pull| pull.shown.number == number);
            let pull = pull.ok_or_else(|| no_such(number))?;
            let shown = repository.shown(pull);
            if let (State::Merged, Some(commit)) = (shown.state, &shown.merge_commit) {
                return Ok(Merged { commit: commit.clone(), base_before: pull.base_before.clone() });
            }
            let (head, base) = (shown.head_sha.clone(), shown.base_sha.clone());
            if shown.state == State::Closed {
                return Err(ForgeError::Closed { number });
            }
            if shown.draft {
                return Err(ForgeError::Draft { number });
            }
            if head != request.expected_head {
                return Err(ForgeError::HeadMoved {
                    number,
                    expected: request.expected_head.clone(),
                    actual: head,
                });
            }
            if let Some(expected) = request.expected_base.clone().filter(|expected| *expected != base) {
                return Err(ForgeError::BaseMoved { number, expected, actual: base });
            }
            if repository.conflicts(&base, &head) {
                return Err(ForgeError::Conflict { number, paths: vec!["page.css".to_owned()] });
            }
            let commit = commit_id(&format!("merge {number} {head} {base}"));
            let made = Commit { parents: vec![base.clone(), head.clone()], reverts: None, touches: None };
            repository.commits.insert(commit.clone(), made);
            repository.branches.insert(shown.base_branch.clone(), commit.clone());
            if let Some(pull) = repository.pull(number) {
                pull.shown =
                    PullRequest { state: State::Merged, merge_commit: Some(commit.clone()), ..shown.clone() };
                pull.base_before.clone_from(&base);
            }
            self.did(Did::Merged { number, branch: shown.head_branch, head, commit: commit.clone() });
            Ok(Merged { commit, base_before: base })
        })
        .await
    }

    async fn revert(&self, request: &RevertRequest) -> Result<Reverted, ForgeError> {
        let merge = &request.merge_commit;
        self.work("revert", |repository| {
            let base = repository.branches.get(&request.base_branch).cloned().unwrap_or_default();
            if let Some(commit) = repository.reverted_by(merge, &base) {
                return Ok(Reverted { commit });
            }
            if !repository.contains(&base, merge) {
                let reason = "is not on the branch";
                return Err(ForgeError::NothingToRevert { commit: merge.clone(), reason });
            }
            let commit = repository.revert(merge);
            self.did(Did::Reverted { commit: merge.clone() });
            Ok(Reverted { commit })
        })
        .await
    }

    async fn reverted_by(&self, commit: &str, descendant: &str) -> Result<Option<String>, ForgeError> {
        self.work("reverted by", |repository| Ok(repository.reverted_by(commit, descendant))).await
    }

    async fn read_file(&self, commit: &str, path: &str) -> Result<Option<Vec<u8>>, ForgeError> {
        self.work("read file", |repository| {
            if !repository.commits.contains_key(commit) {
                return Err(ForgeError::CommitNotFound { commit: commit.to_owned() });
            }
            let profile = (path == ".millrace.toml").then(|| repository.profile.clone().into_bytes());
            Ok(profile.filter(|bytes| !bytes.is_empty()))
        })
        .await
    }

    async fn is_ancestor(&self, ancestor: &str, descendant: &str) -> Result<bool, ForgeError> {
        self.work("is ancestor", |repository| {
            for commit in [ancestor, descendant] {
                if !repository.commits.contains_key(commit) {
                    return Err(ForgeError::CommitNotFound { commit: commit.to_owned() });
                }
            }
            Ok(repository.contains(descendant, ancestor))
        })
        .await
    }

    async fn checkout(&self, commit: &str, _into: &Path) -> Result<(), ForgeError> {
        Err(ForgeError::CommitNotFound { commit: commit.to_owned() })
    }

    fn clone_url(&self) -> String {
        format!("sim://{}", self.id)
    }
}
