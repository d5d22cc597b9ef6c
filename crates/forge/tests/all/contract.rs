//! What every implementation of the port must do. Each function is one promise; `contract!` makes a test
//! of each for one bench.

use millrace_forge::{ForgeError, MergeRequest, RevertRequest, State};

use super::bench::{Bench, Person, merge, new, proposed, published};

const BRANCH: &str = "millrace/VTID-01213/1.1";
const RED: &[(&str, &str)] = &[("page.css", "red\nb\nc\n")];

macro_rules! contract {
    ($bench:expr; $($promise:ident)*) => {
        $(
            #[tokio::test]
            async fn $promise() {
                crate::all::contract::$promise(&$bench).await;
            }
        )*
    };
}
pub(crate) use contract;

pub(crate) async fn a_bundle_becomes_a_branch_once(bench: &dyn Bench) {
    let forge = bench.forge().await;
    let worker = Person::clone_from(bench, "worker").await;
    let head = worker.commit(RED).await;
    let bundle = worker.bundle("change").await;
    for _ in 0..2 {
        forge.push_bundle(BRANCH, &bundle, &head).await.unwrap();
    }
    assert_eq!(forge.branch_head(BRANCH).await.unwrap(), Some(head));
    assert_eq!(forge.branch_head("millrace/none").await.unwrap(), None);
}

pub(crate) async fn a_branch_with_another_commit_is_taken(bench: &dyn Bench) {
    let forge = bench.forge().await;
    let first = published(bench, &*forge, BRANCH, RED).await;
    let worker = Person::clone_from(bench, "late").await;
    let head = worker.commit(&[("page.css", "late\n")]).await;
    let bundle = worker.bundle("late").await;
    let refused = forge.push_bundle(BRANCH, &bundle, &head).await;
    assert!(matches!(refused, Err(ForgeError::BranchTaken { actual, .. }) if actual == first));
    assert_eq!(forge.branch_head(BRANCH).await.unwrap(), Some(first));
}

pub(crate) async fn only_own_branches_are_written(bench: &dyn Bench) {
    let forge = bench.forge().await;
    let worker = Person::clone_from(bench, "worker").await;
    let head = worker.commit(RED).await;
    let bundle = worker.bundle("change").await;
    for branch in ["main", "feature/x", "millrace/../main", "millrace/-f"] {
        let refused = forge.push_bundle(branch, &bundle, &head).await;
        assert!(matches!(refused, Err(ForgeError::BranchRefused { .. })), "{branch}");
        let refused = forge.delete_branch(branch).await;
        assert!(matches!(refused, Err(ForgeError::BranchRefused { .. })), "{branch}");
    }
}

pub(crate) async fn a_bundle_without_the_commit_is_invalid(bench: &dyn Bench) {
    let forge = bench.forge().await;
    let worker = Person::clone_from(bench, "worker").await;
    let head = worker.commit(RED).await;
    let bundle = worker.bundle("change").await;
    let other = "1".repeat(40);
    let broken = b"# v2 git bundle\nrubbish".to_vec();
    for (bundle, head) in [(&bundle, &other), (&broken, &head)] {
        let refused = forge.push_bundle(BRANCH, bundle, head).await;
        assert!(matches!(refused, Err(ForgeError::BundleInvalid { .. })));
    }
    assert_eq!(forge.branch_head(BRANCH).await.unwrap(), None);
}

pub(crate) async fn opening_twice_is_one_pull_request(bench: &dyn Bench) {
    let (forge, first) = proposed(bench, BRANCH, RED).await;
    assert_eq!(first.state, State::Open);
    assert_eq!(first.labels, ["millrace"]);
    let again = forge.open_pull_request(&new(BRANCH)).await.unwrap();
    assert_eq!(again, first);
    assert_eq!(forge.find_pull_request(BRANCH).await.unwrap(), Some(first));
    assert_eq!(forge.find_pull_request("millrace/x").await.unwrap(), None);
}

pub(crate) async fn a_closed_attempt_is_not_opened_again(bench: &dyn Bench) {
    let (forge, pull) = proposed(bench, BRANCH, RED).await;
    forge.close_pull_request(pull.number, "superseded").await.unwrap();
    let again = forge.open_pull_request(&new(BRANCH)).await.unwrap();
    assert_eq!((again.number, again.state), (pull.number, State::Closed));
}

pub(crate) async fn racing_openers_get_one_pull_request(bench: &dyn Bench) {
    let forge = bench.forge().await;
    published(bench, &*forge, BRANCH, RED).await;
    let other = "millrace/VTID-01214/1.1";
    published(bench, &*forge, other, &[("other", "x")]).await;
    let openers = (0..6).map(async |index| {
        let branch = if index % 2 == 0 { BRANCH } else { other };
        let forge = bench.forge().await;
        forge.open_pull_request(&new(branch)).await.unwrap()
    });
    let opened = futures::future::join_all(openers).await;
    let mut numbers: Vec<u64> = opened.iter().map(|pull| pull.number).collect();
    assert_eq!(numbers[0], numbers[2]);
    assert_eq!(numbers[1], numbers[3]);
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, [1, 2]);
}

pub(crate) async fn nothing_to_merge_is_not_opened(bench: &dyn Bench) {
    let forge = bench.forge().await;
    let person = Person::clone_from(bench, "person").await;
    person.push("same").await;
    let refused = forge.open_pull_request(&new("same")).await;
    assert!(matches!(refused, Err(ForgeError::NothingToMerge { .. })));
    let refused = forge.open_pull_request(&new("absent")).await;
    assert!(matches!(refused, Err(ForgeError::BranchNotFound { .. })));
}

pub(crate) async fn s2_g5_deleted_pull_request_is_not_merged(bench: &dyn Bench) {
    let (forge, pull) = proposed(bench, BRANCH, RED).await;
    bench.delete_pull_request(pull.number).await;
    assert_eq!(forge.pull_request(pull.number).await.unwrap(), None);
    let refused = forge.merge(&merge(&pull)).await;
    assert!(matches!(refused, Err(ForgeError::PullRequestNotFound { number }) if number == pull.number));
    let again = forge.open_pull_request(&new(BRANCH)).await.unwrap();
    assert_ne!(again.number, pull.number, "a number is never used twice");
}

pub(crate) async fn s2_g5_closed_pull_request_is_not_merged(bench: &dyn Bench) {
    let (forge, pull) = proposed(bench, BRANCH, RED).await;
    for _ in 0..2 {
        forge.close_pull_request(pull.number, "given up").await.unwrap();
    }
    let closed = forge.pull_request(pull.number).await.unwrap().unwrap();
    assert_eq!(closed.state, State::Closed);
    let refused = forge.merge(&merge(&pull)).await;
    assert!(matches!(refused, Err(ForgeError::Closed { .. })));
    let refused = forge.mark_ready(pull.number).await;
    assert!(matches!(refused, Err(ForgeError::Closed { .. })));
    assert_base_is(&*forge, &pull.base_sha).await;
}

pub(crate) async fn a_deleted_head_branch_closes(bench: &dyn Bench) {
    let (forge, pull) = proposed(bench, BRANCH, RED).await;
    for _ in 0..2 {
        forge.delete_branch(BRANCH).await.unwrap();
    }
    let seen = forge.pull_request(pull.number).await.unwrap().unwrap();
    assert_eq!((seen.state, &seen.head_sha), (State::Closed, &pull.head_sha));
    let refused = forge.merge(&merge(&pull)).await;
    assert!(matches!(refused, Err(ForgeError::Closed { .. })));
}

pub(crate) async fn s2_g5_moved_head_is_not_merged(bench: &dyn Bench) {
    let (forge, pull) = proposed(bench, BRANCH, RED).await;
    let person = Person::clone_from(bench, "person").await;
    person.git(&["checkout", "-q", BRANCH]).await;
    let moved = person.commit(&[("page.css", "blue\n")]).await;
    person.push(BRANCH).await;
    let seen = forge.pull_request(pull.number).await.unwrap().unwrap();
    assert_eq!(seen.head_sha, moved);
    let refused = forge.merge(&merge(&pull)).await;
    assert!(matches!(refused, Err(ForgeError::HeadMoved { actual, .. }) if actual == moved));
    assert_base_is(&*forge, &pull.base_sha).await;
}

pub(crate) async fn a_moved_base_is_refused_if_it_matters(bench: &dyn Bench) {
    let (forge, pull) = proposed(bench, BRANCH, RED).await;
    let person = Person::clone_from(bench, "person").await;
    let moved = person.commit(&[("other.txt", "x\n")]).await;
    person.push("main").await;
    let mut request = MergeRequest { expected_base: Some(pull.base_sha.clone()), ..merge(&pull) };
    let refused = forge.merge(&request).await;
    assert!(matches!(refused, Err(ForgeError::BaseMoved { ref actual, .. }) if *actual == moved));
    assert_base_is(&*forge, &moved).await;
    request.expected_base = Some(moved.clone());
    let merged = forge.merge(&request).await.unwrap();
    assert_eq!(merged.base_before, moved);
    let other = forge.read_file(&merged.commit, "other.txt").await.unwrap();
    assert_eq!(other.as_deref(), Some(b"x\n".as_slice()));
}

pub(crate) async fn a_draft_is_merged_only_when_ready(bench: &dyn Bench) {
    let forge = bench.forge().await;
    published(bench, &*forge, BRANCH, RED).await;
    let mut draft = new(BRANCH);
    draft.draft = true;
    let pull = forge.open_pull_request(&draft).await.unwrap();
    assert!(pull.draft);
    let refused = forge.merge(&merge(&pull)).await;
    assert!(matches!(refused, Err(ForgeError::Draft { .. })));
    for _ in 0..2 {
        forge.mark_ready(pull.number).await.unwrap();
    }
    let merged = forge.merge(&merge(&pull)).await.unwrap();
    assert_eq!(merged.base_before, pull.base_sha);
}

pub(crate) async fn a_conflict_names_its_paths(bench: &dyn Bench) {
    let (forge, pull) =
        proposed(bench, BRANCH, &[("page.css", "red\nb\nc\n"), ("README.md", "theirs\n")]).await;
    let person = Person::clone_from(bench, "person").await;
    let base = person.commit(&[("page.css", "green\nb\nc\n"), ("README.md", "ours\n")]).await;
    person.push("main").await;
    let refused = forge.merge(&merge(&pull)).await;
    let Err(ForgeError::Conflict { paths, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(paths, ["README.md", "page.css"]);
    assert_base_is(&*forge, &base).await;
}

pub(crate) async fn s2_a8_merging_twice_is_one_merge_commit(bench: &dyn Bench) {
    let (forge, pull) = proposed(bench, BRANCH, RED).await;
    let merged = forge.merge(&merge(&pull)).await.unwrap();
    assert_base_is(&*forge, &merged.commit).await;
    assert!(forge.is_ancestor(&pull.head_sha, &merged.commit).await.unwrap());
    assert!(!forge.is_ancestor(&merged.commit, &pull.head_sha).await.unwrap());
    let again = bench.forge().await.merge(&merge(&pull)).await.unwrap();
    assert_eq!(again, merged);
    forge.delete_branch(BRANCH).await.unwrap();
    let seen = forge.pull_request(pull.number).await.unwrap().unwrap();
    assert_eq!(seen.state, State::Merged);
    assert_eq!(seen.merge_commit.as_ref(), Some(&merged.commit));
    assert_eq!(seen.base_sha, pull.base_sha);
    let refused = forge.close_pull_request(pull.number, "no").await;
    assert!(matches!(refused, Err(ForgeError::AlreadyMerged { .. })));
    let mut other = merge(&pull);
    other.expected_head = merged.commit;
    let refused = forge.merge(&other).await;
    assert!(matches!(refused, Err(ForgeError::HeadMoved { .. })));
}

pub(crate) async fn racing_merges_of_one_are_one(bench: &dyn Bench) {
    let (_, pull) = proposed(bench, BRANCH, RED).await;
    let merges = (0..4).map(async |_| {
        let mut request = merge(&pull);
        request.at = None;
        bench.forge().await.merge(&request).await.unwrap()
    });
    let mut merged = futures::future::join_all(merges).await;
    merged.dedup();
    assert_eq!(merged.len(), 1, "{merged:?}");
}

pub(crate) async fn racing_merges_of_several_all_land(bench: &dyn Bench) {
    let mut pulls = Vec::new();
    for name in ["a", "b", "c"] {
        let branch = format!("millrace/{name}/1.1");
        pulls.push(proposed(bench, &branch, &[(name, "x\n")]).await.1);
    }
    let merges = pulls.iter().map(async |pull| bench.forge().await.merge(&merge(pull)).await.unwrap());
    let merged = futures::future::join_all(merges).await;
    let forge = bench.forge().await;
    let main = forge.branch_head("main").await.unwrap().unwrap();
    for each in merged {
        assert!(forge.is_ancestor(&each.commit, &main).await.unwrap());
    }
}

pub(crate) async fn a_reverted_merge_leaves_its_base(bench: &dyn Bench) {
    let (forge, pull) = proposed(bench, BRANCH, RED).await;
    let merged = forge.merge(&merge(&pull)).await.unwrap();
    let person = Person::clone_from(bench, "meanwhile").await;
    person.commit(&[("more.txt", "x\n")]).await;
    person.push("main").await;
    let request = revert(&merged.commit);
    let first = forge.revert(&request).await.unwrap();
    let base = forge.branch_head("main").await.unwrap().unwrap();
    assert_eq!(forge.read_file(&base, "page.css").await.unwrap().unwrap(), b"a\nb\nc\n");
    assert_eq!(forge.read_file(&base, "more.txt").await.unwrap().unwrap(), b"x\n");
    assert_eq!(forge.reverted_by(&merged.commit, &base).await.unwrap(), Some(first.commit.clone()));
    assert_eq!(forge.reverted_by(&merged.commit, &merged.commit).await.unwrap(), None);
    let shown = forge.find_pull_request(&format!("millrace/revert/{}", merged.commit)).await.unwrap();
    assert_eq!(shown.unwrap().state, State::Merged);
    assert_eq!(forge.revert(&request).await.unwrap(), first, "a second revert is the first");
    assert_base_is(&*forge, &base).await;
    // The same change can come again, on another branch.
    let (_, again) = proposed(bench, "millrace/VTID-01213/2.1", RED).await;
    let merged = forge.merge(&merge(&again)).await.unwrap();
    assert_eq!(forge.read_file(&merged.commit, "page.css").await.unwrap().unwrap(), b"red\nb\nc\n");
}

pub(crate) async fn a_revert_by_hand_counts(bench: &dyn Bench) {
    let (forge, pull) = proposed(bench, BRANCH, RED).await;
    let merged = forge.merge(&merge(&pull)).await.unwrap();
    let person = Person::clone_from(bench, "person").await;
    person.git(&["revert", "--no-edit", "-m", "1", &merged.commit]).await;
    person.push("main").await;
    let base = forge.branch_head("main").await.unwrap().unwrap();
    let reverted = forge.revert(&revert(&merged.commit)).await.unwrap();
    assert_eq!(reverted.commit, base);
    assert_base_is(&*forge, &base).await;
}

pub(crate) async fn a_revert_in_conflict_changes_nothing(bench: &dyn Bench) {
    let (forge, pull) = proposed(bench, BRANCH, RED).await;
    let merged = forge.merge(&merge(&pull)).await.unwrap();
    let person = Person::clone_from(bench, "person").await;
    let base = person.commit(&[("page.css", "blue\nb\nc\n")]).await;
    person.push("main").await;
    let refused = forge.revert(&revert(&merged.commit)).await;
    assert!(matches!(refused, Err(ForgeError::Conflict { paths, .. }) if paths == ["page.css"]));
    assert_base_is(&*forge, &base).await;
    let absent = forge.revert(&revert(&"1".repeat(40))).await;
    assert!(matches!(absent, Err(ForgeError::CommitNotFound { .. })));
    let plain = forge.revert(&revert(&base)).await;
    assert!(matches!(plain, Err(ForgeError::NothingToRevert { .. })));
}

fn revert(merge_commit: &str) -> RevertRequest {
    RevertRequest {
        merge_commit: merge_commit.to_owned(),
        base_branch: "main".to_owned(),
        reason: "The release did not become healthy.".to_owned(),
    }
}

pub(crate) async fn one_comment_per_key(bench: &dyn Bench) {
    let (forge, pull) = proposed(bench, BRANCH, RED).await;
    let number = pull.number;
    let writers = (0..4).map(async |index| {
        let forge = bench.forge().await;
        let key = if index % 2 == 0 { "checks" } else { "plan" };
        forge.comment(number, key, &format!("{index}")).await.unwrap()
    });
    let written = futures::future::join_all(writers).await;
    assert_eq!(written[0], written[2]);
    assert_eq!(written[1], written[3]);
    assert_eq!(forge.comments(number).await.unwrap().len(), 2);
    let refused = forge.comment(number + 1, "k", "b").await;
    assert!(matches!(refused, Err(ForgeError::PullRequestNotFound { .. })));
}

pub(crate) async fn files_are_read_at_a_commit(bench: &dyn Bench) {
    let (forge, pull) = proposed(bench, BRANCH, &[("docs/a b.md", "text\n")]).await;
    let read = forge.read_file(&pull.head_sha, "docs/a b.md").await.unwrap();
    assert_eq!(read.as_deref(), Some(b"text\n".as_slice()));
    for absent in ["docs/none.md", "docs", "*.md"] {
        let read = forge.read_file(&pull.head_sha, absent).await.unwrap();
        assert_eq!(read, None, "{absent}");
    }
    let refused = forge.read_file(&pull.head_sha, "../etc/passwd").await;
    assert!(matches!(refused, Err(ForgeError::PathRefused { .. })));
    let nowhere = "0".repeat(40);
    let refused = forge.read_file(&nowhere, "docs").await;
    assert!(matches!(refused, Err(ForgeError::CommitNotFound { .. })));
    let refused = forge.is_ancestor(&nowhere, &pull.head_sha).await;
    assert!(matches!(refused, Err(ForgeError::CommitNotFound { .. })));
}

pub(crate) async fn a_checkout_is_whole_or_absent(bench: &dyn Bench) {
    let (forge, pull) = proposed(bench, BRANCH, &[("bin/run", "#!/bin/sh\n")]).await;
    let into = bench.scratch().join("releases/one");
    forge.checkout(&pull.head_sha, &into).await.unwrap();
    assert!(into.join("bin/run").is_file());
    assert!(into.join("README.md").is_file());
    assert!(!into.join(".git").exists());
    let refused = forge.checkout(&pull.base_sha, &into).await;
    assert!(matches!(refused, Err(ForgeError::DirectoryNotEmpty { .. })));
    let absent = bench.scratch().join("releases/two");
    let refused = forge.checkout(&"0".repeat(40), &absent).await;
    assert!(matches!(refused, Err(ForgeError::CommitNotFound { .. })));
    let left: Vec<_> = std::fs::read_dir(bench.scratch().join("releases")).unwrap().collect();
    assert_eq!(left.len(), 1, "no scratch directory stays behind: {left:?}");
}

async fn assert_base_is(forge: &dyn millrace_forge::Forge, commit: &str) {
    let base = forge.branch_head("main").await.unwrap();
    assert_eq!(base.as_deref(), Some(commit));
}
