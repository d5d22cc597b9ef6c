//! The forges of the settings, on a real repository.

use millrace_forge::{Forge as _, Git, LocalForge, LocalForgeConfig, NewPullRequest};
use millrace_runtime::settings::{ForgeKind, Repository, Settings};
use millrace_validator::adapters::ConfiguredForges;
use millrace_validator::ports::PullRequests as _;

fn repository(id: &str, url: String) -> Repository {
    Repository {
        id: id.to_owned(),
        url,
        forge: ForgeKind::Local,
        base_branch: "main".to_owned(),
        task_prefix: "VTID".to_owned(),
        task_base: 1,
        specs_url: None,
        specs_path: "docs/specs".to_owned(),
        scan_period: std::time::Duration::from_secs(30),
        target: "web".to_owned(),
    }
}

#[tokio::test]
async fn a_pull_request_is_looked_at_where_it_is_configured() {
    let scratch = tempfile::TempDir::new().unwrap();
    let git = ["AUTHOR", "COMMITTER"].into_iter().fold(Git::new(), |git, role| {
        git.with_variable(format!("GIT_{role}_NAME"), "Person")
            .with_variable(format!("GIT_{role}_EMAIL"), "person@example.org")
    });
    let outside = git.clone().in_directory(scratch.path());
    outside.run(["init", "-q", "--bare", "-b", "main", "origin.git"]).await.unwrap();
    outside.run(["clone", "-q", "origin.git", "clone"]).await.unwrap();
    let inside = git.in_directory(scratch.path().join("clone"));
    for branch in ["main", "millrace/VTID-00001/1.1"] {
        inside.run(["commit", "-q", "--allow-empty", "-m", branch]).await.unwrap();
        inside.run(["push", "-q", "origin", &format!("HEAD:refs/heads/{branch}")]).await.unwrap();
    }
    let base = inside.run(["rev-parse", "HEAD~1"]).await.unwrap().text();
    let head = inside.run(["rev-parse", "HEAD"]).await.unwrap().text();
    let url = scratch.path().join("origin.git").display().to_string();
    let forge = LocalForge::open(LocalForgeConfig::new(&url)).await.unwrap();
    let new = NewPullRequest {
        title: "A change".to_owned(),
        body: String::new(),
        head_branch: "millrace/VTID-00001/1.1".to_owned(),
        base_branch: "main".to_owned(),
        draft: false,
        labels: Vec::new(),
    };
    let number = forge.open_pull_request(&new).await.unwrap().number;

    let nowhere = scratch.path().join("nowhere.git").display().to_string();
    let repositories = vec![repository("shop", url), repository("gone", nowhere)];
    let forges = ConfiguredForges::new(&Settings { repositories, ..Settings::default() });
    let shown = forges.pull_request("shop", number, &base).await.unwrap().unwrap();
    assert!(shown.open && !shown.merged);
    assert_eq!(shown.head, head);
    assert!(!shown.redefines_checks);
    assert_eq!(forges.pull_request("shop", number + 1, &base).await.unwrap(), None);
    std::fs::write(scratch.path().join("clone/.millrace.toml"), "[checks]\nunit = \"true\"\n").unwrap();
    inside.run(["add", "--all"]).await.unwrap();
    inside.run(["commit", "-q", "-m", "other checks"]).await.unwrap();
    inside.run(["push", "-q", "origin", "HEAD:refs/heads/millrace/VTID-00001/1.1"]).await.unwrap();
    let rewritten = forges.pull_request("shop", number, &base).await.unwrap().unwrap();
    assert!(rewritten.redefines_checks, "against the commit that the change was made from");
    forge.close_pull_request(number, "no").await.unwrap();
    assert!(!forges.pull_request("shop", number, &base).await.unwrap().unwrap().open);
    let unknown = forges.pull_request("other", 1, &base).await.unwrap_err();
    assert!(unknown.message.contains("`other`") && !unknown.is_transient);
    let gone = forges.pull_request("gone", 1, &base).await.unwrap_err();
    assert!(gone.message.contains("nowhere.git"), "{gone}");
}
