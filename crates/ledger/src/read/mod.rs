//! What can be asked of a ledger. Answers are plain rows that serialise; times are RFC 3339.

mod attention;
mod dead_letters;
mod history;
mod page;
mod rows;
mod specs;
mod tasks;
mod time_text;
mod work;

pub use attention::OverdueTask;
pub use dead_letters::DeadLetterFilter;
pub use history::EventRow;
pub use page::{Page, PageTokenError};
pub use rows::{DeadLetterRow, FailureRow, InsightRow, PhaseRow, SpecRow, TaskRow, WorkOrderRow};
pub use tasks::TaskFilter;
pub use work::{FailureFilter, WorkOrderFilter};
