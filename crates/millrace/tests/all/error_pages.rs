//! Every code has a page, every page a code, and what a page says in its table is what the code does.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use millrace_events::{Code, StatusOnFailure};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors")
}

#[test]
fn s1_gap6_every_code_has_a_page_and_every_page_names_a_code() {
    let codes: BTreeSet<String> = Code::ALL.iter().map(|code| code.name().to_owned()).collect();
    let pages: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".md").map(str::to_owned))
        .filter(|name| name != "README")
        .collect();
    assert_eq!(pages, codes);
    let index = std::fs::read_to_string(folder().join("README.md")).unwrap();
    for code in &codes {
        assert!(index.contains(&format!("({code}.md)")), "{code} is not in the index");
    }
}

#[test]
fn a_page_says_what_happened_why_and_what_to_do_and_agrees_with_the_table() {
    for code in Code::ALL {
        let name = code.name();
        let page = std::fs::read_to_string(folder().join(format!("{name}.md"))).unwrap();
        assert!(page.starts_with(&format!("# {name}\n")), "{name}");
        for part in ["## What happened\n", "## Why\n", "## What to do\n"] {
            let text = page.split_once(part).unwrap_or_else(|| panic!("{name} has no `{part}`")).1;
            let text = text.split("## ").next().unwrap().trim();
            assert!(text.len() > 20, "{name}: {part} says nothing");
        }
        let leaves = match code.status() {
            StatusOnFailure::Failed => "the task fails",
            StatusOnFailure::Blocked => "the task is blocked until a person acts",
            StatusOnFailure::Cancelled => "the run is cancelled",
            StatusOnFailure::Unchanged => "the task stays as it is",
        };
        let retried = if code.is_retryable() { "yes" } else { "no" };
        let row = format!("| {} | {leaves} | {retried} |", code.class().name());
        assert!(page.contains(&row), "{name} should say `{row}`");
    }
}

#[test]
fn the_index_and_the_pages_agree_on_what_this_version_does_not_raise() {
    let index = std::fs::read_to_string(folder().join("README.md")).unwrap();
    let listed = index.split_once("Reserved, raised by nothing in this version: ").unwrap().1;
    let listed: BTreeSet<&str> = listed.trim().trim_end_matches('.').split(", ").collect();
    let marked = |code: &Code| {
        let page = std::fs::read_to_string(folder().join(format!("{}.md", code.name()))).unwrap();
        page.contains("Reserved: nothing in this version raises this code")
    };
    let marked: BTreeSet<&str> =
        Code::ALL.iter().filter(|code| marked(code)).map(|code| code.name()).collect();
    assert_eq!(marked, listed);
}
