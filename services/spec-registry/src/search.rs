//! Looks for the specification of a requested task in the repositories, within a deadline. S1-Gap2.3.

use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use millrace_events::Code;
use millrace_events::v1::Failure;

use crate::domain::Request;
use crate::ports::Found;
use crate::repositories::{Repositories, Source};

/// What the search came to.
pub(crate) enum Search<'a> {
    /// A repository has it.
    Found(&'a Source, Found),
    /// None has it, or those that might could not be read.
    Nowhere(Failure),
}

/// Asks every repository that the request can mean, all at once; the first that has it ends the search.
pub(crate) async fn search<'a>(
    repositories: &'a Repositories,
    request: &Request,
    deadline: Duration,
) -> Search<'a> {
    let task = request.event.task.as_str();
    let wanted = request.event.repository.as_str();
    let mut answers: FuturesUnordered<_> = repositories
        .iter()
        .filter(|source| wanted.is_empty() || source.repository.id == wanted)
        .map(|source| async move { (source, tokio::time::timeout(deadline, source.files.find(task)).await) })
        .collect();
    let mut empty = Vec::new();
    let mut unreadable = Vec::new();
    while let Some((source, answer)) = answers.next().await {
        let id = source.repository.id.as_str();
        match answer {
            Ok(Ok(Some(found))) => return Search::Found(source, found),
            Ok(Ok(None)) => empty.push(id),
            Ok(Err(error)) => unreadable.push(error.to_string()),
            Err(_) => unreadable.push(format!("repository `{id}` gave no answer within {deadline:?}")),
        }
    }
    Search::Nowhere(failure(task, &mut empty, &mut unreadable))
}

/// Only who has looked everywhere can say that there is none.
fn failure(task: &str, empty: &mut [&str], unreadable: &mut [String]) -> Failure {
    empty.sort_unstable();
    unreadable.sort_unstable();
    let looked = match empty {
        [] => String::new(),
        [one] => format!("repository {one} has none"),
        several => format!("none of the repositories {} has one", several.join(", ")),
    };
    if !unreadable.is_empty() {
        let and = if looked.is_empty() { "" } else { "; " };
        let message =
            format!("the spec of {task} could not be found: {looked}{and}{}", unreadable.join("; "));
        return Failure::new(Code::RepositoryUnavailable, message);
    }
    let place = if looked.is_empty() { "no repository is configured".to_owned() } else { looked };
    Failure::new(Code::SpecNotFound, format!("there is no spec for {task}: {place}"))
}
