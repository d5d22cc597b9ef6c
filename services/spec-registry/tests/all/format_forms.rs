//! The ways people write a specification.

use millrace_spec_registry::domain::format::{
    AcceptanceItem, AcceptanceKind, ParseSettings, ProblemCode, Readiness, Spec, parse,
};

fn read(text: &str) -> Spec {
    parse("01213-x.md", text.as_bytes(), &ParseSettings::default()).unwrap()
}

/// A specification with these acceptance criteria.
fn criteria(text: &str) -> Vec<AcceptanceItem> {
    read(&format!("# T\n\n## Summary\nLong enough to count.\n\n## Why\nIt hurts.\n\n{text}")).acceptance
}

fn kinds(items: &[AcceptanceItem]) -> Vec<AcceptanceKind> {
    items.iter().map(|item| item.kind).collect()
}

#[test]
fn everyday_headings_in_any_dress() {
    let spec = read(
        "\u{feff}# Checkout\r\n\r\n## 1. 📝 OVERVIEW *(mandatory)*\r\nPeople pay in one step.\r\n\r\n\
         ## 2) Motivation:\r\nThree steps lose buyers.\r\n\r\n### Details\r\nMore of it.\r\n\r\n\
         ## ✅ Success criteria\r\n1. One page.\r\n2. One button.\r\n\r\n\
         ## Depends on\r\nNone.\r\n\r\n## Testing\r\nBy hand.\r\n",
    );
    assert_eq!(spec.title, "Checkout");
    assert_eq!(spec.summary, "People pay in one step.");
    assert!(spec.problem_statement.contains("More of it."));
    assert_eq!(spec.acceptance.len(), 2);
    assert_eq!(spec.acceptance[1].line, 14);
    assert_eq!(spec.test_plan.as_deref(), Some("By hand."));
    assert!(spec.dependencies.is_empty());
    assert_eq!(spec.format, "generic");
    assert_eq!(spec.checksum.len(), 64);
}

#[test]
fn bold_lines_serve_as_headings_and_keys() {
    let spec = read(
        "# Checkout\n\n**Status:** In review\n**Scope**: web\n- **Domain:** payments\n\n\
         **Summary**\nPeople pay in one step.\n\n**Problem:** three steps lose buyers.\n\n\
         **Acceptance Criteria:**\n\n- One page.\n- One button.\n",
    );
    assert_eq!(spec.summary, "People pay in one step.");
    assert_eq!(spec.problem_statement, "three steps lose buyers.");
    assert_eq!(spec.acceptance.len(), 2);
    assert_eq!(spec.metadata["status"], "In review");
    assert_eq!(spec.metadata["scope"], "web");
    assert_eq!(spec.domain.as_deref(), Some("payments"));
}

#[test]
fn one_section_may_serve_as_summary_and_problem_statement() {
    let spec = read(
        "# T\n\n## Description\nThe cart forgets what is in it.\n\n## Acceptance Criteria\n- It remembers.\n",
    );
    assert_eq!(spec.summary, spec.problem_statement);
}

#[test]
fn the_paragraph_under_the_title_serves_where_no_summary_stands() {
    let spec = read(
        "# T\n\n**Owner:** shop\n\nThe cart remembers its content.\n\n## Problem\nIt forgets.\n\n## Acceptance\n- It does not.\n",
    );
    assert_eq!(spec.summary, "The cart remembers its content.");
    assert_eq!(spec.relaxed.len(), 1);
}

#[test]
fn front_matter_with_boxes_as_backlog_writes_it() {
    let text = "---\nid: BACK-560\ntitle: Bind to loopback\nstatus: Done\ncreated_date: '2026-07-30 17:39'\n\
                labels:\n  - browser\n  - security\ndependencies:\n  - VTID-01200\n---\n\n\
                ## Description\n\n<!-- SECTION:DESCRIPTION:BEGIN -->\nThe server listens everywhere.\n<!-- SECTION:DESCRIPTION:END -->\n\n\
                ## Acceptance Criteria\n<!-- AC:BEGIN -->\n- [x] #1 It listens on loopback.\n- [x] #2 It says so.\n<!-- AC:END -->\n\n\
                ## Definition of Done\n- [ ] #1 The checks pass.\n";
    let spec = parse("back-560 - Bind.md", text.as_bytes(), &ParseSettings::default()).unwrap();
    assert_eq!(spec.format, "backlog");
    assert_eq!(spec.title, "Bind to loopback");
    assert_eq!(spec.summary, "The server listens everywhere.");
    assert_eq!(spec.dependencies, ["VTID-01200"]);
    assert_eq!(spec.metadata["labels"], "browser, security");
    assert_eq!(spec.readiness, Readiness::Done);
    let ids: Vec<&str> = spec.acceptance.iter().map(|a| a.id.as_str()).collect();
    assert_eq!(ids, ["#1", "#2"]);
    let warned: Vec<ProblemCode> = spec.warnings.iter().map(|w| w.code).collect();
    assert!(warned.contains(&ProblemCode::TaskIdForeign), "{warned:?}");
}

#[test]
fn boxes_numbers_and_own_ids() {
    let items = criteria(
        "## Acceptance Criteria\n- [x] **AC1**: done already\n- [ ] not yet\n  - a detail of it\n\n1. **FR-001**: it MUST work\n",
    );
    assert_eq!(
        items.iter().map(|i| (i.id.as_str(), i.done)).collect::<Vec<_>>(),
        [("AC1", Some(true)), ("AC-1", Some(false)), ("FR-001", None)]
    );
    assert_eq!(items[1].text, "not yet a detail of it");
    assert_eq!(items[1].line, 11);
}

#[test]
fn gherkin_in_one_line_in_steps_in_prose_and_in_a_fence() {
    let one_line = criteria(
        "## Acceptance Scenarios\n1. **Given** a cart, **When** I pay, **Then** it is empty.\n2. **Given** no cart, **When** I pay, **Then** I am told.\n",
    );
    assert_eq!(kinds(&one_line), [AcceptanceKind::Gherkin; 2]);
    let steps = criteria(
        "## Acceptance Criteria\n- **Given** a cart\n- **When** I pay\n- **Then** it is empty\n- **And** I am thanked\n- **Given** no cart\n- **When** I pay\n- **Then** I am told\n",
    );
    assert_eq!(kinds(&steps), [AcceptanceKind::Gherkin; 2]);
    assert_eq!(steps[0].text, "Given a cart When I pay Then it is empty And I am thanked");
    let prose = criteria("## Acceptance Criteria\nGiven a cart\nWhen I pay\nThen it is empty\n");
    assert_eq!(kinds(&prose), [AcceptanceKind::Gherkin]);
    let fence = criteria(
        "## Acceptance Criteria\n```gherkin\nScenario: paying\n  Given a cart\n  When I pay\n  Then it is empty\n\nScenario: nothing\n  When I pay\n  Then I am told\n```\n",
    );
    assert_eq!(kinds(&fence), [AcceptanceKind::Gherkin; 2]);
    assert_eq!((fence[0].line, fence[1].line), (11, 16));
}

#[test]
fn everyday_sentences_that_begin_with_when_stay_apart() {
    let items = criteria("## Acceptance\n- When I pay, the cart is empty.\n- When I leave, it stays.\n");
    assert_eq!(items.len(), 2);
}

#[test]
fn ears_sentences_count_in_lists_and_in_prose() {
    let text = "WHEN the cart is paid THE SYSTEM SHALL empty it";
    let listed = criteria(&format!(
        "#### Acceptance Criteria\n1. {text}\n2. IF it fails THEN the system SHALL say so\n"
    ));
    assert_eq!(kinds(&listed), [AcceptanceKind::Ears; 2]);
    let prose = criteria(&format!("## Acceptance Criteria\n{text}\n\nThis is only a remark.\n"));
    assert_eq!(kinds(&prose), [AcceptanceKind::Ears]);
}

#[test]
fn a_scenario_under_its_own_heading_is_one_criterion() {
    let items = criteria(
        "## Requirements\n### Requirement: Paying\nIt SHALL work.\n\n#### Scenario: all is well\n- **WHEN** I pay\n- **THEN** it is empty\n- **AND** I am thanked\n",
    );
    assert_eq!(kinds(&items), [AcceptanceKind::Gherkin]);
    assert!(items[0].text.ends_with("AND I am thanked"));
}

#[test]
fn headings_in_code_and_comments_are_none() {
    let text = "# T\n\n## Summary\nLong enough to count.\n\n```sh\n## Problem\nrm x\n```\n<!--\n## Problem\nhidden\n-->\n\n## Acceptance\n- It works.\n";
    let found = parse("01213-x.md", text.as_bytes(), &ParseSettings::default()).unwrap_err();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].code, ProblemCode::ProblemStatementMissing);
}

#[test]
fn keys_in_the_middle_of_the_text_describe_something_else() {
    let spec = read(
        "# T\n\n**Owner:** shop\n\n## Summary\nLong enough to count.\n\n## Why\nIt hurts.\n\n## Acceptance\n- It works.\n\n\
         ## Fields\n- **id**: 98765\n- **status**: of the order\n\n## Metadata\n**Priority:** high\n",
    );
    assert_eq!(spec.task_id.as_deref(), Some("VTID-01213"));
    let keys: Vec<&str> = spec.metadata.keys().map(String::as_str).collect();
    assert_eq!(keys, ["owner", "priority"]);
}
