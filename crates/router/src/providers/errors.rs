//! What kind of failure an answer is (facts: wire formats, errors). The rules are in the order in which they are
//! tried: what only a person can mend comes before what passes by itself.

use hyper::header::LOCATION;
use serde_json::Value;

use crate::provider::{ErrorClass, ModelError};

use super::hints;
use super::keys::beginning;
use super::transport::Reply;

/// Characters of a provider's own words that are kept.
const LONGEST: usize = 600;

/// The error that an answer with a status other than 2xx is.
pub(super) fn of_reply(reply: &Reply) -> ModelError {
    let body: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let body = unwrapped(body);
    let said = Said::of(&body, &reply.body);
    error(reply, reply.status, &said)
}

/// The error inside an answer with status 200, if it is one and nothing else: what some gateways send.
pub(super) fn inside(reply: &Reply, body: &Value) -> Option<ModelError> {
    let error_value = body.get("error").filter(|error| !error.is_null())?;
    let has_content =
        ["choices", "candidates", "content", "output"].iter().any(|key| body.get(key).is_some());
    if has_content {
        return None;
    }
    let said = Said::of(body, &reply.body);
    let status = error_value.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
    let status = status.filter(|status| *status >= 400).unwrap_or_else(|| status_of(&said));
    Some(error(reply, status, &said))
}

/// The status that belongs to an error's name.
fn status_of(said: &Said<'_>) -> u16 {
    match said.kind {
        "rate_limit_error" | "RESOURCE_EXHAUSTED" => 429,
        "authentication_error" | "UNAUTHENTICATED" => 401,
        "permission_error" | "PERMISSION_DENIED" => 403,
        "billing_error" => 402,
        "invalid_request_error" | "INVALID_ARGUMENT" => 400,
        _ => 500,
    }
}

/// Google sends errors as the one element of a list at times.
pub(super) fn unwrapped(body: Value) -> Value {
    match body {
        Value::Array(mut list) if list.len() == 1 => list.pop().unwrap_or_default(),
        other => other,
    }
}

fn error(reply: &Reply, status: u16, said: &Said<'_>) -> ModelError {
    let class = class(status, reply, said);
    let mut message = format!("status {}", reply.status);
    for word in [said.kind, said.code].into_iter().filter(|word| !word.is_empty()) {
        message.push_str(&format!(", {}", beginning(word, 80)));
    }
    if (300..400).contains(&status) {
        let to = reply.headers.get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("nowhere");
        message.push_str(&format!(
            ", a redirect to {}; none is followed: correct `base_url`",
            beginning(to, 200)
        ));
    }
    if !said.message.is_empty() {
        message.push_str(&format!(": {}", beginning(&said.message, LONGEST)));
    }
    let mut error = ModelError::new(class, message);
    if matches!(class, ErrorClass::RateLimited | ErrorClass::Server) {
        error.retry_after = hints::retry_after(&reply.headers, said.error, &said.message);
    }
    error
}

/// What a provider says, in the fields that all of them have in some form.
struct Said<'a> {
    error: &'a Value,
    message: String,
    /// `type` of OpenAI and Anthropic, `status` of Google.
    kind: &'a str,
    code: &'a str,
}

impl<'a> Said<'a> {
    fn of(body: &'a Value, bytes: &[u8]) -> Self {
        // Bedrock and some local servers have no object around it; Ollama has a string.
        let error = body.get("error").filter(|error| !error.is_null()).unwrap_or(body);
        let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
        let message = match (text("message"), error.as_str()) {
            ("", Some(message)) => message.to_owned(),
            ("", None) if body.is_null() => String::from_utf8_lossy(bytes).into_owned(),
            ("", None) => text("Message").to_owned(),
            (message, _) => message.to_owned(),
        };
        let kind = if text("status").is_empty() { text("type") } else { text("status") };
        Self { error, message, kind, code: text("code") }
    }

    fn has_words(&self, words: &[&str]) -> bool {
        let message = self.message.to_lowercase();
        words.iter().any(|word| message.contains(word))
    }

    fn is_one_of(&self, names: &[&str]) -> bool {
        names.contains(&self.code) || names.contains(&self.kind)
    }

    /// Values of a field of Google's `details`, at any depth.
    fn detail(&self, name: &str, wanted: &[&str]) -> bool {
        self.error.get("details").is_some_and(|details| holds(details, name, wanted))
    }
}

fn holds(value: &Value, name: &str, wanted: &[&str]) -> bool {
    match value {
        Value::Object(object) => object.iter().any(|(key, value)| {
            let is_it = key == name
                && value.as_str().is_some_and(|text| wanted.iter().any(|word| text.contains(word)));
            is_it || holds(value, name, wanted)
        }),
        Value::Array(list) => list.iter().any(|value| holds(value, name, wanted)),
        _ => false,
    }
}

fn class(status: u16, reply: &Reply, said: &Said<'_>) -> ErrorClass {
    let is_of_the_client = (400..500).contains(&status);
    if is_of_the_client && is_context(status, said) {
        return ErrorClass::ContextWindow;
    }
    if is_of_the_client && is_billing(status, said) {
        return ErrorClass::Billing;
    }
    if status == 429 && is_daily(said) {
        return ErrorClass::DailyQuota;
    }
    if is_of_the_client
        && (said.is_one_of(&["content_filter", "content_policy_violation", "bio_policy", "invalid_prompt"])
            || said.has_words(&["content management policy", "content filtering policy"]))
    {
        return ErrorClass::ContentPolicy;
    }
    if is_key(status, reply, said) {
        return ErrorClass::Authentication;
    }
    match status {
        429 => ErrorClass::RateLimited,
        // 424: Bedrock's model failed; 425: too early.
        408 | 409 | 424 | 425 | 500.. => ErrorClass::Server,
        // A redirect is not followed either: the address in the crew file is wrong.
        _ => ErrorClass::InvalidRequest,
    }
}

fn is_context(status: u16, said: &Said<'_>) -> bool {
    status == 413
        || said.is_one_of(&["context_length_exceeded", "exceed_context_size_error", "request_too_large"])
        || (status != 429
            && said.has_words(&[
                "maximum context length",
                "prompt is too long",
                "input is too long",
                "exceeds the maximum number of tokens",
                "exceeds the available context size",
                "exceed context limit",
            ]))
}

fn is_billing(status: u16, said: &Said<'_>) -> bool {
    // Anthropic's cap on a tier's spending is a 429 with a code of its own and no hint.
    let is_cap = status == 429 && said.error.pointer("/details/error_code").is_some();
    status == 402
        || is_cap
        || said.is_one_of(&[
            "insufficient_quota",
            "billing_error",
            "billing_hard_limit_reached",
            "billing_not_active",
        ])
        || said.detail("reason", &["BILLING_DISABLED"])
        || said.has_words(&[
            "credit balance is too low",
            "specified api usage limits",
            "spend limit",
            "check your plan and billing",
            "enable billing",
            "billing account",
            "payment instrument",
        ]) && !is_counted(said)
}

/// Gemini's limits of a minute and of a day come with words about billing too, and with what was counted.
fn is_counted(said: &Said<'_>) -> bool {
    said.detail("quotaId", &["Per"]) || said.detail("retryDelay", &[""])
}

fn is_daily(said: &Said<'_>) -> bool {
    said.detail("quotaId", &["PerDay", "Daily"])
        || said.has_words(&["per day (", "tokens per day", "requests per day", "daily quota"])
}

fn is_key(status: u16, reply: &Reply, said: &Said<'_>) -> bool {
    let named =
        reply.headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok()).unwrap_or_default();
    matches!(status, 401 | 403)
        || named.starts_with("AccessDenied")
        || named.starts_with("UnrecognizedClient")
        || said.is_one_of(&["invalid_api_key", "authentication_error", "permission_error", "UNAUTHENTICATED"])
        || said.detail("reason", &["API_KEY_INVALID", "API_KEY_SERVICE_BLOCKED", "ACCESS_TOKEN_EXPIRED"])
        || (status == 400 && said.has_words(&["api key not valid", "api key expired"]))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use hyper::body::Bytes;
    use hyper::header::HeaderMap;
    use serde_json::json;

    use super::*;

    fn classed(status: u16, body: &Value) -> ErrorClass {
        of_reply(&reply(status, body)).class
    }

    fn reply(status: u16, body: &Value) -> Reply {
        Reply { status, headers: HeaderMap::new(), body: Bytes::from(body.to_string()) }
    }

    /// Bodies as providers send them, and what each is.
    #[test]
    fn s0_4_2_every_error_has_its_class() {
        use ErrorClass::{
            Authentication, Billing, ContentPolicy, ContextWindow, DailyQuota, InvalidRequest, RateLimited,
            Server,
        };
        let openai = |kind: &str, code: Value, message: &str| json!({"error": {"message": message, "type": kind, "param": null, "code": code}});
        let anthropic =
            |kind: &str, message: &str| json!({"type": "error", "error": {"type": kind, "message": message}});
        let google = |code: u16, status: &str, message: &str, details: Value| json!({"error": {"code": code, "message": message, "status": status, "details": details}});
        let quota = |id: &str| json!([{"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": id}]}]);
        let gemini_quota = "You exceeded your current quota, please check your plan and billing details.";
        for (status, body, class) in [
            (429, openai("insufficient_quota", json!("insufficient_quota"), gemini_quota), Billing),
            (
                429,
                openai("tokens", json!("rate_limit_exceeded"), "Rate limit reached on tokens per min."),
                RateLimited,
            ),
            (
                429,
                openai(
                    "requests",
                    json!("rate_limit_exceeded"),
                    "Rate limit reached on requests per day (RPD)",
                ),
                DailyQuota,
            ),
            (
                401,
                openai("invalid_request_error", json!("invalid_api_key"), "Incorrect API key"),
                Authentication,
            ),
            (
                400,
                openai("invalid_request_error", json!("context_length_exceeded"), "maximum context length"),
                ContextWindow,
            ),
            (
                400,
                openai("invalid_request_error", json!(null), "Invalid schema for response_format"),
                InvalidRequest,
            ),
            (
                400,
                openai("invalid_request_error", json!("invalid_json_schema"), "Invalid schema"),
                InvalidRequest,
            ),
            (400, openai("invalid_request_error", json!("content_policy_violation"), "no"), ContentPolicy),
            (404, openai("invalid_request_error", json!("model_not_found"), "no such model"), InvalidRequest),
            (500, openai("server_error", json!(null), "x"), Server),
            (503, json!("busy"), Server),
            (
                400,
                anthropic(
                    "invalid_request_error",
                    "Your credit balance is too low to access the Anthropic API",
                ),
                Billing,
            ),
            (
                400,
                anthropic("invalid_request_error", "You have reached your specified API usage limits."),
                Billing,
            ),
            (402, anthropic("billing_error", "x"), Billing),
            (401, anthropic("authentication_error", "invalid x-api-key"), Authentication),
            (403, anthropic("permission_error", "x"), Authentication),
            (
                400,
                anthropic("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
                ContextWindow,
            ),
            (413, anthropic("request_too_large", "x"), ContextWindow),
            (
                400,
                anthropic("invalid_request_error", "tools.12.custom.input_schema: JSON schema is invalid"),
                InvalidRequest,
            ),
            (409, anthropic("conflict_error", "x"), Server),
            (429, anthropic("rate_limit_error", "x"), RateLimited),
            (
                429,
                json!({"error": {"type": "rate_limit_error", "message": "cap", "details": {"error_code": "spend_cap"}}}),
                Billing,
            ),
            (504, anthropic("timeout_error", "x"), Server),
            (529, anthropic("overloaded_error", "Overloaded"), Server),
            (
                429,
                google(
                    429,
                    "RESOURCE_EXHAUSTED",
                    gemini_quota,
                    quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier"),
                ),
                DailyQuota,
            ),
            (
                429,
                google(
                    429,
                    "RESOURCE_EXHAUSTED",
                    gemini_quota,
                    quota("GenerateContentInputTokensPerModelPerMinute-FreeTier"),
                ),
                RateLimited,
            ),
            (
                400,
                google(400, "INVALID_ARGUMENT", "API key not valid.", json!([{"reason": "API_KEY_INVALID"}])),
                Authentication,
            ),
            (403, google(403, "PERMISSION_DENIED", "x", json!([{"reason": "BILLING_DISABLED"}])), Billing),
            (
                400,
                google(
                    400,
                    "INVALID_ARGUMENT",
                    "The input token count (9) exceeds the maximum number of tokens allowed (8).",
                    json!([]),
                ),
                ContextWindow,
            ),
            (400, google(400, "INVALID_ARGUMENT", "Unknown name", json!([])), InvalidRequest),
            (503, google(503, "UNAVAILABLE", "overloaded", json!([])), Server),
            (
                429,
                json!({"message": "Too many tokens per day, please wait before trying again."}),
                DailyQuota,
            ),
            (429, json!({"message": "Too many requests, please wait before trying again."}), RateLimited),
            (424, json!({"message": "The model failed"}), Server),
            (404, json!({"error": "model 'x' not found"}), InvalidRequest),
            (301, json!(null), InvalidRequest),
        ] {
            assert_eq!(classed(status, &body), class, "{status} {body}");
            assert_eq!(classed(status, &json!([body])), class, "in a list: {status} {body}");
        }
    }

    #[test]
    fn the_message_is_the_providers_own_and_short() {
        let body = json!({"error": {"message": "x".repeat(10_000), "type": "t", "code": "c"}});
        let message = of_reply(&reply(500, &body)).message;
        assert!(message.starts_with("status 500, t, c: xxx") && message.len() < 700, "{message}");
        let html = Reply { status: 502, headers: HeaderMap::new(), body: Bytes::from("<html>Bad\nGateway") };
        assert_eq!(of_reply(&html).message, "status 502: <html>Bad Gateway");
    }

    #[test]
    fn an_error_with_status_200_is_one() {
        let body = json!({"error": {"code": 429, "message": "m", "status": "RESOURCE_EXHAUSTED"}});
        assert_eq!(inside(&reply(200, &body), &body).unwrap().class, ErrorClass::RateLimited);
        let body = json!({"error": {"message": "m"}});
        assert_eq!(inside(&reply(200, &body), &body).unwrap().class, ErrorClass::Server);
        let body = json!({"error": null, "output": []});
        assert_eq!(inside(&reply(200, &body), &body), None);
    }
}
