//! S0-2.2a, S0-2.2b: what an answer must be, field by field.

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

#[test]
fn s0_2_2a_each_required_planner_field_is_named_when_missing() {
    for field in ["rollback_plan", "idempotency_key", "risk_level", "steps"] {
        let found = errors("planner", &with(good_plan(), field, None));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].pointer, format!("/{field}"));
        assert!(found[0].message.contains("required"), "{found:?}");
    }
}

#[test]
fn s0_2_2b_each_required_worker_field_is_named_when_missing() {
    for field in ["edits", "commands", "dry_run", "pr_required", "rollback_commands"] {
        let found = errors("worker", &with(good_change(), field, None));
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].pointer, format!("/{field}"));
        assert!(found[0].message.contains("required"), "{found:?}");
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
    for name in ["planner", "worker"] {
        let schema = contracts.get(name).unwrap().schema();
        assert_eq!(schema["$id"], format!("https://millrace.dev/schemas/contracts/{name}/v1"));
        assert_eq!(schema["additionalProperties"], false);
        for (field, about) in schema["properties"].as_object().unwrap() {
            assert!(about["description"].is_string(), "{name}.{field}");
        }
    }
}
