#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::LazyLock;

use super::*;
use crate::process::evidence::Kind;

/// Read once: these tests use it thousands of times.
static TABLE: LazyLock<PhaseTable> = LazyLock::new(|| PhaseTable::bundled().unwrap());

/// Good evidence for every artifact of a phase.
fn good(phase: Phase) -> Vec<(String, Vec<u8>)> {
    let rule = TABLE.rule(phase).unwrap();
    let text = |artifact: &crate::process::ArtifactRule| match artifact.kind {
        Kind::Document => {
            artifact.sections.iter().map(|section| format!("## {section}\ntext\n")).collect::<String>()
        }
        Kind::Object => "{\"a\": 1}".to_owned(),
        Kind::FileMap => r#"[{"path": "a", "action": "modify"}]"#.to_owned(),
        Kind::Patch => "diff --git a/x b/x\n@@ -1 +1 @@\n-a\n+b\n".to_owned(),
        Kind::ModifiedFiles => r#"[{"path": "a", "status": "M"}]"#.to_owned(),
        Kind::TestResults => r#"{"total": 1, "passed": 1, "failed": 0}"#.to_owned(),
        Kind::BuildLog => "ok\n".to_owned(),
        Kind::Coverage => r#"{"measured": false, "reason": "no tool"}"#.to_owned(),
        Kind::Rubric => {
            r#"{"verdict": "approve", "rubric": [{"criterion": "c", "score": 9, "reason": "r"}]}"#.to_owned()
        }
        Kind::Quality => r#"{"score": 0.9, "parts": {"a": 0.9}}"#.to_owned(),
        Kind::Deployment => format!("{{\"status\": \"live\", \"sha\": \"{}\"}}", "a".repeat(40)),
    };
    rule.evidence.iter().map(|artifact| (artifact.name.clone(), text(artifact).into_bytes())).collect()
}

fn artifacts(left: &[(String, Vec<u8>)], iteration: u32) -> Vec<Artifact<'_>> {
    left.iter().map(|(name, bytes)| Artifact { name, iteration, bytes }).collect()
}

fn go(enforcer: &mut Enforcer, phase: Phase) {
    let iteration = enforcer.begin(phase).unwrap();
    enforcer.complete(phase, &artifacts(&good(phase), iteration)).unwrap();
}

fn start() -> Enforcer {
    Enforcer::new(TABLE.clone())
}

fn done_until(end: Phase) -> Enforcer {
    let mut enforcer = start();
    for phase in enforcer.table().route() {
        if phase == end {
            break;
        }
        go(&mut enforcer, phase);
    }
    enforcer
}

#[test]
fn s4_ci1_the_phases_are_gone_through_in_their_order() {
    let mut enforcer = start();
    let mut gone = Vec::new();
    while let Some(phase) = enforcer.next() {
        go(&mut enforcer, phase);
        gone.push(name(phase));
    }
    assert_eq!(gone, ["STRATEGIZE", "SPEC", "PLAN", "THINK", "IMPLEMENT", "VERIFY", "REVIEW", "PR"]);
    assert_eq!(enforcer.counts(), Counts::default());
}

/// S4-CI2, S4-VER1: every pair of "stands at" and "wants to begin".
#[test]
fn s4_ci2_no_phase_is_begun_before_the_ones_ahead_of_it_are_done() {
    let route = start().table().route();
    for (standing, at) in route.iter().enumerate() {
        for (wanting, wanted) in route.iter().enumerate() {
            let mut enforcer = done_until(*at);
            match enforcer.begin(*wanted) {
                Ok(1) => assert_eq!(wanting, standing, "{at:?} to {wanted:?} was let through"),
                Ok(other) => panic!("iteration {other}"),
                Err(refusal) if wanting < standing => {
                    assert_eq!((refusal.phase, refusal.code()), (*wanted, Code::StateMismatch));
                }
                Err(refusal) => {
                    assert!(wanting > standing, "{at:?} to {wanted:?}: {refusal}");
                    assert_eq!((refusal.phase, refusal.code()), (*at, Code::EvidenceMissing));
                    assert!(!refusal.artifact.is_empty());
                    assert_eq!(enforcer.counts().skips_attempted, 1);
                    // Nor is it recorded as done without having been begun.
                    let refusal = enforcer.complete(*wanted, &artifacts(&good(*wanted), 1)).unwrap_err();
                    assert_eq!(refusal.phase, *at);
                    assert_eq!(enforcer.next(), Some(*at));
                }
            }
        }
    }
}

/// S4-CI9, S4-CI2: back from every phase to every phase before it.
#[test]
fn s4_ci9_after_a_step_back_old_evidence_is_refused_and_everything_after_it_is_done_again() {
    let route = start().table().route();
    for (later, from) in route.iter().enumerate() {
        for to in route.iter().take(later) {
            let mut enforcer = done_until(*from);
            enforcer.begin(*from).unwrap();
            let Some(reverted) = enforcer.revert(*from, &[*to]) else {
                assert_eq!(enforcer.rule(*from).unwrap().limits.returns, 0, "{from:?}");
                continue;
            };
            assert_eq!(reverted, Reverted { from: *from, to: *to, iteration: 2 });
            assert_eq!(enforcer.next(), Some(*to));
            // What comes after it may not begin, and the old evidence opens nothing.
            let refusal = enforcer.begin(*from).unwrap_err();
            assert_eq!((refusal.phase, refusal.code()), (*to, Code::EvidenceStale), "{refusal}");
            enforcer.begin(*to).unwrap();
            let old = good(*to);
            let refusal = enforcer.complete(*to, &artifacts(&old, 1)).unwrap_err();
            assert_eq!((refusal.phase, refusal.code()), (*to, Code::EvidenceStale), "{refusal}");
            // All of them again, each in its second iteration.
            while let Some(phase) = enforcer.next() {
                go(&mut enforcer, phase);
                let again = route.iter().skip_while(|phase| *phase != to).take_while(|phase| *phase != from);
                if again.into_iter().any(|again| *again == phase) || phase == *from {
                    assert_eq!(enforcer.iteration(phase), 2, "{phase:?}");
                }
            }
        }
    }
}

#[test]
fn s4_ci9_it_goes_back_to_the_earliest_phase_that_is_affected() {
    let mut enforcer = done_until(Phase::Review);
    enforcer.begin(Phase::Review).unwrap();
    let reverted = enforcer.revert(Phase::Review, &[Phase::Implement, Phase::Plan, Phase::Verify]).unwrap();
    assert_eq!((reverted.to, enforcer.next()), (Phase::Plan, Some(Phase::Plan)));
    assert_eq!(enforcer.iteration(Phase::Spec), 1, "what comes before it stands");
    assert_eq!(enforcer.counts().returns, 1);
}

#[test]
fn a_phase_sends_the_work_back_only_so_often_and_only_to_what_comes_before_it() {
    let mut enforcer = done_until(Phase::Review);
    enforcer.begin(Phase::Review).unwrap();
    assert_eq!(enforcer.revert(Phase::Review, &[Phase::Pr]), None);
    assert_eq!(enforcer.revert(Phase::Review, &[]), None);
    for round in 1..=2 {
        assert_eq!(enforcer.revert(Phase::Review, &[Phase::Implement]).unwrap().iteration, round + 1);
        for phase in [Phase::Implement, Phase::Verify] {
            go(&mut enforcer, phase);
        }
        enforcer.begin(Phase::Review).unwrap();
    }
    assert_eq!(enforcer.revert(Phase::Review, &[Phase::Implement]), None, "the table allows two");
}

/// S4-SP3, S4-VER3: four refusals, each with phase and artifact.
#[test]
fn s4_sp3_s4_ver3_missing_empty_malformed_and_stale_evidence_are_four_refusals() {
    let whole = good(Phase::Verify);
    let with = |bytes: &[u8]| {
        let mut left = whole.clone();
        left[0].1 = bytes.to_vec();
        left
    };
    let failed = br#"{"total": 1, "passed": 0, "failed": 1}"#;
    for (left, iteration, code, says) in [
        (whole[1..].to_vec(), 1, Code::EvidenceMissing, "VERIFY: `test_results.json` is missing"),
        (with(b" \n"), 1, Code::EvidenceEmpty, "VERIFY: `test_results.json` is empty"),
        (with(b"ok"), 1, Code::EvidenceInvalid, "not JSON"),
        (with(failed), 1, Code::EvidenceInvalid, "1 of 1 tests failed"),
        (whole.clone(), 0, Code::EvidenceStale, "iteration 0, and iteration 1"),
    ] {
        let mut enforcer = done_until(Phase::Verify);
        enforcer.begin(Phase::Verify).unwrap();
        let refusal = enforcer.complete(Phase::Verify, &artifacts(&left, iteration)).unwrap_err();
        assert_eq!((refusal.code(), refusal.phase), (code, Phase::Verify));
        assert_eq!(refusal.artifact, "test_results.json");
        assert!(refusal.to_string().contains(says), "{refusal}");
        // VERIFY to REVIEW is blocked.
        assert_eq!(enforcer.begin(Phase::Review).unwrap_err().phase, Phase::Verify);
    }
}

#[test]
fn a_phase_of_the_deployer_is_not_the_workers() {
    let mut enforcer = done_until(Phase::Monitor);
    for phase in [Phase::Monitor, Phase::Unspecified] {
        assert_eq!(enforcer.begin(phase).unwrap_err().code(), Code::StateMismatch);
    }
}

#[test]
fn work_that_goes_on_after_an_approval_takes_its_evidence_with_it() {
    let mut enforcer = start();
    for phase in [Phase::Strategize, Phase::Spec] {
        enforcer.take_over(phase, 1, &artifacts(&good(phase), 1)).unwrap();
    }
    enforcer.take_over(Phase::Plan, 2, &artifacts(&good(Phase::Plan), 2)).unwrap();
    assert_eq!(enforcer.next(), Some(Phase::Think));
    // A phase that is missing in between is not made up.
    let refusal = enforcer.take_over(Phase::Verify, 1, &artifacts(&good(Phase::Verify), 1)).unwrap_err();
    assert_eq!((refusal.phase, refusal.code()), (Phase::Think, Code::EvidenceMissing));
    let mut enforcer = start();
    let refusal = enforcer.take_over(Phase::Strategize, 1, &[]).unwrap_err();
    assert_eq!((refusal.artifact.as_str(), refusal.code()), ("strategy.md", Code::EvidenceMissing));
}
