//! Receivers with all their fields, what each of them must have, and what they take from `global`.
//!
//! Source: the Alertmanager manual, "Receiver integration settings"; the sections at the end are Bellwether's own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use httpc::{Secret, TlsConfig};
use model::duration::PromDuration;
use serde::Deserialize;

use super::global::Global;
use super::value::{GoDuration, HostPort, HttpUrl, SecretUrl, nullable};

/// A section with defaults: `name: type = default`.
macro_rules! section {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident : $type:ty = $default:expr),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_meta])* #[serde(deserialize_with = "nullable")] pub $field: $type,)*
        }
        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }
    };
}

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

section! {
    /// `discord_configs`.
    Discord {
        /// Whether resolved alerts are told.
        send_resolved: bool = true,
        /// HTTP client.
        http_config: Http = None,
        /// Webhook of the channel.
        webhook_url: Option<SecretUrl> = None,
        /// File with it.
        webhook_url_file: PathBuf = PathBuf::new(),
        /// Text before the embed.
        content: String = named("discord.default.content"),
        /// Title of the embed.
        title: String = named("discord.default.title"),
        /// Text of the embed.
        message: String = named("discord.default.message"),
        /// Shown sender.
        username: String = String::new(),
        /// Shown picture.
        avatar_url: String = String::new(),
    }
}

section! {
    /// `threading` of an e-mail section.
    Threading {
        /// Whether messages of one group refer to each other.
        enabled: bool = false,
        /// `none` or `daily`: whether each day starts a new thread.
        thread_by_date: String = String::new(),
    }
}

section! {
    /// `email_configs`.
    Email {
        /// Whether resolved alerts are told.
        send_resolved: bool = false,
        /// Comma-separated addresses.
        to: String = String::new(),
        /// Sender.
        from: String = String::new(),
        /// Name given with EHLO.
        hello: String = String::new(),
        /// SMTP server.
        smarthost: HostPort = HostPort::default(),
        /// User.
        auth_username: String = String::new(),
        /// Password for PLAIN and LOGIN.
        auth_password: Secret = Secret::default(),
        /// File with it.
        auth_password_file: PathBuf = PathBuf::new(),
        /// Secret for CRAM-MD5.
        auth_secret: Secret = Secret::default(),
        /// File with it.
        auth_secret_file: PathBuf = PathBuf::new(),
        /// Identity for PLAIN.
        auth_identity: String = String::new(),
        /// Further headers.
        headers: BTreeMap<String, String> = BTreeMap::new(),
        /// HTML body.
        html: String = named("email.default.html"),
        /// Plain body.
        text: String = String::new(),
        /// Whether a server without STARTTLS is refused.
        require_tls: Option<bool> = None,
        /// TLS.
        tls_config: Option<TlsConfig> = None,
        /// TLS from the first byte; absent: on port 465 only.
        force_implicit_tls: Option<bool> = None,
        /// Threads.
        threading: Threading = Threading::default(),
    }
}

section! {
    /// `incidentio_configs`.
    Incidentio {
        /// Whether resolved alerts are told.
        send_resolved: bool = true,
        /// HTTP client.
        http_config: Http = None,
        /// URL of the alert source.
        url: Option<HttpUrl> = None,
        /// File with it.
        url_file: PathBuf = PathBuf::new(),
        /// Token of the alert source.
        alert_source_token: Secret = Secret::default(),
        /// File with it.
        alert_source_token_file: PathBuf = PathBuf::new(),
        /// At most so many alerts a message; 0: all.
        max_alerts: u64 = 0,
        /// Of one request; 0: the group interval.
        timeout: GoDuration = GoDuration::default(),
        /// Further texts with each message.
        metadata: BTreeMap<String, String> = BTreeMap::new(),
    }
}

section! {
    /// An image of a PagerDuty incident.
    PagerdutyImage {
        /// Where it leads.
        href: String = String::new(),
        /// Where it is.
        src: String = String::new(),
        /// What it shows.
        alt: String = String::new(),
    }
}

section! {
    /// A link of a PagerDuty incident.
    PagerdutyLink {
        /// Where it leads.
        href: String = String::new(),
        /// Its text.
        text: String = String::new(),
    }
}

section! {
    /// `pagerduty_configs`.
    Pagerduty {
        /// Whether resolved alerts are told.
        send_resolved: bool = true,
        /// HTTP client.
        http_config: Http = None,
        /// Integration key of type Prometheus (Events API v1).
        service_key: Secret = Secret::default(),
        /// File with it.
        service_key_file: PathBuf = PathBuf::new(),
        /// Integration key of Events API v2.
        routing_key: Secret = Secret::default(),
        /// File with it.
        routing_key_file: PathBuf = PathBuf::new(),
        /// Endpoint.
        url: Option<HttpUrl> = None,
        /// Sender's name.
        client: String = named("pagerduty.default.client"),
        /// Sender's link.
        client_url: String = named("pagerduty.default.clientURL"),
        /// Text of the incident.
        description: String = named("pagerduty.default.description"),
        /// Details; values may be texts, lists or maps of templates.
        details: BTreeMap<String, serde_json::Value> = BTreeMap::new(),
        /// Images.
        images: Vec<PagerdutyImage> = vec![],
        /// Links.
        links: Vec<PagerdutyLink> = vec![],
        /// Where it happened; `client` when empty.
        source: String = String::new(),
        /// `critical`, `error`, `warning` or `info`.
        severity: String = String::new(),
        /// Class of the event.
        class: String = String::new(),
        /// Part that is broken.
        component: String = String::new(),
        /// Cluster of sources.
        group: String = String::new(),
        /// Of one request; 0: the group interval.
        timeout: GoDuration = GoDuration::default(),
    }
}

section! {
    /// A field of a Slack, Mattermost or Rocket.Chat attachment.
    Field {
        /// Bold heading.
        title: String = String::new(),
        /// Text.
        value: String = String::new(),
        /// Whether it fits beside another; `short_fields` when absent.
        short: Option<bool> = None,
    }
}

section! {
    /// A confirmation of a Slack button.
    SlackConfirmation {
        /// Question.
        text: String = String::new(),
        /// Heading.
        title: String = String::new(),
        /// Text of "yes".
        ok_text: String = String::new(),
        /// Text of "no".
        dismiss_text: String = String::new(),
    }
}

section! {
    /// A Slack button.
    SlackAction {
        /// `button`.
        r#type: String = String::new(),
        /// Its text.
        text: String = String::new(),
        /// Where it leads.
        url: String = String::new(),
        /// `primary` or `danger`.
        style: String = String::new(),
        /// Name sent back.
        name: String = String::new(),
        /// Value sent back.
        value: String = String::new(),
        /// Asked before.
        confirm: Option<SlackConfirmation> = None,
    }
}

section! {
    /// `slack_configs`.
    Slack {
        /// Whether resolved alerts are told.
        send_resolved: bool = false,
        /// HTTP client.
        http_config: Http = None,
        /// Incoming webhook, or the API's `chat.postMessage`.
        api_url: Option<SecretUrl> = None,
        /// File with it.
        api_url_file: PathBuf = PathBuf::new(),
        /// Bot token.
        app_token: Secret = Secret::default(),
        /// File with it.
        app_token_file: PathBuf = PathBuf::new(),
        /// Endpoint used with the bot token.
        app_url: Option<HttpUrl> = None,
        /// Channel or user.
        channel: String = String::new(),
        /// Shown sender.
        username: String = named("slack.default.username"),
        /// Bar beside the text.
        color: String = named("slack.default.color"),
        /// Title.
        title: String = named("slack.default.title"),
        /// Where the title leads.
        title_link: String = named("slack.default.titlelink"),
        /// Text before the attachment.
        pretext: String = named("slack.default.pretext"),
        /// Text.
        text: String = named("slack.default.text"),
        /// Text of the message itself.
        message_text: String = String::new(),
        /// Fields.
        fields: Vec<Field> = vec![],
        /// Default of a field's `short`.
        short_fields: bool = false,
        /// Last line.
        footer: String = named("slack.default.footer"),
        /// Text for clients that show no attachments.
        fallback: String = named("slack.default.fallback"),
        /// Id of the buttons.
        callback_id: String = named("slack.default.callbackid"),
        /// Shown picture.
        icon_emoji: String = named("slack.default.iconemoji"),
        /// Shown picture.
        icon_url: String = named("slack.default.iconurl"),
        /// Picture.
        image_url: String = String::new(),
        /// Small picture.
        thumb_url: String = String::new(),
        /// Whether names become links.
        link_names: bool = false,
        /// Which texts are Markdown.
        mrkdwn_in: Vec<String> = vec![],
        /// Buttons.
        actions: Vec<SlackAction> = vec![],
        /// Change the first message instead of sending another.
        update_message: bool = false,
        /// Answer in the first message's thread.
        post_updates_to_thread: bool = false,
        /// Of one request; 0: the group interval.
        timeout: GoDuration = GoDuration::default(),
    }
}

section! {
    /// `webhook_configs`.
    Webhook {
        /// Whether resolved alerts are told.
        send_resolved: bool = true,
        /// HTTP client.
        http_config: Http = None,
        /// Endpoint.
        url: Option<SecretUrl> = None,
        /// File with it.
        url_file: PathBuf = PathBuf::new(),
        /// At most so many alerts a message; 0: all.
        max_alerts: u64 = 0,
        /// Of one request; 0: the group interval.
        timeout: GoDuration = GoDuration::default(),
    }
}

section! {
    /// Whom Opsgenie tells.
    Responder {
        /// One of `id`, `name`, `username`.
        id: String = String::new(),
        /// One of `id`, `name`, `username`.
        name: String = String::new(),
        /// One of `id`, `name`, `username`.
        username: String = String::new(),
        /// `team`, `teams`, `user`, `escalation` or `schedule`.
        r#type: String = String::new(),
    }
}

section! {
    /// `opsgenie_configs`.
    Opsgenie {
        /// Whether resolved alerts are told.
        send_resolved: bool = true,
        /// HTTP client.
        http_config: Http = None,
        /// Key.
        api_key: Secret = Secret::default(),
        /// File with it.
        api_key_file: PathBuf = PathBuf::new(),
        /// Endpoint.
        api_url: Option<HttpUrl> = None,
        /// Heading, at most 130 characters.
        message: String = named("opsgenie.default.message"),
        /// Text.
        description: String = named("opsgenie.default.description"),
        /// Sender.
        source: String = named("opsgenie.default.source"),
        /// Further texts.
        details: BTreeMap<String, String> = BTreeMap::new(),
        /// What it is about.
        entity: String = String::new(),
        /// Whom to tell.
        responders: Vec<Responder> = vec![],
        /// Comma-separated.
        actions: String = String::new(),
        /// Comma-separated.
        tags: String = String::new(),
        /// Note.
        note: String = String::new(),
        /// `P1` to `P5`.
        priority: String = String::new(),
        /// Whether an open alert's texts are renewed.
        update_alerts: bool = false,
    }
}

section! {
    /// `wechat_configs`.
    Wechat {
        /// Whether resolved alerts are told.
        send_resolved: bool = false,
        /// HTTP client.
        http_config: Http = None,
        /// Secret.
        api_secret: Secret = Secret::default(),
        /// File with it.
        api_secret_file: PathBuf = PathBuf::new(),
        /// Corporation.
        corp_id: String = String::new(),
        /// Text.
        message: String = named("wechat.default.message"),
        /// Endpoint.
        api_url: Option<HttpUrl> = None,
        /// Whom.
        to_user: String = named("wechat.default.to_user"),
        /// Which departments.
        to_party: String = named("wechat.default.to_party"),
        /// Which tags.
        to_tag: String = named("wechat.default.to_tag"),
        /// Application.
        agent_id: String = named("wechat.default.agent_id"),
        /// `text` or `markdown`.
        message_type: String = "text".into(),
    }
}

section! {
    /// `victorops_configs`.
    Victorops {
        /// Whether resolved alerts are told.
        send_resolved: bool = true,
        /// HTTP client.
        http_config: Http = None,
        /// Key.
        api_key: Secret = Secret::default(),
        /// File with it.
        api_key_file: PathBuf = PathBuf::new(),
        /// Endpoint.
        api_url: Option<HttpUrl> = None,
        /// Team.
        routing_key: String = String::new(),
        /// `CRITICAL`, `WARNING` or `INFO`.
        message_type: String = "CRITICAL".into(),
        /// Text.
        state_message: String = named("victorops.default.state_message"),
        /// Heading.
        entity_display_name: String = named("victorops.default.entity_display_name"),
        /// Sender.
        monitoring_tool: String = named("victorops.default.monitoring_tool"),
        /// Further texts.
        custom_fields: BTreeMap<String, String> = BTreeMap::new(),
    }
}

section! {
    /// `pushover_configs`.
    Pushover {
        /// Whether resolved alerts are told.
        send_resolved: bool = true,
        /// HTTP client.
        http_config: Http = None,
        /// User's key.
        user_key: Secret = Secret::default(),
        /// File with it.
        user_key_file: PathBuf = PathBuf::new(),
        /// Application's token.
        token: Secret = Secret::default(),
        /// File with it.
        token_file: PathBuf = PathBuf::new(),
        /// Heading.
        title: String = named("pushover.default.title"),
        /// Text.
        message: String = named("pushover.default.message"),
        /// Link.
        url: String = named("pushover.default.url"),
        /// Its text.
        url_title: String = String::new(),
        /// Which device.
        device: String = String::new(),
        /// Which sound.
        sound: String = String::new(),
        /// -2 to 2.
        priority: String = r#"{{ if eq .Status "firing" }}2{{ else }}0{{ end }}"#.into(),
        /// How often it is repeated until acknowledged.
        retry: GoDuration = GoDuration::from_seconds(60),
        /// How long it is repeated.
        expire: GoDuration = GoDuration::from_seconds(3600),
        /// How long it is kept; 0: for ever.
        ttl: GoDuration = GoDuration::default(),
        /// Text is HTML.
        html: bool = false,
        /// Text is in a fixed-width font.
        monospace: bool = false,
    }
}

section! {
    /// AWS Signature Version 4.
    Sigv4 {
        /// Region; from the endpoint's host or the environment when empty.
        region: String = String::new(),
        /// Key; from the environment when empty.
        access_key: String = String::new(),
        /// Its secret.
        secret_key: Secret = Secret::default(),
        /// Profile of the credentials file.
        profile: String = String::new(),
        /// Role to take.
        role_arn: String = String::new(),
        /// Use the FIPS endpoints of the token service.
        use_fips_sts_endpoint: bool = false,
        /// Id that the role asks for.
        external_id: String = String::new(),
    }
}

section! {
    /// `sns_configs`.
    Sns {
        /// Whether resolved alerts are told.
        send_resolved: bool = true,
        /// HTTP client.
        http_config: Http = None,
        /// Endpoint; `https://sns.<region>.amazonaws.com` when empty.
        api_url: String = String::new(),
        /// Credentials.
        sigv4: Sigv4 = Sigv4::default(),
        /// Topic.
        topic_arn: String = String::new(),
        /// Phone.
        phone_number: String = String::new(),
        /// Mobile endpoint.
        target_arn: String = String::new(),
        /// Heading for e-mail.
        subject: String = named("sns.default.subject"),
        /// Text.
        message: String = named("sns.default.message"),
        /// Message attributes.
        attributes: BTreeMap<String, String> = BTreeMap::new(),
    }
}

section! {
    /// `telegram_configs`.
    Telegram {
        /// Whether resolved alerts are told.
        send_resolved: bool = true,
        /// HTTP client.
        http_config: Http = None,
        /// Endpoint.
        api_url: Option<HttpUrl> = None,
        /// Bot's token.
        bot_token: Secret = Secret::default(),
        /// File with it.
        bot_token_file: PathBuf = PathBuf::new(),
        /// Chat.
        chat_id: i64 = 0,
        /// File with it.
        chat_id_file: PathBuf = PathBuf::new(),
        /// Thread of the chat.
        message_thread_id: i64 = 0,
        /// Text.
        message: String = named("telegram.default.message"),
        /// Without sound.
        disable_notifications: bool = false,
        /// `MarkdownV2`, `Markdown`, `HTML` or nothing.
        parse_mode: String = "HTML".into(),
        /// Of one request; 0: the group interval.
        timeout: GoDuration = GoDuration::default(),
    }
}

section! {
    /// `webex_configs`.
    Webex {
        /// Whether resolved alerts are told.
        send_resolved: bool = true,
        /// HTTP client.
        http_config: Http = None,
        /// Endpoint.
        api_url: Option<HttpUrl> = None,
        /// Text.
        message: String = named("webex.default.message"),
        /// Room.
        room_id: String = String::new(),
    }
}

section! {
    /// `msteams_configs`.
    Msteams {
        /// Whether resolved alerts are told.
        send_resolved: bool = true,
        /// HTTP client.
        http_config: Http = None,
        /// Webhook.
        webhook_url: Option<SecretUrl> = None,
        /// File with it.
        webhook_url_file: PathBuf = PathBuf::new(),
        /// Heading.
        title: String = named("msteams.default.title"),
        /// One line.
        summary: String = named("msteams.default.summary"),
        /// Text.
        text: String = named("msteams.default.text"),
    }
}

section! {
    /// `msteamsv2_configs`.
    Msteamsv2 {
        /// Whether resolved alerts are told.
        send_resolved: bool = true,
        /// HTTP client.
        http_config: Http = None,
        /// Webhook.
        webhook_url: Option<SecretUrl> = None,
        /// File with it.
        webhook_url_file: PathBuf = PathBuf::new(),
        /// Heading.
        title: String = named("msteamsv2.default.title"),
        /// Text.
        text: String = named("msteamsv2.default.text"),
    }
}

/// A Jira field: a template alone, or with whether later notifications renew it.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "RawJiraField")]
pub struct JiraField {
    /// The text.
    pub template: String,
    /// Whether an issue that exists gets the new text.
    pub enable_update: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawJiraField {
    Text(String),
    Full(FullJiraField),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FullJiraField {
    #[serde(default)]
    template: String,
    enable_update: Option<bool>,
}

impl From<RawJiraField> for JiraField {
    fn from(raw: RawJiraField) -> Self {
        match raw {
            RawJiraField::Text(template) => Self { template, enable_update: true },
            RawJiraField::Full(full) => {
                Self { template: full.template, enable_update: full.enable_update.unwrap_or(true) }
            }
        }
    }
}

impl Default for JiraField {
    fn default() -> Self {
        Self { template: String::new(), enable_update: true }
    }
}

/// Labels of a Jira issue: a list, or with whether later notifications renew it.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "RawJiraLabels")]
pub struct JiraLabels {
    /// The labels.
    pub values: Vec<String>,
    /// Whether an issue that exists gets the new ones.
    pub enable_update: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawJiraLabels {
    List(Vec<String>),
    Full(FullJiraLabels),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FullJiraLabels {
    #[serde(default)]
    values: Vec<String>,
    enable_update: Option<bool>,
}

impl From<RawJiraLabels> for JiraLabels {
    fn from(raw: RawJiraLabels) -> Self {
        match raw {
            RawJiraLabels::List(values) => Self { values, enable_update: true },
            RawJiraLabels::Full(full) => {
                Self { values: full.values, enable_update: full.enable_update.unwrap_or(true) }
            }
        }
    }
}

impl Default for JiraLabels {
    fn default() -> Self {
        Self { values: vec![], enable_update: true }
    }
}

section! {
    /// `jira_configs`.
    Jira {
        /// Whether resolved alerts are told.
        send_resolved: bool = true,
        /// HTTP client.
        http_config: Http = None,
        /// Endpoint with its version.
        api_url: Option<HttpUrl> = None,
        /// `auto`, `cloud` or `datacenter`.
        api_type: String = "auto".into(),
        /// Project.
        project: String = String::new(),
        /// Heading.
        summary: JiraField = JiraField { template: named("jira.default.summary"), enable_update: true },
        /// Text.
        description: JiraField = JiraField { template: named("jira.default.description"), enable_update: true },
        /// Labels.
        labels: JiraLabels = JiraLabels::default(),
        /// Priority.
        priority: String = named("jira.default.priority"),
        /// Kind of issue.
        issue_type: String = String::new(),
        /// Transition that reopens.
        reopen_transition: String = String::new(),
        /// Transition that resolves.
        resolve_transition: String = String::new(),
        /// Resolution that is left alone.
        wont_fix_resolution: String = String::new(),
        /// How old an issue may be to be reopened.
        reopen_duration: Option<PromDuration> = None,
        /// Further fields.
        fields: BTreeMap<String, serde_json::Value> = BTreeMap::new(),
    }
}

section! {
    /// A button of a Rocket.Chat attachment.
    RocketchatAction {
        /// `button`.
        r#type: String = String::new(),
        /// Its text.
        text: String = String::new(),
        /// Where it leads.
        url: String = String::new(),
        /// Picture.
        image_url: String = String::new(),
        /// Open inside the client.
        is_webview: bool = false,
        /// How high.
        webview_height_ratio: String = String::new(),
        /// Text it sends.
        msg: String = String::new(),
        /// Where it sends it.
        msg_in_chat_window: bool = false,
        /// `sendMessage` or `respondWithMessage`.
        msg_processing_type: String = String::new(),
    }
}

section! {
    /// `rocketchat_configs`.
    Rocketchat {
        /// Whether resolved alerts are told.
        send_resolved: bool = false,
        /// HTTP client.
        http_config: Http = None,
        /// Endpoint.
        api_url: Option<HttpUrl> = None,
        /// Id of the token.
        token_id: Option<Secret> = None,
        /// File with it.
        token_id_file: PathBuf = PathBuf::new(),
        /// Token.
        token: Option<Secret> = None,
        /// File with it.
        token_file: PathBuf = PathBuf::new(),
        /// Channel or user.
        channel: String = String::new(),
        /// Bar beside the text.
        color: String = r#"{{ if eq .Status "firing" }}red{{ else }}green{{ end }}"#.into(),
        /// Title.
        title: String = named("rocketchat.default.title"),
        /// Where the title leads.
        #[serde(alias = "titleLink")]
        title_link: String = named("rocketchat.default.titlelink"),
        /// Text.
        text: String = named("rocketchat.default.text"),
        /// Fields.
        fields: Vec<Field> = vec![],
        /// Default of a field's `short`.
        short_fields: bool = false,
        /// Shown picture.
        emoji: String = named("rocketchat.default.emoji"),
        /// Shown picture.
        icon_url: String = named("rocketchat.default.iconurl"),
        /// Picture.
        image_url: String = String::new(),
        /// Small picture.
        thumb_url: String = String::new(),
        /// Whether names become links.
        link_names: bool = false,
        /// Buttons.
        actions: Vec<RocketchatAction> = vec![],
    }
}

section! {
    /// An attachment of a Mattermost message.
    MattermostAttachment {
        /// Text for clients that show no attachments.
        fallback: String = String::new(),
        /// Bar beside the text.
        color: String = String::new(),
        /// Text before the attachment.
        pretext: String = String::new(),
        /// Text.
        text: String = String::new(),
        /// Author.
        author_name: String = String::new(),
        /// Author's link.
        author_link: String = String::new(),
        /// Author's picture.
        author_icon: String = String::new(),
        /// Title.
        title: String = String::new(),
        /// Where the title leads.
        title_link: String = String::new(),
        /// Fields.
        fields: Vec<Field> = vec![],
        /// Small picture.
        thumb_url: String = String::new(),
        /// Last line.
        footer: String = String::new(),
        /// Its picture.
        footer_icon: String = String::new(),
        /// Picture.
        image_url: String = String::new(),
    }
}

section! {
    /// `props` of a Mattermost message.
    MattermostProps {
        /// Text of the side bar.
        card: String = String::new(),
    }
}

section! {
    /// `priority` of a Mattermost message.
    MattermostPriority {
        /// `important` or `urgent`.
        priority: String = String::new(),
        /// Ask for an acknowledgement.
        requested_ack: bool = false,
        /// Repeat until acknowledged.
        persistent_notifications: bool = false,
    }
}

section! {
    /// `mattermost_configs`.
    Mattermost {
        /// Whether resolved alerts are told.
        send_resolved: bool = true,
        /// HTTP client.
        http_config: Http = None,
        /// Webhook.
        webhook_url: Option<SecretUrl> = None,
        /// File with it.
        webhook_url_file: PathBuf = PathBuf::new(),
        /// Channel or user.
        channel: String = String::new(),
        /// Shown sender.
        username: String = named("mattermost.default.username"),
        /// Text.
        text: String = named("mattermost.default.text"),
        /// Text for clients that show no attachments.
        fallback: String = named("mattermost.default.fallback"),
        /// Bar beside the text.
        color: String = named("mattermost.default.color"),
        /// Text before the attachment.
        pretext: String = String::new(),
        /// Author.
        author_name: String = String::new(),
        /// Author's link.
        author_link: String = String::new(),
        /// Author's picture.
        author_icon: String = String::new(),
        /// Title.
        title: String = named("mattermost.default.title"),
        /// Where the title leads.
        title_link: String = named("mattermost.default.titlelink"),
        /// Fields.
        fields: Vec<Field> = vec![],
        /// Small picture.
        thumb_url: String = String::new(),
        /// Last line.
        footer: String = String::new(),
        /// Its picture.
        footer_icon: String = String::new(),
        /// Picture.
        image_url: String = String::new(),
        /// Shown picture.
        icon_url: String = String::new(),
        /// Shown picture.
        icon_emoji: String = String::new(),
        /// Attachments in place of the one made of the fields above.
        attachments: Vec<MattermostAttachment> = vec![],
        /// Post type.
        r#type: String = String::new(),
        /// Further properties.
        props: Option<MattermostProps> = None,
        /// Priority.
        priority: Option<MattermostPriority> = None,
    }
}

section! {
    /// `twilio_configs`: SMS or a call, through Twilio or what speaks its API.
    Twilio {
        /// Whether resolved alerts are told.
        send_resolved: bool = false,
        /// HTTP client.
        http_config: Http = None,
        /// Endpoint.
        api_url: Option<HttpUrl> = Some("https://api.twilio.com".into()),
        /// Account.
        account_sid: String = String::new(),
        /// Token.
        auth_token: Secret = Secret::default(),
        /// File with it.
        auth_token_file: PathBuf = PathBuf::new(),
        /// Sender's number.
        from: String = String::new(),
        /// Receivers' numbers.
        to: Vec<String> = vec![],
        /// Call and read the text aloud instead of sending it.
        voice: bool = false,
        /// Text.
        message: String = named("twilio.default.message"),
    }
}

section! {
    /// `ntfy_configs`.
    Ntfy {
        /// Whether resolved alerts are told.
        send_resolved: bool = true,
        /// HTTP client; `authorization` holds the access token.
        http_config: Http = None,
        /// Server.
        url: Option<HttpUrl> = Some("https://ntfy.sh".into()),
        /// Topic.
        topic: String = String::new(),
        /// Heading.
        title: String = named("ntfy.default.title"),
        /// Text.
        message: String = named("ntfy.default.message"),
        /// 1 to 5.
        priority: String = r#"{{ if eq .Status "firing" }}4{{ else }}3{{ end }}"#.into(),
        /// Comma-separated.
        tags: String = String::new(),
        /// Link.
        click: String = "{{ .ExternalURL }}".into(),
    }
}

section! {
    /// `googlechat_configs`.
    Googlechat {
        /// Whether resolved alerts are told.
        send_resolved: bool = true,
        /// HTTP client.
        http_config: Http = None,
        /// Webhook of the space.
        webhook_url: Option<SecretUrl> = None,
        /// File with it.
        webhook_url_file: PathBuf = PathBuf::new(),
        /// Text.
        message: String = named("googlechat.default.message"),
        /// Whether messages of one group share a thread.
        threaded: bool = true,
    }
}

section! {
    /// `snmptrap_configs`: SNMPv2c traps.
    Snmptrap {
        /// Whether resolved alerts are told.
        send_resolved: bool = true,
        /// `host:port` of the trap receiver.
        target: HostPort = HostPort::default(),
        /// Community.
        community: Secret = Secret::new("public"),
        /// Base of the trap's and its variables' object identifiers.
        base_oid: String = "1.3.6.1.4.1.8072.9999.9999".into(),
        /// Text of the trap.
        message: String = named("snmptrap.default.message"),
    }
}

section! {
    /// `exec_configs`: runs a program that the server's own settings allow.
    Exec {
        /// Whether resolved alerts are told.
        send_resolved: bool = false,
        /// Name of the entry in the allow-list `alerts.exec`.
        command: String = String::new(),
        /// Arguments after those of the allow-list; templates.
        args: Vec<String> = vec![],
        /// Say what would be run, but run nothing.
        dry_run: bool = false,
        /// At least so long between two runs for one group.
        cool_down: GoDuration = GoDuration::default(),
        /// The program is ended after so long.
        timeout: GoDuration = GoDuration::from_seconds(60),
    }
}

/// What each section checks about itself and takes from `global`.
pub(super) trait Section {
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

impl Section for Webhook {
    fn check(&mut self) -> Check {
        must(self.url.is_some() || set(&self.url_file), "one of url or url_file must be configured")?;
        must(self.url.is_none() || !set(&self.url_file), "at most one of url & url_file must be configured")
    }
    fn fill(&mut self, _: &Global) -> Check {
        Ok(())
    }
    fn http(&mut self) -> Option<&mut Http> {
        Some(&mut self.http_config)
    }
    fn files(&mut self) -> Vec<&mut PathBuf> {
        vec![&mut self.url_file]
    }
}

impl Section for Email {
    fn check(&mut self) -> Check {
        must(!self.to.is_empty(), "missing to address in email config")?;
        let mut normal = BTreeMap::new();
        for (name, value) in std::mem::take(&mut self.headers) {
            let name = canonical_header(&name);
            if normal.insert(name.clone(), value).is_some() {
                return Err(format!("duplicate header {name:?} in email config"));
            }
        }
        self.headers = normal;
        if self.threading.enabled {
            for name in ["References", "In-Reply-To"] {
                must(
                    !self.headers.contains_key(name),
                    &format!(
                        "conflicting configuration: threading.enabled conflicts with custom {name} header"
                    ),
                )?;
            }
            must(
                matches!(self.threading.thread_by_date.as_str(), "none" | "daily"),
                "threading.thread_by_date must be either 'none' or 'daily'",
            )?;
        }
        Ok(())
    }
    fn fill(&mut self, global: &Global) -> Check {
        if self.tls_config.is_none() {
            self.tls_config.clone_from(&global.smtp_tls_config);
        }
        if self.smarthost.is_empty() {
            self.smarthost.clone_from(&global.smtp_smarthost);
        }
        must(!self.smarthost.is_empty(), "no global SMTP smarthost set")?;
        let texts = [
            (&mut self.from, &global.smtp_from),
            (&mut self.hello, &global.smtp_hello),
            (&mut self.auth_username, &global.smtp_auth_username),
            (&mut self.auth_identity, &global.smtp_auth_identity),
        ];
        for (here, there) in texts {
            if here.is_empty() {
                here.clone_from(there);
            }
        }
        must(!self.from.is_empty(), "no global SMTP from set")?;
        if self.auth_password.is_empty() && !set(&self.auth_password_file) {
            self.auth_password.clone_from(&global.smtp_auth_password);
            self.auth_password_file.clone_from(&global.smtp_auth_password_file);
        }
        if self.auth_secret.is_empty() && !set(&self.auth_secret_file) {
            self.auth_secret.clone_from(&global.smtp_auth_secret);
            self.auth_secret_file.clone_from(&global.smtp_auth_secret_file);
        }
        self.require_tls = self.require_tls.or(Some(global.smtp_require_tls));
        self.force_implicit_tls = self.force_implicit_tls.or(global.smtp_force_implicit_tls);
        Ok(())
    }
    fn http(&mut self) -> Option<&mut Http> {
        None
    }
    fn files(&mut self) -> Vec<&mut PathBuf> {
        vec![&mut self.auth_password_file, &mut self.auth_secret_file]
    }
}

/// Go's canonical form of a MIME header: `x-a-b` becomes `X-A-B`.
fn canonical_header(name: &str) -> String {
    let mut upper = true;
    name.chars()
        .map(|c| {
            let c = if upper { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
            upper = c == '-';
            c
        })
        .collect()
}

impl Section for Slack {
    fn check(&mut self) -> Check {
        let (url, url_file) = (self.api_url.is_some(), set(&self.api_url_file));
        let (token, token_file) = (!self.app_token.is_empty(), set(&self.app_token_file));
        must(!(url && url_file), "at most one of api_url & api_url_file must be configured")?;
        must(!(token && token_file), "at most one of app_token & app_token_file must be configured")?;
        must(
            !((url || url_file) && (token || token_file)),
            "at most one of api_url/api_url_file & app_token/app_token_file must be configured",
        )?;
        let bot =
            self.api_url.as_ref().is_some_and(|url| url.expose() == "https://slack.com/api/chat.postMessage");
        for (on, name) in
            [(self.update_message, "update_message"), (self.post_updates_to_thread, "post_updates_to_thread")]
        {
            must(
                !on || bot,
                &format!(
                    "{name} can only be used with bot tokens. api_url must be set to https://slack.com/api/chat.postMessage"
                ),
            )?;
        }
        for field in &self.fields {
            must(!field.title.is_empty(), "missing title in Slack field configuration")?;
            must(!field.value.is_empty(), "missing value in Slack field configuration")?;
        }
        for action in &mut self.actions {
            must(!action.r#type.is_empty(), "missing type in Slack action configuration")?;
            must(!action.text.is_empty(), "missing text in Slack action configuration")?;
            must(
                !action.url.is_empty() || !action.name.is_empty(),
                "missing name or url in Slack action configuration",
            )?;
            if let Some(confirm) = &action.confirm {
                must(!confirm.text.is_empty(), "missing text in Slack confirmation configuration")?;
            }
            if !action.url.is_empty() {
                action.name.clear();
                action.value.clear();
                action.confirm = None;
            }
        }
        Ok(())
    }
    fn fill(&mut self, global: &Global) -> Check {
        from_global(&mut self.app_url, &global.slack_app_url, "no global Slack App URL set")?;
        let authorized = |http: &Http| http.as_ref().is_some_and(|http| http.authorization.is_some());
        if self.app_token.is_empty()
            && !set(&self.app_token_file)
            && !authorized(&self.http_config)
            && self.api_url.is_none()
        {
            self.app_token.clone_from(&global.slack_app_token);
            self.app_token_file.clone_from(&global.slack_app_token_file);
        }
        if self.api_url.is_none() && !set(&self.api_url_file) {
            self.api_url.clone_from(&global.slack_api_url);
            self.api_url_file.clone_from(&global.slack_api_url_file);
        }
        let token = !self.app_token.is_empty() || set(&self.app_token_file);
        must(
            self.api_url.is_some() || set(&self.api_url_file) || token,
            "no Slack API URL nor App token set either inline or in a file",
        )?;
        if token {
            let http = self.http_config.get_or_insert_with(|| global.http_config.clone().unwrap_or_default());
            must(
                http.authorization.is_none(),
                "http authorization can't be set when using Slack App tokens",
            )?;
            http.authorization = Some(httpc::Authorization {
                kind: "Bearer".into(),
                credentials: self.app_token.clone(),
                credentials_file: self.app_token_file.clone(),
            });
            self.api_url = self.app_url.as_ref().map(SecretUrl::from);
            self.api_url_file = PathBuf::new();
        }
        Ok(())
    }
    fn http(&mut self) -> Option<&mut Http> {
        Some(&mut self.http_config)
    }
    fn files(&mut self) -> Vec<&mut PathBuf> {
        vec![&mut self.api_url_file, &mut self.app_token_file]
    }
}

impl Section for Pagerduty {
    fn check(&mut self) -> Check {
        let (routing, routing_file) = (!self.routing_key.is_empty(), set(&self.routing_key_file));
        let (service, service_file) = (!self.service_key.is_empty(), set(&self.service_key_file));
        must(
            routing || routing_file || service || service_file,
            "missing service or routing key in PagerDuty config",
        )?;
        must(!(routing && routing_file), "at most one of routing_key & routing_key_file must be configured")?;
        must(!(service && service_file), "at most one of service_key & service_key_file must be configured")?;
        if self.source.is_empty() {
            self.source.clone_from(&self.client);
        }
        let defaults = [
            ("firing", r#"{{ template "pagerduty.default.instances" .Alerts.Firing }}"#),
            ("resolved", r#"{{ template "pagerduty.default.instances" .Alerts.Resolved }}"#),
            ("num_firing", "{{ .Alerts.Firing | len }}"),
            ("num_resolved", "{{ .Alerts.Resolved | len }}"),
        ];
        for (name, text) in defaults {
            self.details.entry(name.into()).or_insert_with(|| text.into());
        }
        Ok(())
    }
    fn fill(&mut self, global: &Global) -> Check {
        from_global(&mut self.url, &global.pagerduty_url, "no global PagerDuty URL set")
    }
    fn http(&mut self) -> Option<&mut Http> {
        Some(&mut self.http_config)
    }
    fn files(&mut self) -> Vec<&mut PathBuf> {
        vec![&mut self.routing_key_file, &mut self.service_key_file]
    }
}

impl Section for Incidentio {
    fn check(&mut self) -> Check {
        let (token, token_file) = (!self.alert_source_token.is_empty(), set(&self.alert_source_token_file));
        must(self.url.is_some() || set(&self.url_file), "one of url or url_file must be configured")?;
        must(
            !(self.url.is_some() && set(&self.url_file)),
            "at most one of url & url_file must be configured",
        )?;
        must(
            !(token && token_file),
            "at most one of alert_source_token & alert_source_token_file must be configured",
        )?;
        match &self.http_config {
            Some(http) if http.authorization.is_some() => must(
                !token && !token_file,
                "cannot specify alert_source_token or alert_source_token_file when using http_config.authorization",
            ),
            Some(_) => must(
                token || token_file,
                "at least one of alert_source_token, alert_source_token_file or http_config.authorization must be configured",
            ),
            None => Ok(()),
        }
    }
    fn fill(&mut self, _: &Global) -> Check {
        Ok(())
    }
    fn http(&mut self) -> Option<&mut Http> {
        Some(&mut self.http_config)
    }
    fn files(&mut self) -> Vec<&mut PathBuf> {
        vec![&mut self.url_file, &mut self.alert_source_token_file]
    }
}

impl Section for Opsgenie {
    fn check(&mut self) -> Check {
        must(
            self.api_key.is_empty() || !set(&self.api_key_file),
            "at most one of api_key & api_key_file must be configured",
        )?;
        for responder in &mut self.responders {
            must(
                !(responder.id.is_empty() && responder.username.is_empty() && responder.name.is_empty()),
                "opsGenieConfig responder has to have at least one of id, username or name specified",
            )?;
            if !responder.r#type.contains("{{") {
                responder.r#type = responder.r#type.to_lowercase();
                if !matches!(responder.r#type.as_str(), "team" | "teams" | "user" | "escalation" | "schedule")
                {
                    return Err(format!(
                        "opsGenieConfig responder type {:?} does not match valid options ^(team|teams|user|escalation|schedule)$",
                        responder.r#type
                    ));
                }
            }
        }
        Ok(())
    }
    fn fill(&mut self, global: &Global) -> Check {
        from_global(&mut self.api_url, &global.opsgenie_api_url, "no global OpsGenie URL set")?;
        pair_from_global(
            (&mut self.api_key, &mut self.api_key_file),
            (&global.opsgenie_api_key, &global.opsgenie_api_key_file),
            "no global OpsGenie API Key set either inline or in a file",
        )
    }
    fn http(&mut self) -> Option<&mut Http> {
        Some(&mut self.http_config)
    }
    fn files(&mut self) -> Vec<&mut PathBuf> {
        vec![&mut self.api_key_file]
    }
}

impl Section for Wechat {
    fn check(&mut self) -> Check {
        must(
            self.api_secret.is_empty() || !set(&self.api_secret_file),
            "at most one of api_secret & api_secret_file must be configured",
        )?;
        if self.message_type.is_empty() {
            self.message_type = "text".into();
        }
        if !matches!(self.message_type.as_str(), "text" | "markdown") {
            return Err(format!(
                "weChat message type {:?} does not match valid options ^(text|markdown)$",
                self.message_type
            ));
        }
        Ok(())
    }
    fn fill(&mut self, global: &Global) -> Check {
        from_global(&mut self.api_url, &global.wechat_api_url, "no global Wechat URL set")?;
        pair_from_global(
            (&mut self.api_secret, &mut self.api_secret_file),
            (&global.wechat_api_secret, &global.wechat_api_secret_file),
            "no global Wechat Api Secret set either inline or in a file",
        )?;
        if self.corp_id.is_empty() {
            self.corp_id.clone_from(&global.wechat_api_corp_id);
        }
        must(!self.corp_id.is_empty(), "no global Wechat CorpID set")
    }
    fn http(&mut self) -> Option<&mut Http> {
        Some(&mut self.http_config)
    }
    fn files(&mut self) -> Vec<&mut PathBuf> {
        vec![&mut self.api_secret_file]
    }
}

impl Section for Victorops {
    fn check(&mut self) -> Check {
        must(!self.routing_key.is_empty(), "missing Routing key in VictorOps config")?;
        must(
            self.api_key.is_empty() || !set(&self.api_key_file),
            "at most one of api_key & api_key_file must be configured",
        )?;
        let reserved = [
            "routing_key",
            "message_type",
            "state_message",
            "entity_display_name",
            "monitoring_tool",
            "entity_id",
            "entity_state",
        ];
        match reserved.iter().find(|name| self.custom_fields.contains_key(**name)) {
            Some(name) => Err(format!(
                "victorOps config contains custom field {name} which cannot be used as it conflicts with the fixed/static fields"
            )),
            None => Ok(()),
        }
    }
    fn fill(&mut self, global: &Global) -> Check {
        from_global(&mut self.api_url, &global.victorops_api_url, "no global VictorOps URL set")?;
        pair_from_global(
            (&mut self.api_key, &mut self.api_key_file),
            (&global.victorops_api_key, &global.victorops_api_key_file),
            "no global VictorOps API Key set",
        )
    }
    fn http(&mut self) -> Option<&mut Http> {
        Some(&mut self.http_config)
    }
    fn files(&mut self) -> Vec<&mut PathBuf> {
        vec![&mut self.api_key_file]
    }
}

impl Section for Pushover {
    fn check(&mut self) -> Check {
        let (user, user_file) = (!self.user_key.is_empty(), set(&self.user_key_file));
        let (token, token_file) = (!self.token.is_empty(), set(&self.token_file));
        must(user || user_file, "one of user_key or user_key_file must be configured")?;
        must(!(user && user_file), "at most one of user_key & user_key_file must be configured")?;
        must(token || token_file, "one of token or token_file must be configured")?;
        must(!(token && token_file), "at most one of token & token_file must be configured")?;
        must(!(self.html && self.monospace), "at most one of monospace & html must be configured")
    }
    fn fill(&mut self, _: &Global) -> Check {
        Ok(())
    }
    fn http(&mut self) -> Option<&mut Http> {
        Some(&mut self.http_config)
    }
    fn files(&mut self) -> Vec<&mut PathBuf> {
        vec![&mut self.user_key_file, &mut self.token_file]
    }
}

impl Section for Sns {
    fn check(&mut self) -> Check {
        let given =
            [&self.target_arn, &self.topic_arn, &self.phone_number].iter().filter(|t| !t.is_empty()).count();
        // Alertmanager takes all three together, too.
        must(given % 2 == 1, "must provide either a Target ARN, Topic ARN, or Phone Number for SNS config")?;
        must(
            self.sigv4.access_key.is_empty() == self.sigv4.secret_key.is_empty(),
            "must provide a AWS SigV4 Access key and Secret Key if credentials are specified in the SigV4 config",
        )
    }
    fn fill(&mut self, _: &Global) -> Check {
        Ok(())
    }
    fn http(&mut self) -> Option<&mut Http> {
        Some(&mut self.http_config)
    }
}

impl Section for Telegram {
    fn check(&mut self) -> Check {
        must(
            self.bot_token.is_empty() || !set(&self.bot_token_file),
            "at most one of bot_token & bot_token_file must be configured",
        )?;
        must(
            self.chat_id != 0 || set(&self.chat_id_file),
            "missing chat_id or chat_id_file on telegram_config",
        )?;
        must(
            self.chat_id == 0 || !set(&self.chat_id_file),
            "at most one of chat_id & chat_id_file must be configured",
        )?;
        must(
            matches!(self.parse_mode.as_str(), "" | "Markdown" | "MarkdownV2" | "HTML"),
            "unknown parse_mode on telegram_config, must be Markdown, MarkdownV2, HTML or empty string",
        )
    }
    fn fill(&mut self, global: &Global) -> Check {
        from_global(&mut self.api_url, &global.telegram_api_url, "no global Telegram URL set")?;
        pair_from_global(
            (&mut self.bot_token, &mut self.bot_token_file),
            (&global.telegram_bot_token, &global.telegram_bot_token_file),
            "missing bot_token or bot_token_file on telegram_config",
        )
    }
    fn http(&mut self) -> Option<&mut Http> {
        Some(&mut self.http_config)
    }
    fn files(&mut self) -> Vec<&mut PathBuf> {
        vec![&mut self.bot_token_file, &mut self.chat_id_file]
    }
}

impl Section for Webex {
    fn check(&mut self) -> Check {
        must(!self.room_id.is_empty(), "missing room_id on webex_config")?;
        must(
            self.http_config.as_ref().is_some_and(|http| http.authorization.is_some()),
            "missing webex_configs.http_config.authorization",
        )
    }
    fn fill(&mut self, global: &Global) -> Check {
        from_global(&mut self.api_url, &global.webex_api_url, "no global Webex URL set")
    }
    fn http(&mut self) -> Option<&mut Http> {
        Some(&mut self.http_config)
    }
}

impl Section for Jira {
    fn check(&mut self) -> Check {
        must(!self.project.is_empty(), "missing project in jira_config")?;
        must(!self.issue_type.is_empty(), "missing issue_type in jira_config")?;
        must(
            matches!(self.api_type.as_str(), "auto" | "cloud" | "datacenter"),
            "unknown api_type on jira_config, must be auto, cloud or datacenter",
        )
    }
    fn fill(&mut self, global: &Global) -> Check {
        from_global(&mut self.api_url, &global.jira_api_url, "no global Jira Cloud URL set")
    }
    fn http(&mut self) -> Option<&mut Http> {
        Some(&mut self.http_config)
    }
}

impl Section for Rocketchat {
    fn check(&mut self) -> Check {
        must(
            self.token.is_none() || !set(&self.token_file),
            "at most one of token & token_file must be configured",
        )?;
        must(
            self.token_id.is_none() || !set(&self.token_id_file),
            "at most one of token_id & token_id_file must be configured",
        )
    }
    fn fill(&mut self, global: &Global) -> Check {
        from_global(&mut self.api_url, &global.rocketchat_api_url, "no global Rocketchat URL set")?;
        if self.token_id.is_none() && !set(&self.token_id_file) {
            self.token_id.clone_from(&global.rocketchat_token_id);
            self.token_id_file.clone_from(&global.rocketchat_token_id_file);
        }
        must(
            self.token_id.is_some() || set(&self.token_id_file),
            "no global Rocketchat TokenID set either inline or in a file",
        )?;
        if self.token.is_none() && !set(&self.token_file) {
            self.token.clone_from(&global.rocketchat_token);
            self.token_file.clone_from(&global.rocketchat_token_file);
        }
        must(
            self.token.is_some() || set(&self.token_file),
            "no global Rocketchat Token set either inline or in a file",
        )
    }
    fn http(&mut self) -> Option<&mut Http> {
        Some(&mut self.http_config)
    }
    fn files(&mut self) -> Vec<&mut PathBuf> {
        vec![&mut self.token_id_file, &mut self.token_file]
    }
}

impl Section for Mattermost {
    fn check(&mut self) -> Check {
        must(
            self.webhook_url.is_none() || !set(&self.webhook_url_file),
            "at most one of webhook_url & webhook_url_file must be configured",
        )?;
        for field in self.fields.iter().chain(self.attachments.iter().flat_map(|a| &a.fields)) {
            must(!field.title.is_empty(), "missing title in Mattermost field configuration")?;
            must(!field.value.is_empty(), "missing value in Mattermost field configuration")?;
        }
        Ok(())
    }
    fn fill(&mut self, global: &Global) -> Check {
        if self.webhook_url.is_none() && !set(&self.webhook_url_file) {
            self.webhook_url.clone_from(&global.mattermost_webhook_url);
            self.webhook_url_file.clone_from(&global.mattermost_webhook_url_file);
        }
        must(
            self.webhook_url.is_some() || set(&self.webhook_url_file),
            "missing webhook_url or webhook_url_file on mattermost_config",
        )
    }
    fn http(&mut self) -> Option<&mut Http> {
        Some(&mut self.http_config)
    }
    fn files(&mut self) -> Vec<&mut PathBuf> {
        vec![&mut self.webhook_url_file]
    }
}

/// Sections whose only secret is `webhook_url` or its file, and which take nothing from `global`.
macro_rules! webhook_section {
    ($type:ty, $name:literal) => {
        impl Section for $type {
            fn check(&mut self) -> Check {
                must(
                    self.webhook_url.is_some() || set(&self.webhook_url_file),
                    concat!("no ", $name, " webhook URL or URLFile provided"),
                )?;
                must(
                    self.webhook_url.is_none() || !set(&self.webhook_url_file),
                    "at most one of webhook_url & webhook_url_file must be configured",
                )
            }
            fn fill(&mut self, _: &Global) -> Check {
                Ok(())
            }
            fn http(&mut self) -> Option<&mut Http> {
                Some(&mut self.http_config)
            }
            fn files(&mut self) -> Vec<&mut PathBuf> {
                vec![&mut self.webhook_url_file]
            }
        }
    };
}

webhook_section!(Discord, "discord");
webhook_section!(Msteams, "msteams");
webhook_section!(Msteamsv2, "msteamsv2");
webhook_section!(Googlechat, "googlechat");

impl Section for Twilio {
    fn check(&mut self) -> Check {
        must(!self.account_sid.is_empty(), "missing account_sid in twilio config")?;
        must(!self.from.is_empty(), "missing from (the sender's number) in twilio config")?;
        must(!self.to.is_empty(), "missing to (the receivers' numbers) in twilio config")?;
        let (token, file) = (!self.auth_token.is_empty(), set(&self.auth_token_file));
        must(
            token != file,
            "exactly one of auth_token & auth_token_file must be configured in twilio config",
        )?;
        must(self.api_url.is_some(), "missing api_url in twilio config")
    }
    fn fill(&mut self, _: &Global) -> Check {
        Ok(())
    }
    fn http(&mut self) -> Option<&mut Http> {
        Some(&mut self.http_config)
    }
    fn files(&mut self) -> Vec<&mut PathBuf> {
        vec![&mut self.auth_token_file]
    }
}

impl Section for Ntfy {
    fn check(&mut self) -> Check {
        must(!self.topic.is_empty(), "missing topic in ntfy config")?;
        must(self.url.is_some(), "missing url in ntfy config")
    }
    fn fill(&mut self, _: &Global) -> Check {
        Ok(())
    }
    fn http(&mut self) -> Option<&mut Http> {
        Some(&mut self.http_config)
    }
}

impl Section for Snmptrap {
    fn check(&mut self) -> Check {
        must(!self.target.is_empty(), "missing target (host:port) in snmptrap config")?;
        crate::notify::snmptrap::parse_oid(&self.base_oid).map(|_| ())
    }
    fn fill(&mut self, _: &Global) -> Check {
        Ok(())
    }
    fn http(&mut self) -> Option<&mut Http> {
        None
    }
}

impl Section for Exec {
    fn check(&mut self) -> Check {
        must(
            !self.command.is_empty(),
            "missing command (a name of the allow-list alerts.exec) in exec config",
        )
    }
    fn fill(&mut self, _: &Global) -> Check {
        Ok(())
    }
    fn http(&mut self) -> Option<&mut Http> {
        None
    }
}

impl Receiver {
    /// Every section, in the order of Alertmanager's integrations.
    pub(super) fn sections(&mut self) -> Vec<(&'static str, &mut dyn Section)> {
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
