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
    pub(crate) connections: Gauge,
    pub(crate) connections_waited: Counter,
    pub(crate) queries_running: Gauge,
    pub(crate) queries_waiting: Gauge,
    pub(crate) queries_refused: Counter,
    pub(crate) query_samples: Counter,
    pub(crate) query_seconds: Histogram,
    pub(crate) query_bytes: Gauge,
    pub(crate) cache_hits: Counter,
    pub(crate) cache_misses: Counter,
    pub(crate) cache_steps: Counter,
    pub(crate) cache_bytes: Gauge,
    pub(crate) patterns: Gauge,
    pub(crate) notification_streams: Gauge,
    pub(crate) tokens_refused: Counter,
    pub(crate) fleet: FleetMetrics,
    /// Of the public status page.
    pub status_page: StatusPageMetrics,
}

/// What the fleet map measures of itself.
#[derive(Clone, Debug)]
pub(crate) struct FleetMetrics {
    pub(crate) servers: Gauge,
    pub(crate) targets: Gauge,
    pub(crate) targets_refused: Counter,
    pub(crate) bytes: Gauge,
    pub(crate) round_seconds: Histogram,
}

impl FleetMetrics {
    fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            servers: Gauge::default(),
            targets: Gauge::default(),
            targets_refused: Counter::default(),
            bytes: Gauge::default(),
            round_seconds: Histogram::new([0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 5.0]),
        };
        registry.register("api_fleet_servers", "Servers on the fleet map", metrics.servers.clone());
        registry.register("api_fleet_targets", "Targets that the fleet map keeps", metrics.targets.clone());
        registry.register(
            "api_fleet_targets_refused",
            "Samples of up from targets beyond fleet.max_targets, which the map does not show",
            metrics.targets_refused.clone(),
        );
        registry.register(
            "api_fleet_bytes",
            "Memory of the fleet map: targets, topology, states, history",
            metrics.bytes.clone(),
        );
        registry.register(
            "api_fleet_round_seconds",
            "Time to compute the state of all servers once",
            metrics.round_seconds.clone(),
        );
        metrics
    }
}

/// What the public status page measures of itself.
#[derive(Clone, Debug, Default)]
pub struct StatusPageMetrics {
    pub(crate) rounds: Counter,
    pub(crate) failures: Counter,
    pub(crate) requests: Counter,
    pub(crate) connections: Gauge,
    pub(crate) connections_waited: Counter,
    pub(crate) webhooks: Gauge,
    pub(crate) webhook_sent: Counter,
    pub(crate) webhook_failed: Counter,
    pub(crate) webhook_dropped: Counter,
}

impl StatusPageMetrics {
    fn new(registry: &mut Registry) -> Self {
        let made = Self::default();
        let counters = [
            ("rounds", "Rounds in which the components of the status page were judged", &made.rounds),
            ("failures", "Expressions of components that could not be evaluated", &made.failures),
            ("requests", "Requests to the status page's own listener", &made.requests),
            (
                "connections_waited",
                "Clients of the status page that waited because status_page.max_connections were open",
                &made.connections_waited,
            ),
            ("webhooks_sent", "Events of the status page that webhooks took", &made.webhook_sent),
            (
                "webhooks_failed",
                "Attempts to tell a webhook that failed; they are made again",
                &made.webhook_failed,
            ),
            ("webhooks_dropped", "Events that were too old or too many to be told", &made.webhook_dropped),
        ];
        for (name, help, counter) in counters {
            registry.register(format!("api_status_page_{name}"), help, counter.clone());
        }
        registry.register(
            "api_status_page_connections",
            "Open connections to the status page (bound: status_page.max_connections)",
            made.connections.clone(),
        );
        registry.register(
            "api_status_page_webhooks",
            "Webhooks of the status page (bound: status_page.max_webhooks)",
            made.webhooks.clone(),
        );
        made
    }
}

impl Metrics {
    /// Registers everything.
    pub fn new(registry: &mut Registry) -> Self {
        let seconds: fn() -> Histogram = || Histogram::new([0.001, 0.005, 0.025, 0.1, 0.5, 2.0, 10.0, 60.0]);
        let metrics = Self {
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            connections: Gauge::default(),
            connections_waited: Counter::default(),
            queries_running: Gauge::default(),
            queries_waiting: Gauge::default(),
            queries_refused: Counter::default(),
            query_samples: Counter::default(),
            query_seconds: seconds(),
            query_bytes: Gauge::default(),
            cache_hits: Counter::default(),
            cache_misses: Counter::default(),
            cache_steps: Counter::default(),
            cache_bytes: Gauge::default(),
            patterns: Gauge::default(),
            notification_streams: Gauge::default(),
            tokens_refused: Counter::default(),
            fleet: FleetMetrics::new(registry),
            status_page: StatusPageMetrics::new(registry),
        };
        registry.register(
            "api_requests",
            "Requests answered, by route and status code",
            metrics.requests.clone(),
        );
        registry.register(
            "api_tokens_refused",
            "Requests refused for their token: none, one that is not known, or one without the scope",
            metrics.tokens_refused.clone(),
        );
        registry.register(
            "api_request_duration_seconds",
            "Time from a request's first byte to its answer's first byte, by route",
            metrics.request_seconds.clone(),
        );
        registry.register(
            "api_connections",
            "Open connections (bound: web.max_connections)",
            metrics.connections.clone(),
        );
        registry.register(
            "api_connections_waited",
            "Times that new connections had to wait because web.max_connections were open",
            metrics.connections_waited.clone(),
        );
        registry.register("api_queries_running", "Queries that run now", metrics.queries_running.clone());
        registry.register(
            "api_queries_waiting",
            "Queries that wait for a place (bound: query.max_queued_per_tenant for each tenant)",
            metrics.queries_waiting.clone(),
        );
        registry.register(
            "api_queries_refused",
            "Queries refused because others ran or waited for too long",
            metrics.queries_refused.clone(),
        );
        registry.register(
            "api_query_duration_seconds",
            "Time of a query from its arrival to its result, waiting included",
            metrics.query_seconds.clone(),
        );
        registry.register(
            "api_query_memory_bytes",
            "Memory that queries hold, as of the last one that ended (bound: query.max_total_bytes)",
            metrics.query_bytes.clone(),
        );
        registry.register(
            "api_query_cache_hits",
            "Range queries for which part of a kept answer was reused",
            metrics.cache_hits.clone(),
        );
        registry.register(
            "api_query_cache_misses",
            "Range queries that could have been kept and of which nothing was",
            metrics.cache_misses.clone(),
        );
        registry.register(
            "api_query_cache_steps",
            "Steps of range queries that were not computed because a kept answer had them",
            metrics.cache_steps.clone(),
        );
        registry.register(
            "api_query_cache_bytes",
            "Memory of kept answers (bound: query.cache_max_bytes)",
            metrics.cache_bytes.clone(),
        );
        registry.register(
            "api_query_patterns",
            "Compiled regular expressions that are kept (bound: query.max_patterns)",
            metrics.patterns.clone(),
        );
        registry.register(
            "api_notification_streams",
            "Clients that follow /api/v1/notifications/live",
            metrics.notification_streams.clone(),
        );
        registry.register(
            "api_query_samples",
            "Samples that queries have read",
            metrics.query_samples.clone(),
        );
        metrics
    }
}
