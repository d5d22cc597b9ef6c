//! What is kept of every call, for the event, the blob store and the bill.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::answer::Repair;
use crate::contracts::ContractError;
use crate::crew::{Crew, Policy};
use crate::provider::{ErrorClass, Message, ModelError, ModelRequest, ModelResponse, Role, Usage};
use crate::select::{Considered, Pick};

/// One call of a model, whatever came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct CallRecord {
    /// For whom.
    pub role: Role,
    /// The model's name in the crew file.
    pub name: String,
    /// Through which provider.
    pub provider: String,
    /// The provider's id of the model.
    pub model: String,
    /// What was sent, as JSON: system prompt, messages, contract.
    pub prompt: String,
    /// SHA-256 of `prompt`, in hexadecimal.
    pub prompt_sha256: String,
    /// What came back, if anything did.
    pub answer: Option<String>,
    /// SHA-256 of `answer`, in hexadecimal.
    pub answer_sha256: Option<String>,
    /// What it is charged for.
    pub usage: Usage,
    /// Tokens times the crew file's prices, in millionths of a US dollar.
    pub cost_micro_usd: u64,
    /// What became of it.
    pub verdict: Verdict,
    /// Whether the JSON had to be freed of a fence, prose or a trailing comma.
    pub repaired: bool,
    /// Which of them, by name.
    pub repairs: Vec<Repair>,
    /// Why the contract refused it; empty unless it did.
    pub contract_errors: Vec<ContractError>,
    /// Why there was no answer; absent if there was one.
    pub error: Option<ModelError>,
    /// From the first request to the answer.
    pub duration: Duration,
    /// The whole choice, in the order of the policy.
    pub candidates: Vec<Considered>,
    /// The policy that put them into that order.
    pub policy: Policy,
    /// SHA-256 of the crew file, in hexadecimal.
    pub crew_sha256: String,
    /// Requests that were sent for it.
    pub requests: u32,
    /// The light model was taken because money runs short.
    pub downgraded: bool,
    /// The provider's own word for how it ended, such as `end_turn`.
    pub finish: String,
    /// The provider's id of the last request; empty where it has none.
    pub request_id: String,
    /// Where the prompt comes from.
    pub origin: Origin,
}

/// Where a prompt comes from: carried from the question into its records, and of no influence on anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The prompt artifact, such as `implementer`.
    pub prompt: String,
    /// Its version.
    pub prompt_version: String,
    /// SHA-256 of its bytes before the task's own texts were put in.
    pub artifact_sha256: String,
    /// SHA-256 of the canonical persona.
    pub persona_sha256: String,
    /// Which of two versions that run side by side this is.
    pub variant: String,
}

/// Another model than the one that was asked first, for a reason that the crew file allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    /// For whom.
    pub role: Role,
    /// The name in the crew file of the one that failed.
    pub from: String,
    /// The name in the crew file of the one that stepped in.
    pub to: String,
    /// How it failed.
    pub class: ErrorClass,
    /// What it said.
    pub reason: String,
}

/// What was done for a question, whatever came of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trail {
    /// Every call, oldest first.
    pub calls: Vec<CallRecord>,
    /// Every time that another model stepped in.
    pub fallbacks: Vec<Fallback>,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The answer satisfies the contract.
    Accepted,
    /// It does not.
    ContractViolated,
    /// There was no answer.
    Failed,
}

impl CallRecord {
    pub(crate) fn opened(
        request: &ModelRequest<'_>,
        pick: &Pick,
        crew: &Crew,
        policy: Policy,
        origin: &Origin,
    ) -> Self {
        let prompt = Prompt { system: &request.system, messages: &request.prompt, contract: request.schema };
        // Strings, lists and maps with string keys always have a JSON form.
        let prompt = serde_json::to_string(&prompt).unwrap_or_default();
        Self {
            role: request.role,
            name: pick.name.clone(),
            provider: request.model.provider.clone(),
            model: request.model.model_id.clone(),
            prompt_sha256: sha256(&prompt),
            prompt,
            answer: None,
            answer_sha256: None,
            usage: Usage::default(),
            cost_micro_usd: 0,
            verdict: Verdict::Failed,
            repaired: false,
            repairs: Vec::new(),
            contract_errors: Vec::new(),
            error: None,
            duration: Duration::ZERO,
            candidates: pick.considered.clone(),
            policy,
            crew_sha256: crew.sha256().to_owned(),
            requests: 0,
            downgraded: pick.downgraded,
            finish: String::new(),
            request_id: String::new(),
            origin: origin.clone(),
        }
    }

    /// Keeps what one request brought. What several requests cost is added up.
    pub(crate) fn fill(&mut self, response: &Result<ModelResponse, ModelError>, cost: u64) {
        self.requests += 1;
        self.cost_micro_usd = self.cost_micro_usd.saturating_add(cost);
        match response {
            Ok(response) => {
                self.answer_sha256 = Some(sha256(&response.text));
                self.answer = Some(response.text.clone());
                self.add(&response.usage);
                self.error = None;
                self.finish.clone_from(&response.finish_word);
                self.request_id.clone_from(&response.request_id);
            }
            Err(error) => {
                self.add(&error.usage.unwrap_or_default());
                self.request_id.clone_from(&error.request_id);
                self.error = Some(error.clone());
            }
        }
    }

    fn add(&mut self, usage: &Usage) {
        let sum = &mut self.usage;
        for (total, more) in [
            (&mut sum.input, usage.input),
            (&mut sum.cached_input, usage.cached_input),
            (&mut sum.cache_write, usage.cache_write),
            (&mut sum.output, usage.output),
            (&mut sum.reasoning, usage.reasoning),
        ] {
            *total = total.saturating_add(more);
        }
    }
}

/// The prompt as it is kept: everything that shapes the answer.
#[derive(Serialize)]
struct Prompt<'a> {
    system: &'a str,
    messages: &'a [Message],
    contract: &'a Value,
}

fn sha256(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}
