//! `dead-letter list`, `dead-letter show`.

use millrace_decider::Cause;
use millrace_rpc::v1;

use super::{Pages, replay};
use crate::cli::{DeadLetterCommand, ListLetters, Paging};
use crate::connection::Connection;
use crate::exit::{Exit, Failure};
use crate::output::{Cell, Output, Tone, printable, printable_lines};
use crate::story::describe;
use crate::text;

/// `dead-letter …`
pub(super) async fn run(
    server: &mut Connection,
    command: &DeadLetterCommand,
    output: &Output,
) -> Result<Exit, Failure> {
    match command {
        DeadLetterCommand::List(arguments) => list(server, arguments, output).await,
        DeadLetterCommand::Show { position } => show(server, position, output).await,
        DeadLetterCommand::Replay(arguments) => replay::run(server, arguments, output).await,
    }
}

/// The letters that fit, page by page.
pub(super) async fn read(
    server: &mut Connection,
    paging: &Paging,
    filter: v1::ListDeadLettersRequest,
) -> Result<v1::ListDeadLettersResponse, Failure> {
    let mut all = v1::ListDeadLettersResponse::default();
    let mut pages = Pages::new(paging);
    while let Some((page_size, page_token)) = pages.next() {
        let request = v1::ListDeadLettersRequest { page_size, page_token, ..filter.clone() };
        let page = server.query.list_dead_letters(request).await?.into_inner();
        pages.got(page.dead_letters.len(), page.next_page_token.clone());
        all.dead_letters.extend(page.dead_letters);
        all.reflects = page.reflects;
        all.next_page_token = page.next_page_token;
    }
    Ok(all)
}

/// Who gave up on a message, and the message.
pub(super) async fn get(
    server: &mut Connection,
    position: v1::Position,
) -> Result<v1::GetDeadLetterResponse, Failure> {
    let request = v1::GetDeadLetterRequest { position: Some(position), min_sequence: None };
    Ok(server.query.get_dead_letter(request).await?.into_inner())
}

/// The place that an argument names.
pub(super) fn position(text: &str) -> Result<v1::Position, Failure> {
    let place =
        Cause::parse(text).ok_or_else(|| Failure::usage(format!("`{text}` is not <stream>:<sequence>")))?;
    Ok(v1::Position { stream: place.stream, sequence: place.sequence })
}

/// `<stream>:<sequence>` of the message.
pub(super) fn place(letter: &v1::DeadLetter) -> String {
    let position = letter.position.clone().unwrap_or_default();
    format!("{}:{}", position.stream, position.sequence)
}

async fn list(server: &mut Connection, arguments: &ListLetters, output: &Output) -> Result<Exit, Failure> {
    let filter = v1::ListDeadLettersRequest {
        include_handled: arguments.all,
        code: arguments.code.clone(),
        service: arguments.service.clone(),
        ..v1::ListDeadLettersRequest::default()
    };
    let paging = Paging { limit: arguments.limit, all: arguments.all };
    let letters = read(server, &paging, filter).await?;
    output.message(&letters, |letters| {
        let rows: Vec<[Cell; 7]> = letters
            .dead_letters
            .iter()
            .map(|letter| {
                let failure = letter.failure.clone().unwrap_or_default();
                let (state, tone) = state(letter);
                [
                    place(letter).into(),
                    letter.service.as_str().into(),
                    text::time(letter.time.as_ref()).into(),
                    Cell::toned(state, tone),
                    letter.failures.to_string().into(),
                    Cell::toned(failure.code, Some(Tone::Bad)),
                    failure.message.into(),
                ]
            })
            .collect();
        if rows.is_empty() {
            let open = if arguments.all { "" } else { " open" };
            output.remark(format!("No{open} dead letters."));
        } else {
            output.table(["MESSAGE", "SERVICE", "TIME", "STATE", "FAILED", "CODE", "WHY"], &rows);
        }
    });
    Ok(Exit::Ok)
}

async fn show(server: &mut Connection, argument: &str, output: &Output) -> Result<Exit, Failure> {
    let answer = get(server, position(argument)?).await?;
    output.message(&answer, |answer| {
        answer.dead_letters.iter().for_each(|letter| draw(letter, output));
        history(&answer.history, output);
        message(answer.message.as_ref(), output);
    });
    Ok(Exit::Ok)
}

fn draw(letter: &v1::DeadLetter, output: &Output) {
    let failure = letter.failure.clone().unwrap_or_default();
    output.line(output.paint(Tone::Strong, place(letter)));
    for (name, value) in [
        ("subject", letter.subject.clone()),
        ("service", letter.service.clone()),
        ("state", state(letter).0.to_owned()),
        ("failed", times(letter.failures)),
        ("read again", times(letter.replays)),
        ("attempts", letter.attempts.to_string()),
        ("given up", text::time(letter.time.as_ref())),
        ("code", failure.code),
        ("why", failure.message),
        ("what to do", failure.advice),
    ] {
        fact(name, &value, output);
    }
}

/// Every failure, request and replay.
fn history(events: &[v1::HistoryEvent], output: &Output) {
    if events.is_empty() {
        return;
    }
    output.line("");
    output.line(output.paint(Tone::Strong, "What happened to it"));
    for event in events {
        let line = format!("  {}  {}", text::time(event.time.as_ref()), describe(event));
        output.line(printable(&line));
    }
}

/// The original message: the event as JSON, or the first bytes of what is none.
fn message(message: Option<&v1::LogMessage>, output: &Output) {
    output.line("");
    output.line(output.paint(Tone::Strong, "The message"));
    let Some(message) = message else {
        output.line("  The ledger does not keep this stream; the stream itself has it.");
        return;
    };
    fact("stored", &text::time(message.stored_at.as_ref()), output);
    for header in &message.headers {
        fact("header", &format!("{}: {}", header.name, header.value), output);
    }
    fact("size", &format!("{} bytes", message.payload.len()), output);
    if !message.problem.is_empty() {
        fact("fault", &message.problem, output);
    }
    output.line("");
    match serde_json::from_str::<serde_json::Value>(&message.event) {
        Ok(event) => printable_lines(&format!("{event:#}")).for_each(|line| output.line(format!("  {line}"))),
        Err(_) => text::hex_dump(&message.payload).iter().for_each(|line| output.line(format!("  {line}"))),
    }
}

fn fact(name: &str, value: &str, output: &Output) {
    output.line(format!("  {:<12}{}", format!("{name}:"), printable(value)));
}

fn state(letter: &v1::DeadLetter) -> (&'static str, Option<Tone>) {
    match letter.state() {
        v1::DeadLetterState::Open | v1::DeadLetterState::Unspecified => ("open", Some(Tone::Bad)),
        v1::DeadLetterState::ReplayRequested => ("replay requested", Some(Tone::Waiting)),
        v1::DeadLetterState::Handled => ("handled", Some(Tone::Good)),
    }
}

fn times(count: u32) -> String {
    if count == 1 { "once".to_owned() } else { format!("{count} times") }
}
