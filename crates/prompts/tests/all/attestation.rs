//! S4-SP4, S4-TH4, S4-IMP-05, S4-VER4: a header that is not its baseline.

use millrace_events::v1::Phase;
use millrace_prompts::{
    Attestation, AttestationPolicy, Baseline, Compiled, Library, PHASES, Request, Variant, attest, compile,
};
use tempfile::TempDir;

fn compiled(library: &Library, role: &str, phase: Phase) -> Compiled {
    let request = Request {
        role,
        phase,
        domain: None,
        skills: &[],
        rubric: None,
        variant: Variant::A,
        anchors: &[],
        material: &[],
    };
    compile(library, &request).unwrap()
}

/// The library with a sentence added to the core, which every header has.
fn mutated() -> Library {
    let folder = TempDir::new().unwrap();
    let core = include_str!("../../../../prompts/core.md");
    std::fs::write(folder.path().join("core.md"), format!("{core}7. Be quick.\n")).unwrap();
    Library::with_folder(folder.path()).unwrap()
}

#[test]
fn s4_sp4_s4_ver4_a_mutated_header_warns_in_plan_and_is_blocked_in_verify() {
    let (baseline, policy) = (Baseline::bundled().unwrap(), AttestationPolicy::default());
    let (meant, mutated) = (Library::bundled().unwrap(), mutated());
    for phase in PHASES {
        for role in ["planner", "implementer", "reviewer"] {
            assert_eq!(attest(&compiled(&meant, role, phase), &baseline, &policy), Attestation::Same);
            let found = compiled(&mutated, role, phase);
            let attestation = attest(&found, &baseline, &policy);
            let is_blocked = matches!(attestation, Attestation::Blocked(_));
            assert_eq!(
                is_blocked,
                matches!(phase, Phase::Verify | Phase::Review | Phase::Monitor),
                "{phase:?}"
            );
            let (Attestation::Warned(drift) | Attestation::Blocked(drift)) = attestation else {
                panic!("{phase:?}")
            };
            assert_eq!(drift.prompt, found.prompt);
            assert_eq!(drift.found_sha256, found.header_sha256);
            assert_eq!(drift.expected_sha256, compiled(&meant, role, phase).header_sha256);
        }
    }
}

#[test]
fn s4_imp_05_the_policy_says_where_drift_blocks() {
    let (baseline, mutated) = (Baseline::bundled().unwrap(), mutated());
    let found =
        |phase, policy: &AttestationPolicy| attest(&compiled(&mutated, "planner", phase), &baseline, policy);
    let strict = AttestationPolicy::blocking(["plan", "IMPLEMENT"]).unwrap();
    assert!(matches!(found(Phase::Plan, &strict), Attestation::Blocked(_)));
    assert!(matches!(found(Phase::Verify, &strict), Attestation::Warned(_)));
    let lenient = AttestationPolicy::blocking([]).unwrap();
    assert!(PHASES.into_iter().all(|phase| matches!(found(phase, &lenient), Attestation::Warned(_))));
    assert_eq!(AttestationPolicy::blocking(["verify", "deploy"]).unwrap_err(), "deploy");
}

#[test]
fn s4_th4_after_a_rebase_the_new_header_is_the_baseline_and_the_old_one_is_not() {
    let (mut baseline, policy) = (Baseline::bundled().unwrap(), AttestationPolicy::default());
    let (meant, mutated) = (Library::bundled().unwrap(), mutated());
    let found = compiled(&mutated, "reviewer", Phase::Review);
    baseline.rebase(&found.prompt, &found.header_sha256);
    assert_eq!(attest(&found, &baseline, &policy), Attestation::Same);
    let old = compiled(&meant, "reviewer", Phase::Review);
    assert!(matches!(attest(&old, &baseline, &policy), Attestation::Blocked(_)));
    // The others are as they were.
    let other = compiled(&mutated, "implementer", Phase::Implement);
    assert!(matches!(attest(&other, &baseline, &policy), Attestation::Warned(_)));
}

/// S4-IMP-22: a persona that may use another tool is another header.
#[test]
fn s4_imp_22_the_persona_is_attested() {
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("personas")).unwrap();
    let persona = include_str!("../../../../prompts/personas/reviewer.json");
    let file = folder.path().join("personas/reviewer.json");
    std::fs::write(&file, persona.replace("\"read\"", "\"read\", \"write\"")).unwrap();
    let found = compiled(&Library::with_folder(folder.path()).unwrap(), "reviewer", Phase::Review);
    let (baseline, policy) = (Baseline::bundled().unwrap(), AttestationPolicy::default());
    assert!(matches!(attest(&found, &baseline, &policy), Attestation::Blocked(_)));
    // Written in another way it is the same persona.
    std::fs::write(&file, persona.replace('\n', " ")).unwrap();
    let same = compiled(&Library::with_folder(folder.path()).unwrap(), "reviewer", Phase::Review);
    assert_eq!(attest(&same, &baseline, &policy), Attestation::Same);
}
