//! Specifications in real git repositories.

use std::time::Duration;

use millrace_forge::Git;
use millrace_spec_registry::adapters::GitScan;
use millrace_spec_registry::domain::format::{MAX_SPEC_BYTES, ParseSettings, ProblemCode};
use millrace_spec_registry::ports::{Repository, Scan, ScanLimits, SourceError, SpecSource};

use super::format_rules::GOOD;
use super::git_repository::GitRepository;

fn at(location: impl Into<String>) -> Repository {
    Repository {
        id: "shop".to_owned(),
        location: location.into(),
        base_branch: "main".to_owned(),
        specs_path: "docs/specs".to_owned(),
    }
}

fn source(git: &GitRepository, repository: Repository, limits: ScanLimits) -> GitScan {
    let settings = ParseSettings::default();
    GitScan::new(repository, git.cache(), Git::new(), settings, limits).unwrap()
}

/// The working tree of the repository as a source.
pub(crate) fn in_place(git: &GitRepository) -> GitScan {
    let location = git.work().display().to_string();
    source(git, at(location), ScanLimits::default())
}

fn paths(scan: &Scan) -> Vec<&str> {
    scan.files.iter().map(|f| f.spec.path.as_str()).collect()
}

async fn refusal(source: &GitScan) -> SourceError {
    source.scan(None).await.expect_err("the scan must fail")
}

#[tokio::test]
async fn s1_gap1_b_a_scan_finds_every_specification_and_its_plan() {
    let git = GitRepository::new();
    git.commit(&[
        ("docs/specs/01213-orders.md", GOOD.as_bytes()),
        ("docs/specs/01213-orders.plan.yaml", b"plan: {}\n"),
        ("docs/specs/deep/er/VTID-01214-cart.md", GOOD.as_bytes()),
        ("docs/specs/name with spaces and \u{e9}.md", b"x"),
        ("docs/specs/README.md", b"about"),
        ("docs/specs/picture.png", b"\x89PNG"),
        ("docs/specs2/01215-x.md", GOOD.as_bytes()),
        ("README.md", b"shop"),
    ]);
    let bare = git.bare();
    for location in
        [git.work().display().to_string(), bare.display().to_string(), format!("file://{}", bare.display())]
    {
        let scan = source(&git, at(&location), ScanLimits::default()).scan(None).await.unwrap();
        assert_eq!(
            paths(&scan),
            [
                "docs/specs/01213-orders.md",
                "docs/specs/deep/er/VTID-01214-cart.md",
                "docs/specs/name with spaces and \u{e9}.md",
            ],
            "{location}"
        );
        assert_eq!(scan.files[0].spec.bytes, GOOD.as_bytes());
        let plan = scan.files[0].plan.as_ref().unwrap();
        assert_eq!(plan.path, "docs/specs/01213-orders.plan.yaml");
        assert_eq!(plan.bytes, b"plan: {}\n");
        assert_eq!(scan.files[1].plan, None);
        assert!(!scan.unchanged);
    }
}

#[tokio::test]
async fn s1_gap1_b_nothing_is_read_until_something_under_the_specs_path_changes() {
    let git = GitRepository::new();
    git.commit(&[("docs/specs/01213-a.md", b"one")]);
    let source = in_place(&git);
    let first = source.scan(None).await.unwrap();
    let again = source.scan(Some(&first.cursor)).await.unwrap();
    assert!(again.unchanged && again.files.is_empty());

    git.commit(&[("app.py", b"print()")]);
    let elsewhere = source.scan(Some(&first.cursor)).await.unwrap();
    assert!(elsewhere.unchanged && elsewhere.files.is_empty());
    assert_ne!(elsewhere.commit, first.commit);

    git.commit(&[("docs/specs/01213-a.plan.yaml", b"plan: {}")]);
    let changed = source.scan(Some(&elsewhere.cursor)).await.unwrap();
    assert_eq!(paths(&changed), ["docs/specs/01213-a.md"]);
    assert!(changed.files[0].plan.is_some());
}

#[tokio::test]
async fn only_what_is_committed_on_the_base_branch_counts() {
    let git = GitRepository::new();
    git.commit(&[("docs/specs/01213-a.md", b"one")]);
    git.in_work(&["checkout", "-q", "-b", "elsewhere"]);
    git.commit(&[("docs/specs/01214-b.md", b"two")]);
    std::fs::write(git.work().join("docs/specs/01215-c.md"), "three").unwrap();
    let scan = in_place(&git).scan(None).await.unwrap();
    assert_eq!(paths(&scan), ["docs/specs/01213-a.md"]);
}

#[tokio::test]
async fn a_mirror_follows_a_branch_that_was_rewritten() {
    let git = GitRepository::new();
    git.commit(&[("docs/specs/01213-a.md", b"one")]);
    let location = format!("file://{}", git.work().display());
    let source = source(&git, at(location), ScanLimits::default());
    let first = source.scan(None).await.unwrap();
    git.in_work(&["rm", "-q", "docs/specs/01213-a.md"]);
    std::fs::create_dir_all(git.work().join("docs/specs")).unwrap();
    std::fs::write(git.work().join("docs/specs/01214-b.md"), "two").unwrap();
    git.in_work(&["add", "--all"]);
    git.in_work(&["commit", "-q", "--amend", "-m", "rewritten"]);
    let second = source.scan(Some(&first.cursor)).await.unwrap();
    assert_eq!(paths(&second), ["docs/specs/01214-b.md"]);
}

#[tokio::test]
async fn a_mirror_with_a_stale_lock_is_made_anew() {
    let git = GitRepository::new();
    git.commit(&[("docs/specs/01213-a.md", b"one")]);
    let location = format!("file://{}", git.work().display());
    let source = source(&git, at(location), ScanLimits::default());
    source.scan(None).await.unwrap();
    let mirror = std::fs::read_dir(git.cache()).unwrap().next().unwrap().unwrap();
    std::fs::write(mirror.path().join("shallow.lock"), "").unwrap();
    git.commit(&[("docs/specs/01213-a.md", b"two")]);
    let scan = source.scan(None).await.unwrap();
    assert_eq!(scan.files[0].spec.bytes, b"two");
}

#[tokio::test]
async fn a_repository_without_specifications_is_empty_not_wrong() {
    let git = GitRepository::new();
    git.commit(&[("README.md", b"shop")]);
    let source = in_place(&git);
    let scan = source.scan(None).await.unwrap();
    assert_eq!(scan.files, []);
    assert_eq!(scan.cursor.tree, None);
}

#[tokio::test]
async fn each_way_to_have_no_repository_has_its_own_message() {
    let git = GitRepository::new();
    git.commit(&[("README.md", b"shop")]);
    let nowhere = git.work().join("nowhere").display().to_string();
    // A plain folder, inside a repository at that.
    std::fs::create_dir_all(git.work().join("plain")).unwrap();
    let plain = git.work().join("plain").display().to_string();
    for scheme in ["", "file://"] {
        let open = |path: &str| source(&git, at(format!("{scheme}{path}")), ScanLimits::default());
        let error = refusal(&open(&nowhere)).await;
        assert!(matches!(error, SourceError::NotFound { .. }), "{error}");
        let error = refusal(&open(&plain)).await;
        assert!(matches!(error, SourceError::NotARepository { .. }), "{error}");
        assert!(!error.is_transient());
        let mut repository = at(format!("{scheme}{}", git.work().display()));
        repository.base_branch = "trunk".to_owned();
        let error = refusal(&source(&git, repository, ScanLimits::default())).await;
        assert!(error.to_string().starts_with("repository `shop` has no branch `trunk`"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_named_without_its_password() {
    let git = GitRepository::new();
    // Port 1 of loopback: nothing listens there.
    let repository = at("http://user:secret@127.0.0.1:1/shop.git");
    let error = refusal(&source(&git, repository, ScanLimits::default())).await;
    assert!(matches!(error, SourceError::Unreachable { .. }), "{error}");
    assert!(error.is_transient());
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_too_large_is_reported_and_not_read() {
    let git = GitRepository::new();
    git.commit(&[
        ("docs/specs/01213-a.md", &vec![b'x'; MAX_SPEC_BYTES + 1]),
        ("docs/specs/01214-b.md", GOOD.as_bytes()),
        ("docs/specs/01214-b.plan.yaml", &vec![b'x'; MAX_SPEC_BYTES + 1]),
    ]);
    let scan = in_place(&git).scan(None).await.unwrap();
    for file in &scan.files {
        let problems = file.parse(&ParseSettings::default()).unwrap_err();
        assert_eq!(problems[0].code, ProblemCode::TooLarge);
    }
    assert_eq!(scan.files[0].spec.bytes, b"");
    assert_eq!(scan.files[0].spec.oversize, Some(MAX_SPEC_BYTES as u64 + 1));
}

#[tokio::test]
async fn a_scan_is_bounded_in_files_in_bytes_and_in_time() {
    let git = GitRepository::new();
    git.commit(&[("docs/specs/01213-a.md", b"12345"), ("docs/specs/01214-b.md", b"67890")]);
    let location = git.work().display().to_string();
    let with = |limits| source(&git, at(&location), limits);
    let limits = ScanLimits::default();
    let error = refusal(&with(ScanLimits { files: 1, ..limits })).await;
    assert!(matches!(error, SourceError::TooMuch { what: "files", .. }), "{error}");
    let total_bytes = 9;
    let error = refusal(&with(ScanLimits { total_bytes, ..limits })).await;
    assert!(matches!(error, SourceError::TooMuch { what: "bytes", .. }), "{error}");
    let scan_deadline = Duration::ZERO;
    let error = refusal(&with(ScanLimits { scan_deadline, ..limits })).await;
    assert!(matches!(error, SourceError::TimedOut { .. }), "{error}");
}

#[tokio::test]
async fn many_files_are_read_in_several_batches() {
    let git = GitRepository::new();
    // 140 files of 512 KiB are 70 MiB, more than one call of git may return.
    let names: Vec<String> = (0..140).map(|n| format!("docs/specs/{:05}-x.md", 1000 + n)).collect();
    let bodies: Vec<Vec<u8>> = (0..140_u8).map(|n| vec![n; MAX_SPEC_BYTES]).collect();
    let files: Vec<(&str, &[u8])> =
        names.iter().zip(&bodies).map(|(name, body)| (name.as_str(), body.as_slice())).collect();
    git.commit(&files);
    let scan = in_place(&git).scan(None).await.unwrap();
    assert_eq!(scan.files.len(), 140);
    for (file, body) in scan.files.iter().zip(&bodies) {
        assert!(file.spec.bytes == *body, "{}", file.spec.path);
    }
}

#[tokio::test]
async fn symbolic_links_are_not_followed() {
    let git = GitRepository::new();
    git.commit(&[("docs/specs/01213-a.md", GOOD.as_bytes())]);
    std::os::unix::fs::symlink("/etc/passwd", git.work().join("docs/specs/01214-b.md")).unwrap();
    git.commit(&[]);
    let scan = in_place(&git).scan(None).await.unwrap();
    assert_eq!(paths(&scan), ["docs/specs/01213-a.md"]);
}

#[tokio::test]
async fn a_program_as_a_transport_is_never_run() {
    let git = GitRepository::new();
    let marker = git.work().join("ran");
    let location = format!("ext::sh -c 'touch {}'", marker.display());
    let settings = ParseSettings::default();
    let limits = ScanLimits::default();
    let built = GitScan::new(at(&location), git.cache(), Git::new(), settings.clone(), limits);
    assert!(matches!(built, Err(SourceError::Misconfigured { .. })));
    // With something that makes it look like a URL it reaches git, which refuses it.
    let location = format!("{location} a://b");
    let source = GitScan::new(at(location), git.cache(), Git::new(), settings, limits).unwrap();
    refusal(&source).await;
    assert!(!marker.exists());
}

#[test]
fn settings_that_cannot_be_meant_are_refused() {
    let refused = |repository: Repository| {
        let built = GitScan::new(
            repository,
            "/nonexistent",
            Git::new(),
            ParseSettings::default(),
            ScanLimits::default(),
        );
        assert!(matches!(built, Err(SourceError::Misconfigured { .. })));
    };
    for specs_path in ["", "/", "../x", "docs/../../x", "docs//specs"] {
        let specs_path = specs_path.to_owned();
        refused(Repository { specs_path, ..at("/srv/shop") });
    }
    for base_branch in ["", "a b", "main..x", "main^{tree}", "a:b"] {
        let base_branch = base_branch.to_owned();
        refused(Repository { base_branch, ..at("/srv/shop") });
    }
    for location in ["", "--upload-pack=x"] {
        refused(at(location));
    }
}
