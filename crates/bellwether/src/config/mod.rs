//! The configuration: defaults < file < environment < flags.
//!
//! One YAML file. Sections that Prometheus defines are read by `sources`, ours here ([`sections`] says which is whose). Our
//! sections are one typed tree, [`Settings`]; its JSON schema gives the flags, the environment variables and the reference.

pub(crate) mod agent;
pub(crate) mod leaves;
pub(crate) mod overrides;
mod sections;
pub(crate) mod witnesses;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use agent::AgentConfig;
use anyhow::{Context, bail};
use leaves::Leaf;
use model::InvalidField;
use overrides::Override;
use promql::{EvalOptions, Options};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sources::config::{Global, Mode, PrometheusFile, ScrapeConfig};

use crate::telemetry::LogConfig;

/// Prometheus' section whose scalars are also flags.
const GLOBAL: &str = "global";

/// Everything that can be set besides Prometheus' own sections.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Settings {
    /// Storage on the local disk.
    pub storage: tsdb::Config,
    /// The web server.
    pub web: api::WebConfig,
    /// Queries.
    pub query: api::QueryConfig,
    /// What is looked at besides scrape targets.
    pub sources: SourcesConfig,
    /// What may come in, scraped or pushed.
    pub ingest: ingest::Config,
    /// Recording and alerting rules.
    pub rules: RulesConfig,
    /// The alert manager.
    pub alerts: alerts::Settings,
    /// The collector of client-side reports.
    pub collector: clients::Config,
    /// Rules, routes, receivers and dashboards that are edited over the API.
    pub library: api::LibraryConfig,
    /// The fleet map.
    pub fleet: api::FleetConfig,
    /// The public status page.
    pub status_page: api::status_page::config::StatusPageConfig,
    /// `bellwether agent`: announcing and pushing.
    pub agent: AgentConfig,
    /// Logging.
    pub log: LogConfig,
}

/// What is looked at besides scrape targets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SourcesConfig {
    /// This host.
    pub host: host::Config,
    /// This server's own metrics.
    #[serde(rename = "self")]
    pub own: SelfConfig,
    /// Logs as a source of metrics.
    pub logs: Vec<sources::logs::Config>,
    /// Agents that announce themselves.
    pub agents: sources::agents::Config,
    /// Checks from outside: the blackbox exporter's modules, schedules, vantage points.
    pub probe: probe::Config,
}

/// The server's own metrics as a target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SelfConfig {
    /// Whether the server's own metrics are stored.
    pub enabled: bool,
    /// How often.
    pub interval: model::duration::PromDuration,
}

impl Default for SelfConfig {
    fn default() -> Self {
        Self { enabled: true, interval: model::duration::PromDuration(15_000) }
    }
}

/// Recording and alerting rules.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RulesConfig {
    /// How rules are evaluated.
    pub evaluation: rules::Config,
    /// Whether the rules that ship with the server are evaluated.
    pub shipped: bool,
    /// Multiplies every `for` and `keep_firing_for` of the shipped rules: less than 1 alerts sooner and more often.
    pub shipped_time_scale: f64,
    /// Whether the alert `Watchdog`, which always fires, is evaluated too. For a service outside that calls for help when
    /// notifications stop coming: give it a route of its own, or your receiver is told of it. `alerts.heartbeats` need no route.
    pub watchdog: bool,
}

impl Default for RulesConfig {
    fn default() -> Self {
        Self { evaluation: rules::Config::default(), shipped: true, shipped_time_scale: 1.0, watchdog: false }
    }
}

/// What was given on the command line and in the environment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    /// `--config.file`
    pub file: Option<PathBuf>,
    /// Settings, in the order in which they apply.
    pub overrides: Vec<Override>,
    /// `--scrape`
    pub scrape: Vec<String>,
    /// `--enable-feature`
    pub features: Vec<String>,
    /// What was given and has no effect, in words.
    pub warnings: Vec<String>,
}

/// The configuration in force.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Our sections.
    pub settings: Settings,
    /// Prometheus' sections, with the targets of `--scrape`.
    pub prometheus: PrometheusFile,
    /// Parts of PromQL that are on.
    pub options: Options,
    /// Ways of evaluation that are on.
    pub eval_options: EvalOptions,
    /// The file's text; empty without a file.
    pub text: String,
    /// Where what came from, for errors: the file, and what was set outside it.
    file: Option<PathBuf>,
    overrides: Vec<Override>,
}

impl Config {
    /// Reads the file that was given and applies the rest.
    ///
    /// # Errors
    /// The first thing that is wrong, with file, line and field, or with the flag or variable.
    pub(crate) fn load(given: &Given) -> anyhow::Result<Self> {
        let mut config = match &given.file {
            None => Self::parse("", Path::new("bellwether.yml"), &given.overrides)?,
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                Self::parse(&text, path, &given.overrides)?
            }
        };
        config.file.clone_from(&given.file);
        config.overrides.clone_from(&given.overrides);
        config.settings.check().map_err(|wrong| config.placed(wrong))?;
        let destinations = config.prometheus.remote_write.len();
        config.settings.agent.check(destinations).map_err(|wrong| config.placed(wrong))?;
        (config.options, config.eval_options) = features(&given.features)?;
        config.options.patterns = promql::PatternCache::new(config.settings.query.max_patterns);
        let (settings, options) = (&config.settings, &config.options);
        let checked = witnesses::check(&settings.collector, options);
        let checked = checked.and_then(|()| settings.status_page.check(options));
        checked.map_err(|wrong| config.placed(wrong))?;
        if !given.scrape.is_empty() {
            config.prometheus.scrape_configs.push(quick_job(&given.scrape, &config.prometheus)?);
        }
        Ok(config)
    }

    /// Reads a text that stands for the file `path`, and applies the overrides.
    fn parse(text: &str, path: &Path, overrides: &[Override]) -> anyhow::Result<Self> {
        let (for_global, for_ours): (Vec<&Override>, Vec<&Override>) =
            overrides.iter().partition(|one| one.path.first().is_some_and(|section| section == GLOBAL));
        // Before anything is inherited from it: jobs take intervals and limits from the global section.
        let amend = |global: &mut Global| -> anyhow::Result<()> {
            for one in for_global {
                overrides::apply(global, one.path.get(1..).unwrap_or_default(), one)?;
            }
            Ok(())
        };
        let part = &sections::prometheus;
        let prometheus = PrometheusFile::parse_with(text, path, Mode::Server, part, amend)?;
        let mut settings: Settings = yaml::read_part(text, &sections::ours).map_err(|err| {
            let place = err.at.map(|(line, column)| format!(":{line}:{column}")).unwrap_or_default();
            anyhow::anyhow!("{}{place}: {}", path.display(), err.of_field())
        })?;
        settings.adopt(&prometheus);
        for one in for_ours {
            settings.set(one)?;
        }
        Ok(Self {
            settings,
            prometheus,
            options: Options::default(),
            eval_options: EvalOptions::default(),
            text: text.to_owned(),
            file: None,
            overrides: Vec::new(),
        })
    }

    /// Says where a field was set that has an impossible value: by a flag or a variable, else in which line of the file.
    pub(crate) fn placed(&self, wrong: InvalidField) -> anyhow::Error {
        let mut setters = self.overrides.iter().rev();
        if let Some(given) = setters.find(|given| given.path.join(".") == wrong.field) {
            return anyhow::anyhow!("{}: {wrong}", given.origin);
        }
        match (&self.file, yaml::place(&self.text, &wrong.field)) {
            (Some(file), Some((line, column))) => {
                anyhow::anyhow!("{}:{line}:{column}: {wrong}", file.display())
            }
            _ => anyhow::anyhow!(wrong),
        }
    }
}

impl Settings {
    /// Sets one field.
    fn set(&mut self, given: &Override) -> anyhow::Result<()> {
        let Some((section, rest)) = given.path.split_first() else { bail!("a setting needs a path") };
        match section.as_str() {
            "storage" => overrides::apply(&mut self.storage, rest, given)?,
            "web" => overrides::apply(&mut self.web, rest, given)?,
            "query" => overrides::apply(&mut self.query, rest, given)?,
            "sources" => {
                // A list takes no override, and its secrets do not survive being written down.
                let logs = std::mem::take(&mut self.sources.logs);
                let applied = overrides::apply(&mut self.sources, rest, given);
                self.sources.logs = logs;
                applied?;
            }
            "ingest" => overrides::apply(&mut self.ingest, rest, given)?,
            "rules" => overrides::apply(&mut self.rules, rest, given)?,
            "alerts" => overrides::apply(&mut self.alerts, rest, given)?,
            "collector" => overrides::apply(&mut self.collector, rest, given)?,
            "library" => overrides::apply(&mut self.library, rest, given)?,
            "fleet" => overrides::apply(&mut self.fleet, rest, given)?,
            "status_page" => overrides::apply(&mut self.status_page, rest, given)?,
            "agent" => overrides::apply(&mut self.agent, rest, given)?,
            "log" => overrides::apply(&mut self.log, rest, given)?,
            other => bail!("{}: there is no section {other:?}", given.origin),
        }
        Ok(())
    }

    /// Takes over what Prometheus' `storage` section says.
    fn adopt(&mut self, prometheus: &PrometheusFile) {
        if let Some(tsdb) = &prometheus.storage.tsdb {
            if tsdb.out_of_order_time_window.ms() > 0 {
                self.storage.out_of_order_window = tsdb.out_of_order_time_window;
            }
            if let Some(time) = tsdb.retention.as_ref().and_then(|retention| retention.time) {
                self.storage.retention = time;
            }
            if let Some(size) = tsdb.retention.as_ref().and_then(|retention| retention.size) {
                self.storage.retention_bytes = size.0;
            }
        }
        let exemplars = prometheus.storage.exemplars.as_ref().and_then(|exemplars| exemplars.max_exemplars);
        if let Some(count) = exemplars.and_then(|count| usize::try_from(count).ok()) {
            self.storage.limits.exemplars = count;
        }
    }

    /// Checks what the types cannot.
    fn check(&self) -> Result<(), InvalidField> {
        for (name, interval) in [
            ("sources.host.interval", self.sources.host.interval),
            ("sources.self.interval", self.sources.own.interval),
            ("fleet.interval", self.fleet.interval),
        ] {
            if interval.ms() < 1000 {
                return Err(InvalidField::new(name, format!("{interval} is too short: give 1s or more")));
            }
        }
        let scale = self.rules.shipped_time_scale;
        if !(scale > 0.0 && scale.is_finite()) {
            let message = format!("{scale}: it must be above 0");
            return Err(InvalidField::new("rules.shipped_time_scale", message));
        }
        if self.storage.path.as_os_str().is_empty() {
            return Err(InvalidField::new("storage.path", "it is empty: name a folder"));
        }
        self.web.check()?;
        self.alerts.check()?;
        self.query.check()?;
        sources::logs::check(&self.sources.logs).map_err(|err| {
            let message = format!("job {:?}: {}", err.job, err.reason);
            InvalidField::new(format!("sources.logs[{}]", err.index), message)
        })?;
        self.sources.agents.check()?;
        self.storage.check()?;
        self.fleet.check()?;
        self.collector.check()
    }
}

/// The job of `--scrape`.
fn quick_job(targets: &[String], file: &PrometheusFile) -> anyhow::Result<ScrapeConfig> {
    for target in targets {
        let port = target.rsplit_once(':').map(|(_, port)| port);
        if target.contains("://") || port.is_none_or(|port| port.parse::<u16>().is_err()) {
            bail!("--scrape={target}: give host:port, without http:// or a path");
        }
    }
    if file.scrape_configs.iter().any(|config| config.job_name == "scrape") {
        bail!("--scrape adds a job named \"scrape\", which the configuration file has already");
    }
    let mut job = ScrapeConfig::new("scrape", targets.to_vec());
    job.inherit(&file.global).map_err(anyhow::Error::msg)?;
    Ok(job)
}

/// Prometheus' feature names.
fn features(names: &[String]) -> anyhow::Result<(Options, EvalOptions)> {
    let (mut options, mut eval) = (Options::default(), EvalOptions::default());
    for name in names {
        match name.as_str() {
            "promql-experimental-functions" => options.experimental_functions = true,
            "promql-duration-expr" => options.duration_expressions = true,
            "promql-extended-range-selectors" => options.extended_range_selectors = true,
            "promql-binop-fill-modifiers" => options.fill_modifiers = true,
            "promql-delayed-name-removal" => eval.delayed_name_removal = true,
            "type-and-unit-labels" => eval.type_and_unit_labels = true,
            "created-timestamp-zero-ingestion" | "st-storage" => eval.start_timestamps = true,
            // Always on here.
            "native-histograms"
            | "exemplar-storage"
            | "promql-at-modifier"
            | "promql-negative-offset"
            | "promql-per-step-stats"
            | "remote-write-receiver"
            | "utf8-names" => {}
            other => bail!("--enable-feature={other}: there is no such feature"),
        }
    }
    Ok((options, eval))
}

/// The scalar settings of a server.
pub(crate) fn server_leaves() -> impl Iterator<Item = &'static Leaf> {
    leaves().iter().filter(|leaf| leaf.path[0] != "agent")
}

/// The scalar settings, found once.
pub(crate) fn leaves() -> &'static [Leaf] {
    static LEAVES: OnceLock<Vec<Leaf>> = OnceLock::new();
    LEAVES.get_or_init(|| {
        let mut global = leaves::leaves(schemars::schema_for!(Global).as_value());
        for leaf in &mut global {
            leaf.path.insert(0, GLOBAL.to_owned());
        }
        global.extend(leaves::leaves(schemars::schema_for!(Settings).as_value()));
        global
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use overrides::Origin;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("b.yml"), &[]).map_err(|err| format!("{err:#}"))
    }

    fn flag(path: &str, text: &str) -> Override {
        let path = path.split('.').map(str::to_owned).collect::<Vec<_>>();
        Override { origin: Origin::Flag(path.join(".")), path, text: text.into() }
    }

    #[test]
    fn jobs_inherit_from_an_overridden_global_section() {
        let text = "global: {scrape_interval: 1m}\nscrape_configs: [{job_name: a}]\n";
        let set = [flag("global.scrape_interval", "7s"), flag("global.body_size_limit", "3MB")];
        let config = Config::parse(text, Path::new("b.yml"), &set).unwrap();
        assert_eq!(config.prometheus.scrape_configs[0].scrape_interval.ms(), 7000);
        assert_eq!(config.prometheus.global.body_size_limit.0, 3 << 20);
        let wrong = [flag("global.scrape_interval", "soon")];
        let err = format!("{:#}", Config::parse(text, Path::new("b.yml"), &wrong).unwrap_err());
        assert!(err.contains("--global.scrape_interval") && err.contains("soon"), "{err}");
    }

    #[test]
    fn prometheus_and_our_sections_share_a_file() {
        let text = "global:\n  scrape_interval: 7s\nstorage:\n  path: /d\n  tsdb:\n    retention: {time: 3d}\nsources:\n  host: {enabled: false}\nscrape_configs:\n  - job_name: a\n";
        let config = parse(text).unwrap();
        assert_eq!(config.settings.storage.path, Path::new("/d"));
        assert_eq!(config.settings.storage.retention.ms(), 3 * 86_400_000);
        assert!(!config.settings.sources.host.enabled);
        assert_eq!(config.prometheus.global.scrape_interval.ms(), 7000);
        assert_eq!(config.prometheus.scrape_configs[0].job_name, "a");
    }

    #[test]
    fn a_storage_section_of_prometheus_alone_loads() {
        let config = parse("storage:\n  tsdb:\n    out_of_order_time_window: 31m\n").unwrap();
        assert_eq!(config.settings.storage.out_of_order_window.ms(), 31 * 60_000);
    }

    #[test]
    fn any_style_of_yaml_is_read() {
        let styles = [
            "{storage: {path: /d, tsdb: {out_of_order_time_window: 31m}}, web: {page_title: x}, global: {}}",
            "\u{feff}{\"storage\": {\"path\": \"/d\", \"tsdb\": {\"out_of_order_time_window\": \"31m\"}}, \"web\": {\"page_title\": \"x\"}}",
            "'storage': !!map\n      \"path\": /d\n      tsdb:\n            out_of_order_time_window: 31m\n\"web\":\n page_title: x\n",
        ];
        for text in styles {
            let config = parse(text).unwrap();
            assert_eq!(config.settings.storage.path, Path::new("/d"), "{text}");
            assert_eq!(config.settings.storage.out_of_order_window.ms(), 31 * 60_000, "{text}");
            assert_eq!(config.settings.web.page_title, "x", "{text}");
        }
        for text in ["storage:\nweb: ~\nglobal:\nscrape_configs:\n", "", "# nothing\n"] {
            assert_eq!(parse(text).unwrap().settings.web, Settings::default().web, "{text}");
        }
    }

    #[test]
    fn an_impossible_value_names_who_set_it() {
        let load = |text: &str, overrides: &[Override]| {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("b.yml");
            std::fs::write(&file, text).unwrap();
            let given = Given { file: Some(file), overrides: overrides.to_vec(), ..Given::default() };
            let err = format!("{:#}", Config::load(&given).unwrap_err());
            err.replace(&format!("{}/", folder.path().display()), "")
        };
        let wrong = "it is too short";
        let err = load("sources:\n  host: {interval: 10ms}\n", &[]);
        assert!(err.starts_with("b.yml:2:20: sources.host.interval: 10ms is too short"), "{err}");
        let err = load("sources: {host: {interval: 10s}}", &[flag("sources.host.interval", "10ms")]);
        assert!(err.starts_with("flag --sources.host.interval: sources.host.interval: 10ms"), "{err}");
        let err = load("collector:\n  detection:\n    interval: 1ms\n", &[]);
        assert!(
            err.starts_with("b.yml:3:15: collector.detection.interval: ") && err.contains(wrong),
            "{err}"
        );
        let err = load("query: {timeout: 0s}", &[]);
        assert!(err.starts_with("b.yml:1:18: query.timeout: 0 would refuse"), "{err}");
        let err = load("", &[flag("web.external_url", "::notaurl")]);
        assert!(err.contains("--web.external_url") && err.contains("is no URL"), "{err}");
    }

    #[test]
    fn errors_name_the_line_in_either_half() {
        let err = parse("web:\n  listen_adress: x\n").unwrap_err();
        assert!(err.contains("b.yml:2") && err.contains("listen_adress"), "{err}");
        let err = parse("web: {page_title: x, read_timeout: soon}\n").unwrap_err();
        assert!(err.starts_with("b.yml:1:36: web.read_timeout: "), "{err}");
        let err = parse("web:\n  page_title: x\nglobals:\n  a: b\n").unwrap_err();
        assert!(err.contains("b.yml:3") && err.contains("globals"), "{err}");
    }

    #[test]
    fn overrides_win() {
        let mut settings = parse("web: {page_title: file}\n").unwrap().settings;
        settings.set(&flag("web.page_title", "flag")).unwrap();
        assert_eq!(settings.web.page_title, "flag");
    }

    #[test]
    fn quick_targets_are_checked() {
        let file = PrometheusFile::default();
        assert!(quick_job(&["a:9100".into()], &file).is_ok());
        for bad in ["a", "http://a:9100", "a:b"] {
            assert!(quick_job(&[bad.into()], &file).is_err(), "{bad}");
        }
    }
}
