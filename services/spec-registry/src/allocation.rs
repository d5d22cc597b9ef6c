//! Finds a free id for a specification that names none.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use millrace_events::{Code, Key, Log, TaskId};
use millrace_runtime::clock::Clock;
use millrace_runtime::host::Fault;
use millrace_runtime::log_reader::LogReader;
use millrace_runtime::settings::Repository;

use crate::patience::Patience;

/// How many numbers are tried before giving up.
const MAX_TRIES: u64 = 10_000;
/// Ids that were handed out lately and may not stand in the log yet.
const REMEMBERED: usize = 1_024;

/// Hands out ids.
pub(crate) struct Allocation {
    logs: LogReader,
    clock: Arc<dyn Clock>,
    /// Who got which id: two submissions that are read at the same time must not get one.
    handed_out: Mutex<VecDeque<(TaskId, Key)>>,
}

impl Allocation {
    pub(crate) fn new(logs: LogReader, clock: Arc<dyn Clock>) -> Self {
        Self { logs, clock, handed_out: Mutex::default() }
    }

    /// The repository's base number plus the submission's sequence, or the next number of which the log
    /// says nothing. DESIGN section 2.
    pub(crate) async fn free(
        &self,
        repository: &Repository,
        sequence: u64,
        under: &Key,
    ) -> Result<TaskId, Fault> {
        let first = repository.task_base.saturating_add(sequence);
        for number in first..first.saturating_add(MAX_TRIES) {
            let task = TaskId::allocated(&repository.task_prefix, number).map_err(|error| {
                let message = format!("repository {} has run out of task numbers", repository.id);
                Fault::lasting(Code::TaskIdInvalid, message).caused_by(error)
            })?;
            if self.reserve(&task, under) && !self.is_known(&task).await? {
                return Ok(task);
            }
        }
        let message = format!("no free task number in repository {} from {first} on", repository.id);
        Err(Fault::lasting(Code::TaskIdInvalid, message))
    }

    /// Whether nobody else got it.
    fn reserve(&self, task: &TaskId, under: &Key) -> bool {
        let mut handed_out = self.handed_out.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, holder)) = handed_out.iter().find(|(given, _)| given == task) {
            return holder == under;
        }
        if handed_out.len() == REMEMBERED {
            handed_out.pop_front();
        }
        handed_out.push_back((task.clone(), under.clone()));
        true
    }

    async fn is_known(&self, task: &TaskId) -> Result<bool, Fault> {
        let mut patience = Patience::new(self.clock.as_ref());
        loop {
            match self.logs.events(Log::SpecRegistry, &task.key()).await {
                Ok(events) => return Ok(!events.is_empty()),
                Err(error) => patience.after(error).await?,
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use millrace_runtime::bootstrap::{Declared, Installation};
    use millrace_runtime::clock::System;
    use millrace_runtime::memory::MemoryBroker;
    use millrace_runtime::settings::ForgeKind;

    use super::*;

    #[tokio::test]
    async fn two_that_are_read_at_the_same_time_do_not_get_one_id() {
        let clock: Arc<dyn Clock> = Arc::new(System);
        let broker = MemoryBroker::new(clock.clone(), &Declared::of(&Installation::default()));
        let allocation = Allocation::new(LogReader::new(Arc::new(broker), 1), clock);
        let repository = Repository {
            id: "shop".to_owned(),
            url: "/nowhere".to_owned(),
            forge: ForgeKind::Local,
            base_branch: "main".to_owned(),
            task_prefix: "SHOP".to_owned(),
            task_base: 100,
            specs_url: None,
            specs_path: "docs/specs".to_owned(),
            scan_period: std::time::Duration::from_secs(30),
            target: "local".to_owned(),
        };
        // Messages of different partitions may have the same sequence.
        let mut given = Vec::new();
        for key in ["req-1", "req-2", "req-1"] {
            let key = Key::new(key).unwrap();
            given.push(allocation.free(&repository, 7, &key).await.unwrap().to_string());
        }
        assert_eq!(given, ["SHOP-00107", "SHOP-00108", "SHOP-00107"]);
    }
}
