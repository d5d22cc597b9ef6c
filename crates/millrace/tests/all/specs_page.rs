//! What `docs/specs.md` says about specs is what the registry does.

use std::path::Path;

use millrace_spec_registry::domain::format::{ParseSettings, Spec, parse};

use crate::support::{err, millrace, out};

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/specs.md")).unwrap()
}

fn example(page: &str) -> &str {
    page.split_once("````markdown\n").unwrap().1.split_once("````\n").unwrap().0
}

/// The cells of the table's rows below the header that begins with `first`.
fn rows<'a>(page: &'a str, first: &str) -> Vec<Vec<&'a str>> {
    let cells = |line: &'a str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
    let lines = page.lines().skip_while(|line| !line.starts_with(&format!("| {first} |")));
    lines.skip(2).take_while(|line| line.starts_with('|')).map(cells).collect()
}

fn read(text: &str) -> Result<Spec, Vec<&'static str>> {
    parse("VTID-01300-x.md", text.as_bytes(), &ParseSettings::default())
        .map_err(|problems| problems.iter().map(|problem| problem.error_code()).collect())
}

#[tokio::test]
async fn the_example_is_accepted() {
    let page = page();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("VTID-01300-footer-town.md"), example(&page)).unwrap();
    let lint = millrace(folder.path(), &["spec", "lint", "VTID-01300-footer-town.md"]).await;
    assert_eq!(lint.status.code(), Some(0), "{}{}", out(&lint), err(&lint));
    assert_eq!(out(&lint).trim(), "VTID-01300-footer-town.md: ok (VTID-01300)", "no warnings either");
    let spec = read(example(&page)).unwrap();
    assert_eq!((spec.acceptance.len(), spec.domain.as_deref()), (2, Some("storefront")));
    assert!(spec.plan.is_some());
    assert!(spec.open_questions.is_empty());
}

#[test]
fn every_heading_of_the_table_is_understood() {
    let page = page();
    let rows = rows(&page, "part");
    assert_eq!(rows.len(), 7);
    for row in rows {
        for heading in row[2].split(", ") {
            let part = |name: &str, usual: &str, text: &str| {
                let heading = if row[0] == name { heading } else { usual };
                format!("## {heading}\n\n{text}\n\n")
            };
            let text = format!(
                "# Title\n\n{}{}{}## {heading}\n\n- Marked text.\n",
                part("Summary", "Summary", "What is asked for."),
                part("Problem statement", "Problem", "What is wrong."),
                part("Acceptance criteria", "Acceptance Criteria", "- It holds."),
            );
            let spec = read(&text).unwrap_or_else(|codes| panic!("{heading}: {codes:?}"));
            let marked = match row[0] {
                "Technical approach" => spec.technical_approach.unwrap_or_default(),
                "Test plan" => spec.test_plan.unwrap_or_default(),
                "Dependencies" => spec.dependencies.concat(),
                "Open questions" => spec.open_questions.concat(),
                "Summary" => spec.summary.replace("What is asked for.", "Marked text"),
                "Problem statement" => spec.problem_statement.replace("What is wrong.", "Marked text"),
                "Acceptance criteria" => spec.acceptance[0].text.replace("It holds.", "Marked text"),
                other => panic!("`{other}` is no part"),
            };
            assert!(marked.contains("Marked text"), "{heading}: {marked}");
        }
    }
}

#[test]
fn what_the_page_says_is_refused_is_refused_with_that_code() {
    let good = example(&page()).to_owned();
    for (what, text, code) in [
        ("size", good.clone() + &" ".repeat(512 * 1024), "SPEC_INVALID"),
        ("NUL", good.clone() + "\0", "SPEC_INVALID"),
        ("front matter", good.replace("domain: storefront", "a: b: c"), "SPEC_INVALID"),
        (
            "summary",
            good.replace("Every page ends with the town that the shop delivers from.", "Town"),
            "SPEC_INVALID",
        ),
        ("problem", good.replace("## Problem", "## Notes"), "SPEC_INVALID"),
        ("criteria", good.replace("- [ ] ", ""), "SPEC_INVALID"),
        ("two plans", good.clone() + "\n```millrace\nplan: {}\n```\n", "SPEC_INVALID"),
        ("placeholder", good.clone() + "\n[FEATURE NAME]\n", "SPEC_TEMPLATE_UNFILLED"),
        ("id", good.replace("domain: storefront", "vtid: VTID-12"), "TASK_ID_INVALID"),
        ("two ids", good.replace("domain: storefront", "vtid: VTID-01301"), "SPEC_ID_CONFLICT"),
    ] {
        assert_ne!(text, good, "{what}");
        assert_eq!(read(&text).expect_err(what), [code], "{what}");
    }
}
