//! Google's `generateContent`: Gemini with a key, Vertex with a token.

use serde_json::{Value, json};

use crate::provider::{Author, Finish, ModelError, ModelRequest, ModelResponse, Usage};

use super::{SEED, count, garbled, refused, set};

/// The body.
pub(super) fn body(request: &ModelRequest<'_>, system: &str, schema: Option<Value>) -> Value {
    let role = |author| match author {
        Author::User => "user",
        Author::Assistant => "model",
    };
    let turns = request.prompt.iter();
    let contents: Vec<Value> = turns
        .map(|message| json!({"role": role(message.author), "parts": [{"text": message.text}]}))
        .collect();
    let mut config =
        json!({"maxOutputTokens": super::output_limit(request), "responseMimeType": "application/json"});
    if let Some(schema) = schema {
        set(&mut config, "responseJsonSchema", schema);
    }
    if request.model.supports.temperature {
        set(&mut config, "temperature", json!(0));
    }
    if request.model.supports.seed {
        set(&mut config, "seed", json!(SEED));
    }
    let mut body = json!({"contents": contents, "generationConfig": config});
    if !system.is_empty() {
        set(&mut body, "systemInstruction", json!({"parts": [{"text": system}]}));
    }
    body
}

/// The answer. Thoughts stand beside the candidate's tokens, and a blocked prompt has no candidate.
pub(super) fn answer(body: &Value) -> Result<ModelResponse, ModelError> {
    let reasoning = count(body, "/usageMetadata/thoughtsTokenCount");
    let tools = count(body, "/usageMetadata/toolUsePromptTokenCount");
    let usage = Usage {
        input: count(body, "/usageMetadata/promptTokenCount").saturating_add(tools),
        cached_input: count(body, "/usageMetadata/cachedContentTokenCount"),
        cache_write: 0,
        output: count(body, "/usageMetadata/candidatesTokenCount").saturating_add(reasoning),
        reasoning,
    };
    if let Some(reason) = body.pointer("/promptFeedback/blockReason").and_then(Value::as_str) {
        return Err(refused(&format!("the prompt was blocked ({reason})"), usage));
    }
    let candidate = body.pointer("/candidates/0").ok_or_else(|| garbled("there is no candidate", usage))?;
    let word = candidate.get("finishReason").and_then(Value::as_str).unwrap_or_default();
    let finish = match word {
        "SAFETY" | "RECITATION" | "LANGUAGE" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" => {
            return Err(refused(&format!("the answer was withheld ({word})"), usage));
        }
        "MAX_TOKENS" => Finish::CutOff,
        _ => Finish::Complete,
    };
    let parts = candidate.pointer("/content/parts").and_then(Value::as_array);
    let parts = parts.map(Vec::as_slice).unwrap_or_default();
    let spoken = parts.iter().filter(|part| part.get("thought") != Some(&Value::Bool(true)));
    let text: String = spoken.filter_map(|part| part.get("text")?.as_str()).collect();
    if text.is_empty() && finish == Finish::Complete {
        return Err(garbled(&format!("the candidate has no text (finishReason `{word}`)"), usage));
    }
    let request_id = body.get("responseId").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(ModelResponse { text, usage, finish, finish_word: word.to_owned(), request_id })
}
