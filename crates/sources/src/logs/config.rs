//! Settings of logs as a source of metrics.

use std::collections::BTreeMap;

use httpc::Secret;
use model::duration::PromDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One stream of log lines and the metrics that are counted from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The label `job` of the metrics; unique.
    pub job: String,
    /// The label `instance`; empty means this host's name.
    pub instance: String,
    /// Lines of files.
    pub file: Option<FileInput>,
    /// Entries of systemd's journal.
    pub journald: Option<JournaldInput>,
    /// Syslog messages from the network, RFC 5424 or 3164.
    pub syslog: Option<SyslogInput>,
    /// Messages of a NATS JetStream stream.
    pub nats: Option<NatsInput>,
    /// How a line is taken apart.
    pub format: Format,
    /// A regular expression whose named groups are the fields; for `format: pattern`.
    pub pattern: String,
    /// Labels of every metric.
    pub labels: BTreeMap<String, String>,
    /// What is counted. Access-log formats count requests, bytes and durations without being told.
    pub metrics: Vec<MetricConfig>,
    /// How often the metrics are stored.
    pub interval: PromDuration,
    /// A longer line is cut here.
    pub max_line_bytes: usize,
    /// Label sets that are kept for the job; what would make more is counted and left out.
    pub max_series: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            job: String::new(),
            instance: String::new(),
            file: None,
            journald: None,
            syslog: None,
            nats: None,
            format: Format::Raw,
            pattern: String::new(),
            labels: BTreeMap::new(),
            metrics: Vec::new(),
            interval: PromDuration(15_000),
            max_line_bytes: 64 << 10,
            max_series: 10_000,
        }
    }
}

/// How a line is taken apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Not at all: the field `message` is the line.
    #[default]
    Raw,
    /// A JSON object; fields of nested objects are named `outer.inner`.
    Json,
    /// By the regular expression in `pattern`.
    Pattern,
    /// A service's name, an id and a short description: a JSON object with `service`, `id` and `description`, or the three in a line.
    Event,
    /// nginx' `combined` access log, also with `$request_time` at the end.
    Nginx,
    /// Apache's `common` or `combined` access log, also with `%D` at the end.
    Apache,
    /// HAProxy's `option httplog`.
    Haproxy,
    /// Envoy's default access log.
    Envoy,
}

/// Lines of files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FileInput {
    /// Paths; the last part may hold one `*`.
    pub paths: Vec<String>,
    /// Whether a file that has not been seen before is read from its start; otherwise from its end. Files that appear later are
    /// read from their start.
    pub from_start: bool,
    /// Lines that belong together.
    pub multiline: Multiline,
}

/// Lines that belong together, such as a stack trace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Multiline {
    /// A regular expression that the first line of an entry matches; empty means that every line is an entry.
    pub start: String,
    /// An entry ends after so many lines.
    pub max_lines: usize,
    /// An entry ends when nothing comes for so long.
    pub timeout: PromDuration,
}

impl Default for Multiline {
    fn default() -> Self {
        Self { start: String::new(), max_lines: 500, timeout: PromDuration(1_000) }
    }
}

/// Entries of systemd's journal, read by `journalctl`. The fields are the journal's own, `MESSAGE` as `message`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct JournaldInput {
    /// `FIELD=VALUE` each; entries must fit one of each field.
    pub matches: Vec<String>,
    /// The folder of the journal; empty means the system's.
    pub directory: String,
    /// The program that reads it.
    pub journalctl: String,
}

impl Default for JournaldInput {
    fn default() -> Self {
        Self { matches: Vec::new(), directory: String::new(), journalctl: "journalctl".into() }
    }
}

/// Syslog from the network. The fields are `facility`, `severity`, `hostname`, `app`, `procid`, `msgid` and `message`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SyslogInput {
    /// `host:port` for datagrams; empty means none.
    pub udp: String,
    /// `host:port` for connections; empty means none.
    pub tcp: String,
    /// `host:port` for connections over TLS; empty means none.
    pub tls: String,
    /// The server's certificate, PEM.
    pub cert_file: String,
    /// The certificate's key, PEM.
    pub key_file: String,
    /// Connections at once; more are closed.
    pub max_connections: usize,
}

impl Default for SyslogInput {
    fn default() -> Self {
        Self {
            udp: String::new(),
            tcp: String::new(),
            tls: String::new(),
            cert_file: String::new(),
            key_file: String::new(),
            max_connections: 1_000,
        }
    }
}

/// A JetStream stream, read through a durable consumer: what is not counted is sent again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NatsInput {
    /// `nats://host:port`.
    pub url: String,
    /// The stream.
    pub stream: String,
    /// Only messages of this subject; empty means all of the stream.
    pub subject: String,
    /// The consumer's name; several servers with the same name share the messages.
    pub consumer: String,
    /// User name; empty means none.
    pub username: String,
    /// Password.
    pub password: Secret,
    /// Token; empty means none.
    pub token: Secret,
}

impl Default for NatsInput {
    fn default() -> Self {
        Self {
            url: "nats://localhost:4222".into(),
            stream: String::new(),
            subject: String::new(),
            consumer: "bellwether".into(),
            username: String::new(),
            password: Secret::default(),
            token: Secret::default(),
        }
    }
}

/// The type of a metric that is counted from lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Counts lines, or sums a field.
    #[default]
    Counter,
    /// The last value of a field.
    Gauge,
    /// How a field's values are distributed.
    Histogram,
}

/// One metric.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MetricConfig {
    /// The metric's name; a counter's ends in `_total`.
    pub name: String,
    /// One sentence for people.
    pub help: String,
    /// The type.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Fields and the regular expressions that they must match as a whole; a line without the field does not fit.
    #[serde(rename = "match")]
    pub matches: BTreeMap<String, String>,
    /// The field with the number; empty counts lines.
    pub value: String,
    /// Multiplies the number, for a unit such as milliseconds.
    pub scale: f64,
    /// Labels and the fields whose values they get.
    pub labels: BTreeMap<String, String>,
    /// Upper bounds of a histogram's buckets, ascending, without +Inf.
    pub buckets: Vec<f64>,
}

impl Default for MetricConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            help: String::new(),
            kind: Kind::Counter,
            matches: BTreeMap::new(),
            value: String::new(),
            scale: 1.0,
            labels: BTreeMap::new(),
            buckets: vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0],
        }
    }
}
