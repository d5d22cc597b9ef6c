//! What a specification must have, and what is said when it has not.

use millrace_spec_registry::domain::format::{
    ParseSettings, Priority, Problem, ProblemCode, Readiness, Severity, parse, render_problems,
};

const NAME: &str = "docs/specs/01213-x.md";

/// A specification that satisfies every rule; the tests break one thing at a time.
pub(crate) const GOOD: &str = "\
# Orders in blue

## Summary
The orders item becomes blue.

## Problem
Nobody finds their orders.

## Acceptance Criteria
- [ ] The orders item is blue.
";

fn faults(name: &str, text: &str) -> Vec<Problem> {
    parse(name, text.as_bytes(), &ParseSettings::default()).expect_err("the text must be refused")
}

fn codes(problems: &[Problem]) -> Vec<(ProblemCode, Option<u32>)> {
    problems.iter().map(|p| (p.code, p.line)).collect()
}

fn with_summary(summary: &str) -> String {
    GOOD.replace("The orders item becomes blue.", summary)
}

#[test]
fn s1_gap5_1_a_summary_has_at_least_ten_characters() {
    let settings = ParseSettings::default();
    assert!(parse(NAME, with_summary("ten chars!").as_bytes(), &settings).is_ok());
    let found = faults(NAME, &with_summary("nine char"));
    assert_eq!(codes(&found), [(ProblemCode::SummaryTooShort, Some(3))]);
    assert!(found[0].message.contains("9 characters"));
    // Characters, not bytes; white space between words counts once.
    assert!(parse(NAME, with_summary("受入基準受入基準受入").as_bytes(), &settings).is_ok());
    let found = faults(NAME, &with_summary("受入基準   受入基準"));
    assert_eq!(codes(&found), [(ProblemCode::SummaryTooShort, Some(3))]);
    // A comment is no text.
    let found = faults(NAME, &with_summary("<!-- say what is asked for --> nine char"));
    assert_eq!(codes(&found), [(ProblemCode::SummaryTooShort, Some(3))]);
}

#[test]
fn s1_gap5_1_a_summary_is_needed() {
    let found = faults(NAME, &with_summary(""));
    assert_eq!(codes(&found), [(ProblemCode::SummaryMissing, Some(3))]);
}

#[test]
fn s1_gap5_1_a_problem_statement_is_needed() {
    let text = GOOD.replace("## Problem", "## Remarks");
    let found = faults(NAME, &text);
    assert_eq!(codes(&found), [(ProblemCode::ProblemStatementMissing, Some(1))]);

    let lenient = ParseSettings { strict: false, ..ParseSettings::default() };
    let spec = parse(NAME, text.as_bytes(), &lenient).unwrap();
    assert_eq!(spec.relaxed.len(), 1);
    assert_eq!(spec.warnings[0].severity, Severity::Warning);
}

#[test]
fn s1_gap5_1_one_acceptance_criterion_is_enough_and_none_is_not() {
    let spec = parse(NAME, GOOD.as_bytes(), &ParseSettings::default()).unwrap();
    assert_eq!(spec.acceptance.len(), 1);
    let none = GOOD.replace("- [ ] The orders item is blue.", "");
    assert_eq!(codes(&faults(NAME, &none)), [(ProblemCode::AcceptanceMissing, Some(9))]);
    let empty_box = GOOD.replace("- [ ] The orders item is blue.", "- [ ]");
    assert_eq!(codes(&faults(NAME, &empty_box)), [(ProblemCode::AcceptanceMissing, Some(9))]);
}

#[test]
fn s1_gap5_3_three_faults_are_three_errors_with_their_lines() {
    let text = "# Orders\n\n## Summary\nShort.\n\n## Problem\n\n## Acceptance Criteria\n\nTo follow.\n";
    let found = faults(NAME, text);
    assert_eq!(
        codes(&found),
        [
            (ProblemCode::SummaryTooShort, Some(3)),
            (ProblemCode::ProblemStatementMissing, Some(6)),
            (ProblemCode::AcceptanceMissing, Some(8)),
        ]
    );
    assert!(found.iter().all(|p| p.severity == Severity::Error));
    assert!(found.iter().all(|p| p.error_code() == "SPEC_INVALID"));

    let printed = render_problems(NAME, text.as_bytes(), &found);
    let expected = "\
docs/specs/01213-x.md:3: error[SPEC_INVALID]: the summary has 6 characters, at least 10 are needed
   |
 3 | ## Summary
   |
   = help: say under `## Summary` in a sentence or two what is asked for
";
    assert!(printed.starts_with(expected), "{printed}");
    assert_eq!(printed.matches("error[").count(), 3);
}

#[test]
fn the_id_comes_from_the_file_name_or_from_inside() {
    let settings = ParseSettings::default();
    let id = |name: &str, text: &str| parse(name, text.as_bytes(), &settings).unwrap().task_id;
    let expected = Some("VTID-01213".to_owned());
    assert_eq!(id("VTID-01213-x.md", GOOD), expected);
    assert_eq!(id("01213-x.md", GOOD), expected);
    assert_eq!(id("x.md", &format!("**VTID:** VTID-01213\n\n{GOOD}")), expected);
    assert_eq!(id("x.md", &format!("**Ticket**: `01213`\n\n{GOOD}")), expected);
    assert_eq!(id("x.md", &format!("---\nid: VTID-01213\n---\n{GOOD}")), expected);
    assert_eq!(id("x.md", &format!("# VTID: VTID-01213\n{GOOD}")), expected);
    assert_eq!(id("x.md", &GOOD.replace("# Orders", "# VTID-01213: Orders")), expected);
}

#[test]
fn without_an_id_one_will_be_allocated() {
    let spec = parse("x.md", GOOD.as_bytes(), &ParseSettings::default()).unwrap();
    assert_eq!(spec.task_id, None);
    assert_eq!(spec.warnings.len(), 1);
    assert_eq!(spec.warnings[0].code, ProblemCode::TaskIdMissing);
    assert!(spec.warnings[0].message.contains("one will be allocated"));
}

#[test]
fn two_ids_are_a_conflict_that_names_both_places() {
    let found = faults(NAME, &format!("**VTID:** VTID-01214\n\n{GOOD}"));
    assert_eq!(codes(&found), [(ProblemCode::TaskIdConflict, Some(1))]);
    assert_eq!(found[0].error_code(), "SPEC_ID_CONFLICT");
    assert!(found[0].message.contains("the file name says VTID-01213, line 1 says VTID-01214"));

    let found = faults("x.md", &format!("---\nid: 01213\n---\nVTID: VTID-01214\n\n{GOOD}"));
    assert_eq!(codes(&found), [(ProblemCode::TaskIdConflict, Some(4))]);
    assert!(found[0].message.contains("line 2 says VTID-01213, line 4 says VTID-01214"));
}

#[test]
fn an_id_of_another_task_among_the_dependencies_is_no_conflict() {
    let text = format!("{GOOD}\n## Dependencies\n- **VTID:** VTID-01200\n");
    let spec = parse(NAME, text.as_bytes(), &ParseSettings::default()).unwrap();
    assert_eq!(spec.task_id.as_deref(), Some("VTID-01213"));
    assert_eq!(spec.dependencies, ["VTID: VTID-01200"]);
}

#[test]
fn what_is_no_id_is_refused_unless_it_belongs_to_another_tracker() {
    let found = faults("x.md", &format!("**VTID:** 12\n\n{GOOD}"));
    assert_eq!(codes(&found), [(ProblemCode::TaskIdInvalid, Some(1))]);
    assert_eq!(found[0].error_code(), "TASK_ID_INVALID");

    let text = format!("**Ticket:** SHOP-77\n\n{GOOD}");
    let spec = parse(NAME, text.as_bytes(), &ParseSettings::default()).unwrap();
    assert_eq!(spec.metadata["ticket"], "SHOP-77");
    assert_eq!(spec.warnings[0].code, ProblemCode::TaskIdForeign);
}

#[test]
fn a_template_is_no_specification() {
    let text = GOOD.replace("# Orders in blue", "# Feature Specification: [FEATURE NAME]");
    let found = faults(NAME, &format!("{text}\nBranch [###-feature-name]\n"));
    assert_eq!(
        codes(&found),
        [(ProblemCode::TemplateUnfilled, Some(1)), (ProblemCode::TemplateUnfilled, Some(12)),]
    );
    assert_eq!(found[0].error_code(), "SPEC_TEMPLATE_UNFILLED");

    for key in ["**VTID:** VTID-XXXXX", "**VTID:** `VTID-XXXXX`"] {
        let found = faults("x.md", &format!("{key}\n\n{GOOD}"));
        assert_eq!(codes(&found), [(ProblemCode::TemplateUnfilled, Some(1))], "{key}");
    }
    let found = faults("VTID-XXXXX-x.md", GOOD);
    assert_eq!(codes(&found), [(ProblemCode::TemplateUnfilled, None)]);
}

#[test]
fn a_placeholder_that_is_only_quoted_is_left_alone() {
    let text = format!("{GOOD}\nThe text `[FEATURE NAME]` is refused.\n\n```\nVTID-XXXXX\n```\n");
    assert!(parse(NAME, text.as_bytes(), &ParseSettings::default()).is_ok());
}

#[test]
fn an_open_question_makes_it_a_draft() {
    let text = GOOD.replace("is blue.", "is blue [NEEDS CLARIFICATION: which blue?].");
    let spec = parse(NAME, text.as_bytes(), &ParseSettings::default()).unwrap();
    assert_eq!(spec.readiness, Readiness::Draft);
    assert_eq!(spec.open_questions, ["which blue?"]);
}

#[test]
fn done_means_that_the_status_says_so_and_every_box_is_ticked() {
    let readiness = |text: &str| {
        let spec = parse(NAME, text.as_bytes(), &ParseSettings::default()).unwrap();
        spec.readiness
    };
    let ticked = GOOD.replace("[ ]", "[x]");
    assert_eq!(readiness(GOOD), Readiness::Ready);
    assert_eq!(readiness(&ticked), Readiness::Ready);
    assert_eq!(readiness(&format!("**Status:** Done\n\n{GOOD}")), Readiness::Ready);
    assert_eq!(readiness(&format!("**Status:** Done\n\n{ticked}")), Readiness::Done);
    assert_eq!(readiness(&format!("**Status:** Not started\n\n{ticked}")), Readiness::Ready);
}

#[test]
fn one_plan_is_taken_as_it_stands_and_two_are_refused() {
    let plan = "```millrace\nplan:\n  risk_level: low\n# not a heading\n```\n";
    let text = format!("{GOOD}\n{plan}");
    let spec = parse(NAME, text.as_bytes(), &ParseSettings::default()).unwrap();
    let found = spec.plan.unwrap();
    assert_eq!(found.text, "plan:\n  risk_level: low\n# not a heading\n");
    assert_eq!(found.line, 12);

    let found = faults(NAME, &format!("{GOOD}\n{plan}\n{plan}"));
    assert_eq!(codes(&found), [(ProblemCode::PlanAmbiguous, Some(18))]);
    assert!(found[0].message.contains("lines 12 and 18"));
}

#[test]
fn an_empty_optional_section_is_a_warning() {
    let text = format!("{GOOD}\n## Test Plan\n\n## Technical Approach\nCSS only.\n");
    let spec = parse(NAME, text.as_bytes(), &ParseSettings::default()).unwrap();
    assert_eq!(spec.test_plan, None);
    assert_eq!(spec.technical_approach.as_deref(), Some("CSS only."));
    assert_eq!(codes(&spec.warnings), [(ProblemCode::SectionEmpty, Some(12))]);
}

#[test]
fn s4_sp5_a_priority_is_read_and_one_that_means_nothing_is_said_and_counts_as_normal() {
    let with = |line: &str| {
        let text = GOOD.replace("# Orders in blue\n", &format!("# Orders in blue\n\n{line}\n"));
        parse(NAME, text.as_bytes(), &ParseSettings::default()).unwrap()
    };
    for (line, priority) in [
        ("", Priority::Normal),
        ("**Priority:** low", Priority::Low),
        ("Priority: P3", Priority::Low),
        ("priority: Normal", Priority::Normal),
        ("**Priority**: P2", Priority::Normal),
        ("- **Priority:** `high`", Priority::High),
        ("Priority: P1 (checkout is down)", Priority::High),
        ("Priority: URGENT", Priority::Urgent),
        ("Priority: p0", Priority::Urgent),
    ] {
        let spec = with(line);
        assert_eq!((spec.priority, spec.warnings.len()), (priority, 0), "{line}");
    }
    let spec = with("Priority: critical");
    assert_eq!(spec.priority, Priority::Normal);
    assert_eq!(codes(&spec.warnings), [(ProblemCode::PriorityUnknown, Some(3))]);
    assert!(spec.warnings[0].message.contains("critical") && spec.warnings[0].advice.contains("urgent"));
    // The front matter wins, as with every key.
    let text =
        format!("---\npriority: urgent\n---\n{}", GOOD.replace("## Summary", "Priority: low\n\n## Summary"));
    let spec = parse(NAME, text.as_bytes(), &ParseSettings::default()).unwrap();
    assert_eq!((spec.priority, spec.warnings.len()), (Priority::Urgent, 0));
}
