//! The OTLP exporters, and the `tracing` layer that feeds it.

use crate::init::{TelemetryConfig, TelemetryError};
use crate::names::attribute;
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::Instant;
use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

/// How often what was counted is sent.
const METRICS_EVERY: Duration = Duration::from_secs(10);

/// Sends spans in batches and metrics in intervals, from threads of its own.
#[derive(Debug)]
pub(crate) struct Exporter {
    provider: SdkTracerProvider,
    meters: SdkMeterProvider,
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
    let (sender, counts) = {
        let _inside = runtime.enter();
        (
            SpanExporter::builder().with_tonic().with_endpoint(endpoint).build(),
            MetricExporter::builder().with_tonic().with_endpoint(endpoint).build(),
        )
    };
    let sender = sender.map_err(|error| unusable(error.to_string()))?;
    let counts = counts.map_err(|error| unusable(error.to_string()))?;
    let resource = resource(config);
    let reader = PeriodicReader::builder(counts).with_interval(METRICS_EVERY).build();
    let meters = SdkMeterProvider::builder().with_reader(reader).with_resource(resource.clone()).build();
    let provider = SdkTracerProvider::builder().with_batch_exporter(sender).with_resource(resource).build();
    let layer = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer(env!("CARGO_PKG_NAME")))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(own_spans());
    Ok(Some((layer, Exporter { provider, meters, runtime })))
}

/// Our own crates' spans only: those of the libraries (the exporter's among them) are not what a trace of
/// a task is about. A target is matched by its beginning, so this is every `millrace*` crate.
fn own_spans() -> Targets {
    Targets::new().with_target("millrace", LevelFilter::INFO)
}

fn resource(config: &TelemetryConfig) -> Resource {
    Resource::builder()
        .with_service_name(config.service_name.clone())
        .with_attribute(KeyValue::new(attribute::SERVICE_INSTANCE_ID, instance()))
        .with_attribute(KeyValue::new(attribute::SERVICE_VERSION, env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new(attribute::DEPLOYMENT_ENVIRONMENT_NAME, config.environment.clone()))
        .build()
}

/// A name for this process: process ids alone are the same in every container.
fn instance() -> String {
    let random = RandomState::new().build_hasher().finish();
    format!("{}-{random:016x}", std::process::id())
}

impl Exporter {
    pub(crate) const fn meters(&self) -> &SdkMeterProvider {
        &self.meters
    }

    pub(crate) fn flush(&self) -> Result<(), TelemetryError> {
        let flushed = self.provider.force_flush();
        let counted = self.meters.force_flush();
        flushed.and(counted).map_err(|error| not_sent(crate::Guard::BOUND, &error))
    }

    pub(crate) fn shutdown(self, bound: Duration) -> Result<(), TelemetryError> {
        let begun = Instant::now();
        let counted = self.meters.shutdown_with_timeout(bound / 2);
        let stopped = self.provider.shutdown_with_timeout(bound.saturating_sub(begun.elapsed()));
        // Not dropped: dropping a runtime blocks, which is not allowed inside another one.
        self.runtime.shutdown_background();
        stopped.and(counted).map_err(|error| not_sent(bound, &error))
    }
}

fn not_sent(bound: Duration, error: &opentelemetry_sdk::error::OTelSdkError) -> TelemetryError {
    TelemetryError::Flush { bound, reason: error.to_string() }
}
