//! Control groups, where the machine lets us make them: memory and processes of all of a command together,
//! counted by the kernel. Without them limits per process and a watch have to do.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::limits::Limits;

/// The groups of this process in which more can be made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Parents {
    folders: Vec<(Kind, PathBuf)>,
}

/// A hierarchy that bounds something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Version 2: memory and processes.
    Both,
    /// Version 1, memory.
    Memory,
    /// Version 1, processes.
    Processes,
}

/// The group of one command, removed when dropped, after its last process.
#[derive(Debug)]
pub(crate) struct Group {
    folders: Vec<(Kind, PathBuf)>,
}

const PREFIX: &str = "millrace-";
/// Programs between us and the command: unshare, bubblewrap twice, the shim's attendant, with some to spare.
const FRAME_PROCESSES: u64 = 16;
/// How often, and after what time, it is looked again whether a group is empty.
const ROUNDS: u32 = 50;
const ROUND: Duration = Duration::from_millis(2);

impl Parents {
    /// Looks where groups can be made, by making one. Removes what killed processes left.
    pub(crate) fn find() -> Self {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mut parents = Self::default();
        for (kind, folder) in candidates(&own, &mounts) {
            let is_known = parents.folders.iter().any(|(known, _)| *known == kind || *known == Kind::Both);
            if !is_known && can_make(kind, &folder) {
                sweep(&folder);
                parents.folders.push((kind, folder));
            }
        }
        parents
    }

    /// What is bounded by the kernel here, for people.
    pub(crate) fn bounds(&self) -> &'static str {
        let has = |wanted| self.folders.iter().any(|(kind, _)| *kind == Kind::Both || *kind == wanted);
        match (has(Kind::Memory), has(Kind::Processes)) {
            (true, true) => "memory and processes",
            (true, false) => "memory",
            (false, true) => "processes",
            (false, false) => "nothing",
        }
    }

    /// A group with the limits of one command, not entered yet.
    pub(crate) fn make(&self, limits: &Limits) -> io::Result<Group> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("{PREFIX}{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut group = Group { folders: Vec::new() };
        for (kind, parent) in &self.folders {
            let folder = parent.join(&name);
            fs::create_dir(&folder)?;
            group.folders.push((*kind, folder.clone()));
            let processes = limits.processes.saturating_add(FRAME_PROCESSES).to_string();
            let memory = limits.memory_bytes.to_string();
            match kind {
                Kind::Both => {
                    fs::write(folder.join("memory.max"), memory)?;
                    // Absent without swap.
                    let _ = fs::write(folder.join("memory.swap.max"), "0");
                    fs::write(folder.join("pids.max"), processes)?;
                }
                Kind::Memory => fs::write(folder.join("memory.limit_in_bytes"), memory)?,
                Kind::Processes => fs::write(folder.join("pids.max"), processes)?,
            }
        }
        Ok(group)
    }
}

impl Group {
    /// Where a process writes `0` to enter.
    pub(crate) fn entrances(&self) -> impl Iterator<Item = PathBuf> {
        self.folders.iter().map(|(_, folder)| folder.join("cgroup.procs"))
    }

    /// Whether the kernel ended a process for lack of memory.
    pub(crate) fn ran_out_of_memory(&self) -> bool {
        self.folders.iter().any(|(kind, folder)| {
            let file = match kind {
                Kind::Both => "memory.events",
                Kind::Memory => "memory.oom_control",
                Kind::Processes => return false,
            };
            let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
            let kills = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
            kills.is_some_and(|count| count.trim() != "0")
        })
    }

    /// Kills everything in the group that is still there, such as what lost its attendant to the kernel's need of
    /// memory.
    fn kill(&self) {
        for (kind, folder) in &self.folders {
            match kind {
                Kind::Both => drop(fs::write(folder.join("cgroup.kill"), "1")),
                Kind::Memory => {}
                // Nothing more is started, so that this ends.
                Kind::Processes => drop(fs::write(folder.join("pids.max"), "0")),
            }
            for _ in 0..ROUNDS {
                let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
                if text.trim().is_empty() {
                    break;
                }
                for process in text.lines().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
                    // It may have ended by itself.
                    let _gone = kill_process(process, Signal::KILL);
                }
                std::thread::sleep(ROUND);
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
        for (_, folder) in &self.folders {
            // The kernel needs a moment after the last process; what stays is removed at the next start.
            for _ in 0..ROUNDS {
                match fs::remove_dir(folder) {
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                        std::thread::sleep(ROUND);
                    }
                    _ => break,
                }
            }
        }
    }
}

fn can_make(kind: Kind, parent: &Path) -> bool {
    if kind == Kind::Both {
        let control = parent.join("cgroup.subtree_control");
        let enabled = || fs::read_to_string(&control).unwrap_or_default();
        let has_both = |text: &str| {
            ["memory", "pids"].iter().all(|name| text.split_whitespace().any(|word| word == *name))
        };
        if !has_both(&enabled()) {
            // Refused while the group has processes of its own; then there is nothing to be had here.
            let _ = fs::write(&control, "+memory +pids");
        }
        if !has_both(&enabled()) {
            return false;
        }
    }
    let trial = Parents { folders: vec![(kind, parent.to_owned())] };
    trial.make(&Limits::default()).is_ok()
}

fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        let maker = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if maker.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// The folders of our own groups, version 2 first; there the group above ours too, for a service manager that
/// delegates a group puts the service in one below it.
fn candidates(own: &str, mounts: &str) -> Vec<(Kind, PathBuf)> {
    let mut found = Vec::new();
    for line in mounts.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let mut left = left.split(' ').skip(3);
        let (Some(root), Some(place)) = (left.next(), left.next()) else { continue };
        let mut right = right.split(' ');
        let (kind, options) = (right.next().unwrap_or_default(), right.nth(1).unwrap_or_default());
        let below = |group: &str| {
            let path = group.strip_prefix(root.trim_end_matches('/')).unwrap_or(group);
            Path::new(place).join(path.trim_start_matches('/'))
        };
        let group_of = |controller: &str| {
            own.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':');
                let (_, names, group) = (fields.next()?, fields.next()?, fields.next()?);
                names.split(',').any(|name| name == controller).then_some(group)
            })
        };
        let has = |controller: &str| options.split(',').any(|option| option == controller);
        match kind {
            "cgroup2" => {
                if let Some(group) = group_of("") {
                    found.insert(0, (Kind::Both, below(group)));
                    if let Some(above) = Path::new(group).parent().and_then(Path::to_str) {
                        found.insert(1, (Kind::Both, below(above)));
                    }
                }
            }
            "cgroup" if has("memory") => {
                found.extend(group_of("memory").map(|group| (Kind::Memory, below(group))))
            }
            "cgroup" if has("pids") => {
                found.extend(group_of("pids").map(|group| (Kind::Processes, below(group))))
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_found_where_they_are_mounted() {
        let one = "30 1 0:5 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                   31 1 0:6 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n";
        let found = candidates("8:pids:/\n4:memory:/a/b\n0::/\n", one);
        assert_eq!(
            found,
            [
                (Kind::Memory, PathBuf::from("/sys/fs/cgroup/memory/a/b")),
                (Kind::Processes, PathBuf::from("/sys/fs/cgroup/pids")),
            ]
        );
        let two = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let found = candidates("0::/system.slice/worker.service/main\n", two);
        assert_eq!(
            found,
            [
                (Kind::Both, PathBuf::from("/sys/fs/cgroup/system.slice/worker.service/main")),
                (Kind::Both, PathBuf::from("/sys/fs/cgroup/system.slice/worker.service")),
            ]
        );
    }
}
