//! What Millrace knows about each provider before a crew file says more: its address, the variable of its key,
//! the interfaces it speaks. The paths are those of the providers' public references.

use crate::crew::{Api, Model};

use super::keys::Environment;

/// One provider that is reached over HTTP.
#[derive(Debug)]
pub(super) struct Profile {
    /// What `provider:` in the crew file says.
    pub(super) name: &'static str,
    /// The address, if the provider has one; `{region}` stands for the model's region.
    address: Option<&'static str>,
    /// Where the key is, if the crew file does not say.
    pub(super) key_env: Option<&'static str>,
    /// How the key is sent.
    pub(super) sent_as: SentAs,
    /// What is spoken; the first is the usual one.
    apis: &'static [Api],
    /// Whether a project belongs into the path.
    has_project: bool,
}

/// How a key is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SentAs {
    /// `Authorization: Bearer <key>`.
    Bearer,
    /// A header of the provider's own.
    Header(&'static str),
}

/// Every provider that is reached over HTTP.
pub(super) static PROFILES: [Profile; 6] = [
    Profile {
        name: "openai",
        address: Some("https://api.openai.com/v1"),
        key_env: Some("OPENAI_API_KEY"),
        sent_as: SentAs::Bearer,
        apis: &[Api::ChatCompletions, Api::Responses],
        has_project: false,
    },
    Profile {
        name: "anthropic",
        address: Some("https://api.anthropic.com"),
        key_env: Some("ANTHROPIC_API_KEY"),
        sent_as: SentAs::Header("x-api-key"),
        apis: &[Api::Messages],
        has_project: false,
    },
    Profile {
        name: "bedrock",
        address: Some("https://bedrock-runtime.{region}.amazonaws.com"),
        key_env: Some("AWS_BEARER_TOKEN_BEDROCK"),
        sent_as: SentAs::Bearer,
        apis: &[Api::Messages],
        has_project: false,
    },
    Profile {
        name: "gemini",
        address: Some("https://generativelanguage.googleapis.com"),
        key_env: Some("GEMINI_API_KEY"),
        sent_as: SentAs::Header("x-goog-api-key"),
        apis: &[Api::GenerateContent],
        has_project: false,
    },
    Profile {
        name: "vertex",
        address: Some("https://{region}-aiplatform.googleapis.com"),
        key_env: Some("GOOGLE_OAUTH_ACCESS_TOKEN"),
        sent_as: SentAs::Bearer,
        apis: &[Api::GenerateContent, Api::Messages],
        has_project: true,
    },
    Profile {
        name: "openai_compatible",
        address: None,
        key_env: None,
        sent_as: SentAs::Bearer,
        apis: &[Api::ChatCompletions, Api::Responses],
        has_project: false,
    },
];

/// Vertex has a location that is none, with an address of its own.
const GLOBAL: &str = "global";
const VERTEX_GLOBAL: &str = "https://aiplatform.googleapis.com";

impl Profile {
    /// The provider of that name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        PROFILES.iter().find(|profile| profile.name == name)
    }

    /// The interface that the model is asked through.
    pub(super) fn api(&self, model: &Model) -> Result<Api, String> {
        let usual = self.apis.first().copied().ok_or_else(|| format!("`{}` speaks nothing", self.name))?;
        let api = model.api.unwrap_or(usual);
        if self.apis.contains(&api) {
            return Ok(api);
        }
        let spoken: Vec<&str> = self.apis.iter().copied().map(name_of).collect();
        Err(format!(
            "`api`: `{}` does not speak {}; it speaks {}",
            self.name,
            name_of(api),
            spoken.join(", ")
        ))
    }

    /// Where the model is asked.
    pub(super) fn url(&self, model: &Model, environment: Environment) -> Result<String, String> {
        let api = self.api(model)?;
        Ok(format!("{}{}", self.base(model, environment)?, self.path(model, api)?))
    }

    /// Whether this is OpenAI itself: others that speak its language know fewer fields.
    pub(super) fn is_openai(&self) -> bool {
        self.name == "openai"
    }

    fn base(&self, model: &Model, environment: Environment) -> Result<String, String> {
        let from_environment = match &model.base_url_env {
            Some(name) => match environment(name) {
                Some(url) => Some(url),
                None if self.address.is_some() || model.base_url.is_some() => None,
                None => return Err(format!("`base_url_env`: the variable {name} is not set")),
            },
            None => None,
        };
        let told = from_environment.or_else(|| model.base_url.clone());
        let base = match (told, self.address) {
            (Some(url), _) => url,
            (None, Some(address)) if address.contains("{region}") => match self.region(model)? {
                GLOBAL if self.has_project => VERTEX_GLOBAL.to_owned(),
                region => address.replace("{region}", region),
            },
            (None, Some(address)) => address.to_owned(),
            (None, None) => {
                return Err(format!(
                    "`base_url`: `{}` has no address of its own; write where it is, with its path, such as \
                     http://HOST:PORT/v1",
                    self.name
                ));
            }
        };
        let base = base.trim().trim_end_matches('/');
        if !base.starts_with("http://") && !base.starts_with("https://") {
            return Err("`base_url` must begin with https:// or http://".to_owned());
        }
        Ok(base.to_owned())
    }

    fn path(&self, model: &Model, api: Api) -> Result<String, String> {
        let id = quoted(&model.model_id);
        Ok(match (self.name, api) {
            (_, Api::ChatCompletions) => "/chat/completions".to_owned(),
            (_, Api::Responses) => "/responses".to_owned(),
            ("bedrock", Api::Messages) => format!("/model/{id}/invoke"),
            ("vertex", Api::Messages) => {
                format!("/v1/{}/publishers/anthropic/models/{id}:rawPredict", self.location(model)?)
            }
            (_, Api::Messages) => "/v1/messages".to_owned(),
            ("vertex", Api::GenerateContent) => {
                format!("/v1beta1/{}/publishers/google/models/{id}:generateContent", self.location(model)?)
            }
            (_, Api::GenerateContent) => format!("/v1beta/models/{id}:generateContent"),
        })
    }

    fn location(&self, model: &Model) -> Result<String, String> {
        let project = model.project.as_deref().map(str::trim).filter(|project| !project.is_empty());
        let project = project.ok_or_else(|| format!("`project`: `{}` needs the cloud project", self.name))?;
        Ok(format!("projects/{}/locations/{}", quoted(project), self.region(model)?))
    }

    fn region<'a>(&self, model: &'a Model) -> Result<&'a str, String> {
        let region = model.region.as_deref().unwrap_or_default();
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if region.is_empty() || !region.bytes().all(is_name) {
            return Err(format!("`region`: `{}` needs one, such as us-east-1 or us-central1", self.name));
        }
        Ok(region)
    }
}

fn name_of(api: Api) -> &'static str {
    match api {
        Api::ChatCompletions => "chat_completions",
        Api::Responses => "responses",
        Api::Messages => "messages",
        Api::GenerateContent => "generate_content",
    }
}

/// A part of a path; what is not an unreserved character (RFC 3986) is percent-encoded.
fn quoted(part: &str) -> String {
    let mut text = String::with_capacity(part.len());
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn nothing(_: &str) -> Option<String> {
        None
    }

    fn url(provider: &str, change: impl FnOnce(&mut Model)) -> Result<String, String> {
        let mut model = Model {
            provider: provider.to_owned(),
            model_id: "m-1:0".to_owned(),
            region: Some("eu-west-1".to_owned()),
            project: Some("p".to_owned()),
            ..Model::default()
        };
        change(&mut model);
        Profile::named(provider).unwrap().url(&model, nothing)
    }

    #[test]
    fn every_provider_is_asked_at_its_own_address() {
        for (provider, expected) in [
            ("openai", "https://api.openai.com/v1/chat/completions"),
            ("anthropic", "https://api.anthropic.com/v1/messages"),
            ("bedrock", "https://bedrock-runtime.eu-west-1.amazonaws.com/model/m-1%3A0/invoke"),
            ("gemini", "https://generativelanguage.googleapis.com/v1beta/models/m-1%3A0:generateContent"),
            (
                "vertex",
                "https://eu-west-1-aiplatform.googleapis.com/v1beta1/projects/p/locations/eu-west-1/publishers/google/models/m-1%3A0:generateContent",
            ),
        ] {
            assert_eq!(url(provider, |_| ()).unwrap(), expected);
        }
        let global = url("vertex", |model| model.region = Some("global".to_owned())).unwrap();
        assert!(global.starts_with("https://aiplatform.googleapis.com/v1beta1/projects/p/locations/global/"));
        let claude = url("vertex", |model| model.api = Some(Api::Messages)).unwrap();
        assert!(claude.ends_with("/publishers/anthropic/models/m-1%3A0:rawPredict"), "{claude}");
        let own = url("openai_compatible", |model| model.base_url = Some("http://h:1/v1/".to_owned()));
        assert_eq!(own.unwrap(), "http://h:1/v1/chat/completions");
    }

    #[test]
    fn what_is_missing_is_named() {
        for (provider, named) in
            [("openai_compatible", "`base_url`"), ("bedrock", "`region`"), ("vertex", "`region`")]
        {
            let error = url(provider, |model| model.region = None).unwrap_err();
            assert!(error.starts_with(named), "{error}");
        }
        let error = url("vertex", |model| model.project = None).unwrap_err();
        assert!(error.starts_with("`project`"), "{error}");
        let error = url("bedrock", |model| model.region = Some("x.evil.example/".to_owned())).unwrap_err();
        assert!(error.starts_with("`region`"), "{error}");
        let error = url("gemini", |model| model.api = Some(Api::Responses)).unwrap_err();
        assert!(error.contains("does not speak responses; it speaks generate_content"), "{error}");
        let error = url("openai", |model| model.base_url = Some("ftp://x".to_owned())).unwrap_err();
        assert!(error.starts_with("`base_url`"), "{error}");
    }
}
