//! Writes to the intake log what a scan found, once.

use std::sync::Arc;

use millrace_decider::Timestamp;
use millrace_events::v1::SpecRegistered;
use millrace_events::{Envelope, Event, IntakeEvent, Key, Log, SpecRegistryEvent, TaskId, submission_id};
use millrace_runtime::blobs::{BlobError, digest_of};
use millrace_runtime::broker::{AppendError, Broker, BrokerError};
use millrace_runtime::clock::Ids;
use millrace_runtime::log_reader::{LogReader, LoggedEvent};
use millrace_runtime::service::ServiceContext;
use millrace_telemetry::context::{current_traceparent, new_root_traceparent};

use crate::domain::Submission;
use crate::intake::{self, HandInError};
use crate::ports::SpecFile;
use crate::repositories::Source;

/// Why something was not handed in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProducerError {
    #[error(transparent)]
    HandIn(#[from] HandInError),
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error(transparent)]
    Append(#[from] AppendError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// The scan's end of the intake log.
pub(crate) struct Producer {
    source: Source,
    broker: Arc<dyn Broker>,
    logs: LogReader,
    ids: Arc<dyn Ids>,
    partitions: u32,
    traced: bool,
}

impl Producer {
    pub(crate) fn new(context: &ServiceContext, source: Source) -> Self {
        Self {
            source,
            broker: context.broker.clone(),
            logs: context.logs(),
            ids: context.ids.clone(),
            partitions: context.settings.nats.partitions,
            traced: context.settings.telemetry.otlp_endpoint.is_some(),
        }
    }

    /// Appends the event unless it stands there and still holds. Whether it was appended.
    pub(crate) async fn send(
        &self,
        file: &SpecFile,
        key: &Key,
        mut envelope: Envelope,
    ) -> Result<bool, ProducerError> {
        (envelope.traceparent, envelope.tracestate) =
            current_traceparent().or_else(|| self.traced.then(|| self.new_root())).unwrap_or_default();
        if self.append(key, &envelope, 0).await? {
            return Ok(true);
        }
        let Some(earlier) = self.logs.events(Log::Intake, key).await?.pop() else { return Ok(false) };
        if !self.was_superseded(file, key, &earlier).await? {
            return Ok(false);
        }
        let again = format!("{}\n{}", envelope.id, earlier.sequence);
        envelope.id = submission_id(&envelope.source, &again).to_string();
        self.append(key, &envelope, earlier.sequence).await
    }

    async fn append(&self, key: &Key, envelope: &Envelope, expected: u64) -> Result<bool, ProducerError> {
        let append = intake::append(key, envelope, self.partitions).expecting(expected);
        match self.broker.append(&append).await {
            Ok(appended) => Ok(!appended.duplicate),
            Err(AppendError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the registry has since registered other bytes from the same place: then the file was changed
    /// back, and what was handed in once must be handed in again.
    async fn was_superseded(
        &self,
        file: &SpecFile,
        key: &Key,
        earlier: &LoggedEvent,
    ) -> Result<bool, ProducerError> {
        let Ok(spec) = file.parse(&self.source.parse) else { return Ok(false) };
        let task = match spec.task_id {
            Some(task) => Some(task),
            None => self.allocated(key, earlier).await?,
        };
        let Some(task) = task.and_then(|task| TaskId::parse(&task).ok()) else { return Ok(false) };
        let inside = spec.plan.as_ref().map(|plan| plan.text.as_bytes());
        let plan = file.plan.as_ref().map(|plan| plan.bytes.as_slice()).or(inside).map(digest_of);
        let present = self.present(&task).await?;
        Ok(present.is_some_and(|(registered, at)| {
            let same_place =
                registered.repository == self.source.repository.id && registered.path == file.spec.path;
            let same_bytes = registered.checksum == spec.checksum
                && registered.plan.as_ref().map(|plan| &plan.sha256) == plan.as_ref();
            same_place && !same_bytes && earlier.time < at
        }))
    }

    /// The task that was allocated to a submission.
    async fn allocated(&self, key: &Key, earlier: &LoggedEvent) -> Result<Option<String>, ProducerError> {
        let Event::Intake(IntakeEvent::SpecSubmitted(event)) = &earlier.event else { return Ok(None) };
        let submission =
            Submission { key: key.clone(), sequence: earlier.sequence, event: Arc::new(event.clone()) };
        let events = self.logs.events(Log::SpecRegistry, &submission.identity()).await?;
        Ok(events.into_iter().find_map(|logged| match logged.event {
            Event::SpecRegistry(SpecRegistryEvent::TaskAllocated(event)) => Some(event.task),
            _ => None,
        }))
    }

    /// The registered version and when it was registered.
    async fn present(&self, task: &TaskId) -> Result<Option<(SpecRegistered, Timestamp)>, ProducerError> {
        let events = self.logs.events(Log::SpecRegistry, &task.key()).await?;
        Ok(events.into_iter().rev().find_map(|logged| match logged.event {
            Event::SpecRegistry(SpecRegistryEvent::SpecRegistered(event)) => Some((event, logged.time)),
            _ => None,
        }))
    }

    /// A trace of its own, for where this process traces and the span is filtered out.
    fn new_root(&self) -> (String, String) {
        let mut span_id = [0; 8];
        for (to, from) in span_id.iter_mut().zip(self.ids.random().to_be_bytes()) {
            *to = from;
        }
        (new_root_traceparent(self.ids.random().to_be_bytes(), span_id), String::new())
    }
}
