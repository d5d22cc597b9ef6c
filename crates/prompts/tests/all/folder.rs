//! A folder of an installation's own prompts.

use std::path::Path;

use millrace_events::v1::Phase;
use millrace_prompts::{
    Attestation, AttestationPolicy, Baseline, Library, Request, Variant, attest, compile,
};
use tempfile::TempDir;

fn write(folder: &TempDir, path: &str, text: &str) {
    let path = folder.path().join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn part(name: &str, body: &str) -> String {
    format!("---\nname: {name}\nversion: 2\n---\n{body}\n")
}

const PLAN: Request<'static> = Request {
    role: "planner",
    phase: Phase::Plan,
    domain: None,
    skills: &[],
    rubric: None,
    variant: Variant::A,
    anchors: &[],
    material: &[],
};

#[test]
fn files_stand_in_for_parts_and_skills_may_be_added() {
    let folder = TempDir::new().unwrap();
    assert_eq!(Library::with_folder(folder.path()).unwrap(), Library::bundled().unwrap(), "nothing in it");
    write(&folder, "phases/plan.md", &part("phases/plan", "# Phase: plan\n\nOur way."));
    write(&folder, "skills/house-style.md", &part("skills/house-style", "# Skill: house style\n\nTabs."));
    write(&folder, "README.txt", "read me");
    let library = Library::with_folder(folder.path()).unwrap();
    let compiled = compile(&library, &Request { skills: &["house-style"], ..PLAN }).unwrap();
    assert!(compiled.system.contains("Our way.") && compiled.system.contains("Tabs."));
    assert_eq!(compiled.version, "1.1.2");
}

/// Two versions side by side: the second is asked for by its variant, and is no baseline until somebody says so.
#[test]
fn s4_imp_26_a_second_variant_is_a_prompt_of_its_own() {
    let folder = TempDir::new().unwrap();
    write(&folder, "roles/planner.b.md", &part("roles/planner.b", "# Your role: planner\n\nBe brief."));
    let persona = r#"{"name": "planner", "role": "planner", "tone": "Plain.", "tools": ["read"],
        "variants": {"a": {}, "b": {"part": "roles/planner.b"}}, "trial": {"id": "t", "sample_per_mille": 1000}}"#;
    write(&folder, "personas/planner.json", persona);
    let library = Library::with_folder(folder.path()).unwrap();
    let variant = |task: &str| library.persona("planner").unwrap().variant_for(task);
    let task = (0..).map(|number| format!("T-{number}")).find(|task| variant(task) == Variant::B).unwrap();
    let second = compile(&library, &Request { variant: variant(&task), ..PLAN }).unwrap();
    assert!(second.system.contains("Be brief."));
    assert_eq!((second.prompt.as_str(), second.version.as_str()), ("plan-planner-b", "1.2.1"));
    let mut baseline = Baseline::bundled().unwrap();
    let policy = AttestationPolicy::default();
    assert!(matches!(attest(&second, &baseline, &policy), Attestation::Warned(_)));
    baseline.rebase(&second.prompt, &second.header_sha256);
    assert_eq!(attest(&second, &baseline, &policy), Attestation::Same);
    let first = compile(&library, &PLAN).unwrap();
    assert!(!first.system.contains("Be brief.") && first.prompt == "plan-planner");
}

#[test]
fn what_cannot_be_used_is_refused_with_its_name() {
    for (path, text, reason) in [
        ("phases/deploy.md", part("phases/deploy", "x"), "no such part to stand in for"),
        ("domains/games.md", part("domains/games", "x"), "domains/api, domains/ml"),
        ("core.md", part("cores", "x"), "must say `name: core`"),
        ("rubrics/review.md", "# no front matter".to_owned(), "`rubrics/review`"),
        ("personas/wizard.json", "{}".to_owned(), "persona `wizard`"),
        ("personas/planner.json", "{".to_owned(), "persona `planner`"),
    ] {
        let folder = TempDir::new().unwrap();
        write(&folder, path, &text);
        let error = Library::with_folder(folder.path()).unwrap_err().to_string();
        assert!(error.contains(reason), "{path}: {error}");
    }
    let error = Library::with_folder(Path::new("/nonexistent/prompts")).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/prompts"), "{error}");
}
