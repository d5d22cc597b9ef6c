//! The local forge: the contract, and what only it promises.

use millrace_forge::{Forge, ForgeError, LocalForge, LocalForgeConfig, State};

use super::bench::{Bench, LocalBench, Person, git, merge, new, proposed, published};
use super::contract::contract;

const BRANCH: &str = "millrace/VTID-01213/1.1";
const RED: &[(&str, &str)] = &[("page.css", "red\nb\nc\n")];

contract! {
    LocalBench::new().await;
    a_bundle_becomes_a_branch_once
    a_branch_with_another_commit_is_taken
    only_own_branches_are_written
    a_bundle_without_the_commit_is_invalid
    opening_twice_is_one_pull_request
    a_closed_attempt_is_not_opened_again
    racing_openers_get_one_pull_request
    nothing_to_merge_is_not_opened
    s2_g5_deleted_pull_request_is_not_merged
    s2_g5_closed_pull_request_is_not_merged
    a_deleted_head_branch_closes
    s2_g5_moved_head_is_not_merged
    a_moved_base_is_refused_if_it_matters
    a_draft_is_merged_only_when_ready
    a_conflict_names_its_paths
    s2_a8_merging_twice_is_one_merge_commit
    racing_merges_of_one_are_one
    racing_merges_of_several_all_land
    a_reverted_merge_leaves_its_base
    a_revert_by_hand_counts
    a_revert_in_conflict_changes_nothing
    one_comment_per_key
    files_are_read_at_a_commit
    a_checkout_is_whole_or_absent
}

#[tokio::test]
async fn people_use_plain_git() {
    let bench = LocalBench::new().await;
    let (forge, pull) = proposed(&bench, BRANCH, RED).await;
    let person = Person::clone_from(&bench, "person").await;
    person.git(&["fetch", "-q", "origin", "pull/1/head:review"]).await;
    assert_eq!(person.git(&["rev-parse", "review"]).await, pull.head_sha);
    let merged = forge.merge(&merge(&pull)).await.unwrap();
    person.git(&["pull", "-q", "--ff-only"]).await;
    assert_eq!(person.git(&["rev-parse", "HEAD"]).await, merged.commit);
    let shown = person.git(&["log", "-1", "--format=%an <%ae>|%at|%(trailers:key=Task-Id,valueonly)"]).await;
    assert_eq!(shown, "Millrace <millrace@localhost>|1767323045|VTID-01213");
    let head = person.commit(&[("more.txt", "x\n")]).await;
    person.push("main").await;
    assert_eq!(forge.branch_head("main").await.unwrap(), Some(head));
    assert_eq!(bench.plain(&["fsck", "--strict", "--no-dangling"]).await, "");
}

#[tokio::test]
async fn a_merge_by_hand_is_seen() {
    let bench = LocalBench::new().await;
    let (forge, pull) = proposed(&bench, BRANCH, RED).await;
    let person = Person::clone_from(&bench, "person").await;
    person.commit(&[("before.txt", "x\n")]).await;
    let before = person.git(&["rev-parse", "HEAD"]).await;
    let head = format!("origin/{BRANCH}");
    person.git(&["merge", "-q", "-m", "by hand", &head]).await;
    let by_hand = person.git(&["rev-parse", "HEAD"]).await;
    person.commit(&[("after.txt", "x\n")]).await;
    person.push("main").await;
    let seen = forge.pull_request(pull.number).await.unwrap().unwrap();
    assert_eq!(seen.state, State::Merged);
    let merged = forge.merge(&merge(&pull)).await.unwrap();
    assert_eq!((merged.commit, merged.base_before), (by_hand, before));
}

#[tokio::test]
async fn a_fast_forward_by_hand_is_seen() {
    let bench = LocalBench::new().await;
    let (forge, pull) = proposed(&bench, BRANCH, RED).await;
    let person = Person::clone_from(&bench, "person").await;
    person.git(&["merge", "-q", "--ff-only", &format!("origin/{BRANCH}")]).await;
    person.commit(&[("after.txt", "x\n")]).await;
    person.push("main").await;
    let merged = forge.merge(&merge(&pull)).await.unwrap();
    assert_eq!((merged.commit, merged.base_before), (pull.head_sha, pull.base_sha));
}

/// The base was moved, then the power failed: the record still says open.
#[tokio::test]
async fn a_crash_between_base_and_record_is_one_merge() {
    let bench = LocalBench::new().await;
    let (forge, pull) = proposed(&bench, BRANCH, RED).await;
    let record = "refs/millrace/pulls/1";
    let before = bench.plain(&["rev-parse", record]).await;
    let merged = forge.merge(&merge(&pull)).await.unwrap();
    bench.plain(&["update-ref", record, &before]).await;
    let seen = forge.pull_request(1).await.unwrap().unwrap();
    assert_eq!((seen.state, seen.merge_commit), (State::Merged, Some(merged.commit.clone())));
    let refused = forge.close_pull_request(1, "too late").await;
    assert!(matches!(refused, Err(ForgeError::AlreadyMerged { .. })));
    assert_eq!(forge.merge(&merge(&pull)).await.unwrap(), merged);
    assert_eq!(bench.plain(&["rev-parse", "main"]).await, merged.commit);
    forge.delete_branch(BRANCH).await.unwrap();
    assert_eq!(forge.merge(&merge(&pull)).await.unwrap(), merged);
}

/// The objects of the bundle arrived, then the process was killed before the branch stood.
#[tokio::test]
async fn a_crash_between_objects_and_branch_is_finished() {
    let bench = LocalBench::new().await;
    let forge = bench.forge().await;
    let worker = Person::clone_from(&bench, "worker").await;
    let head = worker.commit(RED).await;
    let bundle = worker.bundle("change").await;
    let file = bench.scratch().join("before.bundle");
    std::fs::write(&file, &bundle).unwrap();
    bench.plain(&["fetch", "-q", "--no-write-fetch-head", file.to_str().unwrap(), "HEAD"]).await;
    forge.push_bundle(BRANCH, &bundle, &head).await.unwrap();
    assert_eq!(forge.branch_head(BRANCH).await.unwrap(), Some(head));
}

/// The record stood, then the process was killed before `refs/pull/1/head` was written.
#[tokio::test]
async fn a_crash_between_record_and_its_head_is_one_pull_request() {
    let bench = LocalBench::new().await;
    let (forge, pull) = proposed(&bench, BRANCH, RED).await;
    bench.plain(&["update-ref", "-d", "refs/pull/1/head"]).await;
    assert_eq!(forge.open_pull_request(&new(BRANCH)).await.unwrap(), pull);
    let other = "millrace/VTID-01214/1.1";
    let (_, second) = proposed(&bench, other, &[("other", "x")]).await;
    assert_eq!(second.number, 2);
    let merged = forge.merge(&merge(&pull)).await.unwrap();
    assert_eq!(bench.plain(&["rev-parse", "main"]).await, merged.commit);
    assert_eq!(bench.plain(&["rev-parse", "refs/pull/1/head"]).await, pull.head_sha);
}

/// A git that was killed with the base's lock in hand: named, transient, and nothing half done.
#[tokio::test]
async fn a_stale_lock_is_named() {
    let bench = LocalBench::new().await;
    let (forge, pull) = proposed(&bench, BRANCH, RED).await;
    let lock = bench.repository().join("refs/heads/main.lock");
    std::fs::write(&lock, "").unwrap();
    let error = forge.merge(&merge(&pull)).await.unwrap_err();
    assert!(error.is_transient());
    assert!(error.to_string().contains("main.lock"), "{error}");
    let seen = forge.pull_request(1).await.unwrap().unwrap();
    assert_eq!(seen.state, State::Open);
    std::fs::remove_file(lock).unwrap();
    let merged = forge.merge(&merge(&pull)).await.unwrap();
    assert_eq!(merged.base_before, pull.base_sha);
}

/// Whoever pushes between the look at the head and the move of the base is noticed.
#[tokio::test]
async fn s2_g5_a_push_during_the_merge_stops_it() {
    let bench = LocalBench::new().await;
    let (forge, pull) = proposed(&bench, BRANCH, RED).await;
    let (_, other) = proposed(&bench, "millrace/other/1.1", &[("other", "x")]).await;
    let push = format!("update-ref refs/heads/{BRANCH} {}", other.head_sha);
    let slow = bench.interrupted("merge-tree", &push).await;
    let refused = slow.merge(&merge(&pull)).await;
    assert!(matches!(refused, Err(ForgeError::HeadMoved { .. })), "{refused:?}");
    assert_eq!(forge.branch_head("main").await.unwrap(), Some(pull.base_sha));
}

/// A base that moves during the merge is merged onto, unless the caller insists on the old one.
#[tokio::test]
async fn a_base_that_moves_during_the_merge_is_not_lost() {
    for insists in [false, true] {
        let bench = LocalBench::new().await;
        let (forge, pull) = proposed(&bench, BRANCH, RED).await;
        let (_, other) = proposed(&bench, "millrace/other/1.1", &[("other", "x")]).await;
        let push = format!("update-ref refs/heads/main {}", other.head_sha);
        let slow = bench.interrupted("merge-tree", &push).await;
        let mut request = merge(&pull);
        request.expected_base = insists.then(|| pull.base_sha.clone());
        let merged = slow.merge(&request).await;
        let main = forge.branch_head("main").await.unwrap().unwrap();
        if insists {
            assert!(matches!(merged, Err(ForgeError::BaseMoved { .. })), "{merged:?}");
            assert_eq!(main, other.head_sha);
        } else {
            let merged = merged.unwrap();
            assert_eq!((merged.base_before, merged.commit), (other.head_sha, main));
        }
    }
}

/// S4-IMP-30: the process is killed after each write in turn; going through it all again gives one
/// branch, one pull request, one comment and one merge.
#[tokio::test]
async fn s4_imp_30_a_crash_after_any_write_repeats_nothing() {
    let bench = LocalBench::new().await;
    let forge = bench.forge().await;
    let mut crashes = 0;
    loop {
        let number = crashes + 1;
        let branch = format!("millrace/VTID-{number:05}/1.1");
        let worker = Person::clone_from(&bench, &format!("worker-{number}")).await;
        let head = worker.commit(&[(&format!("file-{number}"), "x\n")]).await;
        let bundle = worker.bundle(&format!("bundle-{number}")).await;
        let dying = bench.killed_after_write(number).await;
        let cut_short = carry_through(&*dying, &branch, &bundle, &head).await;
        let merged = carry_through(&*forge, &branch, &bundle, &head).await.unwrap();
        assert_eq!(forge.comments(number).await.unwrap().len(), 1);
        let pull = forge.pull_request(number).await.unwrap().unwrap();
        assert_eq!(pull.merge_commit, Some(merged));
        assert_eq!(forge.pull_request(number + 1).await.unwrap(), None);
        let merges = bench.plain(&["rev-list", "--merges", "--count", "main"]).await;
        assert_eq!(merges, number.to_string());
        if cut_short.is_ok() {
            break;
        }
        crashes += 1;
    }
    assert!(crashes >= 15, "only {crashes} writes were cut short");
}

async fn carry_through(
    forge: &dyn Forge,
    branch: &str,
    bundle: &[u8],
    head: &str,
) -> Result<String, ForgeError> {
    forge.push_bundle(branch, bundle, head).await?;
    let pull = forge.open_pull_request(&new(branch)).await?;
    forge.comment(pull.number, "checks", "passed").await?;
    Ok(forge.merge(&merge(&pull)).await?.commit)
}

#[tokio::test]
async fn a_working_tree_is_read_but_never_written() {
    let bench = LocalBench::new().await;
    let remote = bench.forge().await;
    let head = published(&bench, &*remote, BRANCH, RED).await;
    let person = Person::clone_from(&bench, "person").await;
    let tree = bench.scratch().join("person");
    let forge = LocalForge::open(LocalForgeConfig::new(tree.display().to_string())).await.unwrap();
    let main = forge.branch_head("main").await.unwrap().unwrap();
    assert!(forge.read_file(&main, "README.md").await.unwrap().is_some());
    forge.checkout(&main, &bench.scratch().join("copy")).await.unwrap();
    let bundle = Vec::new();
    let refused = [
        forge.push_bundle(BRANCH, &bundle, &head).await.err(),
        forge.open_pull_request(&new(BRANCH)).await.err(),
        forge.delete_branch(BRANCH).await.err(),
        forge.comment(1, "k", "b").await.err(),
        forge.mark_ready(1).await.err(),
        forge.close_pull_request(1, "r").await.err(),
    ];
    for error in refused {
        assert!(matches!(error, Some(ForgeError::NotBare { .. })), "{error:?}");
    }
    assert_eq!(person.git(&["status", "--porcelain"]).await, "");
}

#[tokio::test]
async fn a_place_without_a_repository_says_so() {
    let bench = LocalBench::new().await;
    let empty = bench.scratch().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let error = LocalForge::open(LocalForgeConfig::new(empty.display().to_string())).await;
    assert!(matches!(error, Err(ForgeError::NotARepository { .. })));
    for url in ["https://example.org/x.git", "relative/path", ""] {
        let error = LocalForge::open(LocalForgeConfig::new(url)).await;
        assert!(matches!(error, Err(ForgeError::UnsupportedUrl { .. })), "{url}");
    }
}

#[tokio::test]
async fn an_old_git_is_refused_by_number() {
    let bench = LocalBench::new().await;
    let old = super::git::script(bench.scratch(), "old", "echo git version 2.37.4");
    let mut config = LocalForgeConfig::new(bench.repository().display().to_string());
    config.git = git(bench.scratch()).with_binary(old);
    let error = LocalForge::open(config).await.unwrap_err();
    assert_eq!(error.to_string(), "git 2.37 is too old: version 2.38 or newer is needed to merge");
}

#[tokio::test]
async fn hooks_of_the_repository_do_not_run() {
    let bench = LocalBench::new().await;
    let ran = bench.scratch().join("ran");
    super::git::script(
        &bench.repository().join("hooks"),
        "reference-transaction",
        &format!("touch {}; exit 1", ran.display()),
    );
    let (forge, pull) = proposed(&bench, BRANCH, RED).await;
    let merged = forge.merge(&merge(&pull)).await.unwrap();
    assert_eq!(merged.base_before, pull.base_sha);
    assert!(!ran.exists());
}
