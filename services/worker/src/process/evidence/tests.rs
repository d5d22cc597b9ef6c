#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;
use crate::process::{ALL, PhaseTable};

const KINDS: [Kind; 11] = [
    Kind::Document,
    Kind::Object,
    Kind::FileMap,
    Kind::Patch,
    Kind::ModifiedFiles,
    Kind::TestResults,
    Kind::BuildLog,
    Kind::Coverage,
    Kind::Rubric,
    Kind::Quality,
    Kind::Deployment,
];

fn thresholds() -> Thresholds {
    Thresholds { tests: 1, coverage: 0.8, each: 0.6, mean: 0.7, quality: 0.7 }
}

fn checked(kind: Kind, text: &str) -> Result<(), Flaw> {
    let sections =
        if kind == Kind::Document { vec!["Steps".to_owned(), "Rollback".to_owned()] } else { vec![] };
    let rule = ArtifactRule { name: "x".to_owned(), kind, sections };
    check(&rule, &thresholds(), text.as_bytes())
}

#[track_caller]
fn refused(kind: Kind, text: &str, says: &str) {
    match checked(kind, text) {
        Err(Flaw::Invalid(message)) => assert!(message.contains(says), "{kind:?} {text:?}: {message}"),
        other => panic!("{kind:?} {text:?}: {other:?}"),
    }
}

#[test]
fn s4_imp_01_good_evidence_of_every_kind_is_accepted() {
    let sha = "a".repeat(40);
    let deployment = format!("{{\"status\": \"live\", \"sha\": \"{sha}\"}}");
    for (kind, text) in [
        (Kind::Document, "# Plan\n## Steps\n- one\n## Rollback\nrevert it\n"),
        (Kind::Object, "{\"a\": 1}"),
        (Kind::FileMap, r#"[{"path": "src/a.rs", "action": "modify"}]"#),
        (Kind::Patch, "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"),
        (Kind::Patch, "diff --git a/x b/x\nnew file mode 100644\nindex 0000000..e69de29\n"),
        (Kind::ModifiedFiles, r#"[{"path": "x", "status": "M"}]"#),
        (Kind::TestResults, r#"{"total": 2, "passed": 2, "failed": 0, "tests": []}"#),
        (Kind::BuildLog, "$ make\nok: parse_error: 0 errors, errors: none of the kind\n"),
        (Kind::Coverage, r#"{"measured": true, "lines": 10, "covered": 8}"#),
        (Kind::Coverage, r#"{"measured": false, "reason": "the repository has no tool for it"}"#),
        (
            Kind::Rubric,
            r#"{"verdict": "approve", "rubric": [{"criterion": "correct", "score": 8, "reason": "r"}, {"criterion": "tested", "score": 6, "reason": "r"}]}"#,
        ),
        (Kind::Quality, r#"{"score": 0.75, "parts": {"review": 0.5, "tests": 1.0}}"#),
        (Kind::Deployment, deployment.as_str()),
    ] {
        assert_eq!(checked(kind, text), Ok(()), "{kind:?} {text}");
    }
}

/// S4-SP3: content, not only existence.
#[test]
fn s4_sp3_empty_evidence_of_every_kind_is_empty() {
    for kind in KINDS {
        for text in ["", " \n\t\n"] {
            assert_eq!(checked(kind, text), Err(Flaw::Empty), "{kind:?}");
        }
    }
    for (kind, text) in
        [(Kind::Object, "{}"), (Kind::FileMap, "[]"), (Kind::ModifiedFiles, "[]"), (Kind::Rubric, "{}")]
    {
        assert_eq!(checked(kind, text), Err(Flaw::Empty), "{kind:?}");
    }
    let rule = ArtifactRule { name: "x".to_owned(), kind: Kind::Document, sections: vec![] };
    assert_eq!(check(&rule, &thresholds(), b"# Only\n## Headings\n<!-- fill in -->\n"), Err(Flaw::Empty));
}

/// S4-CI3, S4-SP3: what is there and says the wrong thing.
#[test]
fn s4_ci3_evidence_that_proves_the_contrary_is_refused() {
    for (kind, text, says) in [
        (Kind::Document, "## Steps\n- one\n", "`Rollback` is missing"),
        (Kind::Document, "## Steps\n- one\n## Rollback\n<!-- how? -->\n", "`Rollback` is empty"),
        (Kind::Document, "## Steps\n## Rollback\nrevert\n", "`Steps` is empty"),
        (Kind::FileMap, r#"[{"path": "../x", "action": "modify"}]"#, "entry 1"),
        (Kind::FileMap, r#"[{"path": ".Git/config", "action": "modify"}]"#, "entry 1"),
        (Kind::FileMap, r#"[{"path": "x", "action": "burn"}]"#, "`action`"),
        (
            Kind::FileMap,
            r#"[{"path": "x", "action": "create"}, {"path": "x", "action": "create"}]"#,
            "entry 2: `x` stands twice",
        ),
        (Kind::Patch, "I have changed the file.", "diff --git"),
        (Kind::Patch, "diff --git a/x b/x\n", "changes nothing"),
        (Kind::ModifiedFiles, r#"{"path": "x"}"#, "not a JSON list"),
        (Kind::TestResults, r#"{"total": 2, "passed": 1, "failed": 1}"#, "1 of 2 tests failed"),
        (Kind::TestResults, r#"{"total": 2, "passed": 1, "failed": 0}"#, "1 passed"),
        (Kind::TestResults, r#"{"total": 0, "passed": 0, "failed": 0}"#, "at least 1"),
        (Kind::TestResults, r#"{"total": 2, "passed": 2, "failed": "0"}"#, "`failed`"),
        (Kind::TestResults, "all green", "not JSON"),
        (Kind::BuildLog, "ok\nerror: cannot find x\n", "line 2"),
        (Kind::BuildLog, "src/a.c:3:1: error: expected ';'", "line 1"),
        (Kind::BuildLog, "error[E0382]: borrow of moved value", "line 1"),
        (Kind::BuildLog, "Error: no such file", "line 1"),
        (Kind::Coverage, r#"{"lines": 1}"#, "`measured`"),
        (Kind::Coverage, r#"{"measured": false, "reason": " "}"#, "no `reason`"),
        (Kind::Coverage, r#"{"measured": true, "lines": 10, "covered": 7}"#, "0.70"),
        (Kind::Coverage, r#"{"measured": true, "lines": 1, "covered": 7}"#, "cannot be covered"),
        (
            Kind::Rubric,
            r#"{"verdict": "reject", "rubric": [{"criterion": "correct", "score": 10, "reason": "r"}]}"#,
            "does not approve",
        ),
        (Kind::Rubric, r#"{"verdict": "approve", "rubric": []}"#, "`rubric`"),
        (
            Kind::Rubric,
            r#"{"verdict": "approve", "rubric": [{"criterion": "correct", "score": 70, "reason": "r"}]}"#,
            "from 0 to 10",
        ),
        (
            Kind::Rubric,
            r#"{"verdict": "approve", "rubric": [{"criterion": "a", "score": 10, "reason": "r"}, {"criterion": "b", "score": 5, "reason": "r"}]}"#,
            "`b` has 0.50",
        ),
        (
            Kind::Rubric,
            r#"{"verdict": "approve", "rubric": [{"criterion": "a", "score": 6, "reason": "r"}, {"criterion": "b", "score": 6, "reason": "r"}]}"#,
            "mean is 0.60",
        ),
        (Kind::Quality, r#"{"score": 0.9, "parts": {"a": 0.1}}"#, "not the mean"),
        (Kind::Quality, r#"{"score": 0.5, "parts": {"a": 0.5}}"#, "0.50"),
        (Kind::Deployment, r#"{"status": "rolling", "sha": "x"}"#, "`rolling`"),
        (Kind::Deployment, r#"{"status": "live", "sha": "abc"}"#, "full commit"),
    ] {
        refused(kind, text, says);
    }
}

proptest! {
    /// Whatever a model or a command leaves behind, a checker answers.
    #[test]
    fn s4_sp3_no_bytes_make_a_checker_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        for kind in KINDS {
            let rule = ArtifactRule { name: "x".to_owned(), kind, sections: vec!["A".to_owned()] };
            let _answered = check(&rule, &thresholds(), &bytes);
        }
    }

    /// The same for what is nearly right.
    #[test]
    fn s4_sp3_no_json_makes_a_checker_panic(
        text in "(\\[|\\{)?(\"(total|failed|passed|rubric|score|parts|path|measured|lines)\"(:|,)?|-?[0-9]{1,20}|null|true|\\{|\\}|\\]|,){0,12}",
        heading in "#{0,8} ?[A-Ä]{0,3}\\n.{0,20}",
    ) {
        for kind in KINDS {
            let rule = ArtifactRule { name: "x".to_owned(), kind, sections: vec!["A".to_owned()] };
            let _answered = check(&rule, &thresholds(), text.as_bytes());
            let _answered = check(&rule, &thresholds(), heading.as_bytes());
        }
    }
}

/// A guard of this file: a kind that is added is fuzzed too.
#[test]
fn every_kind_of_the_table_is_tested_here() {
    let table = PhaseTable::bundled().unwrap();
    let mut used = ALL.into_iter().flat_map(|phase| &table.rule(phase).unwrap().evidence);
    assert!(used.all(|artifact| KINDS.contains(&artifact.kind)));
}
