//! Budgets and rates: never exceeded, over any number of routers.

use std::sync::Arc;
use std::time::Duration;

use millrace_router::contracts::Contracts;
use millrace_router::{AskError, Crew, Limit, MemoryShared, Provider, Role, Router, Shared, Verdict};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::support::{Scripted, ask};

/// One answer of `big` costs 1000 * 3 + 10 * 15 = 3150 millionths of a dollar, one of `small` 105.
const CREW: &str = r#"
version: "3"
defaults: {budget: {per_call_usd: 0.05, per_task_usd: 0.10, per_day_usd: 0.20, on_exhausted: downgrade}, retry: {attempts: 1}}
models:
  big: {provider: first, model_id: big-1, price: {input: 3.0e-6, output: 15.0e-6}, max_output_tokens: 1000}
  small: {provider: first, model_id: small-1, price: {input: 0.1e-6, output: 0.5e-6}, max_output_tokens: 1000}
roles:
  planner: {candidates: [big], lightweight: LIGHT}
fallbacks: {lightweight: small}
"#;

/// 2026-11-20.
const NOW: i64 = 20_777 * 86_400_000_000;

fn router(crew: &str, shared: &MemoryShared, model: &Arc<Scripted>) -> Router {
    let crew = Crew::parse(crew, "crew.yaml").unwrap();
    let providers: Vec<Arc<dyn Provider>> = vec![model.clone()];
    Router::new(crew, Contracts::bundled().unwrap(), providers).unwrap().sharing(Arc::new(shared.clone()))
}

fn spend(shared: &MemoryShared, key: &str, micro: u64) {
    shared.put(key, json!({"spent": micro}).to_string().as_bytes());
}

async fn spent(shared: &MemoryShared, key: &str) -> u64 {
    let (bytes, _) = shared.read(key).await.unwrap().unwrap();
    let balance: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert!(balance.get("reserved").is_none(), "everything is settled: {balance}");
    balance["spent"].as_u64().unwrap()
}

#[tokio::test]
async fn what_a_call_costs_is_counted_for_its_task_and_its_day() {
    let (shared, model) = (MemoryShared::at(NOW), Scripted::good("first"));
    router(&CREW.replace("LIGHT", "true"), &shared, &model)
        .ask(&ask(Role::Planner), &CancellationToken::new())
        .await
        .unwrap();
    assert_eq!(spent(&shared, "task.VTID-01213").await, 3150);
    assert_eq!(spent(&shared, "day.2026-11-20").await, 3150);
}

/// S3-8.2: at 90 % the light model where the role allows it, at 100 % nothing.
#[tokio::test]
async fn s3_8_2_at_ninety_per_cent_the_light_model_and_at_a_hundred_no_call() {
    for (key, limit) in [("task.VTID-01213", 100_000), ("day.2026-11-20", 200_000)] {
        let (shared, model) = (MemoryShared::at(NOW), Scripted::good("first"));
        let light = router(&CREW.replace("LIGHT", "true"), &shared, &model);
        let heavy = router(&CREW.replace("LIGHT", "false"), &shared, &model);
        let (question, cancel) = (ask(Role::Planner), CancellationToken::new());

        spend(&shared, key, limit * 89 / 100 - 20_000);
        let answer = light.ask(&question, &cancel).await.unwrap();
        assert_eq!((answer.calls[0].model.as_str(), answer.calls[0].downgraded), ("big-1", false), "{key}");

        spend(&shared, key, limit * 9 / 10);
        let answer = light.ask(&question, &cancel).await.unwrap();
        let call = &answer.calls[0];
        assert_eq!((call.model.as_str(), call.downgraded), ("small-1", true), "{key}");
        assert!(call.candidates[1].dropped.starts_with("budget: "), "{:?}", call.candidates);

        spend(&shared, key, limit);
        for router in [&light, &heavy] {
            let before = model.calls();
            let error = router.ask(&question, &cancel).await.unwrap_err();
            assert_eq!(model.calls(), before, "no call at 100 %");
            let text = error.to_string();
            let AskError::BudgetExceeded { which, limit_micro_usd, .. } = error else { panic!("{text}") };
            let expected = if key.starts_with("day") { Limit::Day } else { Limit::Task };
            assert_eq!((which, limit_micro_usd), (expected, limit));
        }
    }
}

#[tokio::test]
async fn s3_8_2_a_role_that_does_not_allow_the_light_model_goes_on_until_the_end() {
    let (shared, model) = (MemoryShared::at(NOW), Scripted::good("first"));
    spend(&shared, "day.2026-11-20", 180_000);
    let crew = CREW.replace("LIGHT", "false").replace("max_output_tokens: 1000", "max_output_tokens: 300");
    let answer = router(&crew, &shared, &model).ask(&ask(Role::Planner), &CancellationToken::new()).await;
    assert_eq!(answer.unwrap().calls[0].model, "big-1");
    let blocking = CREW.replace("LIGHT", "true").replace("downgrade", "block");
    let blocking = blocking.replace("max_output_tokens: 1000", "max_output_tokens: 300");
    let answer = router(&blocking, &shared, &model).ask(&ask(Role::Planner), &CancellationToken::new()).await;
    assert_eq!(answer.unwrap().calls[0].model, "big-1");
}

#[tokio::test]
async fn a_role_has_a_limit_of_its_own_and_a_call_too() {
    let (shared, model) = (MemoryShared::at(NOW), Scripted::good("first"));
    let crew = CREW.replace("LIGHT", "false, max_usd_per_task: 0.000001");
    let error = router(&crew, &shared, &model).ask(&ask(Role::Planner), &CancellationToken::new()).await;
    assert!(matches!(error.unwrap_err(), AskError::BudgetExceeded { which: Limit::Task, .. }));
    let crew = CREW.replace("LIGHT", "false").replace("per_call_usd: 0.05", "per_call_usd: 0.000001");
    let error = router(&crew, &shared, &model).ask(&ask(Role::Planner), &CancellationToken::new()).await;
    assert!(matches!(error.unwrap_err(), AskError::BudgetExceeded { which: Limit::Call, .. }));
    assert_eq!(model.calls(), 0);
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_paid_for_all_the_same() {
    let (shared, model) = (MemoryShared::at(NOW), Scripted::new("first", [Ok("no".to_owned())]));
    let error = router(&CREW.replace("LIGHT", "false"), &shared, &model)
        .ask(&ask(Role::Planner), &CancellationToken::new())
        .await
        .unwrap_err();
    assert!(error.calls().iter().all(|call| call.verdict == Verdict::ContractViolated));
    assert_eq!(spent(&shared, "task.VTID-01213").await, 4 * 3150);
}

/// Many routers, one store: what is spent never passes the limit, and all that fits is spent.
#[tokio::test(start_paused = true)]
async fn s3_8_2_a_budget_holds_over_many_routers() {
    const ROUTERS: usize = 60;
    let (shared, model) = (MemoryShared::at(NOW), Scripted::good("first"));
    *model.delay.lock().unwrap() = Duration::from_millis(700);
    let crew = CREW.replace("LIGHT", "false").replace("per_task_usd: 0.10", "per_task_usd: 100");
    let mut asking = JoinSet::new();
    for number in 0..ROUTERS {
        let router = router(&crew, &shared, &model);
        asking.spawn(async move {
            let mut question = ask(Role::Planner);
            question.task = format!("VTID-{number:05}");
            let mut answers = 0;
            for _ in 0..2 {
                answers += u64::from(router.ask(&question, &CancellationToken::new()).await.is_ok());
            }
            answers
        });
    }
    let mut answers = 0;
    while let Some(more) = asking.join_next().await {
        answers += more.unwrap();
    }
    let spent = spent(&shared, "day.2026-11-20").await;
    assert_eq!((spent, model.calls() as u64), (answers * 3150, answers));
    assert!(spent <= 200_000, "{spent}");
    assert!(spent > 170_000, "what others put aside is waited for, not given up: {spent}");
}

#[tokio::test(start_paused = true)]
async fn what_a_dead_worker_put_aside_runs_out() {
    let (shared, model) = (MemoryShared::at(NOW), Scripted::good("first"));
    let until = NOW + 40_000_000;
    let left = json!({"spent": 0, "reserved": {"dead": {"amount": 99_000, "until": until}}});
    shared.put("task.VTID-01213", left.to_string().as_bytes());
    let began = tokio::time::Instant::now();
    let crew = CREW.replace("LIGHT", "false");
    router(&crew, &shared, &model).ask(&ask(Role::Planner), &CancellationToken::new()).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(40));
    assert_eq!(spent(&shared, "task.VTID-01213").await, 3150);
}

#[tokio::test(start_paused = true)]
async fn rates_hold_over_many_routers() {
    let (shared, model) = (MemoryShared::at(NOW), Scripted::good("first"));
    *model.delay.lock().unwrap() = Duration::from_secs(2);
    let crew = CREW.replace("LIGHT", "false").replace("per_day_usd: 0.20", "per_day_usd: 100");
    let crew = crew.replace(
        "max_output_tokens: 1000}\n  small",
        "max_output_tokens: 1000, limits: {rpm: 6, max_parallel: 2}}\n  small",
    );
    let began = tokio::time::Instant::now();
    let mut asking = JoinSet::new();
    for number in 0..12 {
        let router = router(&crew, &shared, &model);
        asking.spawn(async move {
            let mut question = ask(Role::Planner);
            question.task = format!("VTID-{number:05}");
            router.ask(&question, &CancellationToken::new()).await.unwrap();
            tokio::time::Instant::now()
        });
    }
    let mut ends = Vec::new();
    while let Some(end) = asking.join_next().await {
        ends.push(end.unwrap().duration_since(began).as_secs());
    }
    ends.sort_unstable();
    assert!(ends[5] < 60 && ends[6] >= 60, "six a minute: {ends:?}");
    assert!(ends[1] >= 2 && ends[2] >= 4 && ends[4] >= 6, "two at a time: {ends:?}");
}
