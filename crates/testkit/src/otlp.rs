//! An OTLP collector inside the test: it takes spans and metrics over gRPC and lets the test look at the tree
//! and at the counts.

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point};
use opentelemetry_proto::tonic::trace::v1 as wire;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// A collector that keeps every span and the last value of every count it was sent. It stops when dropped.
#[derive(Debug)]
pub struct OtlpReceiver {
    address: SocketAddr,
    spans: Spans,
    counts: Counts,
    // Its own, because a test that shuts its exporter down blocks the thread that it runs on.
    runtime: Option<Runtime>,
}

type Spans = Arc<Mutex<Vec<Span>>>;
type Counts = Arc<Mutex<BTreeMap<Series, u64>>>;

/// What tells one series of counts from another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Series {
    /// The metric's name.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// Attributes, values as text.
    pub attributes: BTreeMap<String, String>,
    /// Attributes of the process: `service.name`, …
    pub resource: BTreeMap<String, String>,
}

/// One span as it arrived. Ids are lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// 32 digits.
    pub trace_id: String,
    /// 16 digits.
    pub span_id: String,
    /// 16 digits, or empty for a root.
    pub parent_span_id: String,
    /// The span's name.
    pub name: String,
    /// `SPAN_KIND_CONSUMER`, as the protocol spells it.
    pub kind: String,
    /// Nanoseconds since 1970.
    pub start_unix_nano: u64,
    /// Attributes, values as text.
    pub attributes: BTreeMap<String, String>,
    /// Attributes of the process: `service.name`, …
    pub resource: BTreeMap<String, String>,
    /// The spans that this one links to: trace id and span id.
    pub links: Vec<(String, String)>,
    /// The message of an error status; `Some("")` for an error without one, `None` for no error.
    pub error: Option<String>,
}

impl OtlpReceiver {
    /// Listens on a loopback port of its own.
    #[must_use]
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("bind a loopback port");
        listener.set_nonblocking(true).expect("a listener for tokio");
        let address = listener.local_addr().expect("the bound address");
        let spans = Spans::default();
        let counts = Counts::default();
        let collector = Collector { spans: Arc::clone(&spans), counts: Arc::clone(&counts) };
        let traces = TraceServiceServer::new(collector.clone());
        let metrics = MetricsServiceServer::new(collector);
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a listener for tokio");
            let serving = Server::builder().add_service(traces).add_service(metrics);
            serving.serve_with_incoming(TcpListenerStream::new(listener)).await.expect("serve OTLP");
        });
        Self { address, spans, counts, runtime: Some(runtime) }
    }

    /// What to configure as `MILLRACE_OTLP_ENDPOINT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every span so far, in the order of arrival.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        lock(&self.spans).clone()
    }

    /// The spans of one trace, by start time.
    #[must_use]
    pub fn trace(&self, trace_id: &str) -> Vec<Span> {
        let mut spans = self.spans();
        spans.retain(|span| span.trace_id == trace_id);
        spans.sort_by_key(|span| span.start_unix_nano);
        spans
    }

    /// The last value of every series of counts (for a histogram, how many values it has).
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Series, u64> {
        lock(&self.counts).clone()
    }

    /// The sum over all series of that name which have that attribute.
    #[must_use]
    pub fn count(&self, name: &str, attribute: &str, value: &str) -> u64 {
        let fits = |series: &Series| {
            series.name == name && series.attributes.get(attribute).is_some_and(|found| found == value)
        };
        self.counts().iter().filter(|(series, _)| fits(series)).map(|(_, count)| count).sum()
    }

    /// Waits until a span of this name has arrived, and gives it.
    pub async fn span_named(&self, name: &str, bound: Duration) -> Span {
        let what = format!("a span named {name:?}");
        crate::eventually(&what, bound, async || self.spans().into_iter().find(|span| span.name == name))
            .await
    }

    /// Waits until the trace, drawn as by [`tree`], is exactly `expected`; else panics with both.
    pub async fn assert_tree(&self, trace_id: &str, expected: &str, bound: Duration) {
        let deadline = tokio::time::Instant::now() + bound;
        loop {
            let found = tree(&self.trace(trace_id));
            if found == expected {
                return;
            }
            if tokio::time::Instant::now() >= deadline {
                panic!("trace {trace_id} within {bound:?}\nexpected:\n{expected}\nfound:\n{found}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for OtlpReceiver {
    fn drop(&mut self) {
        // Dropping a runtime blocks, which is not allowed inside another one.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Draws spans as indented names, one a line, children below their parent by start time. A span whose
/// parent is not among them stands at the left edge, like a root.
#[must_use]
pub fn tree(spans: &[Span]) -> String {
    let mut ordered: Vec<&Span> = spans.iter().collect();
    ordered.sort_by_key(|span| span.start_unix_nano);
    let is_known = |id: &str| ordered.iter().any(|span| span.span_id == id);
    let mut text = String::new();
    for root in ordered.iter().filter(|span| !is_known(&span.parent_span_id)) {
        draw(root, &ordered, 0, &mut text);
    }
    text
}

fn draw(span: &Span, all: &[&Span], depth: usize, text: &mut String) {
    text.push_str(&"  ".repeat(depth));
    text.push_str(&span.name);
    text.push('\n');
    for child in all.iter().filter(|child| child.parent_span_id == span.span_id) {
        draw(child, all, depth + 1, text);
    }
}

#[derive(Clone)]
struct Collector {
    spans: Spans,
    counts: Counts,
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        let mut counts = lock(&self.counts);
        for group in request.into_inner().resource_metrics {
            let resource = attributes(group.resource.unwrap_or_default().attributes);
            for metric in group.scope_metrics.into_iter().flat_map(|scope| scope.metrics) {
                for (pairs, count) in points(metric.data) {
                    let series = Series {
                        name: metric.name.clone(),
                        unit: metric.unit.clone(),
                        attributes: attributes(pairs),
                        resource: resource.clone(),
                    };
                    counts.insert(series, count);
                }
            }
        }
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

/// Attributes and value of each point of a counter or histogram.
fn points(data: Option<Data>) -> Vec<(Vec<KeyValue>, u64)> {
    match data {
        Some(Data::Sum(sum)) => {
            let number = |value| match value {
                Some(number_data_point::Value::AsInt(value)) => u64::try_from(value).unwrap_or(0),
                _ => 0,
            };
            sum.data_points.into_iter().map(|point| (point.attributes, number(point.value))).collect()
        }
        Some(Data::Histogram(histogram)) => {
            histogram.data_points.into_iter().map(|point| (point.attributes, point.count)).collect()
        }
        _ => Vec::new(),
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut arrived = Vec::new();
        for group in request.into_inner().resource_spans {
            let resource = attributes(group.resource.unwrap_or_default().attributes);
            let spans = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
            arrived.extend(spans.map(|span| read(span, resource.clone())));
        }
        lock(&self.spans).extend(arrived);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn read(span: wire::Span, resource: BTreeMap<String, String>) -> Span {
    let kind = span.kind().as_str_name().to_owned();
    let status = span.status.unwrap_or_default();
    let failed = status.code() == wire::status::StatusCode::Error;
    Span {
        trace_id: hex::encode(span.trace_id),
        span_id: hex::encode(span.span_id),
        parent_span_id: hex::encode(span.parent_span_id),
        name: span.name,
        kind,
        start_unix_nano: span.start_time_unix_nano,
        attributes: attributes(span.attributes),
        resource,
        links: span
            .links
            .into_iter()
            .map(|link| (hex::encode(link.trace_id), hex::encode(link.span_id)))
            .collect(),
        error: failed.then_some(status.message),
    }
}

fn attributes(pairs: Vec<KeyValue>) -> BTreeMap<String, String> {
    pairs.into_iter().map(|pair| (pair.key, text(pair.value.unwrap_or_default()))).collect()
}

fn text(value: AnyValue) -> String {
    match value.value {
        Some(Value::StringValue(text)) => text,
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::DoubleValue(value)) => value.to_string(),
        other => format!("{other:?}"),
    }
}

fn lock<T>(held: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}
