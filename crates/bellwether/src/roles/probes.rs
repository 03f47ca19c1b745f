//! Checks from outside, wired: the modules, the schedules as sources of the scraper, the vantage points.

use std::collections::BTreeMap;
use std::sync::Arc;

use ::probe::vantage::Vantages;
use ::probe::{Config, Metrics, Modules, Prober, Schedule};
use anyhow::Context;
use model::{Family, Labels, Metadata, MetricType};
use sources::scrape::{InProcess, Scraper};

/// The scraper's name for what schedules have added.
const GROUP: &str = "probe";

/// What a server has of probes.
#[derive(Clone)]
pub(super) struct Probes {
    prober: Arc<Prober>,
    vantages: Arc<Vantages>,
    endpoint: bool,
}

/// What the settings name, read.
pub(super) struct Read {
    modules: Modules,
    tokens: String,
}

/// Reads the files that the settings name, and checks the schedules. Blocks.
pub(super) fn read(config: &Config) -> anyhow::Result<Read> {
    let modules = config.modules().context("sources.probe.config_file")?;
    config.check(&modules).map_err(anyhow::Error::msg)?;
    let tokens = match config.token_file.as_str() {
        "" => String::new(),
        file => std::fs::read_to_string(file)
            .with_context(|| format!("cannot read sources.probe.token_file {file}"))?,
    };
    Ok(Read { modules, tokens })
}

/// Starts the schedules that the server runs.
pub(super) fn start(config: &Config, metrics: Metrics, scraper: &Scraper) -> anyhow::Result<Probes> {
    let Read { modules, tokens } = read(config)?;
    let text = modules.text.clone();
    let prober = Arc::new(Prober::new(config, modules, metrics).map_err(anyhow::Error::msg)?);
    let vantages = Arc::new(Vantages::new(config, &tokens, text));
    schedule(scraper, &prober, config.schedules.iter().filter(|one| one.is_here()), &BTreeMap::new());
    Ok(Probes { prober, vantages, endpoint: !config.config_file.is_empty() })
}

impl Probes {
    /// Puts other settings in force; whether `/probe` answers and how many run at once stay until a restart.
    pub(super) fn reload(&self, config: &Config, read: Read, scraper: &Scraper) -> anyhow::Result<()> {
        self.vantages.reload(config, &read.tokens, read.modules.text.clone());
        self.prober.reload(config, read.modules).map_err(anyhow::Error::msg)?;
        schedule(
            scraper,
            &self.prober,
            config.schedules.iter().filter(|one| one.is_here()),
            &BTreeMap::new(),
        );
        Ok(())
    }

    /// What is watched, in words.
    pub(super) fn words(&self, config: &Config) -> Option<String> {
        let targets: usize =
            config.schedules.iter().filter(|one| one.is_here()).map(|one| one.targets.len()).sum();
        (targets > 0).then(|| format!("{targets} target{} from outside", if targets == 1 { "" } else { "s" }))
    }

    pub(super) fn into_parts(self) -> api::Probes {
        api::Probes { prober: self.prober, vantages: self.vantages, endpoint: self.endpoint }
    }
}

/// Makes the scraper's sources of this kind be the targets of these schedules. `labels` are added to every series.
pub(super) fn schedule<'a>(
    scraper: &Scraper,
    prober: &Arc<Prober>,
    schedules: impl Iterator<Item = &'a Schedule>,
    labels: &BTreeMap<String, String>,
) {
    let mut wanted = Vec::new();
    for one in schedules {
        let one = Arc::new(one.clone());
        for target in &one.targets {
            // Whatever of it changes makes it another one.
            let identity = format!("{target} {one:?} {labels:?}");
            wanted.push((identity, source(prober, &one, target, labels)));
        }
    }
    scraper.set_group(GROUP, &wanted);
}

fn source(
    prober: &Arc<Prober>,
    schedule: &Arc<Schedule>,
    target: &str,
    labels: &BTreeMap<String, String>,
) -> InProcess {
    let mut all = labels.clone();
    all.extend(schedule.labels.clone());
    all.insert("module".into(), schedule.module.clone());
    let (prober, one, of) = (Arc::clone(prober), Arc::clone(schedule), target.to_owned());
    InProcess {
        job: schedule.name.clone(),
        instance: target.to_owned(),
        labels: all,
        interval: schedule.interval,
        // The probe keeps its own limit; this one leaves it the time to say so.
        timeout: schedule.interval,
        honor_labels: false,
        wake: None,
        collect: Arc::new(move || {
            let (prober, schedule, target) = (Arc::clone(&prober), Arc::clone(&one), of.clone());
            Box::pin(async move {
                match prober.scheduled(&schedule, &target).await {
                    Ok(outcome) => {
                        if let Some(reason) = &outcome.failure {
                            tracing::debug!(schedule = schedule.name, %target, %reason, "a probe failed");
                        }
                        outcome.families()
                    }
                    Err(refused) => {
                        tracing::warn!(schedule = schedule.name, %target, error = %refused, "no probe was made");
                        vec![failed()]
                    }
                }
            })
        }),
    }
}

/// A probe that could not be made has not succeeded.
fn failed() -> Family {
    Family {
        name: "probe_success".into(),
        metadata: Metadata {
            kind: MetricType::Gauge,
            help: "Displays whether or not the probe was a success".into(),
            unit: String::new(),
        },
        samples: vec![(Labels::default(), 0.0)],
    }
}
