//! `task watch`: one line per event, the present stage below it, until the run rests.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use millrace_rpc::v1;

use crate::connection::Connection;
use crate::exit::{Exit, Failure};
use crate::output::{Output, Tone, printable};
use crate::story::{describe, short};
use crate::text;

/// How often the clock beside the present stage moves.
const TICK: Duration = Duration::from_millis(100);

/// Follows a task. `Exit::Ok` when it is complete, `Exit::Unsuccessful` when it failed, is blocked or was
/// cancelled.
pub(super) async fn run(
    server: &mut Connection,
    id: &str,
    min_sequence: Option<v1::Position>,
    output: &Output,
) -> Result<Exit, Failure> {
    let request = v1::WatchTaskRequest { task: id.to_owned(), min_sequence, until_finished: true };
    let mut stream = server.query.watch_task(request).await?.into_inner();
    let mut screen = Screen::new(output);
    let mut task = v1::Task::default();
    loop {
        let answer = match stream.message().await {
            Ok(Some(answer)) => answer,
            Ok(None) => break,
            Err(status) => {
                screen.finish();
                return Err(status.into());
            }
        };
        task = answer.task.clone().unwrap_or_default();
        if output.is_json() {
            output.message(&answer, |_| ());
        } else {
            answer.events.iter().for_each(|event| screen.event(&task, event));
            screen.stage(&task);
        }
    }
    screen.finish();
    ended(&task, output)
}

fn ended(task: &v1::Task, output: &Output) -> Result<Exit, Failure> {
    let (exit, text) = match task.status() {
        v1::TaskStatus::Complete => (
            Exit::Ok,
            format!("{} is complete: {} {}", task.id, short(&task.release_commit), task.release_url),
        ),
        v1::TaskStatus::Failed | v1::TaskStatus::Blocked | v1::TaskStatus::Cancelled => {
            let why = match &task.failure {
                Some(failure) => format!(": {}: {}", failure.code, failure.message),
                None => String::new(),
            };
            (Exit::Unsuccessful, format!("{} is {}{why}", task.id, text::status(task.status())))
        }
        _ => {
            let advice = "The server ended the stream before the task ended; watch it again.";
            return Err(Failure::new(Exit::Unreachable, format!("{} is still under way", task.id), advice));
        }
    };
    if !output.is_json() {
        let tone = text::tone(task.status()).unwrap_or(Tone::Strong);
        output.line(output.paint(tone, printable(text.trim_end())));
        if exit == Exit::Unsuccessful {
            output.remark(format!("Read on with: millrace task why {}", task.id));
        }
    }
    Ok(exit)
}

/// What a person sees while waiting: lines on standard output, and on a terminal the present stage with a
/// clock below them.
struct Screen<'a> {
    output: &'a Output,
    spinner: Option<ProgressBar>,
    stage: String,
}

impl<'a> Screen<'a> {
    fn new(output: &'a Output) -> Self {
        let style = ProgressStyle::with_template("{spinner} {msg} {elapsed}");
        let spinner = output.live.then(|| {
            let spinner = ProgressBar::new_spinner();
            if let Ok(style) = style {
                spinner.set_style(style);
            }
            spinner.enable_steady_tick(TICK);
            spinner
        });
        Self { output, spinner, stage: String::new() }
    }

    fn event(&self, task: &v1::Task, event: &v1::HistoryEvent) {
        let failed = event.name.contains("Failed") || event.name.contains("Rejected");
        let time = self.output.paint(Tone::Faint, text::time_of_day(event.time.as_ref()));
        let told = printable(&describe(event));
        let told = if failed { self.output.paint(Tone::Bad, told) } else { told };
        let line = format!("{time}  {:<10} {:<16} {told}", task.id, event.log);
        match &self.spinner {
            Some(spinner) => spinner.suspend(|| self.output.line(line)),
            None => self.output.line(line),
        }
    }

    fn stage(&mut self, task: &v1::Task) {
        if let Some(spinner) = self.spinner.as_ref().filter(|_| self.stage != task.stage) {
            spinner.reset_elapsed();
            let waits = match task.waiting.as_str() {
                "approval" => " (waits for approval)",
                "resume" => " (paused)",
                _ => "",
            };
            spinner.set_message(printable(&format!("{}{waits}", task.stage)));
        }
        self.stage.clone_from(&task.stage);
    }

    fn finish(&self) {
        if let Some(spinner) = &self.spinner {
            spinner.finish_and_clear();
        }
    }
}
