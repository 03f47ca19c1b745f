//! Other chats: Discord, Microsoft Teams, Google Chat, Telegram, Webex, WeChat.

use std::path::PathBuf;

use httpc::Secret;

use super::{Check, Global, Http, Section, from_global, must, named, pair_from_global, section, set};
use crate::config::value::{GoDuration, HttpUrl, SecretUrl};

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
