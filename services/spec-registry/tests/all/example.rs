//! The specifications of the example are ones that the registry accepts.

use std::path::PathBuf;

use millrace_spec_registry::domain::format::{ParseSettings, Readiness, Spec, parse};
use serde_norway::Value;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../examples/storefront")
}

fn read(name: &str) -> Spec {
    let bytes = std::fs::read(root().join("docs/specs").join(name)).unwrap();
    parse(name, &bytes, &ParseSettings::default()).unwrap()
}

/// Every text that a plan replaces stands exactly once in its file.
fn assert_applies(plan: &str) {
    let plan: Value = serde_norway::from_str(plan).unwrap();
    for edit in plan["change"]["edits"].as_sequence().unwrap() {
        if edit["action"] == "replace" {
            let path = edit["path"].as_str().unwrap();
            let text = std::fs::read_to_string(root().join(path)).unwrap();
            assert_eq!(text.matches(edit["find"].as_str().unwrap()).count(), 1, "{path}");
        }
    }
}

#[test]
fn the_first_is_an_everyday_specification_with_its_plan_beside_it() {
    let spec = read("01213-orders-navigation-color.md");
    assert_eq!(spec.task_id.as_deref(), Some("VTID-01213"));
    assert_eq!(spec.readiness, Readiness::Ready);
    assert_eq!(spec.acceptance.len(), 4);
    assert_eq!(spec.domain.as_deref(), Some("storefront"));
    assert_eq!((spec.plan, spec.warnings), (None, vec![]));
    let plan = root().join("docs/specs/01213-orders-navigation-color.plan.yaml");
    assert_applies(&std::fs::read_to_string(plan).unwrap());
}

#[test]
fn the_second_carries_its_plan_inside() {
    let spec = read("01214-checkout-banner.md");
    assert_eq!(spec.task_id.as_deref(), Some("VTID-01214"));
    assert_eq!(spec.readiness, Readiness::Ready);
    assert_eq!(spec.acceptance.len(), 3);
    assert_eq!((spec.open_questions, spec.warnings), (vec![], vec![]));
    assert_applies(&spec.plan.unwrap().text);
}
