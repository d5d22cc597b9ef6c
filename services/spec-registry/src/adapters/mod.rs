//! The registry's hands: where specifications are read from.

mod git_mirror;
mod git_scan;
mod git_tree;
mod scripted;

pub use git_scan::GitScan;
pub use scripted::ScriptedSource;
