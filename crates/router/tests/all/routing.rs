//! Who is asked, who is asked next, and what is recorded of the choice.

use std::sync::Arc;
use std::time::Duration;

use millrace_router::{
    Answer, AskError, Earlier, ErrorClass, MemoryShared, ModelError, Provider, Retention, Role, Router,
    Switch, Verdict,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::{Scripted, ask, good_plan, router};

/// Three models of three providers; `POLICY` and the rest of the role are put in.
const THREE: &str = r#"
version: "3"
models:
  a: {provider: first, model_id: model-a, price: {input: 3.0e-6, output: 15.0e-6}, context_window: 200000, data_residency: [us], data_retention: 30d}
  b: {provider: second, model_id: model-b, price: {input: 1.0e-6, output: 5.0e-6}, context_window: 400000, data_residency: [eu], data_retention: zero, supports: {json_schema: false}}
  c: {provider: third, model_id: model-c, price: {input: 2.0e-6, output: 9.0e-6}, data_residency: [eu, us]}
roles:
  planner: {candidates: [a, b, c], ROLE}
"#;

struct Three {
    router: Router,
    a: Arc<Scripted>,
    b: Arc<Scripted>,
    c: Arc<Scripted>,
}

impl Three {
    fn with(crew: &str, a: Arc<Scripted>) -> Self {
        let (b, c) = (Scripted::good("second"), Scripted::good("third"));
        let providers: Vec<Arc<dyn Provider>> = vec![a.clone(), b.clone(), c.clone()];
        Self { router: router(crew, providers), a, b, c }
    }

    fn new(role: &str) -> Self {
        Self::with(&THREE.replace("ROLE", role), Scripted::good("first"))
    }

    fn failing(role: &str, class: ErrorClass) -> Self {
        Self::with(&THREE.replace("ROLE", role), Scripted::failing("first", class))
    }

    async fn ask(&self, change: impl FnOnce(&mut millrace_router::Ask)) -> Result<Answer, AskError> {
        let mut question = ask(Role::Planner);
        change(&mut question);
        self.router.ask(&question, &CancellationToken::new()).await
    }

    fn calls(&self) -> [usize; 3] {
        [self.a.calls(), self.b.calls(), self.c.calls()]
    }
}

fn dropped(answer: &Answer) -> Vec<(&str, &str)> {
    let considered = &answer.calls[0].candidates;
    considered.iter().map(|one| (one.name.as_str(), one.dropped.as_str())).collect()
}

#[tokio::test]
async fn s3_4_2b_the_cheapest_is_chosen_and_the_whole_choice_is_recorded() {
    let three = Three::new("policy: cheapest");
    let answer = three.ask(|_| ()).await.unwrap();
    assert_eq!(three.calls(), [0, 1, 0]);
    let call = &answer.calls[0];
    assert_eq!((call.name.as_str(), call.policy.name(), call.requests), ("b", "cheapest", 1));
    assert_eq!(call.crew_sha256, three.router.crew().sha256());
    assert_eq!(
        dropped(&answer),
        [("b", ""), ("c", "policy: cheapest puts `b` first"), ("a", "policy: cheapest puts `b` first")]
    );
}

#[tokio::test(start_paused = true)]
async fn s3_4_2b_a_slow_one_is_skipped() {
    let three = Three::new("policy: fastest");
    for (model, seconds) in [(&three.a, 30), (&three.b, 2), (&three.c, 9)] {
        *model.delay.lock().unwrap() = Duration::from_secs(seconds);
    }
    for _ in 0..3 {
        three.ask(|_| ()).await.unwrap();
    }
    assert_eq!(three.calls(), [1, 1, 1], "each is tried once");
    for _ in 0..4 {
        three.ask(|_| ()).await.unwrap();
    }
    assert_eq!(three.calls(), [1, 5, 1]);
    // About as fast is as fast: the order of the file decides.
    *three.a.delay.lock().unwrap() = Duration::from_millis(2100);
    let close = Three::new("policy: fastest");
    for (model, millis) in [(&close.a, 2100), (&close.b, 2000), (&close.c, 9000)] {
        *model.delay.lock().unwrap() = Duration::from_millis(millis);
    }
    for _ in 0..6 {
        close.ask(|_| ()).await.unwrap();
    }
    assert_eq!(close.calls(), [4, 1, 1]);
}

#[tokio::test]
async fn s3_4_2b_a_residency_that_forbids_excludes_and_is_recorded() {
    let three = Three::new("policy: ordered");
    let answer = three.ask(|ask| ask.data_residency = vec!["eu".to_owned()]).await.unwrap();
    assert_eq!(three.calls(), [0, 1, 0]);
    assert_eq!(
        dropped(&answer),
        [
            ("a", "residency: eu is required, us is offered"),
            ("b", ""),
            ("c", "residency: eu is required, eu, us is offered")
        ]
    );
    let zero = Retention::try_from("zero".to_owned()).unwrap();
    let answer = three.ask(|ask| ask.data_retention = Some(zero)).await.unwrap();
    assert_eq!(dropped(&answer)[0].1, "retention: zero is required, 30d is offered");
    assert_eq!(dropped(&answer)[2].1, "retention: zero is required, unknown is offered");
    // What the file requires of a repository counts for its texts, and for no others.
    let crew = THREE.replace("ROLE", "policy: ordered") + "repositories: {shop: {data_residency: [eu]}}\n";
    let shop = Three::with(&crew, Scripted::good("first"));
    shop.ask(|ask| ask.repository = "shop".to_owned()).await.unwrap();
    assert_eq!(shop.calls(), [0, 1, 0]);
    shop.ask(|ask| ask.repository = "other".to_owned()).await.unwrap();
    assert_eq!(shop.calls(), [1, 1, 0]);
    // What the role requires counts too; nobody is left, and the error says why of each.
    let strict = Three::new("require: {data_residency: [ch]}");
    let error = strict.ask(|_| ()).await.unwrap_err();
    assert!(matches!(error, AskError::Unroutable { .. }), "{error}");
    assert!(error.to_string().contains("`a` (residency: ch is required, us is offered)"), "{error}");
    assert_eq!(strict.calls(), [0, 0, 0]);
}

#[tokio::test]
async fn a_model_that_cannot_do_what_is_required_is_not_asked() {
    let three = Three::new("policy: cheapest, require: {json_schema: true}");
    let answer = three.ask(|_| ()).await.unwrap();
    assert_eq!(three.calls(), [0, 0, 1]);
    assert_eq!(dropped(&answer)[0], ("b", "capability: json_schema is required and not supported"));
    let large = Three::new("require: {context_window: 300000}");
    let answer = large.ask(|_| ()).await.unwrap();
    assert_eq!(dropped(&answer)[0].1, "capability: a window of 300000 tokens is required, it has 200000");
}

#[tokio::test]
async fn lots_are_drawn_by_weight_and_repeat_with_the_seed() {
    let role = "policy: weighted, weights: {a: 1, b: 8, c: 1}";
    let draw = async |from: u64| {
        let three = Three::new(role);
        for seed in from..from + 60 {
            three.ask(|ask| ask.seed = seed).await.unwrap();
        }
        three.calls()
    };
    let first = draw(0).await;
    assert_eq!(first, draw(0).await);
    assert!(first[1] > 35 && first[0] > 0 && first[2] > 0, "{first:?}");
}

/// S0-4.2: what passes leads to the next candidate, and nothing else does.
#[tokio::test(start_paused = true)]
async fn s0_4_2_only_failures_that_pass_lead_to_the_next_candidate() {
    use ErrorClass::*;
    for class in [Connection, Timeout, Server, Garbled, RateLimited] {
        let three = Three::failing("policy: ordered", class);
        let answer = three.ask(|_| ()).await.unwrap();
        assert_eq!(three.calls(), [5, 1, 0], "{class:?}");
        let fallback = &answer.fallbacks[0];
        assert_eq!((fallback.from.as_str(), fallback.to.as_str(), fallback.class), ("a", "b", class));
        assert_eq!(answer.calls[1].candidates[0].dropped, format!("failed: {}", class.name()));
    }
    for class in [Billing, Authentication, InvalidRequest, DailyQuota, ContextWindow, ContentPolicy] {
        let three = Three::failing("policy: ordered", class);
        let error = three.ask(|_| ()).await.unwrap_err();
        assert_eq!(three.calls(), [1, 0, 0], "{class:?}: asked once, and nobody else");
        assert!(error.fallbacks().is_empty());
        assert!(matches!(error, AskError::Model { source, .. } if source.class == class));
    }
}

#[tokio::test]
async fn a_question_that_is_too_long_or_refused_goes_where_its_own_map_says() {
    for (class, map) in
        [(ErrorClass::ContextWindow, "on_context_window"), (ErrorClass::ContentPolicy, "on_content_policy")]
    {
        let crew = format!("{}fallbacks: {{{map}: {{a: c}}}}\n", THREE.replace("ROLE", "policy: ordered"));
        let three = Three::with(&crew, Scripted::failing("first", class));
        let answer = three.ask(|_| ()).await.unwrap();
        assert_eq!(three.calls(), [1, 0, 1], "{map}");
        assert_eq!((answer.fallbacks[0].to.as_str(), answer.fallbacks[0].class), ("c", class));
    }
}

#[tokio::test]
async fn a_question_that_no_candidate_can_read_is_not_sent() {
    let crew = THREE.replace("ROLE", "policy: ordered").replace("[a, b, c]", "[a]");
    let three = Three::with(&crew, Scripted::good("first"));
    let long = "word ".repeat(200_000);
    let error = three.ask(|ask| ask.prompt = long.clone()).await.unwrap_err();
    assert!(
        matches!(&error, AskError::Model { source, .. } if source.class == ErrorClass::ContextWindow),
        "{error}"
    );
    assert_eq!(three.calls(), [0, 0, 0]);
}

#[tokio::test]
async fn a_fallback_to_a_provider_that_the_role_does_not_name_is_refused() {
    let crew = THREE.replace("ROLE", "policy: ordered").replace("[a, b, c]", "[a, b]");
    let crew = format!("{crew}fallbacks: {{on_content_policy: {{a: c}}}}\n");
    let three = Three::with(&crew, Scripted::failing("first", ErrorClass::ContentPolicy));
    let error = three.ask(|_| ()).await.unwrap_err();
    assert!(
        matches!(&error, AskError::Model { source, .. } if source.class == ErrorClass::ContentPolicy),
        "{error}"
    );
    assert_eq!(three.calls(), [1, 0, 0]);
}

/// S4-ROLE: who made a change does not judge it.
#[tokio::test]
async fn s4_role_the_model_of_the_other_role_is_not_asked() {
    let crew = THREE.replace("ROLE", "must_differ_from: implementer") + "  implementer: {candidates: [a]}\n";
    let three = Three::with(&crew, Scripted::good("first"));
    let by = |model: &str| Earlier {
        role: Role::Implementer,
        provider: if model == "model-a" { "first" } else { "second" }.to_owned(),
        model: model.to_owned(),
    };
    let answer = three.ask(|ask| ask.earlier = vec![by("model-a")]).await.unwrap();
    assert_eq!(three.calls(), [0, 1, 0]);
    assert_eq!(dropped(&answer)[0].1, "role: it must differ from the implementer, which is the same model");
    three.ask(|ask| ask.earlier = vec![by("model-b")]).await.unwrap();
    assert_eq!(three.calls(), [1, 1, 0]);
    three.ask(|_| ()).await.unwrap();
    assert_eq!(three.calls(), [1, 2, 0], "who did the work is not known: nobody who may have");
}

#[tokio::test(start_paused = true)]
async fn a_hint_is_honoured_up_to_its_limit() {
    let wait = |seconds| ModelError {
        retry_after: Some(Duration::from_secs(seconds)),
        ..ModelError::new(ErrorClass::RateLimited, "slow down")
    };
    let patient = Three::with(
        &THREE.replace("ROLE", "policy: ordered"),
        Scripted::new("first", [Err(wait(50)), Ok(good_plan().to_string())]),
    );
    let began = Instant::now();
    patient.ask(|_| ()).await.unwrap();
    assert_eq!(patient.calls(), [2, 0, 0]);
    assert!(began.elapsed() >= Duration::from_secs(50));
    let long =
        Three::with(&THREE.replace("ROLE", "policy: ordered"), Scripted::new("first", [Err(wait(600))]));
    long.ask(|_| ()).await.unwrap();
    assert_eq!(long.calls(), [1, 1, 0], "a pause that is too long is not waited for");
    let answer = long.ask(|_| ()).await.unwrap();
    assert_eq!(long.calls(), [1, 2, 0], "and the model is left alone");
    assert!(dropped(&answer)[0].1.starts_with("cooldown: "), "{:?}", dropped(&answer));
}

#[tokio::test(start_paused = true)]
async fn what_fails_again_and_again_is_left_alone_for_a_while() {
    let three = Three::failing("policy: ordered", ErrorClass::Server);
    three.ask(|_| ()).await.unwrap();
    three.ask(|_| ()).await.unwrap();
    assert_eq!(three.calls(), [5, 2, 0], "it cools down");
    tokio::time::sleep(Duration::from_secs(31)).await;
    three.ask(|_| ()).await.unwrap();
    assert_eq!(three.calls(), [10, 3, 0]);
}

#[tokio::test]
async fn an_answer_that_is_cut_off_breaks_its_contract_whatever_it_says() {
    let whole = good_plan().to_string();
    let three = Three::with(&THREE.replace("ROLE", "policy: ordered"), Scripted::cut_off("first", &whole));
    let error = three.ask(|_| ()).await.unwrap_err();
    assert_eq!(three.calls(), [4, 0, 0]);
    assert!(
        error.calls().iter().all(|call| call.verdict == Verdict::ContractViolated && call.cost_micro_usd > 0)
    );
    assert!(error.to_string().contains("the answer was cut off at the limit of its length"), "{error}");
    let asked = three.a.asked.lock().unwrap();
    assert!(asked[1].1[2].text.contains("cut off"), "{}", asked[1].1[2].text);
}

/// The kill switch: calls under way end, and no new one is made.
#[tokio::test(start_paused = true)]
async fn models_that_are_switched_off_end_within_five_seconds_and_start_no_more() {
    let shared = MemoryShared::at(0);
    let off = Switch { off: true, reason: "a leak".to_owned(), by: "ada".to_owned(), since: 1 };
    let silent = Scripted::new("first", []);
    let three = Three::with(&THREE.replace("ROLE", "policy: ordered"), silent);
    let three = Three { router: three.router.sharing(Arc::new(shared.clone())), ..three };
    let (ended, switched) = tokio::join!(three.ask(|_| ()), async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        shared.put("switch", &serde_json::to_vec(&off).unwrap());
        Instant::now()
    });
    assert!(switched.elapsed() <= Duration::from_secs(5), "{:?}", switched.elapsed());
    let error = ended.unwrap_err();
    assert!(
        matches!(&error, AskError::SwitchedOff { by, reason, .. } if by == "ada" && reason == "a leak"),
        "{error}"
    );
    assert_eq!(error.calls().len(), 1);
    let error = three.ask(|_| ()).await.unwrap_err();
    assert!(matches!(error, AskError::SwitchedOff { .. }), "{error}");
    assert_eq!(three.calls(), [1, 0, 0]);
    shared.put("switch", &serde_json::to_vec(&Switch::default()).unwrap());
    *three.a.delay.lock().unwrap() = Duration::ZERO;
    let (ended, ()) =
        tokio::join!(three.ask(|ask| ask.deadline = Instant::now() + Duration::from_secs(9)), async {});
    assert!(matches!(ended.unwrap_err(), AskError::DeadlineExceeded { .. }));
    assert_eq!(three.calls(), [2, 0, 0]);
}
