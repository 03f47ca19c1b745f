//! What `amtool` does without a server: check a configuration, test routes, render templates.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{Alert, Clock, Labels, Timestamp};
use serde::Deserialize;

use crate::api::Time;
use crate::config::Config;
use crate::error::Error;
use crate::message::Data;
use crate::render::Renderer;
use crate::route::Tree;

/// Checks a file with its templates; what it holds, as `amtool check-config` says it.
///
/// # Errors
/// As [`Config::load_file`], and `Template` for one that does not parse.
pub fn check_config(path: &Path, clock: Arc<dyn Clock>) -> Result<String, Error> {
    let config = Config::load_file(path)?;
    Renderer::new(&config.templates, clock)?;
    Tree::new(&config.route).map_err(|reason| Error::Config { reason })?;
    Ok(format!(
        "Found:\n - global config\n - route\n - {} inhibit rules\n - {} receivers\n - {} templates\n",
        config.inhibit_rules.len(),
        config.receivers.len(),
        config.templates.len()
    ))
}

/// The receivers that an alert reaches, in order, as `amtool config routes test` prints them.
///
/// # Errors
/// `Config` when a route cannot be built.
pub fn test_routes(config: &Config, labels: &Labels) -> Result<Vec<String>, Error> {
    let tree = Tree::new(&config.route).map_err(|reason| Error::Config { reason })?;
    Ok(tree.matches(labels).iter().map(|node| node.options.receiver.clone()).collect())
}

/// The routing tree, as `amtool config routes show` draws it.
///
/// # Errors
/// `Config` when a route cannot be built.
pub fn show_routes(config: &Config) -> Result<String, Error> {
    Ok(Tree::new(&config.route).map_err(|reason| Error::Config { reason })?.draw())
}

/// Data for [`render`], in the shape of a webhook's body.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sample {
    receiver: String,
    #[serde(rename = "externalURL")]
    external_url: String,
    group_labels: BTreeMap<String, String>,
    alerts: Vec<SampleAlert>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SampleAlert {
    status: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    starts_at: Option<Time>,
    ends_at: Option<Time>,
    #[serde(rename = "generatorURL")]
    generator_url: String,
}

impl Sample {
    /// One firing alert, for when no data are given.
    pub fn example() -> Self {
        let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
        Self {
            receiver: "receiver".into(),
            external_url: "http://localhost:9090".into(),
            group_labels: pairs(&[("alertname", "Example")]),
            alerts: vec![SampleAlert {
                status: "firing".into(),
                labels: pairs(&[
                    ("alertname", "Example"),
                    ("severity", "warning"),
                    ("instance", "localhost:9100"),
                ]),
                annotations: pairs(&[("summary", "Something is not as it should be.")]),
                ..SampleAlert::default()
            }],
        }
    }

    /// From JSON.
    ///
    /// # Errors
    /// `Invalid` when it does not have the shape of a webhook's body.
    pub fn read(json: &str) -> Result<Self, Error> {
        serde_json::from_str(json).map_err(|err| Error::Invalid(format!("template data: {err}")))
    }
}

/// Renders a text with the default templates and those of the globs, as `amtool template render` does.
///
/// # Errors
/// `File` and `Template`.
pub fn render(
    globs: &[PathBuf],
    text: &str,
    html: bool,
    sample: &Sample,
    clock: Arc<dyn Clock>,
) -> Result<String, Error> {
    let now = clock.now();
    let alerts: Vec<Arc<Alert>> = sample
        .alerts
        .iter()
        .map(|alert| {
            let ends_at = if alert.status == "resolved" {
                alert.ends_at.map_or(now, |at| at.0.min(now))
            } else {
                Timestamp::MAX
            };
            Arc::new(Alert {
                labels: Labels::from_pairs(alert.labels.clone()),
                annotations: Labels::from_pairs(alert.annotations.clone()),
                starts_at: alert.starts_at.map_or(now, |at| at.0),
                ends_at,
                updated_at: now,
                generator_url: alert.generator_url.clone(),
            })
        })
        .collect();
    let group = Labels::from_pairs(sample.group_labels.clone());
    let data = Arc::new(Data::new(&sample.receiver, &sample.external_url, &group, &alerts, now));
    let renderer = Renderer::new(globs, clock)?;
    if html { renderer.html(text, &data) } else { renderer.text(text, &data) }
}
