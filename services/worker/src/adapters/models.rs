//! The models of the crew behind the router, each call with a span of its own.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use millrace_router::contracts::Contracts;
use millrace_router::{
    Answer, Ask, AskError, Crew, CrewError, Date, ModelError, ModelRequest, ModelResponse, Provider, RECIPE,
    RecipeProvider, Reload, Role, Router, Shared, Source, Trail, day_of,
};
use millrace_runtime::settings::SettingsError;
use millrace_telemetry::metrics::Counter;
use millrace_telemetry::names::{attribute, metric, span};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// The way to the models; none where no provider is enabled.
pub struct Models {
    router: Option<Router>,
    /// Where the crew is read anew, if it comes from a file.
    source: Option<Mutex<Source>>,
    reloads_failed: Counter,
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
    /// The crew file cannot be used, another one says something else, or it names a provider that is not enabled.
    pub fn configured(
        crew_file: Option<&Path>,
        recipe: bool,
        contract_retries: u32,
    ) -> Result<Self, SettingsError> {
        let (source, crew) = match crew_file {
            Some(path) => {
                let (source, crew) = Source::open(path).map_err(refused)?;
                usable(&crew)?;
                (Some(Mutex::new(source)), crew)
            }
            None if recipe => (None, built_in_crew(contract_retries)),
            None => return Ok(Self { router: None, source: None, reloads_failed: Counter::default() }),
        };
        let mut providers: Vec<_> = millrace_router::providers::all().into_values().collect();
        if recipe {
            providers.push(Arc::new(RecipeProvider));
        }
        Ok(Self { source, ..Self::with(crew, providers)? })
    }

    /// With a crew and providers.
    ///
    /// # Errors
    /// The crew names a provider that is not among them.
    pub fn with(crew: Crew, providers: Vec<Arc<dyn Provider>>) -> Result<Self, SettingsError> {
        let contracts = Contracts::bundled().map_err(|error| SettingsError::invalid(sentence(&error)))?;
        let traced = providers.into_iter().map(|inner| Arc::new(Traced { inner }) as Arc<dyn Provider>);
        let router = Router::new(crew, contracts, traced.collect()).map_err(refused)?;
        let reloads_failed = Counter::new(&metric::CREW_RELOADS_FAILED, &[]);
        Ok(Self { router: Some(router), source: None, reloads_failed })
    }

    /// With what all workers know together. Says what a person should know about the crew.
    #[must_use]
    pub fn sharing(self, shared: Arc<dyn Shared>) -> Self {
        let today = day_of(shared.now());
        let router = self.router.map(|router| router.sharing(shared));
        if let Some(router) = &router {
            warn(&router.crew(), today);
        }
        Self { router, ..self }
    }

    /// Asks; the answer satisfies its contract. A crew file that has changed is read anew before (S0-4.3).
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn ask(&self, ask: &Ask, cancel: &CancellationToken) -> Result<Answer, AskError> {
        match &self.router {
            Some(router) => {
                if let Some(source) = &self.source {
                    self.reload(router, source);
                }
                router.ask(ask, cancel).await
            }
            None => Err(AskError::Unroutable {
                role: ask.role,
                reason:
                    "the recipe is switched off ([worker] recipe) and there is no crew file ([worker] crew)"
                        .to_owned(),
                trail: Trail::default(),
            }),
        }
    }

    /// Whether nothing but plans that people wrote answers for planner and implementer.
    pub fn is_recipe(&self) -> bool {
        let Some(router) = &self.router else { return true };
        let crew = router.crew();
        [Role::Planner, Role::Implementer].iter().filter_map(|role| crew.roles.get(role)).all(|config| {
            let mut models = config.candidates.iter().filter_map(|name| crew.models.get(name));
            models.all(|model| model.provider == RECIPE)
        })
    }

    /// The schema of a contract, as a model is shown it.
    pub fn contract(&self, name: &str) -> Option<Value> {
        Some(self.router.as_ref()?.contracts().get(name)?.schema().clone())
    }

    /// Checks what was not asked for in one question: the result of work with tools.
    ///
    /// # Errors
    /// Every way in which it breaks the contract of that name.
    pub fn check(&self, name: &str, value: &Value) -> Result<(), Vec<String>> {
        let Some(router) = &self.router else { return Ok(()) };
        let checked = router.contracts().validate(name, value);
        checked.map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    /// A broken new file changes nothing: the crew from before stays, and the failure is counted.
    fn reload(&self, router: &Router, source: &Mutex<Source>) {
        let looked = source.lock().unwrap_or_else(PoisonError::into_inner).look();
        let broken = match looked {
            Reload::Unchanged => return,
            Reload::Changed(crew) => {
                match usable(&crew).and_then(|()| router.replace(*crew).map_err(refused)) {
                    Ok(()) => {
                        let (crew, today) = (router.crew(), day_of(router.now()));
                        tracing::info!(
                            file = crew.file(),
                            sha256 = crew.sha256(),
                            "the crew file has changed; in use"
                        );
                        return warn(&crew, today);
                    }
                    Err(error) => error,
                }
            }
            Reload::Broken(error) => refused(error),
        };
        self.reloads_failed.add_one();
        tracing::warn!(error = %broken, "the crew file has changed and cannot be used; the one from before stays");
    }
}

/// Whether every model can be asked as the crew file has it: addresses and keys are there.
fn usable(crew: &Crew) -> Result<(), SettingsError> {
    for (name, model) in &crew.models {
        millrace_router::providers::check(model).map_err(|problem| {
            SettingsError::invalid(format!("[worker] crew: {}: `models.{name}`: {problem}", crew.file()))
        })?;
    }
    Ok(())
}

fn refused(error: CrewError) -> SettingsError {
    SettingsError::invalid(format!("[worker] crew: {}", sentence(&error)))
}

fn warn(crew: &Crew, today: Date) {
    for warning in crew.warnings(today) {
        tracing::warn!("{warning}");
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
