//! The read model in its database.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use millrace_ledger::{
    DeadLetterFilter, FailureFilter, Ledger, LedgerError, Stage, Status, TaskFilter, WorkOrderFilter,
};
use millrace_rpc::v1;

use super::{rows, submission};
use crate::ports::{Changes, LedgerReader, LetterFilter, Page, PageRequest, PortError};

/// Events of the feed that are looked at in one step of a watch.
const FEED: u32 = 500;

/// Answers from a [`Ledger`].
pub struct StoredLedger {
    ledger: Ledger,
}

impl StoredLedger {
    /// Reads `ledger`; never writes to it.
    pub fn new(ledger: Ledger) -> Self {
        Self { ledger }
    }

    /// A failure with all that the logs say about it: the task's row has code, stage and sentence, the row
    /// in the list of failures has causes, facts and trace too.
    async fn explain(&self, mut task: v1::Task) -> Result<v1::Task, PortError> {
        let Some(known) = &task.failure else { return Ok(task) };
        let filter = FailureFilter {
            task: Some(task.id.clone()),
            code: Some(known.code.clone()),
            ..FailureFilter::default()
        };
        let found = self.ledger.list_failures(&filter, 50, None).await.map_err(failed)?.items;
        // The first that told it: what was carried forward from it says no more.
        let told = found.into_iter().rev().find(|row| row.run == task.run && row.message == known.message);
        if let Some(row) = told {
            let stage = if known.stage.is_empty() { row.stage.clone() } else { known.stage.clone() };
            task.failure = Some(v1::Failure { stage, ..rows::failure_of(row) });
        }
        Ok(task)
    }
}

#[async_trait]
impl LedgerReader for StoredLedger {
    async fn task(&self, id: &str) -> Result<Option<v1::Task>, PortError> {
        match self.ledger.get_task(id).await.map_err(failed)? {
            Some(row) => self.explain(rows::task(row)).await.map(Some),
            None => Ok(None),
        }
    }

    async fn tasks(&self, filter: &v1::TaskFilter, page: &PageRequest) -> Result<Page<v1::Task>, PortError> {
        let Some(filter) = task_filter(filter) else { return Ok(Page { items: Vec::new(), next: None }) };
        let found =
            self.ledger.list_tasks(&filter, page.size, page.token.as_deref()).await.map_err(failed)?;
        Ok(convert(found, rows::task))
    }

    async fn history(&self, key: &str) -> Result<Vec<v1::HistoryEvent>, PortError> {
        Ok(self.ledger.history(key).await.map_err(failed)?.into_iter().map(rows::event).collect())
    }

    async fn submission(&self, key: &str) -> Result<Vec<v1::HistoryEvent>, PortError> {
        Ok(self.ledger.answers_to(key).await.map_err(failed)?.into_iter().map(rows::event).collect())
    }

    async fn answered_before(&self, key: &str) -> Result<Vec<v1::HistoryEvent>, PortError> {
        let answers = submission::answered_before(&self.ledger, key).await.map_err(failed)?;
        Ok(answers.into_iter().map(rows::event).collect())
    }

    async fn spec(&self, task: &str, version: u32) -> Result<Option<v1::Spec>, PortError> {
        let version = Some(version).filter(|version| *version > 0);
        Ok(self.ledger.get_spec(task, version).await.map_err(failed)?.map(rows::spec))
    }

    async fn work_orders(
        &self,
        task: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<v1::WorkOrder>, PortError> {
        let filter = WorkOrderFilter { task: task.map(str::to_owned), ..WorkOrderFilter::default() };
        let found = self.ledger.list_work_orders(&filter, page.size, page.token.as_deref()).await;
        Ok(convert(found.map_err(failed)?, rows::work_order))
    }

    async fn failures(
        &self,
        task: Option<&str>,
        code: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<v1::TaskFailure>, PortError> {
        let (task, code) = (task.map(str::to_owned), code.map(str::to_owned));
        let filter = FailureFilter { task, code, ..FailureFilter::default() };
        let found = self.ledger.list_failures(&filter, page.size, page.token.as_deref()).await;
        Ok(convert(found.map_err(failed)?, rows::task_failure))
    }

    async fn insights(&self, page: &PageRequest) -> Result<Page<v1::Insight>, PortError> {
        let all = self.ledger.list_insights().await.map_err(failed)?;
        slice(all.into_iter().map(rows::insight).collect(), page)
    }

    async fn dead_letters(
        &self,
        filter: &LetterFilter,
        page: &PageRequest,
    ) -> Result<Page<v1::DeadLetter>, PortError> {
        let filter = DeadLetterFilter {
            include_handled: filter.include_handled,
            code: filter.code.clone(),
            service: filter.service.clone(),
        };
        let found = self.ledger.list_dead_letters(&filter, page.size, page.token.as_deref()).await;
        Ok(convert(found.map_err(failed)?, rows::dead_letter))
    }

    async fn dead_letter(
        &self,
        position: &v1::Position,
    ) -> Result<(Vec<v1::DeadLetter>, Option<v1::LogMessage>), PortError> {
        let (stream, sequence) = (position.stream.as_str(), position.sequence);
        let letters = self.ledger.dead_letters_at(stream, sequence).await.map_err(failed)?;
        let message = self.ledger.message(stream, sequence).await.map_err(failed)?;
        Ok((letters.into_iter().map(rows::dead_letter).collect(), message.map(rows::log_message)))
    }

    async fn counts(&self) -> Result<BTreeMap<String, u64>, PortError> {
        self.ledger.count_tasks().await.map_err(failed)
    }

    async fn applied(&self) -> Result<BTreeMap<String, u64>, PortError> {
        self.ledger.applied().await.map_err(failed)
    }

    async fn wait_for(&self, stream: &str, sequence: u64, bound: Duration) -> Result<bool, PortError> {
        self.ledger.wait_for(stream, sequence, bound).await.map_err(failed)
    }

    async fn changes(&self, after: Option<u64>) -> Result<Changes, PortError> {
        let Some(after) = after else {
            let row = self.ledger.last_row().await.map_err(failed)?;
            return Ok(Changes { tasks: Vec::new(), row });
        };
        let events = self.ledger.changes_since(after, FEED).await.map_err(failed)?;
        let row = events.last().map_or(after, |event| event.id);
        let tasks = events.into_iter().map(|event| event.task).filter(|task| !task.is_empty()).collect();
        Ok(Changes { tasks, row })
    }
}

/// The ledger's filter; `None` when nothing can fit because there is no such stage.
fn task_filter(filter: &v1::TaskFilter) -> Option<TaskFilter> {
    let text = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let stage = match text(&filter.stage) {
        Some(name) => Some(Stage::from_name(&name)?),
        None => None,
    };
    let status = match filter.status() {
        v1::TaskStatus::Unspecified => None,
        v1::TaskStatus::Pending => Some(Status::Pending),
        v1::TaskStatus::Active => Some(Status::Active),
        v1::TaskStatus::Complete => Some(Status::Complete),
        v1::TaskStatus::Failed => Some(Status::Failed),
        v1::TaskStatus::Blocked => Some(Status::Blocked),
        v1::TaskStatus::Cancelled => Some(Status::Cancelled),
    };
    Some(TaskFilter {
        status,
        stage,
        code: text(&filter.code),
        repository: text(&filter.repository),
        domain: text(&filter.domain),
        text: text(&filter.text),
    })
}

fn convert<R, T>(page: millrace_ledger::Page<R>, row: impl Fn(R) -> T) -> Page<T> {
    Page { items: page.items.into_iter().map(row).collect(), next: page.next_page_token }
}

/// A page of a list that is short enough to be read whole; the token is where the next one begins.
fn slice<T>(all: Vec<T>, page: &PageRequest) -> Result<Page<T>, PortError> {
    let start = match &page.token {
        Some(token) => token.parse::<usize>().map_err(|_| PortError::PageToken)?,
        None => 0,
    };
    let size = page.size as usize;
    let end = start.saturating_add(size);
    let next = (all.len() > end).then(|| end.to_string());
    Ok(Page { items: all.into_iter().skip(start).take(size).collect(), next })
}

fn failed(error: LedgerError) -> PortError {
    match error {
        LedgerError::PageToken(_) => PortError::PageToken,
        error => PortError::unavailable("the ledger cannot be read", error),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn short_lists_have_pages_too() {
        let page = |token: Option<&str>| {
            slice((0..5).collect(), &PageRequest { size: 2, token: token.map(str::to_owned) }).unwrap()
        };
        assert_eq!(page(None), Page { items: vec![0, 1], next: Some("2".to_owned()) });
        assert_eq!(page(Some("4")), Page { items: vec![4], next: None });
        assert_eq!(page(Some("18446744073709551615")), Page { items: vec![], next: None });
        let bad = PageRequest { size: 2, token: Some("x".to_owned()) };
        assert!(matches!(slice(vec![1], &bad), Err(PortError::PageToken)));
    }
}
