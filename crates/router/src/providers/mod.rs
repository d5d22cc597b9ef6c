//! Models that are reached over HTTP: OpenAI, Anthropic, Bedrock, Gemini, Vertex, and what speaks OpenAI's language.
//!
//! Read in this order: [`all`], `config` (what is known of each provider), `openai`, `anthropic` and `gemini` (one
//! per language: a body there, an answer back), `schema` (what of a contract can be enforced), `errors` and `hints`
//! (what went wrong, and when to come back), `keys`, `transport`. One call is one request; asking again is the
//! router's affair.

mod anthropic;
mod config;
mod errors;
mod gemini;
mod hints;
mod keys;
mod openai;
mod schema;
mod transport;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use crate::crew::{Api, Model};
use crate::provider::{ErrorClass, ModelError, ModelRequest, ModelResponse, Provider, Usage};

use config::{PROFILES, Profile, SentAs};
use keys::{Environment, Key, process_environment};
use transport::{Call, Reply, Transport};

/// What is sent to models that take a seed, so that the same question has the same answer as far as that goes.
const SEED: u32 = 7;
/// Headers in which providers name a request, the first that is there.
const REQUEST_IDS: [&str; 4] = ["x-request-id", "request-id", "x-amzn-requestid", "x-goog-request-id"];
/// Characters of an unreadable answer that are shown.
const SHOWN: usize = 160;

/// Every provider that is reached over HTTP, by the name that `provider:` in the crew file has.
#[must_use]
pub fn all() -> BTreeMap<&'static str, Arc<dyn Provider>> {
    let transport = Arc::new(Transport::default());
    let remote = |profile: &'static Profile| {
        let transport = Arc::clone(&transport);
        Arc::new(Remote { profile, transport, environment: process_environment }) as Arc<dyn Provider>
    };
    PROFILES.iter().map(|profile| (profile.name, remote(profile))).collect()
}

/// Whether a model can be asked as the crew file has it: its address is whole, its interface is spoken, its key is
/// there. Nothing is sent. A model of a provider that is not one of [`all`] is nobody's business here.
///
/// # Errors
/// One sentence that begins with the key of the crew file, or names the variable, that is missing or wrong.
pub fn check(model: &Model) -> Result<(), String> {
    let Some(profile) = Profile::named(&model.provider) else { return Ok(()) };
    if model.model_id.trim().is_empty() {
        return Err("`model_id` is empty".to_owned());
    }
    let url = profile.url(model, process_environment)?;
    transport::check(&url).map_err(|error| format!("`base_url`: {error}"))?;
    Key::load(profile, model, process_environment).map(drop)
}

/// One provider that is reached over HTTP.
struct Remote {
    profile: &'static Profile,
    transport: Arc<Transport>,
    environment: Environment,
}

#[async_trait]
impl Provider for Remote {
    fn name(&self) -> &str {
        self.profile.name
    }

    async fn complete(&self, request: &ModelRequest<'_>) -> Result<ModelResponse, ModelError> {
        let key = Key::load(self.profile, request.model, self.environment)
            .map_err(|problem| ModelError::new(ErrorClass::Authentication, problem))?;
        // The one way out: whatever a provider said, no key leaves here.
        match self.exchange(request, key.as_ref()).await {
            Ok(mut response) => {
                response.request_id = keys::word(&response.request_id, key.as_ref());
                response.finish_word = keys::word(&response.finish_word, key.as_ref());
                Ok(response)
            }
            Err(mut error) => {
                error.message = keys::scrub(&error.message, key.as_ref());
                error.request_id = keys::word(&error.request_id, key.as_ref());
                Err(error)
            }
        }
    }
}

impl Remote {
    async fn exchange(
        &self,
        request: &ModelRequest<'_>,
        key: Option<&Key>,
    ) -> Result<ModelResponse, ModelError> {
        let api = self.profile.api(request.model).map_err(misconfigured)?;
        let call = self.call(request, api, key)?;
        let reply = self.transport.post(call, request.connect_timeout, request.deadline).await?;
        let id = request_id(&reply);
        let named = |mut error: ModelError| {
            if error.request_id.is_empty() {
                error.request_id.clone_from(&id);
            }
            error
        };
        if !(200..300).contains(&reply.status) {
            return Err(named(errors::of_reply(&reply)));
        }
        let body: Value =
            serde_json::from_slice(&reply.body).map_err(|error| named(unreadable(&reply, &error)))?;
        let body = errors::unwrapped(body);
        if let Some(error) = errors::inside(&reply, &body) {
            return Err(named(error));
        }
        let answered = match api {
            Api::ChatCompletions => openai::chat_answer(&body),
            Api::Responses => openai::responses_answer(&body),
            Api::Messages => anthropic::answer(&body),
            Api::GenerateContent => gemini::answer(&body),
        };
        let mut response = answered.map_err(named)?;
        response.text = schema::restore(response.text, request.schema);
        if !id.is_empty() {
            response.request_id = id;
        }
        Ok(response)
    }

    fn call(&self, request: &ModelRequest<'_>, api: Api, key: Option<&Key>) -> Result<Call, ModelError> {
        let profile = self.profile;
        let url = profile.url(request.model, self.environment).map_err(misconfigured)?;
        let schema = request.model.supports.json_schema.then(|| schema::subset(request.schema)).flatten();
        let system = system(request, schema.is_some());
        let body = match api {
            Api::ChatCompletions => openai::chat(request, &system, schema, profile.is_openai()),
            Api::Responses => openai::responses(request, &system, schema),
            Api::Messages => anthropic::body(request, &system, schema, profile.name),
            Api::GenerateContent => gemini::body(request, &system, schema),
        };
        let mut headers = Vec::new();
        if profile.name == "anthropic" {
            headers.push((anthropic::VERSION.0, anthropic::VERSION.1.to_owned()));
        }
        headers.extend(key.map(|key| match profile.sent_as {
            SentAs::Bearer => ("authorization", format!("Bearer {}", key.expose())),
            SentAs::Header(name) => (name, key.expose().to_owned()),
        }));
        Ok(Call { url, headers, body: body.to_string().into_bytes() })
    }
}

/// The system prompt. A model that is not held to the schema has to read it.
fn system(request: &ModelRequest<'_>, is_held: bool) -> String {
    if is_held {
        return request.system.clone();
    }
    format!(
        "{}\n\nAnswer with one JSON object that satisfies this JSON Schema, and with nothing else:\n{}",
        request.system, request.schema
    )
}

fn output_limit(request: &ModelRequest<'_>) -> u64 {
    request.model.output_tokens()
}

fn misconfigured(problem: String) -> ModelError {
    ModelError::new(ErrorClass::InvalidRequest, format!("the crew file: {problem}"))
}

fn request_id(reply: &Reply) -> String {
    let found = REQUEST_IDS.iter().find_map(|name| reply.headers.get(*name)?.to_str().ok());
    found.unwrap_or_default().to_owned()
}

fn unreadable(reply: &Reply, error: &serde_json::Error) -> ModelError {
    let text = String::from_utf8_lossy(&reply.body);
    let shown = keys::beginning(&text, SHOWN);
    ModelError::new(ErrorClass::Garbled, format!("status {} with no JSON ({error}): {shown}", reply.status))
}

/// An answer of the right form without what was asked for.
fn garbled(what: &str, usage: Usage) -> ModelError {
    ModelError { usage: Some(usage), ..ModelError::new(ErrorClass::Garbled, what) }
}

/// The model, or its provider, declines.
fn refused(what: &str, usage: Usage) -> ModelError {
    ModelError {
        usage: Some(usage),
        ..ModelError::new(ErrorClass::ContentPolicy, keys::beginning(what, 600))
    }
}

/// Sets a field of an object.
fn set(object: &mut Value, name: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(name.to_owned(), value);
    }
}

/// A number of tokens; 0 where there is none.
fn count(body: &Value, pointer: &str) -> u64 {
    body.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}
