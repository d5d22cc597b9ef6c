//! `dead-letter list`, `dead-letter show`.

use millrace_decider::Cause;
use millrace_rpc::v1;

use super::Pages;
use crate::cli::{DeadLetterCommand, Paging};
use crate::connection::Connection;
use crate::exit::{Exit, Failure};
use crate::output::{Cell, Output, Tone, printable, printable_lines};
use crate::text;

/// `dead-letter …`
pub(super) async fn run(
    server: &mut Connection,
    command: &DeadLetterCommand,
    output: &Output,
) -> Result<Exit, Failure> {
    match command {
        DeadLetterCommand::List(paging) => list(server, paging, output).await,
        DeadLetterCommand::Show { position } => show(server, position, output).await,
    }
}

async fn read(server: &mut Connection, paging: &Paging) -> Result<v1::ListDeadLettersResponse, Failure> {
    let mut all = v1::ListDeadLettersResponse::default();
    let mut pages = Pages::new(paging);
    while let Some((page_size, page_token)) = pages.next() {
        let request = v1::ListDeadLettersRequest { page_size, page_token, min_sequence: None };
        let page = server.query.list_dead_letters(request).await?.into_inner();
        pages.got(page.dead_letters.len(), page.next_page_token.clone());
        all.dead_letters.extend(page.dead_letters);
        all.reflects = page.reflects;
        all.next_page_token = page.next_page_token;
    }
    Ok(all)
}

async fn list(server: &mut Connection, paging: &Paging, output: &Output) -> Result<Exit, Failure> {
    let letters = read(server, paging).await?;
    output.message(&letters, |letters| {
        let rows: Vec<[Cell; 5]> = letters
            .dead_letters
            .iter()
            .map(|letter| {
                let failure = letter.failure.clone().unwrap_or_default();
                [
                    place(letter).into(),
                    letter.service.as_str().into(),
                    text::time(letter.time.as_ref()).into(),
                    Cell::toned(failure.code, Some(Tone::Bad)),
                    failure.message.into(),
                ]
            })
            .collect();
        if rows.is_empty() {
            output.remark("No dead letters.");
        } else {
            output.table(["MESSAGE", "SERVICE", "TIME", "CODE", "WHY"], &rows);
        }
    });
    Ok(Exit::Ok)
}

async fn show(server: &mut Connection, position: &str, output: &Output) -> Result<Exit, Failure> {
    let wanted = Cause::parse(position)
        .ok_or_else(|| Failure::usage(format!("`{position}` is not <stream>:<sequence>")))?;
    let position = v1::Position { stream: wanted.stream, sequence: wanted.sequence };
    let request = v1::GetDeadLetterRequest { position: Some(position), min_sequence: None };
    let answer = server.query.get_dead_letter(request).await?.into_inner();
    output.message(&answer, |answer| {
        answer.dead_letters.iter().for_each(|letter| draw(letter, output));
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
        ("attempts", letter.attempts.to_string()),
        ("given up", text::time(letter.time.as_ref())),
        ("code", failure.code),
        ("why", failure.message),
        ("what to do", failure.advice),
    ] {
        fact(name, &value, output);
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

fn place(letter: &v1::DeadLetter) -> String {
    let position = letter.position.clone().unwrap_or_default();
    format!("{}:{}", position.stream, position.sequence)
}
