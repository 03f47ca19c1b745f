//! Logging, and what the process measures of itself.

use std::sync::Arc;

use anyhow::Context;
use model::{Clock, Timestamp};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct LogConfig {
    /// The least serious level that is logged.
    pub level: Level,
    /// How lines look on standard error.
    pub format: Format,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: Level::Info, format: Format::Logfmt }
    }
}

/// A log level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// Every step.
    Debug,
    /// What an operator wants to know.
    Info,
    /// What needs attention soon.
    Warn,
    /// What does not work.
    Error,
}

/// A log format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// Text with `key=value` fields.
    Logfmt,
    /// One JSON object a line.
    Json,
}

/// Starts logging to standard error.
///
/// # Errors
/// When logging was started before.
pub(crate) fn start_logging(config: &LogConfig) -> anyhow::Result<()> {
    let level = match config.level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    };
    // Libraries below us are quieter.
    let filter = EnvFilter::try_new(format!("{level},hyper=warn,h2=warn,reqwest=warn,rustls=warn"))?;
    // A line that cannot be written (a full disk, a reader that is gone) is lost. Saying so on the same standard error
    // would end the server.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .log_internal_errors(false);
    let started = match config.format {
        Format::Logfmt => builder.try_init(),
        Format::Json => builder.json().try_init(),
    };
    started.map_err(|err| anyhow::anyhow!("logging cannot be started: {err}"))
}

/// Metrics of the process as a whole.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    /// 1 while the configuration that was read last is in force.
    pub config_last_reload_successful: Gauge,
    /// When the configuration in force was read, in seconds since the epoch.
    pub config_last_reload_success_timestamp_seconds: Gauge,
}

impl Metrics {
    /// Registers everything: `process_*` under the names that all exporters use, the rest under `bellwether_`.
    pub(crate) fn new(root: &mut Registry, started: Timestamp) -> Self {
        root.register_collector(Box::new(Process { started }));
        let registry = root.sub_registry_with_prefix("bellwether");
        let metrics = Self {
            config_last_reload_successful: Gauge::default(),
            config_last_reload_success_timestamp_seconds: Gauge::default(),
        };
        registry.register(
            "config_last_reload_successful",
            "1 when the configuration that was read last is in force, 0 when it was refused",
            metrics.config_last_reload_successful.clone(),
        );
        registry.register(
            "config_last_reload_success_timestamp_seconds",
            "When the configuration in force was read, in seconds since the epoch",
            metrics.config_last_reload_success_timestamp_seconds.clone(),
        );
        let build: Family<Vec<(&'static str, &'static str)>, Gauge> = Family::default();
        build.get_or_create(&vec![("version", env!("CARGO_PKG_VERSION"))]).set(1);
        registry.register("build_info", "The version, as a label of a constant 1", build);
        metrics
    }

    /// Notes the outcome of reading the configuration.
    pub(crate) fn reloaded(&self, success: bool, clock: &Arc<dyn Clock>) {
        self.config_last_reload_successful.set(i64::from(success));
        if success {
            self.config_last_reload_success_timestamp_seconds.set(clock.now().ms() / 1000);
        }
    }
}

/// CPU, memory, descriptors and threads of this process, read when asked.
#[derive(Debug)]
struct Process {
    started: Timestamp,
}

/// USER_HZ.
const TICKS_PER_SECOND: f64 = 100.0;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut gauge = |name: &str, help: &str, value: f64| -> Result<(), std::fmt::Error> {
            let metric = ConstGauge::new(value);
            metric.encode(encoder.encode_descriptor(name, help, None, metric.metric_type())?)
        };
        gauge(
            "process_start_time_seconds",
            "When the process started, in seconds since the epoch",
            self.started.seconds(),
        )?;
        // Where procfs is missing there is nothing to say.
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let fields: Vec<&str> = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect();
        let field = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok());
        if let Some(threads) = field(17) {
            gauge("process_threads", "Threads of the process", threads)?;
        }
        if let Some(pages) = field(21) {
            let bytes = pages * rustix::param::page_size() as f64;
            gauge("process_resident_memory_bytes", "Memory of the process that is in RAM", bytes)?;
        }
        if let Some(bytes) = field(20) {
            gauge("process_virtual_memory_bytes", "Address space of the process", bytes)?;
        }
        if let Ok(folder) = std::fs::read_dir("/proc/self/fd") {
            gauge("process_open_fds", "Open file descriptors", folder.count() as f64)?;
        }
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        if let Some(limit) = limit {
            gauge("process_max_fds", "Most file descriptors that may be open", limit as f64)?;
        }
        if let (Some(user), Some(system)) = (field(11), field(12)) {
            let metric = ConstCounter::new((user + system) / TICKS_PER_SECOND);
            let help = "Processor time of the process, user and system";
            metric.encode(encoder.encode_descriptor(
                "process_cpu_seconds",
                help,
                None,
                metric.metric_type(),
            )?)?;
        }
        Ok(())
    }
}

/// The reference of all metrics, from the registry of a process that has just started.
pub(crate) fn reference() -> anyhow::Result<String> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &crate::roles::all_metrics())
        .context("the metrics cannot be written")?;
    let mut help: std::collections::BTreeMap<&str, &str> = std::collections::BTreeMap::new();
    let mut kinds: std::collections::BTreeMap<&str, &str> = std::collections::BTreeMap::new();
    for line in text.lines() {
        if let Some((name, text)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            help.insert(name, text.trim_end_matches('.'));
        }
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            kinds.insert(name, kind);
        }
    }
    let mut out = String::from(
        "# Metrics of the server itself\n\nWritten from the code by `cargo xtask gen`; `bellwether docs metrics` prints it.\n\n| metric | type | meaning |\n|---|---|---|\n",
    );
    for (name, kind) in kinds {
        let full = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
        out.push_str(&format!("| `{full}` | {kind} | {} |\n", help.get(name).copied().unwrap_or_default()));
    }
    Ok(out)
}
