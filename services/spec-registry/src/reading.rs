//! From what was handed in to a verdict: the bytes are fetched and stored, then parsed.

use std::sync::Arc;

use millrace_events::v1::{Blob, Failure, SpecRegistered, SpecRejected, SpecSubmitted, spec_submitted};
use millrace_events::{Code, MAX_SPEC_BYTES};
use millrace_runtime::blobs::{BlobError, Blobs, digest_of};
use millrace_runtime::clock::Clock;
use millrace_runtime::host::Fault;

use crate::domain::format::claimed_task_id;
use crate::domain::outcome::{self, About};
use crate::patience::Patience;
use crate::ports::{self, SpecFile};
use crate::repositories::Source;

/// Name and media type of a stored specification.
pub(crate) const SPEC: (&str, &str) = ("spec.md", "text/markdown");
/// Name and media type of a stored plan.
pub(crate) const PLAN: (&str, &str) = ("plan.yaml", "application/yaml");

/// Reads specifications, with the store at hand.
pub(crate) struct Reader {
    blobs: Blobs,
    clock: Arc<dyn Clock>,
}

/// What a specification is worth.
pub(crate) enum Verdict {
    /// It satisfies every rule.
    Accepted(SpecRegistered),
    /// It does not.
    Refused(SpecRejected),
}

/// What became of fetching bytes.
enum Fetched {
    Bytes(Vec<u8>),
    Oversize(u64),
    /// There is nothing to judge.
    Refused(Failure),
}

impl Reader {
    pub(crate) fn new(blobs: Blobs, clock: Arc<dyn Clock>) -> Self {
        Self { blobs, clock }
    }

    /// Judges a submission. `allocated`: the task that it got, if it names none. `None`: it satisfies every
    /// rule, and has no task yet.
    pub(crate) async fn submitted(
        &self,
        source: &Source,
        submission: &crate::domain::Submission,
        allocated: Option<&str>,
    ) -> Result<Option<Verdict>, Fault> {
        let event = submission.event.as_ref();
        let about = about(source, event, submission.key.as_str());
        let refused = |failure| {
            let named = task_in_path(source, &event.path);
            let task = named.as_deref().or(allocated);
            Ok(Some(Verdict::Refused(outcome::refused(task, about.clone(), failure))))
        };
        let spec = match &event.spec {
            Some(spec_submitted::Spec::SpecContent(bytes)) => sized(bytes),
            Some(spec_submitted::Spec::SpecBlob(blob)) => self.fetch(blob, "spec").await?,
            None => Fetched::Refused(Failure::new(
                Code::SpecInvalid,
                format!("the submission of {} carries no spec", event.path),
            )),
        };
        let spec = match spec {
            Fetched::Refused(failure) => return refused(failure),
            spec => file(event.path.clone(), spec),
        };
        let plan = match &event.plan {
            Some(spec_submitted::Plan::PlanContent(bytes)) => Some(sized(bytes)),
            Some(spec_submitted::Plan::PlanBlob(blob)) => Some(self.fetch(blob, "plan").await?),
            None => None,
        };
        let plan = match plan {
            Some(Fetched::Refused(failure)) => return refused(failure),
            Some(plan) => Some(file(plan_path(&event.path), plan)),
            None => None,
        };
        self.judge(source, about, &SpecFile { spec, plan }, allocated).await
    }

    /// Stores a file with its plan and judges it. `allocated`: the task, should the file name none. `None`:
    /// there is no task at all.
    pub(crate) async fn judge(
        &self,
        source: &Source,
        mut about: About,
        file: &SpecFile,
        allocated: Option<&str>,
    ) -> Result<Option<Verdict>, Fault> {
        let mut stored = Blob::default();
        if file.spec.oversize.is_none() {
            stored = self.store(SPEC, &file.spec.bytes).await?;
            about.checksum.clone_from(&stored.sha256);
        }
        let spec = match file.parse(&source.parse) {
            Ok(spec) => spec,
            Err(problems) => {
                let claimed = claimed_task_id(&file.spec.path, &file.spec.bytes, &source.parse);
                let task = claimed.as_deref().or(allocated);
                return Ok(Some(Verdict::Refused(outcome::invalid(task, about, &problems))));
            }
        };
        let Some(task) = spec.task_id.as_deref().or(allocated) else { return Ok(None) };
        let inside = spec.plan.as_ref().map(|plan| plan.text.as_bytes());
        let plan = match file.plan.as_ref().map(|plan| plan.bytes.as_slice()).or(inside) {
            Some(plan) => Some(self.store(PLAN, plan).await?),
            None => None,
        };
        if about.commit.is_empty() {
            about.commit = head(source).await?;
        }
        Ok(Some(Verdict::Accepted(outcome::registered(task, &spec, about, stored, plan))))
    }

    async fn fetch(&self, blob: &Blob, what: &str) -> Result<Fetched, Fault> {
        if blob.size > MAX_SPEC_BYTES as u64 {
            return Ok(Fetched::Oversize(blob.size));
        }
        let mismatch = |message: String| Fetched::Refused(Failure::new(Code::SpecChecksumMismatch, message));
        let mut patience = Patience::new(self.clock.as_ref());
        loop {
            let error = match self.blobs.get(&blob.sha256).await {
                Ok(Some(bytes)) if bytes.len() as u64 == blob.size => return Ok(Fetched::Bytes(bytes)),
                Ok(Some(bytes)) => {
                    let (stored, said) = (bytes.len(), blob.size);
                    return Ok(mismatch(format!("the {what} has {stored} bytes, not {said} as handed in")));
                }
                Ok(None) => {
                    return Ok(mismatch(format!("the store has no bytes of the {what} {}", blob.sha256)));
                }
                Err(
                    error @ (BlobError::NotADigest(_)
                    | BlobError::Damaged { .. }
                    | BlobError::TooLarge { .. }),
                ) => {
                    return Ok(mismatch(format!("the {what} cannot be read from the store: {error}")));
                }
                Err(error) => error,
            };
            patience.after(error).await.map_err(store_failed)?;
        }
    }

    async fn store(&self, (name, media_type): (&str, &str), bytes: &[u8]) -> Result<Blob, Fault> {
        let mut patience = Patience::new(self.clock.as_ref());
        loop {
            match self.blobs.put_named(name, media_type, bytes).await {
                Ok(blob) => return Ok(blob),
                Err(error) => patience.after(error).await.map_err(store_failed)?,
            }
        }
    }
}

/// What is known about a submission before it is read.
pub(crate) fn about(source: &Source, event: &SpecSubmitted, submission: &str) -> About {
    About {
        repository: event.repository.clone(),
        target: source.repository.target.clone(),
        path: event.path.clone(),
        commit: event.commit.clone(),
        source: event.source(),
        submitted_by: event.submitted_by.clone(),
        submission: submission.to_owned(),
        checksum: String::new(),
    }
}

/// The task that a path names.
pub(crate) fn task_in_path(source: &Source, path: &str) -> Option<String> {
    crate::domain::format::task_id_in_file_name(path, &source.parse)
}

/// The commit that the work starts from, for a specification that was read from none.
async fn head(source: &Source) -> Result<String, Fault> {
    source.files.head().await.map_err(|error| {
        let message = format!("the base commit of repository {} is not known", source.repository.id);
        let fault = if error.is_transient() {
            Fault::transient(Code::RepositoryUnavailable, message)
        } else {
            Fault::lasting(Code::RepositoryUnavailable, message)
        };
        fault.caused_by(error)
    })
}

fn store_failed(error: BlobError) -> Fault {
    Fault::lasting(Code::Internal, "the store of bytes refuses to work").caused_by(error)
}

fn sized(bytes: &[u8]) -> Fetched {
    if bytes.len() > MAX_SPEC_BYTES {
        Fetched::Oversize(bytes.len() as u64)
    } else {
        Fetched::Bytes(bytes.to_vec())
    }
}

fn file(path: String, fetched: Fetched) -> ports::Blob {
    let (bytes, oversize) = match fetched {
        Fetched::Bytes(bytes) => (bytes, None),
        Fetched::Oversize(size) => (Vec::new(), Some(size)),
        Fetched::Refused(_) => (Vec::new(), None),
    };
    ports::Blob { sha: digest_of(&bytes), path, bytes, oversize }
}

fn plan_path(path: &str) -> String {
    format!("{}.{}", path.strip_suffix(".md").unwrap_or(path), PLAN.0)
}
