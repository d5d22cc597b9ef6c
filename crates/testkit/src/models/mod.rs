//! A stand-in for every provider of models: real HTTP on loopback, scripted answers, every request kept.
//!
//! It refuses what the real interfaces refuse: a wrong key, an unknown field, a schema outside of what the
//! provider accepts. A stand-in that takes everything would prove nothing. The shapes are those of the providers'
//! public references and SDKs.
//!
//! ```no_run
//! # use millrace_testkit::models::{ModelServer, Reply, Wire};
//! let server = ModelServer::start();
//! server.script("VTID-00001", "planner", [Reply::ServerError, Reply::Answer("{}".to_owned())]);
//! // … a program is pointed at server.base_url(Wire::Chat) with the key server.key() …
//! assert_eq!(server.requests().len(), 2);
//! ```

mod check;
mod http;
mod replies;
mod schema;
mod wire;

pub use replies::{Reply, USAGE};
pub use wire::Wire;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::runtime::{Builder, Runtime};

/// The contracts of this workspace by fields that only they have: which one is asked for is seen from the schema
/// that is sent, or quoted in the system prompt.
const CONTRACTS: [(&str, [&str; 2]); 10] = [
    ("planner", ["rollback_plan", "idempotency_key"]),
    ("plan", ["file_map", "tests"]),
    ("worker", ["edits", "rollback_commands"]),
    ("validator", ["policy_checks", "risk_gate"]),
    ("reviewer", ["rubric", "verdict"]),
    ("problem_spec", ["acceptance_criteria", "goals"]),
    ("risk_report", ["blast_radius", "reversible"]),
    ("pr_summary", ["how_tested", "notes_for_reviewers"]),
    ("change_set", ["base_commit", "files"]),
    ("agent_turn", ["tool", "arguments"]),
];

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Through which interface; nothing for a path that none has.
    pub wire: Option<Wire>,
    /// The path, with its query.
    pub path: String,
    /// Headers, names in small letters.
    pub headers: BTreeMap<String, String>,
    /// The body; null if it is no JSON.
    pub body: Value,
    /// The contract that is asked for, such as `planner`; empty if it cannot be seen.
    pub contract: &'static str,
    /// The schema that the provider was asked to hold the model to.
    pub schema: Option<Value>,
    /// Why the request itself was refused, before any script.
    pub refusal: Option<String>,
}

impl Recorded {
    /// The whole body as text.
    #[must_use]
    pub fn text(&self) -> String {
        self.body.to_string()
    }
}

/// The stand-in. It stops when dropped.
#[derive(Debug)]
pub struct ModelServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    // Its own, so that a test may stop the clock.
    runtime: Option<Runtime>,
}

#[derive(Debug)]
struct State {
    key: String,
    scripts: Vec<Script>,
    requests: Vec<Recorded>,
}

#[derive(Debug)]
struct Script {
    needle: String,
    contract: String,
    replies: VecDeque<Reply>,
}

impl ModelServer {
    /// Listens on a loopback port of its own, with a key of its own.
    #[must_use]
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("bind a loopback port");
        listener.set_nonblocking(true).expect("a listener for tokio");
        let address = listener.local_addr().expect("the bound address");
        let key = format!("stand-in-{}", uuid::Uuid::new_v4().simple());
        let state = Arc::new(Mutex::new(State { key, scripts: Vec::new(), requests: Vec::new() }));
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        runtime.spawn(http::serve(listener, Arc::clone(&state)));
        Self { address, state, runtime: Some(runtime) }
    }

    /// What a program writes as the address of a model.
    #[must_use]
    pub fn base_url(&self, wire: Wire) -> String {
        format!("http://{}{}", self.address, wire.base())
    }

    /// The one key that is accepted.
    #[must_use]
    pub fn key(&self) -> String {
        lock(&self.state).key.clone()
    }

    /// What is answered to whom asks for that contract (the planner asks for `planner`, the implementer for
    /// `worker`, the reviewer for `reviewer`), in order, the last reply again and again, in requests that contain
    /// `needle` somewhere; an empty one is in all. Of several scripts the first that fits answers.
    pub fn script(&self, needle: &str, contract: &str, replies: impl IntoIterator<Item = Reply>) {
        let (needle, contract) = (needle.to_owned(), contract.to_owned());
        let replies = replies.into_iter().collect();
        lock(&self.state).scripts.push(Script { needle, contract, replies });
    }

    /// Takes all scripts away and forgets all requests.
    pub fn clear(&self) {
        let mut state = lock(&self.state);
        state.scripts.clear();
        state.requests.clear();
    }

    /// Every request so far, in the order of arrival, the refused ones among them.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        lock(&self.state).requests.clone()
    }

    /// Those that contain a text.
    #[must_use]
    pub fn requests_with(&self, needle: &str) -> Vec<Recorded> {
        self.requests().into_iter().filter(|request| request.text().contains(needle)).collect()
    }

    /// Waits until so many requests have come.
    pub async fn wait_for_requests(&self, count: usize, bound: Duration) {
        let what = format!("{count} requests of models");
        crate::eventually(&what, bound, async || (self.requests().len() >= count).then_some(())).await;
    }
}

impl State {
    /// Keeps a request, and says what is answered.
    fn take(&mut self, mut request: Recorded) -> (Option<Wire>, Result<Reply, check::Refusal>) {
        let wire = request.wire;
        let refused = match wire {
            None => Some(check::Refusal::not_found()),
            Some(wire) => check::request(wire, &request, &self.key).err(),
        };
        request.refusal = refused.as_ref().map(|refusal| refusal.message.clone());
        let (contract, text) = (request.contract, request.text());
        self.requests.push(request);
        if let Some(refusal) = refused {
            return (wire, Err(refusal));
        }
        let script = self
            .scripts
            .iter_mut()
            .find(|script| script.contract == contract && text.contains(&script.needle));
        let reply = script.and_then(|script| match script.replies.len() {
            0 | 1 => script.replies.front().cloned(),
            _ => script.replies.pop_front(),
        });
        (wire, reply.ok_or_else(|| check::Refusal::unscripted(contract)))
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        // Dropping a runtime blocks, which is not allowed inside another one.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The contract whose schema is sent, or else quoted on a line of the system prompt.
fn contract_of(wire: Wire, body: &Value) -> &'static str {
    let quoted = || {
        let mut lines =
            wire.system(body).lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|value| value.get("properties").is_some())
    };
    let schema = wire.schema(body).or_else(quoted).unwrap_or_default();
    let has = |name: &&str| schema["properties"].get(name).is_some();
    let found = CONTRACTS.iter().find(|(_, fields)| fields.iter().all(has));
    found.map(|(name, _)| *name).unwrap_or_default()
}
