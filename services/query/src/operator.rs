//! `millrace.v1.Operator` over the ports: one request, one event, nothing else.

use std::sync::Arc;

use millrace_events::{Log, TaskId};
use millrace_rpc::v1::operator_server::Operator;
use millrace_rpc::{Request, Response, Status, async_trait, status, v1};
use millrace_runtime::clock::{Clock, Ids};

use crate::config::QueryConfig;
use crate::ports::{LedgerReader, Logs};
use crate::reading::{failed, no_such_letter, no_such_task};
use crate::rules::{
    Action, RequestError, meant, operator_event, place, replay_event, request_task, submit_spec,
};

/// Publishes what operators decide, under the configured actor's name.
pub struct OperatorService {
    ledger: Arc<dyn LedgerReader>,
    logs: Arc<dyn Logs>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    actor: String,
}

impl OperatorService {
    /// Publishes to `logs`; asks `ledger` which run is the current one.
    pub fn new(
        ledger: Arc<dyn LedgerReader>,
        logs: Arc<dyn Logs>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        config: &QueryConfig,
    ) -> Self {
        Self { ledger, logs, clock, ids, actor: config.actor.clone() }
    }

    async fn act(
        &self,
        action: Action,
        request: Request<v1::OperatorRequest>,
    ) -> Result<Response<v1::Published>, Status> {
        let request = request.into_inner();
        let now = self.clock.now();
        // What is wrong with the request itself is said before anything is asked of the ledger.
        operator_event(action, &request, request.run, None, &self.actor, now).map_err(refused)?;
        let task = self.ledger.task(&request.task).await.map_err(failed)?;
        let task = task.ok_or_else(|| no_such_task(&request.task))?;
        if request.run > task.run {
            let problem = format!("{} is in run {}; there is no run {}", task.id, task.run, request.run);
            return Err(status::invalid("run", problem));
        }
        let run = if request.run == 0 { task.run } else { request.run };
        let history = self.ledger.history(&request.task).await.map_err(failed)?;
        let answers = history.iter().rev().find(|event| event.log == Log::Dispatcher.name());
        let answers = answers.and_then(|event| event.position.as_ref());
        let event = operator_event(action, &request, run, answers, &self.actor, now).map_err(refused)?;
        self.logs.publish(Log::Operator, &event).await.map(Response::new).map_err(failed)
    }
}

#[async_trait]
impl Operator for OperatorService {
    async fn approve(
        &self,
        request: Request<v1::OperatorRequest>,
    ) -> Result<Response<v1::Published>, Status> {
        self.act(Action::Approve, request).await
    }

    async fn deny(&self, request: Request<v1::OperatorRequest>) -> Result<Response<v1::Published>, Status> {
        self.act(Action::Deny, request).await
    }

    async fn request_changes(
        &self,
        request: Request<v1::OperatorRequest>,
    ) -> Result<Response<v1::Published>, Status> {
        self.act(Action::RequestChanges, request).await
    }

    async fn cancel(&self, request: Request<v1::OperatorRequest>) -> Result<Response<v1::Published>, Status> {
        self.act(Action::Cancel, request).await
    }

    async fn retry(&self, request: Request<v1::OperatorRequest>) -> Result<Response<v1::Published>, Status> {
        self.act(Action::Retry, request).await
    }

    async fn pause(&self, request: Request<v1::OperatorRequest>) -> Result<Response<v1::Published>, Status> {
        self.act(Action::Pause, request).await
    }

    async fn resume(&self, request: Request<v1::OperatorRequest>) -> Result<Response<v1::Published>, Status> {
        self.act(Action::Resume, request).await
    }

    async fn replay_dead_letter(
        &self,
        request: Request<v1::ReplayDeadLetterRequest>,
    ) -> Result<Response<v1::Published>, Status> {
        let request = request.into_inner();
        let message = place(request.position.as_ref()).map_err(refused)?;
        let position = v1::Position { stream: message.stream.clone(), sequence: message.sequence };
        let (letters, _message) = self.ledger.dead_letter(&position).await.map_err(failed)?;
        let letter = meant(&letters, &request.service).map_err(refused)?;
        let letter = letter.ok_or_else(|| no_such_letter(&message, &request.service))?;
        let event = replay_event(&message, letter, &request.reason, &self.actor, self.clock.now());
        self.logs.publish(Log::Operator, &event.map_err(refused)?).await.map(Response::new).map_err(failed)
    }

    async fn submit_spec(
        &self,
        request: Request<v1::SubmitSpecRequest>,
    ) -> Result<Response<v1::Published>, Status> {
        let event = submit_spec(request.into_inner(), &self.actor, self.clock.now()).map_err(refused)?;
        self.logs.publish(Log::Intake, &event).await.map(Response::new).map_err(failed)
    }

    async fn request_task(
        &self,
        request: Request<v1::RequestTaskRequest>,
    ) -> Result<Response<v1::Published>, Status> {
        let request = request.into_inner();
        let mut repository = String::new();
        if request.repository.is_empty() && TaskId::parse(&request.task).is_ok() {
            let known = self.ledger.task(&request.task).await.map_err(failed)?;
            repository = known.map(|task| task.repository).ok_or_else(|| {
                status::invalid(
                    "repository",
                    format!("the ledger does not know {} yet, so its repository must be named", request.task),
                )
            })?;
        }
        let (random, now) = (self.ids.random(), self.clock.now());
        let event = request_task(request, &repository, &self.actor, random, now).map_err(refused)?;
        self.logs.publish(Log::Intake, &event).await.map(Response::new).map_err(failed)
    }
}

fn refused(error: RequestError) -> Status {
    match error {
        RequestError::Field(field, problem) => status::invalid(field, problem),
        RequestError::Refused(code, sentence) => status::refused(code, sentence),
    }
}
