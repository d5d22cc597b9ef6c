//! The router with scripted providers and with recipes; the contracts field by field.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "all/asking.rs"]
mod asking;
#[path = "all/contracts.rs"]
mod contracts;
#[path = "all/crew.rs"]
mod crew;
#[path = "all/crew_files.rs"]
mod crew_files;
#[path = "all/crew_schema.rs"]
mod crew_schema;
#[path = "all/money.rs"]
mod money;
#[path = "all/providers.rs"]
mod providers;
#[path = "all/providers_routed.rs"]
mod providers_routed;
#[path = "all/recipes.rs"]
mod recipes;
#[path = "all/routing.rs"]
mod routing;
#[path = "all/support.rs"]
mod support;
