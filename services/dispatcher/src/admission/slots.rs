//! Limits of repositories and domains: how many runs are under way at a time. Strict.
//!
//! Each limit is one entry of the bucket, which lists the runs that use it up. It is changed by
//! compare-and-swap only, so that two dispatchers never let in more than the limit together. A run that finds
//! itself there has its share; giving back what is not there changes nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millrace_decider::Timestamp;
use millrace_runtime::broker::BrokerError;
use millrace_runtime::kv::Kv;
use serde::{Deserialize, Serialize};

use super::queue::{Group, normal};

/// How often a change is tried while others change the same entry.
const MAX_TRIES: usize = 64;

/// The limits, and who uses them up.
pub(crate) struct Slots {
    kv: Arc<dyn Kv>,
    limits: BTreeMap<String, Limit>,
    known: Mutex<BTreeMap<String, Known>>,
    /// One change at a time: this process never competes with itself.
    gate: tokio::sync::Mutex<()>,
}

struct Limit {
    most: usize,
    /// `repository shop`.
    what: String,
}

/// An entry as it was seen last.
#[derive(Debug, Clone, Default)]
struct Known {
    /// 0: there is none.
    revision: u64,
    holders: Vec<Holder>,
}

/// A run that uses up a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    /// The task.
    pub(crate) task: String,
    /// Its run.
    pub(crate) run: u32,
    /// Since when, in microseconds since the epoch.
    since: i64,
}

impl Holder {
    /// Since when.
    pub(crate) fn since(&self) -> Timestamp {
        Timestamp::from_micros(self.since)
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Entry {
    holders: Vec<Holder>,
}

impl Slots {
    /// With the limits by repository and by domain.
    pub(crate) fn new(
        kv: Arc<dyn Kv>,
        repositories: &BTreeMap<String, u32>,
        domains: &BTreeMap<String, u32>,
    ) -> Self {
        let limit = |what: &str, name: &str, most: u32| Limit {
            most: usize::try_from(most).unwrap_or(usize::MAX),
            what: format!("{what} {name}"),
        };
        let repositories =
            repositories.iter().map(|(name, most)| (repository_key(name), limit("repository", name, *most)));
        let domains = domains.iter().map(|(name, most)| (domain_key(name), limit("domain", name, *most)));
        let limits = repositories.chain(domains).collect();
        Self { kv, limits, known: Mutex::default(), gate: tokio::sync::Mutex::default() }
    }

    /// Whether there is any limit.
    pub(crate) fn is_empty(&self) -> bool {
        self.limits.is_empty()
    }

    /// What is full, as far as is known; `None`: there is room for a run of this group.
    pub(crate) fn full(&self, group: &Group) -> Option<String> {
        if self.limits.is_empty() {
            return None;
        }
        let known = self.lock();
        self.of(group).find_map(|(key, limit)| {
            let used = known.get(key).map_or(0, |known| known.holders.len());
            (used >= limit.most).then(|| limit.says(used))
        })
    }

    /// Takes a share of every limit of the group, or of none. `Some`: what is full.
    pub(crate) async fn take(
        &self,
        (task, run): (&str, u32),
        group: &Group,
        now: Timestamp,
    ) -> Result<Option<String>, BrokerError> {
        if self.limits.is_empty() {
            return Ok(None);
        }
        let _gate = self.gate.lock().await;
        let mut taken = Vec::new();
        for (key, limit) in self.of(group) {
            let mut full = None;
            self.change(key, false, |holders| {
                full = None;
                if holders.iter().any(|holder| holder.task == task && holder.run == run) {
                    return false;
                }
                // A task has one run at a time.
                holders.retain(|holder| holder.task != task);
                if holders.len() >= limit.most {
                    full = Some(limit.says(holders.len()));
                    return false;
                }
                holders.push(Holder { task: task.to_owned(), run, since: now.as_micros() });
                true
            })
            .await?;
            if full.is_some() {
                for key in taken {
                    self.change(key, false, |holders| give_back(holders, task, run)).await?;
                }
                return Ok(full);
            }
            taken.push(key.as_str());
        }
        Ok(None)
    }

    /// Gives back what a run, or one before it of the same task, uses up.
    pub(crate) async fn free(&self, (task, run): (&str, u32), group: &Group) -> Result<(), BrokerError> {
        if self.limits.is_empty() {
            return Ok(());
        }
        let _gate = self.gate.lock().await;
        for (key, _) in self.of(group) {
            self.change(key, true, |holders| give_back(holders, task, run)).await?;
        }
        Ok(())
    }

    /// Takes a run out of one limit: it is over, and nobody has said so.
    pub(crate) async fn evict(&self, key: &str, holder: &Holder) -> Result<(), BrokerError> {
        let _gate = self.gate.lock().await;
        self.change(key, true, |holders| give_back(holders, &holder.task, holder.run)).await
    }

    /// Reads every entry anew: other dispatchers change them too.
    pub(crate) async fn refresh(&self) -> Result<(), BrokerError> {
        let _gate = self.gate.lock().await;
        for key in self.limits.keys() {
            self.load(key).await?;
        }
        Ok(())
    }

    /// Every run that uses up a limit, with the limit's key, as far as is known.
    pub(crate) fn holders(&self) -> Vec<(String, Holder)> {
        let known = self.lock();
        known
            .iter()
            .flat_map(|(key, known)| known.holders.iter().map(|holder| (key.clone(), holder.clone())))
            .collect()
    }

    /// The limits of a group.
    fn of(&self, group: &Group) -> impl Iterator<Item = (&String, &Limit)> {
        let keys = [repository_key(&group.repository), domain_key(&group.domain)];
        keys.into_iter().filter_map(|key| self.limits.get_key_value(&key))
    }

    /// Changes an entry until nobody was in between. `edit` says whether it changed anything; `anew`: not by
    /// what is known.
    async fn change(
        &self,
        key: &str,
        anew: bool,
        mut edit: impl FnMut(&mut Vec<Holder>) -> bool + Send,
    ) -> Result<(), BrokerError> {
        let mut known = if anew { None } else { self.lock().get(key).cloned() };
        for _ in 0..MAX_TRIES {
            let mut next = match known.take() {
                Some(known) => known,
                None => self.load(key).await?,
            };
            if !edit(&mut next.holders) {
                return Ok(());
            }
            let value = serde_json::to_vec(&Entry { holders: next.holders.clone() }).unwrap_or_default();
            // What is not known to be stored is read again.
            self.lock().remove(key);
            let written = match next.revision {
                0 => self.kv.create(key, &value).await?,
                revision => self.kv.update(key, &value, revision).await?,
            };
            if let Some(revision) = written {
                self.lock().insert(key.to_owned(), Known { revision, ..next });
                return Ok(());
            }
        }
        let message = format!("other dispatchers have changed `{key}` {MAX_TRIES} times meanwhile");
        Err(BrokerError::Failed { operation: "take a share of a limit".to_owned(), message })
    }

    async fn load(&self, key: &str) -> Result<Known, BrokerError> {
        let known = match self.kv.get(key).await? {
            // What cannot be read counts for nothing: the runs in it are found by their own ends.
            Some(entry) => Known {
                revision: entry.revision,
                holders: serde_json::from_slice::<Entry>(&entry.value).unwrap_or_default().holders,
            },
            None => Known::default(),
        };
        self.lock().insert(key.to_owned(), known.clone());
        Ok(known)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Limit {
    fn says(&self, used: usize) -> String {
        format!("{} has {used} of {} runs under way", self.what, self.most)
    }
}

fn give_back(holders: &mut Vec<Holder>, task: &str, run: u32) -> bool {
    let before = holders.len();
    holders.retain(|holder| holder.task != task || holder.run > run);
    holders.len() < before
}

fn repository_key(name: &str) -> String {
    format!("repository.{name}")
}

/// A domain is free text, and a key is not.
fn domain_key(name: &str) -> String {
    let hex: String = normal(name).bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("domain.{hex}")
}
