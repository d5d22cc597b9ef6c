//! One scenario a test, each run by `make chaos` alone (`scripts/chaos.sh <scenario>`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods
)]

#[path = "all/bit_rot.rs"]
mod bit_rot;
#[path = "all/disk_full.rs"]
mod disk_full;
#[path = "all/flood.rs"]
mod flood;
#[path = "all/ledger_faults.rs"]
mod ledger_faults;
#[path = "all/power_cut.rs"]
mod power_cut;
