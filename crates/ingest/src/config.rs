//! Settings of the gate and the receivers.

use model::duration::PromDuration;
use model::relabel;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What may come in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// A series with more labels is refused, `__name__` included; 0 is no limit.
    pub max_labels: usize,
    /// A series with a longer label name, in bytes, is refused; 0 is no limit.
    pub max_label_name_bytes: usize,
    /// A series with a longer label value, in bytes, is refused; 0 is no limit.
    pub max_label_value_bytes: usize,
    /// A sample further in the future is refused; 0 is no limit.
    pub max_future: PromDuration,
    /// Samples a second that one tenant may send; beyond it batches are refused until there is room again. 0 is no limit.
    pub max_samples_per_second: u64,
    /// Seconds of that rate which may come at once.
    pub burst_seconds: u64,
    /// A longer help text or unit, in bytes, is cut.
    pub max_metadata_bytes: usize,
    /// Metrics of a tenant whose type and unit become labels (`--enable-feature=type-and-unit-labels`); those beyond get none.
    pub max_typed_metrics: usize,
    /// Relabelling of everything that comes in.
    pub relabel_configs: Vec<relabel::Config>,
    /// A pushed request with a larger body, in bytes as sent, is refused.
    pub max_request_bytes: usize,
    /// A pushed request that is larger when decompressed, in bytes, is refused.
    pub max_decompressed_bytes: usize,
    /// Series of remote write that are recognised without reading their labels again; each takes 20 to 40 bytes.
    pub max_known_series: usize,
    /// OpenTelemetry's metrics over HTTP and gRPC. How names are translated is in Prometheus' section `otlp`.
    pub otlp: SwitchConfig,
    /// InfluxDB's line protocol over HTTP.
    pub influx: InfluxConfig,
    /// Prometheus' text, pushed to `/api/v1/import/prometheus`.
    pub import: SwitchConfig,
    /// Datadog's series over HTTP.
    pub datadog: SwitchConfig,
    /// The Pushgateway's interface.
    pub pushgateway: PushgatewayConfig,
    /// Graphite over TCP and UDP.
    pub graphite: GraphiteConfig,
    /// StatsD and DogStatsD over UDP, TCP and a UNIX socket.
    pub statsd: StatsdConfig,
    /// What `zabbix_sender` sends.
    pub zabbix: ListenConfig,
    /// What collectd's network plugin sends, over UDP.
    pub collectd: ListenConfig,
    /// Bounds of the receivers that do not speak HTTP.
    pub sockets: SocketConfig,
    /// The spool of remote write out. Destinations are in Prometheus' section `remote_write`.
    pub forward: ForwardConfig,
    /// What happens when a label makes a metric explode.
    pub cardinality: CardinalityConfig,
    /// Deltas of OpenTelemetry and counts of Datadog, which are added up to totals.
    pub deltas: DeltaConfig,
}

/// A receiver without settings of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SwitchConfig {
    /// Whether it answers; switched off, its paths are not found.
    pub enabled: bool,
}

impl Default for SwitchConfig {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// InfluxDB's line protocol.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InfluxConfig {
    /// Whether it answers; switched off, its paths are not found.
    pub enabled: bool,
    /// The label that holds the database (version 2: the bucket) of a request; empty for none.
    pub database_label: String,
}

impl Default for InfluxConfig {
    fn default() -> Self {
        Self { enabled: true, database_label: "db".into() }
    }
}

/// The Pushgateway's interface.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PushgatewayConfig {
    /// Whether it answers; switched off, its paths are not found.
    pub enabled: bool,
    /// How often the samples of every group are stored; at least 1s.
    pub interval: PromDuration,
    /// A group that was not pushed to for this long ends; 0 keeps groups until they are deleted.
    pub expiry: PromDuration,
    /// Groups of all tenants together; beyond it new ones are refused.
    pub max_groups: usize,
    /// Series of one group.
    pub max_series: usize,
}

impl Default for PushgatewayConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: PromDuration(15_000),
            expiry: PromDuration(7 * 86_400_000),
            max_groups: 10_000,
            max_series: 10_000,
        }
    }
}

/// Graphite's receivers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GraphiteConfig {
    /// Address and port for plaintext over TCP and UDP, such as `0.0.0.0:2003`; empty for none.
    pub listen_address: String,
    /// Address and port for pickle over TCP, such as `0.0.0.0:2004`; empty for none.
    pub pickle_listen_address: String,
    /// Relabelling; the label `__graphite_path__` holds the path as sent.
    pub relabel_configs: Vec<relabel::Config>,
}

/// How StatsD's timers and distributions are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HistogramForm {
    /// As a native histogram.
    #[default]
    Native,
    /// As `_bucket`, `_sum` and `_count` series.
    Classic,
}

/// StatsD and DogStatsD.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StatsdConfig {
    /// Address and port for UDP and TCP, such as `0.0.0.0:8125`; empty for none.
    pub listen_address: String,
    /// Path of a UNIX datagram socket; empty for none.
    pub unix_socket: std::path::PathBuf,
    /// How often a sample of every series is stored.
    pub flush_interval: PromDuration,
    /// A series without values for this long ends.
    pub expiry: PromDuration,
    /// Series that are aggregated at once; values of further ones are refused.
    pub max_series: usize,
    /// How timers, histograms and distributions are stored. Times come in milliseconds and are stored in seconds.
    pub histograms: HistogramForm,
    /// Upper bounds of classic buckets, ascending.
    pub buckets: Vec<f64>,
}

impl Default for StatsdConfig {
    fn default() -> Self {
        Self {
            listen_address: String::new(),
            unix_socket: std::path::PathBuf::new(),
            flush_interval: PromDuration(10_000),
            expiry: PromDuration(5 * 60_000),
            max_series: 100_000,
            histograms: HistogramForm::Native,
            buckets: vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0],
        }
    }
}

/// A receiver that needs an address and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListenConfig {
    /// Address and port; empty for none.
    pub listen_address: String,
}

/// Bounds of the receivers that do not speak HTTP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SocketConfig {
    /// Whose data it is: these protocols name no tenant.
    pub tenant: String,
    /// Connections to one address at once; further ones wait.
    pub max_connections: usize,
    /// A connection on which nothing comes for this long is closed.
    pub idle_timeout: PromDuration,
    /// A line or message that does not end within so many bytes ends its connection.
    pub max_message_bytes: usize,
}

impl Default for SocketConfig {
    fn default() -> Self {
        Self {
            tenant: "default".into(),
            max_connections: 1000,
            idle_timeout: PromDuration(10 * 60_000),
            max_message_bytes: 1 << 20,
        }
    }
}

/// What happens when the spool is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FullPolicy {
    /// The oldest samples give way.
    #[default]
    DropOldest,
    /// New samples are not forwarded. They are stored here all the same.
    RefuseNewest,
}

/// The spool of remote write out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ForwardConfig {
    /// The spool may take this many bytes on disk; it is in the folder `forward` of `storage.path`.
    pub spool_max_bytes: u64,
    /// What happens when it is full: `drop_oldest` (default) or `refuse_newest`; both are counted.
    pub when_full: FullPolicy,
    /// How often the spool is synced to the disk: a power loss may take so much of what waits. The death of the process takes nothing.
    pub sync_interval: PromDuration,
}

impl Default for ForwardConfig {
    fn default() -> Self {
        Self {
            spool_max_bytes: 4 << 30,
            when_full: FullPolicy::DropOldest,
            sync_interval: PromDuration(1000),
        }
    }
}

/// Cardinality protection. Limits by tenant, metric and target are in `storage.limits`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CardinalityConfig {
    /// Whether a label that explodes is put into quarantine: its metric then gets no new series with that label for a while.
    pub quarantine: bool,
    /// New series of one metric within the window from which on it counts as exploding, when one label is behind it; at least 2000.
    pub new_series: u64,
    /// The window.
    pub window: PromDuration,
    /// The part of the new series that must bring a new value of the same label, from 0 to 1.
    pub share: f64,
    /// How long a quarantine lasts. When the label still explodes after it, the next one follows.
    pub duration: PromDuration,
    /// Quarantines at once.
    pub max_quarantines: usize,
    /// Labels that grow with the fleet and are not put into quarantine before they have `exempt_values` new values.
    pub exempt_labels: Vec<String>,
    /// New values of an exempt label of one metric within the window: more than a fleet has targets.
    pub exempt_values: u64,
    /// Sets of labels among the new series of one metric from which on it counts as exploding although no label alone is behind it.
    pub new_sets: u64,
}

impl Default for CardinalityConfig {
    fn default() -> Self {
        Self {
            quarantine: true,
            new_series: 50_000,
            window: PromDuration(3_600_000),
            share: 0.5,
            duration: PromDuration(3_600_000),
            max_quarantines: 100,
            exempt_labels: vec!["instance".into(), "job".into()],
            exempt_values: 250_000,
            new_sets: 500_000,
        }
    }
}

/// Deltas, which are added up to totals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeltaConfig {
    /// Series whose deltas are added up at once; 0 refuses deltas.
    pub max_series: usize,
    /// A series without a delta for this long starts anew.
    pub expiry: PromDuration,
}

impl Default for DeltaConfig {
    fn default() -> Self {
        Self { max_series: 200_000, expiry: PromDuration(5 * 60_000) }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_labels: 100,
            max_label_name_bytes: 1024,
            max_label_value_bytes: 8192,
            max_future: PromDuration(10 * 60_000),
            max_samples_per_second: 0,
            burst_seconds: 10,
            max_metadata_bytes: 4096,
            max_typed_metrics: 100_000,
            relabel_configs: Vec::new(),
            max_request_bytes: 32 << 20,
            max_decompressed_bytes: 128 << 20,
            max_known_series: 4_000_000,
            otlp: SwitchConfig::default(),
            influx: InfluxConfig::default(),
            import: SwitchConfig::default(),
            datadog: SwitchConfig::default(),
            pushgateway: PushgatewayConfig::default(),
            graphite: GraphiteConfig::default(),
            statsd: StatsdConfig::default(),
            zabbix: ListenConfig::default(),
            collectd: ListenConfig::default(),
            sockets: SocketConfig::default(),
            forward: ForwardConfig::default(),
            cardinality: CardinalityConfig::default(),
            deltas: DeltaConfig::default(),
        }
    }
}
