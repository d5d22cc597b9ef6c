//! A process by an identity that is never used twice, and its end.

use std::collections::BTreeMap;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::ports::TargetError;

const POLL: Duration = Duration::from_millis(20);

/// How long the kernel may take to end a killed process.
const KILL_WAIT: Duration = Duration::from_secs(10);

/// Names one process for ever: a number alone is used again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// The process id, here that of the sandbox's first process: when it ends, all in it end.
    pub(super) pid: i32,
    /// Field 22 of `/proc/<pid>/stat`: clock ticks between boot and its start.
    start_ticks: u64,
    /// Which boot those ticks count from.
    boot_id: String,
}

impl Identity {
    /// The process that has this id now, unless it has ended.
    pub(super) fn of(pid: i32) -> Option<Self> {
        let stat = Stat::read(pid)?;
        stat.lives.then(|| Self { pid, start_ticks: stat.start_ticks, boot_id: boot_id() })
    }

    pub(super) fn lives(&self) -> bool {
        Self::of(self.pid).as_ref() == Some(self)
    }
}

/// Asks the processes in the sandbox to end, then ends the sandbox.
pub(super) async fn stop(process: &Identity, grace: Duration) -> Result<(), TargetError> {
    if process.lives() {
        // The kernel hides a namespace's first process from SIGTERM, so those below it are asked.
        for pid in descendants(process.pid) {
            signal(pid, Signal::TERM);
        }
        if !ends_within(process, grace).await {
            signal(process.pid, Signal::KILL);
        }
        if !ends_within(process, KILL_WAIT).await {
            return Err(TargetError::NotStopped { pid: process.pid });
        }
    }
    Ok(())
}

async fn ends_within(process: &Identity, wait: Duration) -> bool {
    let end = Instant::now() + wait;
    while process.lives() {
        if Instant::now() >= end {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
    true
}

fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        // It may be gone already; whether it is, is looked at afterwards.
        let _ = kill_process(pid, signal);
    }
}

fn descendants(pid: i32) -> Vec<i32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some((number, stat)) = number.and_then(|number| Some((number, Stat::read(number)?))) {
            children.entry(stat.parent).or_default().push(number);
        }
    }
    let mut found = children.remove(&pid).unwrap_or_default();
    let mut next = 0;
    while let Some(parent) = found.get(next) {
        found.extend(children.remove(parent).unwrap_or_default());
        next += 1;
    }
    found
}

struct Stat {
    lives: bool,
    parent: i32,
    start_ticks: u64,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The second field is the program's name in parentheses, which may itself hold spaces and
    /// parentheses; the third, the state, follows the last of them.
    fn parse(stat: &str) -> Option<Self> {
        let (_, after_name) = stat.rsplit_once(") ")?;
        let mut fields = after_name.split(' ');
        let state = fields.next()?;
        Some(Self {
            lives: !matches!(state, "Z" | "X"),
            parent: fields.next()?.parse().ok()?,
            start_ticks: fields.nth(17)?.parse().ok()?,
        })
    }
}

fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|id| id.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_field_22_whatever_the_name() {
        let fields: Vec<String> = (4..=52).map(|number| number.to_string()).collect();
        let stat = Stat::parse(&format!("7 (a) b) S {}", fields.join(" "))).unwrap();
        assert_eq!((stat.lives, stat.parent, stat.start_ticks), (true, 4, 22));
        let ended = Stat::parse(&format!("7 (sh) Z {}", fields.join(" "))).unwrap();
        assert!(!ended.lives);
    }

    #[test]
    fn a_number_used_again_is_not_the_process() {
        let own = i32::try_from(std::process::id()).unwrap();
        let mut identity = Identity::of(own).unwrap();
        assert!(identity.lives());
        identity.start_ticks -= 1;
        assert!(!identity.lives());
        let mut identity = Identity::of(own).unwrap();
        identity.boot_id.push('x');
        assert!(!identity.lives());
    }
}
