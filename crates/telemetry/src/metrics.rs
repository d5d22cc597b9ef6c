//! Counters and durations for the collector. Where no endpoint is configured each call is one branch.
//!
//! An instrument takes its attributes when it is made: what they can be is bounded by the code, never by a
//! task or a key, so that the collector's memory is.

use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry_sdk::metrics::SdkMeterProvider;

use crate::names::metric::Definition;

/// The meter of this process; none where nothing is exported.
static METER: OnceLock<Meter> = OnceLock::new();

/// Attributes of an instrument: names of [`crate::names::attribute`] and their values.
pub type Attributes<'a> = &'a [(&'static str, &'a str)];

/// A number that only grows.
#[derive(Debug, Clone, Default)]
pub struct Counter(Option<(opentelemetry::metrics::Counter<u64>, Vec<KeyValue>)>);

impl Counter {
    /// A counter of this process. Made after [`crate::init`]; before it, it counts nothing.
    #[must_use]
    pub fn new(definition: &Definition, attributes: Attributes<'_>) -> Self {
        Self(METER.get().map(|meter| {
            let counter = meter
                .u64_counter(definition.name)
                .with_unit(definition.unit)
                .with_description(definition.description);
            (counter.build(), key_values(attributes))
        }))
    }

    /// Adds one.
    pub fn add_one(&self) {
        if let Some((counter, attributes)) = &self.0 {
            counter.add(1, attributes);
        }
    }
}

/// Durations in seconds.
#[derive(Debug, Clone, Default)]
pub struct Durations(Option<(opentelemetry::metrics::Histogram<f64>, Vec<KeyValue>)>);

impl Durations {
    /// Upper bounds of the buckets, from a decision in memory to a change that is worked on.
    const BOUNDS_S: [f64; 12] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0, 300.0, 1_800.0];

    /// Durations of this process. Made after [`crate::init`]; before it, nothing is recorded.
    #[must_use]
    pub fn new(definition: &Definition, attributes: Attributes<'_>) -> Self {
        Self(METER.get().map(|meter| {
            let histogram = meter
                .f64_histogram(definition.name)
                .with_unit(definition.unit)
                .with_description(definition.description)
                .with_boundaries(Self::BOUNDS_S.to_vec());
            (histogram.build(), key_values(attributes))
        }))
    }

    /// Records one.
    pub fn record(&self, duration: Duration) {
        if let Some((histogram, attributes)) = &self.0 {
            histogram.record(duration.as_secs_f64(), attributes);
        }
    }
}

/// From now on the process's instruments belong to this provider. The first one stays.
pub(crate) fn install(provider: &SdkMeterProvider) {
    METER.get_or_init(|| provider.meter(env!("CARGO_PKG_NAME")));
}

fn key_values(attributes: Attributes<'_>) -> Vec<KeyValue> {
    attributes.iter().map(|(name, value)| KeyValue::new(*name, (*value).to_owned())).collect()
}
