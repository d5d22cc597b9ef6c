//! What all reads share: waiting for `min_sequence`, saying what an answer reflects, pages, errors.

use std::time::Duration;

use millrace_decider::Cause;
use millrace_events::Log;
use millrace_rpc::{Status, status, v1};

use crate::ports::{LedgerReader, PageRequest, PortError};

/// Page size when none is asked for, and the largest.
const DEFAULT_PAGE: u32 = 50;
const MAX_PAGE: u32 = 500;

/// Waits for `min_sequence`, then says up to where the ledger reflects each log. Read before the data, so
/// that the data is never older than it claims to be.
pub(crate) async fn reflects(
    ledger: &dyn LedgerReader,
    min_sequence: Option<&v1::Position>,
    bound: Duration,
) -> Result<Vec<v1::Position>, Status> {
    if let Some(position) = min_sequence.filter(|position| position.sequence > 0) {
        if Log::from_stream(&position.stream).is_none() {
            return Err(status::invalid(
                "min_sequence.stream",
                format!("`{}` is not a stream", position.stream),
            ));
        }
        let reached = ledger.wait_for(&position.stream, position.sequence, bound).await.map_err(failed)?;
        if !reached {
            return Err(status::late(
                format!(
                    "the ledger has not applied {}:{} within {} s",
                    position.stream,
                    position.sequence,
                    bound.as_secs_f32()
                ),
                "Ask again; if it stays behind, see `millrace health` for the projector.",
            ));
        }
    }
    let applied = ledger.applied().await.map_err(failed)?;
    Ok(applied.into_iter().map(|(stream, sequence)| v1::Position { stream, sequence }).collect())
}

/// The page that a request asks for.
pub(crate) fn page(size: u32, token: &str) -> PageRequest {
    PageRequest {
        size: if size == 0 { DEFAULT_PAGE } else { size.min(MAX_PAGE) },
        token: Some(token.to_owned()).filter(|token| !token.is_empty()),
    }
}

/// The largest page.
pub(crate) fn largest_page() -> PageRequest {
    page(MAX_PAGE, "")
}

/// A text that may be left empty.
pub(crate) fn optional(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// A port's error as the caller sees it. Never a success: a caller must not take silence for an answer.
pub(crate) fn failed(error: PortError) -> Status {
    match &error {
        PortError::Unavailable { .. } => status::unavailable(
            status::chain(&error),
            "Nothing was done. `millrace health` says what is down; ask again when it is up.",
        ),
        PortError::Unknown(what) => status::unavailable(
            what,
            "Send the same request again: if it was stored, the resend changes nothing.",
        ),
        PortError::PageToken => status::invalid("page_token", error.to_string()),
        PortError::TooLarge(what) => status::exhausted(what, "Make it smaller."),
    }
}

/// There is no such task.
pub(crate) fn no_such_task(task: &str) -> Status {
    status::not_found(
        format!("the ledger knows no task `{task}`"),
        "`millrace task list` shows those it knows; a spec that was rejected has no task.",
    )
}

/// No service, or not this one, has given up on that message.
pub(crate) fn no_such_letter(message: &Cause, service: &str) -> Status {
    let of = if service.is_empty() { String::new() } else { format!(" of {service}") };
    status::not_found(
        format!("{message} is not a dead letter{of}"),
        "`millrace dead-letter list --all` shows those there are.",
    )
}
