//! The stage: how far a task has come, for people. A view over what the logs say.

use millrace_events::v1::TaskRef;

use super::change::{Change, Fact, Merge, Table};

/// Position in the pipeline. DESIGN section 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in DESIGN section 5")]
pub enum Stage {
    Registered,
    Scheduled,
    AwaitingApproval,
    Dispatched,
    Acknowledged,
    Executing,
    PrOpened,
    Checking,
    Validating,
    Merging,
    Deploying,
    Verifying,
    Done,
}

/// Sorts behind every attempt and clock: nothing in the run comes after it.
const LAST_ATTEMPT: u32 = 99_999;
const LAST_CLOCK: i64 = i64::MAX;

impl Stage {
    /// All, from first to last.
    pub const ALL: [Self; 13] = [
        Self::Registered,
        Self::Scheduled,
        Self::AwaitingApproval,
        Self::Dispatched,
        Self::Acknowledged,
        Self::Executing,
        Self::PrOpened,
        Self::Checking,
        Self::Validating,
        Self::Merging,
        Self::Deploying,
        Self::Verifying,
        Self::Done,
    ];

    /// The name, as in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Scheduled => "scheduled",
            Self::AwaitingApproval => "awaiting_approval",
            Self::Dispatched => "dispatched",
            Self::Acknowledged => "acknowledged",
            Self::Executing => "executing",
            Self::PrOpened => "pr_opened",
            Self::Checking => "checking",
            Self::Validating => "validating",
            Self::Merging => "merging",
            Self::Deploying => "deploying",
            Self::Verifying => "verifying",
            Self::Done => "done",
        }
    }

    /// The stage of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|stage| stage.name() == name)
    }

    /// `<run>.<attempt>.<clock>.<stage>`, zero-padded, so that the greatest text is the latest stage,
    /// in whatever order the logs are applied.
    fn order(self, run: u32, attempt: u32, clock: i64) -> String {
        let position = Self::ALL.iter().position(|stage| *stage == self).unwrap_or_default() + 1;
        format!("{:05}.{:05}.{clock:020}.{position:02}", run.min(LAST_ATTEMPT), attempt.min(LAST_ATTEMPT))
    }

    /// The task has come this far.
    pub(super) fn reached(self, fact: &Fact<'_>, task: &TaskRef) -> Change {
        // The last attempt sorts below what ends a run.
        self.change(&task.task, self.order(task.run, task.attempt.min(LAST_ATTEMPT - 1), fact.clock))
    }

    /// The run ended here; nothing else of it counts any more.
    pub(super) fn ended(self, task: &TaskRef) -> Change {
        self.change(&task.task, self.order(task.run, LAST_ATTEMPT, LAST_CLOCK))
    }

    fn change(self, task: &str, order: String) -> Change {
        Table::Tasks.row(vec![task.into()]).merge("stage_order", Merge::Max, order).done()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn later_runs_attempts_and_clocks_win_and_an_end_stays() {
        let order = |stage: Stage, run, attempt, clock| stage.order(run, attempt, clock);
        let rising = [
            order(Stage::Registered, 0, 0, i64::MAX),
            order(Stage::Merging, 1, 1, 1_700_000_000_000_000),
            // A second round of checks, after the base moved.
            order(Stage::Checking, 1, 1, 1_700_000_000_000_001),
            order(Stage::Dispatched, 1, 2, 1_700_000_000_000_000),
            order(Stage::Executing, 1, LAST_ATTEMPT, LAST_CLOCK),
            order(Stage::Dispatched, 2, 1, 1),
        ];
        for pair in rising.windows(2) {
            assert!(pair[0] < pair[1], "{pair:?}");
        }
        // The place of the position is fixed: the schema reads it there.
        assert_eq!(&rising[1][33..35], "10");
        assert_eq!(Stage::from_name("pr_opened"), Some(Stage::PrOpened));
    }
}
