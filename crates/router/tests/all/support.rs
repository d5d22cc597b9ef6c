//! A provider that says what it is told to, and remembers what it was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use millrace_router::contracts::Contracts;
use millrace_router::{
    Ask, Crew, ErrorClass, Finish, Message, ModelError, ModelRequest, ModelResponse, Provider, Role, Router,
    Usage,
};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Answers in order, the last one again and again.
pub(crate) struct Scripted {
    name: &'static str,
    script: Mutex<VecDeque<Result<String, ModelError>>>,
    pub(crate) asked: Mutex<Vec<(String, Vec<Message>)>>,
    /// How long an answer takes.
    pub(crate) delay: Mutex<Duration>,
    finish: Finish,
}

impl Scripted {
    pub(crate) fn new(
        name: &'static str,
        script: impl IntoIterator<Item = Result<String, ModelError>>,
    ) -> Arc<Self> {
        Arc::new(Self::plain(name, script))
    }

    fn plain(name: &'static str, script: impl IntoIterator<Item = Result<String, ModelError>>) -> Self {
        Self {
            name,
            script: Mutex::new(script.into_iter().collect()),
            asked: Mutex::default(),
            delay: Mutex::default(),
            finish: Finish::Complete,
        }
    }

    /// Every answer is cut off.
    pub(crate) fn cut_off(name: &'static str, text: &str) -> Arc<Self> {
        Arc::new(Self { finish: Finish::CutOff, ..Self::plain(name, [Ok(text.to_owned())]) })
    }

    /// Always a good plan.
    pub(crate) fn good(name: &'static str) -> Arc<Self> {
        Self::new(name, [Ok(good_plan().to_string())])
    }

    /// Always this failure.
    pub(crate) fn failing(name: &'static str, class: ErrorClass) -> Arc<Self> {
        Self::new(name, [Err(ModelError::new(class, "as told"))])
    }

    pub(crate) fn calls(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

#[async_trait]
impl Provider for Scripted {
    fn name(&self) -> &str {
        self.name
    }

    async fn complete(&self, request: &ModelRequest<'_>) -> Result<ModelResponse, ModelError> {
        self.asked.lock().unwrap().push((request.model.model_id.clone(), request.prompt.clone()));
        let delay = *self.delay.lock().unwrap();
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let next = {
            let mut script = self.script.lock().unwrap();
            match script.len() {
                0 => None,
                1 => script.front().cloned(),
                _ => script.pop_front(),
            }
        };
        match next {
            Some(answer) => answer.map(|text| ModelResponse {
                text,
                usage: Usage { input: 1000, output: 10, ..Usage::default() },
                finish: self.finish,
                finish_word: String::new(),
                request_id: String::new(),
            }),
            // An empty script is a model that never answers.
            None => std::future::pending().await,
        }
    }
}

pub(crate) const CREW: &str = r#"
version: "3"
defaults: {contract_retries: 3, timeout: {request_ms: 60000}}
models:
  one: {provider: first, model_id: model-1, price: {input: 3.0e-6, output: 15.0e-6}}
  two: {provider: second, model_id: model-2}
roles:
  planner: {candidates: [one, two]}
  implementer: {candidates: [two]}
"#;

pub(crate) fn router(crew: &str, providers: Vec<Arc<dyn Provider>>) -> Router {
    let crew = Crew::parse(crew, "crew.yaml").unwrap();
    Router::new(crew, Contracts::bundled().unwrap(), providers).unwrap()
}

pub(crate) fn ask(role: Role) -> Ask {
    let deadline = Instant::now() + Duration::from_secs(600);
    Ask { task: "VTID-01213".to_owned(), ..Ask::new(role, "You plan.", "Make the link red.", deadline) }
}

pub(crate) fn good_plan() -> Value {
    json!({
        "rollback_plan": "revert the commit",
        "idempotency_key": "VTID-01213-red",
        "risk_level": "low",
        "steps": ["edit the style sheet"],
    })
}

pub(crate) fn good_change() -> Value {
    json!({
        "edits": [
            {"path": "site/style.css", "action": "replace", "find": "blue", "replace": "red"},
            {"path": ".gitignore", "action": "write", "content": ""},
            {"path": "old.txt", "action": "delete"},
        ],
        "commands": ["make check"],
        "dry_run": false,
        "pr_required": true,
        "rollback_commands": [],
    })
}
