//! What every [`SpecSource`] does, run on the real one and on its stand-in.

use millrace_spec_registry::adapters::ScriptedSource;
use millrace_spec_registry::domain::format::ParseSettings;
use millrace_spec_registry::ports::SpecSource;

use super::format_rules::GOOD;
use super::git_repository::GitRepository;
use super::git_scan::in_place;

/// Puts one file into the source.
type Put<'a> = &'a (dyn Fn(&str, &[u8]) + Sync);

async fn contract(source: &dyn SpecSource, put: Put<'_>) {
    put("docs/specs/orders.md", format!("**VTID:** VTID-01214\n\n{GOOD}").as_bytes());
    put("docs/specs/01213-cart.md", GOOD.as_bytes());
    put("docs/specs/01213-cart.plan.yaml", b"plan: {}");

    let first = source.scan(None).await.unwrap();
    let paths: Vec<&str> = first.files.iter().map(|f| f.spec.path.as_str()).collect();
    assert_eq!(paths, ["docs/specs/01213-cart.md", "docs/specs/orders.md"]);
    assert_eq!(first.files[0].plan.as_ref().unwrap().bytes, b"plan: {}");
    assert_eq!(first.commit, first.cursor.commit);

    let again = source.scan(Some(&first.cursor)).await.unwrap();
    assert!(again.unchanged && again.files.is_empty());

    let by_name = source.find("VTID-01213").await.unwrap().unwrap();
    assert_eq!((&by_name.file, &by_name.commit), (&first.files[0], &first.commit));
    assert_eq!(source.head().await.unwrap(), first.commit);
    let by_content = source.find("VTID-01214").await.unwrap().unwrap();
    assert_eq!(by_content.file, first.files[1]);
    assert_eq!(source.find("VTID-09999").await.unwrap(), None);

    put("docs/specs/01213-cart.md", b"changed");
    let changed = source.scan(Some(&first.cursor)).await.unwrap();
    assert!(!changed.unchanged);
    assert_eq!(changed.files[0].spec.bytes, b"changed");
    assert_ne!(changed.files[0].spec.sha, first.files[0].spec.sha);

    put("docs/specs/01215-two-plans.md", format!("{GOOD}\n```millrace\nplan: {{}}\n```\n").as_bytes());
    put("docs/specs/01215-two-plans.plan.yaml", b"plan: {}");
    let two = source.find("VTID-01215").await.unwrap().unwrap();
    let problems = two.file.parse(&ParseSettings::default()).unwrap_err();
    assert!(problems[0].message.contains("01215-two-plans.plan.yaml"));
}

#[tokio::test]
async fn of_a_git_repository() {
    let git = GitRepository::new();
    contract(&in_place(&git), &|path, bytes| git.commit(&[(path, bytes)])).await;
}

#[tokio::test]
async fn of_the_stand_in() {
    let source = ScriptedSource::new();
    contract(&source, &|path, bytes| source.put(path, bytes)).await;
}
