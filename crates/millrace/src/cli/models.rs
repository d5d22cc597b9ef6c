//! `millrace models …`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Nats;

/// `millrace models …`
#[derive(Debug, Subcommand)]
pub enum ModelsCommand {
    /// Switches all models off: calls under way end within 5 seconds, and no new one is made. Needs a reason.
    #[command(after_help = "Example:\n  millrace models off --reason \"a provider leaks prompts\"")]
    Off {
        /// Why; those whose tasks are blocked read it.
        #[arg(long, short)]
        reason: String,
        /// How to reach the switch, as the identity `query`.
        #[command(flatten)]
        nats: Nats,
    },
    /// Switches them on again.
    #[command(after_help = "Example:\n  millrace models on --reason \"the provider has mended it\"")]
    On {
        /// Why.
        #[arg(long, short, default_value = "")]
        reason: String,
        /// How to reach the switch, as the identity `query`.
        #[command(flatten)]
        nats: Nats,
    },
    /// Whether models are on, since when and why, and what today's calls cost. Exit code 1 when they are off.
    #[command(after_help = "Example:\n  millrace models status --output json")]
    Status(Nats),
    /// Checks a crew file and shows who serves which role. Needs no server, and sends nothing.
    #[command(
        after_help = "Examples:\n  millrace models check crew.yaml\n  millrace models check --config millrace.toml"
    )]
    Check(Check),
}

/// Which crew file.
#[derive(Debug, Args)]
pub struct Check {
    /// The file, or a folder with one. Default: `[worker] crew` of the configuration.
    #[arg(value_name = "CREW")]
    pub crew: Option<PathBuf>,
    /// The configuration file (TOML).
    #[arg(long, env = "MILLRACE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}
