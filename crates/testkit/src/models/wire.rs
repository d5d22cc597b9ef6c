//! The interfaces: where they are, how they carry a key, where they carry a schema.

use serde_json::Value;

/// One interface of one provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wire {
    /// OpenAI's chat completions.
    Chat,
    /// OpenAI's responses.
    Responses,
    /// Chat completions of a local server, such as vLLM: needs no key.
    Local,
    /// Anthropic's messages.
    Messages,
    /// Anthropic's messages through Bedrock's InvokeModel.
    Bedrock,
    /// Gemini's `generateContent`.
    Gemini,
    /// The same on Vertex.
    Vertex,
    /// Anthropic's messages through Vertex' `rawPredict`.
    VertexMessages,
}

/// Whose errors and answers an interface has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    OpenAi,
    Anthropic,
    Aws,
    Google,
}

impl Wire {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Chat,
        Self::Responses,
        Self::Local,
        Self::Messages,
        Self::Bedrock,
        Self::Gemini,
        Self::Vertex,
        Self::VertexMessages,
    ];

    pub(super) fn base(self) -> &'static str {
        match self {
            Self::Chat | Self::Responses => "/v1",
            Self::Local => "/local/v1",
            _ => "",
        }
    }

    /// The interface that a path belongs to.
    pub(super) fn of(path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        let is_named = |name: &str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b))
        };
        let called = |last: &str, method: &str| last.strip_suffix(method).is_some_and(is_named);
        match segments.as_slice() {
            ["v1", "chat", "completions"] => Some(Self::Chat),
            ["v1", "responses"] => Some(Self::Responses),
            ["local", "v1", "chat", "completions"] => Some(Self::Local),
            ["v1", "messages"] => Some(Self::Messages),
            ["model", model, "invoke"] if is_named(model) => Some(Self::Bedrock),
            ["v1beta", "models", last] if called(last, ":generateContent") => Some(Self::Gemini),
            ["v1beta1", "projects", project, "locations", place, "publishers", "google", "models", last]
                if is_named(project) && is_named(place) && called(last, ":generateContent") =>
            {
                Some(Self::Vertex)
            }
            ["v1", "projects", project, "locations", place, "publishers", "anthropic", "models", last]
                if is_named(project) && is_named(place) && called(last, ":rawPredict") =>
            {
                Some(Self::VertexMessages)
            }
            _ => None,
        }
    }

    pub(super) fn family(self) -> Family {
        match self {
            Self::Chat | Self::Responses | Self::Local => Family::OpenAi,
            Self::Messages | Self::VertexMessages => Family::Anthropic,
            Self::Bedrock => Family::Aws,
            Self::Gemini | Self::Vertex => Family::Google,
        }
    }

    /// The schema that a body asks the model to be held to.
    pub(super) fn schema(self, body: &Value) -> Option<Value> {
        let at = match self {
            Self::Chat | Self::Local => "/response_format/json_schema/schema",
            Self::Responses => "/text/format/schema",
            Self::Messages | Self::Bedrock | Self::VertexMessages => "/output_config/format/schema",
            Self::Gemini | Self::Vertex => "/generationConfig/responseJsonSchema",
        };
        body.pointer(at).cloned()
    }

    /// The system prompt of a body.
    pub(super) fn system(self, body: &Value) -> &str {
        let at = match self {
            Self::Chat | Self::Local => "/messages/0/content",
            Self::Responses => "/instructions",
            Self::Messages | Self::Bedrock | Self::VertexMessages => "/system",
            Self::Gemini | Self::Vertex => "/systemInstruction/parts/0/text",
        };
        body.pointer(at).and_then(Value::as_str).unwrap_or_default()
    }
}
