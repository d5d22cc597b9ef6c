//! OpenAI's two interfaces: chat completions, which many others speak too, and responses.

use serde_json::{Value, json};

use crate::provider::{Author, ErrorClass, Finish, ModelError, ModelRequest, ModelResponse, Usage};

use super::{SEED, count, garbled, refused, set};

/// The body of `POST /chat/completions`. Others than OpenAI know the older names of fields and roles only.
pub(super) fn chat(
    request: &ModelRequest<'_>,
    system: &str,
    schema: Option<Value>,
    is_openai: bool,
) -> Value {
    let mut messages = vec![json!({
        "role": if is_openai { "developer" } else { "system" },
        "content": system,
    })];
    messages.extend(turns(request));
    let limit = if is_openai { "max_completion_tokens" } else { "max_tokens" };
    let mut body = json!({
        "model": request.model.model_id,
        "messages": messages,
        limit: super::output_limit(request),
    });
    if let Some(schema) = schema {
        set(
            &mut body,
            "response_format",
            json!({
                "type": "json_schema",
                "json_schema": {"name": request.contract, "strict": true, "schema": schema},
            }),
        );
    }
    if request.model.supports.temperature {
        set(&mut body, "temperature", json!(0));
    }
    if request.model.supports.seed {
        set(&mut body, "seed", json!(SEED));
    }
    body
}

/// The answer of `POST /chat/completions`.
pub(super) fn chat_answer(body: &Value) -> Result<ModelResponse, ModelError> {
    let usage = Usage {
        input: count(body, "/usage/prompt_tokens"),
        cached_input: count(body, "/usage/prompt_tokens_details/cached_tokens"),
        cache_write: count(body, "/usage/prompt_tokens_details/cache_write_tokens"),
        output: count(body, "/usage/completion_tokens"),
        reasoning: count(body, "/usage/completion_tokens_details/reasoning_tokens"),
    };
    let choice = body.pointer("/choices/0").ok_or_else(|| garbled("there is no choice", usage))?;
    let word = choice.get("finish_reason").and_then(Value::as_str).unwrap_or_default();
    let text = |name: &str| choice.pointer(&format!("/message/{name}")).and_then(Value::as_str);
    if let Some(refusal) = text("refusal").filter(|refusal| !refusal.is_empty()) {
        return Err(refused(refusal, usage));
    }
    if word == "content_filter" {
        return Err(refused("the answer was withheld (content_filter)", usage));
    }
    let finish = if word == "length" { Finish::CutOff } else { Finish::Complete };
    match text("content").filter(|content| !content.is_empty()) {
        Some(content) => Ok(answer(content.to_owned(), usage, finish, word, id(body))),
        // All tokens went into reasoning.
        None if finish == Finish::CutOff => Ok(answer(String::new(), usage, finish, word, id(body))),
        None => Err(garbled(&format!("the choice has no content (finish_reason `{word}`)"), usage)),
    }
}

/// The body of `POST /responses`. Nothing is stored at the provider.
pub(super) fn responses(request: &ModelRequest<'_>, system: &str, schema: Option<Value>) -> Value {
    let mut body = json!({
        "model": request.model.model_id,
        "instructions": system,
        "input": turns(request),
        "max_output_tokens": super::output_limit(request),
        "store": false,
    });
    if let Some(schema) = schema {
        set(
            &mut body,
            "text",
            json!({"format": {
                "type": "json_schema", "name": request.contract, "strict": true, "schema": schema,
            }}),
        );
    }
    if request.model.supports.temperature {
        set(&mut body, "temperature", json!(0));
    }
    body
}

/// The answer of `POST /responses`.
pub(super) fn responses_answer(body: &Value) -> Result<ModelResponse, ModelError> {
    let usage = Usage {
        input: count(body, "/usage/input_tokens"),
        cached_input: count(body, "/usage/input_tokens_details/cached_tokens"),
        cache_write: count(body, "/usage/input_tokens_details/cache_write_tokens"),
        output: count(body, "/usage/output_tokens"),
        reasoning: count(body, "/usage/output_tokens_details/reasoning_tokens"),
    };
    let status = body.get("status").and_then(Value::as_str).unwrap_or_default();
    let why = body.pointer("/incomplete_details/reason").and_then(Value::as_str).unwrap_or_default();
    let finish = match (status, why) {
        ("completed", _) => Finish::Complete,
        ("incomplete", "content_filter") => {
            return Err(refused("the answer was withheld (content_filter)", usage));
        }
        ("incomplete", _) => Finish::CutOff,
        ("failed", _) => return Err(failed(body, usage)),
        _ => return Err(garbled(&format!("the response's status is `{status}`"), usage)),
    };
    let items = body.get("output").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let messages = items.iter().filter(|item| item.get("type").is_some_and(|kind| kind == "message"));
    let parts = messages.filter_map(|item| item.get("content")?.as_array()).flatten();
    let mut text = String::new();
    for part in parts {
        if let Some(refusal) = part.get("refusal").and_then(Value::as_str) {
            return Err(refused(refusal, usage));
        }
        if part.get("type").is_some_and(|kind| kind == "output_text") {
            text.push_str(part.get("text").and_then(Value::as_str).unwrap_or_default());
        }
    }
    if text.is_empty() && finish == Finish::Complete {
        return Err(garbled("the response has no text", usage));
    }
    let word = if why.is_empty() { status } else { why };
    Ok(answer(text, usage, finish, word, id(body)))
}

/// An answer with status 200 that says it failed.
fn failed(body: &Value, usage: Usage) -> ModelError {
    let code = body.pointer("/error/code").and_then(Value::as_str).unwrap_or_default();
    let message = body.pointer("/error/message").and_then(Value::as_str).unwrap_or_default();
    let class = match code {
        "rate_limit_exceeded" => ErrorClass::RateLimited,
        "invalid_prompt" | "bio_policy" => ErrorClass::ContentPolicy,
        "data_residency_mismatch" => ErrorClass::InvalidRequest,
        _ => ErrorClass::Server,
    };
    let mut error = ModelError::new(class, format!("the response failed, {code}: {message}"));
    error.usage = Some(usage);
    error
}

fn turns(request: &ModelRequest<'_>) -> Vec<Value> {
    let role = |author| match author {
        Author::User => "user",
        Author::Assistant => "assistant",
    };
    let turns = request.prompt.iter();
    turns.map(|message| json!({"role": role(message.author), "content": message.text})).collect()
}

fn answer(text: String, usage: Usage, finish: Finish, word: &str, request_id: String) -> ModelResponse {
    ModelResponse { text, usage, finish, finish_word: word.to_owned(), request_id }
}

fn id(body: &Value) -> String {
    body.get("id").and_then(Value::as_str).unwrap_or_default().to_owned()
}
