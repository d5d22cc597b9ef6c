use millrace_testkit::{layout, workspace_root};

/// The rules on this very tree. S2-C4 (no hard-coded URLs) is one of them.
#[test]
fn s2_c4_this_workspace_keeps_its_layout_rules() {
    let found = layout::check(&workspace_root());
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "{} places break a layout rule:\n{}", lines.len(), lines.join("\n"));
}
