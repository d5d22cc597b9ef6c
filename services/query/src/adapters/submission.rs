//! What was answered before. The spec-registry records nothing when a submission brings nothing new: the
//! bytes are registered, or were refused alike, or the task that is asked for has its spec. Whoever handed
//! it in wants the answer all the same.

use millrace_events::v1::{SpecSubmitted, TaskRequested, spec_submitted};
use millrace_events::{Event, IntakeEvent, Log};
use millrace_ledger::{Entry, EventRow, Ledger, LedgerError, SpecRow};
use millrace_runtime::blobs::digest_of;

/// The answers that hold for the submission under `key`; empty when it says something new, or is unknown.
pub(super) async fn answered_before(ledger: &Ledger, key: &str) -> Result<Vec<EventRow>, LedgerError> {
    match intake(ledger, key).await? {
        Some(IntakeEvent::SpecSubmitted(event)) => submitted(ledger, &Digests::of(&event), &event).await,
        Some(IntakeEvent::TaskRequested(event)) => requested(ledger, &event).await,
        None => Ok(Vec::new()),
    }
}

/// What the submission said, from the original bytes.
async fn intake(ledger: &Ledger, key: &str) -> Result<Option<IntakeEvent>, LedgerError> {
    let history = ledger.history(key).await?;
    let Some(row) = history.iter().find(|row| row.log == Log::Intake.name()) else { return Ok(None) };
    let message = ledger.message(&row.stream, row.sequence).await?;
    Ok(message.and_then(|message| match Entry::read(message).event {
        Some(Event::Intake(event)) => Some(event),
        _ => None,
    }))
}

async fn submitted(
    ledger: &Ledger,
    digests: &Digests,
    event: &SpecSubmitted,
) -> Result<Vec<EventRow>, LedgerError> {
    let specs = ledger.specs_with(&event.repository, &digests.spec).await?;
    let same_plan =
        |spec: &&SpecRow| spec.plan_sha256 == digests.plan || digests.plan.is_empty() && carries_plan(event);
    if let Some(spec) = specs.iter().filter(same_plan).find(|spec| is_named(spec, event)) {
        return registration(ledger, spec).await;
    }
    let mut rejections = ledger.standing_rejections(&event.repository).await?;
    rejections.retain(|row| {
        let same = |pointer: &str, value: &str| row.data.pointer(pointer).is_some_and(|found| found == value);
        same("/checksum", &digests.spec) && same("/path", &event.path)
    });
    rejections.truncate(1);
    Ok(rejections)
}

/// A task that has its spec: the newest version is the answer.
async fn requested(ledger: &Ledger, event: &TaskRequested) -> Result<Vec<EventRow>, LedgerError> {
    match ledger.get_spec(&event.task, None).await? {
        Some(spec) => registration(ledger, &spec).await,
        None => Ok(Vec::new()),
    }
}

/// The event that registered a version.
async fn registration(ledger: &Ledger, spec: &SpecRow) -> Result<Vec<EventRow>, LedgerError> {
    let mut history = ledger.history(&spec.task).await?;
    history.retain(|row| {
        row.event_type == "SpecRegistered" && row.data.pointer("/version").is_some_and(|v| *v == spec.version)
    });
    Ok(history)
}

/// Whether bytes or path name the task. Equal bytes that name none become a task of their own wherever they
/// are handed in, so such a row answers only what led to it.
fn is_named(spec: &SpecRow, event: &SpecSubmitted) -> bool {
    let number = spec.task.rsplit('-').next().unwrap_or_default().trim_start_matches('0').to_owned();
    let in_path = !number.is_empty() && event.path.contains(&number);
    in_path || content(event).to_uppercase().contains(&spec.task.to_uppercase())
}

/// Whether the plan stands in the spec's own text, in a fenced block `millrace`. The registry takes no second
/// plan beside it, so equal bytes have an equal plan then.
fn carries_plan(event: &SpecSubmitted) -> bool {
    content(event).lines().any(|line| {
        let line = line.trim();
        let info = line.trim_start_matches(['`', '~']);
        line.len() >= info.len() + 3 && info.trim() == "millrace"
    })
}

/// The text, as far as it came with the submission.
fn content(event: &SpecSubmitted) -> String {
    match &event.spec {
        Some(spec_submitted::Spec::SpecContent(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    }
}

/// SHA-256 of what was handed in; empty for what was not.
struct Digests {
    spec: String,
    plan: String,
}

impl Digests {
    fn of(event: &SpecSubmitted) -> Self {
        let spec = match &event.spec {
            Some(spec_submitted::Spec::SpecContent(bytes)) => digest_of(bytes),
            Some(spec_submitted::Spec::SpecBlob(blob)) => blob.sha256.clone(),
            None => String::new(),
        };
        let plan = match &event.plan {
            Some(spec_submitted::Plan::PlanContent(bytes)) => digest_of(bytes),
            Some(spec_submitted::Plan::PlanBlob(blob)) => blob.sha256.clone(),
            None => String::new(),
        };
        Self { spec, plan }
    }
}
