//! Which of those that wait comes next. Pure.
//!
//! - **Priority with aging.** What waits counts as one priority higher for every `aging` that it has waited, up
//!   to urgent. So nothing starves, and a long backlog of one domain does not keep another out for longer than
//!   three times `aging`.
//! - **Fair between domains.** Among equals the domain comes first whose last turn is longest ago; one that joins
//!   has its turn after those that wait already. Then the oldest.
//!
//! All that waits is held in groups of one repository and domain, so that a choice looks at the heads of the
//! groups and not at every task. S4-SP5.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use millrace_decider::Timestamp;
use millrace_events::v1::Priority;

/// Groups with a name of their own. Domains beyond share one group a repository, unless they have a limit: it
/// is looked up by the group.
const MAX_GROUPS: usize = 1_024;
/// What these are called.
const OTHERS: &str = "…";
/// Domains whose last turn is remembered.
const MAX_TURNS: usize = 4 * MAX_GROUPS;
/// Levels of priority.
const LEVELS: usize = 4;

/// A run that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// The task.
    pub(crate) task: Arc<str>,
    /// Its run.
    pub(crate) run: u32,
    /// Its repository and domain.
    pub(crate) group: Arc<Group>,
    /// Its priority, 1 (low) to 4 (urgent).
    pub(crate) level: u8,
    /// Since when.
    pub(crate) since: Timestamp,
}

/// What the limits and the turns go by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Group {
    /// Id of the repository.
    pub(crate) repository: String,
    /// The domain in its normal form.
    pub(crate) domain: String,
}

/// All that waits, and whose turn it is.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    tasks: BTreeMap<Arc<str>, Place>,
    groups: BTreeMap<Arc<Group>, Levels>,
    /// The domains that have a limit, in their normal form.
    limited: BTreeSet<String>,
    /// When each domain had its last turn, counted in turns.
    turns: BTreeMap<String, u64>,
    turn: u64,
}

/// What waits in a group, by priority, the oldest first.
type Levels = [BTreeSet<(Timestamp, Arc<str>)>; LEVELS];

#[derive(Debug)]
struct Place {
    run: u32,
    level: u8,
    since: Timestamp,
    group: Arc<Group>,
}

/// The form of a domain in which two are the same.
pub(crate) fn normal(domain: &str) -> String {
    domain.trim().to_lowercase()
}

/// The level of a priority.
pub(crate) fn level(priority: Priority) -> u8 {
    match priority {
        Priority::Low => 1,
        Priority::Normal | Priority::Unspecified => 2,
        Priority::High => 3,
        Priority::Urgent => 4,
    }
}

impl Queue {
    /// An empty one, with the domains that have a limit.
    pub(crate) fn new<'a>(limited: impl Iterator<Item = &'a String>) -> Self {
        Self { limited: limited.map(|domain| normal(domain)).collect(), ..Self::default() }
    }

    /// Adds a run, or replaces the one of the same task.
    pub(crate) fn insert(
        &mut self,
        (task, run): (&str, u32),
        (repository, domain): (&str, &str),
        level: u8,
        since: Timestamp,
    ) {
        let group = self.group(repository, normal(domain));
        let task: Arc<str> = task.into();
        self.put(Waiting { task, run, group, level, since });
    }

    /// Puts back what was taken out.
    pub(crate) fn put(&mut self, waiting: Waiting) {
        self.remove(&waiting.task);
        let Waiting { task, run, group, level, since } = waiting;
        let joined = self.turn;
        self.turns.entry(group.domain.clone()).or_insert(joined);
        let levels = self.groups.entry(group.clone()).or_default();
        if let Some(level) = levels.get_mut(slot(level)) {
            level.insert((since, task.clone()));
        }
        self.tasks.insert(task, Place { run, level, since, group });
    }

    /// Takes a task out.
    pub(crate) fn remove(&mut self, task: &str) -> Option<Waiting> {
        let (task, Place { run, level, since, group }) = self.tasks.remove_entry(task)?;
        if let Some(levels) = self.groups.get_mut(&group) {
            if let Some(level) = levels.get_mut(slot(level)) {
                level.remove(&(since, task.clone()));
            }
            if levels.iter().all(BTreeSet::is_empty) {
                self.groups.remove(&group);
            }
        }
        Some(Waiting { task, run, group, level, since })
    }

    /// The run of a task that waits.
    pub(crate) fn run_of(&self, task: &str) -> Option<u32> {
        self.tasks.get(task).map(|place| place.run)
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Whether any of them may come in.
    pub(crate) fn has_any(&self, may: impl Fn(&Group) -> bool) -> bool {
        self.groups.keys().any(|group| may(group))
    }

    /// Takes out the one that comes next, among the groups that may.
    pub(crate) fn take(
        &mut self,
        now: Timestamp,
        aging: Duration,
        may: impl Fn(&Group) -> bool,
    ) -> Option<Waiting> {
        let heads = self.groups.iter().filter(|(group, _)| may(group)).filter_map(|(group, levels)| {
            let (rank, since, task) = head(levels, now, aging)?;
            let turn = self.turns.get(&group.domain).copied().unwrap_or_default();
            Some((rank, turn, since, task))
        });
        let (.., task) = heads.min()?;
        let task = task.clone();
        self.remove(&task)
    }

    /// A domain has had its turn.
    pub(crate) fn served(&mut self, domain: &str) {
        self.turn += 1;
        self.turns.insert(normal(domain), self.turn);
        if self.turns.len() > MAX_TURNS {
            let waiting: BTreeSet<&str> = self.groups.keys().map(|group| group.domain.as_str()).collect();
            self.turns.retain(|domain, _| waiting.contains(domain.as_str()));
        }
    }

    fn group(&self, repository: &str, domain: String) -> Arc<Group> {
        let group = Group { repository: repository.to_owned(), domain };
        if let Some((group, _)) = self.groups.get_key_value(&group) {
            return group.clone();
        }
        if self.groups.len() < MAX_GROUPS || self.limited.contains(&group.domain) {
            return Arc::new(group);
        }
        let others = Group { domain: OTHERS.to_owned(), ..group };
        self.groups.get_key_value(&others).map_or_else(|| Arc::new(others), |(group, _)| group.clone())
    }
}

/// The first of a group: the highest priority with its age, then the oldest. Within a level the oldest has the
/// highest, so that four are compared.
fn head(levels: &Levels, now: Timestamp, aging: Duration) -> Option<(Reverse<u128>, Timestamp, &Arc<str>)> {
    let heads = levels.iter().zip(1_u128..).filter_map(|(waiting, level)| {
        let (since, task) = waiting.first()?;
        let aged = now.since(*since).as_micros() / aging.as_micros().max(1);
        Some((Reverse((level + aged).min(LEVELS as u128)), *since, task))
    });
    heads.min()
}

fn slot(level: u8) -> usize {
    usize::from(level).clamp(1, LEVELS) - 1
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
