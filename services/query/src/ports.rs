//! What the service needs from the world: the ledger to read, the logs to publish to, and both to compare.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use millrace_decider::Timestamp;
use millrace_events::{Envelope, Log};
use millrace_rpc::v1;

/// The read model.
#[async_trait]
pub trait LedgerReader: Send + Sync + 'static {
    /// One task; `None` when the ledger does not know it.
    async fn task(&self, id: &str) -> Result<Option<v1::Task>, PortError>;
    /// Tasks that fit, the youngest first.
    async fn tasks(&self, filter: &v1::TaskFilter, page: &PageRequest) -> Result<Page<v1::Task>, PortError>;
    /// Every event about a task, or under another key, causes before effects.
    async fn history(&self, key: &str) -> Result<Vec<v1::HistoryEvent>, PortError>;
    /// The spec-registry's answers to a submission, in order.
    async fn submission(&self, key: &str) -> Result<Vec<v1::HistoryEvent>, PortError>;
    /// The spec-registry's answers to an equal submission, or to an earlier one about the same task: the
    /// registry records nothing when there is nothing new. Empty when there is none.
    async fn answered_before(&self, key: &str) -> Result<Vec<v1::HistoryEvent>, PortError>;
    /// A version of a task's spec; 0 is the newest.
    async fn spec(&self, task: &str, version: u32) -> Result<Option<v1::Spec>, PortError>;
    /// Work orders of a task, or of all; the newest first.
    async fn work_orders(
        &self,
        task: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<v1::WorkOrder>, PortError>;
    /// Failures of a task, or of all, with a code, or with any; the newest first.
    async fn failures(
        &self,
        task: Option<&str>,
        code: Option<&str>,
        page: &PageRequest,
    ) -> Result<Page<v1::TaskFailure>, PortError>;
    /// Insights, the largest group first.
    async fn insights(&self, page: &PageRequest) -> Result<Page<v1::Insight>, PortError>;
    /// Messages that could not be handled, the newest failure first.
    async fn dead_letters(
        &self,
        filter: &LetterFilter,
        page: &PageRequest,
    ) -> Result<Page<v1::DeadLetter>, PortError>;
    /// Who gave up on one message, and the message; empty and `None` where it is unknown.
    async fn dead_letter(
        &self,
        position: &v1::Position,
    ) -> Result<(Vec<v1::DeadLetter>, Option<v1::LogMessage>), PortError>;
    /// Tasks by status name.
    async fn counts(&self) -> Result<BTreeMap<String, u64>, PortError>;
    /// The last sequence that has been applied, by stream.
    async fn applied(&self) -> Result<BTreeMap<String, u64>, PortError>;
    /// Waits until the message has been applied. `false`: not within `bound`.
    async fn wait_for(&self, stream: &str, sequence: u64, bound: Duration) -> Result<bool, PortError>;
    /// Which tasks were touched after the row `after`, and how far that reaches. `None` only asks how far
    /// the ledger reaches now. Rows count in the order of application.
    async fn changes(&self, after: Option<u64>) -> Result<Changes, PortError>;
}

/// The logs themselves.
#[async_trait]
pub trait Logs: Send + Sync + 'static {
    /// Publishes an event and waits until it is stored. A resend under the same id changes nothing.
    async fn publish(&self, log: Log, envelope: &Envelope) -> Result<v1::Published, PortError>;
    /// The last sequence of every stream of the catalogue.
    async fn heads(&self) -> Result<BTreeMap<String, (Log, u64)>, PortError>;
    /// What the projector has noticed about logs, and that is not mended.
    async fn alarms(&self) -> Result<Vec<v1::LogAlarm>, PortError>;
    /// The processes that are alive; one that has not shown itself lately is not ready.
    async fn heartbeats(&self, now: Timestamp) -> Result<Vec<v1::ServiceHealth>, PortError>;
}

/// Long texts, kept by their SHA-256.
#[async_trait]
pub trait Texts: Send + Sync + 'static {
    /// The bytes with this SHA-256, in hex; `None` when they were erased.
    async fn text(&self, sha256: &str) -> Result<Option<Vec<u8>>, PortError>;
}

/// Compares the ledger's hash chains with the streams.
#[async_trait]
pub trait Verifier: Send + Sync + 'static {
    /// Walks the streams until the first difference.
    async fn verify(&self) -> Result<Vec<v1::LogVerdict>, PortError>;
}

/// Which dead letters. Everything that is set must fit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LetterFilter {
    /// Those that were handled since, too.
    pub include_handled: bool,
    /// Given up with this code.
    pub code: Option<String>,
    /// Given up by this service.
    pub service: Option<String>,
}

/// A page that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest {
    /// At most this many, 1 to 500.
    pub size: u32,
    /// Where to go on; `None` for the first page.
    pub token: Option<String>,
}

/// A page.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the next one begins; `None` on the last.
    pub next: Option<String>,
}

/// What was touched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Task ids; one may stand there more than once.
    pub tasks: Vec<String>,
    /// The row up to which this reaches; give it back to go on.
    pub row: u64,
}

/// Why a port did not answer.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// What is behind it is down or broken.
    #[error("{what}")]
    Unavailable {
        /// What was asked of whom.
        what: String,
        /// What came back.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The page token is not one of ours.
    #[error("the page token does not belong to this list")]
    PageToken,
    /// It was sent, and nobody says whether it was stored.
    #[error("{0}")]
    Unknown(String),
    /// The event is larger than the log takes.
    #[error("{0}")]
    TooLarge(String),
}

impl PortError {
    /// What was asked of whom, and what came back.
    pub fn unavailable(what: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unavailable { what: what.into(), source: source.into() }
    }
}
