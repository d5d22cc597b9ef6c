//! What Millrace knows of a repository before it changes it: how it is built and tested (the profile), what
//! stands where (the index), and what a change would touch (the dry run). Nothing of the repository is run, no
//! network is used, and everything that is read is bounded.

mod commands;
mod detect;
mod dry_run;
mod gate;
mod index;
mod profile;
mod scan;
mod settings;
mod tree;

pub use commands::{Commands, Gate, Selected};
pub use detect::{detect, detect_in};
pub use dry_run::{
    Change, CommandPolicy, DryRun, Edit, EditError, MissingEvidence, NoCommandPolicy, RuleSpoken, Touch,
    Touched, Verdict, dry_run,
};
pub use gate::{Missing, gate};
pub use index::{Anchor, Citation, Index, Symbol, SymbolKind, Ungrounded, ground};
pub use profile::{
    Ci, Command, DiffLimit, Finding, Gap, GapKind, Language, Named, OwnerRule, Owners, Package,
    PackageManager, Profile, Purpose, Toolchain,
};
pub use settings::{SETTINGS_FILE, Settings, SettingsError};
pub use tree::{Entry, Folder, MAX_DEPTH, MAX_FILE_BYTES, MAX_FILES, Memory, Tree};
