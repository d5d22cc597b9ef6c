//! Streams of changes. Each looks at the ledger's feed of touched tasks, and reads a task only when it was
//! touched; so an idle watch costs one small query per period.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt as _, unfold};
use millrace_rpc::{Status, v1};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use crate::ports::LedgerReader;
use crate::reading::{failed, largest_page, no_such_task, reflects};

/// What every watch holds.
pub(crate) struct Watcher {
    pub(crate) ledger: Arc<dyn LedgerReader>,
    pub(crate) period: Duration,
    pub(crate) shutdown: CancellationToken,
    pub(crate) _permit: OwnedSemaphorePermit,
}

impl Watcher {
    /// Waits until a task that fits is touched after `row`. `None`: the server stops.
    async fn touched(
        &self,
        row: &mut u64,
        fits: impl Fn(&str) -> bool,
    ) -> Result<Option<BTreeSet<String>>, Status> {
        loop {
            let changes = self.ledger.changes(Some(*row)).await.map_err(failed)?;
            *row = changes.row;
            let tasks: BTreeSet<String> = changes.tasks.into_iter().filter(|task| fits(task)).collect();
            if !tasks.is_empty() {
                return Ok(Some(tasks));
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return Ok(None),
                () = tokio::time::sleep(self.period) => {}
            }
        }
    }
}

/// Runs `next` until it says that there is nothing more, or fails; a failure is the last item.
fn answers<S, T, F, R>(state: S, next: F) -> BoxStream<'static, Result<T, Status>>
where
    S: Send + 'static,
    T: Send + 'static,
    F: Fn(S) -> R + Send + 'static,
    R: Future<Output = Result<Option<(T, Option<S>)>, Status>> + Send,
{
    unfold((Some(state), next), |(state, next)| async move {
        match next(state?).await {
            Ok(Some((item, state))) => Some((Ok(item), (state, next))),
            Ok(None) => None,
            Err(status) => Some((Err(status), (None, next))),
        }
    })
    .boxed()
}

/// One task: how it stands with the events of its current run, then whatever is new.
pub(crate) fn task(
    watcher: Watcher,
    id: String,
    until_finished: bool,
) -> BoxStream<'static, Result<v1::WatchTaskResponse, Status>> {
    let state = TaskWatch { watcher, id, until_finished, row: None, sent: HashSet::new() };
    answers(state, TaskWatch::next)
}

struct TaskWatch {
    watcher: Watcher,
    id: String,
    until_finished: bool,
    /// How far the feed has been read; `None` before the first answer.
    row: Option<u64>,
    /// Positions of the events that have been sent.
    sent: HashSet<(String, u64)>,
}

impl TaskWatch {
    async fn next(mut self) -> Result<Option<(v1::WatchTaskResponse, Option<Self>)>, Status> {
        let first = self.row.is_none();
        let mut row = match self.row {
            Some(row) => row,
            // Taken before the task is read: what comes in between is sent again rather than never.
            None => self.watcher.ledger.changes(None).await.map_err(failed)?.row,
        };
        loop {
            if !first && self.watcher.touched(&mut row, |task| task == self.id).await?.is_none() {
                return Ok(None);
            }
            let reflects = reflects(self.watcher.ledger.as_ref(), None, Duration::ZERO).await?;
            let task = self.watcher.ledger.task(&self.id).await.map_err(failed)?;
            let task = task.ok_or_else(|| no_such_task(&self.id))?;
            let events = self.unsent(first, task.run).await?;
            if !first && events.is_empty() {
                continue;
            }
            let finished = self.until_finished && rests(task.status());
            self.row = Some(row);
            let answer = v1::WatchTaskResponse { task: Some(task), events, reflects };
            return Ok(Some((answer, (!finished).then_some(self))));
        }
    }

    /// Events that have not been sent; of the first answer only those of the current run.
    async fn unsent(&mut self, first: bool, run: u32) -> Result<Vec<v1::HistoryEvent>, Status> {
        let mut events = self.watcher.ledger.history(&self.id).await.map_err(failed)?;
        events.retain(|event| {
            let position = event.position.clone().unwrap_or_default();
            let new = self.sent.insert((position.stream, position.sequence));
            new && (!first || event.run == 0 || event.run == run)
        });
        Ok(events)
    }
}

/// Whether nothing more happens by itself: the run has ended, or waits for a person to unblock it.
fn rests(status: v1::TaskStatus) -> bool {
    matches!(
        status,
        v1::TaskStatus::Complete
            | v1::TaskStatus::Failed
            | v1::TaskStatus::Cancelled
            | v1::TaskStatus::Blocked
    )
}

/// All tasks that fit: how they stand, then each as it changes.
pub(crate) fn tasks(
    watcher: Watcher,
    filter: v1::TaskFilter,
) -> BoxStream<'static, Result<v1::WatchTasksResponse, Status>> {
    answers(TasksWatch { watcher, filter, row: None }, TasksWatch::next)
}

struct TasksWatch {
    watcher: Watcher,
    filter: v1::TaskFilter,
    row: Option<u64>,
}

impl TasksWatch {
    async fn next(mut self) -> Result<Option<(v1::WatchTasksResponse, Option<Self>)>, Status> {
        let ledger = Arc::clone(&self.watcher.ledger);
        let Some(mut row) = self.row else {
            self.row = Some(ledger.changes(None).await.map_err(failed)?.row);
            let reflects = reflects(ledger.as_ref(), None, Duration::ZERO).await?;
            let tasks = ledger.tasks(&self.filter, &largest_page()).await.map_err(failed)?.items;
            return Ok(Some((v1::WatchTasksResponse { tasks, reflects }, Some(self))));
        };
        loop {
            let Some(touched) = self.watcher.touched(&mut row, |_| true).await? else { return Ok(None) };
            let reflects = reflects(ledger.as_ref(), None, Duration::ZERO).await?;
            let mut tasks = Vec::with_capacity(touched.len());
            for id in touched {
                let task = ledger.task(&id).await.map_err(failed)?;
                tasks.extend(task.filter(|task| fits(task, &self.filter)));
            }
            if !tasks.is_empty() {
                self.row = Some(row);
                return Ok(Some((v1::WatchTasksResponse { tasks, reflects }, Some(self))));
            }
        }
    }
}

/// The same rules as the ledger's list.
fn fits(task: &v1::Task, filter: &v1::TaskFilter) -> bool {
    let any_or = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
    let code = task.failure.as_ref().map_or("", |failure| failure.code.as_str());
    let text = filter.text.to_lowercase();
    (filter.status() == v1::TaskStatus::Unspecified || filter.status == task.status)
        && any_or(&filter.repository, &task.repository)
        && any_or(&filter.stage, &task.stage)
        && any_or(&filter.code, code)
        && any_or(&filter.domain, &task.domain)
        && (task.id.to_lowercase().contains(&text) || task.title.to_lowercase().contains(&text))
}
