//! `schemas/profile.schema.json` is the shape of a profile.

use std::collections::BTreeSet;
use std::path::Path;

use millrace_profile::{
    Ci, Command, DiffLimit, Finding, Gap, GapKind, Language, Named, OwnerRule, Owners, Package,
    PackageManager, Profile, Purpose, Settings, Toolchain, detect,
};
use serde_json::Value;

use crate::fixtures;

fn schema() -> Value {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/profile.schema.json");
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// A profile in which nothing is empty, so that every key is there.
fn full() -> Profile {
    let text = || "x".to_owned();
    Profile {
        version: 1,
        languages: vec![Language { name: text(), files: 1, bytes: 1, percent: 100, file: text() }],
        package_managers: vec![PackageManager {
            name: text(),
            directory: text(),
            file: text(),
            lockfile: Some(text()),
        }],
        toolchains: vec![Toolchain { name: text(), version: text(), file: text() }],
        packages: vec![Package { directory: text(), name: text(), file: text() }],
        commands: vec![Command { purpose: Purpose::Test, command: text(), directory: text(), file: text() }],
        test_runners: vec![Finding { name: text(), file: text() }],
        coverage_tools: vec![Finding { name: text(), file: text() }],
        ci: vec![Ci { system: "jenkins".to_owned(), file: text(), commands: vec![text()] }],
        owners: Some(Owners {
            file: text(),
            rules: vec![OwnerRule { pattern: text(), owners: vec![text()] }],
        }),
        diff_limit: DiffLimit { files: 1, lines: 1, file: Some(text()) },
        settings: Settings {
            checks: vec![Named { name: text(), command: text() }],
            commands: vec![Named { name: "test".to_owned(), command: text() }],
            diff_files: Some(1),
            diff_lines: Some(1),
        },
        missing: vec![Gap { what: GapKind::Tests, message: text(), advice: text() }],
    }
}

/// Every place of the schema against the same place of a full profile: the same keys, all required, no others.
fn compare(place: &str, schema: &Value, value: &Value, root: &Value) {
    let schema = match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    };
    if let Some(values) = value.as_array() {
        return compare(&format!("{place}[]"), &schema["items"], &values[0], root);
    }
    let Some(entries) = value.as_object() else { return };
    let schema = schema.get("oneOf").and_then(Value::as_array).map_or(schema, |kinds| &kinds[0]);
    let schema = match schema.get("$ref").and_then(Value::as_str) {
        Some(reference) => root.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    };
    let keys: BTreeSet<&str> = entries.keys().map(String::as_str).collect();
    let properties: BTreeSet<&str> =
        schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
    let required: BTreeSet<&str> =
        schema["required"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(keys, properties, "{place}");
    assert_eq!(keys, required, "{place}");
    assert_eq!(schema["additionalProperties"], false, "{place}");
    for (key, value) in entries {
        compare(&format!("{place}.{key}"), &schema["properties"][key], value, root);
    }
}

/// S4-D1: the schema and the code have the same keys at every place, and the same words.
#[test]
fn s4_d1_the_schema_is_the_shape_of_a_profile() {
    let schema = schema();
    let full = serde_json::to_value(full()).unwrap();
    compare("profile", &schema, &full, &schema);
    let words = |name: &str| -> BTreeSet<String> {
        let words = schema["$defs"][name]["enum"].as_array().unwrap();
        words.iter().map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    let purposes: BTreeSet<String> = Purpose::ALL.iter().map(|purpose| purpose.name().to_owned()).collect();
    assert_eq!(words("purpose"), purposes);
    for word in words("gap") {
        serde_json::from_value::<GapKind>(Value::String(word)).unwrap();
    }
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(validator.is_valid(&full));
    assert!(!validator.is_valid(&serde_json::json!({ "version": 1 })));
}

#[test]
fn s4_d1_the_profiles_of_the_fixtures_satisfy_the_schema_and_can_be_read_back() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for (name, root) in fixtures::all() {
        let profile = detect(&root).unwrap();
        let value = serde_json::to_value(&profile).unwrap();
        let faults: Vec<String> = validator.iter_errors(&value).map(|fault| fault.to_string()).collect();
        assert_eq!(faults, [""; 0], "{name}");
        assert_eq!(serde_json::from_str::<Profile>(&profile.to_json().unwrap()).unwrap(), profile);
        assert_eq!(serde_norway::from_str::<Profile>(&profile.to_yaml().unwrap()).unwrap(), profile);
    }
}
