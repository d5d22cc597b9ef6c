//! The models of the crew behind the router, each call with a span of its own.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use millrace_router::contracts::Contracts;
use millrace_router::{
    Answer, Ask, AskError, Crew, ModelError, ModelRequest, ModelResponse, Provider, RecipeProvider, Router,
};
use millrace_runtime::settings::SettingsError;
use millrace_telemetry::names::{attribute, span};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// The way to the models; none where no provider is enabled.
pub struct Models {
    router: Option<Router>,
}

/// The crew without a crew file: the recipe for every role.
pub fn built_in_crew(contract_retries: u32) -> Crew {
    let mut crew = Crew::default();
    crew.defaults.contract_retries = contract_retries;
    crew
}

impl Models {
    /// Reads the crew file, if there is one, and enables the providers that the configuration allows.
    ///
    /// # Errors
    /// The crew file cannot be used, or names a provider that is not enabled.
    pub fn configured(
        crew_file: Option<&Path>,
        recipe: bool,
        contract_retries: u32,
    ) -> Result<Self, SettingsError> {
        let crew = match crew_file {
            Some(path) => {
                let name = path.display().to_string();
                let text = std::fs::read_to_string(path)
                    .map_err(|error| SettingsError::invalid(format!("[worker] crew: {name}: {error}")))?;
                Crew::parse(&text, &name).map_err(|error| SettingsError::invalid(sentence(&error)))?
            }
            None if recipe => built_in_crew(contract_retries),
            None => return Ok(Self { router: None }),
        };
        let mut providers: Vec<Arc<dyn Provider>> = Vec::new();
        if recipe {
            providers.push(Arc::new(RecipeProvider));
        }
        Self::with(crew, providers)
    }

    /// With a crew and providers.
    ///
    /// # Errors
    /// The crew names a provider that is not among them.
    pub fn with(crew: Crew, providers: Vec<Arc<dyn Provider>>) -> Result<Self, SettingsError> {
        let contracts = Contracts::bundled().map_err(|error| SettingsError::invalid(sentence(&error)))?;
        let traced = providers.into_iter().map(|inner| Arc::new(Traced { inner }) as Arc<dyn Provider>);
        let router = Router::new(crew, contracts, traced.collect())
            .map_err(|error| SettingsError::invalid(sentence(&error)))?;
        Ok(Self { router: Some(router) })
    }

    /// Asks; the answer satisfies its contract.
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn ask(&self, ask: &Ask, cancel: &CancellationToken) -> Result<Answer, AskError> {
        match &self.router {
            Some(router) => router.ask(ask, cancel).await,
            None => Err(AskError::Unroutable {
                role: ask.role,
                reason:
                    "the recipe is switched off ([worker] recipe) and there is no crew file ([worker] crew)"
                        .to_owned(),
            }),
        }
    }
}

/// A provider whose calls are seen in traces.
struct Traced {
    inner: Arc<dyn Provider>,
}

#[async_trait]
impl Provider for Traced {
    fn name(&self) -> &str {
        self.inner.name()
    }

    async fn complete(&self, request: &ModelRequest<'_>) -> Result<ModelResponse, ModelError> {
        let chat = tracing::info_span!(
            "chat",
            otel.name = %span::model_call("chat", &request.model.model_id),
            otel.kind = "client",
            { attribute::GEN_AI_OPERATION_NAME } = "chat",
            { attribute::GEN_AI_PROVIDER_NAME } = self.inner.name(),
            { attribute::GEN_AI_REQUEST_MODEL } = %request.model.model_id,
            gen_ai.agent.name = request.role.name(),
            { attribute::GEN_AI_USAGE_INPUT_TOKENS } = tracing::field::Empty,
            { attribute::GEN_AI_USAGE_OUTPUT_TOKENS } = tracing::field::Empty,
        );
        let response = self.inner.complete(request).instrument(chat.clone()).await;
        match &response {
            Ok(response) => {
                chat.record(attribute::GEN_AI_USAGE_INPUT_TOKENS, response.usage.input);
                chat.record(attribute::GEN_AI_USAGE_OUTPUT_TOKENS, response.usage.output);
            }
            Err(error) => millrace_telemetry::context::set_error(&chat, &error.to_string()),
        }
        response
    }
}

fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}
