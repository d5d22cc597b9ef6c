//! What can be scripted, in the form of each interface. Error bodies are those that users have reported.

use serde_json::{Value, json};

use super::check::Refusal;
use super::wire::{Family, Wire};

/// One scripted answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The model's text. May be anything: a wrong shape, prose around JSON, a key that is there twice.
    Answer(String),
    /// A text that ran into the limit of output tokens.
    Truncated(String),
    /// The model declines, with status 200. Google: the answer is withheld.
    Refused,
    /// The prompt was blocked; interfaces without a word for that decline.
    Blocked,
    /// 429, with a hint of so many milliseconds or none.
    RateLimited(Option<u32>),
    /// A bill is not paid.
    Billing,
    /// The quota of the day is used up. Anthropic has none: its cap on spending.
    DailyQuota,
    /// The key is not accepted; the text repeats it.
    KeyRejected,
    /// 400: the schema is not accepted.
    InvalidSchema,
    /// 400: the prompt is longer than the window.
    ContextLength,
    /// 500.
    ServerError,
    /// 503, or Anthropic's 529.
    Overloaded,
    /// 307 to another path of the same server.
    Redirect,
    /// Never an answer.
    Hang,
    /// Status 200, half of the body, then a reset.
    Reset,
    /// Status 200 and a JSON text that ends in its middle.
    HalfBody,
    /// Status 200 and a page of a proxy.
    Html,
    /// Status 200 and no choice, content or candidate.
    Empty,
    /// 429 as the one element of a list.
    ErrorInList,
    /// Status 200 with an error inside; `status: failed` where there is one.
    ErrorInside,
}

/// What every answered request is charged with: input, of it read from a cache, output, of it reasoning.
pub const USAGE: (u64, u64, u64, u64) = (120, 20, 30, 10);

/// How a response goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sending {
    Whole,
    Broken,
    Never,
}

#[derive(Debug, Clone)]
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
    pub(super) sending: Sending,
}

impl Response {
    fn json(wire: Wire, status: u16, body: &Value) -> Self {
        let mut headers = vec![("content-type", "application/json".to_owned())];
        headers.extend(
            match wire.family() {
                Family::OpenAi => Some(("x-request-id", "req_stand_in")),
                Family::Anthropic => Some(("request-id", "req_stand_in")),
                Family::Aws => Some(("x-amzn-requestid", "req_stand_in")),
                Family::Google => None,
            }
            .map(|(name, value)| (name, value.to_owned())),
        );
        Self { status, headers, body: body.to_string(), sending: Sending::Whole }
    }

    fn with(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }
}

/// A request that was not taken.
pub(super) fn refused(wire: Option<Wire>, refusal: &Refusal) -> Response {
    let Some(wire) = wire else {
        let body = "<html>404 Not Found</html>".to_owned();
        return Response { status: refusal.status, headers: Vec::new(), body, sending: Sending::Whole };
    };
    let google = if refusal.status == 401 { "UNAUTHENTICATED" } else { "INVALID_ARGUMENT" };
    let anthropic = if refusal.status == 401 { "authentication_error" } else { "invalid_request_error" };
    error(wire, refusal.status, &refusal.message, [anthropic, google], refusal.code, &json!([]))
}

/// A scripted answer.
pub(super) fn response(wire: Wire, reply: &Reply, key: &str) -> Response {
    match reply {
        Reply::Answer(text) => Response::json(wire, 200, &answered(wire, text, false)),
        Reply::Truncated(text) => Response::json(wire, 200, &answered(wire, text, true)),
        Reply::Refused | Reply::Blocked => {
            Response::json(wire, 200, &declined(wire, reply == &Reply::Blocked))
        }
        Reply::Empty => Response::json(wire, 200, &empty(wire)),
        Reply::Redirect => Response { status: 307, ..Response::json(wire, 307, &json!({})) }
            .with("location", "/v1/elsewhere"),
        Reply::Hang => Response { sending: Sending::Never, ..Response::json(wire, 200, &json!({})) },
        Reply::Reset => {
            Response { sending: Sending::Broken, ..Response::json(wire, 200, &answered(wire, "{}", false)) }
        }
        Reply::HalfBody => {
            let mut whole = Response::json(wire, 200, &answered(wire, "{}", false));
            whole.body.truncate(whole.body.len() / 2);
            whole
        }
        Reply::Html => {
            let body = "<!DOCTYPE html><html><body>Checking your browser</body></html>".to_owned();
            Response { body, ..Response::json(wire, 200, &json!({})) }
        }
        Reply::ErrorInList => {
            let mut response = limited(wire, Some(900));
            response.body = format!("[{}]", response.body);
            response
        }
        Reply::ErrorInside => Response::json(wire, 200, &error_inside(wire)),
        Reply::RateLimited(hint) => limited(wire, *hint),
        Reply::Billing => billing(wire),
        Reply::DailyQuota => daily_quota(wire),
        Reply::KeyRejected => key_rejected(wire, key),
        Reply::InvalidSchema => {
            let code = Some("invalid_json_schema");
            let text =
                "Invalid schema for response_format 'x': In context=(), 'additionalProperties' is required.";
            error(wire, 400, text, ["invalid_request_error", "INVALID_ARGUMENT"], code, &json!([]))
        }
        Reply::ContextLength => {
            let text = match wire.family() {
                Family::OpenAi => {
                    "This model's maximum context length is 8192 tokens. However, your messages resulted in 8227 tokens."
                }
                Family::Anthropic => "prompt is too long: 210000 tokens > 200000 maximum",
                Family::Aws => "Input is too long for requested model.",
                Family::Google => {
                    "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."
                }
            };
            let code = Some("context_length_exceeded");
            error(wire, 400, text, ["invalid_request_error", "INVALID_ARGUMENT"], code, &json!([]))
        }
        Reply::ServerError => error(wire, 500, "Internal error", ["api_error", "INTERNAL"], None, &json!([])),
        Reply::Overloaded => {
            let status = if wire.family() == Family::Anthropic { 529 } else { 503 };
            error(wire, status, "Overloaded", ["overloaded_error", "UNAVAILABLE"], None, &json!([]))
        }
    }
}

/// `kinds`: what Anthropic and what Google call it.
fn error(
    wire: Wire,
    status: u16,
    text: &str,
    kinds: [&str; 2],
    code: Option<&str>,
    details: &Value,
) -> Response {
    let body = match wire.family() {
        Family::OpenAi => {
            json!({"error": {"message": text, "type": "invalid_request_error", "param": null, "code": code}})
        }
        Family::Anthropic => {
            json!({"type": "error", "error": {"type": kinds[0], "message": text}, "request_id": "req_stand_in"})
        }
        Family::Aws => json!({"message": text}),
        Family::Google => {
            json!({"error": {"code": status, "message": text, "status": kinds[1], "details": details}})
        }
    };
    Response::json(wire, status, &body)
}

fn limited(wire: Wire, hint: Option<u32>) -> Response {
    let details = match hint {
        Some(hint) => {
            json!([{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{hint}ms")}])
        }
        None => json!([]),
    };
    let kinds = ["rate_limit_error", "RESOURCE_EXHAUSTED"];
    let code = Some("rate_limit_exceeded");
    let response = error(wire, 429, "Rate limit reached on tokens per min.", kinds, code, &details);
    match (hint, wire.family()) {
        (Some(hint), Family::OpenAi) => response.with("retry-after-ms", hint),
        (Some(hint), Family::Anthropic | Family::Aws) => {
            response.with("retry-after", f64::from(hint) / 1000.0)
        }
        _ => response,
    }
}

fn billing(wire: Wire) -> Response {
    let quota = "You exceeded your current quota, please check your plan and billing details.";
    match (wire, wire.family()) {
        (Wire::Local, _) => error(wire, 402, "Insufficient credits", ["", ""], None, &json!([])),
        (_, Family::OpenAi) => error(wire, 429, quota, ["", ""], Some("insufficient_quota"), &json!([])),
        (_, Family::Anthropic) => {
            let text = "Your credit balance is too low to access the Anthropic API.";
            error(wire, 400, text, ["invalid_request_error", ""], None, &json!([]))
        }
        (_, Family::Aws) => {
            let text = "Model access is denied due to INVALID_PAYMENT_INSTRUMENT: A valid payment instrument must be provided.";
            error(wire, 403, text, ["", ""], None, &json!([]))
                .with("x-amzn-errortype", "AccessDeniedException")
        }
        (_, Family::Google) => {
            let details =
                json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "BILLING_DISABLED"}]);
            error(
                wire,
                403,
                "This API method requires billing to be enabled.",
                ["", "PERMISSION_DENIED"],
                None,
                &details,
            )
        }
    }
}

fn daily_quota(wire: Wire) -> Response {
    match wire.family() {
        Family::OpenAi => {
            let text =
                "Rate limit reached for m on requests per day (RPD): Limit 200, Used 200, Requested 1.";
            error(wire, 429, text, ["", ""], Some("rate_limit_exceeded"), &json!([]))
        }
        Family::Anthropic => {
            let body = json!({"type": "error", "error": {"type": "rate_limit_error", "message": "The cap of this tier is reached.", "details": {"error_code": "spend_cap"}}});
            Response::json(wire, 429, &body)
        }
        Family::Aws => {
            let text = "Too many tokens per day, please wait before trying again.";
            error(wire, 429, text, ["", ""], None, &json!([])).with("x-amzn-errortype", "ThrottlingException")
        }
        Family::Google => {
            let violation =
                json!({"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier", "quotaValue": "50"});
            let details = json!([
                {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]},
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.07s"},
            ]);
            let text = "You exceeded your current quota, please check your plan and billing details.";
            error(wire, 429, text, ["", "RESOURCE_EXHAUSTED"], None, &details)
        }
    }
}

fn key_rejected(wire: Wire, key: &str) -> Response {
    let ends = format!("{}****{}", &key[..8], &key[key.len() - 4..]);
    let text = format!(
        "Incorrect API key provided: {ends}. You sent {key}; it ends with {}.",
        &key[key.len() - 4..]
    );
    match wire.family() {
        // Gemini says so with a 400.
        Family::Google => {
            let details =
                json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]);
            error(wire, 400, &text, ["", "INVALID_ARGUMENT"], None, &details)
        }
        Family::Aws => error(wire, 403, &text, ["", ""], None, &json!([])),
        _ => error(wire, 401, &text, ["authentication_error", ""], Some("invalid_api_key"), &json!([])),
    }
}

fn answered(wire: Wire, text: &str, is_cut: bool) -> Value {
    match wire.family() {
        Family::OpenAi if wire == Wire::Responses => {
            let part = json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []});
            let details = if is_cut { json!({"reason": "max_output_tokens"}) } else { Value::Null };
            responded(if is_cut { "incomplete" } else { "completed" }, &part, &details)
        }
        Family::OpenAi => chosen(
            &json!({"role": "assistant", "content": text, "refusal": null}),
            if is_cut { "length" } else { "stop" },
        ),
        Family::Anthropic | Family::Aws => {
            message(&json!([{"type": "text", "text": text}]), if is_cut { "max_tokens" } else { "end_turn" })
        }
        Family::Google => {
            let parts = json!([{"text": "Let me think.", "thought": true}, {"text": text}]);
            candidates(&parts, if is_cut { "MAX_TOKENS" } else { "STOP" })
        }
    }
}

fn declined(wire: Wire, is_blocked: bool) -> Value {
    match wire.family() {
        Family::OpenAi if wire == Wire::Responses => responded(
            "completed",
            &json!({"type": "refusal", "refusal": "I cannot help with that."}),
            &Value::Null,
        ),
        Family::OpenAi if is_blocked => {
            chosen(&json!({"role": "assistant", "content": null}), "content_filter")
        }
        Family::OpenAi => chosen(
            &json!({"role": "assistant", "content": null, "refusal": "I cannot help with that."}),
            "stop",
        ),
        Family::Anthropic | Family::Aws => message(&json!([]), "refusal"),
        Family::Google if is_blocked => {
            let mut body = candidates(&json!([]), "STOP");
            body.as_object_mut().expect("an object").remove("candidates");
            body["promptFeedback"] = json!({"blockReason": "SAFETY"});
            body
        }
        Family::Google => candidates(&json!([]), "SAFETY"),
    }
}

fn empty(wire: Wire) -> Value {
    match wire.family() {
        Family::OpenAi if wire == Wire::Responses => {
            json!({"id": "resp_1", "object": "response", "status": "completed", "error": null, "output": []})
        }
        Family::OpenAi => json!({"id": "chatcmpl-1", "object": "chat.completion", "choices": []}),
        Family::Anthropic | Family::Aws => {
            json!({"id": "msg_1", "type": "message", "content": [], "stop_reason": "end_turn"})
        }
        Family::Google => {
            json!({"modelVersion": "m", "usageMetadata": {"promptTokenCount": 5, "totalTokenCount": 5}})
        }
    }
}

fn error_inside(wire: Wire) -> Value {
    match (wire, wire.family()) {
        (Wire::Responses, _) => {
            let mut body = responded("failed", &Value::Null, &Value::Null);
            body["output"] = json!([]);
            body["error"] = json!({"code": "server_error", "message": "The model failed."});
            body
        }
        (_, Family::Google) => {
            json!([{"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}])
        }
        (_, Family::Anthropic | Family::Aws) => {
            json!({"type": "error", "error": {"type": "api_error", "message": "failed"}})
        }
        _ => json!({"error": {"code": 502, "message": "Provider returned error"}}),
    }
}

fn chosen(message: &Value, finish: &str) -> Value {
    json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1_741_569_952, "model": "m",
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": finish}],
        "usage": {
            "prompt_tokens": 120, "completion_tokens": 30, "total_tokens": 150,
            "prompt_tokens_details": {"cached_tokens": 20, "audio_tokens": 0, "cache_write_tokens": 10},
            "completion_tokens_details": {"reasoning_tokens": 10, "audio_tokens": 0},
        },
    })
}

fn responded(status: &str, part: &Value, details: &Value) -> Value {
    json!({
        "id": "resp_1", "object": "response", "created_at": 1, "status": status, "error": null,
        "incomplete_details": details, "model": "m",
        "output": [
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "message", "id": "msg_1", "status": status, "role": "assistant", "content": [part]},
        ],
        "usage": {
            "input_tokens": 120, "input_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 10},
            "output_tokens": 30, "output_tokens_details": {"reasoning_tokens": 10}, "total_tokens": 150,
        },
        "metadata": {},
    })
}

fn message(content: &Value, stop: &str) -> Value {
    json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content,
        "stop_reason": stop, "stop_sequence": null,
        "usage": {
            "input_tokens": 90, "cache_creation_input_tokens": 10, "cache_read_input_tokens": 20,
            "output_tokens": 30, "output_tokens_details": {"thinking_tokens": 10}, "service_tier": "standard",
        },
    })
}

fn candidates(parts: &Value, finish: &str) -> Value {
    json!({
        "candidates": [{"content": {"role": "model", "parts": parts}, "finishReason": finish, "index": 0, "safetyRatings": []}],
        "usageMetadata": {
            "promptTokenCount": 115, "toolUsePromptTokenCount": 5, "cachedContentTokenCount": 20,
            "candidatesTokenCount": 20, "thoughtsTokenCount": 10, "totalTokenCount": 150,
        },
        "modelVersion": "m", "responseId": "req_stand_in",
    })
}
