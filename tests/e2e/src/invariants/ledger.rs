//! The ledger follows from the logs alone.

use super::{Damage, Evidence, Violation};

/// I4.
pub(super) fn rebuilt(evidence: &Evidence) -> Vec<Violation> {
    let (live, rebuilt) = (&evidence.ledger.live, &evidence.ledger.rebuilt);
    let wrong = |text: String| vec![Violation { invariant: "I4", damage: Damage::Wrong, text }];
    if live.is_empty() {
        return wrong("the live ledger is empty".to_owned());
    }
    if live == rebuilt {
        return Vec::new();
    }
    let differs = live.lines().zip(rebuilt.lines()).find(|(one, other)| one != other);
    wrong(match differs {
        Some((live, rebuilt)) => format!("live {live}\nrebuilt {rebuilt}"),
        None => format!("{} lines live, {} rebuilt", live.lines().count(), rebuilt.lines().count()),
    })
}

/// I5.
pub(super) fn verified(evidence: &Evidence) -> Vec<Violation> {
    let wrong = |text: String| Violation { invariant: "I5", damage: Damage::Wrong, text };
    let mut violations: Vec<Violation> = evidence.ledger.difference.iter().cloned().map(wrong).collect();
    if evidence.ledger.heads != evidence.ledger.rebuilt_heads {
        let (live, rebuilt) = (&evidence.ledger.heads, &evidence.ledger.rebuilt_heads);
        violations.push(wrong(format!("heads: live {live:?}, rebuilt {rebuilt:?}")));
    }
    for (log, messages) in &evidence.logs {
        let last = messages.last().map_or(0, |message| message.stored.sequence);
        let applied = evidence.ledger.heads.get(&log.stream(0)).map_or(0, |(sequence, _)| *sequence);
        if applied != last {
            let text = format!("{} ends at {last}, the ledger's chain of it at {applied}", log.name());
            violations.push(Violation { invariant: "I5", damage: Damage::Lost, text });
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use millrace_events::Log;

    use super::*;
    use crate::invariants::LedgerSeen;

    fn good() -> Evidence {
        let heads = BTreeMap::from([(Log::Intake.stream(0), (0, "h".to_owned()))]);
        let ledger = LedgerSeen {
            live: "a\nb\n".to_owned(),
            rebuilt: "a\nb\n".to_owned(),
            difference: None,
            rebuilt_heads: heads.clone(),
            heads,
        };
        Evidence { ledger, logs: BTreeMap::from([(Log::Intake, Vec::new())]), ..Evidence::default() }
    }

    #[test]
    fn i4_finds_a_ledger_that_differs_or_is_not_there() {
        assert_eq!(rebuilt(&good()), []);
        for (live, other, text) in
            [("", "", "empty"), ("a\nc\n", "a\nb\n", "live c"), ("a\n", "a\nb\n", "1 lines")]
        {
            let mut evidence = good();
            (evidence.ledger.live, evidence.ledger.rebuilt) = (live.to_owned(), other.to_owned());
            assert!(rebuilt(&evidence)[0].text.contains(text), "{text}");
        }
    }

    #[test]
    fn i5_finds_a_broken_chain_another_head_and_a_ledger_that_is_behind() {
        assert_eq!(verified(&good()), []);
        let mut evidence = good();
        evidence.ledger.difference = Some("differs at 1".to_owned());
        assert!(verified(&evidence)[0].text.contains("differs at 1"));
        let mut evidence = good();
        evidence.ledger.rebuilt_heads.clear();
        assert!(verified(&evidence)[0].text.contains("heads"));
        let mut evidence = good();
        evidence.ledger.heads.insert(Log::Intake.stream(0), (7, "h".to_owned()));
        evidence.ledger.rebuilt_heads = evidence.ledger.heads.clone();
        assert!(verified(&evidence)[0].text.contains("ends at 0, the ledger's chain of it at 7"));
    }
}
