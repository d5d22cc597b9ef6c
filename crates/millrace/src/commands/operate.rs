//! `task approve`, `deny`, `request-changes`, `cancel`, `retry`, `pause`, `resume`.

use millrace_rpc::v1;

use crate::cli::{Decide, TaskCommand};
use crate::connection::Connection;
use crate::exit::{Exit, Failure};
use crate::output::Output;

/// Publishes the decision. What comes of it is up to the service that owns it; `task watch` shows it.
pub(super) async fn run(
    server: &mut Connection,
    command: &TaskCommand,
    output: &Output,
) -> Result<Exit, Failure> {
    let operator = &mut server.operator;
    let (decision, answer) = match command {
        TaskCommand::Approve(decide) => ("Approval", operator.approve(request(decide)).await),
        TaskCommand::Deny(decide) => ("Denial", operator.deny(request(decide)).await),
        TaskCommand::RequestChanges(decide) => {
            ("Request for changes", operator.request_changes(request(decide)).await)
        }
        TaskCommand::Cancel(decide) => ("Cancellation", operator.cancel(request(decide)).await),
        TaskCommand::Retry(decide) => ("Retry", operator.retry(request(decide)).await),
        TaskCommand::Pause(decide) => ("Pause", operator.pause(request(decide)).await),
        TaskCommand::Resume(decide) => ("Resumption", operator.resume(request(decide)).await),
        other => return Err(Failure::internal(format!("{other:?} is no decision"))),
    };
    let published = answer?.into_inner();
    output.message(&published, |published| {
        let place = published.position.clone().unwrap_or_default();
        let again = if published.duplicate { " (it was requested already)" } else { "" };
        output.line(format!(
            "{decision} of {} requested{again}: {}:{}",
            published.key, place.stream, place.sequence
        ));
        output.remark(format!("Follow it with: millrace task watch {}", published.key));
    });
    Ok(Exit::Ok)
}

fn request(decide: &Decide) -> v1::OperatorRequest {
    v1::OperatorRequest { task: decide.task.clone(), run: decide.run, reason: decide.reason.clone() }
}
