//! From discovered labels to a target: defaults, relabelling, URL.

use std::collections::BTreeMap;

use model::duration::PromDuration;
use model::{Labels, LabelsBuilder, relabel};
use xxhash_rust::xxh3::xxh3_64;

use crate::config::ScrapeConfig;
use crate::discovery::Group;

/// A target as relabelling left it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    /// Its public labels: those of every sample.
    pub labels: Labels,
    /// What discovery said, before relabelling.
    pub discovered: Labels,
    /// Where it is scraped.
    pub url: String,
    /// How often.
    pub interval: PromDuration,
    /// How long a scrape may take.
    pub timeout: PromDuration,
}

/// A target that relabelling dropped.
#[derive(Clone, Debug, PartialEq)]
pub struct DroppedTarget {
    /// What discovery said.
    pub discovered: Labels,
    /// Which of `relabel_configs` decided, from 0.
    pub rule: usize,
    /// That rule in words: action and regex.
    pub reason: String,
}

/// What became of one discovered label set.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    Target(Box<Target>),
    Dropped(DroppedTarget),
    /// It can never be scraped; why.
    Invalid(String),
}

impl Target {
    /// Same labels and URL, same target.
    pub(crate) fn identity(&self) -> u64 {
        let mut bytes = self.labels.as_encoded().to_vec();
        bytes.push(0xff);
        bytes.extend_from_slice(self.url.as_bytes());
        xxh3_64(&bytes)
    }
}

/// Makes the targets of a group.
pub(crate) fn from_group(config: &ScrapeConfig, group: &Group) -> Vec<Outcome> {
    group.targets.iter().map(|labels| from_labels(config, labels, &group.labels)).collect()
}

fn from_labels(
    config: &ScrapeConfig,
    own: &BTreeMap<String, String>,
    shared: &BTreeMap<String, String>,
) -> Outcome {
    let mut builder = LabelsBuilder::default();
    for (name, value) in shared.iter().chain(own) {
        builder.set(name.as_str(), value.as_str());
    }
    let defaults = [
        ("job", config.job_name.clone()),
        ("__scrape_interval__", config.scrape_interval.to_string()),
        ("__scrape_timeout__", config.scrape_timeout.to_string()),
        ("__metrics_path__", config.metrics_path.clone()),
        ("__scheme__", config.scheme.clone()),
    ];
    for (name, value) in defaults {
        if builder.get(name).is_empty() {
            builder.set(name, value);
        }
    }
    for (name, values) in &config.params {
        if let Some(first) = values.first() {
            builder.set(format!("__param_{name}"), first.as_str());
        }
    }
    let discovered = builder.build();
    if let Err(rule) = relabel::apply(&config.relabel_configs.0, &mut builder) {
        let decided = config.relabel_configs.0[rule].config();
        let reason = format!(
            "relabel_configs[{rule}]: {} with source_labels [{}] and regex {:?}",
            decided.action,
            decided.source_labels.join(", "),
            decided.regex
        );
        return Outcome::Dropped(DroppedTarget { discovered, rule, reason });
    }
    match finish(config, builder, discovered) {
        Ok(target) => Outcome::Target(Box::new(target)),
        Err(reason) => Outcome::Invalid(reason),
    }
}

fn finish(config: &ScrapeConfig, mut builder: LabelsBuilder, discovered: Labels) -> Result<Target, String> {
    let address = builder.get("__address__").to_owned();
    if address.is_empty() {
        return Err("no address".into());
    }
    if address.contains('/') {
        return Err(format!("{address:?} is not a valid hostname"));
    }
    let duration = |name: &str| {
        PromDuration::parse(builder.get(name)).map_err(|err| format!("error parsing {name}: {err}"))
    };
    let interval = duration("__scrape_interval__")?;
    let timeout = duration("__scrape_timeout__")?;
    if interval.ms() == 0 || timeout.ms() == 0 {
        return Err("scrape interval and timeout cannot be 0".into());
    }
    if timeout > interval {
        return Err(format!(
            "scrape timeout cannot be greater than scrape interval ({timeout:?} > {interval:?})"
        ));
    }
    let url = url(config, &builder, &address)?;
    if builder.get("instance").is_empty() {
        builder.set("instance", address);
    }
    builder.retain(|name| !name.starts_with("__"));
    Ok(Target { labels: builder.build(), discovered, url, interval, timeout })
}

fn url(config: &ScrapeConfig, labels: &LabelsBuilder, address: &str) -> Result<String, String> {
    let scheme = labels.get("__scheme__");
    if !matches!(scheme, "http" | "https") {
        return Err(format!("scheme {scheme:?} is neither http nor https"));
    }
    let mut params = config.params.clone();
    for (name, value) in labels.iter() {
        let Some(name) = name.strip_prefix("__param_") else { continue };
        let values = params.entry(name.to_owned()).or_default();
        match values.first_mut() {
            Some(first) => value.clone_into(first),
            None => values.push(value.to_owned()),
        }
    }
    let base = format!("{scheme}://{address}");
    let mut url = httpc::Url::parse(&base).map_err(|err| format!("{base:?} is not a valid URL: {err}"))?;
    let (path, query) = match labels.get("__metrics_path__").split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (labels.get("__metrics_path__"), None),
    };
    url.set_path(path);
    url.set_query(query);
    if params.values().any(|values| !values.is_empty()) {
        let mut pairs = url.query_pairs_mut();
        for (name, values) in &params {
            for value in values {
                pairs.append_pair(name, value);
            }
        }
    }
    Ok(url.into())
}
