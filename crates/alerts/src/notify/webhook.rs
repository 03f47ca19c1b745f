//! Any HTTP endpoint, in Alertmanager's JSON format, version 4.

use std::path::PathBuf;

use httpc::{Method, Secret};
use model::seam::BoxFuture;
use serde::Serialize;

use super::http::{Http, request};
use super::{Attempt, Failure, Sender, secret};
use crate::config::receiver;
use crate::error::Error;
use crate::message::{AlertList, Data, Notification};
use crate::render::Renderer;

/// `webhook_configs`.
pub struct Webhook {
    http: Http,
    url: Secret,
    url_file: PathBuf,
    max_alerts: usize,
}

/// The body.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Message<'a> {
    /// What templates see.
    #[serde(flatten)]
    pub data: &'a Data,
    /// `4`.
    pub version: &'static str,
    /// The group's key.
    pub group_key: &'a str,
    /// So many alerts are missing.
    pub truncated_alerts: u64,
}

impl Webhook {
    /// From its section.
    pub(super) fn new(section: &receiver::Webhook, _: &Renderer) -> Result<Self, Error> {
        Ok(Self {
            http: Http::new(&section.http_config, section.timeout.to_std())?,
            url: section.url.as_ref().map(|url| url.secret().clone()).unwrap_or_default(),
            url_file: section.url_file.clone(),
            max_alerts: usize::try_from(section.max_alerts).unwrap_or(usize::MAX),
        })
    }
}

/// The body for a notification with at most `max` alerts (0: all).
///
/// # Errors
/// When it cannot be written as JSON.
pub fn body(notification: &Notification, max: usize) -> Result<Vec<u8>, Failure> {
    let all = &notification.data.alerts.0;
    let kept = if max == 0 { all.len() } else { max.min(all.len()) };
    let mut data = Data::clone(&notification.data);
    data.alerts = AlertList(all[..kept].to_vec());
    let message = Message {
        data: &data,
        version: "4",
        group_key: &notification.group_key,
        truncated_alerts: (all.len() - kept + data.truncated.all()) as u64,
    };
    Data::json(&message).map_err(|err| Failure::permanent(err.to_string()))
}

impl Sender for Webhook {
    fn send<'a>(&'a self, notification: &'a Notification) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            let url = secret(&self.url, &self.url_file).await?;
            let body = body(notification, self.max_alerts)?;
            // Lets a receiver tell a repeat after a crash from a new notification.
            let headers = [("Idempotency-Key", notification.id.as_str())];
            self.http.send(request(Method::POST, &url, "application/json", body, &headers)?).await
        })
    }
}
