//! Chat services: Slack, Mattermost, Rocket.Chat, Discord, Microsoft Teams, Webex, Google Chat.
//!
//! Source: each service's public API reference.

use serde_json::{Map, Value, json};

use super::cut::cut_json;
use super::http::json as json_request;
use super::{Attempt, Failure, cut_bytes, cut_chars, secret, sender, set, url_of};
use crate::config::receiver;
use crate::error::Error;
use crate::message::Notification;

sender!(Slack, receiver::Slack, timeout);
sender!(Mattermost, receiver::Mattermost);
sender!(Rocketchat, receiver::Rocketchat);
sender!(Discord, receiver::Discord);
sender!(Msteams, receiver::Msteams);
sender!(Msteamsv2, receiver::Msteamsv2);
sender!(Webex, receiver::Webex);
sender!(Googlechat, receiver::Googlechat);

/// Slack cuts attachments' titles here, in characters.
const SLACK_TITLE: usize = 1024;
/// Slack cuts or refuses longer messages, in characters.
const SLACK_TEXT: usize = 40_000;
/// Discord refuses more, in characters.
const DISCORD_TITLE: usize = 256;
const DISCORD_TEXT: usize = 4096;
const DISCORD_CONTENT: usize = 2000;
const DISCORD_USERNAME: usize = 80;
/// Teams refuses more, in bytes of the whole message.
const TEAMS_MESSAGE: usize = 28_000;
/// A title takes no more of it.
const TEAMS_TITLE: usize = 1024;
/// Webex refuses more, in bytes.
const WEBEX_TEXT: usize = 7439;
/// Google Chat refuses more, in bytes.
const GOOGLECHAT_TEXT: usize = 4096;
/// Mattermost refuses more, in characters.
const MATTERMOST_TEXT: usize = 16_383;

impl Slack {
    async fn run(&self, n: &Notification) -> Attempt {
        let (s, text) = (&self.section, |t: &str| self.renderer.text(t, &n.data));
        let url = url_of(&s.api_url, &s.api_url_file).await?;
        let mut attachment = Map::new();
        set(&mut attachment, "title", cut_chars(&text(&s.title)?, SLACK_TITLE));
        for (name, setting) in [
            ("title_link", &s.title_link),
            ("pretext", &s.pretext),
            ("text", &s.text),
            ("fallback", &s.fallback),
            ("callback_id", &s.callback_id),
            ("image_url", &s.image_url),
            ("thumb_url", &s.thumb_url),
            ("footer", &s.footer),
            ("color", &s.color),
        ] {
            set(&mut attachment, name, cut_chars(&text(setting)?, SLACK_TEXT));
        }
        let markdown = ["fallback", "pretext", "text"].map(String::from).to_vec();
        attachment
            .insert("mrkdwn_in".into(), json!(if s.mrkdwn_in.is_empty() { &markdown } else { &s.mrkdwn_in }));
        let fields = fields(&s.fields, s.short_fields, text)?;
        if !fields.is_empty() {
            attachment.insert("fields".into(), fields.into());
        }
        let mut actions = vec![];
        for action in &s.actions {
            let mut out = Map::new();
            for (name, setting) in [
                ("type", &action.r#type),
                ("text", &action.text),
                ("url", &action.url),
                ("style", &action.style),
                ("name", &action.name),
                ("value", &action.value),
            ] {
                set(&mut out, name, text(setting)?);
            }
            if let Some(confirm) = &action.confirm {
                let mut asked = Map::new();
                for (name, setting) in [
                    ("text", &confirm.text),
                    ("title", &confirm.title),
                    ("ok_text", &confirm.ok_text),
                    ("dismiss_text", &confirm.dismiss_text),
                ] {
                    set(&mut asked, name, text(setting)?);
                }
                out.insert("confirm".into(), asked.into());
            }
            actions.push(Value::Object(out));
        }
        if !actions.is_empty() {
            attachment.insert("actions".into(), actions.into());
        }
        let mut body = Map::new();
        for (name, setting) in [
            ("channel", &s.channel),
            ("username", &s.username),
            ("icon_emoji", &s.icon_emoji),
            ("icon_url", &s.icon_url),
            ("text", &s.message_text),
        ] {
            set(&mut body, name, cut_chars(&text(setting)?, SLACK_TEXT));
        }
        if s.link_names {
            body.insert("link_names".into(), true.into());
        }
        body.insert("attachments".into(), json!([attachment]));
        let request = json_request(httpc::Method::POST, &url, &body.into(), &[])?;
        let answer = self.http.exchange(request).await?;
        // The API says 200 and `ok: false`.
        let refused = serde_json::from_str::<Value>(&answer.body).ok().filter(|body| body["ok"] == false);
        match refused {
            Some(body) if answer.status < 300 => {
                let error = body["error"].as_str().unwrap_or("no reason given").to_owned();
                let retry = matches!(
                    error.as_str(),
                    "ratelimited" | "rate_limited" | "internal_error" | "fatal_error"
                );
                Err(Failure {
                    retry,
                    after: answer.retry_after,
                    status: Some(answer.status),
                    message: format!("Slack refused: {error}"),
                })
            }
            _ => answer.judge(),
        }
    }
}

/// Fields of an attachment.
fn fields(
    fields: &[receiver::Field],
    short: bool,
    text: impl Fn(&str) -> Result<String, Error>,
) -> Result<Vec<Value>, Error> {
    let one = |field: &receiver::Field| {
        Ok(
            json!({ "title": text(&field.title)?, "value": text(&field.value)?, "short": field.short.unwrap_or(short) }),
        )
    };
    fields.iter().map(one).collect()
}

impl Mattermost {
    fn attachment(&self, from: &receiver::MattermostAttachment, n: &Notification) -> Result<Value, Error> {
        let text = |t: &str| self.renderer.text(t, &n.data);
        let mut out = Map::new();
        for (name, setting) in [
            ("fallback", &from.fallback),
            ("color", &from.color),
            ("pretext", &from.pretext),
            ("text", &from.text),
            ("author_name", &from.author_name),
            ("author_link", &from.author_link),
            ("author_icon", &from.author_icon),
            ("title", &from.title),
            ("title_link", &from.title_link),
            ("thumb_url", &from.thumb_url),
            ("footer", &from.footer),
            ("footer_icon", &from.footer_icon),
            ("image_url", &from.image_url),
        ] {
            set(&mut out, name, cut_chars(&text(setting)?, MATTERMOST_TEXT));
        }
        let fields = fields(&from.fields, false, text)?;
        if !fields.is_empty() {
            out.insert("fields".into(), fields.into());
        }
        Ok(out.into())
    }

    async fn run(&self, n: &Notification) -> Attempt {
        let (s, text) = (&self.section, |t: &str| self.renderer.text(t, &n.data));
        let url = url_of(&s.webhook_url, &s.webhook_url_file).await?;
        let mut body = Map::new();
        for (name, setting) in [
            ("channel", &s.channel),
            ("username", &s.username),
            ("icon_url", &s.icon_url),
            ("icon_emoji", &s.icon_emoji),
            ("type", &s.r#type),
        ] {
            set(&mut body, name, text(setting)?);
        }
        let attachments = if s.attachments.is_empty() {
            let own = receiver::MattermostAttachment {
                fallback: s.fallback.clone(),
                color: s.color.clone(),
                pretext: s.pretext.clone(),
                text: s.text.clone(),
                author_name: s.author_name.clone(),
                author_link: s.author_link.clone(),
                author_icon: s.author_icon.clone(),
                title: s.title.clone(),
                title_link: s.title_link.clone(),
                fields: s.fields.clone(),
                thumb_url: s.thumb_url.clone(),
                footer: s.footer.clone(),
                footer_icon: s.footer_icon.clone(),
                image_url: s.image_url.clone(),
            };
            vec![self.attachment(&own, n)?]
        } else {
            set(&mut body, "text", cut_chars(&text(&s.text)?, MATTERMOST_TEXT));
            s.attachments.iter().map(|a| self.attachment(a, n)).collect::<Result<_, _>>()?
        };
        body.insert("attachments".into(), attachments.into());
        if let Some(props) = &s.props {
            body.insert("props".into(), json!({ "card": text(&props.card)? }));
        }
        if let Some(priority) = &s.priority {
            let priority = json!({
                "priority": text(&priority.priority)?, "requested_ack": priority.requested_ack,
                "persistent_notifications": priority.persistent_notifications,
            });
            body.insert("priority".into(), priority);
        }
        self.http.post_json(&url, &body.into(), &[]).await
    }
}

impl Rocketchat {
    async fn run(&self, n: &Notification) -> Attempt {
        let (s, text) = (&self.section, |t: &str| self.renderer.text(t, &n.data));
        let id = secret(&s.token_id.clone().unwrap_or_default(), &s.token_id_file).await?;
        let token = secret(&s.token.clone().unwrap_or_default(), &s.token_file).await?;
        let base = s.api_url.as_ref().map_or("", |url| url.trimmed());
        let mut attachment = Map::new();
        set(&mut attachment, "title", cut_chars(&text(&s.title)?, SLACK_TITLE));
        for (name, setting) in [
            ("title_link", &s.title_link),
            ("text", &s.text),
            ("image_url", &s.image_url),
            ("thumb_url", &s.thumb_url),
            ("color", &s.color),
        ] {
            set(&mut attachment, name, text(setting)?);
        }
        let fields = fields(&s.fields, s.short_fields, text)?;
        if !fields.is_empty() {
            attachment.insert("fields".into(), fields.into());
        }
        let mut actions = vec![];
        for action in &s.actions {
            let mut out = Map::new();
            for (name, setting) in [
                ("text", &action.text),
                ("url", &action.url),
                ("image_url", &action.image_url),
                ("webview_height_ratio", &action.webview_height_ratio),
                ("msg", &action.msg),
                ("msg_processing_type", &action.msg_processing_type),
            ] {
                set(&mut out, name, text(setting)?);
            }
            out.insert("type".into(), "button".into());
            out.insert("is_webview".into(), action.is_webview.into());
            out.insert("msg_in_chat_window".into(), action.msg_in_chat_window.into());
            actions.push(Value::Object(out));
        }
        if !actions.is_empty() {
            attachment.insert("actions".into(), actions.into());
        }
        let mut body = Map::new();
        for (name, setting) in [("channel", &s.channel), ("emoji", &s.emoji), ("avatar", &s.icon_url)] {
            set(&mut body, name, text(setting)?);
        }
        if s.link_names {
            body.insert("parseUrls".into(), true.into());
        }
        body.insert("attachments".into(), json!([attachment]));
        let headers = [("X-User-Id", id.as_str()), ("X-Auth-Token", token.as_str())];
        self.http.post_json(&format!("{base}/api/v1/chat.postMessage"), &body.into(), &headers).await
    }
}

impl Discord {
    async fn run(&self, n: &Notification) -> Attempt {
        let (s, text) = (&self.section, |t: &str| self.renderer.text(t, &n.data));
        let url = url_of(&s.webhook_url, &s.webhook_url_file).await?;
        let color = if n.data.status == "firing" { 0x00c6_2828 } else { 0x002e_7d32 };
        let mut body = Map::new();
        set(&mut body, "content", cut_chars(&text(&s.content)?, DISCORD_CONTENT));
        set(&mut body, "username", cut_chars(&text(&s.username)?, DISCORD_USERNAME));
        set(&mut body, "avatar_url", text(&s.avatar_url)?);
        let embed = json!({
            "title": cut_chars(&text(&s.title)?, DISCORD_TITLE),
            "description": cut_chars(&text(&s.message)?, DISCORD_TEXT),
            "color": color,
        });
        body.insert("embeds".into(), json!([embed]));
        self.http.post_json(&url, &body.into(), &[]).await
    }
}

impl Msteams {
    async fn run(&self, n: &Notification) -> Attempt {
        let (s, text) = (&self.section, |t: &str| self.renderer.text(t, &n.data));
        let url = url_of(&s.webhook_url, &s.webhook_url_file).await?;
        let color = if n.data.status == "firing" { "c62828" } else { "2e7d32" };
        let mut body = json!({
            "@context": "http://schema.org/extensions", "type": "MessageCard",
            "title": cut_json(&text(&s.title)?, TEAMS_TITLE), "summary": cut_json(&text(&s.summary)?, TEAMS_TITLE),
            "text": "", "themeColor": color,
        });
        body["text"] = cut_json(&text(&s.text)?, TEAMS_MESSAGE.saturating_sub(body.to_string().len())).into();
        let request = json_request(httpc::Method::POST, &url, &body, &[])?;
        let answer = self.http.exchange(request).await?;
        // Connectors say 200 and tell of a limit in the text.
        if answer.status < 300 && answer.body.contains("429") {
            return Err(Failure { status: Some(429), ..Failure::transient("Teams: too many requests") });
        }
        answer.judge()
    }
}

impl Msteamsv2 {
    async fn run(&self, n: &Notification) -> Attempt {
        let (s, text) = (&self.section, |t: &str| self.renderer.text(t, &n.data));
        let url = url_of(&s.webhook_url, &s.webhook_url_file).await?;
        let color = if n.data.status == "firing" { "Attention" } else { "Good" };
        let mut body = json!({
            "type": "message",
            "attachments": [{
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": null,
                "content": {
                    "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                    "type": "AdaptiveCard",
                    "version": "1.2",
                    "body": [
                        { "type": "TextBlock", "text": cut_json(&text(&s.title)?, TEAMS_TITLE), "weight": "Bolder", "size": "Medium",
                          "wrap": true, "style": "heading", "color": color },
                        { "type": "TextBlock", "text": "", "wrap": true },
                    ],
                    "msteams": { "width": "Full" },
                },
            }],
        });
        let left = TEAMS_MESSAGE.saturating_sub(body.to_string().len());
        body["attachments"][0]["content"]["body"][1]["text"] = cut_json(&text(&s.text)?, left).into();
        self.http.post_json(&url, &body, &[]).await
    }
}

impl Webex {
    async fn run(&self, n: &Notification) -> Attempt {
        let (s, text) = (&self.section, |t: &str| self.renderer.text(t, &n.data));
        let url = s.api_url.as_ref().map_or("", |url| url.as_str());
        let body =
            json!({ "markdown": cut_bytes(&text(&s.message)?, WEBEX_TEXT), "roomId": text(&s.room_id)? });
        self.http.post_json(url, &body, &[]).await
    }
}

impl Googlechat {
    async fn run(&self, n: &Notification) -> Attempt {
        let s = &self.section;
        let mut url = url_of(&s.webhook_url, &s.webhook_url_file).await?;
        let text = cut_bytes(&self.renderer.text(&s.message, &n.data)?, GOOGLECHAT_TEXT);
        let mut body = json!({ "text": text });
        if s.threaded {
            body["thread"] = json!({ "threadKey": n.hash() });
            url.push(if url.contains('?') { '&' } else { '?' });
            url.push_str("messageReplyOption=REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD");
        }
        self.http.post_json(&url, &body, &[]).await
    }
}
