//! Gate 0: before a model may change anything, the repository is looked at. Its profile selects commands and
//! gates, its index answers what a plan may cite, and a change is tried before its first byte is written.
//! S4-Q0, S4-D1, S4-D5. Nothing of the repository is run here.

use std::path::Path;
use std::sync::Arc;

use millrace_events::Code;
use millrace_policy::exec::ExecPolicy;
use millrace_profile::{
    Change, DryRun, EditError, Folder, Index, MAX_FILES, Profile, detect_in, dry_run, gate,
};

use super::evidence::Gathered;
use super::failures::{Step, Stop};
use super::job::Job;
use crate::adapters::{Checkout, Edit};

/// What is known of the repository at the commit that the work starts from.
#[derive(Debug)]
pub(super) struct Onboarded {
    pub(super) profile: Profile,
    pub(super) index: Index,
    tree: Arc<Folder>,
}

/// Looks at the files of the base commit, keeps `profile.json` as evidence, and passes gate 0.
pub(super) async fn onboard(job: &Job<'_>, checkout: &Checkout, gathered: &mut Gathered) -> Step<Onboarded> {
    let base = &job.task.base_commit;
    // One more than are looked at, so that the profile says that there are more.
    let files = checkout.files(base, MAX_FILES + 1).await.map_err(|error| job.git(&error, "its files"))?;
    let root = checkout.root().to_owned();
    let onboarded = off_the_runtime(job, move || look(&root, files)).await?;
    let profile = onboarded.profile.to_json().map_err(|error| {
        Stop::caused(Code::Internal, "the profile of the repository could not be written", &error)
    })?;
    gathered.keep(job, "profile.json", profile.as_bytes()).await?;
    pass(&onboarded.profile)?;
    Ok(onboarded)
}

fn look(root: &Path, files: Vec<String>) -> Onboarded {
    let tree = Folder::listed(root, files);
    Onboarded { profile: detect_in(&tree), index: Index::of_tree(&tree), tree: Arc::new(tree) }
}

/// What cannot be judged is not changed.
fn pass(profile: &Profile) -> Step<()> {
    gate(profile).map_err(|missing| {
        Stop::failed(Code::ProfileMissing, missing.to_string()).with("fix", missing.advice)
    })
}

/// Tries a change on the files as they are, before the first of them is written, and keeps `dry_run.json`. An edit
/// that cannot be made is left to the step that makes it, which tells the author.
pub(super) async fn rehearse(
    job: &Job<'_>,
    onboarded: &Onboarded,
    edits: &[Edit],
    commands: &[String],
    gathered: &mut Gathered,
) -> Step<()> {
    let policy = ExecPolicy::built_in()
        .map_err(|error| Stop::caused(Code::Internal, "the exec policy cannot be used", &error))?;
    let change = Change { edits: edits.iter().map(same).collect(), commands: commands.to_vec() };
    let (tree, profile) = (onboarded.tree.clone(), onboarded.profile.clone());
    let tried = off_the_runtime(job, move || tried(&tree, &profile, &change, policy)).await?;
    let Ok(tried) = tried else { return Ok(()) };
    let text = serde_json::to_vec_pretty(&tried)
        .map_err(|error| Stop::caused(Code::Internal, "the dry run could not be written", &error))?;
    gathered.evidence.retain(|blob| blob.name != "dry_run.json");
    gathered.keep(job, "dry_run.json", &text).await.map(drop)
}

fn tried(tree: &Folder, profile: &Profile, change: &Change, policy: ExecPolicy) -> Result<DryRun, EditError> {
    dry_run(tree, profile, change, &policy)
}

fn same(edit: &Edit) -> millrace_profile::Edit {
    use millrace_profile::Edit as Tried;
    match edit.clone() {
        Edit::Write { path, content } => Tried::Write { path, content },
        Edit::Delete { path } => Tried::Delete { path },
        Edit::Replace { path, find, replace } => Tried::Replace { path, find, replace },
    }
}

/// Work on many files, bounded by what is looked at, away from the threads on which everything else waits.
async fn off_the_runtime<T: Send + 'static>(
    job: &Job<'_>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Step<T> {
    let work = tokio::task::spawn_blocking(work);
    let done = tokio::select! {
        biased;
        () = job.cancel.cancelled() => return Err(Stop::Cancelled),
        done = work => done,
    };
    done.map_err(|error| Stop::caused(Code::Internal, "the repository could not be looked at", &error))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use std::process::Command;

    use millrace_profile::Touch;
    use serde_json::json;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::adapters::apply;

    fn git(root: &Path, arguments: &[&str]) -> String {
        let run = Command::new("git").arg("-C").arg(root).args(arguments).output().unwrap();
        assert!(run.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
        String::from_utf8(run.stdout).unwrap().trim().to_owned()
    }

    /// A repository with one commit on `main`.
    fn repository(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        git(root, &["init", "--quiet", "--initial-branch=main"]);
        for (path, text) in files {
            let file = root.join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        git(root, &["add", "--all"]);
        let commit = ["-c", "user.name=T", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", "x"];
        git(root, &commit);
        folder
    }

    async fn checked_out(repository: &Path, into: &Path) -> (Checkout, String) {
        let location = repository.to_str().unwrap();
        let checkout = Checkout::create(into.to_owned(), location, CancellationToken::new()).await.unwrap();
        let base = checkout.fetch("main").await.unwrap();
        checkout.switch_to(&base).await.unwrap();
        (checkout, base)
    }

    /// Path, bytes and time of change of everything but the repository itself.
    fn state(root: &Path) -> Vec<(String, Vec<u8>, std::time::SystemTime)> {
        let walk = walkdir::WalkDir::new(root).sort_by_file_name().into_iter();
        let entries = walk.filter_entry(|entry| entry.file_name() != ".git").map(Result::unwrap);
        let one = |entry: walkdir::DirEntry| {
            let bytes = std::fs::read(entry.path()).unwrap_or_default();
            let changed = entry.metadata().unwrap().modified().unwrap();
            (entry.path().display().to_string(), bytes, changed)
        };
        entries.map(one).collect()
    }

    /// S4-D5: before the first write the dry run lists the files that the real change then has, with the number of
    /// lines that git counts, and writes nothing itself.
    #[tokio::test]
    async fn s4_d5_the_list_of_the_dry_run_equals_the_later_diff_and_nothing_is_written() {
        let before = [
            (".gitignore", "out/\n"),
            ("Cargo.toml", "[package]\nname = \"a\"\n"),
            ("src/lib.rs", "pub fn one() -> u8 {\n    1\n}\n"),
            ("src/old.rs", "pub fn old() {}\n"),
            ("src/same.rs", "// same\n"),
        ];
        let (repository, work) = (repository(&before), tempfile::tempdir().unwrap());
        let (checkout, base) = checked_out(repository.path(), &work.path().join("checkout")).await;
        let edits: Vec<Edit> = serde_json::from_value(json!([
            { "action": "replace", "path": "src/lib.rs", "find": "    1\n", "replace": "    2\n    // two\n" },
            { "action": "delete", "path": "src/old.rs" },
            { "action": "write", "path": "src/new/deep.rs", "content": "pub fn new() {}\n" },
            { "action": "write", "path": "src/same.rs", "content": "// same\n" },
            { "action": "write", "path": "out/made.txt", "content": "never in the change\n" },
            { "action": "write", "path": ".millrace.toml", "content": "[checks]\n" },
        ]))
        .unwrap();
        let files = checkout.files(&base, MAX_FILES).await.unwrap();
        let untouched = state(checkout.root());
        let onboarded = look(checkout.root(), files);
        let change = Change {
            edits: edits.iter().map(same).collect(),
            commands: vec!["git push origin main".to_owned(), "cargo test".to_owned()],
        };
        let found =
            tried(&onboarded.tree, &onboarded.profile, &change, ExecPolicy::built_in().unwrap()).unwrap();
        assert_eq!(state(checkout.root()), untouched, "zero writes");

        apply(checkout.root(), &edits).unwrap();
        let date = millrace_decider::Timestamp::from_millis(1_767_225_600_000);
        let proposal = crate::adapters::Proposal { base: &base, branch: "x", message: "x", date };
        let head = checkout.commit(&proposal).await.unwrap().unwrap();
        let letter = |touch| match touch {
            Touch::Added => "A",
            Touch::Modified => "M",
            Touch::Deleted => "D",
        };
        let foreseen: Vec<(String, String)> =
            found.files.iter().map(|file| (file.path.clone(), letter(file.touch).to_owned())).collect();
        let real = checkout.changed(&base, &head).await.unwrap();
        let real: Vec<(String, String)> = real.into_iter().map(|file| (file.path, file.status)).collect();
        assert_eq!(foreseen, real);
        let counted = git(checkout.root(), &["diff", "--numstat", "--no-renames", &base, &head]);
        let lines: Vec<String> = found
            .files
            .iter()
            .map(|file| format!("{}\t{}\t{}", file.added, file.removed, file.path))
            .collect();
        assert_eq!(lines.join("\n"), counted);
        assert_eq!(found.ignored, ["out/made.txt"]);
        let spoken: Vec<(&str, &str)> =
            found.rules.iter().map(|rule| (rule.rule.as_str(), rule.subject.as_str())).collect();
        assert!(spoken.contains(&("protected-path", ".millrace.toml")), "{spoken:?}");
        let missing: Vec<&str> = found.missing_evidence.iter().map(|gap| gap.evidence.as_str()).collect();
        assert_eq!(
            missing,
            ["test_results.json", "coverage_report.json"],
            "there is no test, nothing measures"
        );
    }

    /// S4-Q0: no profile, no change; the failure says what to do.
    #[test]
    fn s4_q0_without_a_profile_the_work_is_refused_with_advice() {
        let folder = repository(&[("README.md", "text\n")]);
        let Err(Stop::Failed(failure)) = pass(&look(folder.path(), vec!["README.md".to_owned()]).profile)
        else {
            panic!("passed")
        };
        assert_eq!(failure.known_code(), Some(Code::ProfileMissing));
        assert!(failure.message.contains(".millrace.toml"), "{}", failure.message);
        let folder = repository(&[(".millrace.toml", "[checks]\nunit = 'true'\n")]);
        pass(&look(folder.path(), vec![".millrace.toml".to_owned()]).profile).unwrap();
    }
}
