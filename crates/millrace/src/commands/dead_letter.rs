//! `dead-letter list`, `dead-letter show`.

use millrace_decider::Cause;
use millrace_rpc::v1;

use super::Pages;
use crate::cli::{DeadLetterCommand, Paging};
use crate::connection::Connection;
use crate::exit::{Exit, Failure};
use crate::output::{Cell, Output, Tone, printable};
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
    let mut letters = read(server, &Paging { limit: 500, all: true }).await?;
    letters.dead_letters.retain(|letter| place(letter) == wanted.to_string());
    if letters.dead_letters.is_empty() {
        let advice = "`millrace dead-letter list` shows those there are.";
        return Err(Failure::new(Exit::NotFound, format!("{wanted} is not a dead letter"), advice));
    }
    output.message(&letters, |letters| {
        for letter in &letters.dead_letters {
            let failure = letter.failure.clone().unwrap_or_default();
            output.line(output.paint(Tone::Strong, place(letter)));
            for (name, value) in [
                ("subject", &letter.subject),
                ("service", &letter.service),
                ("attempts", &letter.attempts.to_string()),
                ("code", &failure.code),
                ("why", &failure.message),
                ("what to do", &failure.advice),
            ] {
                output.line(format!("  {:<12}{}", format!("{name}:"), printable(value)));
            }
        }
    });
    Ok(Exit::Ok)
}

fn place(letter: &v1::DeadLetter) -> String {
    let position = letter.position.clone().unwrap_or_default();
    format!("{}:{}", position.stream, position.sequence)
}
