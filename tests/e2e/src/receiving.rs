//! What arrived where effects land: in the bare repositories and on the targets. Counted there, with git and
//! the files of the releases themselves; Millrace's own logs have no say in it.

use std::collections::BTreeMap;
use std::path::Path;

use crate::leftovers;
use crate::repository::Repository;

/// A commit on the base branch that says which attempt it is the merge of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merge {
    /// The commit.
    pub commit: String,
    /// Of its trailer `Task-Id`.
    pub task: String,
    /// Of its trailer `Run`: `<run>.<attempt>`.
    pub attempt: String,
    /// The second parent: what was merged.
    pub head: String,
}

/// One repository and its target.
#[derive(Debug, Clone, Default)]
pub struct Receiver {
    /// The repository's id.
    pub repository: String,
    /// Merges of tasks on the base branch.
    pub merges: Vec<Merge>,
    /// Commits that were taken back, once per revert that says so.
    pub reverted: Vec<String>,
    /// Head branches of all pull requests that were ever opened, once each.
    pub pull_requests: Vec<String>,
    /// Branches that Millrace has made and that are still there.
    pub branches: Vec<String>,
    /// Commits that were started on the target, once per start.
    pub starts: Vec<String>,
    /// Releases that run now.
    pub running: usize,
}

impl Receiver {
    /// Looks at a repository and its target's folder.
    pub fn look(repository: &Repository, target: &Path) -> Self {
        let field = |text: &str, name: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(name));
            found.unwrap_or_default().trim().to_owned()
        };
        let log = repository.git(&["log", "--first-parent", "--format=%H %P%n%B%x00", "main"]);
        let (mut merges, mut reverted) = (Vec::new(), Vec::new());
        for entry in log.split('\0').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (ids, message) = entry.split_once('\n').unwrap_or((entry, ""));
            let ids: Vec<&str> = ids.split(' ').collect();
            let (task, attempt) = (field(message, "Task-Id:"), field(message, "Run:"));
            if ids.len() == 3 && !attempt.is_empty() {
                let (commit, head) = (ids[0].to_owned(), ids[2].to_owned());
                merges.push(Merge { commit, task, attempt, head });
            }
        }
        for line in repository.git(&["log", "--format=%B", "main"]).lines() {
            reverted.extend(line.strip_prefix("Reverts: ").map(|commit| commit.trim().to_owned()));
        }
        let references = repository.git(&["for-each-ref", "--format=%(refname)"]);
        let below = |prefix: &str| -> Vec<String> {
            references.lines().filter(|name| name.starts_with(prefix)).map(str::to_owned).collect()
        };
        let head_branch = |name: &String| {
            let text = repository.git(&["cat-file", "blob", &format!("{name}:pull.json")]);
            let record: serde_json::Value =
                serde_json::from_str(&text).expect("the record of a pull request");
            record["pull"]["head_branch"].as_str().expect("its head branch").to_owned()
        };
        let starts = std::fs::read_to_string(target.join("data/starts")).unwrap_or_default();
        Self {
            repository: repository.name.clone(),
            merges,
            reverted,
            pull_requests: below("refs/millrace/pulls/").iter().map(head_branch).collect(),
            branches: below("refs/heads/millrace/"),
            starts: starts.lines().map(str::to_owned).collect(),
            running: leftovers::releases(target),
        }
    }

    /// How often each thing happened.
    pub(crate) fn counted<'a>(things: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, usize> {
        let mut counts = BTreeMap::new();
        for thing in things {
            *counts.entry(thing).or_default() += 1;
        }
        counts
    }
}
