//! `dead-letter replay`: asks for it, then waits for what comes of it.

use std::time::Duration;

use millrace_events::Code;
use millrace_rpc::v1;
use tokio::time::Instant;

use super::dead_letter::{get, place, position, read};
use crate::cli::{Paging, Replay};
use crate::connection::Connection;
use crate::exit::{Exit, Failure};
use crate::output::{Output, Tone, printable};

/// How often the answers are asked for.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// A letter and the request that was made for it.
struct Asked {
    letter: v1::DeadLetter,
    /// Where the request stands in the log `operator`.
    request: u64,
}

/// `dead-letter replay`
pub(super) async fn run(
    server: &mut Connection,
    arguments: &Replay,
    output: &Output,
) -> Result<Exit, Failure> {
    let mut waiting = Vec::new();
    for (letter, service) in wanted(server, arguments).await? {
        let request = v1::ReplayDeadLetterRequest {
            position: letter.position.clone(),
            service,
            reason: arguments.reason.clone(),
        };
        match server.operator.replay_dead_letter(request).await.map_err(Failure::from) {
            Ok(published) => {
                let request = published.into_inner().position.unwrap_or_default().sequence;
                waiting.push(Asked { letter, request });
            }
            // Somebody else was faster with one of many.
            Err(refused) if arguments.all && refused.code == Some(Code::StateMismatch) => {}
            Err(failure) => return Err(failure),
        }
    }
    let deadline = Instant::now() + arguments.wait;
    let mut done = Vec::new();
    while !arguments.no_wait && !waiting.is_empty() && Instant::now() < deadline {
        tokio::time::sleep(ASK_AGAIN).await;
        for mut asked in std::mem::take(&mut waiting) {
            asked.letter = again(server, asked.letter).await?;
            let answered = asked.letter.answered >= asked.request;
            let handled = asked.letter.state() == v1::DeadLetterState::Handled;
            if answered || handled { done.push(asked.letter) } else { waiting.push(asked) }
        }
    }
    conclude(done, waiting, arguments, output)
}

/// The letters to ask for, and the service to name. Where none is left to replay, the server says why.
async fn wanted(
    server: &mut Connection,
    arguments: &Replay,
) -> Result<Vec<(v1::DeadLetter, String)>, Failure> {
    let named = |letter: v1::DeadLetter| (letter.clone(), letter.service);
    let Some(argument) = &arguments.position else {
        let filter = v1::ListDeadLettersRequest {
            code: arguments.code.clone(),
            service: arguments.service.clone(),
            ..v1::ListDeadLettersRequest::default()
        };
        let all = read(server, &Paging { limit: 0, all: true }, filter).await?;
        return Ok(all.dead_letters.into_iter().map(named).collect());
    };
    let position = position(argument)?;
    let found = get(server, position.clone()).await?.dead_letters;
    let fits = |letter: &v1::DeadLetter| {
        let service = &arguments.service;
        letter.state() != v1::DeadLetterState::Handled && (service.is_empty() || *service == letter.service)
    };
    let open: Vec<_> = found.into_iter().filter(fits).map(named).collect();
    if open.is_empty() {
        let letter = v1::DeadLetter { position: Some(position), ..v1::DeadLetter::default() };
        return Ok(vec![(letter, arguments.service.clone())]);
    }
    Ok(open)
}

/// The letter as the ledger has it now.
async fn again(server: &mut Connection, letter: v1::DeadLetter) -> Result<v1::DeadLetter, Failure> {
    let found = get(server, letter.position.clone().unwrap_or_default()).await?.dead_letters;
    Ok(found.into_iter().find(|found| found.service == letter.service).unwrap_or(letter))
}

/// Prints what came of each; 1 when one failed again, 7 when one has no answer.
fn conclude(
    done: Vec<v1::DeadLetter>,
    waiting: Vec<Asked>,
    arguments: &Replay,
    output: &Output,
) -> Result<Exit, Failure> {
    let unanswered = waiting.len();
    let failed = done.iter().any(|letter| letter.state() != v1::DeadLetterState::Handled);
    let waiting = waiting.into_iter().map(|asked| asked.letter);
    let answer = v1::ListDeadLettersResponse {
        dead_letters: done.into_iter().chain(waiting).collect(),
        ..Default::default()
    };
    let answered = answer.dead_letters.len() - unanswered;
    output.message(&answer, |answer| {
        for (number, letter) in answer.dead_letters.iter().enumerate() {
            output.line(outcome(letter, number < answered, output));
        }
        if answer.dead_letters.is_empty() {
            output.remark("No open dead letters.");
        }
    });
    match (failed, unanswered) {
        (true, _) => Ok(Exit::Unsuccessful),
        (false, 0) => Ok(Exit::Ok),
        (false, _) if arguments.no_wait => Ok(Exit::Ok),
        (false, count) => {
            let message = format!("{count} replays have no answer after {} s", arguments.wait.as_secs());
            let advice = "They are asked for and will be done. `millrace health` says whether the service and the \
                          projector run; `millrace dead-letter show` says what came of it.";
            Err(Failure::new(Exit::TimedOut, message, advice))
        }
    }
}

fn outcome(letter: &v1::DeadLetter, is_answered: bool, output: &Output) -> String {
    let about = format!("{} of {}", place(letter), letter.service);
    let failure = letter.failure.clone().unwrap_or_default();
    match (is_answered, letter.state()) {
        (false, _) => format!("{}: replay requested", printable(&about)),
        (true, v1::DeadLetterState::Handled) => {
            format!("{}: {}", printable(&about), output.paint(Tone::Good, "handled"))
        }
        (true, _) => {
            let why = printable(&format!("{}: {}", failure.code, failure.message));
            format!("{}: {} ({why})", printable(&about), output.paint(Tone::Bad, "failed again"))
        }
    }
}
