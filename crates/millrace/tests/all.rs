//! The command line as people and scripts meet it, and the pages that its errors point to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "all/commands.rs"]
mod commands;
#[path = "all/dev_start.rs"]
mod dev_start;
#[path = "all/documented_commands.rs"]
mod documented_commands;
#[path = "all/error_pages.rs"]
mod error_pages;
#[path = "all/kubernetes.rs"]
mod kubernetes;
#[path = "all/models.rs"]
mod models;
#[path = "all/repo.rs"]
mod repo;
#[path = "all/reseed.rs"]
mod reseed;
#[path = "all/server.rs"]
mod server;
#[path = "all/specs_page.rs"]
mod specs_page;
#[path = "all/support.rs"]
mod support;
