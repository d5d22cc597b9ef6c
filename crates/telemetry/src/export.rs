//! The OTLP exporter, and the `tracing` layer that feeds it.

use crate::init::{TelemetryConfig, TelemetryError};
use crate::names::attribute;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::time::Duration;
use tokio::runtime::Runtime;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

/// Sends spans in batches from threads of its own.
#[derive(Debug)]
pub(crate) struct Exporter {
    provider: SdkTracerProvider,
    // gRPC needs a runtime that runs while `shutdown` blocks its caller; the caller's own might be that
    // very thread.
    runtime: Runtime,
}

/// The layer and the exporter behind it, or nothing where no endpoint is configured.
pub(crate) fn exporter<S>(
    config: &TelemetryConfig,
) -> Result<Option<(impl Layer<S> + use<S>, Exporter)>, TelemetryError>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let Some(endpoint) = &config.endpoint else {
        return Ok(None);
    };
    let unusable = |reason: String| TelemetryError::Endpoint { endpoint: endpoint.clone(), reason };
    if !endpoint.starts_with("http:") {
        return Err(unusable(
            "it must begin with http: (a collector beside the process adds TLS)".to_owned(),
        ));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("otlp")
        .enable_all()
        .build()
        .map_err(TelemetryError::Thread)?;
    let sender = {
        let _inside = runtime.enter();
        SpanExporter::builder().with_tonic().with_endpoint(endpoint).build()
    };
    let sender = sender.map_err(|error| unusable(error.to_string()))?;
    let provider =
        SdkTracerProvider::builder().with_batch_exporter(sender).with_resource(resource(config)).build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(env!("CARGO_PKG_NAME")))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(own_spans());
    Ok(Some((layer, Exporter { provider, runtime })))
}

/// Our own crates' spans only: those of the libraries (the exporter's among them) are not what a trace of
/// a task is about. A target is matched by its beginning, so this is every `millrace*` crate.
fn own_spans() -> Targets {
    Targets::new().with_target("millrace", LevelFilter::INFO)
}

fn resource(config: &TelemetryConfig) -> Resource {
    Resource::builder()
        .with_service_name(config.service_name.clone())
        .with_attribute(KeyValue::new(attribute::SERVICE_VERSION, env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new(attribute::DEPLOYMENT_ENVIRONMENT_NAME, config.environment.clone()))
        .build()
}

impl Exporter {
    pub(crate) fn flush(&self) -> Result<(), TelemetryError> {
        let flushed = self.provider.force_flush();
        flushed.map_err(|error| not_sent(crate::Guard::BOUND, &error))
    }

    pub(crate) fn shutdown(self, bound: Duration) -> Result<(), TelemetryError> {
        let stopped = self.provider.shutdown_with_timeout(bound);
        // Not dropped: dropping a runtime blocks, which is not allowed inside another one.
        self.runtime.shutdown_background();
        stopped.map_err(|error| not_sent(bound, &error))
    }
}

fn not_sent(bound: Duration, error: &opentelemetry_sdk::error::OTelSdkError) -> TelemetryError {
    TelemetryError::Flush { bound, reason: error.to_string() }
}
