//! Budgets of models on a real server, over several connections.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use millrace_events::catalogue::{MODEL_SWITCH_BUCKET, MODEL_USE_BUCKET};
use millrace_router::contracts::Contracts;
use millrace_router::{
    Ask, AskError, Crew, Finish, ModelError, ModelRequest, ModelResponse, Provider, Role, Router, SWITCH_KEY,
    Usage, day_of,
};
use millrace_runtime::bootstrap::{Declared, Installation, OnDifference, bootstrap};
use millrace_runtime::broker::Broker;
use millrace_runtime::bucket::Bucket;
use millrace_runtime::clock::{Clock as _, System};
use millrace_runtime::kv::Kv as _;
use millrace_runtime::nats::{ConnectOptions, NatsBroker};
use millrace_testkit::NatsServer;
use millrace_worker::adapters::SharedBuckets;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const CREW: &str = r#"
version: "3"
defaults: {budget: {per_call_usd: 1, per_task_usd: 100, per_day_usd: 1}}
models: {m: {provider: stub, model_id: m-1, max_output_tokens: 300, price: {input: 10.0e-6, output: 20.0e-6}}}
roles: {planner: {candidates: [m]}}
"#;
/// 1000 tokens in and 100 out.
const COST: u64 = 12_000;

struct Stub;

#[async_trait]
impl Provider for Stub {
    fn name(&self) -> &str {
        "stub"
    }

    async fn complete(&self, request: &ModelRequest<'_>) -> Result<ModelResponse, ModelError> {
        if request.prompt.iter().any(|message| message.text == "never") {
            std::future::pending::<()>().await;
        }
        let plan = serde_json::json!({
            "rollback_plan": "revert", "idempotency_key": "k", "risk_level": "low", "steps": ["one"],
        });
        Ok(ModelResponse {
            text: plan.to_string(),
            usage: Usage { input: 1000, output: 100, ..Usage::default() },
            finish: Finish::Complete,
            finish_word: "stop".to_owned(),
            request_id: String::new(),
        })
    }
}

async fn connect(server: &NatsServer) -> Arc<dyn Broker> {
    Arc::new(NatsBroker::connect(ConnectOptions::new(server.client_url(), "tester")).await.unwrap())
}

fn router(broker: &Arc<dyn Broker>) -> Router {
    let crew = Crew::parse(CREW, "crew.yaml").unwrap();
    let shared = SharedBuckets::new(broker, Arc::new(System), Arc::new(System));
    let router = Router::new(crew, Contracts::bundled().unwrap(), vec![Arc::new(Stub)]).unwrap();
    router.sharing(Arc::new(shared))
}

fn question(prompt: &str, task: String) -> Ask {
    Ask { task, ..Ask::new(Role::Planner, "", prompt, Instant::now() + Duration::from_secs(120)) }
}

async fn start() -> (NatsServer, Arc<dyn Broker>) {
    let server = NatsServer::start();
    let broker = NatsBroker::connect(ConnectOptions::new(server.client_url(), "tester")).await.unwrap();
    bootstrap(&broker, &Declared::of(&Installation::default()), OnDifference::Report).await.unwrap();
    (server, Arc::new(broker))
}

/// S3-8.2: over many workers on one server the budget of a day is never passed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s3_8_2_the_budget_of_a_day_holds_over_many_workers_on_a_real_server() {
    let (server, broker) = start().await;
    let before = day_of(System.now().as_micros());
    let mut workers = JoinSet::new();
    for worker in 0..8 {
        let router = router(&connect(&server).await);
        workers.spawn(async move {
            let mut answered = 0;
            for task in 0..14 {
                let question = question("plan", format!("VTID-{worker:02}{task:03}"));
                match router.ask(&question, &CancellationToken::new()).await {
                    Ok(_) => answered += 1,
                    Err(AskError::BudgetExceeded { .. }) => break,
                    Err(other) => panic!("{other}"),
                }
            }
            answered
        });
    }
    let mut answered = 0_u64;
    while let Some(more) = workers.join_next().await {
        answered += more.unwrap();
    }
    if day_of(System.now().as_micros()) != before {
        // Midnight came between: half of it counts for another day.
        return;
    }
    let bucket = Bucket::new(broker, MODEL_USE_BUCKET);
    let entry = bucket.get(&format!("day.{before}")).await.unwrap().unwrap();
    let balance: serde_json::Value = serde_json::from_slice(&entry.value).unwrap();
    let spent = balance["spent"].as_u64().unwrap();
    assert_eq!(spent, answered * COST, "every answer is counted once");
    assert!(spent <= 1_000_000, "{spent}");
    assert!(spent > 850_000, "and what fits is spent: {spent}");
    assert!(balance.get("reserved").is_none(), "{balance}");
}

#[tokio::test]
async fn the_switch_on_a_real_server_ends_a_call() {
    let (_server, broker) = start().await;
    let bucket = Bucket::new(broker.clone(), MODEL_SWITCH_BUCKET);
    let router = router(&broker);
    let question = question("never", "VTID-00001".to_owned());
    let cancel = CancellationToken::new();
    let (asked, ()) = tokio::join!(router.ask(&question, &cancel), async {
        // The model is asked as soon as the money for it is put aside.
        let used = Bucket::new(broker.clone(), MODEL_USE_BUCKET);
        millrace_testkit::eventually("the call is under way", Duration::from_secs(30), async || {
            used.get("task.VTID-00001").await.unwrap().map(drop)
        })
        .await;
        bucket.put(SWITCH_KEY, br#"{"off": true, "reason": "r", "by": "b", "since": 1}"#).await.unwrap();
    });
    assert!(matches!(asked.unwrap_err(), AskError::SwitchedOff { .. }));
}
