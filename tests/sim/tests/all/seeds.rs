//! Thousands of seeds, one seed again, and that a seed is one run.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use millrace_sim::run::{Outcome, run};

/// Seeds of a plain `cargo test`. `SEEDS` asks for more, `FIRST_SEED` for others, `SEED` for one that is told
/// whole; with `KEEP_GOING=1` the first that breaks something is not the last that is run.
const SEEDS: u64 = 2_000;
/// Threads, each with a runtime of its own.
const THREADS: u64 = 2;

#[expect(clippy::disallowed_methods, reason = "a test is told by its environment which seeds to run")]
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, not `{text}`")))
}

/// Everything that is needed to understand a run that failed: the same seed gives it again.
fn report(outcome: &Outcome) -> String {
    let mut text = String::new();
    for line in &outcome.history {
        writeln!(text, "{line}").unwrap();
    }
    writeln!(text, "profile: {:#?}", outcome.profile).unwrap();
    writeln!(text, "faults: {:?}", outcome.faults).unwrap();
    let took = outcome.took.as_secs();
    writeln!(
        text,
        "seed {}: {} tasks, {} events, {took} s of its own time",
        outcome.seed, outcome.tasks, outcome.events
    )
    .unwrap();
    match &outcome.broken {
        Some((invariant, why)) => writeln!(text, "seed {} breaks {invariant}: {why}", outcome.seed).unwrap(),
        None => writeln!(text, "seed {}: every invariant holds", outcome.seed).unwrap(),
    }
    text
}

#[derive(Default)]
struct Totals {
    seeds: u64,
    tasks: u64,
    events: u64,
    acknowledged: u64,
    deeds: u64,
    waited: u64,
    replayed: u64,
    faults: BTreeMap<&'static str, u64>,
    broken: BTreeMap<u64, (&'static str, String)>,
}

impl Totals {
    fn add(&mut self, outcome: &Outcome) {
        self.seeds += 1;
        self.tasks += outcome.tasks;
        self.events += outcome.events;
        self.acknowledged += outcome.acknowledged;
        self.deeds += outcome.deeds;
        self.waited += outcome.waited;
        self.replayed += outcome.replayed;
        for (kind, count) in &outcome.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        self.broken.extend(outcome.broken.clone().map(|broken| (outcome.seed, broken)));
    }

    fn sum(mut self, other: Self) -> Self {
        self.seeds += other.seeds;
        self.tasks += other.tasks;
        self.events += other.events;
        self.acknowledged += other.acknowledged;
        self.deeds += other.deeds;
        self.waited += other.waited;
        self.replayed += other.replayed;
        for (kind, count) in other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        self.broken.extend(other.broken);
        self
    }
}

#[test]
fn s4_th3_every_invariant_holds_for_every_seed() {
    if let Some(seed) = number("SEED") {
        let outcome = run(seed, true).unwrap();
        println!("{}", report(&outcome));
        assert!(outcome.broken.is_none(), "seed {seed} breaks an invariant");
        return;
    }
    let (first, seeds) = (number("FIRST_SEED").unwrap_or(1), number("SEEDS").unwrap_or(SEEDS));
    let totals = std::thread::scope(|scope| {
        let share = |thread: u64| {
            let mut totals = Totals::default();
            for seed in (first..first + seeds).filter(|seed| seed % THREADS == thread) {
                let began = tokio::time::Instant::now();
                let outcome = run(seed, false).unwrap();
                if number("VERBOSE").is_some() {
                    println!(
                        "{seed}: {:?} {} events, {:?}, {:?}",
                        began.elapsed(),
                        outcome.events,
                        outcome.took,
                        outcome.broken
                    );
                }
                totals.add(&outcome);
                if !totals.broken.is_empty() && number("KEEP_GOING").is_none() {
                    break;
                }
            }
            totals
        };
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || share(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).fold(Totals::default(), Totals::sum)
    });
    println!(
        "{} seeds, {} tasks, {} events, {} acknowledged appends, {} deeds, {} runs waited, {} dead letters \
         replayed, faults {:#?}",
        totals.seeds,
        totals.tasks,
        totals.events,
        totals.acknowledged,
        totals.deeds,
        totals.waited,
        totals.replayed,
        totals.faults
    );
    for (seed, (invariant, why)) in &totals.broken {
        println!("seed {seed} breaks {invariant}: {why}");
    }
    if let Some(seed) = totals.broken.keys().next() {
        // Told only now: the same seed is the same run.
        panic!("{}", report(&run(*seed, true).unwrap()));
    }
    println!("lost 0, duplicated 0");
}

#[test]
fn the_same_seed_is_the_same_run_to_the_byte() {
    for seed in [1, 2, 3, 50, 51] {
        let (one, two) = (run(seed, true).unwrap(), run(seed, true).unwrap());
        let differs = one.history.iter().zip(&two.history).position(|(one, two)| one != two);
        if let Some(line) = differs {
            panic!("seed {seed}, line {line}:\n{}\n{}", one.history[line], two.history[line]);
        }
        assert_eq!(one.history.len(), two.history.len(), "seed {seed}");
        assert_eq!((one.faults, one.events, one.took), (two.faults, two.events, two.took));
    }
}
