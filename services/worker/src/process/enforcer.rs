//! The way through the phases: none is skipped, none is left without its evidence, and what was proved before a
//! step back proves nothing afterwards. Pure. S4-SP3, S4-CI2, S4-CI9, S4-VER1, S4-VER3.

use std::collections::BTreeMap;

use millrace_events::Code;
use millrace_events::v1::Phase;

use super::evidence::{Flaw, check};
use super::phase::name;
use super::table::{PhaseRule, PhaseTable};

/// Where an attempt stands in its phases.
#[derive(Debug, Clone)]
pub struct Enforcer {
    table: PhaseTable,
    route: Vec<Phase>,
    standing: BTreeMap<Phase, Standing>,
    counts: Counts,
}

const ELSEWHERE: &str = "a worker does not go through this phase";
const DONE: &str = "it is done; a step back is needed to do it again";

/// What is known of one phase.
#[derive(Debug, Clone, Copy)]
struct Standing {
    iteration: u32,
    /// The iteration whose evidence was accepted last.
    accepted: Option<u32>,
    begun: bool,
    returns: u32,
}

/// An artifact that a phase claims to have left.
#[derive(Debug, Clone, Copy)]
pub struct Artifact<'a> {
    /// Its name, such as `plan.md`.
    pub name: &'a str,
    /// The iteration of the phase in which it was made.
    pub iteration: u32,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// A step that is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", name(*phase), refused.sentence(artifact))]
pub struct Refusal {
    /// The phase whose evidence it is about.
    pub phase: Phase,
    /// The artifact.
    pub artifact: String,
    /// What is wrong.
    pub refused: Refused,
}

/// The ways in which evidence does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// It is not there.
    Missing,
    /// There is nothing in it.
    Empty,
    /// It is not what it should be.
    Invalid(String),
    /// It is of an earlier iteration.
    Stale {
        /// The iteration that it is of.
        found: u32,
        /// The present one.
        expected: u32,
    },
    /// The phase is done, or not one that a worker goes through.
    OutOfOrder(&'static str),
}

/// A step back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reverted {
    /// The phase that sent the work back.
    pub from: Phase,
    /// The phase that is done again.
    pub to: Phase,
    /// The iteration that this opens.
    pub iteration: u32,
}

/// What the enforcer has refused and seen. S4-CI6.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Phases that were begun before the ones ahead of them were done.
    pub skips_attempted: u32,
    /// Artifacts that did not count.
    pub evidence_refused: u32,
    /// Steps back.
    pub returns: u32,
}

impl Enforcer {
    /// At the start of an attempt.
    #[must_use]
    pub fn new(table: PhaseTable) -> Self {
        let start = Standing { iteration: 1, accepted: None, begun: false, returns: 0 };
        let route = table.route();
        let standing = route.iter().map(|phase| (*phase, start)).collect();
        Self { table, route, standing, counts: Counts::default() }
    }

    /// Takes over a phase that an earlier part of the attempt has gone through, in the iteration in which it was;
    /// its evidence is checked once more.
    ///
    /// # Errors
    /// The phase may not come now, or its evidence does not count.
    pub fn take_over(&mut self, phase: Phase, iteration: u32, left: &[Artifact<'_>]) -> Result<(), Refusal> {
        if let Some(standing) = self.standing.get_mut(&phase) {
            standing.iteration = standing.iteration.max(iteration);
        }
        self.begin(phase)?;
        self.complete(phase, left)
    }

    /// Begins a phase. Every phase before it must have left its evidence in its present iteration. The number of
    /// this phase's iteration.
    ///
    /// # Errors
    /// `Missing` for a phase that was skipped, `Stale` for one that is to be done again, `OutOfOrder` for one that
    /// is done: it is done again only after a step back.
    pub fn begin(&mut self, phase: Phase) -> Result<u32, Refusal> {
        let Some(own) = self.standing.get(&phase).copied() else {
            return Err(self.refuse(phase, String::new(), Refused::OutOfOrder(ELSEWHERE)));
        };
        let before = self.route.iter().copied().take_while(|other| *other != phase);
        let undone = before.into_iter().find_map(|other| {
            let standing = self.standing.get(&other)?;
            (standing.accepted != Some(standing.iteration)).then_some((other, *standing))
        });
        if let Some((other, standing)) = undone {
            self.counts.skips_attempted += 1;
            let refused = match standing.accepted {
                None => Refused::Missing,
                Some(found) => Refused::Stale { found, expected: standing.iteration },
            };
            let artifact = self.first_artifact(other);
            return Err(self.refuse(other, artifact, refused));
        }
        if own.accepted == Some(own.iteration) {
            return Err(self.refuse(phase, String::new(), Refused::OutOfOrder(DONE)));
        }
        if let Some(standing) = self.standing.get_mut(&phase) {
            standing.begun = true;
        }
        Ok(own.iteration)
    }

    /// Ends a phase: everything that the table asks for must be there, of this iteration, and say the right thing.
    ///
    /// # Errors
    /// The first artifact that does not count.
    pub fn complete(&mut self, phase: Phase, left: &[Artifact<'_>]) -> Result<(), Refusal> {
        let Some(standing) = self.standing.get(&phase).copied() else {
            return Err(self.refuse(phase, String::new(), Refused::OutOfOrder(ELSEWHERE)));
        };
        // What was not begun cannot be over: whoever ends it has skipped what comes before it.
        self.begin(phase)?;
        if let Some((artifact, refused)) = self.first_flaw(phase, standing.iteration, left) {
            return Err(self.refuse(phase, artifact, refused));
        }
        if let Some(standing) = self.standing.get_mut(&phase) {
            standing.accepted = Some(standing.iteration);
        }
        Ok(())
    }

    /// Goes back to the earliest of the phases that are affected, and opens a new iteration of it and of all that
    /// were begun after it. `None`: `from` has sent the work back as often as it may, or nothing before it is
    /// affected.
    pub fn revert(&mut self, from: Phase, affected: &[Phase]) -> Option<Reverted> {
        let limit = self.rule(from)?.limits.returns;
        let place = |phase: Phase| self.route.iter().position(|other| *other == phase);
        let own = place(from)?;
        let to = affected.iter().filter_map(|phase| place(*phase)).filter(|at| *at < own).min()?;
        let returns = self.standing.get(&from)?.returns;
        if returns >= limit {
            return None;
        }
        for phase in self.route.iter().skip(to) {
            if let Some(standing) = self.standing.get_mut(phase).filter(|standing| standing.begun) {
                standing.iteration += 1;
                standing.begun = false;
            }
        }
        if let Some(standing) = self.standing.get_mut(&from) {
            standing.returns += 1;
        }
        self.counts.returns += 1;
        let to = *self.route.get(to)?;
        Some(Reverted { from, to, iteration: self.iteration(to) })
    }

    /// The phase to go on with; `None`: all are done.
    #[must_use]
    pub fn next(&self) -> Option<Phase> {
        self.route.iter().copied().find(|phase| {
            self.standing.get(phase).is_none_or(|standing| standing.accepted != Some(standing.iteration))
        })
    }

    /// The present iteration of a phase.
    #[must_use]
    pub fn iteration(&self, phase: Phase) -> u32 {
        self.standing.get(&phase).map_or(0, |standing| standing.iteration)
    }

    /// What holds in a phase.
    #[must_use]
    pub fn rule(&self, phase: Phase) -> Option<&PhaseRule> {
        self.table.rule(phase)
    }

    /// The table.
    #[must_use]
    pub fn table(&self) -> &PhaseTable {
        &self.table
    }

    /// What was refused and seen.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn first_flaw(&self, phase: Phase, expected: u32, left: &[Artifact<'_>]) -> Option<(String, Refused)> {
        let rule = self.table.rule(phase)?;
        rule.evidence.iter().find_map(|wanted| {
            let found = left.iter().filter(|artifact| artifact.name == wanted.name);
            let refused = match found.max_by_key(|artifact| artifact.iteration) {
                None => Refused::Missing,
                Some(artifact) if artifact.iteration != expected => {
                    Refused::Stale { found: artifact.iteration, expected }
                }
                Some(artifact) => match check(wanted, &rule.thresholds, artifact.bytes) {
                    Ok(()) => return None,
                    Err(Flaw::Empty) => Refused::Empty,
                    Err(Flaw::Invalid(why)) => Refused::Invalid(why),
                },
            };
            Some((wanted.name.clone(), refused))
        })
    }

    fn first_artifact(&self, phase: Phase) -> String {
        let first = self.table.rule(phase).and_then(|rule| rule.evidence.first());
        first.map(|artifact| artifact.name.clone()).unwrap_or_default()
    }

    fn refuse(&mut self, phase: Phase, artifact: String, refused: Refused) -> Refusal {
        self.counts.evidence_refused += 1;
        Refusal { phase, artifact, refused }
    }
}

impl Refusal {
    /// The error code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self.refused {
            Refused::Missing => Code::EvidenceMissing,
            Refused::Empty => Code::EvidenceEmpty,
            Refused::Invalid(_) => Code::EvidenceInvalid,
            Refused::Stale { .. } => Code::EvidenceStale,
            Refused::OutOfOrder(_) => Code::StateMismatch,
        }
    }
}

impl Refused {
    fn sentence(&self, artifact: &str) -> String {
        match self {
            Self::Missing => format!("`{artifact}` is missing"),
            Self::Empty => format!("`{artifact}` is empty"),
            Self::Invalid(why) => format!("`{artifact}` does not count: {why}"),
            Self::Stale { found, expected } => {
                format!("`{artifact}` is of iteration {found}, and iteration {expected} is under way")
            }
            Self::OutOfOrder(why) => (*why).to_owned(),
        }
    }
}

#[cfg(test)]
mod tests;
