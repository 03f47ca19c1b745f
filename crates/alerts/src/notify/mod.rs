//! Sending: one module for each kind of service.
//!
//! A sender makes one attempt and says whether another may help; retries, their pace and their end are
//! the dispatcher's. Status codes follow one rule: 2xx has arrived, 429 and 5xx are tried again (after
//! `Retry-After` when it is given), anything else is not. Lengths are cut to what the service takes.

pub mod chat;
pub(crate) mod cooldown;
pub(crate) mod cut;
pub mod email;
pub mod exec;
pub mod http;
pub mod jira;
pub mod pace;
pub mod pager;
pub mod phone;
pub mod snmptrap;
pub mod sns;
pub mod webhook;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use httpc::Secret;
use model::InvalidField;
use model::seam::{BoxFuture, StateStore};

pub(crate) use self::cut::{cut_bytes, cut_chars};
use crate::config::value::{HttpUrl, SecretUrl};
use crate::config::{Config, Settings};
use crate::error::Error;
use crate::message::Notification;
use crate::render::Renderer;

/// It has arrived.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// The service's status code, when it has one.
    pub status: Option<u16>,
    /// The beginning of what the service answered.
    pub answer: String,
}

/// It has not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Whether another attempt may help.
    pub retry: bool,
    /// Not before this.
    pub after: Option<Duration>,
    /// The service's status code, when it has one.
    pub status: Option<u16>,
    /// Why, for people; holds no secret.
    pub message: String,
}

impl Failure {
    /// The fault is on this side: another attempt would end the same way.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self { retry: false, after: None, status: None, message: message.into() }
    }

    /// Another attempt may help.
    pub fn transient(message: impl Into<String>) -> Self {
        Self { retry: true, after: None, status: None, message: message.into() }
    }
}

impl From<Error> for Failure {
    fn from(err: Error) -> Self {
        Self::permanent(err.to_string())
    }
}

/// The result of one attempt.
pub type Attempt = Result<Delivered, Failure>;

/// One way to tell somebody.
pub trait Sender: Send + Sync {
    /// Makes one attempt.
    fn send<'a>(&'a self, notification: &'a Notification) -> BoxFuture<'a, Attempt>;
}

/// One section of a receiver.
pub struct Integration {
    /// `webhook`, `email` …
    pub name: &'static str,
    /// Which of several such of the receiver.
    pub index: usize,
    /// Whether resolved alerts are told.
    pub send_resolved: bool,
    /// How.
    pub sender: Box<dyn Sender>,
    /// How many at once.
    pub pace: pace::Pace,
}

impl std::fmt::Debug for Integration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]", self.name, self.index)
    }
}

/// The ways of every receiver, by its name.
pub type Receivers = BTreeMap<String, Vec<Arc<Integration>>>;

/// Builds the senders of a checked configuration.
///
/// # Errors
/// When an HTTP client cannot be made, or an `exec` section names a program that is not allowed.
pub fn build(
    config: &Config,
    settings: &Settings,
    renderer: &Renderer,
    state: &Arc<dyn StateStore>,
) -> Result<Receivers, Error> {
    let mut all = Receivers::new();
    for (at, receiver) in config.receivers.iter().enumerate() {
        let mut found: Vec<Arc<Integration>> = vec![];
        macro_rules! add {
            ($field:ident, $name:literal, $make:expr) => {
                for (index, section) in receiver.$field.iter().enumerate() {
                    let sender: Box<dyn Sender> = Box::new($make(section, renderer)?);
                    let send_resolved = section.send_resolved;
                    found.push(Arc::new(Integration {
                        name: $name,
                        index,
                        send_resolved,
                        sender,
                        pace: pace::Pace::default(),
                    }));
                }
            };
        }
        add!(webhook_configs, "webhook", webhook::Webhook::new);
        add!(email_configs, "email", email::Email::new);
        add!(pagerduty_configs, "pagerduty", pager::Pagerduty::new);
        add!(opsgenie_configs, "opsgenie", pager::Opsgenie::new);
        add!(wechat_configs, "wechat", phone::Wechat::new);
        add!(slack_configs, "slack", chat::Slack::new);
        add!(victorops_configs, "victorops", pager::Victorops::new);
        add!(pushover_configs, "pushover", phone::Pushover::new);
        add!(sns_configs, "sns", sns::Sns::new);
        add!(jira_configs, "jira", jira::Jira::new);
        add!(telegram_configs, "telegram", phone::Telegram::new);
        add!(discord_configs, "discord", chat::Discord::new);
        add!(webex_configs, "webex", chat::Webex::new);
        add!(msteams_configs, "msteams", chat::Msteams::new);
        add!(msteamsv2_configs, "msteamsv2", chat::Msteamsv2::new);
        add!(rocketchat_configs, "rocketchat", chat::Rocketchat::new);
        add!(incidentio_configs, "incidentio", pager::Incidentio::new);
        add!(mattermost_configs, "mattermost", chat::Mattermost::new);
        add!(twilio_configs, "twilio", phone::Twilio::new);
        add!(ntfy_configs, "ntfy", phone::Ntfy::new);
        add!(googlechat_configs, "googlechat", chat::Googlechat::new);
        add!(snmptrap_configs, "snmptrap", snmptrap::Snmptrap::new);
        for (index, section) in receiver.exec_configs.iter().enumerate() {
            exec::allowed(section, &settings.exec).map_err(|reason| {
                let section = format!("receivers[{at}].exec_configs[{index}]");
                config.wrong(InvalidField::new("command", reason).within(&section))
            })?;
        }
        add!(exec_configs, "exec", |section, renderer| exec::Exec::new(
            section,
            renderer,
            &settings.exec,
            state
        ));
        all.insert(receiver.name.clone(), found);
    }
    Ok(all)
}

/// A sender that has its section, an HTTP client and the templates; `run` is written beside it.
macro_rules! sender {
    ($name:ident, $section:ty) => {
        sender!(@make $name, $section, |_| std::time::Duration::ZERO);
    };
    ($name:ident, $section:ty, timeout) => {
        sender!(@make $name, $section, |section: &$section| section.timeout.to_std());
    };
    (@make $name:ident, $section:ty, $timeout:expr) => {
        /// Made from the section of this name.
        pub struct $name {
            section: $section,
            http: $crate::notify::http::Http,
            renderer: $crate::render::Renderer,
        }

        impl $name {
            /// From its section.
            pub(super) fn new(
                section: &$section,
                renderer: &$crate::render::Renderer,
            ) -> Result<Self, $crate::error::Error> {
                let timeout: fn(&$section) -> std::time::Duration = $timeout;
                let http = $crate::notify::http::Http::new(&section.http_config, timeout(section))?;
                Ok(Self { section: section.clone(), http, renderer: renderer.clone() })
            }
        }

        impl $crate::notify::Sender for $name {
            fn send<'a>(
                &'a self,
                notification: &'a $crate::message::Notification,
            ) -> model::seam::BoxFuture<'a, $crate::notify::Attempt> {
                Box::pin(self.run(notification))
            }
        }
    };
}
pub(crate) use sender;

/// Adds a text to a JSON object unless it is empty.
pub(crate) fn set(object: &mut serde_json::Map<String, serde_json::Value>, name: &str, text: String) {
    if !text.is_empty() {
        object.insert(name.to_owned(), text.into());
    }
}

/// A secret URL that is given inline or in a file.
pub(crate) async fn url_of(inline: &Option<SecretUrl>, file: &Path) -> Result<String, Failure> {
    secret(&inline.as_ref().map(|url| url.secret().clone()).unwrap_or_default(), file).await
}

/// A URL that is given inline or in a file.
pub(crate) async fn url_of_http(inline: &Option<HttpUrl>, file: &Path) -> Result<String, Failure> {
    secret(&Secret::new(inline.as_ref().map_or("", HttpUrl::as_str)), file).await
}

/// RFC 4648 §4.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits =
            three.iter().enumerate().fold(0u32, |bits, (at, byte)| bits | u32::from(*byte) << (16 - 8 * at));
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at)) as usize & 63] as char;
            out.push(if at <= three.len() { digit } else { '=' });
        }
    }
    out
}

/// A secret that is given inline or in a file; the file is read for every attempt, so that it can be rotated.
pub(crate) async fn secret(inline: &Secret, file: &Path) -> Result<String, Failure> {
    if file.as_os_str().is_empty() {
        return Ok(inline.expose().to_owned());
    }
    let text = tokio::fs::read_to_string(file)
        .await
        .map_err(|err| Failure::transient(format!("cannot read the secret file {file:?}: {err}")))?;
    Ok(text.trim().to_owned())
}
