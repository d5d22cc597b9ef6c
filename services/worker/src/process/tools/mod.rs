//! The tools that a model may call: what each is and can do, who may call it when, and how it is carried out.
//! S4-SP2, S4-TH5, S4-IMP-25, S3-4.2c.

mod files;
mod guard;
mod marked;
mod registry;

pub use files::Files;
pub use guard::{Context, ToolRefusal};
pub use marked::{RESULT_CHARS, bounded, marked};
pub use registry::{Capability, IMPLEMENTED, Persona, Registry, Requirement, Safety, Tool, ToolRule};
