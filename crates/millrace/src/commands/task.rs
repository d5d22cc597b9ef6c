//! `task list`, `task show`, `task why`.

use millrace_rpc::v1;

use super::Pages;
use crate::cli::{List, StatusName};
use crate::connection::Connection;
use crate::exit::{Exit, Failure};
use crate::output::{Cell, Output, Tone, printable, printable_lines};
use crate::story::{self, short};
use crate::text;

/// `task list`
pub(super) async fn list(
    server: &mut Connection,
    arguments: &List,
    output: &Output,
) -> Result<Exit, Failure> {
    let filter = v1::TaskFilter {
        status: arguments.status.map_or(v1::TaskStatus::Unspecified, wire) as i32,
        repository: arguments.repository.clone(),
        stage: arguments.stage.clone(),
        code: arguments.code.clone(),
        text: arguments.text.clone(),
        ..v1::TaskFilter::default()
    };
    let mut all = v1::ListTasksResponse::default();
    let mut pages = Pages::new(&arguments.paging);
    while let Some((page_size, page_token)) = pages.next() {
        let filter = Some(filter.clone());
        let request = v1::ListTasksRequest { filter, page_size, page_token, min_sequence: None };
        let page = server.query.list_tasks(request).await?.into_inner();
        pages.got(page.tasks.len(), page.next_page_token.clone());
        all.tasks.extend(page.tasks);
        all.reflects = page.reflects;
        all.next_page_token = page.next_page_token;
    }
    output.message(&all, |all| {
        let rows: Vec<[Cell; 7]> = all.tasks.iter().map(row).collect();
        if rows.is_empty() {
            output.remark("No tasks.");
        } else {
            output.table(["TASK", "STATUS", "STAGE", "RUN", "REPOSITORY", "UPDATED", "TITLE"], &rows);
        }
        if !all.next_page_token.is_empty() {
            output.remark("There are more: --all, or a larger --limit.");
        }
    });
    Ok(Exit::Ok)
}

fn row(task: &v1::Task) -> [Cell; 7] {
    [
        task.id.as_str().into(),
        Cell::toned(text::state(task), text::tone(task.status())),
        task.stage.as_str().into(),
        format!("{}.{}", task.run, task.attempt).into(),
        task.repository.as_str().into(),
        text::time(task.updated_at.as_ref()).into(),
        task.title.as_str().into(),
    ]
}

const fn wire(status: StatusName) -> v1::TaskStatus {
    match status {
        StatusName::Pending => v1::TaskStatus::Pending,
        StatusName::Active => v1::TaskStatus::Active,
        StatusName::Complete => v1::TaskStatus::Complete,
        StatusName::Failed => v1::TaskStatus::Failed,
        StatusName::Blocked => v1::TaskStatus::Blocked,
        StatusName::Cancelled => v1::TaskStatus::Cancelled,
    }
}

/// A task and everything that the logs say about it.
async fn read(server: &mut Connection, id: &str) -> Result<(v1::Task, v1::GetTaskHistoryResponse), Failure> {
    let request = v1::GetTaskRequest { task: id.to_owned(), min_sequence: None };
    let task = server.query.get_task(request).await?.into_inner().task.unwrap_or_default();
    let request = v1::GetTaskHistoryRequest { task: id.to_owned(), run: 0, min_sequence: None };
    Ok((task, server.query.get_task_history(request).await?.into_inner()))
}

/// `task show`
pub(super) async fn show(server: &mut Connection, id: &str, output: &Output) -> Result<Exit, Failure> {
    let (task, history) = read(server, id).await?;
    if output.is_json() {
        let answer =
            v1::WatchTaskResponse { task: Some(task), events: history.events, reflects: history.reflects };
        output.message(&answer, |_| ());
        return Ok(Exit::Ok);
    }
    facts(&task, output);
    output.line("");
    story::timeline(&history.events).iter().for_each(|line| output.line(line));
    Ok(Exit::Ok)
}

fn facts(task: &v1::Task, output: &Output) {
    output.line(output.paint(Tone::Strong, printable(&format!("{} {}", task.id, task.title))));
    let state = text::state(task);
    let state = text::tone(task.status()).map_or(state.clone(), |tone| output.paint(tone, &state));
    let fact = |name: &str, value: String| {
        if !value.is_empty() {
            output.line(format!("  {:<14}{value}", format!("{name}:")));
        }
    };
    fact("status", format!("{state}, {}", task.stage));
    if task.status() == v1::TaskStatus::Pending {
        fact("waits", printable(&task.reason));
    }
    fact("run", format!("{}, attempt {}", task.run, task.attempt));
    fact("repository", printable(&task.repository));
    fact("spec", format!("version {}, SHA-256 {}", task.spec_version, short(&task.spec_checksum)));
    fact("worker", printable(&task.worker));
    if let Some(pull_request) = &task.pull_request {
        fact("pull request", printable(&format!("#{} {}", pull_request.number, pull_request.url)));
    }
    fact("merged", short(&task.merge_commit).to_owned());
    fact(
        "released",
        printable(&format!("{} {}", short(&task.release_commit), task.release_url)).trim().to_owned(),
    );
    if task.model_calls > 0 {
        fact("model calls", format!("{}, {:.4} USD", task.model_calls, task.cost_micro_usd as f64 / 1e6));
    }
    if let Some(failure) = &task.failure {
        fact(
            "failure",
            output.paint(Tone::Bad, printable(&format!("{}: {}", failure.code, failure.message))),
        );
    }
    fact("created", text::time(task.created_at.as_ref()));
}

/// `task why`
pub(super) async fn why(server: &mut Connection, id: &str, output: &Output) -> Result<Exit, Failure> {
    let (task, history) = read(server, id).await?;
    let why = story::why(&task, &history.events);
    if output.is_json() {
        output.json(&serde_json::json!({
            "task": task.id,
            "headline": why.headline,
            "happened": why.happened,
            "reason": why.reason,
            "stands": why.stands,
            "advice": why.advice,
            "next": why.next,
        }));
        return Ok(Exit::Ok);
    }
    let tone = text::tone(task.status()).unwrap_or(Tone::Strong);
    output.line(output.paint(tone, printable(&why.headline)));
    for (title, lines) in [
        ("What happened", &why.happened),
        ("Why", &why.reason),
        ("Where it stands", &why.stands),
        ("What to do", &why.advice),
    ] {
        if lines.is_empty() {
            continue;
        }
        output.line("");
        output.line(output.paint(Tone::Strong, title));
        for line in lines.iter().flat_map(|text| printable_lines(text)) {
            output.line(format!("  {line}"));
        }
    }
    output.line("");
    output.line(format!("Next: {}", output.paint(Tone::Strong, &why.next)));
    Ok(Exit::Ok)
}
