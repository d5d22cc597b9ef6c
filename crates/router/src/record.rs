//! What is kept of every call, for the event, the blob store and the bill.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::contracts::ContractError;
use crate::crew::Model;
use crate::provider::{Message, ModelError, ModelRequest, ModelResponse, Role, Usage};

/// One call of a model, whatever came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct CallRecord {
    /// For whom.
    pub role: Role,
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
    /// Why the contract refused it; empty unless it did.
    pub contract_errors: Vec<ContractError>,
    /// Why there was no answer; absent if there was one.
    pub error: Option<ModelError>,
    /// From the request to the answer.
    pub duration: Duration,
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
    pub(crate) fn opened(request: &ModelRequest<'_>, provider: &str) -> Self {
        let prompt = Prompt { system: &request.system, messages: &request.prompt, contract: request.schema };
        // Strings, lists and maps with string keys always have a JSON form.
        let prompt = serde_json::to_string(&prompt).unwrap_or_default();
        Self {
            role: request.role,
            provider: provider.to_owned(),
            model: request.model.model_id.clone(),
            prompt_sha256: sha256(&prompt),
            prompt,
            answer: None,
            answer_sha256: None,
            usage: Usage::default(),
            cost_micro_usd: 0,
            verdict: Verdict::Failed,
            repaired: false,
            contract_errors: Vec::new(),
            error: None,
            duration: Duration::ZERO,
        }
    }

    pub(crate) fn fill(&mut self, response: &ModelResponse, model: &Model) {
        self.answer_sha256 = Some(sha256(&response.text));
        self.answer = Some(response.text.clone());
        self.usage = response.usage;
        self.cost_micro_usd = model.price.micro_usd(&response.usage);
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
