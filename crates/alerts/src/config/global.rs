//! `global`: what receivers take when they do not say otherwise.

use std::path::{Path, PathBuf};

use httpc::{Secret, TlsConfig};
use model::duration::PromDuration;
use serde::Deserialize;

use super::value::{HostPort, HttpUrl, SecretUrl, nullable};

/// The section `global`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(
    missing_docs,
    reason = "the names are the manual's; see Alertmanager's 'File layout and global settings'"
)]
pub struct Global {
    /// An alert that is not sent again and has no end is resolved after this long.
    pub resolve_timeout: PromDuration,
    pub http_config: Option<httpc::Config>,
    pub jira_api_url: Option<HttpUrl>,
    #[serde(deserialize_with = "nullable")]
    pub smtp_from: String,
    pub smtp_hello: String,
    #[serde(deserialize_with = "nullable")]
    pub smtp_smarthost: HostPort,
    #[serde(deserialize_with = "nullable")]
    pub smtp_auth_username: String,
    #[serde(deserialize_with = "nullable")]
    pub smtp_auth_password: Secret,
    #[serde(deserialize_with = "nullable")]
    pub smtp_auth_password_file: PathBuf,
    #[serde(deserialize_with = "nullable")]
    pub smtp_auth_secret: Secret,
    #[serde(deserialize_with = "nullable")]
    pub smtp_auth_secret_file: PathBuf,
    #[serde(deserialize_with = "nullable")]
    pub smtp_auth_identity: String,
    pub smtp_require_tls: bool,
    pub smtp_tls_config: Option<TlsConfig>,
    pub smtp_force_implicit_tls: Option<bool>,
    pub slack_api_url: Option<SecretUrl>,
    #[serde(deserialize_with = "nullable")]
    pub slack_api_url_file: PathBuf,
    #[serde(deserialize_with = "nullable")]
    pub slack_app_token: Secret,
    #[serde(deserialize_with = "nullable")]
    pub slack_app_token_file: PathBuf,
    pub slack_app_url: Option<HttpUrl>,
    pub pagerduty_url: Option<HttpUrl>,
    pub opsgenie_api_url: Option<HttpUrl>,
    #[serde(deserialize_with = "nullable")]
    pub opsgenie_api_key: Secret,
    #[serde(deserialize_with = "nullable")]
    pub opsgenie_api_key_file: PathBuf,
    pub wechat_api_url: Option<HttpUrl>,
    #[serde(deserialize_with = "nullable")]
    pub wechat_api_secret: Secret,
    #[serde(deserialize_with = "nullable")]
    pub wechat_api_secret_file: PathBuf,
    #[serde(deserialize_with = "nullable")]
    pub wechat_api_corp_id: String,
    pub victorops_api_url: Option<HttpUrl>,
    #[serde(deserialize_with = "nullable")]
    pub victorops_api_key: Secret,
    #[serde(deserialize_with = "nullable")]
    pub victorops_api_key_file: PathBuf,
    pub telegram_api_url: Option<HttpUrl>,
    #[serde(deserialize_with = "nullable")]
    pub telegram_bot_token: Secret,
    #[serde(deserialize_with = "nullable")]
    pub telegram_bot_token_file: PathBuf,
    pub webex_api_url: Option<HttpUrl>,
    pub rocketchat_api_url: Option<HttpUrl>,
    pub rocketchat_token: Option<Secret>,
    #[serde(deserialize_with = "nullable")]
    pub rocketchat_token_file: PathBuf,
    pub rocketchat_token_id: Option<Secret>,
    #[serde(deserialize_with = "nullable")]
    pub rocketchat_token_id_file: PathBuf,
    pub mattermost_webhook_url: Option<SecretUrl>,
    #[serde(deserialize_with = "nullable")]
    pub mattermost_webhook_url_file: PathBuf,
}

impl Default for Global {
    fn default() -> Self {
        Self {
            resolve_timeout: PromDuration(300_000),
            http_config: Some(httpc::Config::default()),
            jira_api_url: None,
            smtp_from: String::new(),
            smtp_hello: "localhost".into(),
            smtp_smarthost: HostPort::default(),
            smtp_auth_username: String::new(),
            smtp_auth_password: Secret::default(),
            smtp_auth_password_file: PathBuf::new(),
            smtp_auth_secret: Secret::default(),
            smtp_auth_secret_file: PathBuf::new(),
            smtp_auth_identity: String::new(),
            smtp_require_tls: true,
            smtp_tls_config: Some(TlsConfig::default()),
            smtp_force_implicit_tls: None,
            slack_api_url: None,
            slack_api_url_file: PathBuf::new(),
            slack_app_token: Secret::default(),
            slack_app_token_file: PathBuf::new(),
            slack_app_url: Some("https://slack.com/api/chat.postMessage".into()),
            pagerduty_url: Some("https://events.pagerduty.com/v2/enqueue".into()),
            opsgenie_api_url: Some("https://api.opsgenie.com/".into()),
            opsgenie_api_key: Secret::default(),
            opsgenie_api_key_file: PathBuf::new(),
            wechat_api_url: Some("https://qyapi.weixin.qq.com/cgi-bin/".into()),
            wechat_api_secret: Secret::default(),
            wechat_api_secret_file: PathBuf::new(),
            wechat_api_corp_id: String::new(),
            victorops_api_url: Some(
                "https://alert.victorops.com/integrations/generic/20131114/alert/".into(),
            ),
            victorops_api_key: Secret::default(),
            victorops_api_key_file: PathBuf::new(),
            telegram_api_url: Some("https://api.telegram.org".into()),
            telegram_bot_token: Secret::default(),
            telegram_bot_token_file: PathBuf::new(),
            webex_api_url: Some("https://webexapis.com/v1/messages".into()),
            rocketchat_api_url: Some("https://open.rocket.chat/".into()),
            rocketchat_token: None,
            rocketchat_token_file: PathBuf::new(),
            rocketchat_token_id: None,
            rocketchat_token_id_file: PathBuf::new(),
            mattermost_webhook_url: None,
            mattermost_webhook_url_file: PathBuf::new(),
        }
    }
}

impl Global {
    /// Of each secret and its file at most one may be set.
    pub(super) fn check(&self) -> Result<(), String> {
        let set = |path: &Path| !path.as_os_str().is_empty();
        let pairs = [
            ("slack_app_token", !self.slack_app_token.is_empty(), &self.slack_app_token_file),
            ("slack_api_url", self.slack_api_url.is_some(), &self.slack_api_url_file),
            ("opsgenie_api_key", !self.opsgenie_api_key.is_empty(), &self.opsgenie_api_key_file),
            ("victorops_api_key", !self.victorops_api_key.is_empty(), &self.victorops_api_key_file),
            ("telegram_bot_token", !self.telegram_bot_token.is_empty(), &self.telegram_bot_token_file),
            ("smtp_auth_password", !self.smtp_auth_password.is_empty(), &self.smtp_auth_password_file),
            ("rocketchat_token", self.rocketchat_token.is_some(), &self.rocketchat_token_file),
            ("rocketchat_token_id", self.rocketchat_token_id.is_some(), &self.rocketchat_token_id_file),
            ("smtp_auth_secret", !self.smtp_auth_secret.is_empty(), &self.smtp_auth_secret_file),
            ("wechat_api_secret", !self.wechat_api_secret.is_empty(), &self.wechat_api_secret_file),
            (
                "mattermost_webhook_url",
                self.mattermost_webhook_url.is_some(),
                &self.mattermost_webhook_url_file,
            ),
        ];
        if let Some((name, ..)) = pairs.iter().find(|(_, inline, file)| *inline && set(file)) {
            return Err(format!("at most one of {name} & {name}_file must be configured"));
        }
        let token = !self.slack_app_token.is_empty() || set(&self.slack_app_token_file);
        let url = self.slack_api_url.is_some() || set(&self.slack_api_url_file);
        // Both are fine when they mean the same endpoint: an older way to use bot tokens.
        let same = matches!((&self.slack_api_url, &self.slack_app_url), (Some(a), Some(b)) if a.expose() == b.as_str());
        if token && url && !same {
            return Err(
                "at most one of slack_app_token/slack_app_token_file & slack_api_url/slack_api_url_file must be configured"
                    .into(),
            );
        }
        Ok(())
    }

    pub(super) fn files(&mut self) -> Vec<&mut PathBuf> {
        vec![
            &mut self.smtp_auth_password_file,
            &mut self.smtp_auth_secret_file,
            &mut self.slack_api_url_file,
            &mut self.slack_app_token_file,
            &mut self.opsgenie_api_key_file,
            &mut self.wechat_api_secret_file,
            &mut self.victorops_api_key_file,
            &mut self.telegram_bot_token_file,
            &mut self.rocketchat_token_file,
            &mut self.rocketchat_token_id_file,
            &mut self.mattermost_webhook_url_file,
        ]
    }
}
