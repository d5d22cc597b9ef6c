//! Processes and folders that should not be there any more.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

/// A process whose arguments name a path.
#[derive(Debug, Clone)]
struct Found {
    pid: i32,
    parent: i32,
    arguments: String,
}

/// Releases that run below a target's folder. Each is below a bubblewrap that names the folder, and that has
/// another one as its child.
pub fn releases(target: &Path) -> usize {
    let found: Vec<Found> = processes_naming(target)
        .into_iter()
        .filter(|process| process.arguments.starts_with("bwrap"))
        .collect();
    let is_outer = |process: &&Found| found.iter().all(|other| other.pid != process.parent);
    found.iter().filter(is_outer).count()
}

/// Commands that run for a worker: sandboxes that name its folder.
pub fn sandboxes(worker: &Path) -> Vec<String> {
    let found = processes_naming(worker).into_iter();
    found.filter(|found| found.arguments.starts_with("bwrap")).map(|found| found.arguments).collect()
}

/// Ends whatever names the folder in its arguments.
pub fn kill_all_below(folder: &Path) {
    for found in processes_naming(folder) {
        if let Some(pid) = Pid::from_raw(found.pid) {
            let _gone = kill_process(pid, Signal::KILL);
        }
    }
}

fn processes_naming(folder: &Path) -> Vec<Found> {
    let folder = format!("{}/", folder.display());
    let read = |entry: std::fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let arguments = std::fs::read(entry.path().join("cmdline")).ok()?;
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
        let parent = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()?;
        arguments.contains(&folder).then_some(Found { pid, parent, arguments })
    };
    std::fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(read).collect()
}
