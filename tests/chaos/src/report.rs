//! What a scenario says: one line per step while it runs, and one row of the closing table.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Instant;

/// A running scenario. Printing nothing but facts; a scenario that panics has no row, and so has failed.
#[derive(Debug)]
pub struct Report {
    fault: &'static str,
    invariants: &'static str,
    scenario: &'static str,
    began: Instant,
    figures: String,
}

impl Report {
    /// `fault` and `invariants` as in `docs/testing.md`.
    #[must_use]
    pub fn begin(fault: &'static str, invariants: &'static str, scenario: &'static str) -> Self {
        println!("\n== {scenario}: {fault} ({invariants})");
        Self { fault, invariants, scenario, began: Instant::now(), figures: String::new() }
    }

    /// What was just done.
    pub fn step(&self, what: &str) {
        println!("   {:>6.1} s  {what}", self.began.elapsed().as_secs_f64());
    }

    /// A figure for the table, printed at once, too.
    pub fn figure(&mut self, figure: &str) {
        self.step(figure);
        let separator = if self.figures.is_empty() { "" } else { "; " };
        let _always = write!(self.figures, "{separator}{figure}");
    }

    /// Everything held. Appends the row to the file `CHAOS_TABLE`, where the script wants one.
    pub fn held(self) {
        let seconds = self.began.elapsed().as_secs();
        println!("   HELD after {seconds} s: {}", self.figures);
        let Some(table) = std::env::var_os("CHAOS_TABLE") else { return };
        let mut table = std::fs::File::options().create(true).append(true).open(table).unwrap();
        let Self { fault, invariants, scenario, figures, .. } = self;
        writeln!(table, "| {fault} | {invariants} | `{scenario}` | {seconds} | {figures} |").unwrap();
    }
}
