//! A provider that says what it is told to, and remembers what it was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use millrace_router::contracts::Contracts;
use millrace_router::{
    Ask, Crew, Finish, Message, ModelError, ModelRequest, ModelResponse, Provider, Role, Router, Usage,
};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Answers in order, the last one again and again.
pub(crate) struct Scripted {
    name: &'static str,
    script: Mutex<VecDeque<Result<String, ModelError>>>,
    pub(crate) asked: Mutex<Vec<(String, Vec<Message>)>>,
}

impl Scripted {
    pub(crate) fn new(
        name: &'static str,
        script: impl IntoIterator<Item = Result<String, ModelError>>,
    ) -> Arc<Self> {
        Arc::new(Self { name, script: Mutex::new(script.into_iter().collect()), asked: Mutex::default() })
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
                finish: Finish::Complete,
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
defaults: {contract_retries: 3, request_timeout_ms: 60000}
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
    Ask {
        role,
        system: "You plan.".to_owned(),
        prompt: "Make the link red.".to_owned(),
        recipe: None,
        deadline: Instant::now() + Duration::from_secs(600),
    }
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
