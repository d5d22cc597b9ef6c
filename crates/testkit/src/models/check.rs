//! Whether the real interface would take a request.

use serde_json::Value;

use super::wire::{Family, Wire};
use super::{Recorded, schema};

/// Why a request is not taken.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) message: String,
    /// OpenAI's `param` and `code`, where it has them.
    pub(super) code: Option<&'static str>,
}

impl Refusal {
    pub(super) fn not_found() -> Self {
        Self { status: 404, message: "Not Found".to_owned(), code: None }
    }

    /// A fault of the test: the body says which contract has no script.
    pub(super) fn unscripted(contract: &str) -> Self {
        Self { status: 400, message: format!("the test has scripted nothing for `{contract}`"), code: None }
    }

    fn bad(message: impl Into<String>) -> Self {
        Self { status: 400, message: message.into(), code: None }
    }
}

type Checked = Result<(), Refusal>;

/// Checks headers and body.
pub(super) fn request(wire: Wire, request: &Recorded, key: &str) -> Checked {
    authorised(wire, request, key)?;
    if request.headers.get("content-type").map(String::as_str) != Some("application/json") {
        return Err(Refusal { status: 415, ..Refusal::bad("content-type must be application/json") });
    }
    let body = &request.body;
    if !body.is_object() {
        return Err(Refusal::bad("We could not parse the JSON body of your request."));
    }
    match wire {
        Wire::Chat | Wire::Local => chat(wire, body),
        Wire::Responses => responses(body),
        Wire::Messages => {
            if request.headers.get("anthropic-version").map(String::as_str) != Some("2023-06-01") {
                return Err(Refusal::bad("anthropic-version: header is required"));
            }
            messages(wire, body)
        }
        Wire::Bedrock | Wire::VertexMessages => messages(wire, body),
        Wire::Gemini | Wire::Vertex => google(body),
    }
}

fn authorised(wire: Wire, request: &Recorded, key: &str) -> Checked {
    let (name, expected) = match wire {
        Wire::Messages => ("x-api-key", key.to_owned()),
        Wire::Gemini => ("x-goog-api-key", key.to_owned()),
        _ => ("authorization", format!("Bearer {key}")),
    };
    let sent = request.headers.get(name);
    if sent == Some(&expected) || (wire == Wire::Local && sent.is_none()) {
        return Ok(());
    }
    // Real ones repeat what they got, too.
    let echo = sent.map(String::as_str).unwrap_or_default();
    let message = match wire.family() {
        Family::OpenAi => format!("Incorrect API key provided: {echo}."),
        Family::Anthropic => format!("invalid x-api-key {echo}"),
        Family::Aws => format!("The security token included in the request is invalid: {echo}"),
        Family::Google => format!("Request had invalid authentication credentials {echo}"),
    };
    let status = if wire == Wire::Bedrock { 403 } else { 401 };
    Err(Refusal { status, message, code: (wire.family() == Family::OpenAi).then_some("invalid_api_key") })
}

fn known(body: &Value, place: &str, names: &[&str], words: impl Fn(&str) -> String) -> Checked {
    let object = body.as_object().ok_or_else(|| Refusal::bad(format!("{place}: must be an object")))?;
    match object.keys().find(|key| !names.contains(&key.as_str())) {
        Some(unknown) => Err(Refusal::bad(words(unknown))),
        None => Ok(()),
    }
}

fn text<'a>(body: &'a Value, name: &str) -> Result<&'a str, Refusal> {
    let found = body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    found.ok_or_else(|| Refusal::bad(format!("Missing required parameter: '{name}'.")))
}

fn number(body: &Value, name: &str, range: std::ops::RangeInclusive<f64>) -> Checked {
    match body.get(name) {
        None => Ok(()),
        Some(value) if value.as_f64().is_some_and(|number| range.contains(&number)) => Ok(()),
        Some(value) => Err(Refusal::bad(format!("Invalid value for '{name}': {value}"))),
    }
}

/// Turns of a conversation: known roles, texts that are not empty, the last one of the user.
fn turns(list: Option<&Value>, roles: &[&str], text_of: impl Fn(&Value) -> Option<&str>) -> Checked {
    let list = list.and_then(Value::as_array).filter(|list| !list.is_empty());
    let list = list.ok_or_else(|| Refusal::bad("messages: at least one message is required"))?;
    for (index, turn) in list.iter().enumerate() {
        let role = turn.get("role").and_then(Value::as_str).unwrap_or_default();
        if !roles.contains(&role) {
            return Err(Refusal::bad(format!("messages.{index}.role: '{role}' is not one of {roles:?}")));
        }
        if text_of(turn).is_none_or(str::is_empty) {
            return Err(Refusal::bad(format!("messages.{index}: text content blocks must be non-empty")));
        }
    }
    let last = list.last().and_then(|turn| turn.get("role")).and_then(Value::as_str);
    if last == Some("user") { Ok(()) } else { Err(Refusal::bad("the last message must be the user's")) }
}

fn content(turn: &Value) -> Option<&str> {
    let only = turn.as_object().is_some_and(|turn| turn.keys().all(|key| key == "role" || key == "content"));
    turn.get("content").filter(|_| only).and_then(Value::as_str)
}

fn chat(wire: Wire, body: &Value) -> Checked {
    let (limit, first) =
        if wire == Wire::Chat { ("max_completion_tokens", "developer") } else { ("max_tokens", "system") };
    let names = ["model", "messages", "response_format", limit, "temperature", "seed"];
    known(body, "body", &names, |name| format!("Unrecognized request argument supplied: {name}"))?;
    text(body, "model")?;
    turns(body.get("messages"), &[first, "user", "assistant"], content)?;
    number(body, "temperature", 0.0..=2.0)?;
    number(body, limit, 1.0..=1e6)?;
    number(body, "seed", 0.0..=2e9)?;
    let Some(format) = body.get("response_format") else { return Ok(()) };
    let inner =
        format.get("json_schema").ok_or_else(|| Refusal::bad("Missing 'response_format.json_schema'."))?;
    known(format, "response_format", &["type", "json_schema"], |name| {
        format!("Unknown parameter: 'response_format.{name}'.")
    })?;
    let names = ["name", "description", "schema", "strict"];
    known(inner, "json_schema", &names, |name| {
        format!("Unknown parameter: 'response_format.json_schema.{name}'.")
    })?;
    openai_format(format, inner, "response_format")
}

fn responses(body: &Value) -> Checked {
    let names = ["model", "instructions", "input", "text", "max_output_tokens", "temperature", "store"];
    known(body, "body", &names, |name| format!("Unknown parameter: '{name}'."))?;
    text(body, "model")?;
    number(body, "temperature", 0.0..=2.0)?;
    number(body, "max_output_tokens", 16.0..=1e6)?;
    if !body.get("input").is_some_and(Value::is_string) {
        turns(body.get("input"), &["user", "assistant", "developer", "system"], content)?;
    }
    let Some(format) = body.pointer("/text/format") else { return Ok(()) };
    let names = ["type", "name", "description", "schema", "strict"];
    known(format, "format", &names, |name| format!("Unknown parameter: 'text.format.{name}'."))?;
    openai_format(format, format, "text.format")
}

fn openai_format(format: &Value, inner: &Value, param: &str) -> Checked {
    if text(format, "type")? != "json_schema" {
        return Err(Refusal::bad(format!("Invalid value: '{param}.type'.")));
    }
    let name = text(inner, "name")?;
    if name.len() > 64 || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)) {
        return Err(Refusal::bad(format!("Invalid '{param}.name': string does not match pattern.")));
    }
    if inner.get("strict") != Some(&Value::Bool(true)) {
        return Err(Refusal::bad("the stand-in wants strict schemas: others are not enforced"));
    }
    let schema = inner.get("schema").ok_or_else(|| Refusal::bad(format!("Missing '{param}.schema'.")))?;
    let invalid = |why| Refusal {
        code: Some("invalid_json_schema"),
        ..Refusal::bad(format!("Invalid schema for {param} '{name}': {why}"))
    };
    schema::openai(schema).map_err(invalid)
}

fn messages(wire: Wire, body: &Value) -> Checked {
    let version = match wire {
        Wire::Bedrock => Some("bedrock-2023-05-31"),
        Wire::VertexMessages => Some("vertex-2023-10-16"),
        _ => None,
    };
    let who = if version.is_some() { "anthropic_version" } else { "model" };
    let names = [who, "max_tokens", "messages", "system", "temperature", "output_config"];
    known(body, "body", &names, |name| format!("{name}: Extra inputs are not permitted"))?;
    if version.is_some_and(|version| body.get("anthropic_version") != Some(&Value::from(version))) {
        return Err(Refusal::bad("anthropic_version: Field required"));
    }
    text(body, who)?;
    if body.get("max_tokens").and_then(Value::as_u64).unwrap_or_default() == 0 {
        return Err(Refusal::bad("max_tokens: Field required"));
    }
    if body.get("system").is_some_and(|system| system.as_str().is_none_or(str::is_empty)) {
        return Err(Refusal::bad("system: text content blocks must be non-empty"));
    }
    number(body, "temperature", 0.0..=1.0)?;
    turns(body.get("messages"), &["user", "assistant"], content)?;
    let Some(config) = body.get("output_config") else { return Ok(()) };
    known(config, "output_config", &["format", "effort"], |name| {
        format!("output_config.{name}: Extra inputs are not permitted")
    })?;
    let Some(format) = config.get("format") else { return Ok(()) };
    known(format, "format", &["type", "schema"], |name| {
        format!("output_config.format.{name}: Extra inputs are not permitted")
    })?;
    let schema = format.get("schema").filter(|_| format.get("type") == Some(&Value::from("json_schema")));
    let schema = schema.ok_or_else(|| Refusal::bad("output_config.format: Field required"))?;
    schema::anthropic(schema).map_err(Refusal::bad)
}

fn google(body: &Value) -> Checked {
    let unknown =
        |name: &str| format!("Invalid JSON payload received. Unknown name \"{name}\": Cannot find field.");
    known(body, "body", &["contents", "systemInstruction", "generationConfig"], unknown)?;
    let part = |turn: &Value| -> Option<String> {
        let parts = turn.get("parts")?.as_array()?;
        parts.iter().map(|part| part.get("text")?.as_str().map(str::to_owned)).collect()
    };
    let contents = body.get("contents").and_then(Value::as_array).cloned().unwrap_or_default();
    for (index, turn) in contents.iter().enumerate() {
        known(turn, "contents", &["role", "parts"], unknown)?;
        let role = turn.get("role").and_then(Value::as_str).unwrap_or_default();
        if !["user", "model"].contains(&role) {
            return Err(Refusal::bad("Please use a valid role: user, model."));
        }
        if part(turn).is_none_or(|text| text.is_empty()) {
            return Err(Refusal::bad(format!("contents[{index}].parts: must not be empty")));
        }
    }
    if contents.last().and_then(|turn| turn.get("role")) != Some(&Value::from("user")) {
        return Err(Refusal::bad("contents is not specified"));
    }
    if let Some(system) = body.get("systemInstruction") {
        known(system, "systemInstruction", &["role", "parts"], unknown)?;
        part(system)
            .filter(|text| !text.is_empty())
            .ok_or_else(|| Refusal::bad("systemInstruction: no text"))?;
    }
    let Some(config) = body.get("generationConfig") else { return Ok(()) };
    let names = [
        "responseMimeType",
        "responseJsonSchema",
        "maxOutputTokens",
        "temperature",
        "seed",
        "thinkingConfig",
    ];
    known(config, "generationConfig", &names, unknown)?;
    number(config, "temperature", 0.0..=2.0)?;
    number(config, "maxOutputTokens", 1.0..=1e6)?;
    let Some(schema) = config.get("responseJsonSchema") else { return Ok(()) };
    if config.get("responseMimeType") != Some(&Value::from("application/json")) {
        return Err(Refusal::bad("responseJsonSchema is set: responseMimeType must be application/json"));
    }
    schema::google(schema).map_err(Refusal::bad)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn taken(wire: Wire, body: Value, headers: &[(&str, &str)]) -> Result<(), String> {
        let headers = [("content-type", "application/json")].iter().chain(headers);
        let recorded = Recorded {
            wire: Some(wire),
            path: String::new(),
            headers: headers.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            body,
            contract: "",
            schema: None,
            refusal: None,
        };
        request(wire, &recorded, "k").map_err(|refusal| refusal.message)
    }

    /// What the real interfaces refuse is refused, each with one thing wrong.
    #[test]
    fn a_stand_in_that_takes_everything_proves_nothing() {
        let bearer = [("authorization", "Bearer k")];
        let claude = [("x-api-key", "k"), ("anthropic-version", "2023-06-01")];
        let google = [("x-goog-api-key", "k")];
        let chat = json!({"model": "m", "messages": [{"role": "user", "content": "x"}], "temperature": 0});
        let responses = json!({"model": "m", "input": "x", "store": false});
        let messages = json!({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]});
        let gemini = json!({"contents": [{"role": "user", "parts": [{"text": "x"}]}]});
        let bedrock = json!({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]});
        let open = json!({"type": "object", "properties": {}});
        type Headers<'a> = &'a [(&'a str, &'a str)];
        let cases: [(Wire, &Value, Headers<'_>); 5] = [
            (Wire::Chat, &chat, &bearer),
            (Wire::Responses, &responses, &bearer),
            (Wire::Messages, &messages, &claude),
            (Wire::Gemini, &gemini, &google),
            (Wire::Bedrock, &bedrock, &bearer),
        ];
        for (wire, good, headers) in cases {
            taken(wire, good.clone(), headers).unwrap_or_else(|why| panic!("{wire:?}: {why}"));
            assert!(taken(wire, good.clone(), &[]).is_err(), "{wire:?}: without a key");
            let mut unknown = good.clone();
            unknown["unheard_of"] = json!(1);
            assert!(taken(wire, unknown, headers).is_err(), "{wire:?}: an unknown field");
        }
        let refuse = |wire, good: &Value, headers, pointer: &str, value: Value| {
            let mut bad = good.clone();
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            bad.pointer_mut(parent).unwrap()[name] = value;
            assert!(taken(wire, bad, headers).is_err(), "{wire:?}: {pointer}");
        };
        let strict = |schema: &Value| json!({"type": "json_schema", "json_schema": {"name": "n", "strict": true, "schema": schema}});
        refuse(Wire::Chat, &chat, &bearer, "/response_format", strict(&open));
        refuse(Wire::Chat, &chat, &bearer, "/max_tokens", json!(5));
        refuse(Wire::Chat, &chat, &bearer, "/temperature", json!(3));
        refuse(Wire::Chat, &chat, &bearer, "/messages", json!([{"role": "system", "content": "x"}]));
        refuse(Wire::Responses, &responses, &bearer, "/text", json!({"format": strict(&open)}));
        refuse(Wire::Responses, &responses, &bearer, "/seed", json!(7));
        refuse(Wire::Messages, &messages, &claude, "/max_tokens", Value::Null);
        refuse(Wire::Messages, &messages, &claude, "/system", json!(""));
        let format = json!({"format": {"type": "json_schema", "schema": open}});
        refuse(Wire::Messages, &messages, &claude, "/output_config", format);
        refuse(Wire::Bedrock, &bedrock, &bearer, "/model", json!("m"));
        refuse(Wire::Bedrock, &bedrock, &bearer, "/anthropic_version", json!("2023-06-01"));
        refuse(
            Wire::Gemini,
            &gemini,
            &google,
            "/generationConfig",
            json!({"responseJsonSchema": {"type": "object"}}),
        );
        refuse(
            Wire::Gemini,
            &gemini,
            &google,
            "/contents",
            json!([{"role": "assistant", "parts": [{"text": "x"}]}]),
        );
        assert!(taken(Wire::Messages, messages, &claude[..1]).is_err(), "without a version");
    }
}
