//! The router with scripted providers and with recipes; the contracts field by field.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "all/asking.rs"]
mod asking;
#[path = "all/contracts.rs"]
mod contracts;
#[path = "all/crew.rs"]
mod crew;
#[path = "all/recipes.rs"]
mod recipes;
#[path = "all/support.rs"]
mod support;
