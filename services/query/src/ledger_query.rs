//! `millrace.v1.LedgerQuery` over the ports.

use std::sync::Arc;

use futures::stream::BoxStream;
use millrace_decider::Cause;
use millrace_events::{Code, Key, TaskId};
use millrace_rpc::v1::ledger_query_server::LedgerQuery;
use millrace_rpc::{Request, Response, Status, async_trait, status, v1};
use millrace_runtime::clock::Clock;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::QueryConfig;
use crate::ports::{LedgerReader, LetterFilter, Logs, Texts, Verifier};
use crate::reading::{failed, largest_page, no_such_letter, no_such_task, optional, page, reflects};
use crate::rules::{assess, recent_letters, submission_state};
use crate::watch;

/// Largest text in an answer: gRPC clients take messages of 4 MiB unless they are told otherwise.
const MAX_TEXT_BYTES: usize = 3 * 1024 * 1024;

/// Answers from the ledger. Every method either answers from it or fails; none guesses.
pub struct LedgerQueryService {
    pub(crate) ledger: Arc<dyn LedgerReader>,
    logs: Arc<dyn Logs>,
    texts: Arc<dyn Texts>,
    verifier: Arc<dyn Verifier>,
    clock: Arc<dyn Clock>,
    pub(crate) config: QueryConfig,
    /// One permit per open watch.
    watches: Arc<Semaphore>,
    /// Ends the watches, which would otherwise hold up a graceful shutdown.
    shutdown: CancellationToken,
}

impl LedgerQueryService {
    /// Answers from `ledger`, until `shutdown` ends its streams.
    pub fn new(
        ledger: Arc<dyn LedgerReader>,
        logs: Arc<dyn Logs>,
        texts: Arc<dyn Texts>,
        verifier: Arc<dyn Verifier>,
        clock: Arc<dyn Clock>,
        config: QueryConfig,
        shutdown: CancellationToken,
    ) -> Self {
        let watches = Arc::new(Semaphore::new(config.max_watches));
        Self { ledger, logs, texts, verifier, clock, config, watches, shutdown }
    }

    async fn reflects(&self, min_sequence: Option<&v1::Position>) -> Result<Vec<v1::Position>, Status> {
        reflects(self.ledger.as_ref(), min_sequence, self.config.read_wait).await
    }

    /// A text that may not be there: empty when it has no digest, or was erased.
    async fn text(&self, sha256: &str) -> Result<Vec<u8>, Status> {
        if sha256.is_empty() {
            return Ok(Vec::new());
        }
        Ok(self.texts.text(sha256).await.map_err(failed)?.unwrap_or_default())
    }

    async fn watcher(&self, min_sequence: Option<&v1::Position>) -> Result<watch::Watcher, Status> {
        let permit = Arc::clone(&self.watches).try_acquire_owned().map_err(|_| {
            status::exhausted(
                format!("{} watches are open already", self.config.max_watches),
                "Close one, or watch all tasks with a single WatchTasks.",
            )
        })?;
        self.reflects(min_sequence).await?;
        Ok(watch::Watcher {
            ledger: Arc::clone(&self.ledger),
            period: self.config.watch_period,
            shutdown: self.shutdown.clone(),
            _permit: permit,
        })
    }
}

/// A stream of answers.
type Answers<T> = BoxStream<'static, Result<T, Status>>;

#[async_trait]
impl LedgerQuery for LedgerQueryService {
    async fn get_task(
        &self,
        request: Request<v1::GetTaskRequest>,
    ) -> Result<Response<v1::GetTaskResponse>, Status> {
        let request = request.into_inner();
        let id = task_id(&request.task)?;
        let reflects = self.reflects(request.min_sequence.as_ref()).await?;
        let task = self.ledger.task(&id).await.map_err(failed)?.ok_or_else(|| no_such_task(&id))?;
        Ok(Response::new(v1::GetTaskResponse { task: Some(task), reflects }))
    }

    async fn list_tasks(
        &self,
        request: Request<v1::ListTasksRequest>,
    ) -> Result<Response<v1::ListTasksResponse>, Status> {
        let request = request.into_inner();
        let reflects = self.reflects(request.min_sequence.as_ref()).await?;
        let filter = request.filter.unwrap_or_default();
        let page = page(request.page_size, &request.page_token);
        let found = self.ledger.tasks(&filter, &page).await.map_err(failed)?;
        let next_page_token = found.next.unwrap_or_default();
        Ok(Response::new(v1::ListTasksResponse { tasks: found.items, next_page_token, reflects }))
    }

    async fn get_task_history(
        &self,
        request: Request<v1::GetTaskHistoryRequest>,
    ) -> Result<Response<v1::GetTaskHistoryResponse>, Status> {
        let request = request.into_inner();
        let reflects = self.reflects(request.min_sequence.as_ref()).await?;
        let mut events = self.ledger.history(&request.task).await.map_err(failed)?;
        if events.is_empty() {
            return Err(no_such_task(&request.task));
        }
        events.retain(|event| request.run == 0 || event.run == 0 || event.run == request.run);
        Ok(Response::new(v1::GetTaskHistoryResponse { events, reflects }))
    }

    async fn get_submission(
        &self,
        request: Request<v1::GetSubmissionRequest>,
    ) -> Result<Response<v1::GetSubmissionResponse>, Status> {
        let request = request.into_inner();
        if !request.key.starts_with("req-") {
            return Err(status::invalid("key", "a submission's key begins with `req-`"));
        }
        let reflects = self.reflects(request.min_sequence.as_ref()).await?;
        let answers = self.ledger.submission(&request.key).await.map_err(failed)?;
        let mut state = submission_state(&answers);
        if state.state() == v1::SubmissionState::Waiting {
            let before = self.ledger.answered_before(&request.key).await.map_err(failed)?;
            if !before.is_empty() {
                state = v1::GetSubmissionResponse { answered_before: true, ..submission_state(&before) };
            }
        }
        Ok(Response::new(v1::GetSubmissionResponse { reflects, ..state }))
    }

    type WatchTaskStream = Answers<v1::WatchTaskResponse>;

    async fn watch_task(
        &self,
        request: Request<v1::WatchTaskRequest>,
    ) -> Result<Response<Self::WatchTaskStream>, Status> {
        let request = request.into_inner();
        let id = task_id(&request.task)?;
        let watcher = self.watcher(request.min_sequence.as_ref()).await?;
        if self.ledger.task(&id).await.map_err(failed)?.is_none() {
            return Err(no_such_task(&id));
        }
        Ok(Response::new(watch::task(watcher, id, request.until_finished)))
    }

    type WatchTasksStream = Answers<v1::WatchTasksResponse>;

    async fn watch_tasks(
        &self,
        request: Request<v1::WatchTasksRequest>,
    ) -> Result<Response<Self::WatchTasksStream>, Status> {
        let request = request.into_inner();
        let watcher = self.watcher(request.min_sequence.as_ref()).await?;
        Ok(Response::new(watch::tasks(watcher, request.filter.unwrap_or_default())))
    }

    async fn get_spec(
        &self,
        request: Request<v1::GetSpecRequest>,
    ) -> Result<Response<v1::GetSpecResponse>, Status> {
        let request = request.into_inner();
        let id = task_id(&request.task)?;
        let reflects = self.reflects(request.min_sequence.as_ref()).await?;
        let spec = self.ledger.spec(&id, request.version).await.map_err(failed)?.ok_or_else(|| {
            let version =
                if request.version == 0 { String::new() } else { format!(" version {}", request.version) };
            status::refused(Code::SpecNotFound, format!("no spec{version} is registered for {id}"))
        })?;
        let content = self.text(&spec.checksum).await?;
        let plan = self.text(&spec.plan_checksum).await?;
        Ok(Response::new(v1::GetSpecResponse { spec: Some(spec), reflects, content, plan }))
    }

    async fn get_text(
        &self,
        request: Request<v1::GetTextRequest>,
    ) -> Result<Response<v1::GetTextResponse>, Status> {
        let sha256 = request.into_inner().sha256;
        if sha256.len() != 64 || !sha256.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(status::invalid("sha256", format!("`{sha256}` is no SHA-256 in lower-case hex")));
        }
        let content = self.texts.text(&sha256).await.map_err(failed)?.ok_or_else(|| {
            status::not_found(format!("there is no text {sha256}"), "It was erased, or never stored.")
        })?;
        if content.len() > MAX_TEXT_BYTES {
            let sentence =
                format!("text {sha256} has {} bytes, at most {MAX_TEXT_BYTES} are sent", content.len());
            return Err(status::exhausted(sentence, "Read it from the store itself."));
        }
        Ok(Response::new(v1::GetTextResponse { content }))
    }

    async fn list_work_orders(
        &self,
        request: Request<v1::ListWorkOrdersRequest>,
    ) -> Result<Response<v1::ListWorkOrdersResponse>, Status> {
        let request = request.into_inner();
        let reflects = self.reflects(request.min_sequence.as_ref()).await?;
        let page = page(request.page_size, &request.page_token);
        let found = self.ledger.work_orders(optional(&request.task), &page).await.map_err(failed)?;
        let next_page_token = found.next.unwrap_or_default();
        Ok(Response::new(v1::ListWorkOrdersResponse { work_orders: found.items, next_page_token, reflects }))
    }

    async fn list_failures(
        &self,
        request: Request<v1::ListFailuresRequest>,
    ) -> Result<Response<v1::ListFailuresResponse>, Status> {
        let request = request.into_inner();
        if !request.code.is_empty() && Code::from_name(&request.code).is_none() {
            return Err(status::invalid("code", format!("`{}` is not a code of docs/errors", request.code)));
        }
        let reflects = self.reflects(request.min_sequence.as_ref()).await?;
        let page = page(request.page_size, &request.page_token);
        let (task, code) = (optional(&request.task), optional(&request.code));
        let found = self.ledger.failures(task, code, &page).await.map_err(failed)?;
        let next_page_token = found.next.unwrap_or_default();
        Ok(Response::new(v1::ListFailuresResponse { failures: found.items, next_page_token, reflects }))
    }

    async fn list_insights(
        &self,
        request: Request<v1::ListInsightsRequest>,
    ) -> Result<Response<v1::ListInsightsResponse>, Status> {
        let request = request.into_inner();
        let reflects = self.reflects(request.min_sequence.as_ref()).await?;
        let page = page(request.page_size, &request.page_token);
        let found = self.ledger.insights(&page).await.map_err(failed)?;
        let next_page_token = found.next.unwrap_or_default();
        Ok(Response::new(v1::ListInsightsResponse { insights: found.items, next_page_token, reflects }))
    }

    async fn list_dead_letters(
        &self,
        request: Request<v1::ListDeadLettersRequest>,
    ) -> Result<Response<v1::ListDeadLettersResponse>, Status> {
        let request = request.into_inner();
        let reflects = self.reflects(request.min_sequence.as_ref()).await?;
        let page = page(request.page_size, &request.page_token);
        let text = |text: String| Some(text).filter(|text| !text.is_empty());
        let filter = LetterFilter {
            include_handled: request.include_handled,
            code: text(request.code),
            service: text(request.service),
        };
        let found = self.ledger.dead_letters(&filter, &page).await.map_err(failed)?;
        let next_page_token = found.next.unwrap_or_default();
        Ok(Response::new(v1::ListDeadLettersResponse {
            dead_letters: found.items,
            next_page_token,
            reflects,
        }))
    }

    async fn get_dead_letter(
        &self,
        request: Request<v1::GetDeadLetterRequest>,
    ) -> Result<Response<v1::GetDeadLetterResponse>, Status> {
        let request = request.into_inner();
        let position = request.position.unwrap_or_default();
        let reflects = self.reflects(request.min_sequence.as_ref()).await?;
        let (dead_letters, message) = self.ledger.dead_letter(&position).await.map_err(failed)?;
        if dead_letters.is_empty() {
            return Err(no_such_letter(&Cause::new(position.stream, position.sequence), ""));
        }
        let message_at = Cause::new(position.stream, position.sequence);
        let mut history = Vec::new();
        for letter in &dead_letters {
            let key = Key::dead_letter(&message_at, &letter.service);
            history.extend(self.ledger.history(key.as_str()).await.map_err(failed)?);
        }
        Ok(Response::new(v1::GetDeadLetterResponse { dead_letters, message, reflects, history }))
    }

    async fn get_system_health(
        &self,
        _: Request<v1::GetSystemHealthRequest>,
    ) -> Result<Response<v1::GetSystemHealthResponse>, Status> {
        // The ledger first: a stream may grow meanwhile, which is a lag; the other way round it would look
        // as if the stream had lost events.
        let applied = self.ledger.applied().await.map_err(failed)?;
        let tasks = self.ledger.counts().await.map_err(failed)?;
        let heads = self.logs.heads().await.map_err(failed)?;
        let now = self.clock.now();
        let services = self.logs.heartbeats(now).await.map_err(failed)?;
        let open = LetterFilter::default();
        let letters = self.ledger.dead_letters(&open, &largest_page()).await.map_err(failed)?;
        let recent = recent_letters(&letters.items, now);
        let alarms = self.logs.alarms().await.map_err(failed)?;
        Ok(Response::new(assess(services, tasks, &heads, &applied, recent, alarms)))
    }

    async fn verify_ledger(
        &self,
        _: Request<v1::VerifyLedgerRequest>,
    ) -> Result<Response<v1::VerifyLedgerResponse>, Status> {
        let logs = self.verifier.verify().await.map_err(failed)?;
        let intact = logs.iter().all(|verdict| verdict.intact);
        Ok(Response::new(v1::VerifyLedgerResponse { intact, logs }))
    }
}

/// Checks a task id before anything is asked of the ledger.
fn task_id(text: &str) -> Result<String, Status> {
    TaskId::parse(text)
        .map(|id| id.to_string())
        .map_err(|error| status::refused(Code::TaskIdInvalid, error.to_string()))
}
