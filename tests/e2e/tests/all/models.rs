//! Tasks that models carry out: the whole way, at every provider, and with what goes wrong there. The providers are
//! the stand-in; everything else is real.

use std::path::PathBuf;
use std::time::Duration;

use millrace_e2e::{Cluster, Options};
use millrace_events::{Event, Log, WorkerEvent};
use millrace_rpc::v1::TaskStatus;
use millrace_testkit::models::{ModelServer, Reply, Wire};
use serde_json::{Value, json};

const BOUND: Duration = Duration::from_secs(60);

/// One cluster whose crew is written anew as often as a test likes.
struct Bench {
    cluster: Cluster,
    /// What the crew's first model is.
    server: ModelServer,
    /// What its second one is.
    other: ModelServer,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (server, other) = (ModelServer::start(), ModelServer::start());
        std::fs::write(folder.path().join("key"), server.key()).unwrap();
        std::fs::write(folder.path().join("other"), other.key()).unwrap();
        let mut options = Options::default();
        let crew = folder.path().join("crew.yaml");
        options.config.push_str(&format!("\n[worker]\ncrew = \"{}\"\n", crew.display()));
        write_crew(&crew, &model(&server, Wire::Chat, &folder.path().join("key")), None);
        let cluster = Cluster::start_with(options).await;
        Self { cluster, server, other, folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// From the next question on the models are these. The second one, if any, is OpenAI's.
    fn crew(&self, wire: Wire, has_second: bool) {
        let first = model(&self.server, wire, &self.file("key"));
        let second = has_second.then(|| model(&self.other, Wire::Chat, &self.file("other")));
        write_crew(&self.file("crew.yaml"), &first, second.as_deref());
    }

    /// A spec without a plan, with a word of its own that every question about it holds.
    fn task(&self, number: &str) -> (String, String) {
        let (task, word) = (format!("VTID-{number}"), format!("heron-{number}"));
        let text = format!(
            "# {task}: another page\n\n## Summary\n\nThe page shows the word {word}.\n\n## Problem\n\nIt says the wrong \
             thing today.\n\n## Acceptance Criteria\n\n- [ ] The page shows {word}.\n"
        );
        self.cluster.repository.add_spec(number, text);
        (task, word)
    }

    /// What the worker's log says of each call for a task: an event of its own.
    async fn calls(&self, task: &str) -> Vec<Value> {
        let log = self.cluster.history(task).await;
        let called = log.iter().filter(|event| event.name == "ModelCalled");
        called.map(|event| Cluster::data(event)["call"].clone()).collect()
    }

    /// Neither key stands in any event or log of a process.
    async fn assert_no_key_anywhere(&self, tasks: &[String]) {
        let mut texts: Vec<(String, String)> =
            Cluster::names().iter().map(|name| (name.clone(), self.cluster.log_of(name))).collect();
        for task in tasks {
            for event in self.cluster.history(task).await {
                texts.push((format!("{task} {}", event.name), event.data));
            }
        }
        for key in [self.server.key(), self.other.key()] {
            for (place, text) in &texts {
                assert!(!text.contains(&key), "a key stands in {place}");
            }
        }
    }
}

fn model(server: &ModelServer, wire: Wire, key: &std::path::Path) -> String {
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
    format!(
        "{{provider: {provider}, model_id: {wire:?}-model, api: {api}, base_url: \"{}\", key_file: \"{}\", region: r-1, \
         project: p, price: {{input: 1.0e-6, output: 2.0e-6}}, cooldown: {{after_fails: 1000}}}}",
        server.base_url(wire),
        key.display()
    )
}

fn write_crew(path: &std::path::Path, first: &str, second: Option<&str>) {
    let models = match second {
        Some(second) => format!("  first: {first}\n  second: {second}\n"),
        None => format!("  first: {first}\n"),
    };
    let candidates = if second.is_some() { "[first, second]" } else { "[first]" };
    let text = format!(
        "version: \"3\"\ndefaults:\n  retry: {{on: [429, 500, 503, 529, connection_reset, timeout, garbled], attempts: 4, base_ms: 10, max_ms: 20}}\nmodels:\n{models}roles:\n  \
         planner: {{candidates: {candidates}}}\n  implementer: {{candidates: {candidates}}}\n  \
         reviewer: {{candidates: {candidates}}}\n"
    );
    // In one step: a worker never reads half of it.
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, path).unwrap();
}

/// The page that a task writes: its own, so that no question about another task holds its word.
fn page_of(word: &str) -> String {
    format!("{}.txt", word.replace("heron", "page"))
}

/// Good answers to every question about the task with that word; what is scripted before goes first.
fn answer_well(server: &ModelServer, word: &str) {
    let page = page_of(word);
    let risks = json!([{"what": "a typo", "likelihood": "low", "impact": "low", "mitigation": "a check"}]);
    let rubric: Vec<Value> = ["correctness", "completeness", "safety", "simplicity", "tests"]
        .iter()
        .map(|criterion| json!({"criterion": criterion, "score": 9, "reason": "It does what is asked."}))
        .collect();
    for (contract, answer) in [
        (
            "risk_report",
            json!({
                "risk_level": "low", "risks": risks, "blast_radius": "one page", "touches_data": false,
                "touches_security": false, "reversible": true, "rollback_plan": "revert the commit", "approvals_needed": [],
            }),
        ),
        (
            "problem_spec",
            json!({
                "title": "Another page", "problem": "The page says the wrong thing.", "goals": [format!("It shows {word}.")],
                "non_goals": [], "constraints": [], "open_questions": [],
                "acceptance_criteria": [{"id": "A1", "text": format!("The page shows {word}."), "how_checked": "grep"}],
            }),
        ),
        ("planner", plan(word)),
        (
            "plan",
            json!({
                "summary": "Write the page.", "rollback_plan": "revert the commit", "risk_level": "low", "tests": ["grep"],
                "steps": [{"id": "1", "what": "write the page", "files": [page], "check": "grep"}],
                "file_map": [{"path": page, "action": "create", "why": "It holds the text."}],
            }),
        ),
        (
            "worker",
            json!({
                "edits": [{"path": page, "action": "write", "content": format!("{word}\n")}],
                "commands": [format!("grep -q {word} {page}")], "dry_run": false, "pr_required": true,
                "rollback_commands": [], "title": "Another page", "summary": "The page says something else.",
            }),
        ),
        (
            "reviewer",
            json!({
                "rubric": rubric, "code_quality_score": 90, "verdict": "approve", "findings": [], "summary": "Good.",
            }),
        ),
        (
            "pr_summary",
            json!({
                "title": "Another page", "what": "The page.", "why": "It was asked for.", "how_tested": "grep",
                "risk_level": "low", "rollback_plan": "revert the commit",
            }),
        ),
    ] {
        server.script(word, contract, [Reply::Answer(answer.to_string())]);
    }
}

fn plan(word: &str) -> Value {
    json!({"rollback_plan": "revert the commit", "idempotency_key": word, "risk_level": "low", "steps": ["write the page"]})
}

/// S3-4.2a, S0-4.4, S0-4.2, S0-2.2d: one task released per provider; then one through a rate limit, garbage and a
/// broken contract; then through a second model; then what must not be carried on.
#[tokio::test(flavor = "multi_thread")]
async fn s3_4_2a_models_of_every_provider_release_a_task_and_faults_change_nothing_else() {
    let bench = Bench::start().await;
    let mut tasks = released_by_every_provider(&bench).await;
    tasks.push(released_through_faults(&bench).await);
    tasks.push(released_by_the_second_model(&bench).await);
    tasks.push(blocked_by_the_bill(&bench).await);
    tasks.push(blocked_by_free_text(&bench).await);
    bench.assert_no_key_anywhere(&tasks).await;
    assert!(bench.cluster.log(Log::DeadLetter).await.is_empty());
}

async fn released_by_every_provider(bench: &Bench) -> Vec<String> {
    let wires =
        [Wire::Chat, Wire::Responses, Wire::Local, Wire::Messages, Wire::Bedrock, Wire::Gemini, Wire::Vertex];
    let mut tasks = Vec::new();
    for (number, wire) in wires.into_iter().enumerate() {
        bench.crew(wire, false);
        let (task, word) = bench.task(&format!("{:05}", 400 + number));
        answer_well(&bench.server, &word);
        bench.cluster.wait_for(&task, TaskStatus::Complete, BOUND).await;
        let page = bench.cluster.repository.git(&["show", &format!("main:{}", page_of(&word))]);
        assert_eq!(page, word, "{wire:?}");
        let requests = bench.server.requests_with(&word);
        assert!(requests.len() >= 3, "{wire:?}: a plan, a change and a review at least");
        for request in &requests {
            assert_eq!(request.wire, Some(wire));
            assert_eq!(request.refusal, None, "{wire:?}");
            assert!(
                request.schema.is_some(),
                "{wire:?}: {} is asked for without its schema",
                request.contract
            );
        }
        let calls = bench.calls(&task).await;
        assert_eq!(calls.len(), requests.len(), "{wire:?}: every request is recorded");
        assert!(calls.iter().all(|call| call["model"] == format!("{wire:?}-model")), "{calls:?}");
        tasks.push(task);
    }
    tasks
}

/// 429 then ok, garbage then ok, a broken contract then ok, in one task.
async fn released_through_faults(bench: &Bench) -> String {
    bench.crew(Wire::Messages, false);
    let word = "heron-00410";
    let mut broken = plan(word);
    broken.as_object_mut().unwrap().remove("rollback_plan");
    // Anthropic's schema makes the field a required one; a model that is not held to it leaves it out.
    let (broken, good) = (Reply::Answer(broken.to_string()), Reply::Answer(plan(word).to_string()));
    bench.server.script(word, "planner", [Reply::RateLimited(Some(30)), Reply::Html, broken, good]);
    answer_well(&bench.server, word);
    let (task, _) = bench.task("00410");
    bench.cluster.wait_for(&task, TaskStatus::Complete, BOUND).await;
    let requests = bench.server.requests_with(word);
    let asked: Vec<String> = requests
        .iter()
        .filter(|request| request.contract == "planner")
        .map(|request| request.text())
        .collect();
    assert!(asked.len() >= 4, "a limit, garbage, a broken contract, a plan: {}", asked.len());
    let last = asked.last().unwrap();
    // S0-4.4: the exact error, and the answer that it is about.
    assert!(last.contains("/rollback_plan: this field is required and missing"), "{last}");
    assert!(!asked[0].contains("/rollback_plan: this field"));
    task
}

/// S0-4.2: the primary is overloaded, the second one answers, and the events show both.
async fn released_by_the_second_model(bench: &Bench) -> String {
    bench.crew(Wire::Gemini, true);
    let word = "heron-00411";
    for contract in ["risk_report", "problem_spec", "planner", "plan", "worker", "reviewer", "pr_summary"] {
        bench.server.script(word, contract, [Reply::Overloaded]);
    }
    answer_well(&bench.other, word);
    let (task, _) = bench.task("00411");
    bench.cluster.wait_for(&task, TaskStatus::Complete, BOUND).await;
    assert!(!bench.server.requests_with(word).is_empty() && !bench.other.requests_with(word).is_empty());
    let calls = format!("{:?}", bench.calls(&task).await);
    assert!(calls.contains("Gemini-model") && calls.contains("Chat-model"), "{calls}");
    task
}

/// S0-4.2: only a person can pay a bill. Nobody else is asked, and the task waits.
async fn blocked_by_the_bill(bench: &Bench) -> String {
    bench.crew(Wire::Messages, true);
    let word = "heron-00412";
    for contract in ["risk_report", "problem_spec", "planner"] {
        bench.server.script(word, contract, [Reply::Billing]);
    }
    let (task, _) = bench.task("00412");
    let found = bench.cluster.wait_for(&task, TaskStatus::Blocked, BOUND).await;
    assert_eq!(found.failure.unwrap().code, "MODEL_QUOTA_EXHAUSTED");
    assert_eq!(bench.server.requests_with(word).len(), 1, "a bill is not asked about twice");
    assert!(bench.other.requests_with(word).is_empty(), "nor is another provider");
    task
}

/// S0-2.2d: words are no answer. Nothing is run, written or proposed for them.
async fn blocked_by_free_text(bench: &Bench) -> String {
    bench.crew(Wire::Responses, false);
    let word = "heron-00413";
    let prose = Reply::Answer("I would write the page, run `rm -rf .` and open a pull request.".to_owned());
    bench.server.script(word, "worker", [prose]);
    answer_well(&bench.server, word);
    let (task, _) = bench.task("00413");
    let found = bench.cluster.wait_for(&task, TaskStatus::Blocked, BOUND).await;
    assert_eq!(found.failure.unwrap().code, "CONTRACT_VIOLATION");
    let asked = bench.server.requests_with(word).into_iter().filter(|request| request.contract == "worker");
    assert_eq!(asked.count(), 4, "one answer and three corrections");
    let branches = bench.cluster.repository.git(&["for-each-ref", "refs/heads/millrace"]);
    assert!(!branches.contains(&task), "{branches}");
    assert_eq!(bench.cluster.repository.commits_of(&task), 0);
    let worker = bench.cluster.log(Log::Worker).await;
    let completed = worker.iter().filter(|event| {
        matches!(event, Event::Worker(WorkerEvent::ExecutionCompleted(done)) if done.task.as_ref().is_some_and(|of| of.task == task))
    });
    assert_eq!(completed.count(), 0);
    task
}
