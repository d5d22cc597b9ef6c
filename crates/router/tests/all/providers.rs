//! Every provider against the stand-in: one suite, run over every interface and every fault of the wire formats.

use std::time::Duration;

use millrace_router::contracts::Contracts;
use millrace_router::providers;
use millrace_router::{
    Api, Author, ErrorClass, Finish, Message, Model, ModelError, ModelRequest, ModelResponse, Role, Supports,
    Usage,
};
use millrace_testkit::models::{self, ModelServer, Reply, Wire};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::support::good_plan;

struct Bench {
    server: ModelServer,
    contracts: Contracts,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self {
            server: ModelServer::start(),
            contracts: Contracts::bundled().unwrap(),
            folder: tempfile::tempdir().unwrap(),
        };
        std::fs::write(bench.folder.path().join("key"), format!("{}\n", bench.server.key())).unwrap();
        bench
    }

    fn model(&self, wire: Wire) -> Model {
        let (provider, api) = match wire {
            Wire::Chat => ("openai", None),
            Wire::Responses => ("openai", Some(Api::Responses)),
            Wire::Local => ("openai_compatible", None),
            Wire::Messages => ("anthropic", None),
            Wire::Bedrock => ("bedrock", None),
            Wire::Gemini => ("gemini", None),
            Wire::Vertex => ("vertex", None),
            Wire::VertexMessages => ("vertex", Some(Api::Messages)),
        };
        Model {
            provider: provider.to_owned(),
            model_id: "some.model-1:0".to_owned(),
            api,
            base_url: Some(self.server.base_url(wire)),
            key_file: Some(self.folder.path().join("key")),
            region: Some("eu-west-1".to_owned()),
            project: Some("p-1".to_owned()),
            supports: Supports { seed: true, ..Supports::default() },
            ..Model::default()
        }
    }

    async fn ask(&self, model: &Model) -> Result<ModelResponse, ModelError> {
        self.ask_until(model, Instant::now() + Duration::from_secs(60)).await
    }

    async fn ask_until(&self, model: &Model, deadline: Instant) -> Result<ModelResponse, ModelError> {
        let said = |author, text: &str| Message { author, text: text.to_owned() };
        let request = ModelRequest {
            role: Role::Planner,
            model,
            system: "You plan.".to_owned(),
            prompt: vec![
                said(Author::User, "Make the link red."),
                said(Author::Assistant, "{}"),
                said(Author::User, "`rollback_plan` is missing."),
            ],
            contract: "planner",
            schema: self.contracts.get("planner").unwrap().schema(),
            recipe: None,
            connect_timeout: Duration::from_secs(2),
            deadline,
        };
        providers::all()[model.provider.as_str()].complete(&request).await
    }

    /// What came of one scripted reply. Exactly one request was made, and the key shows nowhere.
    async fn faced_with(&self, wire: Wire, reply: Reply) -> Result<ModelResponse, ModelError> {
        self.server.clear();
        self.server.script("", "planner", [reply.clone()]);
        let model = self.model(wire);
        let came = self.ask(&model).await;
        let requests = self.server.requests();
        assert_eq!(requests.len(), 1, "{wire:?} {reply:?}: one call is one request");
        assert_eq!(requests[0].refusal, None, "{wire:?}: the interface takes the request");
        if let Err(error) = &came {
            self.assert_no_key(&format!("{error} {error:?}"));
        }
        came
    }

    fn assert_no_key(&self, text: &str) {
        let key = self.server.key();
        for part in [key.as_str(), &key[..8], &key[key.len() - 4..]] {
            assert!(!text.contains(part), "`{part}` of the key in: {text}");
        }
    }
}

fn plan_text() -> String {
    good_plan().to_string()
}

/// S3-4.2a, S4-IMP-27: asked the same, answered the same, charged the same, and really held to the schema.
#[tokio::test]
async fn s3_4_2a_every_provider_sends_the_schema_and_gives_text_and_usage_alike() {
    let bench = Bench::new();
    for wire in Wire::ALL {
        // Absent fields arrive as null from a model that is held to the schema.
        let mut sent = good_plan();
        sent["summary"] = json!(null);
        let came = bench.faced_with(wire, Reply::Answer(sent.to_string())).await.unwrap();
        assert_eq!(serde_json::from_str::<Value>(&came.text).unwrap(), good_plan(), "{wire:?}");
        assert_eq!(came.finish, Finish::Complete, "{wire:?}");
        assert!(["stop", "completed", "end_turn", "STOP"].contains(&came.finish_word.as_str()), "{wire:?}");
        assert_eq!(came.request_id, "req_stand_in", "{wire:?}");
        let (input, cached_input, output, reasoning) = models::USAGE;
        let cache_write = if matches!(wire, Wire::Gemini | Wire::Vertex) { 0 } else { 10 };
        assert_eq!(came.usage, Usage { input, cached_input, cache_write, output, reasoning }, "{wire:?}");

        let request = bench.server.requests().remove(0);
        assert_eq!(request.wire, Some(wire), "{}", request.path);
        let schema =
            request.schema.as_ref().unwrap_or_else(|| panic!("{wire:?}: no schema in {}", request.body));
        assert!(schema["properties"]["rollback_plan"].is_object(), "{wire:?}");
        let body = request.text();
        for part in ["You plan.", "Make the link red.", "`rollback_plan` is missing.", "\"temperature\":0"] {
            assert!(body.contains(part), "{wire:?}: no {part} in {body}");
        }
        let takes_seed = matches!(wire, Wire::Chat | Wire::Local | Wire::Gemini | Wire::Vertex);
        assert_eq!(body.contains("\"seed\":7"), takes_seed, "{wire:?}");
        assert!(body.contains("8192"), "{wire:?}: the output is limited");
        assert!(!body.contains(&bench.server.key()) && !request.path.contains(&bench.server.key()));
    }
}

/// Issue 4, providers: each fault is handled and classed, at every provider.
#[tokio::test]
async fn s0_4_2_every_fault_has_its_class_at_every_provider() {
    use ErrorClass::{
        Authentication, Billing, Connection, ContentPolicy, ContextWindow, DailyQuota, Garbled,
        InvalidRequest, RateLimited, Server,
    };
    let bench = Bench::new();
    for wire in Wire::ALL {
        let is_claude = matches!(wire, Wire::Messages | Wire::VertexMessages);
        for (reply, class) in [
            (Reply::Refused, ContentPolicy),
            (Reply::Blocked, ContentPolicy),
            (Reply::RateLimited(Some(1500)), RateLimited),
            (Reply::RateLimited(None), RateLimited),
            (Reply::Billing, Billing),
            // Anthropic has no quota of a day; its cap is one of spending.
            (Reply::DailyQuota, if is_claude { Billing } else { DailyQuota }),
            (Reply::KeyRejected, Authentication),
            (Reply::InvalidSchema, InvalidRequest),
            (Reply::ContextLength, ContextWindow),
            (Reply::ServerError, Server),
            (Reply::Overloaded, Server),
            (Reply::Redirect, InvalidRequest),
            (Reply::Reset, Connection),
            (Reply::HalfBody, Garbled),
            (Reply::Html, Garbled),
            (Reply::Empty, Garbled),
            (Reply::ErrorInList, RateLimited),
            (Reply::ErrorInside, Server),
        ] {
            let error =
                bench.faced_with(wire, reply.clone()).await.expect_err(&format!("{wire:?} {reply:?}"));
            assert_eq!(error.class, class, "{wire:?} {reply:?}: {error}");
            assert!(error.message.len() > 10, "{wire:?} {reply:?}: {error}");
            let hint = match reply {
                Reply::RateLimited(Some(hint)) => Some(Duration::from_millis(hint.into())),
                Reply::ErrorInList => Some(Duration::from_millis(900)),
                _ => None,
            };
            assert_eq!(error.retry_after, hint, "{wire:?} {reply:?}");
            if reply == Reply::Redirect {
                assert!(
                    error.message.contains("/v1/elsewhere") && error.message.contains("base_url"),
                    "{error}"
                );
            }
            if matches!(reply, Reply::Refused | Reply::Blocked) {
                assert_eq!(error.usage.unwrap().output, models::USAGE.2, "{wire:?}: a refusal is charged");
            }
        }
    }
}

/// A truncated answer is no failure of the provider: the router hears that it was cut off.
#[tokio::test]
async fn a_truncated_answer_says_that_it_is() {
    let bench = Bench::new();
    for wire in Wire::ALL {
        let came = bench.faced_with(wire, Reply::Truncated("{\"rollback".to_owned())).await.unwrap();
        assert_eq!((came.finish, came.text.as_str()), (Finish::CutOff, "{\"rollback"), "{wire:?}");
        let came = bench.faced_with(wire, Reply::Truncated(String::new())).await.unwrap();
        assert_eq!(
            (came.finish, came.text.as_str()),
            (Finish::CutOff, ""),
            "{wire:?}: all went into reasoning"
        );
        assert_eq!(came.usage.output, models::USAGE.2);
    }
}

/// What the text is, is the router's affair: it arrives byte for byte.
#[tokio::test]
async fn s0_2_2d_whatever_the_model_says_arrives_as_it_was_said() {
    let bench = Bench::new();
    let texts = [
        "I would rather explain it in words.".to_owned(),
        "{\"edits\": []}".to_owned(),
        "{\"risk_level\": \"low\", \"risk_level\": \"high\"}".to_owned(),
        format!("Here it is:\n```json\n{}\n```\nGood luck!", plan_text()),
        "\u{0} ü \u{1F600} \\ \" </script>".to_owned(),
    ];
    for wire in Wire::ALL {
        for text in &texts {
            let came = bench.faced_with(wire, Reply::Answer(text.clone())).await.unwrap();
            assert_eq!(&came.text, text, "{wire:?}");
        }
    }
}

#[tokio::test]
async fn a_model_that_hangs_is_given_up_at_the_deadline() {
    let bench = Bench::new();
    for wire in Wire::ALL {
        bench.server.clear();
        bench.server.script("", "planner", [Reply::Hang]);
        let model = bench.model(wire);
        let asking = bench.ask_until(&model, Instant::now() + Duration::from_secs(600));
        let asking = tokio::time::timeout(Duration::from_secs(620), asking);
        let waiting = async {
            bench.server.wait_for_requests(1, Duration::from_secs(30)).await;
            // The clock of this test, not the server's.
            tokio::time::pause();
            tokio::time::advance(Duration::from_secs(601)).await;
        };
        let (came, ()) = tokio::join!(asking, waiting);
        tokio::time::resume();
        assert_eq!(came.expect("the deadline holds").unwrap_err().class, ErrorClass::Timeout, "{wire:?}");
    }
}

#[tokio::test]
async fn a_model_that_cannot_be_held_to_a_schema_reads_it() {
    let bench = Bench::new();
    for wire in Wire::ALL {
        bench.server.clear();
        bench.server.script("", "planner", [Reply::Answer(plan_text())]);
        let mut model = bench.model(wire);
        model.supports = Supports { json_schema: false, temperature: false, ..Supports::default() };
        assert_eq!(bench.ask(&model).await.unwrap().text, plan_text(), "{wire:?}");
        let request = bench.server.requests().remove(0);
        assert_eq!((&request.schema, &request.refusal), (&None, &None), "{wire:?}");
        let body = request.text();
        assert!(body.contains("maxLength") && body.contains("with nothing else"), "{wire:?}: {body}");
        assert!(!body.contains("\"temperature\"") && !body.contains("\"seed\""), "{wire:?}");
    }
}

/// S4-SP3: a wrong key is refused by the stand-in, which repeats it; the error does not.
#[tokio::test]
async fn a_rejected_key_is_in_no_error() {
    let bench = Bench::new();
    let wrong = "sk-proj-Zx81wrongWRONGwrong77aa55";
    std::fs::write(bench.folder.path().join("wrong"), wrong).unwrap();
    for wire in Wire::ALL {
        bench.server.clear();
        let mut model = bench.model(wire);
        model.key_file = Some(bench.folder.path().join("wrong"));
        let error = bench.ask(&model).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Authentication, "{wire:?}: {error}");
        let request = bench.server.requests().remove(0);
        assert!(request.refusal.unwrap().contains(wrong), "{wire:?}: the provider repeats the key");
        let shown = format!("{error} {error:?}");
        assert!(
            !shown.contains("Zx81") && !shown.contains("aa55") && shown.contains("[key]"),
            "{wire:?}: {shown}"
        );
    }
}

#[tokio::test]
async fn a_key_that_is_not_there_is_named_before_anything_is_sent() {
    let bench = Bench::new();
    for wire in Wire::ALL {
        let mut model = bench.model(wire);
        providers::check(&model).unwrap();
        model.key_file = None;
        model.key_env = Some("MILLRACE_TEST_NO_SUCH_KEY".to_owned());
        let problem = providers::check(&model).unwrap_err();
        assert!(problem.contains("MILLRACE_TEST_NO_SUCH_KEY"), "{problem}");
        let error = bench.ask(&model).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Authentication);
        assert!(error.message.contains("MILLRACE_TEST_NO_SUCH_KEY"), "{error}");
    }
    assert!(bench.server.requests().is_empty());
    // A local server needs none.
    let mut model = bench.model(Wire::Local);
    model.key_file = None;
    providers::check(&model).unwrap();
    bench.server.script("", "planner", [Reply::Answer(plan_text())]);
    bench.ask(&model).await.unwrap();
    assert!(!bench.server.requests()[0].headers.contains_key("authorization"));
}

#[tokio::test]
async fn an_address_that_nobody_answers_at_is_a_broken_connection() {
    let bench = Bench::new();
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
    for wire in Wire::ALL {
        let model = Model { base_url: Some(format!("http://{free}/v1")), ..bench.model(wire) };
        let error = bench.ask(&model).await.unwrap_err();
        assert_eq!(error.class, ErrorClass::Connection, "{wire:?}: {error}");
        assert!(error.message.contains(&free.port().to_string()), "{error}");
    }
    // It speaks no TLS.
    let address = bench.server.base_url(Wire::Chat).replace("http:", "https:");
    let error = bench.ask(&Model { base_url: Some(address), ..bench.model(Wire::Chat) }).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Connection, "{error}");
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let bench = Bench::new();
    let text = "x".repeat(17 * 1024 * 1024);
    let error = bench.faced_with(Wire::Chat, Reply::Answer(text)).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Garbled);
    assert!(error.message.contains("16777216 bytes"), "{error}");
}
