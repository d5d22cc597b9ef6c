//! The reckoning at the end of a campaign.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::{Campaign, Submitted, Work};
use crate::invariants::{Damage, End, Evidence, Expected, Violation, check};
use crate::monitor::{self, Lag};

impl Campaign {
    /// The end of every campaign: all runs end, all consumers come to rest, and then every invariant is checked
    /// from the outside. One line of report; a panic with everything that is broken.
    pub async fn reckon(&mut self, within: Duration) -> Evidence {
        self.all_ended(within).await;
        self.at_rest(within).await;
        let mut evidence = Evidence::collect(&self.cluster).await;
        evidence.journal = self.journal.entries();
        evidence.expected = self.submitted.iter().map(|submitted| self.expected(submitted)).collect();
        evidence.foreign = self.foreign.clone();
        let violations = check(&evidence);
        eprintln!("{}", self.report(&evidence, &violations));
        if !violations.is_empty() {
            let shown: Vec<String> = violations.iter().take(20).map(ToString::to_string).collect();
            panic!("{}: kept in {}\n{}", self.tag(), self.keep(), shown.join("\n"));
        }
        evidence
    }

    /// A line of figures.
    fn report(&self, evidence: &Evidence, violations: &[Violation]) -> String {
        let damaged = |damage| violations.iter().filter(|violation| violation.damage == damage).count();
        let faults: Vec<String> = self.faults.iter().map(|(name, count)| format!("{name} {count}")).collect();
        format!(
            "{}: SEED={}, {} tasks, {} events, faults: {}; lost {}, duplicated {}, wrong {}; {:.1} s",
            self.name,
            self.seed,
            self.submitted.len(),
            evidence.messages(),
            if faults.is_empty() { "none".to_owned() } else { faults.join(", ") },
            damaged(Damage::Lost),
            damaged(Damage::Duplicated),
            damaged(Damage::Wrong),
            self.seconds()
        )
    }

    /// Waits until every consumer of every stream has been given everything and has answered it.
    async fn at_rest(&mut self, within: Duration) {
        let deadline = Instant::now() + within;
        loop {
            self.tend();
            let waiting: Vec<Lag> = match self.cluster.nats.monitor().and_then(monitor::consumers) {
                Some(all) => all.into_iter().filter(|lag| !lag.is_zero()).collect(),
                None => Vec::new(),
            };
            if waiting.is_empty() && self.cluster.has_caught_up().await {
                return;
            }
            if Instant::now() > deadline {
                let (kept, text) = (self.keep(), self.cluster.logs_of_all(12));
                panic!("{}: not at rest: {waiting:?}; kept in {kept}{text}", self.tag());
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn expected(&self, submitted: &Submitted) -> Expected {
        Expected {
            task: submitted.task.clone(),
            repository: self.cluster.repositories[submitted.repository].name.clone(),
            runs: if submitted.work == Work::Retried { 2 } else { 1 },
            end: match submitted.work {
                Work::Plain => End::Released,
                Work::Failing | Work::Retried => End::Failed,
                Work::Cancelled => End::Cancelled,
            },
        }
    }

    /// What makes it happen again.
    pub(super) fn tag(&self) -> String {
        format!("{} SEED={}", self.name, self.seed)
    }

    /// Copies everything to where it outlives the test; the path.
    pub(super) fn keep(&self) -> String {
        let to = std::env::temp_dir().join(format!("millrace-campaign-{}-{}", self.name, self.seed));
        std::fs::create_dir_all(&to).unwrap();
        let copied = std::process::Command::new("cp")
            .args(["-r", "--reflink=auto"])
            .args([self.cluster.path(""), self.cluster.nats.store(), to.clone()])
            .status();
        match copied {
            Ok(status) if status.success() => to.display().to_string(),
            other => format!("nothing ({other:?})"),
        }
    }
}
