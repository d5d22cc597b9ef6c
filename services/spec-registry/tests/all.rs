//! Integration tests of the spec-registry.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod all {
    mod example;
    mod format_forms;
    mod format_hostile;
    mod format_rules;
    mod git_repository;
    mod git_scan;
    mod scan;
    mod service;
    mod source_contract;
    mod world;
}
