//! Setting up logs and traces for one process.

use crate::export::{Exporter, exporter};
use crate::metrics;
use std::io::IsTerminal;
use std::time::Duration;
use tracing::Subscriber;
use tracing_subscriber::filter::{EnvFilter, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry, fmt};

/// What a process says about itself, and where to.
#[derive(Debug, Clone)]
pub struct TelemetryConfig {
    /// `service.name` of the process: one per process, also where several services share it; which
    /// service a span belongs to is its attribute [`names::attribute::MILLRACE_SERVICE`](crate::names).
    pub service_name: String,
    /// OTLP over gRPC, for example `http://localhost:4317` (plain HTTP/2; a collector beside the process
    /// adds TLS). None: traces and metrics are off.
    pub endpoint: Option<String>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which log lines are written, as a `tracing` filter: `info`, `info,millrace_runtime=debug`.
    pub log_filter: String,
    /// `deployment.environment.name`: the one environment value of the installation.
    pub environment: String,
}

/// How log lines look; both go to standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// One readable line an event, coloured on a terminal.
    #[default]
    Human,
    /// One JSON object an event.
    Json,
}

/// Why telemetry could not be set up. Each is a mistake in the configuration.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log filter does not parse.
    #[error("the log filter {filter:?} is not one: {source}")]
    LogFilter {
        /// What was configured.
        filter: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The endpoint is not a URL that traces can be sent to.
    #[error("the OTLP endpoint {endpoint:?} cannot be used: {reason}")]
    Endpoint {
        /// What was configured.
        endpoint: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The exporter's own thread did not start.
    #[error("the trace exporter could not start its thread")]
    Thread(#[source] std::io::Error),
    /// [`init`] was called twice, or something else installed a subscriber.
    #[error("logging is already set up in this process")]
    AlreadySet(#[source] tracing::subscriber::SetGlobalDefaultError),
    /// Traces could not be sent before the bound.
    #[error("traces could not be sent to the collector within {bound:?}: {reason}")]
    Flush {
        /// How long was tried.
        bound: Duration,
        /// What the exporter says.
        reason: String,
    },
}

/// Sets up logs and, where an endpoint is configured, traces and metrics for the whole process.
///
/// # Errors
/// A configuration that cannot be used, or a second call in the same process.
pub fn init(config: &TelemetryConfig) -> Result<Guard, TelemetryError> {
    let (subscriber, guard) = subscriber(config)?;
    tracing::subscriber::set_global_default(subscriber).map_err(TelemetryError::AlreadySet)?;
    if let Some(exporter) = &guard.exporter {
        metrics::install(exporter.meters());
    }
    Ok(guard)
}

/// What [`init`] installs for logs and traces, for a caller that installs it itself: a test, for its own
/// thread. Metrics belong to a process, not to a thread, so this one has none.
///
/// # Errors
/// A configuration that cannot be used.
pub fn subscriber(
    config: &TelemetryConfig,
) -> Result<(impl Subscriber + Send + Sync + for<'a> LookupSpan<'a> + 'static, Guard), TelemetryError> {
    let (traces, exporter) = exporter(config)?.unzip();
    let subscriber = Registry::default().with(traces).with(log_lines(config, std::io::stderr)?);
    Ok((subscriber, Guard { exporter }))
}

fn log_lines<S, W>(config: &TelemetryConfig, to: W) -> Result<impl Layer<S> + use<S, W>, TelemetryError>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::try_new(&config.log_filter)
        .map_err(|source| TelemetryError::LogFilter { filter: config.log_filter.clone(), source })?;
    let lines = fmt::layer().with_writer(to).with_ansi(std::io::stderr().is_terminal());
    let lines = match config.log_format {
        // A person reads what happened; the spans around it, with all their fields, are for the programs
        // that read JSON or the traces.
        LogFormat::Human => lines.compact().with_filter(filter_fn(|metadata| metadata.is_event())).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    Ok(lines.with_filter(filter))
}

/// Keeps the exporter alive. Dropping it sends what is still queued, within a bound.
#[derive(Debug)]
#[must_use = "traces are sent only while the guard lives"]
pub struct Guard {
    exporter: Option<Exporter>,
}

impl Guard {
    /// How long a shutdown waits for a collector that does not answer.
    pub const BOUND: Duration = Duration::from_secs(5);

    /// Sends every finished span and what was counted now.
    ///
    /// # Errors
    /// The collector did not take them.
    pub fn flush(&self) -> Result<(), TelemetryError> {
        self.exporter.as_ref().map_or(Ok(()), Exporter::flush)
    }

    /// Sends what is queued and stops; the same as a drop, but says how it went.
    ///
    /// # Errors
    /// The collector did not take the rest within [`Guard::BOUND`].
    pub fn shutdown(mut self) -> Result<(), TelemetryError> {
        self.exporter.take().map_or(Ok(()), |exporter| exporter.shutdown(Self::BOUND))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Too late to report: the process ends. `shutdown` is there for who wants to know.
        let _ = self.exporter.take().map(|exporter| exporter.shutdown(Self::BOUND));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use super::*;

    /// What is written into it can be read.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// A log line inside two spans, as the format shows it.
    fn line(log_format: LogFormat) -> String {
        let config = TelemetryConfig {
            service_name: "test".to_owned(),
            endpoint: None,
            log_format,
            log_filter: "info".to_owned(),
            environment: "test".to_owned(),
        };
        let written = Written::default();
        let to = written.clone();
        let lines = log_lines(&config, move || to.clone()).unwrap();
        tracing::subscriber::with_default(Registry::default().with(lines), || {
            let _outer = tracing::info_span!("process", stream = "outside").entered();
            let _inner = tracing::info_span!("decide", state = "inside").entered();
            tracing::info!(task = "VTID-00001", "scheduled");
            tracing::debug!("left out by the filter");
        });
        let bytes = written.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_for_people_tells_the_event_and_not_the_spans_around_it() {
        let line = line(LogFormat::Human);
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(line.contains("scheduled") && line.contains("VTID-00001"), "{line}");
        for span in ["process", "decide", "outside", "inside"] {
            assert!(!line.contains(span), "{line}");
        }
    }

    #[test]
    fn a_line_for_programs_has_its_span() {
        let line = line(LogFormat::Json);
        assert!(line.contains(r#""span":{"state":"inside","name":"decide"}"#), "{line}");
    }
}
