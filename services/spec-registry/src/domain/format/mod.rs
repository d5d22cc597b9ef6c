//! Reads a written specification: bytes in, a [`Spec`] or every [`Problem`] out.
//!
//! ```text
//! bytes > text > front matter + outline (headings, list items, fences, with lines) > sections > Spec
//! ```
//!
//! Free-form Markdown with everyday headings, YAML front matter and bold key lines (`**VTID:** …`) are
//! understood. Nothing here does I/O, and the work is bounded by [`MAX_SPEC_BYTES`].

mod acceptance;
mod decode;
mod front_matter;
mod headings;
mod identity;
mod metadata;
mod outline;
mod parse;
mod placeholders;
mod priority;
mod problem;
mod render;
mod sections;
mod spec;
mod task_id;

pub use parse::{claimed_task_id, parse};
pub use priority::Priority;
pub use problem::{Problem, ProblemCode, Severity};
pub use render::render_problems;
pub use spec::{AcceptanceItem, AcceptanceKind, MAX_SPEC_BYTES, ParseSettings, PlanBlock, Readiness, Spec};
pub use task_id::task_id_in_file_name;
