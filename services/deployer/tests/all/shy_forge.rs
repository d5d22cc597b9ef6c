//! A forge that does not show its pull requests until it is told to, counts, can break, and can keep its
//! caller waiting for ever after a step, as a caller sees it that dies there.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use millrace_forge::{
    Comment, Forge, ForgeError, MergeRequest, Merged, NewPullRequest, PullRequest, RevertRequest, Reverted,
};

/// Where a caller can be kept waiting.
#[derive(Default)]
pub(crate) struct Gate {
    is_closed: AtomicBool,
    has_caller: AtomicBool,
}

impl Gate {
    pub(crate) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn open(&self) {
        self.has_caller.store(false, Ordering::SeqCst);
        self.is_closed.store(false, Ordering::SeqCst);
    }

    /// Whether somebody waits, or has waited, since it was opened last.
    pub(crate) fn has_caller(&self) -> bool {
        self.has_caller.load(Ordering::SeqCst)
    }

    pub(crate) async fn pass(&self) {
        while self.is_closed.load(Ordering::SeqCst) {
            self.has_caller.store(true, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub(crate) struct ShyForge {
    pub(crate) forge: Arc<dyn Forge>,
    pub(crate) shows: AtomicBool,
    /// Nobody finds a pull request any more, for a reason that does not pass.
    pub(crate) broken: AtomicBool,
    pub(crate) heads: AtomicUsize,
    pub(crate) searches: AtomicUsize,
    /// After so many more steps of opening a pull request nothing is answered any more; 0: everything is.
    pub(crate) steps_left: AtomicUsize,
    /// A step was done and not answered.
    pub(crate) is_stuck: AtomicBool,
    /// Merges are made, and an error is the answer, as when the connection breaks.
    pub(crate) is_silent_about_merges: AtomicBool,
    pub(crate) merges: AtomicUsize,
    /// Before a pull request is looked at.
    pub(crate) looks: Gate,
    /// Before a branch is pushed.
    pub(crate) pushes: Gate,
}

impl ShyForge {
    pub(crate) fn new(forge: Arc<dyn Forge>, shows: bool) -> Self {
        Self {
            forge,
            shows: AtomicBool::new(shows),
            broken: AtomicBool::new(false),
            heads: AtomicUsize::new(0),
            searches: AtomicUsize::new(0),
            steps_left: AtomicUsize::new(0),
            is_stuck: AtomicBool::new(false),
            is_silent_about_merges: AtomicBool::new(false),
            merges: AtomicUsize::new(0),
            looks: Gate::default(),
            pushes: Gate::default(),
        }
    }

    /// The call has done its work; whether anybody hears of it is another matter.
    async fn stepped<T>(&self, done: T) -> T {
        let left = self.steps_left.load(Ordering::SeqCst);
        if left > 0 {
            self.steps_left.store(left - 1, Ordering::SeqCst);
            if left == 1 {
                self.is_stuck.store(true, Ordering::SeqCst);
                std::future::pending::<()>().await;
            }
        }
        done
    }
}

#[async_trait]
impl Forge for ShyForge {
    async fn pull_request(&self, number: u64) -> Result<Option<PullRequest>, ForgeError> {
        self.looks.pass().await;
        let shown =
            if self.shows.load(Ordering::SeqCst) { self.forge.pull_request(number).await? } else { None };
        self.stepped(Ok(shown)).await
    }
    async fn push_bundle(&self, branch: &str, bundle: &[u8], head_sha: &str) -> Result<(), ForgeError> {
        self.pushes.pass().await;
        self.stepped(self.forge.push_bundle(branch, bundle, head_sha).await).await
    }
    async fn find_pull_request(&self, head_branch: &str) -> Result<Option<PullRequest>, ForgeError> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(ForgeError::UnsupportedUrl { url: "broken".to_owned() });
        }
        self.stepped(self.forge.find_pull_request(head_branch).await).await
    }
    async fn open_pull_request(&self, new: &NewPullRequest) -> Result<PullRequest, ForgeError> {
        self.stepped(self.forge.open_pull_request(new).await).await
    }
    async fn comment(&self, number: u64, key: &str, body: &str) -> Result<Comment, ForgeError> {
        self.stepped(self.forge.comment(number, key, body).await).await
    }
    async fn comments(&self, number: u64) -> Result<Vec<Comment>, ForgeError> {
        self.forge.comments(number).await
    }
    async fn mark_ready(&self, number: u64) -> Result<(), ForgeError> {
        self.forge.mark_ready(number).await
    }
    async fn close_pull_request(&self, number: u64, reason: &str) -> Result<(), ForgeError> {
        self.stepped(self.forge.close_pull_request(number, reason).await).await
    }
    async fn branch_head(&self, branch: &str) -> Result<Option<String>, ForgeError> {
        self.heads.fetch_add(1, Ordering::SeqCst);
        self.forge.branch_head(branch).await
    }
    async fn delete_branch(&self, branch: &str) -> Result<(), ForgeError> {
        self.stepped(self.forge.delete_branch(branch).await).await
    }
    async fn merge(&self, request: &MergeRequest) -> Result<Merged, ForgeError> {
        let merged = self.stepped(self.forge.merge(request).await).await?;
        self.merges.fetch_add(1, Ordering::SeqCst);
        if self.is_silent_about_merges.load(Ordering::SeqCst) {
            let source = std::io::ErrorKind::ConnectionReset.into();
            return Err(ForgeError::Io { action: "read the answer".to_owned(), source });
        }
        Ok(merged)
    }
    async fn revert(&self, request: &RevertRequest) -> Result<Reverted, ForgeError> {
        self.forge.revert(request).await
    }
    async fn reverted_by(&self, commit: &str, descendant: &str) -> Result<Option<String>, ForgeError> {
        self.searches.fetch_add(1, Ordering::SeqCst);
        self.forge.reverted_by(commit, descendant).await
    }
    async fn read_file(&self, commit: &str, path: &str) -> Result<Option<Vec<u8>>, ForgeError> {
        self.stepped(self.forge.read_file(commit, path).await).await
    }
    async fn is_ancestor(&self, ancestor: &str, descendant: &str) -> Result<bool, ForgeError> {
        self.forge.is_ancestor(ancestor, descendant).await
    }
    async fn checkout(&self, commit: &str, into: &Path) -> Result<(), ForgeError> {
        self.forge.checkout(commit, into).await
    }
    fn clone_url(&self) -> String {
        self.forge.clone_url()
    }
}
