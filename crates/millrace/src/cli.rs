//! The command line: every command, with an example in its help.

mod ledger;
mod models;
mod repo;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use millrace_events::{Code, Service};

pub(crate) use ledger::{LedgerCommand, Reseed};
pub(crate) use models::{Check as ModelsCheck, ModelsCommand};
pub(crate) use repo::{RepoCommand, RepoDryRun, RepoIndex};

/// Carries a written specification to a verified release.
#[derive(Debug, Parser)]
#[command(
    name = "millrace",
    version,
    arg_required_else_help = true,
    after_help = "Examples:\n  millrace task list --status failed\n  millrace task watch VTID-01213\n  \
                  millrace task why VTID-01213\n\nExit codes: 0 ok, 1 unsuccessful, 2 usage, 3 configuration, \
                  4 cannot connect,\n5 not found, 6 refused, 7 timed out, 70 a fault of Millrace."
)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command.
#[derive(Debug, Args)]
pub struct Global {
    /// Address of the query service. Default: that of the `millrace dev` that runs in this folder or above
    /// it, else http://127.0.0.1:7447.
    #[arg(long, global = true, env = "MILLRACE_SERVER", value_name = "ADDRESS")]
    pub server: Option<String>,
    /// For people or for programs.
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Human)]
    pub output: Format,
    /// Say nothing but what was asked for.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Colours.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
}

/// How results are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Tables and sentences.
    Human,
    /// One JSON document; for streams one per line.
    Json,
    /// The same as YAML, each document after a line `---`.
    Yaml,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Everything in one process, beside a nats-server of its own.
    #[command(
        after_help = "Examples:\n  millrace dev --config millrace.toml\n  millrace dev --example examples/storefront"
    )]
    Dev(crate::dev::Dev),
    /// Runs one service until it is told to stop.
    #[command(after_help = "Example:\n  millrace run dispatcher --config millrace.toml")]
    Run {
        /// Which service.
        #[arg(value_enum)]
        service: crate::services::Name,
        /// Its configuration.
        #[command(flatten)]
        arguments: millrace_runtime::launch::Arguments,
    },
    /// Tasks: hand in, look at, steer.
    #[command(subcommand)]
    Task(TaskCommand),
    /// Specifications: register, look at, check.
    #[command(subcommand)]
    Spec(SpecCommand),
    /// Prints a text that an event names by its SHA-256, such as the output of a check.
    #[command(
        after_help = "Example:\n  millrace text cc6e3d0818062045f47afb92bba931a7f9fc4fd56b474530f526a87fd2171a2c"
    )]
    Text {
        /// In lower-case hex, as `task why` and the events have it.
        #[arg(value_name = "SHA256")]
        sha256: String,
    },
    /// Repositories as Millrace sees them: profile, index, what a change would do. Needs no server.
    #[command(subcommand)]
    Repo(RepoCommand),
    /// Models: the switch for all of them, and the crew file.
    #[command(subcommand)]
    Models(ModelsCommand),
    /// Messages that a service could not handle.
    #[command(subcommand)]
    DeadLetter(DeadLetterCommand),
    /// What failures have in common, the largest group first.
    #[command(after_help = "Example:\n  millrace insights")]
    Insights(Paging),
    /// Which services run, how many tasks are where, whether the ledger keeps up. Exit code 1 when
    /// something is wrong.
    #[command(after_help = "Example:\n  millrace health --output json")]
    Health,
    /// The logs themselves.
    #[command(subcommand)]
    Events(EventsCommand),
    /// Makes streams, consumers and buckets, and compares those that stand. Safe to repeat.
    #[command(
        after_help = "Example:\n  millrace bootstrap --nats-url nats://127.0.0.1:4222 --seed-file bootstrap.nk"
    )]
    Bootstrap(Bootstrap),
    /// Makes the nkeys of all identities, for a nats-server that others run. Keys that are there stay.
    #[command(after_help = "Example:\n  millrace keys --directory keys")]
    Keys(Keys),
    /// The ledger: schema, check, rebuild, export.
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Checks everything that Millrace needs on this machine and says how to get what is missing.
    #[command(after_help = "Example:\n  millrace doctor")]
    Doctor(Doctor),
    /// Prints the completions for a shell.
    #[command(
        after_help = "Example:\n  millrace completions bash > ~/.local/share/bash-completion/completions/millrace"
    )]
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// `millrace task …`
#[derive(Debug, Subcommand)]
pub enum TaskCommand {
    /// Asks for a task whose spec is known, or hands in a spec.
    #[command(after_help = "Examples:\n  millrace task submit VTID-01213\n  \
        millrace task submit --spec blue-navigation.md --repository storefront --watch")]
    Submit(Submit),
    /// Lists tasks.
    #[command(after_help = "Example:\n  millrace task list --status failed --code CHECKS_FAILED")]
    List(List),
    /// Shows a task with its timeline.
    #[command(after_help = "Example:\n  millrace task show VTID-01213")]
    Show(One),
    /// Follows a task until it ends. Exit code 0: complete; 1: it failed, is blocked or was cancelled.
    #[command(after_help = "Example:\n  millrace task watch VTID-01213")]
    Watch(One),
    /// Says what happened, where it stands and what to do.
    #[command(after_help = "Example:\n  millrace task why VTID-01213")]
    Why(One),
    /// Lets a task that waits for approval go on.
    #[command(after_help = "Example:\n  millrace task approve VTID-01213 --reason \"plan is fine\"")]
    Approve(Decide),
    /// Ends a task that waits for approval; needs a reason.
    #[command(after_help = "Example:\n  millrace task deny VTID-01213 --reason \"out of scope\"")]
    Deny(Decide),
    /// Sends a task back with what is to be changed; needs a reason.
    #[command(
        after_help = "Example:\n  millrace task request-changes VTID-01213 --reason \"keep the old colour for links\""
    )]
    RequestChanges(Decide),
    /// Ends the run of a task, unless it is merged already.
    #[command(after_help = "Example:\n  millrace task cancel VTID-01213 --reason \"no longer wanted\"")]
    Cancel(Decide),
    /// Opens the next run of a task that failed, was cancelled or is blocked.
    #[command(after_help = "Example:\n  millrace task retry VTID-01213 --reason \"the registry is back\"")]
    Retry(Decide),
    /// Holds a task before its next stage.
    #[command(after_help = "Example:\n  millrace task pause VTID-01213 --reason \"release freeze\"")]
    Pause(Decide),
    /// Lets a paused task go on.
    #[command(after_help = "Example:\n  millrace task resume VTID-01213")]
    Resume(Decide),
}

/// A task.
#[derive(Debug, Args)]
pub struct One {
    /// Such as VTID-01213.
    #[arg(value_name = "TASK")]
    pub task: String,
}

/// A decision about a task.
#[derive(Debug, Args)]
pub struct Decide {
    /// Such as VTID-01213.
    #[arg(value_name = "TASK")]
    pub task: String,
    /// Why; it stands in the log for ever.
    #[arg(long, short, default_value = "")]
    pub reason: String,
    /// The run that is meant; without it the current one.
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    pub run: u32,
}

/// What to submit.
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["task", "spec"])))]
pub struct Submit {
    /// A task whose spec is registered, or stands in its repository.
    #[arg(value_name = "TASK")]
    pub task: Option<String>,
    /// A spec to hand in.
    #[arg(long, value_name = "FILE", requires = "repository")]
    pub spec: Option<PathBuf>,
    /// A plan for the worker that belongs to the spec.
    #[arg(long, value_name = "FILE", requires = "spec")]
    pub plan: Option<PathBuf>,
    /// Id of the repository; needed with --spec.
    #[arg(long, value_name = "ID")]
    pub repository: Option<String>,
    /// Why.
    #[arg(long, short, default_value = "")]
    pub reason: String,
    /// How long to wait until it is registered or rejected.
    #[arg(long, default_value = "30s", value_parser = seconds, value_name = "DURATION")]
    pub wait: Duration,
    /// Follow the task to its end, as `task watch` does.
    #[arg(long)]
    pub watch: bool,
}

/// Which tasks to list.
#[derive(Debug, Args)]
pub struct List {
    /// Only with this status.
    #[arg(long, value_enum)]
    pub status: Option<StatusName>,
    /// Only of this repository.
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    pub repository: String,
    /// Only in this stage, such as `checking`.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub stage: String,
    /// Only failed or blocked with this code, such as CHECKS_FAILED.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub code: String,
    /// Only with this text in id or title.
    #[arg(long, default_value = "", hide_default_value = true)]
    pub text: String,
    /// How many.
    #[command(flatten)]
    pub paging: Paging,
}

/// How many.
#[derive(Debug, Args)]
pub struct Paging {
    /// At most this many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub limit: u32,
    /// All of them, page by page.
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
}

/// The coarse state of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the words of the life cycle")]
pub enum StatusName {
    Pending,
    Active,
    Complete,
    Failed,
    Blocked,
    Cancelled,
}

/// `millrace spec …`
#[derive(Debug, Subcommand)]
pub enum SpecCommand {
    /// Hands in a spec and waits until it is registered or rejected.
    #[command(after_help = "Example:\n  millrace spec register blue-navigation.md --repository storefront")]
    Register(Register),
    /// Shows which spec a task has.
    #[command(after_help = "Example:\n  millrace spec show VTID-01213 --version 2")]
    Show {
        /// Such as VTID-01213.
        #[arg(value_name = "TASK")]
        task: String,
        /// Which version; without it the newest.
        #[arg(long = "version", id = "spec_version", default_value_t = 0, hide_default_value = true)]
        version: u32,
    },
    /// Specs that were rejected, the latest first, those that name no task too. One that was mended since
    /// stays in the list.
    #[command(after_help = "Example:\n  millrace spec rejected")]
    Rejected(Paging),
    /// Checks specs as the registry would, without any server. Exit code 1 when one has errors.
    #[command(after_help = "Example:\n  millrace spec lint docs/specs/*.md")]
    Lint {
        /// The files.
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Prefix of the repository's task ids, for files that are named after a bare number.
        #[arg(long, default_value = "VTID")]
        prefix: String,
    },
}

/// What to register.
#[derive(Debug, Args)]
pub struct Register {
    /// The spec.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// A plan for the worker that belongs to it.
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// Id of the repository.
    #[arg(long, value_name = "ID")]
    pub repository: String,
    /// How long to wait for the answer.
    #[arg(long, default_value = "30s", value_parser = seconds, value_name = "DURATION")]
    pub wait: Duration,
}

/// `millrace dead-letter …`
#[derive(Debug, Subcommand)]
pub enum DeadLetterCommand {
    /// Lists those that are not handled yet, the newest failure first.
    #[command(after_help = "Example:\n  millrace dead-letter list --code EVENT_INVALID")]
    List(ListLetters),
    /// Shows one: the original bytes, and every failure and replay.
    #[command(after_help = "Example:\n  millrace dead-letter show STREAM:17")]
    Show {
        /// The message.
        #[arg(value_name = "STREAM:SEQUENCE")]
        position: String,
    },
    /// Has the service that failed read the message again, and waits for what comes of it. Exit code 1 when
    /// one of them fails again.
    #[command(
        after_help = "Examples:\n  millrace dead-letter replay STREAM:17 --reason 'repository configured'\n  \
                      millrace dead-letter replay --all --code REPOSITORY_UNAVAILABLE"
    )]
    Replay(Replay),
}

/// `millrace dead-letter list`
#[derive(Debug, Args)]
pub struct ListLetters {
    /// At most this many.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub limit: u32,
    /// All of them, page by page, and those that were handled since, too.
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
    /// Only those with this code, such as EVENT_INVALID.
    #[arg(long, default_value = "", hide_default_value = true, value_parser = code)]
    pub code: String,
    /// Only those of this service.
    #[arg(long, default_value = "", hide_default_value = true, value_parser = service)]
    pub service: String,
}

/// `millrace dead-letter replay`
#[derive(Debug, Args)]
pub struct Replay {
    /// The message.
    #[arg(value_name = "STREAM:SEQUENCE", required_unless_present = "all", conflicts_with = "all")]
    pub position: Option<String>,
    /// Every one that is not handled yet.
    #[arg(long)]
    pub all: bool,
    /// With --all: only those with this code.
    #[arg(long, default_value = "", hide_default_value = true, value_parser = code)]
    #[arg(requires = "all", conflicts_with = "position")]
    pub code: String,
    /// Only by this service; else by every one that gave up on it.
    #[arg(long, default_value = "", hide_default_value = true, value_parser = service)]
    pub service: String,
    /// Why, for the history.
    #[arg(long, short, default_value = "")]
    pub reason: String,
    /// How long to wait for the answers.
    #[arg(long, default_value = "30s", value_parser = seconds, value_name = "DURATION")]
    pub wait: Duration,
    /// Only asks for it.
    #[arg(long, conflicts_with = "wait")]
    pub no_wait: bool,
}

/// How to reach NATS directly. What is not given here comes from the configuration, and in a folder with a
/// running `millrace dev` from that.
#[derive(Debug, Args)]
pub struct Nats {
    /// The configuration file (TOML).
    #[arg(long, env = "MILLRACE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address of the server, such as nats://127.0.0.1:4222.
    #[arg(long, value_name = "URL")]
    pub nats_url: Option<String>,
    /// File with the nkey seed of the identity that the command needs.
    #[arg(long, value_name = "FILE")]
    pub seed_file: Option<PathBuf>,
}

/// `millrace events …`
#[derive(Debug, Subcommand)]
pub enum EventsCommand {
    /// Prints the events of a log as JSON, one a line, and goes on as they come.
    #[command(after_help = "Example:\n  millrace events tail --log dispatcher --from 1")]
    Tail(Tail),
}

/// What to tail.
#[derive(Debug, Args)]
pub struct Tail {
    /// The log, such as `dispatcher`; without it all of them.
    #[arg(long)]
    pub log: Option<String>,
    /// First sequence; without it the last ten events.
    #[arg(long, value_name = "SEQUENCE")]
    pub from: Option<u64>,
    /// End at the present end of the log.
    #[arg(long)]
    pub no_follow: bool,
    /// How to reach the logs.
    #[command(flatten)]
    pub nats: Nats,
}

/// What to make.
#[derive(Debug, Args)]
pub struct Bootstrap {
    /// Change what stands and differs from what is declared.
    #[arg(long)]
    pub update: bool,
    /// How to reach the server.
    #[command(flatten)]
    pub nats: Nats,
}

/// Where to make keys.
#[derive(Debug, Args)]
pub struct Keys {
    /// The folder for `<identity>.seed`, `public-keys.env` and `auth.conf`; made where it is missing.
    #[arg(long, value_name = "DIR")]
    pub directory: PathBuf,
    /// The configuration file (TOML); the permissions depend on `nats.partitions`.
    #[arg(long, env = "MILLRACE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// A ledger that is opened directly.
#[derive(Debug, Args)]
pub struct Database {
    /// `sqlite://<path>` or `postgres://…`. Default: that of the `millrace dev` that runs here.
    #[arg(long, env = "MILLRACE_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<String>,
}

/// What the doctor looks at.
#[derive(Debug, Args)]
pub struct Doctor {
    /// The configuration file, if there is one.
    #[arg(long, env = "MILLRACE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// The name of a code; empty for any.
fn code(text: &str) -> Result<String, String> {
    one_of(text, "code", Code::ALL.iter().map(|code| code.name()).collect())
}

/// The name of a service; empty for any.
fn service(text: &str) -> Result<String, String> {
    one_of(text, "service", Service::ALL.iter().map(|service| service.name()).collect())
}

fn one_of(text: &str, what: &str, names: Vec<&str>) -> Result<String, String> {
    match text.is_empty() || names.contains(&text) {
        true => Ok(text.to_owned()),
        false => Err(format!("no such {what}; there are {}", names.join(", "))),
    }
}

/// Reads `30s`, `5m` or a bare number of seconds.
fn seconds(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.strip_suffix(['s', 'm']) {
        Some(number) if text.ends_with('m') => (number, 60),
        Some(number) => (number, 1),
        None => (text, 1),
    };
    let number: u64 = number.parse().map_err(|_| format!("`{text}` is no duration such as 30s or 5m"))?;
    match number.checked_mul(unit) {
        Some(seconds) if seconds <= 86_400 => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("`{text}` is longer than a day")),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_an_example_in_its_help() {
        fn walk(command: &clap::Command) {
            let subcommands: Vec<_> = command.get_subcommands().collect();
            if subcommands.is_empty() {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("  millrace "), "`{}` has no example", command.get_name());
            }
            subcommands.into_iter().for_each(walk);
        }
        walk(&Cli::command());
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(seconds("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(seconds("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(seconds("7"), Ok(Duration::from_secs(7)));
        for bad in ["", "s", "x", "-1s", "999999m"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
