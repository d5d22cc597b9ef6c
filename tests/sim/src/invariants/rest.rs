//! I7: a healed world comes to rest.

use crate::evidence::Evidence;
use crate::run::unrest;

/// No process ended by itself, and no store refused what it must take.
pub fn nothing_fell_over(evidence: &Evidence) -> Result<(), String> {
    match evidence.troubles.first() {
        Some(trouble) => Err(trouble.clone()),
        None => Ok(()),
    }
}

/// I7: in the end every task is at its end or at a halt that a person must lift, no consumer has anything left,
/// and the ledger has everything.
pub fn everything_comes_to_rest(evidence: &Evidence) -> Result<(), String> {
    if evidence.at_rest {
        return Ok(());
    }
    let unrest = unrest(evidence);
    Err(if unrest.is_empty() { "it came to rest too late".to_owned() } else { unrest.join("; ") })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::invariants::test_kit::{History, scheduled};

    #[test]
    fn a_task_that_stays_under_way_is_found() {
        let evidence = History::new().event("VTID-01001", scheduled(1)).evidence();
        assert!(everything_comes_to_rest(&evidence).unwrap_err().contains("VTID-01001 is under way"));
        assert_eq!(everything_comes_to_rest(&Evidence { at_rest: true, ..evidence }), Ok(()));
    }

    #[test]
    fn a_process_that_falls_over_is_found() {
        let evidence = Evidence { troubles: vec!["worker: panicked".to_owned()], ..Evidence::default() };
        assert!(nothing_fell_over(&evidence).is_err());
    }
}
