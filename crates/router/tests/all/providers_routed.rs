//! The router and its providers together, over HTTP: what is asked again, who is asked instead, and who is not.

use millrace_router::contracts::Contracts;
use millrace_router::{Answer, AskError, Crew, ErrorClass, Role, Router, Verdict, providers};
use millrace_testkit::models::{ModelServer, Reply, Wire};
use tokio_util::sync::CancellationToken;

use crate::support::{ask, good_plan};

/// Two models: the first at one stand-in, the second, of another provider, at the other.
struct Bench {
    first: ModelServer,
    second: ModelServer,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self {
            first: ModelServer::start(),
            second: ModelServer::start(),
            folder: tempfile::tempdir().unwrap(),
        };
        for (name, server) in [("first", &bench.first), ("second", &bench.second)] {
            std::fs::write(bench.folder.path().join(name), server.key()).unwrap();
        }
        bench
    }

    fn router(&self, wire: Wire) -> Router {
        let (provider, api) = match wire {
            Wire::Chat => ("openai", "chat_completions"),
            Wire::Responses => ("openai", "responses"),
            Wire::Local => ("openai_compatible", "chat_completions"),
            Wire::Messages => ("anthropic", "messages"),
            Wire::Bedrock => ("bedrock", "messages"),
            Wire::Gemini => ("gemini", "generate_content"),
            Wire::Vertex => ("vertex", "generate_content"),
            Wire::VertexMessages => ("vertex", "messages"),
        };
        let crew = format!(
            "version: \"3\"\n\
             defaults: {{retry: {{on: [429, 500, 503, 529, connection_reset, garbled], attempts: 3, base_ms: 1, max_ms: 2}}}}\n\
             models:\n  \
             first: {{provider: {provider}, api: {api}, model_id: one, base_url: \"{}\", key_file: \"{}\", region: r, project: p, price: {{input: 1.0e-6, output: 2.0e-6}}}}\n  \
             second: {{provider: openai, model_id: two, base_url: \"{}\", key_file: \"{}\", price: {{input: 1.0e-6, output: 2.0e-6}}}}\n\
             roles:\n  planner: {{candidates: [first, second]}}\n",
            self.first.base_url(wire),
            self.folder.path().join("first").display(),
            self.second.base_url(Wire::Chat),
            self.folder.path().join("second").display(),
        );
        let crew = Crew::parse(&crew, "crew.yaml").unwrap();
        let providers = providers::all().into_values().collect();
        Router::new(crew, Contracts::bundled().unwrap(), providers).unwrap()
    }

    /// Asks a planner whose first model says this, and whose second one is well.
    async fn ask(&self, wire: Wire, replies: impl IntoIterator<Item = Reply>) -> Result<Answer, AskError> {
        self.first.clear();
        self.second.clear();
        self.first.script("", "planner", replies);
        self.second.script("", "planner", [good()]);
        self.router(wire).ask(&ask(Role::Planner), &CancellationToken::new()).await
    }
}

fn good() -> Reply {
    Reply::Answer(good_plan().to_string())
}

#[tokio::test]
async fn a_limit_and_garbage_pass_and_the_same_model_answers() {
    let bench = Bench::new();
    for wire in Wire::ALL {
        let answer = bench.ask(wire, [Reply::RateLimited(Some(5)), Reply::Html, good()]).await.unwrap();
        assert_eq!(answer.value, good_plan(), "{wire:?}");
        assert_eq!(bench.first.requests().len(), 3, "{wire:?}");
        assert!(bench.second.requests().is_empty(), "{wire:?}");
    }
}

/// S0-4.4: the second request holds the bad answer and the exact errors; prose is as bad as a missing field.
#[tokio::test]
async fn s0_4_4_a_broken_contract_is_sent_back_with_its_errors() {
    let bench = Bench::new();
    let mut broken = good_plan();
    broken.as_object_mut().unwrap().remove("rollback_plan");
    for wire in Wire::ALL {
        let replies = [Reply::Answer(broken.to_string()), Reply::Answer("Sure, will do.".to_owned()), good()];
        let answer = bench.ask(wire, replies).await.unwrap();
        assert_eq!((answer.value, answer.violations), (good_plan(), 2), "{wire:?}");
        let requests = bench.first.requests();
        assert_eq!(requests.len(), 3, "{wire:?}");
        assert!(!requests[0].text().contains("this field is required"), "{wire:?}");
        assert!(
            requests[1].text().contains("/rollback_plan: this field is required and missing"),
            "{wire:?}"
        );
        assert!(requests[2].text().contains("Sure, will do."), "{wire:?}");
        assert!(requests[2].text().contains("not a JSON object"), "{wire:?}");
        assert!(requests.iter().all(|request| request.refusal.is_none()), "{wire:?}");
    }
}

/// S0-2.2d: words alone are never an answer.
#[tokio::test]
async fn s0_2_2d_free_text_is_refused_after_one_plus_three_requests() {
    let bench = Bench::new();
    for wire in Wire::ALL {
        let error =
            bench.ask(wire, [Reply::Answer("I would rather talk about it.".to_owned())]).await.unwrap_err();
        assert!(matches!(error, AskError::ContractViolation { attempts: 4, .. }), "{wire:?}: {error}");
        assert_eq!(bench.first.requests().len(), 4, "{wire:?}");
        assert!(
            error
                .trail()
                .calls
                .iter()
                .all(|call| call.verdict == Verdict::ContractViolated && call.usage.output > 0)
        );
    }
}

/// S0-4.2: an overloaded model is stood in for, and the trail shows both.
#[tokio::test]
async fn s0_4_2_an_overloaded_model_is_stood_in_for() {
    let bench = Bench::new();
    for wire in Wire::ALL {
        let answer = bench.ask(wire, [Reply::Overloaded]).await.unwrap();
        assert_eq!(answer.value, good_plan(), "{wire:?}");
        assert_eq!((bench.first.requests().len(), bench.second.requests().len()), (3, 1), "{wire:?}");
        let models: Vec<&str> = answer.calls.iter().map(|call| call.model.as_str()).collect();
        assert_eq!(models, ["one", "two"], "{wire:?}");
        assert_eq!(answer.fallbacks.len(), 1, "{wire:?}");
    }
}

/// S0-4.2: what only a person can mend is asked once, and nobody else is.
#[tokio::test]
async fn s0_4_2_a_bill_a_key_a_schema_and_a_daily_quota_are_asked_about_once() {
    let bench = Bench::new();
    for wire in Wire::ALL {
        for (reply, class) in [
            (Reply::Billing, ErrorClass::Billing),
            (Reply::KeyRejected, ErrorClass::Authentication),
            (Reply::InvalidSchema, ErrorClass::InvalidRequest),
            (Reply::DailyQuota, ErrorClass::DailyQuota),
        ] {
            let error = bench.ask(wire, [reply.clone()]).await.unwrap_err();
            let AskError::Model { source, .. } = &error else { panic!("{wire:?} {reply:?}: {error}") };
            // Anthropic's cap on spending is a bill.
            assert!([class, ErrorClass::Billing].contains(&source.class), "{wire:?} {reply:?}: {source}");
            assert_eq!(bench.first.requests().len(), 1, "{wire:?} {reply:?}");
            assert!(bench.second.requests().is_empty(), "{wire:?} {reply:?}");
            // The record of the call is what becomes an event.
            let recorded = format!("{:?}", error.trail());
            assert!(!recorded.contains(&bench.first.key()), "{wire:?} {reply:?}");
        }
    }
}
