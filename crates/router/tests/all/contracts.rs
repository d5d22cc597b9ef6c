//! S0-2.2a to S0-2.2c, S4-IMP-27: what an answer must be, field by field.

use millrace_router::contracts::{ContractError, Contracts};
use serde_json::{Value, json};

use crate::support::{good_change, good_plan};

fn errors(contract: &str, value: &Value) -> Vec<ContractError> {
    Contracts::bundled().unwrap().validate(contract, value).err().unwrap_or_default()
}

fn pointers(contract: &str, value: &Value) -> Vec<String> {
    errors(contract, value).into_iter().map(|error| error.pointer).collect()
}

/// A good value with one field replaced, or removed with `None`.
fn with(mut value: Value, field: &str, new: Option<Value>) -> Value {
    let object = value.as_object_mut().unwrap();
    match new {
        Some(new) => object.insert(field.to_owned(), new),
        None => object.remove(field),
    };
    value
}

#[test]
fn good_answers_satisfy_their_contracts() {
    assert_eq!(errors("planner", &good_plan()), []);
    assert_eq!(errors("worker", &good_change()), []);
    let full = with(good_plan(), "summary", Some(json!("Red.")));
    let full = with(full, "approvals_needed", Some(json!(["design"])));
    assert_eq!(errors("planner", &full), []);
    let full = with(good_change(), "title", Some(json!("Make the link red")));
    assert_eq!(errors("worker", &with(full, "summary", Some(json!("As asked.")))), []);
}

/// A full, good answer for every contract: every field that it has, optional ones included.
fn good(contract: &str) -> Value {
    match contract {
        "planner" => json!({
            "rollback_plan": "revert the commit",
            "idempotency_key": "VTID-01213-red",
            "risk_level": "low",
            "steps": ["edit the style sheet"],
            "summary": "Red.",
            "approvals_needed": ["design"],
            "cites": [{"file": "site/style.css", "symbol": "link"}, {"file": "site/index.html"}],
        }),
        "worker" => json!({
            "edits": [{"path": "site/style.css", "action": "replace", "find": "blue", "replace": "red"}],
            "commands": ["make check"],
            "dry_run": false,
            "pr_required": true,
            "rollback_commands": [],
            "title": "Make the link red",
            "summary": "As asked.",
        }),
        "validator" => json!({
            "policy_checks": [{"policy": "tests-required", "passed": true, "reason": "checks/red.sh is new"}],
            "schema_conformance": {"conforms": false, "errors": ["plan.json: /steps: missing"]},
            "risk_gate": {"risk_level": "low", "passed": true, "reason": "one colour"},
            "approvals_found": [{"approver": "design", "scope": "colours", "place": "pull request 7"}],
        }),
        "reviewer" => json!({
            "rubric": [{"criterion": "correctness", "score": 9, "reason": "the check passes"}],
            "code_quality_score": 88,
            "verdict": "approve",
            "findings": [{"severity": "minor", "file": "site/style.css", "line": 3, "message": "a typo"}],
            "summary": "Does what is asked.",
        }),
        "problem_spec" => json!({
            "title": "The link is red",
            "problem": "Nobody sees the link.",
            "goals": ["The link stands out."],
            "non_goals": [],
            "acceptance_criteria": [{"id": "AC-1", "text": "it is red", "how_checked": "make check"}],
            "constraints": [],
            "open_questions": [],
            "assumptions": ["one style sheet"],
            "cites": [{"file": "site/style.css"}],
        }),
        "plan" => json!({
            "summary": "Red.",
            "steps": [{"id": "S1", "what": "edit", "files": ["site/style.css"], "check": "make check"}],
            "file_map": [{"path": "site/style.css", "action": "modify", "why": "S1"}],
            "tests": ["checks/red.sh"],
            "rollback_plan": "revert the commit",
            "risk_level": "low",
            "approvals_needed": [],
            "cites": [{"file": "site/style.css"}],
        }),
        "change_set" => json!({
            "base_commit": "0123456789abcdef0123456789abcdef01234567",
            "summary": "Red.",
            "files": [{
                "path": "site/style.css", "action": "modified", "added_lines": 1, "deleted_lines": 1, "why": "S1",
            }],
            "tests": [],
        }),
        "pr_summary" => json!({
            "title": "Make the link red",
            "what": "The colour.",
            "why": "Nobody saw it.",
            "how_tested": "make check: 3 passed",
            "risk_level": "low",
            "rollback_plan": "revert the commit",
            "notes_for_reviewers": ["site/style.css"],
        }),
        "risk_report" => json!({
            "risk_level": "low",
            "risks": [{"what": "ugly", "likelihood": "low", "impact": "low", "mitigation": "look at it"}],
            "blast_radius": "readers of one page",
            "touches_data": false,
            "touches_security": false,
            "reversible": true,
            "rollback_plan": "revert the commit",
            "approvals_needed": [],
        }),
        "agent_turn" => json!({"thought": "the file first", "tool": "read", "arguments": {"path": "a"}}),
        unknown => panic!("no good answer for `{unknown}`"),
    }
}

/// The required fields of a contract and of every object in it, told here once more, so that one that is dropped from
/// a schema is noticed.
const REQUIRED: &[(&str, &[&str])] = &[
    ("planner", &["/rollback_plan", "/idempotency_key", "/risk_level", "/steps", "/cites/0/file"]),
    (
        "worker",
        &[
            "/edits",
            "/commands",
            "/dry_run",
            "/pr_required",
            "/rollback_commands",
            "/edits/0/path",
            "/edits/0/action",
            "/edits/0/find",
            "/edits/0/replace",
        ],
    ),
    (
        "validator",
        &[
            "/policy_checks",
            "/schema_conformance",
            "/risk_gate",
            "/approvals_found",
            "/policy_checks/0/policy",
            "/policy_checks/0/passed",
            "/policy_checks/0/reason",
            "/schema_conformance/conforms",
            "/schema_conformance/errors",
            "/risk_gate/risk_level",
            "/risk_gate/passed",
            "/risk_gate/reason",
            "/approvals_found/0/approver",
            "/approvals_found/0/scope",
        ],
    ),
    (
        "reviewer",
        &[
            "/rubric",
            "/code_quality_score",
            "/verdict",
            "/findings",
            "/summary",
            "/rubric/0/criterion",
            "/rubric/0/score",
            "/rubric/0/reason",
            "/findings/0/severity",
            "/findings/0/file",
            "/findings/0/line",
            "/findings/0/message",
        ],
    ),
    ("agent_turn", &["/arguments"]),
    (
        "problem_spec",
        &[
            "/title",
            "/problem",
            "/goals",
            "/non_goals",
            "/acceptance_criteria",
            "/constraints",
            "/open_questions",
            "/acceptance_criteria/0/id",
            "/acceptance_criteria/0/text",
            "/acceptance_criteria/0/how_checked",
            "/cites/0/file",
        ],
    ),
    (
        "plan",
        &[
            "/summary",
            "/steps",
            "/file_map",
            "/tests",
            "/rollback_plan",
            "/risk_level",
            "/steps/0/id",
            "/steps/0/what",
            "/steps/0/files",
            "/steps/0/check",
            "/file_map/0/path",
            "/file_map/0/action",
            "/file_map/0/why",
        ],
    ),
    (
        "change_set",
        &[
            "/base_commit",
            "/summary",
            "/files",
            "/tests",
            "/files/0/path",
            "/files/0/action",
            "/files/0/added_lines",
            "/files/0/deleted_lines",
            "/files/0/why",
        ],
    ),
    ("pr_summary", &["/title", "/what", "/why", "/how_tested", "/risk_level", "/rollback_plan"]),
    (
        "risk_report",
        &[
            "/risk_level",
            "/risks",
            "/blast_radius",
            "/touches_data",
            "/touches_security",
            "/reversible",
            "/rollback_plan",
            "/approvals_needed",
            "/risks/0/what",
            "/risks/0/likelihood",
            "/risks/0/impact",
            "/risks/0/mitigation",
        ],
    ),
];

/// S0-2.2a, S0-2.2b, S0-2.2c, S4-IMP-27: leaving out a required field is refused with the pointer to that field, and
/// to nothing else.
#[test]
fn s0_2_2a_s0_2_2b_s0_2_2c_each_required_field_is_named_when_missing() {
    assert_eq!(REQUIRED.len(), Contracts::bundled().unwrap().names().count());
    for (contract, pointers) in REQUIRED {
        assert_eq!(errors(contract, &good(contract)), [], "{contract}");
        for pointer in *pointers {
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            let mut value = good(contract);
            let removed = value.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(field);
            assert!(removed.is_some(), "{contract}{pointer} is not in the good answer");
            let found = errors(contract, &value);
            assert_eq!(found.len(), 1, "{contract}{pointer}: {found:?}");
            assert_eq!(found[0].pointer, *pointer, "{contract}");
            assert!(found[0].message.contains("required"), "{found:?}");
        }
    }
}

/// A field that no contract knows is refused at every depth, and a value of another type is.
#[test]
fn unknown_fields_and_other_types_are_refused_at_every_depth() {
    for (contract, pointers) in REQUIRED {
        for pointer in *pointers {
            let (parent, field) = pointer.rsplit_once('/').unwrap();
            let mut value = good(contract);
            let object = value.pointer_mut(parent).unwrap().as_object_mut().unwrap();
            object.insert("surprise".to_owned(), json!(1));
            assert_eq!(self::pointers(contract, &value), [format!("{parent}/surprise")]);
            let object = value.pointer_mut(parent).unwrap().as_object_mut().unwrap();
            object.remove("surprise");
            object.insert(field.to_owned(), Value::Null);
            let found = self::pointers(contract, &value);
            assert!(found.iter().any(|found| found == pointer), "{contract}{pointer}: {found:?}");
        }
    }
}

#[test]
fn optional_fields_may_be_left_out() {
    for (contract, fields) in [
        ("planner", &["summary", "approvals_needed", "cites"][..]),
        ("worker", &["title", "summary"]),
        ("problem_spec", &["assumptions", "cites"]),
        ("plan", &["approvals_needed", "cites"]),
        ("pr_summary", &["notes_for_reviewers"]),
    ] {
        for field in fields {
            assert_eq!(errors(contract, &with(good(contract), field, None)), [], "{contract}.{field}");
        }
    }
}

#[test]
fn a_cited_file_lies_in_the_repository() {
    for file in ["../x", "/etc/passwd", ".git/config", "a//b", ""] {
        let plan = with(good("planner"), "cites", Some(json!([{"file": file}])));
        assert!(pointers("planner", &plan).iter().all(|at| at == "/cites/0/file"), "{file}");
        assert!(!errors("planner", &plan).is_empty(), "{file}");
    }
}

/// A reviewer that approves and finds something blocking contradicts itself.
#[test]
fn an_approval_has_no_blocking_finding_and_scores_have_bounds() {
    let blocking = json!([{"severity": "blocking", "file": "a", "line": 0, "message": "wrong"}]);
    let review = with(good("reviewer"), "findings", Some(blocking));
    assert_eq!(pointers("reviewer", &review), ["/findings/0/severity"]);
    assert_eq!(errors("reviewer", &with(review, "verdict", Some(json!("request_changes")))), []);
    for (field, bad, pointer) in [
        ("code_quality_score", json!(101), "/code_quality_score"),
        ("code_quality_score", json!(-1), "/code_quality_score"),
        ("verdict", json!("maybe"), "/verdict"),
        ("rubric", json!([]), "/rubric"),
        ("rubric", json!([{"criterion": "x", "score": 11, "reason": "y"}]), "/rubric/0/score"),
        (
            "findings",
            json!([{"severity": "note", "file": "a", "line": -1, "message": "m"}]),
            "/findings/0/line",
        ),
    ] {
        assert_eq!(pointers("reviewer", &with(good("reviewer"), field, Some(bad))), [pointer]);
    }
}

#[test]
fn empty_wrong_and_unknown_values_are_named() {
    for (field, bad) in [
        ("rollback_plan", json!(" \n")),
        ("rollback_plan", json!(null)),
        ("idempotency_key", json!("")),
        ("risk_level", json!("unclear")),
        ("steps", json!([])),
        ("steps", json!("one")),
        ("surprise", json!(1)),
        ("a/b~c", json!(1)),
    ] {
        let pointer = format!("/{}", field.replace('~', "~0").replace('/', "~1"));
        assert_eq!(pointers("planner", &with(good_plan(), field, Some(bad))), [pointer]);
    }
    assert_eq!(pointers("planner", &with(good_plan(), "steps", Some(json!(["a", ""])))), ["/steps/1"]);
    let two_lines = with(good_change(), "title", Some(json!("a\nb")));
    assert_eq!(pointers("worker", &two_lines), ["/title"]);
    assert_eq!(pointers("planner", &json!([])), [""]);
    assert_eq!(pointers("no-such", &good_plan()), [""]);
}

#[test]
fn an_edit_cannot_leave_the_repository_or_touch_its_git_directory() {
    let bad = [
        "",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a/..",
        "..",
        ".",
        "./a",
        "a/./b",
        "a//b",
        "a/",
        "a\\..\\b",
        ".git",
        ".git/hooks/pre-commit",
        ".GIT/config",
        "sub/.git/config",
        "a\u{0}b",
        "a\nb",
    ];
    for path in bad {
        let edit = json!([{"path": path, "action": "delete"}]);
        let found = pointers("worker", &with(good_change(), "edits", Some(edit)));
        assert!(!found.is_empty() && found.iter().all(|at| at == "/edits/0/path"), "{path:?}: {found:?}");
    }
    for path in ["a", ".gitignore", ".github/x.yml", "a..b/c...", "ä/b c", ".gitmodules2/..x"] {
        let edit = json!([{"path": path, "action": "delete"}]);
        assert_eq!(errors("worker", &with(good_change(), "edits", Some(edit))), [], "{path}");
    }
}

#[test]
fn an_edit_has_exactly_the_fields_of_its_action() {
    let cases = [
        (json!({"path": "a", "action": "write"}), "/edits/0/content"),
        (json!({"path": "a", "action": "write", "content": "", "find": "x"}), "/edits/0/find"),
        (json!({"path": "a", "action": "replace", "find": "x"}), "/edits/0/replace"),
        (json!({"path": "a", "action": "replace", "find": "", "replace": ""}), "/edits/0/find"),
        (json!({"path": "a", "action": "delete", "content": ""}), "/edits/0/content"),
        (json!({"path": "a", "action": "rename"}), "/edits/0/action"),
        (json!({"path": "a"}), "/edits/0/action"),
        (json!({"action": "delete"}), "/edits/0/path"),
        (json!({"path": "a", "action": "delete", "mode": 7}), "/edits/0/mode"),
    ];
    for (edit, pointer) in cases {
        let change = with(good_change(), "edits", Some(json!([edit])));
        assert_eq!(pointers("worker", &change), [pointer], "{change}");
    }
}

#[test]
fn messages_stay_short_whatever_they_quote() {
    let long = with(good_plan(), "risk_level", Some(json!("x".repeat(100_000))));
    let options = r#"must be one of "low", "medium", "high", "critical""#;
    assert_eq!(errors("planner", &long)[0].message, options);
    let long = with(good_plan(), "steps", Some(json!("x".repeat(100_000))));
    assert!(errors("planner", &long)[0].message.len() < 400);
}

#[test]
fn every_schema_says_what_it_is() {
    let contracts = Contracts::bundled().unwrap();
    for name in contracts.names() {
        let schema = contracts.get(name).unwrap().schema();
        assert_eq!(schema["$id"], format!("https://millrace.dev/schemas/contracts/{name}/v1"));
        assert_eq!(schema["additionalProperties"], false);
        for (field, about) in schema["properties"].as_object().unwrap() {
            assert!(about["description"].is_string(), "{name}.{field}");
        }
    }
}
