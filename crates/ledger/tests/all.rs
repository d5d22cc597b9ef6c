//! The ledger's conformance suite, on SQLite and on PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[macro_use]
mod all {
    #[macro_use]
    pub(crate) mod support;
    mod apply;
    mod export;
    mod guard;
    mod read;
    mod schema;
    mod verify;
}
