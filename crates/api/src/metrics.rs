//! What the API measures of itself.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// Labels of a finished request. `handler` is the route's pattern, so their number is bounded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    pub(crate) handler: String,
    pub(crate) code: u16,
}

/// Labels of a route.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct HandlerLabels {
    pub(crate) handler: String,
}

/// Counters of the HTTP server and of queries.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) requests: Family<RequestLabels, Counter>,
    pub(crate) request_seconds: Family<HandlerLabels, Histogram, fn() -> Histogram>,
    pub(crate) requests_refused: Counter,
    pub(crate) queries_running: Gauge,
    pub(crate) queries_refused: Counter,
    pub(crate) query_samples: Counter,
}

impl Metrics {
    /// Registers everything.
    pub fn new(registry: &mut Registry) -> Self {
        let seconds: fn() -> Histogram = || Histogram::new([0.001, 0.005, 0.025, 0.1, 0.5, 2.0, 10.0, 60.0]);
        let metrics = Self {
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            requests_refused: Counter::default(),
            queries_running: Gauge::default(),
            queries_refused: Counter::default(),
            query_samples: Counter::default(),
        };
        registry.register(
            "api_requests",
            "Requests answered, by route and status code",
            metrics.requests.clone(),
        );
        registry.register(
            "api_request_duration_seconds",
            "Time from a request's first byte to its answer's first byte, by route",
            metrics.request_seconds.clone(),
        );
        registry.register(
            "api_requests_refused",
            "Requests refused because web.max_connections were being worked on",
            metrics.requests_refused.clone(),
        );
        registry.register("api_queries_running", "Queries that run now", metrics.queries_running.clone());
        registry.register(
            "api_queries_refused",
            "Queries refused because query.max_concurrency ran for as long as query.timeout",
            metrics.queries_refused.clone(),
        );
        registry.register(
            "api_query_samples",
            "Samples that queries have read",
            metrics.query_samples.clone(),
        );
        metrics
    }
}
