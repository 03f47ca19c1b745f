//! Receivers with all their fields, what each of them must have, and what they take from `global`.
//!
//! Source: the Alertmanager manual, "Receiver integration settings"; the sections at the end are Bellwether's own.

mod attachments;
mod chat;
mod direct;
mod email;
mod jira;
mod pager;

use std::path::PathBuf;

use httpc::Secret;

pub use attachments::{
    Field, Mattermost, MattermostAttachment, MattermostPriority, MattermostProps, Rocketchat,
    RocketchatAction, Slack, SlackAction, SlackConfirmation,
};
pub use chat::{Discord, Googlechat, Msteams, Msteamsv2, Telegram, Webex, Wechat};
pub use direct::{Exec, Ntfy, Sigv4, Snmptrap, Sns, Twilio, Webhook};
pub use email::{Email, Threading};
pub use jira::{Jira, JiraField, JiraLabels};
pub use pager::{
    Incidentio, Opsgenie, Pagerduty, PagerdutyImage, PagerdutyLink, Pushover, Responder, Victorops,
};

use super::global::Global;
use super::section::section;

/// A text or template that is looked up under a name that users may redefine.
fn named(template: &str) -> String {
    format!("{{{{ template \"{template}\" . }}}}")
}

type Http = Option<httpc::Config>;
type Check = Result<(), String>;

fn must(holds: bool, text: &str) -> Check {
    if holds { Ok(()) } else { Err(text.to_owned()) }
}

fn set(path: &std::path::Path) -> bool {
    !path.as_os_str().is_empty()
}

section! {
    /// Whom to tell, by any number of ways.
    Receiver {
        /// Unique.
        name: String = String::new(),
        /// Discord.
        discord_configs: Vec<Discord> = vec![],
        /// E-mail.
        email_configs: Vec<Email> = vec![],
        /// incident.io.
        incidentio_configs: Vec<Incidentio> = vec![],
        /// PagerDuty.
        pagerduty_configs: Vec<Pagerduty> = vec![],
        /// Slack.
        slack_configs: Vec<Slack> = vec![],
        /// Any HTTP endpoint.
        webhook_configs: Vec<Webhook> = vec![],
        /// Opsgenie.
        opsgenie_configs: Vec<Opsgenie> = vec![],
        /// WeChat.
        wechat_configs: Vec<Wechat> = vec![],
        /// Pushover.
        pushover_configs: Vec<Pushover> = vec![],
        /// VictorOps (Splunk On-Call).
        victorops_configs: Vec<Victorops> = vec![],
        /// Amazon SNS.
        sns_configs: Vec<Sns> = vec![],
        /// Telegram.
        telegram_configs: Vec<Telegram> = vec![],
        /// Webex.
        webex_configs: Vec<Webex> = vec![],
        /// Microsoft Teams, connectors.
        msteams_configs: Vec<Msteams> = vec![],
        /// Microsoft Teams, workflows.
        msteamsv2_configs: Vec<Msteamsv2> = vec![],
        /// Jira.
        jira_configs: Vec<Jira> = vec![],
        /// Rocket.Chat.
        rocketchat_configs: Vec<Rocketchat> = vec![],
        /// Mattermost.
        mattermost_configs: Vec<Mattermost> = vec![],
        /// SMS and calls through Twilio or what speaks its API (Bellwether).
        twilio_configs: Vec<Twilio> = vec![],
        /// ntfy (Bellwether).
        ntfy_configs: Vec<Ntfy> = vec![],
        /// Google Chat (Bellwether).
        googlechat_configs: Vec<Googlechat> = vec![],
        /// SNMP traps (Bellwether).
        snmptrap_configs: Vec<Snmptrap> = vec![],
        /// Programs of this machine, from an allow-list (Bellwether).
        exec_configs: Vec<Exec> = vec![],
    }
}

/// What each section checks about itself and takes from `global`.
pub(in crate::config) trait Section {
    /// Contradictions inside the section.
    fn check(&mut self) -> Check {
        Ok(())
    }
    /// Fills gaps; an error when a gap stays.
    fn fill(&mut self, global: &Global) -> Check;
    /// The HTTP client's settings.
    fn http(&mut self) -> Option<&mut Http>;
    /// Files whose relative names are relative to the configuration file.
    fn files(&mut self) -> Vec<&mut PathBuf> {
        vec![]
    }
}

fn from_global<T: Clone>(value: &mut Option<T>, global: &Option<T>, missing: &str) -> Check {
    if value.is_none() {
        value.clone_from(global);
    }
    must(value.is_some(), missing)
}

/// Takes both parts of an inline-or-file pair from `global` when neither is set here.
fn pair_from_global(here: (&mut Secret, &mut PathBuf), global: (&Secret, &PathBuf), missing: &str) -> Check {
    if here.0.is_empty() && !set(here.1) {
        here.0.clone_from(global.0);
        here.1.clone_from(global.1);
    }
    must(!here.0.is_empty() || set(here.1), missing)
}

impl Receiver {
    /// Every section, in the order of Alertmanager's integrations.
    pub(in crate::config) fn sections(&mut self) -> Vec<(&'static str, &mut dyn Section)> {
        let mut all: Vec<(&'static str, &mut dyn Section)> = vec![];
        macro_rules! add {
            ($($field:ident = $name:literal),* $(,)?) => {
                $(all.extend(self.$field.iter_mut().map(|section| ($name, section as &mut dyn Section)));)*
            };
        }
        add!(
            webhook_configs = "webhook_configs",
            email_configs = "email_configs",
            pagerduty_configs = "pagerduty_configs",
            opsgenie_configs = "opsgenie_configs",
            wechat_configs = "wechat_configs",
            slack_configs = "slack_configs",
            victorops_configs = "victorops_configs",
            pushover_configs = "pushover_configs",
            sns_configs = "sns_configs",
            telegram_configs = "telegram_configs",
            discord_configs = "discord_configs",
            webex_configs = "webex_configs",
            msteams_configs = "msteams_configs",
            msteamsv2_configs = "msteamsv2_configs",
            jira_configs = "jira_configs",
            rocketchat_configs = "rocketchat_configs",
            incidentio_configs = "incidentio_configs",
            mattermost_configs = "mattermost_configs",
            twilio_configs = "twilio_configs",
            ntfy_configs = "ntfy_configs",
            googlechat_configs = "googlechat_configs",
            snmptrap_configs = "snmptrap_configs",
            exec_configs = "exec_configs",
        );
        all
    }
}
