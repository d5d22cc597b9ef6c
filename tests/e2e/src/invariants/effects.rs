//! Where effects land: each at most once per idempotency key, and nothing of what is over left behind.

use std::collections::BTreeSet;

use super::{Damage, End, Evidence, Violation};
use crate::receiving::{Merge, Receiver};

/// I3. The keys: a pull request per attempt's branch, a merge per attempt and (unless it was reverted) per
/// task, a revert per merge, a start per merge.
pub(super) fn once(evidence: &Evidence) -> Vec<Violation> {
    let mut violations: Vec<Violation> = evidence.receivers.iter().flat_map(twice).collect();
    let wrong = |damage, text| Violation { invariant: "I3", damage, text };
    for expected in &evidence.expected {
        let receiver = evidence.receivers.iter().find(|found| found.repository == expected.repository);
        let merges: Vec<&Merge> =
            receiver.map(|receiver| standing(receiver, &expected.task)).unwrap_or_default();
        let task = &expected.task;
        match (expected.end == End::Released, merges.len()) {
            (true, 0) => violations.push(wrong(Damage::Lost, format!("{task} is not in its base branch"))),
            (false, 1..) => {
                violations
                    .push(wrong(Damage::Wrong, format!("{task} was not released and is merged: {merges:?}")));
            }
            _ => {}
        }
        let was_started = |merge: &Merge| receiver.is_some_and(|found| found.starts.contains(&merge.commit));
        if let Some(merge) = merges.iter().find(|merge| expected.end == End::Released && !was_started(merge))
        {
            let text = format!("{} of {task} was merged and never started on its target", merge.commit);
            violations.push(wrong(Damage::Lost, text));
        }
    }
    violations
}

fn standing<'a>(receiver: &'a Receiver, task: &str) -> Vec<&'a Merge> {
    let stands = |merge: &&Merge| merge.task == task && !receiver.reverted.contains(&merge.commit);
    receiver.merges.iter().filter(stands).collect()
}

fn twice(receiver: &Receiver) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut twice = |what: &str, of: &str, count: usize| {
        let text = format!("{}: {count} {what} of {of}", receiver.repository);
        violations.push(Violation { invariant: "I3", damage: Damage::Duplicated, text });
    };
    let branches = receiver.pull_requests.iter().map(String::as_str);
    for (branch, count) in Receiver::counted(branches).into_iter().filter(|(_, count)| *count > 1) {
        twice("pull requests", branch, count);
    }
    let attempts: Vec<String> =
        receiver.merges.iter().map(|merge| format!("{} {}", merge.task, merge.attempt)).collect();
    let attempts = Receiver::counted(attempts.iter().map(String::as_str));
    for (attempt, count) in attempts.into_iter().filter(|(_, count)| *count > 1) {
        twice("merges", attempt, count);
    }
    let tasks: BTreeSet<&str> = receiver.merges.iter().map(|merge| merge.task.as_str()).collect();
    for task in tasks {
        let count = standing(receiver, task).len();
        if count > 1 {
            twice("standing merges", task, count);
        }
    }
    let reverted = Receiver::counted(receiver.reverted.iter().map(String::as_str));
    for (commit, count) in reverted.into_iter().filter(|(_, count)| *count > 1) {
        twice("reverts", commit, count);
    }
    // A rollback starts the release before once more.
    let started = Receiver::counted(receiver.starts.iter().map(String::as_str));
    let repeated: usize = started.values().map(|count| count - 1).sum();
    if repeated > receiver.reverted.len() {
        let worst = started.iter().max_by_key(|(_, count)| **count).map_or("", |(commit, _)| *commit);
        twice("starts more than rollbacks ask for, among them", worst, repeated - receiver.reverted.len());
    }
    violations
}

/// Nothing of what is over is left.
pub(super) fn nothing_left(evidence: &Evidence) -> Vec<Violation> {
    let left = |text: String| Violation { invariant: "leftovers", damage: Damage::Wrong, text };
    let mut violations: Vec<Violation> = Vec::new();
    for receiver in &evidence.receivers {
        let name = &receiver.repository;
        violations.extend(receiver.branches.iter().map(|branch| left(format!("{name}: branch {branch}"))));
        if receiver.running > 1 {
            violations.push(left(format!("{name}: {} releases run on its target", receiver.running)));
        }
    }
    violations.extend(evidence.sandboxes.iter().map(|found| left(format!("a sandbox: {found}"))));
    violations
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::Expected;

    fn merge(task: &str, attempt: &str, commit: &str) -> Merge {
        let text = |text: &str| text.to_owned();
        Merge { commit: text(commit), task: text(task), attempt: text(attempt), head: text("h") }
    }

    fn good() -> Evidence {
        let receiver = Receiver {
            repository: "shop".to_owned(),
            merges: vec![merge("T-1", "1.1", "a"), merge("T-2", "1.2", "b")],
            pull_requests: vec!["millrace/T-1/1.1".to_owned(), "millrace/T-2/1.2".to_owned()],
            starts: vec!["a".to_owned(), "b".to_owned()],
            running: 1,
            ..Receiver::default()
        };
        let expected = |task: &str| Expected {
            task: task.to_owned(),
            repository: "shop".to_owned(),
            runs: 1,
            end: End::Released,
        };
        Evidence {
            receivers: vec![receiver],
            expected: vec![expected("T-1"), expected("T-2")],
            ..Evidence::default()
        }
    }

    fn broken(check: super::super::Check, change: impl FnOnce(&mut Evidence), text: &str) {
        let mut evidence = good();
        change(&mut evidence);
        let found = check(&evidence);
        assert!(found.iter().any(|violation| violation.text.contains(text)), "{text}: {found:?}");
    }

    #[test]
    fn i3_finds_every_effect_that_happened_twice_or_not_at_all() {
        assert_eq!(once(&good()), []);
        let receiver =
            |evidence: &mut Evidence, change: &dyn Fn(&mut Receiver)| change(&mut evidence.receivers[0]);
        broken(
            once,
            |all| receiver(all, &|r| r.merges.push(merge("T-1", "1.1", "c"))),
            "2 merges of T-1 1.1",
        );
        broken(
            once,
            |all| receiver(all, &|r| r.merges.push(merge("T-1", "1.2", "c"))),
            "2 standing merges of T-1",
        );
        broken(once, |all| receiver(all, &|r| drop(r.merges.remove(0))), "T-1 is not in its base branch");
        broken(
            once,
            |all| receiver(all, &|r| r.pull_requests.push("millrace/T-1/1.1".into())),
            "2 pull requests",
        );
        broken(once, |all| receiver(all, &|r| r.starts.push("a".into())), "1 starts more");
        broken(once, |all| receiver(all, &|r| drop(r.starts.remove(0))), "never started");
        broken(once, |all| receiver(all, &|r| r.reverted = vec!["a".into(), "a".into()]), "2 reverts of a");
        broken(once, |all| all.expected[0].end = End::Failed, "was not released and is merged");
    }

    #[test]
    fn a_merge_that_was_taken_back_may_be_made_again_and_the_release_before_starts_again() {
        let mut evidence = good();
        let receiver = &mut evidence.receivers[0];
        receiver.reverted.push("b".to_owned());
        receiver.starts.push("a".to_owned());
        receiver.merges.push(merge("T-2", "2.1", "c"));
        receiver.starts.push("c".to_owned());
        assert_eq!(once(&evidence), []);
    }

    #[test]
    fn leftovers_are_found() {
        assert_eq!(nothing_left(&good()), []);
        broken(nothing_left, |all| all.receivers[0].branches.push("refs/heads/millrace/x".into()), "branch");
        broken(nothing_left, |all| all.receivers[0].running = 2, "2 releases");
        broken(nothing_left, |all| all.sandboxes.push("bwrap".into()), "a sandbox");
    }
}
