//! The logs: nothing acknowledged is lost, nothing stands there twice.

use std::collections::{BTreeMap, BTreeSet};

use millrace_events::v1::spec_submitted::Spec;
use millrace_events::{Event, IntakeEvent, Log};
use millrace_runtime::blobs::digest_of;

use super::{Damage, Evidence, Violation};
use crate::journal::{Entry, Kind};

/// I1.
pub(super) fn acknowledged(evidence: &Evidence) -> Vec<Violation> {
    let mut stored: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for message in evidence.log(Log::Intake) {
        stored.entry(message.key()).or_default().push(digest_of(&message.stored.payload));
    }
    // What was pushed is handed in by the registry, with its bytes in the store or in the event.
    let mut handed_in: BTreeSet<String> = BTreeSet::new();
    for (_, event) in evidence.events(Log::Intake) {
        let Event::Intake(IntakeEvent::SpecSubmitted(event)) = event else { continue };
        handed_in.extend(event.spec.as_ref().map(|spec| match spec {
            Spec::SpecBlob(blob) => blob.sha256.clone(),
            Spec::SpecContent(bytes) => digest_of(bytes),
        }));
    }
    let of_kind = |kind: Kind| evidence.journal.iter().filter(move |entry| entry.kind == kind);
    let is_push = |entry: &&Entry| entry.op == "push";
    let acknowledged: BTreeSet<(&str, &str)> = of_kind(Kind::Ok)
        .filter(|entry| !is_push(entry))
        .map(|entry| (entry.key.as_str(), entry.value.as_str()))
        .collect();
    let found =
        |key: &str, value: &str| stored.get(key).is_some_and(|all| all.iter().any(|one| one == value));
    let violation = |damage, text| Violation { invariant: "I1", damage, text };
    let lost = acknowledged.iter().filter(|(key, value)| !found(key, value)).map(|(key, _)| {
        let there = if stored.contains_key(key) { "stands there with other bytes" } else { "is not there" };
        violation(Damage::Lost, format!("{key} was acknowledged and {there}"))
    });
    let refused = of_kind(Kind::Fail).filter(|entry| found(&entry.key, &entry.value)).map(|entry| {
        violation(Damage::Wrong, format!("{} was refused and stands there all the same", entry.key))
    });
    let unseen = of_kind(Kind::Ok).filter(is_push).filter(|entry| !handed_in.contains(&entry.value));
    let unseen =
        unseen.map(|entry| violation(Damage::Lost, format!("{} was pushed and never handed in", entry.key)));
    lost.chain(refused).chain(unseen).collect()
}

/// I2.
pub(super) fn chains(evidence: &Evidence) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (log, messages) in &evidence.logs {
        let mut wrong = |damage, text: String| {
            violations.push(Violation { invariant: "I2", damage, text: format!("{}: {text}", log.name()) });
        };
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        let mut ids: BTreeMap<&str, u64> = BTreeMap::new();
        let mut before = 0;
        for message in messages {
            let sequence = message.stored.sequence;
            if sequence != before + 1 {
                wrong(Damage::Lost, format!("{sequence} comes after {before}"));
            }
            before = sequence;
            let is_foreign = evidence.foreign.contains(&(*log, sequence));
            let seen = last.insert(message.key(), sequence).unwrap_or(0);
            match message.follows() {
                None if !is_foreign && !matches!(log, Log::Operator) => {
                    wrong(Damage::Wrong, format!("{sequence} was written without looking"));
                }
                Some(expected) if expected != seen => {
                    let text = format!("{sequence} follows {expected}, but {seen} is before it");
                    wrong(Damage::Wrong, text);
                }
                _ => {}
            }
            let Some(envelope) = message.envelope.as_ref().filter(|_| !is_foreign) else { continue };
            if let Some(first) = ids.insert(&envelope.id, sequence) {
                let text =
                    format!("{} of {} stands at {first} and at {sequence}", envelope.name(), message.key());
                wrong(Damage::Duplicated, text);
            }
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use millrace_decider::Timestamp;
    use millrace_events::v1::SpecSubmitted;
    use millrace_events::{Envelope, Event, Key};
    use millrace_runtime::broker::Stored;

    use super::*;
    use crate::invariants::Message;

    fn message(log: Log, key: &str, id: &str, sequence: u64, follows: Option<u64>) -> Message {
        let event: Event = SpecSubmitted::default().into();
        let key = Key::new(key).unwrap();
        let payload = Envelope::new(id, "/x", key.clone(), Timestamp::default(), &event).encode();
        let header = |last: u64| ("Nats-Expected-Last-Subject-Sequence".to_owned(), last.to_string());
        Message::read(Stored {
            stream: log.stream(0),
            subject: log.subject(&key, 1),
            sequence,
            time: Timestamp::default(),
            headers: follows.map(header).into_iter().collect(),
            payload,
        })
    }

    fn evidence(messages: Vec<Message>) -> Evidence {
        Evidence { logs: BTreeMap::from([(Log::Intake, messages)]), ..Evidence::default() }
    }

    fn entry(key: &str, value: &str, kind: Kind) -> Entry {
        let (process, op) = ("p".to_owned(), "append".to_owned());
        Entry { process, op, key: key.to_owned(), value: value.to_owned(), kind, t: 0 }
    }

    #[test]
    fn i1_finds_what_is_lost_changed_or_there_against_a_refusal() {
        let one = message(Log::Intake, "req-1", "a", 1, Some(0));
        let value = digest_of(&one.stored.payload);
        let mut evidence = evidence(vec![one]);
        evidence.journal = vec![
            entry("req-1", &value, Kind::Invoke),
            entry("req-1", &value, Kind::Info),
            entry("req-1", &value, Kind::Ok),
            entry("req-2", &value, Kind::Info),
        ];
        assert_eq!(acknowledged(&evidence), []);
        evidence.journal.push(entry("req-2", &value, Kind::Ok));
        assert!(acknowledged(&evidence)[0].text.contains("req-2 was acknowledged and is not there"));
        evidence.journal = vec![entry("req-1", "other", Kind::Ok)];
        assert!(acknowledged(&evidence)[0].text.contains("other bytes"));
        evidence.journal = vec![entry("req-1", &value, Kind::Fail)];
        assert!(acknowledged(&evidence)[0].text.contains("was refused"));
        let pushed = Entry { op: "push".to_owned(), ..entry("docs/specs/1.md", "nowhere", Kind::Ok) };
        evidence.journal = vec![pushed];
        assert!(acknowledged(&evidence)[0].text.contains("never handed in"));
    }

    #[test]
    fn i2_finds_gaps_forks_repetitions_and_writes_without_a_look() {
        let good = vec![
            message(Log::Intake, "req-1", "a", 1, Some(0)),
            message(Log::Intake, "req-2", "b", 2, Some(0)),
            message(Log::Intake, "req-1", "c", 3, Some(1)),
        ];
        assert_eq!(chains(&evidence(good.clone())), []);
        let broken = |change: &dyn Fn(&mut Vec<Message>), text: &str| {
            let mut messages = good.clone();
            change(&mut messages);
            let found = chains(&evidence(messages));
            assert!(found.iter().any(|violation| violation.text.contains(text)), "{text}: {found:?}");
        };
        broken(&|all| drop(all.remove(1)), "3 comes after 1");
        broken(&|all| all[2] = message(Log::Intake, "req-1", "c", 3, Some(0)), "3 follows 0, but 1");
        broken(&|all| all[2] = message(Log::Intake, "req-1", "a", 3, Some(1)), "stands at 1 and at 3");
        broken(&|all| all[2] = message(Log::Intake, "req-1", "c", 3, None), "without looking");
    }
}
