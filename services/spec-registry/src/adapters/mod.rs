//! The registry's hands: where specifications are read from.

mod git_mirror;
mod git_scan;
mod git_tree;
mod scripted;
mod split_source;

pub use git_scan::GitScan;
pub use scripted::ScriptedSource;
pub use split_source::SplitSource;
