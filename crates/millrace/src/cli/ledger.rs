//! `millrace ledger`: verify, rebuild, export, write back.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Database, Nats};

/// `millrace ledger …`
#[derive(Debug, Subcommand)]
pub enum LedgerCommand {
    /// Compares the ledger's hash chains with the streams. Exit code 1 when they differ.
    #[command(after_help = "Example:\n  millrace ledger verify")]
    Verify {
        /// The ledger.
        #[command(flatten)]
        database: Database,
        /// How to reach the logs.
        #[command(flatten)]
        nats: Nats,
    },
    /// Builds a fresh ledger from the logs beside the one that is in use.
    #[command(after_help = "Example:\n  millrace ledger rebuild --to sqlite://.millrace/rebuilt.db")]
    Rebuild {
        /// The ledger to build: `sqlite://<path>` or `postgres://…`.
        #[arg(long, value_name = "URL")]
        to: String,
        /// How to reach the logs.
        #[command(flatten)]
        nats: Nats,
    },
    /// Prints every row of a ledger, sorted: the same bytes for the same events.
    #[command(after_help = "Example:\n  millrace ledger export > ledger.jsonl")]
    Export(Database),
    /// Writes events that a log has lost back into it, from the ledger: each with its headers and bytes, at the
    /// sequence that it had. Safe to repeat. Exit code 6: a log holds something else instead, see --replace.
    #[command(after_help = "Examples:\n  millrace ledger reseed --dry-run\n  millrace ledger reseed worker")]
    Reseed(Reseed),
    /// Brings the schema of a ledger up to date; a second time changes nothing.
    #[command(after_help = "Example:\n  millrace ledger migrate --database-url sqlite://.millrace/ledger.db")]
    Migrate(Database),
}

/// What to write back.
#[derive(Debug, Args)]
pub struct Reseed {
    /// The log, such as `worker`; without it all of them.
    #[arg(value_name = "LOG")]
    pub log: Option<String>,
    /// Only say what is missing. Exit code 1 when something is.
    #[arg(long)]
    pub dry_run: bool,
    /// Delete LOG, which holds something else than the ledger remembers, and write it anew. What it holds
    /// instead is saved first. Every service but projector and query must be stopped.
    #[arg(long, conflicts_with = "dry_run", requires = "log")]
    pub replace: bool,
    /// The folder for what is replaced: `<stream>-replaced-<time>.jsonl`.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub save_to: PathBuf,
    /// File with the nkey seed of `bootstrap`, which --replace needs beside that of `restorer`.
    #[arg(long, value_name = "FILE")]
    pub bootstrap_seed_file: Option<PathBuf>,
    /// The ledger.
    #[command(flatten)]
    pub database: Database,
    /// How to reach the logs.
    #[command(flatten)]
    pub nats: Nats,
}
