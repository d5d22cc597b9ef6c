//! `schemas/crew.schema.json` says what the program reads, key by key; the file of the documentation is one.

use std::collections::BTreeSet;

use millrace_router::{Crew, Role, providers};
use serde_json::{Value, json};

const DOCUMENT: &str = include_str!("../../../../docs/models.md");

fn schema() -> Value {
    serde_json::from_str(include_str!("../../../../schemas/crew.schema.json")).unwrap()
}

/// The crew file of the documentation.
fn documented() -> String {
    let block = DOCUMENT.split("```yaml\n").nth(1).unwrap();
    block.split("```").next().unwrap().to_owned()
}

fn as_json(text: &str) -> Value {
    // A date is a string to us and nothing else to YAML.
    serde_norway::from_str(text).unwrap()
}

#[test]
fn the_documented_crew_is_read_and_uses_every_provider() {
    let crew = Crew::parse(&documented(), "crew.yaml").unwrap();
    assert_eq!(crew.roles.len(), 3);
    assert_eq!(crew.roles[&Role::Reviewer].must_differ_from, Some(Role::Implementer));
    let used: BTreeSet<&str> = crew.models.values().map(|model| model.provider.as_str()).collect();
    let known: BTreeSet<&str> = providers::all().keys().copied().collect();
    assert_eq!(used, known);
    for provider in known {
        assert!(DOCUMENT.contains(&format!("| `{provider}` |")), "{provider}");
    }
}

#[test]
fn the_documented_crew_satisfies_the_schema_and_mistakes_do_not() {
    let validator = jsonschema::draft202012::new(&schema()).unwrap();
    let crew = as_json(&documented());
    let errors: Vec<String> = validator.iter_errors(&crew).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    for (pointer, value) in [
        ("/models/claude/key", json!("sk-1")),
        ("/models/claude/price/input", json!(3)),
        ("/roles/painter", json!({"candidates": ["claude"]})),
        ("/defaults/retry/on", json!([404])),
        ("/version", json!("9")),
    ] {
        let mut wrong = crew.clone();
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        wrong.pointer_mut(parent).unwrap()[key] = value;
        assert!(!validator.is_valid(&wrong), "{pointer}");
        assert!(Crew::parse(&wrong.to_string(), "crew.yaml").is_err(), "{pointer}");
    }
}

/// The keys that the program knows at a place: it lists them when it meets one that it does not.
fn known_at(place: &[&str]) -> BTreeSet<String> {
    let mut crew = json!({
        "version": "3",
        "defaults": {"retry": {}, "timeout": {}, "budget": {}},
        "models": {"m": {"provider": "x", "model_id": "y", "supports": {}, "price": {"input": 0, "output": 0},
            "limits": {}, "cooldown": {}}},
        "roles": {"planner": {"candidates": ["m"], "require": {}}},
        "fallbacks": {},
        "repositories": {"shop": {}},
    });
    let mut at = &mut crew;
    for key in place {
        at = &mut at[*key];
    }
    at["unheard_of"] = json!(1);
    let error = Crew::parse(&crew.to_string(), "crew.yaml").unwrap_err();
    let text = error.to_string();
    let (_, listed) = text.split_once("unknown field `unheard_of`, expected").unwrap();
    listed.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_schema_knows_the_keys_that_the_program_knows() {
    let schema = schema();
    for (definition, place) in [
        ("", &[][..]),
        ("defaults", &["defaults"]),
        ("retry", &["defaults", "retry"]),
        ("timeout", &["defaults", "timeout"]),
        ("budget", &["defaults", "budget"]),
        ("model", &["models", "m"]),
        ("supports", &["models", "m", "supports"]),
        ("price", &["models", "m", "price"]),
        ("limits", &["models", "m", "limits"]),
        ("cooldown", &["models", "m", "cooldown"]),
        ("role", &["roles", "planner"]),
        ("require", &["roles", "planner", "require"]),
        ("fallbacks", &["fallbacks"]),
        ("repository", &["repositories", "shop"]),
    ] {
        let object = if definition.is_empty() { &schema } else { &schema["$defs"][definition] };
        let named: BTreeSet<String> = object["properties"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(named, known_at(place), "{definition}");
        assert_eq!(object["additionalProperties"], json!(false), "{definition}");
    }
    let definitions = schema["$defs"].as_object().unwrap();
    assert_eq!(definitions.len(), 13, "every definition is compared above");
}
