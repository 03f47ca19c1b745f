//! What `amtool` does without a server: check a configuration, test routes, render templates.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use model::{Clock, Labels, Timestamp};
use serde::Deserialize;

use crate::api::Time;
use crate::config::Config;
use crate::error::Error;
use crate::message::{AlertData, AlertList, Data, Kv};
use crate::render::Renderer;
use crate::route::Tree;

/// Checks what a file that loads may still have wrong: its templates and routes.
///
/// # Errors
/// `File` and `Template` for templates, `Config` for routes.
pub fn check_parts(config: &Config, clock: Arc<dyn Clock>) -> Result<(), Error> {
    Renderer::with_texts(&config.templates, &config.template_texts, clock)?;
    Tree::new(&config.route).map_err(Error::config)?;
    Ok(())
}

/// What a configuration holds, as `amtool check-config` says it.
pub fn summary(config: &Config) -> String {
    format!(
        "Found:\n - global config\n - route\n - {} inhibit rules\n - {} receivers\n - {} templates\n",
        config.inhibit_rules.len(),
        config.receivers.len(),
        config.templates.len()
    )
}

/// The receivers that an alert reaches, in order, as `amtool config routes test` prints them.
///
/// # Errors
/// `Config` when a route cannot be built.
pub fn test_routes(config: &Config, labels: &Labels) -> Result<Vec<String>, Error> {
    let tree = Tree::new(&config.route).map_err(Error::config)?;
    Ok(tree.matches(labels).iter().map(|node| node.options.receiver.clone()).collect())
}

/// The routing tree, as `amtool config routes show` draws it.
///
/// # Errors
/// `Config` when a route cannot be built.
pub fn show_routes(config: &Config) -> Result<String, Error> {
    Ok(Tree::new(&config.route).map_err(Error::config)?.draw())
}

/// The routes that an alert walks through, as `amtool config routes test --tree` draws them.
///
/// # Errors
/// `Config` when a route cannot be built.
pub fn show_matching(config: &Config, labels: &Labels) -> Result<String, Error> {
    Ok(Tree::new(&config.route).map_err(Error::config)?.draw_matching(labels))
}

/// Data for [`render`], in the shape of a webhook's body. What is given is shown as it is: nothing is derived.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sample {
    receiver: String,
    status: String,
    #[serde(rename = "externalURL")]
    external_url: String,
    #[serde(rename = "notification_reason")]
    notification_reason: String,
    group_labels: BTreeMap<String, String>,
    common_labels: BTreeMap<String, String>,
    common_annotations: BTreeMap<String, String>,
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
    fingerprint: String,
}

impl Sample {
    /// amtool's example, for when no data are given.
    pub fn example(now: Timestamp) -> Self {
        let pairs = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect()
        };
        let common = [("commonlabelkey1", "commonlabelvalue1"), ("commonlabelkey2", "commonlabelvalue2")];
        let common_annotations = [
            ("commonannotationkey1", "commonannotationvalue1"),
            ("commonannotationkey2", "commonannotationvalue2"),
        ];
        let alert =
            |labels: &[(&str, &str)], annotations: &[(&str, &str)], minutes: i64, fingerprint: &str| {
                SampleAlert {
                    status: "alertstatus".into(),
                    labels: pairs(&[labels, &common].concat()),
                    annotations: pairs(&[annotations, &common_annotations].concat()),
                    starts_at: Some(Time(now - minutes * 60_000)),
                    ends_at: Some(Time(now)),
                    generator_url: "https://generatorurl.com".into(),
                    fingerprint: fingerprint.into(),
                }
            };
        Self {
            receiver: "receiver".into(),
            status: "alertstatus".into(),
            external_url: "https://example.com".into(),
            notification_reason: String::new(),
            group_labels: pairs(&[
                ("grouplabelkey1", "grouplabelvalue1"),
                ("grouplabelkey2", "grouplabelvalue2"),
            ]),
            common_labels: pairs(&common),
            common_annotations: pairs(&common_annotations),
            alerts: vec![
                alert(
                    &[("label1", "value1"), ("label2", "value2"), ("instance", "foo.bar:1234")],
                    &[("annotation1", "value1"), ("annotation2", "value2")],
                    5,
                    "fingerprint1",
                ),
                alert(
                    &[("foo", "bar"), ("baz", "qux")],
                    &[("aaa", "bbb"), ("ccc", "ddd")],
                    10,
                    "fingerprint2",
                ),
            ],
        }
    }

    /// From JSON.
    ///
    /// # Errors
    /// `Invalid` when it does not have the shape of a webhook's body.
    pub fn read(json: &str) -> Result<Self, Error> {
        serde_json::from_str(json).map_err(|err| Error::Invalid(format!("template data: {err}")))
    }

    fn data(&self) -> Data {
        let kv = |pairs: &BTreeMap<String, String>| Kv(pairs.clone());
        let alerts = self.alerts.iter().map(|alert| {
            Arc::new(AlertData {
                status: alert.status.clone().into(),
                labels: kv(&alert.labels),
                annotations: kv(&alert.annotations),
                starts_at: alert.starts_at.map(|at| at.0),
                ends_at: alert.ends_at.map(|at| at.0),
                generator_url: alert.generator_url.clone(),
                fingerprint: alert.fingerprint.clone(),
            })
        });
        Data {
            receiver: self.receiver.clone(),
            status: self.status.clone().into(),
            alerts: AlertList(alerts.collect()),
            notification_reason: self.notification_reason.clone(),
            group_labels: kv(&self.group_labels),
            common_labels: kv(&self.common_labels),
            common_annotations: kv(&self.common_annotations),
            external_url: self.external_url.clone(),
            route_labels: Kv::default(),
            truncated: crate::message::Truncated::default(),
        }
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
    let data = Arc::new(sample.data());
    let renderer = Renderer::new(globs, clock)?;
    if html { renderer.html(text, &data) } else { renderer.text(text, &data) }
}
