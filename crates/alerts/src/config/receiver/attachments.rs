//! Slack, and the two that take its attachments: Mattermost and Rocket.Chat.

use std::path::PathBuf;

use httpc::Secret;

use super::{Check, Global, Http, Section, from_global, must, named, section, set};
use crate::config::value::{GoDuration, HttpUrl, SecretUrl};

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
        title_link("titleLink"): String = named("rocketchat.default.titlelink"),
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
