//! Plays the tables, and compares them with what was reviewed.

use std::fmt::Debug;

use millrace_decider::Decider;
use millrace_events::LogEvent;
use millrace_runtime::host::Hosted;
use millrace_states::matrix::{EventOf, InputOf, Outcome, Subject, Table};
use millrace_states::{golden, subjects};

fn play<H>(service: &str, subject: &Subject<H>) -> Table
where
    H: Hosted,
    <H::Decider as Decider>::State: Debug,
    EventOf<H>: LogEvent,
    InputOf<H>: Debug,
{
    let table = subject.play();
    let shown: Vec<&str> = table.faults.iter().take(60).map(String::as_str).collect();
    assert!(shown.is_empty(), "{} faults:\n{}", table.faults.len(), shown.join("\n"));
    golden::compare(service, &golden::text(service, &table));
    table
}

fn count(table: &Table, is: fn(&Outcome) -> bool) -> usize {
    table.rows.iter().flat_map(|(_, row)| row).filter(|(_, outcome, _)| is(outcome)).count()
}

/// S2-G9a, S2-G9b, S4-SP1: what is not allowed is refused with STATE_MISMATCH, and recorded, once.
#[test]
fn s2_g9a_s2_g9b_s4_sp1_every_event_in_every_state_of_a_task() {
    let subject = subjects::dispatcher();
    assert_eq!(subject.untold(), [""; 0]);
    let table = play("dispatcher", &subject);
    assert!(count(&table, |outcome| matches!(outcome, Outcome::Recorded(_))) > 1_000);
    assert_eq!(count(&table, |outcome| *outcome == Outcome::Refused), 0, "each refusal is recorded");
}

#[test]
fn s2_g9a_every_event_in_every_state_of_a_workers_orders() {
    let subject = subjects::worker();
    assert_eq!(subject.untold(), [""; 0]);
    play("worker", &subject);
}

#[test]
fn s2_g9a_every_event_in_every_state_of_a_verdict() {
    let subject = subjects::validator();
    assert_eq!(subject.untold(), [""; 0]);
    play("validator", &subject);
}

#[test]
fn s2_g9a_every_event_in_every_state_of_a_release() {
    let subject = subjects::deployer();
    assert_eq!(subject.untold(), [""; 0]);
    play("deployer", &subject);
}

#[test]
fn s2_g9a_every_event_in_every_state_of_a_specification() {
    let (tasks, submissions) = (subjects::registry(), subjects::registry_of_submissions());
    let untold = tasks.untold();
    let told_nowhere: Vec<&str> =
        submissions.untold().into_iter().filter(|name| untold.contains(name)).collect();
    assert_eq!(told_nowhere, [""; 0]);
    play("spec-registry", &tasks);
    play("spec-registry-submissions", &submissions);
}

#[test]
fn s2_g9a_every_event_in_every_state_of_a_group_of_failures() {
    let subject = subjects::analyzer();
    assert_eq!(subject.untold(), [""; 0]);
    play("failure-analyzer", &subject);
}
