//! What the registry of agents tells about itself.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Metrics of the registry.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Agents whose lease has not ended, directly announced or told by peers.
    pub known: Gauge,
    /// Agents that this collector scrapes.
    pub owned: Gauge,
    /// Collectors that answer, this one included.
    pub collectors: Gauge,
    /// Announcements that were taken.
    pub announcements: Counter,
    /// Announcements that were refused.
    pub refused: Counter,
    /// Requests to peers that failed.
    pub peer_failures: Counter,
}

impl Metrics {
    /// Registers them.
    pub fn new(registry: &mut Registry) -> Self {
        let this = Self::default();
        registry.register("sources_agents_known", "Agents whose lease has not ended", this.known.clone());
        registry.register("sources_agents_owned", "Agents that this collector scrapes", this.owned.clone());
        registry.register(
            "sources_agents_collectors",
            "Collectors that answer, this one included",
            this.collectors.clone(),
        );
        registry.register(
            "sources_agents_announcements",
            "Announcements of agents that were taken",
            this.announcements.clone(),
        );
        registry.register(
            "sources_agents_refused",
            "Announcements of agents that were refused",
            this.refused.clone(),
        );
        registry.register(
            "sources_agents_peer_failures",
            "Requests to other collectors that failed",
            this.peer_failures.clone(),
        );
        this
    }
}
