//! `health`, `insights` and `text`.

use millrace_rpc::v1;

use super::Pages;
use crate::cli::Paging;
use crate::connection::Connection;
use crate::exit::{Exit, Failure};
use crate::output::{Cell, Output, Tone, printable, printable_lines};
use crate::text;

/// `health`: exit code 1 when something is wrong.
pub(super) async fn health(server: &mut Connection, output: &Output) -> Result<Exit, Failure> {
    let health = server.query.get_system_health(v1::GetSystemHealthRequest {}).await?.into_inner();
    output.message(&health, |health| draw(health, output));
    Ok(if health.healthy { Exit::Ok } else { Exit::Unsuccessful })
}

fn draw(health: &v1::GetSystemHealthResponse, output: &Output) {
    if health.healthy {
        output.line(output.paint(Tone::Good, "healthy"));
    }
    for problem in &health.problems {
        output.line(output.paint(Tone::Bad, printable(problem)));
    }
    for alarm in &health.alarms {
        let since = text::time(alarm.since.as_ref());
        let head = format!("alarm of the log {}, since {since}", alarm.log);
        output.line("");
        output.line(output.paint(Tone::Strong, printable(&head)));
        alarm.details.iter().for_each(|detail| output.line(printable(&format!("  {detail}"))));
    }
    let services: Vec<[Cell; 4]> = health
        .services
        .iter()
        .map(|process| {
            let (state, tone) = if process.ready { ("ready", Tone::Good) } else { ("not ready", Tone::Bad) };
            [
                process.service.as_str().into(),
                Cell::toned(state, Some(tone)),
                text::time(process.started_at.as_ref()).into(),
                format!("{} {}", process.instance, process.detail).into(),
            ]
        })
        .collect();
    output.line("");
    output.table(["SERVICE", "STATE", "SINCE", "PROCESS"], &services);
    let logs: Vec<[Cell; 3]> = health
        .logs
        .iter()
        .map(|log| {
            [log.stream.as_str().into(), log.last_sequence.to_string().into(), log.lag.to_string().into()]
        })
        .collect();
    output.line("");
    output.table(["LOG", "EVENTS", "LEDGER BEHIND"], &logs);
    let tasks: Vec<String> = health.tasks.iter().map(|(status, count)| format!("{count} {status}")).collect();
    output.line("");
    output.line(format!("tasks: {}", if tasks.is_empty() { "none".to_owned() } else { tasks.join(", ") }));
    output.line(format!("failure rate: {:.1} %", health.failure_rate * 100.0));
}

/// `text`
pub(super) async fn text(server: &mut Connection, sha256: &str, output: &Output) -> Result<Exit, Failure> {
    let request = v1::GetTextRequest { sha256: sha256.to_owned() };
    let answer = server.query.get_text(request).await?.into_inner();
    output.message(&answer, |answer| {
        printable_lines(&String::from_utf8_lossy(&answer.content)).for_each(|line| output.line(line));
    });
    Ok(Exit::Ok)
}

/// `insights`
pub(super) async fn insights(
    server: &mut Connection,
    paging: &Paging,
    output: &Output,
) -> Result<Exit, Failure> {
    let mut all = v1::ListInsightsResponse::default();
    let mut pages = Pages::new(paging);
    while let Some((page_size, page_token)) = pages.next() {
        let request = v1::ListInsightsRequest { page_size, page_token, min_sequence: None };
        let page = server.query.list_insights(request).await?.into_inner();
        pages.got(page.insights.len(), page.next_page_token.clone());
        all.insights.extend(page.insights);
        all.reflects = page.reflects;
        all.next_page_token = page.next_page_token;
    }
    output.message(&all, |all| {
        if all.insights.is_empty() {
            output.remark("No insights: no failures have anything in common yet.");
        }
        for insight in &all.insights {
            let failures = if insight.count == 1 { "failure" } else { "failures" };
            let head = format!("{} at {}: {} {failures}", insight.code, insight.stage, insight.count);
            output.line(output.paint(Tone::Strong, printable(&head)));
            let trend = format!(
                "  {}, {} in 24 hours, last {}",
                insight.trend,
                insight.recent,
                text::time(insight.last_seen.as_ref())
            );
            output.line(printable(&trend));
            output.line(printable(&format!("  tasks: {}", insight.tasks.join(", "))));
            output.line(printable(&format!("  {}", insight.advice)));
        }
    });
    Ok(Exit::Ok)
}
