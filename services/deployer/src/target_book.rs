//! Who releases to which target, which commits a target refuses, and what is verified on it. One entry per
//! target, changed by compare-and-swap: one release at a time, from merge to verdict.

use std::sync::Arc;

use millrace_events::{Code, v1::TaskRef};
use millrace_runtime::host::Fault;
use millrace_runtime::kv::Kv;
use serde::{Deserialize, Serialize};

/// Changes that are tried again because another process was faster.
const MAX_TRIES: u32 = 32;
/// Refused commits that are remembered, the newest.
const MAX_REFUSED: usize = 64;

/// The entries.
#[derive(Clone)]
pub struct TargetBook {
    kv: Arc<dyn Kv>,
}

/// What is known of a target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetEntry {
    /// Whose release is under way.
    pub owner: Option<Owner>,
    /// Commits that were rolled back, oldest first: never released again.
    pub refused: Vec<String>,
    /// The commit that is verified on it; empty: none.
    pub release: String,
}

/// The attempt that has a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Task id.
    pub task: String,
    /// Run.
    pub run: u32,
    /// Attempt.
    pub attempt: u32,
}

impl From<&TaskRef> for Owner {
    fn from(task: &TaskRef) -> Self {
        Self { task: task.task.clone(), run: task.run, attempt: task.attempt }
    }
}

impl TargetBook {
    /// The entries in a bucket.
    pub fn new(kv: Arc<dyn Kv>) -> Self {
        Self { kv }
    }

    /// What is known of `target`; `None` when nothing was ever released to it from here.
    pub async fn entry(&self, target: &str) -> Result<Option<TargetEntry>, Fault> {
        match self.kv.get(&key(target)).await? {
            Some(stored) => read(target, &stored.value).map(Some),
            None => Ok(None),
        }
    }

    /// Takes the target, or finds that `owner` has it. `Err` inside: who has it. A target that nothing is
    /// known of starts with `release` as what is verified on it.
    pub async fn take(
        &self,
        target: &str,
        owner: &Owner,
        release: &str,
    ) -> Result<Result<TargetEntry, Owner>, Fault> {
        let entry = self
            .change(target, release, |entry| {
                let free = entry.owner.is_none();
                if free {
                    entry.owner = Some(owner.clone());
                }
                free
            })
            .await?;
        Ok(match &entry.owner {
            Some(other) if other != owner => Err(other.clone()),
            _ => Ok(entry),
        })
    }

    /// Refuses a commit from now on.
    pub async fn refuse(&self, target: &str, commit: &str) -> Result<TargetEntry, Fault> {
        self.change(target, "", |entry| {
            let new = !entry.refused.iter().any(|refused| refused == commit);
            if new {
                entry.refused.push(commit.to_owned());
                let surplus = entry.refused.len().saturating_sub(MAX_REFUSED);
                entry.refused.drain(..surplus);
            }
            new
        })
        .await
    }

    /// Gives the target back, if it is held by whom `is_holder` means. `release` is verified on it now.
    pub async fn free(
        &self,
        target: &str,
        is_holder: impl Fn(&Owner) -> bool,
        release: Option<&str>,
    ) -> Result<(), Fault> {
        if self.entry(target).await?.is_none() {
            return Ok(());
        }
        self.change(target, "", |entry| {
            let held = entry.owner.as_ref().is_some_and(&is_holder);
            if held {
                entry.owner = None;
                if let Some(release) = release {
                    entry.release = release.to_owned();
                }
            }
            held
        })
        .await
        .map(drop)
    }

    /// Applies `change` until nobody came in between; a change that says `false` writes nothing.
    async fn change(
        &self,
        target: &str,
        release: &str,
        change: impl Fn(&mut TargetEntry) -> bool,
    ) -> Result<TargetEntry, Fault> {
        let key = key(target);
        for _ in 0..MAX_TRIES {
            let stored = self.kv.get(&key).await?;
            let mut entry = match &stored {
                Some(stored) => read(target, &stored.value)?,
                None => TargetEntry { release: release.to_owned(), ..TargetEntry::default() },
            };
            if !change(&mut entry) {
                return Ok(entry);
            }
            let value = serde_json::to_vec(&entry).map_err(|error| {
                Fault::lasting(Code::Internal, format!("the entry of target {target} cannot be written"))
                    .caused_by(error)
            })?;
            let written = match &stored {
                Some(stored) => self.kv.update(&key, &value, stored.revision).await?,
                None => self.kv.create(&key, &value).await?,
            };
            if written.is_some() {
                return Ok(entry);
            }
        }
        Err(Fault::transient(Code::Internal, format!("the entry of target {target} kept changing")))
    }
}

fn key(target: &str) -> String {
    format!("target-{target}")
}

fn read(target: &str, value: &[u8]) -> Result<TargetEntry, Fault> {
    serde_json::from_slice(value).map_err(|error| {
        Fault::lasting(Code::Internal, format!("the entry of target {target} cannot be read"))
            .caused_by(error)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use millrace_events::catalogue::TARGET_BUCKET;
    use millrace_runtime::bootstrap::{Declared, Installation};
    use millrace_runtime::bucket::Bucket;
    use millrace_runtime::clock::System;
    use millrace_runtime::memory::MemoryBroker;

    use super::*;

    fn book() -> TargetBook {
        let broker = MemoryBroker::new(Arc::new(System), &Declared::of(&Installation::default()));
        TargetBook::new(Arc::new(Bucket::new(Arc::new(broker), TARGET_BUCKET)))
    }

    fn owner(attempt: u32) -> Owner {
        Owner { task: "VTID-00001".to_owned(), run: 1, attempt }
    }

    #[tokio::test]
    async fn a_target_has_one_owner_at_a_time() {
        let book = book();
        let taken = book.take("web", &owner(1), "aaa").await.unwrap().unwrap();
        assert_eq!((taken.owner, taken.release.as_str()), (Some(owner(1)), "aaa"));
        assert!(book.take("web", &owner(1), "zzz").await.unwrap().is_ok(), "it may ask again");
        assert_eq!(book.take("web", &owner(2), "").await.unwrap(), Err(owner(1)));
        assert!(book.take("other", &owner(2), "").await.unwrap().is_ok());
        // Only the holder gives it back.
        book.free("web", |holder| *holder == owner(2), Some("bbb")).await.unwrap();
        assert_eq!(book.take("web", &owner(2), "").await.unwrap(), Err(owner(1)));
        book.free("web", |holder| *holder == owner(1), Some("bbb")).await.unwrap();
        let taken = book.take("web", &owner(2), "").await.unwrap().unwrap();
        assert_eq!(taken.release, "bbb");
    }

    #[tokio::test]
    async fn of_many_at_once_one_gets_it() {
        let book = book();
        let takers: Vec<_> = (1..=20)
            .map(|attempt| {
                let book = book.clone();
                async move { book.take("web", &owner(attempt), "").await.unwrap().is_ok() }
            })
            .collect();
        let mut set = tokio::task::JoinSet::new();
        for taker in takers {
            set.spawn(taker);
        }
        let taken = set.join_all().await;
        assert_eq!(taken.into_iter().filter(|taken| *taken).count(), 1);
    }

    #[tokio::test]
    async fn refused_commits_stay_and_are_bounded() {
        let book = book();
        for number in 0..70 {
            for _ in 0..2 {
                book.refuse("web", &format!("{number}")).await.unwrap();
            }
        }
        let entry = book.entry("web").await.unwrap().unwrap();
        assert_eq!(entry.refused.len(), MAX_REFUSED);
        assert_eq!(entry.refused.last().map(String::as_str), Some("69"));
        book.free("never", |_| true, None).await.unwrap();
        assert_eq!(book.entry("never").await.unwrap(), None);
    }
}
