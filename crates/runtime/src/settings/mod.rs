//! Configuration: flags, then `MILLRACE_*` in the environment, then one optional TOML file, in that order
//! of precedence. Unknown keys are refused, and everything is checked before anything listens.

mod dispatch;
mod duration;
mod environment;
mod limits;
mod load;
mod model;

pub use dispatch::Dispatch;
pub use duration::{format_duration, parse_duration};
pub use environment::{ENVIRONMENT, Variable};
pub use limits::Limits;
pub use load::{SettingsError, Source};
pub use model::{ForgeKind, LogFormat, Nats, Repository, Section, Settings, Telemetry};
