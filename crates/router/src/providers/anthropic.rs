//! Anthropic's messages: at Anthropic, through Bedrock's InvokeModel, and through Vertex' rawPredict.

use serde_json::{Value, json};

use crate::provider::{Author, Finish, ModelError, ModelRequest, ModelResponse, Usage};

use super::{count, garbled, refused, set};

/// The version of the interface, a header at Anthropic.
pub(super) const VERSION: (&str, &str) = ("anthropic-version", "2023-06-01");

/// The body of a message. Clouds have the model in the path and the version in the body.
pub(super) fn body(request: &ModelRequest<'_>, system: &str, schema: Option<Value>, provider: &str) -> Value {
    let role = |author| match author {
        Author::User => "user",
        Author::Assistant => "assistant",
    };
    let turns = request.prompt.iter();
    let messages: Vec<Value> =
        turns.map(|message| json!({"role": role(message.author), "content": message.text})).collect();
    let mut body = json!({
        "max_tokens": super::output_limit(request),
        "messages": messages,
    });
    // An empty text is refused.
    if !system.is_empty() {
        set(&mut body, "system", json!(system));
    }
    if let Some(schema) = schema {
        set(&mut body, "output_config", json!({"format": {"type": "json_schema", "schema": schema}}));
    }
    if request.model.supports.temperature {
        set(&mut body, "temperature", json!(0));
    }
    match provider {
        "bedrock" => set(&mut body, "anthropic_version", json!("bedrock-2023-05-31")),
        "vertex" => set(&mut body, "anthropic_version", json!("vertex-2023-10-16")),
        _ => set(&mut body, "model", json!(request.model.model_id)),
    }
    body
}

/// The answer. Cached tokens stand beside the input, not in it.
pub(super) fn answer(body: &Value) -> Result<ModelResponse, ModelError> {
    let cached_input = count(body, "/usage/cache_read_input_tokens");
    let cache_write = count(body, "/usage/cache_creation_input_tokens");
    let usage = Usage {
        input: count(body, "/usage/input_tokens").saturating_add(cached_input).saturating_add(cache_write),
        cached_input,
        cache_write,
        output: count(body, "/usage/output_tokens"),
        reasoning: count(body, "/usage/output_tokens_details/thinking_tokens"),
    };
    let word = body.get("stop_reason").and_then(Value::as_str).unwrap_or_default();
    let finish = match word {
        "refusal" => return Err(refused("the model declined (stop_reason refusal)", usage)),
        "max_tokens" | "model_context_window_exceeded" => Finish::CutOff,
        _ => Finish::Complete,
    };
    let blocks = body.get("content").and_then(Value::as_array);
    let blocks = blocks.ok_or_else(|| garbled("there is no content", usage))?;
    let texts = blocks.iter().filter(|block| block.get("type").is_some_and(|kind| kind == "text"));
    let text: String = texts.filter_map(|block| block.get("text")?.as_str()).collect();
    if text.is_empty() && finish == Finish::Complete {
        return Err(garbled(&format!("the message has no text (stop_reason `{word}`)"), usage));
    }
    let request_id = body.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(ModelResponse { text, usage, finish, finish_word: word.to_owned(), request_id })
}
