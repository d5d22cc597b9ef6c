//! How a specification is handed in: one event of the log `intake`, built the same way by every producer.

use millrace_decider::Timestamp;
use millrace_events::v1::{Blob, SpecSource, SpecSubmitted, spec_submitted};
use millrace_events::{
    CONTENT_TYPE_PROTOBUF, Envelope, Event, Key, Log, MAX_PLAN_BYTES, MAX_SPEC_BYTES, submission_id,
};
use millrace_runtime::blobs::digest_of;
use millrace_runtime::broker::Append;

/// What a producer hands in.
#[derive(Debug, Clone)]
pub struct HandIn<'a> {
    /// The producer, as the attribute `source` has it, such as `/millrace/spec-registry`.
    pub producer: &'a str,
    /// Id of the repository that the task belongs to.
    pub repository: &'a str,
    /// Path inside the repository, or the file's name.
    pub path: &'a str,
    /// The commit that it was read from; empty when from none.
    pub commit: &'a str,
    /// What kind of place it comes from.
    pub source: SpecSource,
    /// Who or what hands it in.
    pub submitted_by: &'a str,
    /// The specification.
    pub spec: Document,
    /// The plan beside it.
    pub plan: Option<Document>,
}

/// Bytes that are handed in.
#[derive(Debug, Clone)]
pub enum Document {
    /// In the event itself.
    Inline(Vec<u8>),
    /// In the store.
    Stored(Blob),
    /// Too large to be read: the registry refuses it by its size, and says so.
    Unread {
        /// Names the bytes, such as git's id of them.
        id: String,
        /// Bytes.
        size: u64,
    },
}

/// Why something cannot be handed in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandInError {
    /// More bytes than an event may carry.
    #[error("the {what} has {bytes} bytes; at most {max_bytes} can be handed in")]
    TooLarge {
        /// `spec` or `plan`.
        what: &'static str,
        /// Its size.
        bytes: usize,
        /// The limit.
        max_bytes: usize,
    },
    /// The id is no key; does not happen with ids that are made here.
    #[error(transparent)]
    Key(#[from] millrace_events::KeyError),
}

/// The event and the key it stands under. The same producer, repository, path and bytes always give the same
/// key and event id: handing in twice is handing in once. The caller sets the trace context.
///
/// # Errors
/// [`HandInError::TooLarge`].
pub fn submission(hand_in: HandIn<'_>, time: Timestamp) -> Result<(Key, Envelope), HandInError> {
    hand_in.spec.check("spec", MAX_SPEC_BYTES)?;
    if let Some(plan) = &hand_in.plan {
        plan.check("plan", MAX_PLAN_BYTES)?;
    }
    let plan_id = hand_in.plan.as_ref().map(Document::id).unwrap_or_default();
    let name = format!("{}\n{}\n{}\n{plan_id}", hand_in.repository, hand_in.path, hand_in.spec.id());
    let id = submission_id(hand_in.producer, &name);
    let key = Key::new(format!("req-{id}"))?;
    let event: Event = SpecSubmitted {
        repository: hand_in.repository.to_owned(),
        path: hand_in.path.to_owned(),
        commit: hand_in.commit.to_owned(),
        source: hand_in.source as i32,
        submitted_by: hand_in.submitted_by.to_owned(),
        spec: Some(match hand_in.spec {
            Document::Inline(bytes) => spec_submitted::Spec::SpecContent(bytes),
            Document::Stored(blob) => spec_submitted::Spec::SpecBlob(blob),
            Document::Unread { size, .. } => spec_submitted::Spec::SpecBlob(unread(size)),
        }),
        plan: hand_in.plan.map(|plan| match plan {
            Document::Inline(bytes) => spec_submitted::Plan::PlanContent(bytes),
            Document::Stored(blob) => spec_submitted::Plan::PlanBlob(blob),
            Document::Unread { size, .. } => spec_submitted::Plan::PlanBlob(unread(size)),
        }),
    }
    .into();
    let envelope = Envelope::new(id.to_string(), hand_in.producer, key.clone(), time, &event);
    Ok((key, envelope))
}

/// The message that hands it in. A resend inside the stream's window is the same message.
pub fn append(key: &Key, envelope: &Envelope, partitions: u32) -> Append {
    let stream = Log::Intake.stream(key.partition(partitions));
    Append::new(stream, Log::Intake.subject(key, partitions), envelope.encode())
        .content_type(CONTENT_TYPE_PROTOBUF)
        .with_id(envelope.id.clone())
}

impl Document {
    fn check(&self, what: &'static str, max_bytes: usize) -> Result<(), HandInError> {
        match self {
            Self::Inline(bytes) if bytes.len() > max_bytes => {
                Err(HandInError::TooLarge { what, bytes: bytes.len(), max_bytes })
            }
            _ => Ok(()),
        }
    }

    fn id(&self) -> String {
        match self {
            Self::Inline(bytes) => digest_of(bytes),
            Self::Stored(blob) => blob.sha256.clone(),
            Self::Unread { id, .. } => id.clone(),
        }
    }
}

fn unread(size: u64) -> Blob {
    Blob { size, ..Blob::default() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn hand_in(spec: Document) -> HandIn<'static> {
        HandIn {
            producer: "/millrace/test",
            repository: "shop",
            path: "docs/specs/01213-x.md",
            commit: "",
            source: SpecSource::Manual,
            submitted_by: "somebody",
            spec,
            plan: None,
        }
    }

    fn key(hand_in: HandIn<'_>) -> Key {
        submission(hand_in, Timestamp::default()).unwrap().0
    }

    #[test]
    fn s3_4_3b_equal_submissions_have_one_key_and_other_bytes_another() {
        let inline = hand_in(Document::Inline(b"text".to_vec()));
        let (first, envelope) = submission(inline.clone(), Timestamp::default()).unwrap();
        assert_eq!(first.as_str(), format!("req-{}", envelope.id));
        assert_eq!(first, key(inline.clone()));
        let stored = Blob { sha256: digest_of(b"text"), ..Blob::default() };
        assert_eq!(first, key(hand_in(Document::Stored(stored))));
        assert_ne!(first, key(hand_in(Document::Inline(b"other".to_vec()))));
        let plan = Some(Document::Inline(b"plan".to_vec()));
        assert_ne!(first, key(HandIn { plan, ..inline.clone() }));
        assert_ne!(first, key(HandIn { path: "docs/specs/01214-x.md", ..inline }));
    }

    #[test]
    fn what_no_event_can_carry_is_refused_with_its_size() {
        let large = hand_in(Document::Inline(vec![b'x'; MAX_SPEC_BYTES + 1]));
        let error = submission(large, Timestamp::default()).unwrap_err();
        let max_bytes = MAX_SPEC_BYTES;
        assert_eq!(error, HandInError::TooLarge { what: "spec", bytes: max_bytes + 1, max_bytes });
    }
}
