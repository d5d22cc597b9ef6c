//! Whether this process is ready, and why not: one handle that its parts report to, and the same answer
//! over HTTP (`/livez`, `/readyz`) and gRPC (`grpc.health.v1.Health`).

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use axum::Json;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::get;
use serde::Serialize;
use tokio::sync::watch;
use tokio_stream::{Stream, StreamExt as _, wrappers::WatchStream};
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

/// Readiness of the parts of one process. Clones share it. A process is ready when something has reported
/// and everything that has reported is ready; so it starts not ready.
#[derive(Debug, Clone)]
pub struct HealthHandle {
    parts: Arc<watch::Sender<Parts>>,
}

type Parts = BTreeMap<String, Readiness>;

/// What one part last reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Whether it can do its work.
    pub ready: bool,
    /// Why not, or what it is doing.
    pub reason: String,
}

impl HealthHandle {
    /// A handle that nothing has reported to yet.
    #[must_use]
    pub fn new() -> Self {
        Self { parts: Arc::new(watch::Sender::new(Parts::new())) }
    }

    /// Reports a part, such as `nats` or `ledger`. Reporting the same again changes nothing.
    pub fn set_ready(&self, component: impl Into<String>, ready: bool, reason: impl Into<String>) {
        let component = component.into();
        let reported = Readiness { ready, reason: reason.into() };
        self.parts.send_if_modified(|parts| {
            if parts.get(&component) == Some(&reported) {
                return false;
            }
            parts.insert(component, reported);
            true
        });
    }

    /// Whether everything is ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        is_ready(&self.parts.borrow())
    }

    /// What each part last reported, by name.
    #[must_use]
    pub fn components(&self) -> BTreeMap<String, Readiness> {
        self.parts.borrow().clone()
    }

    /// Every part that is not ready, as `part: reason`, separated by `; `; empty when ready.
    #[must_use]
    pub fn reasons(&self) -> String {
        let parts = self.parts.borrow();
        if parts.is_empty() {
            return "starting".to_owned();
        }
        let reasons: Vec<String> = parts
            .iter()
            .filter(|(_, part)| !part.ready)
            .map(|(name, part)| format!("{name}: {}", part.reason))
            .collect();
        reasons.join("; ")
    }

    /// `/livez` answers as long as the process does; `/readyz` answers 200 or 503 with the reasons.
    pub(crate) fn http(&self) -> axum::Router {
        let handle = self.clone();
        axum::Router::new()
            .route("/livez", get(|| async { Json(serde_json::json!({ "live": true })) }))
            .route("/readyz", get(move || async move { handle.readyz() }))
    }

    /// The standard gRPC service: `""` is the process, any other name one part of it.
    pub(crate) fn grpc(&self) -> HealthServer<Answers> {
        HealthServer::new(Answers { handle: self.clone() })
    }

    fn readyz(&self) -> impl IntoResponse + use<> {
        #[derive(Serialize)]
        struct Body {
            ready: bool,
            reasons: String,
            components: BTreeMap<String, Readiness>,
        }
        let body = Body { ready: self.is_ready(), reasons: self.reasons(), components: self.components() };
        let status = if body.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        (status, Json(body))
    }
}

impl Default for HealthHandle {
    fn default() -> Self {
        Self::new()
    }
}

fn is_ready(parts: &Parts) -> bool {
    !parts.is_empty() && parts.values().all(|part| part.ready)
}

/// `grpc.health.v1.Health` over a handle.
#[derive(Debug)]
pub(crate) struct Answers {
    handle: HealthHandle,
}

/// The state of one name: the process, a part, or nothing that is known.
fn serving(parts: &Parts, name: &str) -> ServingStatus {
    let ready = if name.is_empty() { Some(is_ready(parts)) } else { parts.get(name).map(|part| part.ready) };
    match ready {
        Some(true) => ServingStatus::Serving,
        Some(false) => ServingStatus::NotServing,
        None => ServingStatus::ServiceUnknown,
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status as i32 }
}

#[tonic::async_trait]
impl Health for Answers {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let name = request.into_inner().service;
        match serving(&self.handle.parts.borrow(), &name) {
            ServingStatus::ServiceUnknown => {
                Err(Status::not_found(format!("`{name}` is not a part of this process")))
            }
            status => Ok(Response::new(answer(status))),
        }
    }

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let name = request.into_inner().service;
        let mut last = None;
        let changes = WatchStream::new(self.handle.parts.subscribe()).filter_map(move |parts| {
            let status = serving(&parts, &name);
            (last.replace(status) != Some(status)).then(|| Ok(answer(status)))
        });
        Ok(Response::new(Box::pin(changes)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_all_its_parts_are() {
        let health = HealthHandle::new();
        assert!(!health.is_ready(), "nothing has reported yet");
        assert_eq!(health.reasons(), "starting");
        health.set_ready("nats", true, "connected");
        assert!(health.is_ready());
        health.clone().set_ready("ledger", false, "file is locked");
        assert!(!health.is_ready());
        assert_eq!(health.reasons(), "ledger: file is locked");
    }
}
