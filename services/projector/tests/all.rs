//! The projector on a broker in memory and a SQLite ledger, and on a real server and PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod all {
    mod follows;
    mod loss;
    mod notices;
    mod server;
    mod support;
    mod watched;
}
