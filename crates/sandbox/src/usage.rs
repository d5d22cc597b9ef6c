//! What a running sandbox uses, seen from outside: the growth of its workspace and its memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::tree;

/// Each entry counts at least this much, so that a million empty files count too.
const BLOCK_BYTES: u64 = 4096;

/// Bytes in use under the workspace, `.git` apart (a command cannot write there). Hard links count once.
///
/// # Errors
/// The tree cannot be measured: a directory without read permission, or nesting without end.
pub(crate) fn workspace_bytes(root: &Path) -> io::Result<u64> {
    let mut seen = BTreeSet::new();
    let mut total: u64 = 0;
    tree::walk(root, &mut |_, _, stat| {
        if stat.st_nlink < 2 || seen.insert((stat.st_dev, stat.st_ino)) {
            let allocated = u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512);
            total = total.saturating_add(allocated.max(BLOCK_BYTES));
        }
        Ok(())
    })?;
    Ok(total)
}

/// What the processes below one process hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Held {
    /// Private memory, and open files that live in memory and have no name (memfd).
    pub(crate) memory_bytes: u64,
    /// Open files on the workspace's device that were deleted: no walk of the workspace finds them.
    pub(crate) nameless_disk_bytes: u64,
}

/// Sums up all descendants of `monitor`. Processes that end meanwhile count nothing.
pub(crate) fn held_below(monitor: u32, workspace_device: u64) -> Held {
    let mut held = Held::default();
    let mut nameless = BTreeSet::new();
    for Process { pid, memory_bytes } in descendants(monitor) {
        held.memory_bytes = held.memory_bytes.saturating_add(memory_bytes);
        let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            continue;
        };
        for file in open.filter_map(|entry| fs::metadata(entry.ok()?.path()).ok()) {
            let fresh = file.is_file() && file.nlink() == 0 && nameless.insert((file.dev(), file.ino()));
            let bytes = if fresh { file.blocks().saturating_mul(512) } else { 0 };
            if file.dev() == workspace_device {
                held.nameless_disk_bytes = held.nameless_disk_bytes.saturating_add(bytes);
            } else {
                held.memory_bytes = held.memory_bytes.saturating_add(bytes);
            }
        }
    }
    held
}

/// The direct children of a process; empty when it is gone.
pub(crate) fn children(of: u32) -> Vec<i32> {
    fs::read_to_string(format!("/proc/{of}/task/{of}/children"))
        .map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
        .unwrap_or_default()
}

/// All processes below one process, parents first; threads apart.
pub(crate) fn below(process: u32) -> Vec<i32> {
    let mut found = Vec::new();
    let mut next: Vec<i32> = children_of_threads(process);
    while let Some(pid) = next.pop() {
        found.push(pid);
        next.extend(u32::try_from(pid).map(children_of_threads).unwrap_or_default());
    }
    found
}

fn children_of_threads(of: u32) -> Vec<i32> {
    let Ok(threads) = fs::read_dir(format!("/proc/{of}/task")) else { return Vec::new() };
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// Processes and threads of one user on this machine, as far as they can be seen.
pub(crate) fn threads_of(user: u32) -> u64 {
    let Ok(processes) = fs::read_dir("/proc") else { return 0 };
    let own = processes.filter_map(Result::ok).filter(|entry| {
        let is_process = entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok());
        is_process && entry.metadata().is_ok_and(|found| found.uid() == user)
    });
    own.map(|entry| fs::read_dir(entry.path().join("task")).map_or(0, |tasks| tasks.count() as u64)).sum()
}

/// Processes below one process, with their threads. Cheap for few: it reads nothing but their own entries.
pub(crate) fn processes_below(monitor: u32) -> u64 {
    let mut count = 0;
    let mut next: Vec<i32> = children(monitor);
    while let Some(pid) = next.pop() {
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
            continue;
        };
        for thread in threads.filter_map(Result::ok) {
            count += 1;
            let below = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            next.extend(below.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
        }
    }
    count
}

struct Process {
    pid: u32,
    memory_bytes: u64,
}

fn descendants(of: u32) -> Vec<Process> {
    let mut by_parent: BTreeMap<u32, Vec<Process>> = BTreeMap::new();
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    for entry in processes.filter_map(Result::ok) {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(status) = fs::read_to_string(entry.path().join("status")) else {
            continue;
        };
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        if let Some(parent) = field("PPid:").and_then(|parent| u32::try_from(parent).ok()) {
            let memory_bytes = field("RssAnon:").unwrap_or(0).saturating_mul(1024);
            by_parent.entry(parent).or_default().push(Process { pid, memory_bytes });
        }
    }
    let mut found = Vec::new();
    let mut next = by_parent.remove(&of).unwrap_or_default();
    while let Some(process) = next.pop() {
        next.extend(by_parent.remove(&process.pid).unwrap_or_default());
        found.push(process);
    }
    found
}
