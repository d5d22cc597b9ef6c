//! Ids of events. They name, they never prove: uniqueness rests on the expected sequence.

use millrace_decider::Cause;
use uuid::Uuid;

/// Namespace of all Millrace ids: UUIDv5 of the URL namespace and `https://millrace.dev`.
const NAMESPACE: Uuid = Uuid::from_u128(0x0d8d_51b4_6a3f_5f0e_9c57_6d1f_2f6b_8a41);

/// The id of an event of a service's own log: UUIDv5 of (cause, service, purpose, index). DESIGN section 3.
pub fn event_id(cause: &Cause, service: &str, purpose: &str, index: u32) -> Uuid {
    let name = format!("{cause}\n{service}\n{purpose}\n{index}");
    Uuid::new_v5(&NAMESPACE, name.as_bytes())
}

/// The id of an intake event: UUIDv5 of (source, the producer's own id). The producer's id is a delivery
/// id, or repository, path and blob: the same submission has the same id for ever.
pub fn submission_id(source: &str, producer_id: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{source}\n{producer_id}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_an_id_matters() {
        let cause = Cause::new("S_0", 1);
        let id = event_id(&cause, "worker", "A", 0);
        assert_eq!(id, event_id(&cause, "worker", "A", 0));
        for other in [
            event_id(&Cause::new("S_0", 2), "worker", "A", 0),
            event_id(&cause, "validator", "A", 0),
            event_id(&cause, "worker", "B", 0),
            event_id(&cause, "worker", "A", 1),
        ] {
            assert_ne!(id, other);
        }
        assert_ne!(submission_id("a", "b"), submission_id("ab", ""));
    }
}
