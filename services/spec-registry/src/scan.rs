//! Hands in every specification of a repository: at the start, then every period. S1-Gap1.B.
//!
//! The scan is a producer like any other: it writes to `intake` and decides nothing. Handing in what stands
//! there already is a conflict, so neither a rescan nor a restart makes a second message.

use std::time::Duration;

use millrace_events::Service;
use millrace_events::v1::SpecSource;
use millrace_runtime::host::retry::Backoff;
use millrace_runtime::service::ServiceContext;
use millrace_runtime::settings;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::domain::format::task_id_in_file_name;
use crate::intake::{self, Document, HandIn};
use crate::ports::{self, ScanCursor, SpecFile};
use crate::producer::{Producer, ProducerError};
use crate::reading::{PLAN, SPEC};
use crate::repositories::Source;

/// First pause after a scan that failed.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The scan of one repository.
pub(crate) struct Scanner {
    source: Source,
    producer: Producer,
    context: ServiceContext,
    /// How far it has been read; everything before has been handed in.
    cursor: Option<ScanCursor>,
    /// What went wrong last, so that a lasting fault is said once.
    trouble: Option<String>,
}

/// Why a repository could not be handed in.
#[derive(Debug, thiserror::Error)]
enum ScanError {
    #[error(transparent)]
    Source(#[from] ports::SourceError),
    #[error("{path} could not be handed in: {source}")]
    Producer {
        path: String,
        #[source]
        source: ProducerError,
    },
}

impl Scanner {
    pub(crate) fn new(context: &ServiceContext, source: Source) -> Self {
        let producer = Producer::new(context, source.clone());
        Self { source, producer, context: context.clone(), cursor: None, trouble: None }
    }

    /// Scans until the order to stop. A repository that cannot be read is tried again, sooner at first, and
    /// holds up no other one.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let period = self.repository().scan_period;
        let seed = self.context.ids.random() as u64;
        let mut backoff = Backoff::new(FIRST_PAUSE.min(period), period, seed);
        loop {
            let scan = async {
                let scanned = self.scan().await;
                let pause = if self.report(scanned) {
                    backoff = Backoff::new(FIRST_PAUSE.min(period), period, seed);
                    period
                } else {
                    backoff.pause()
                };
                self.context.clock.sleep(pause).await;
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = scan => {}
            }
        }
    }

    /// Hands in what has changed since the last scan. The number of files that are new in the log.
    async fn scan(&mut self) -> Result<usize, ScanError> {
        let scan = self.source.files.scan(self.cursor.as_ref()).await?;
        let mut files: Vec<&SpecFile> = scan.files.iter().collect();
        // Files that name their task come first, so that no id that stands in a name is given away.
        files.sort_by_key(|file| task_id_in_file_name(&file.spec.path, &self.source.parse).is_none());
        let mut handed_in = 0;
        for file in files {
            let path = &file.spec.path;
            let failed = |source| ScanError::Producer { path: path.clone(), source };
            handed_in += usize::from(self.hand_in(file, &scan.commit).await.map_err(failed)?);
        }
        self.cursor = Some(scan.cursor);
        Ok(handed_in)
    }

    async fn hand_in(&self, file: &SpecFile, commit: &str) -> Result<bool, ProducerError> {
        // A trace of its own: one task is one trace, from here to the release.
        let span = tracing::info_span!(
            parent: None,
            "submit spec",
            otel.kind = "producer",
            messaging.system = "nats",
            messaging.operation.name = "send",
            messaging.operation.type = "send",
            millrace.service = Service::SpecRegistry.name(),
            millrace.repository.id = self.repository().id,
            path = file.spec.path,
        );
        self.send(file, commit).instrument(span).await
    }

    async fn send(&self, file: &SpecFile, commit: &str) -> Result<bool, ProducerError> {
        let spec = self.document(&file.spec, SPEC).await?;
        let plan = match &file.plan {
            Some(plan) => Some(self.document(plan, PLAN).await?),
            None => None,
        };
        let hand_in = HandIn {
            producer: &Service::SpecRegistry.source(),
            repository: &self.repository().id,
            path: &file.spec.path,
            commit,
            source: SpecSource::Git,
            submitted_by: "git",
            spec,
            plan,
        };
        let (key, envelope) = intake::submission(hand_in, self.context.clock.now())?;
        self.producer.send(file, &key, envelope).await
    }

    async fn document(&self, blob: &ports::Blob, kind: (&str, &str)) -> Result<Document, ProducerError> {
        if let Some(size) = blob.oversize {
            return Ok(Document::Unread { id: blob.sha.clone(), size });
        }
        Ok(Document::Stored(self.context.blobs.put_named(kind.0, kind.1, &blob.bytes).await?))
    }

    fn repository(&self) -> &settings::Repository {
        &self.source.repository
    }

    /// Says what changed. Whether the scan worked.
    fn report(&mut self, scanned: Result<usize, ScanError>) -> bool {
        let repository = self.source.repository.id.as_str();
        let part = format!("repository {repository}");
        match scanned {
            Ok(handed_in) => {
                self.context.health.set_ready(part, true, "it can be read");
                if self.trouble.take().is_some() {
                    tracing::info!(repository, "the repository can be read again");
                }
                if handed_in > 0 {
                    tracing::info!(repository, handed_in, "specs handed in");
                }
                true
            }
            Err(error) => {
                let text = chain_of(&error);
                self.context.health.set_ready(part, false, &text);
                if self.trouble.as_ref() != Some(&text) {
                    tracing::warn!(
                        repository,
                        error = text,
                        "the repository cannot be scanned; trying again"
                    );
                    self.trouble = Some(text);
                }
                false
            }
        }
    }
}

fn chain_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        let cause = error.to_string();
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
        next = error.source();
    }
    text
}
