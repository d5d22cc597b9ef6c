//! One file per area; each command asks, prints, and says how it ended.

mod bootstrap;
mod dead_letter;
mod doctor;
mod events;
pub(crate) mod keys;
mod ledger;
mod models;
mod operate;
mod replay;
mod repo;
mod reseed;
mod spec;
mod submit;
mod system;
mod task;
mod watch;

use clap::CommandFactory as _;

use crate::cli::{Cli, Command, EventsCommand, Paging, TaskCommand};
use crate::connection::connect;
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// Does what the command line says.
pub(crate) async fn run(cli: &Cli, output: &Output) -> Result<Exit, Failure> {
    let global = &cli.global;
    match &cli.command {
        Command::Dev(arguments) => crate::dev::run(arguments).await,
        // Taken care of before there is a runtime.
        Command::Run { .. } => Ok(Exit::Ok),
        Command::Task(command) => task_command(cli, command, output).await,
        Command::Spec(command) => spec::run(global, command, output).await,
        Command::Text { sha256 } => system::text(&mut connect(global).await?, sha256, output).await,
        Command::Repo(command) => repo::run(command, output),
        Command::Models(command) => models::run(command, output).await,
        Command::DeadLetter(command) => dead_letter::run(&mut connect(global).await?, command, output).await,
        Command::Insights(paging) => system::insights(&mut connect(global).await?, paging, output).await,
        Command::Health => system::health(&mut connect(global).await?, output).await,
        Command::Events(EventsCommand::Tail(tail)) => events::tail(tail, output).await,
        Command::Bootstrap(arguments) => bootstrap::run(arguments, output).await,
        Command::Keys(arguments) => keys::run(arguments, output),
        Command::Ledger(command) => ledger::run(command, output).await,
        Command::Doctor(arguments) => doctor::run(global, arguments, output).await,
        Command::Completions { shell } => {
            clap_complete::generate(*shell, &mut Cli::command(), "millrace", &mut std::io::stdout());
            Ok(Exit::Ok)
        }
    }
}

async fn task_command(cli: &Cli, command: &TaskCommand, output: &Output) -> Result<Exit, Failure> {
    let mut server = connect(&cli.global).await?;
    match command {
        TaskCommand::Submit(arguments) => submit::run(&mut server, arguments, output).await,
        TaskCommand::List(arguments) => task::list(&mut server, arguments, output).await,
        TaskCommand::Show(one) => task::show(&mut server, &one.task, output).await,
        TaskCommand::Watch(one) => watch::run(&mut server, &one.task, None, output).await,
        TaskCommand::Why(one) => task::why(&mut server, &one.task, output).await,
        decision => operate::run(&mut server, decision, output).await,
    }
}

/// Page sizes and the end of a list that is read page by page.
struct Pages {
    /// Rows still wanted; `None`: all.
    wanted: Option<u32>,
    token: String,
    started: bool,
}

impl Pages {
    fn new(paging: &Paging) -> Self {
        Self { wanted: (!paging.all).then_some(paging.limit), token: String::new(), started: false }
    }

    /// Size and token of the next page; `None` when there is nothing more to ask for.
    fn next(&mut self) -> Option<(u32, String)> {
        const LARGEST: u32 = 500;
        if self.started && self.token.is_empty() {
            return None;
        }
        self.started = true;
        match self.wanted {
            Some(0) => None,
            Some(wanted) => Some((wanted.min(LARGEST), self.token.clone())),
            None => Some((LARGEST, self.token.clone())),
        }
    }

    /// Takes note of a page.
    fn got(&mut self, rows: usize, next_page_token: String) {
        self.token = next_page_token;
        let rows = u32::try_from(rows).unwrap_or(u32::MAX);
        self.wanted = self.wanted.map(|wanted| wanted.saturating_sub(rows));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn pages_end_at_the_limit_or_at_the_last_one() {
        let mut pages = Pages::new(&Paging { limit: 3, all: false });
        assert_eq!(pages.next(), Some((3, String::new())));
        pages.got(2, "more".to_owned());
        assert_eq!(pages.next(), Some((1, "more".to_owned())));
        pages.got(1, "still more".to_owned());
        assert_eq!(pages.next(), None, "three were wanted");

        let mut pages = Pages::new(&Paging { limit: 50, all: true });
        assert_eq!(pages.next(), Some((500, String::new())));
        pages.got(500, "more".to_owned());
        assert_eq!(pages.next(), Some((500, "more".to_owned())));
        pages.got(7, String::new());
        assert_eq!(pages.next(), None);
    }
}
