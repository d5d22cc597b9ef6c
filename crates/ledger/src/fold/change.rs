//! Changes of rows, and what they are made from.

use millrace_decider::Timestamp;
use millrace_events::{Event, Log};

/// An event with its place.
#[derive(Debug, Clone, Copy)]
pub struct Fact<'a> {
    /// Stream it stands in.
    pub stream: &'a str,
    /// Its sequence there.
    pub sequence: u64,
    /// The log.
    pub log: Log,
    /// When it was decided.
    pub time: Timestamp,
    /// Its place in a logical order of all logs in which no effect comes before its cause, in microseconds.
    pub clock: i64,
    /// The event.
    pub event: &'a Event,
}

/// What an event changes.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Columns of one row, merged with what stands there. Many of them become one statement.
    Row(RowChange),
    /// A step in the life of a task: applied one by one, in order, under the database's guard.
    Status(StatusChange),
}

/// Columns of one row.
#[derive(Debug, Clone, PartialEq)]
pub struct RowChange {
    /// The table.
    pub table: Table,
    /// Values of its key, in the order of [`Table::key`].
    pub key: Vec<Value>,
    /// Name, rule and value of each column.
    pub columns: Vec<(&'static str, Merge, Value)>,
}

/// How a value meets the one that stands there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// The new one stands. Only for columns that one log owns.
    Set,
    /// The old one stays, unless there is none. Only for columns that one log owns and that may be null.
    First,
    /// The greater one stands.
    Max,
    /// The smaller one stands; null counts as none.
    Min,
}

impl Merge {
    /// Whether `new` takes the place of the value that stands there.
    pub fn replaces(self, held: &Value, new: &Value) -> bool {
        match self {
            Self::Set => true,
            Self::First => *held == Value::Null,
            Self::Max => new > held,
            Self::Min => new < held,
        }
    }
}

/// A value of a column.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// Nothing, in columns of numbers.
    Null,
    /// A number; points in time are microseconds since the epoch.
    Int(i64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// A table that rows are changed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "named as in the schema, where each is described")]
pub enum Table {
    Tasks,
    Runs,
    WorkOrders,
    Phases,
    ModelCalls,
    Specs,
    Failures,
    Insights,
    DeadLetters,
    TransitionRefusals,
    OperatorActions,
}

/// A step in the life of a task, with everything that is written in the same statements.
#[derive(Debug, Clone, PartialEq)]
pub struct StatusChange {
    /// The task.
    pub task: String,
    /// The run that the event is about.
    pub run: u32,
    /// What happens to the status.
    pub step: Step,
    /// Columns of the task's row that go with it; all owned by the dispatcher.
    pub columns: Vec<(&'static str, Value)>,
}

/// What happens to a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It becomes this. A run that the row has not reached yet is opened first.
    Become(Status),
    /// The run is opened, and waits.
    Open,
    /// It becomes active if it is not, as by a further work order of the run.
    Continue,
    /// It stays; only the columns change, and only while the run lives.
    Stay,
}

/// The coarse state of a task, guarded by the database. DESIGN section 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Known, not begun.
    Pending,
    /// Under way.
    Active,
    /// Released and seen.
    Complete,
    /// The run is over without success.
    Failed,
    /// A person can unblock it.
    Blocked,
    /// Somebody ended it.
    Cancelled,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Active, Self::Complete, Self::Failed, Self::Blocked, Self::Cancelled];

    /// The name, as in the database.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::Blocked => "blocked",
            Self::Cancelled => "cancelled",
        }
    }

    /// The status of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    /// Whether its run is over.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Complete | Self::Failed | Self::Cancelled)
    }
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Tasks,
        Self::Runs,
        Self::WorkOrders,
        Self::Phases,
        Self::ModelCalls,
        Self::Specs,
        Self::Failures,
        Self::Insights,
        Self::DeadLetters,
        Self::TransitionRefusals,
        Self::OperatorActions,
    ];

    /// Its name in the schema.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tasks => "tasks",
            Self::Runs => "runs",
            Self::WorkOrders => "work_orders",
            Self::Phases => "phases",
            Self::ModelCalls => "model_calls",
            Self::Specs => "specs",
            Self::Failures => "failures",
            Self::Insights => "insights",
            Self::DeadLetters => "dead_letters",
            Self::TransitionRefusals => "transition_refusals",
            Self::OperatorActions => "operator_actions",
        }
    }

    /// The columns of its key.
    pub const fn key(self) -> &'static [&'static str] {
        match self {
            Self::Tasks => &["task"],
            Self::Runs => &["task", "run"],
            Self::WorkOrders => &["id"],
            Self::Phases => &["task", "run", "attempt", "phase", "iteration"],
            Self::ModelCalls => &["task", "run", "attempt", "call"],
            Self::Specs => &["task", "version"],
            Self::Insights => &["group_key"],
            Self::DeadLetters => &["stream", "sequence", "service"],
            Self::Failures | Self::TransitionRefusals | Self::OperatorActions => &["stream", "sequence"],
        }
    }

    /// A change of one of its rows, without columns yet.
    pub(crate) fn row(self, key: Vec<Value>) -> RowChange {
        RowChange { table: self, key, columns: Vec::new() }
    }
}

impl RowChange {
    /// The new value stands.
    pub(crate) fn set(mut self, column: &'static str, value: impl Into<Value>) -> Self {
        self.columns.push((column, Merge::Set, value.into()));
        self
    }

    /// With a rule.
    pub(crate) fn merge(mut self, column: &'static str, merge: Merge, value: impl Into<Value>) -> Self {
        self.columns.push((column, merge, value.into()));
        self
    }

    /// As a change.
    pub(crate) fn done(self) -> Change {
        Change::Row(self)
    }
}

impl Fact<'_> {
    /// A row that is named after the event's place.
    pub(crate) fn own_row(&self, table: Table) -> RowChange {
        table.row(vec![self.stream.into(), self.sequence.into()])
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        // PostgreSQL takes no NUL in a text.
        Self::Text(if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text.to_owned() })
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<i64> for Value {
    fn from(int: i64) -> Self {
        Self::Int(int)
    }
}

impl From<u32> for Value {
    fn from(int: u32) -> Self {
        Self::Int(i64::from(int))
    }
}

impl From<u64> for Value {
    fn from(int: u64) -> Self {
        Self::Int(i64::try_from(int).unwrap_or(i64::MAX))
    }
}

impl From<Timestamp> for Value {
    fn from(time: Timestamp) -> Self {
        Self::Int(time.as_micros())
    }
}
