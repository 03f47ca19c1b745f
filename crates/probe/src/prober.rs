//! Modules in force, how many probes run at once, schedules, metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::duration::PromDuration;
use parking_lot::RwLock;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::config::{ConfigError, Module, Modules};
use crate::resolve::Reach;
use crate::result::Outcome;

/// Targets of all schedules together.
const MAX_TARGETS: usize = 20_000;

/// Checks from outside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The blackbox exporter's modules file. Without one schedules have the modules of its documentation, and `/probe` does not answer.
    pub config_file: String,
    /// What a scraper's time limit is shortened by, so that the answer arrives in time.
    pub timeout_offset: PromDuration,
    /// Probes that run at once; further ones of `/probe` are refused, those of schedules wait.
    pub max_concurrent: usize,
    /// Networks that may be probed; none means all.
    pub allowed_networks: Vec<String>,
    /// Networks that may not be probed, whatever a name resolves to or a redirect leads to.
    pub denied_networks: Vec<String>,
    /// A file with the tokens that vantage points show, one a line; read again on reload. Without it there are none.
    pub token_file: String,
    /// A vantage point that has not asked for so long is gone.
    pub lease: PromDuration,
    /// Vantage points that are known at most; more are refused.
    pub max_vantages: usize,
    /// What is probed, how often and from where.
    pub schedules: Vec<Schedule>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            config_file: String::new(),
            timeout_offset: PromDuration(500),
            max_concurrent: 1_000,
            allowed_networks: Vec::new(),
            denied_networks: Vec::new(),
            token_file: String::new(),
            lease: PromDuration(60_000),
            max_vantages: 5_000,
            schedules: Vec::new(),
        }
    }
}

/// From where a schedule is run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum From {
    /// From the server.
    #[default]
    Server,
    /// From vantage points.
    Vantages,
    /// From both.
    Everywhere,
}

/// What is probed, how often and from where.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// Unique; the label `job`.
    pub name: String,
    /// The module's name.
    pub module: String,
    /// Each is the label `instance` of its series.
    pub targets: Vec<String>,
    /// How often.
    pub interval: PromDuration,
    /// How long one probe may take; at most the interval.
    pub timeout: PromDuration,
    /// The name to ask for, when it is not the target's own.
    pub hostname: String,
    /// Further labels of the series.
    pub labels: BTreeMap<String, String>,
    /// From where.
    pub from: From,
    /// Labels of vantage points and the regular expressions that they must match as a whole; none fits every one.
    #[serde(rename = "match")]
    pub matches: BTreeMap<String, String>,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            name: String::new(),
            module: String::new(),
            targets: Vec::new(),
            interval: PromDuration(60_000),
            timeout: PromDuration(10_000),
            hostname: String::new(),
            labels: BTreeMap::new(),
            from: From::Server,
            matches: BTreeMap::new(),
        }
    }
}

impl Schedule {
    /// Whether a vantage point with these labels runs it.
    pub fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        self.from != From::Server
            && self.matches.iter().all(|(name, pattern)| {
                let value = labels.get(name).map(String::as_str).unwrap_or_default();
                Regex::new(&format!("^(?:{pattern})$")).is_ok_and(|pattern| pattern.is_match(value))
            })
    }

    /// Whether the server runs it.
    pub fn is_here(&self) -> bool {
        self.from != From::Vantages
    }

    /// # Errors
    /// What is wrong.
    fn check(&self, modules: &Modules) -> Result<(), String> {
        if self.name.is_empty() {
            return Err("a schedule needs a name".into());
        }
        if !modules.modules.contains_key(&self.module) {
            return Err(format!("there is no module {:?}", self.module));
        }
        if self.targets.is_empty() || self.targets.iter().any(String::is_empty) {
            return Err("targets: there must be some, and none may be empty".into());
        }
        if self.targets.iter().collect::<BTreeSet<_>>().len() != self.targets.len() {
            return Err("targets: one is named twice".into());
        }
        if self.interval.ms() < 1_000 {
            return Err(format!("interval is {}: the shortest is 1s", self.interval));
        }
        if self.timeout.ms() < 1 || self.timeout > self.interval {
            return Err(format!("timeout is {}: it must be above 0 and at most the interval", self.timeout));
        }
        for (name, pattern) in &self.matches {
            Regex::new(&format!("^(?:{pattern})$")).map_err(|err| format!("match.{name}: {err}"))?;
        }
        match self.labels.keys().find(|name| name.is_empty() || name.starts_with("__")) {
            Some(name) => Err(format!("labels: {name:?} cannot be a label")),
            None => Ok(()),
        }
    }
}

impl Config {
    /// Reads the modules. Blocks.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn modules(&self) -> Result<Modules, ConfigError> {
        match self.config_file.as_str() {
            "" => Ok(Modules::standard()),
            file => Modules::load(Path::new(file)),
        }
    }

    /// Checks the schedules against the modules.
    ///
    /// # Errors
    /// What is wrong, with its field.
    pub fn check(&self, modules: &Modules) -> Result<(), String> {
        Reach::new(&self.allowed_networks, &self.denied_networks)
            .map_err(|wrong| format!("sources.probe.allowed_networks, denied_networks: {wrong}"))?;
        if self.max_concurrent == 0 {
            return Err("sources.probe.max_concurrent: it must be above 0".into());
        }
        if self.lease.ms() < 3_000 {
            return Err("sources.probe.lease: it must be at least 3s".into());
        }
        let mut names = BTreeSet::new();
        let mut targets = 0;
        for schedule in &self.schedules {
            let named = |wrong: String| format!("sources.probe.schedules: {:?}: {wrong}", schedule.name);
            schedule.check(modules).map_err(named)?;
            if !names.insert(&schedule.name) {
                return Err(named("the name is given twice".into()));
            }
            targets += schedule.targets.len();
        }
        if targets > MAX_TARGETS {
            return Err(format!("sources.probe.schedules: {targets} targets are more than {MAX_TARGETS}"));
        }
        Ok(())
    }
}

/// The label of a probe's end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Ended {
    /// `success` or `failure`.
    pub result: &'static str,
}

/// Metrics of probes.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Probes that ended.
    pub ended: Family<Ended, Counter>,
    /// Probes that run now.
    pub running: Gauge,
    /// Probes that were refused because too many ran.
    pub refused: Counter,
    /// Requests for a module that does not exist.
    pub unknown_modules: Counter,
}

impl Metrics {
    /// Registers them under `probe_`.
    pub fn new(registry: &mut Registry) -> Self {
        let this = Self::default();
        let registry = registry.sub_registry_with_prefix("probe");
        registry.register("probes", "Probes that ended, by result", this.ended.clone());
        registry.register("running", "Probes that run now", this.running.clone());
        registry.register(
            "refused",
            "Probes refused because sources.probe.max_concurrent ran",
            this.refused.clone(),
        );
        registry.register(
            "unknown_modules",
            "Requests for a module that the modules file lacks",
            this.unknown_modules.clone(),
        );
        this
    }
}

/// What `/probe` is asked.
#[derive(Clone, Debug, Default)]
pub struct Asked<'a> {
    /// The module's name; the exporter's default is `http_2xx`.
    pub module: &'a str,
    /// Where.
    pub target: &'a str,
    /// The name to ask for.
    pub hostname: Option<&'a str>,
    /// How long the scraper waits.
    pub scrape_timeout: Option<Duration>,
}

/// Why a probe was not made; the texts are the exporter's where it has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No target.
    #[error("Target parameter is missing")]
    NoTarget,
    /// The module does not exist.
    #[error("Unknown module {0:?}")]
    UnknownModule(String),
    /// Both the module and the request name a host.
    #[error(
        "Host header defined both in module configuration ({module}) and with URL-parameter 'hostname' ({asked})"
    )]
    TwoHosts {
        /// The module's.
        module: String,
        /// The request's.
        asked: String,
    },
    /// Too many run.
    #[error("{0} probes are running (sources.probe.max_concurrent); try again later")]
    Busy(usize),
}

/// Everything that a reload changes.
struct InForce {
    modules: Modules,
    reach: Arc<Reach>,
    offset: Duration,
}

/// Makes probes with the modules in force.
pub struct Prober {
    in_force: RwLock<InForce>,
    places: Semaphore,
    max_concurrent: usize,
    metrics: Metrics,
}

impl Prober {
    /// # Errors
    /// What is wrong with the settings.
    pub fn new(config: &Config, modules: Modules, metrics: Metrics) -> Result<Self, String> {
        config.check(&modules)?;
        Ok(Self {
            in_force: RwLock::new(InForce::of(config, modules)?),
            places: Semaphore::new(config.max_concurrent),
            max_concurrent: config.max_concurrent,
            metrics,
        })
    }

    /// Puts other modules and networks in force; probes that run are not touched. `max_concurrent` stays.
    ///
    /// # Errors
    /// What is wrong with the settings; the old ones stay then.
    pub fn reload(&self, config: &Config, modules: Modules) -> Result<(), String> {
        config.check(&modules)?;
        *self.in_force.write() = InForce::of(config, modules)?;
        Ok(())
    }

    /// The text of the modules in force.
    pub fn modules_text(&self) -> String {
        self.in_force.read().modules.text.clone()
    }

    /// A module's settings for a person, without its secrets.
    pub fn shown(&self, module: &str) -> String {
        self.in_force
            .read()
            .modules
            .modules
            .get(module)
            .map(|module| format!("{module:#?}"))
            .unwrap_or_default()
    }

    /// The metrics.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Makes a probe now, for `/probe`.
    ///
    /// # Errors
    /// Why there was none.
    pub async fn probe(&self, asked: &Asked<'_>) -> Result<Outcome, Refused> {
        if asked.target.is_empty() {
            return Err(Refused::NoTarget);
        }
        let (module, reach, limit) = self.prepare(asked)?;
        let Ok(_place) = self.places.try_acquire() else {
            self.metrics.refused.inc();
            return Err(Refused::Busy(self.max_concurrent));
        };
        Ok(self.run(&module, asked, limit, &reach).await)
    }

    /// Makes a probe when there is a place for it, for schedules.
    ///
    /// # Errors
    /// The module is gone.
    pub async fn scheduled(&self, schedule: &Schedule, target: &str) -> Result<Outcome, Refused> {
        let hostname = Some(schedule.hostname.as_str()).filter(|name| !name.is_empty());
        let asked = Asked { module: &schedule.module, target, hostname, scrape_timeout: None };
        let (module, reach, limit) = self.prepare(&asked)?;
        let limit = limit.min(schedule.timeout.to_std());
        // Never closed.
        let Ok(_place) = self.places.acquire().await else { return Err(Refused::Busy(self.max_concurrent)) };
        Ok(self.run(&module, &asked, limit, &reach).await)
    }

    fn prepare(&self, asked: &Asked<'_>) -> Result<(Module, Arc<Reach>, Duration), Refused> {
        let in_force = self.in_force.read();
        let Some(module) = in_force.modules.modules.get(asked.module) else {
            self.metrics.unknown_modules.inc();
            return Err(Refused::UnknownModule(asked.module.to_owned()));
        };
        if let (Some(name), Some(set)) = (asked.hostname, module.host_header())
            && module.prober == crate::config::Kind::Http
            && name != set
        {
            return Err(Refused::TwoHosts { module: set.to_owned(), asked: name.to_owned() });
        }
        let limit = crate::timeout(module, asked.scrape_timeout, in_force.offset);
        Ok((module.clone(), Arc::clone(&in_force.reach), limit))
    }

    async fn run(&self, module: &Module, asked: &Asked<'_>, limit: Duration, reach: &Arc<Reach>) -> Outcome {
        struct Running<'a>(&'a Gauge);
        impl Drop for Running<'_> {
            fn drop(&mut self) {
                self.0.dec();
            }
        }
        self.metrics.running.inc();
        let running = Running(&self.metrics.running);
        let outcome = crate::run(module, asked.target, asked.hostname, limit, reach).await;
        drop(running);
        let result = if outcome.success { "success" } else { "failure" };
        self.metrics.ended.get_or_create(&Ended { result }).inc();
        outcome
    }
}

impl InForce {
    fn of(config: &Config, modules: Modules) -> Result<Self, String> {
        Ok(Self {
            modules,
            reach: Arc::new(Reach::new(&config.allowed_networks, &config.denied_networks)?),
            offset: config.timeout_offset.to_std(),
        })
    }
}
