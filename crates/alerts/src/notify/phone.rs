//! Messages to phones: Telegram, Pushover, Twilio (SMS and calls), ntfy, WeChat.
//!
//! Source: each service's public API reference.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use httpc::Method;
use serde_json::{Map, Value, json};

use super::cut::{cut_html, cut_utf16};
use super::http::{Http, form, request};
use super::{Attempt, Failure, Sender, cut_chars, secret, sender, set};
use crate::config::receiver;
use crate::error::Error;
use crate::message::Notification;
use crate::render::Renderer;

sender!(Telegram, receiver::Telegram, timeout);
sender!(Pushover, receiver::Pushover);
sender!(Twilio, receiver::Twilio);
sender!(Ntfy, receiver::Ntfy);

/// Telegram refuses more, in UTF-16 units.
const TELEGRAM_TEXT: usize = 4096;
/// Pushover refuses more, in characters.
const PUSHOVER_TITLE: usize = 250;
const PUSHOVER_MESSAGE: usize = 1024;
const PUSHOVER_URL: usize = 512;
const PUSHOVER_URL_TITLE: usize = 100;
/// Twilio refuses more, in characters.
const TWILIO_TEXT: usize = 1600;
/// A call reads no more aloud, in characters.
const VOICE_TEXT: usize = 500;
/// ntfy makes a file of more, in bytes.
const NTFY_TEXT: usize = 4096;
/// WeChat refuses more, in bytes.
const WECHAT_TEXT: usize = 2048;
/// WeChat is busy, has had too many messages, or too many requests at once: another attempt may help.
const WECHAT_BUSY: [i64; 3] = [-1, 45009, 45033];

const PUSHOVER_URL_API: &str = "https://api.pushover.net/1/messages.json";
const FORM: &str = "application/x-www-form-urlencoded";

impl Telegram {
    async fn run(&self, n: &Notification) -> Attempt {
        let s = &self.section;
        let token = secret(&s.bot_token, &s.bot_token_file).await?;
        let chat = match s.chat_id {
            0 => secret(&httpc::Secret::default(), &s.chat_id_file)
                .await?
                .parse()
                .map_err(|_| Failure::permanent("chat_id_file does not hold a whole number"))?,
            id => id,
        };
        let html = s.parse_mode == "HTML";
        let (whole, text) = if html {
            let whole = self.renderer.html(&s.message, &n.data)?;
            let text = cut_html(&whole, TELEGRAM_TEXT);
            (whole, text)
        } else {
            let whole = self.renderer.text(&s.message, &n.data)?;
            let text = cut_utf16(&whole, TELEGRAM_TEXT);
            (whole, text)
        };
        let mut body = json!({
            "chat_id": chat, "text": text,
            "disable_notification": s.disable_notifications, "link_preview_options": { "is_disabled": true },
        });
        // Markdown that was cut may end inside bold text or a link, which is refused: it goes as it stands.
        if !s.parse_mode.is_empty() && (html || whole == text) {
            body["parse_mode"] = s.parse_mode.as_str().into();
        }
        if s.message_thread_id != 0 {
            body["message_thread_id"] = s.message_thread_id.into();
        }
        let base = s.api_url.as_ref().map_or("", |url| url.trimmed());
        self.http.post_json(&format!("{base}/bot{token}/sendMessage"), &body, &[]).await
    }
}

impl Pushover {
    async fn run(&self, n: &Notification) -> Attempt {
        let (s, text) = (&self.section, |t: &str| self.renderer.text(t, &n.data));
        let user = text(&secret(&s.user_key, &s.user_key_file).await?)?;
        let token = text(&secret(&s.token, &s.token_file).await?)?;
        let message = match s.html {
            true => cut_html(self.renderer.html(&s.message, &n.data)?.trim(), PUSHOVER_MESSAGE),
            false => cut_chars(text(&s.message)?.trim(), PUSHOVER_MESSAGE),
        };
        let title = cut_chars(&text(&s.title)?, PUSHOVER_TITLE);
        let url = cut_chars(&text(&s.url)?, PUSHOVER_URL);
        let url_title = cut_chars(&text(&s.url_title)?, PUSHOVER_URL_TITLE);
        let priority = text(&s.priority)?;
        let (device, sound) = (text(&s.device)?, text(&s.sound)?);
        let seconds = |span: crate::config::value::GoDuration| (span.ms / 1000).to_string();
        let (retry, expire, ttl) = (seconds(s.retry), seconds(s.expire), seconds(s.ttl));
        let mut pairs = vec![
            ("token", token.as_str()),
            ("user", user.as_str()),
            ("title", title.as_str()),
            // The service wants some text.
            ("message", if message.is_empty() { "(no details)" } else { &message }),
            ("priority", priority.as_str()),
            ("retry", retry.as_str()),
            ("expire", expire.as_str()),
        ];
        let optional = [
            ("url", url.as_str()),
            ("url_title", url_title.as_str()),
            ("device", device.as_str()),
            ("sound", sound.as_str()),
            ("html", if s.html { "1" } else { "" }),
            ("monospace", if s.monospace { "1" } else { "" }),
            ("ttl", if s.ttl.ms > 0 { &ttl } else { "" }),
        ];
        pairs.extend(optional.into_iter().filter(|(_, value)| !value.is_empty()));
        self.http.send(request(Method::POST, PUSHOVER_URL_API, FORM, form(&pairs), &[])?).await
    }
}

impl Twilio {
    async fn run(&self, n: &Notification) -> Attempt {
        let s = &self.section;
        let token = secret(&s.auth_token, &s.auth_token_file).await?;
        let base = s.api_url.as_ref().map_or("", |url| url.trimmed());
        let text = self.renderer.text(&s.message, &n.data)?;
        let (what, name, text) = if s.voice {
            let said = template::escape_html(&cut_chars(text.trim(), VOICE_TEXT));
            ("Calls", "Twiml", format!("<Response><Say loop=\"2\">{said}</Say></Response>"))
        } else {
            ("Messages", "Body", cut_chars(text.trim(), TWILIO_TEXT))
        };
        let url = format!("{base}/2010-04-01/Accounts/{}/{what}.json", s.account_sid);
        let authorization =
            format!("Basic {}", super::base64(format!("{}:{token}", s.account_sid).as_bytes()));
        let headers = [("Authorization", authorization.as_str())];
        let mut last = super::Delivered::default();
        // A number that failed has its message again with all others: a duplicate beats silence.
        for to in &s.to {
            let body = form(&[("From", &s.from), ("To", to), (name, &text)]);
            last = self.http.send(request(Method::POST, &url, FORM, body, &headers)?).await?;
        }
        Ok(last)
    }
}

impl Ntfy {
    async fn run(&self, n: &Notification) -> Attempt {
        let (s, text) = (&self.section, |t: &str| self.renderer.text(t, &n.data));
        let url = s.url.as_ref().map_or("", |url| url.as_str());
        let priority = text(&s.priority)?;
        let priority: i64 = priority
            .trim()
            .parse()
            .ok()
            .filter(|priority| (1..=5).contains(priority))
            .ok_or_else(|| Failure::permanent(format!("priority {priority:?} is not 1 to 5")))?;
        let tags = text(&s.tags)?;
        let tags: Vec<&str> = tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).collect();
        let mut body = Map::new();
        set(&mut body, "topic", text(&s.topic)?);
        set(&mut body, "title", text(&s.title)?);
        set(&mut body, "message", super::cut_bytes(&text(&s.message)?, NTFY_TEXT));
        set(&mut body, "click", text(&s.click)?);
        body.insert("priority".into(), priority.into());
        if !tags.is_empty() {
            body.insert("tags".into(), json!(tags));
        }
        self.http.post_json(url, &body.into(), &[]).await
    }
}

/// `wechat_configs`; keeps its access token.
pub struct Wechat {
    section: receiver::Wechat,
    http: Http,
    renderer: Renderer,
    token: Mutex<Option<String>>,
}

impl Wechat {
    /// From its section.
    pub(super) fn new(section: &receiver::Wechat, renderer: &Renderer) -> Result<Self, Error> {
        let http = Http::new(&section.http_config, Duration::ZERO)?;
        Ok(Self { section: section.clone(), http, renderer: renderer.clone(), token: Mutex::default() })
    }

    async fn token(&self, base: &str) -> Result<String, Failure> {
        let kept = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(token) = kept {
            return Ok(token);
        }
        let s = &self.section;
        let key = secret(&s.api_secret, &s.api_secret_file).await?;
        let pairs = form(&[("corpid", &s.corp_id), ("corpsecret", &key)]);
        let url = format!("{base}/gettoken?{}", String::from_utf8_lossy(&pairs));
        let asked = request(Method::GET, &url, "application/json", vec![], &[])?;
        let answer = self.http.exchange(asked).await?.success()?;
        let body: Value = serde_json::from_str(&answer.body)
            .map_err(|_| Failure::transient("WeChat gave no token: its answer is not JSON"))?;
        let token = body["access_token"].as_str().filter(|token| !token.is_empty());
        let token = token
            .ok_or_else(|| {
                let message = format!("WeChat gave no token: {}", body["errmsg"]);
                match body["errcode"].as_i64() {
                    Some(code) if WECHAT_BUSY.contains(&code) => Failure::transient(message),
                    _ => Failure::permanent(message),
                }
            })?
            .to_owned();
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
        Ok(token)
    }

    async fn run(&self, n: &Notification) -> Attempt {
        let (s, text) = (&self.section, |t: &str| self.renderer.text(t, &n.data));
        let base = s.api_url.as_ref().map_or("", |url| url.trimmed());
        let token = self.token(base).await?;
        let mut body = Map::new();
        for (name, setting) in
            [("touser", &s.to_user), ("toparty", &s.to_party), ("totag", &s.to_tag), ("agentid", &s.agent_id)]
        {
            set(&mut body, name, text(setting)?);
        }
        body.insert("safe".into(), "0".into());
        body.insert("msgtype".into(), s.message_type.as_str().into());
        let content = super::cut_bytes(&text(&s.message)?, WECHAT_TEXT);
        body.insert(s.message_type.clone(), json!({ "content": content }));
        let url = format!("{base}/message/send?access_token={token}");
        let request = super::http::json(Method::POST, &url, &body.into(), &[])?;
        let answer = self.http.exchange(request).await?;
        if answer.status != 200 {
            return answer.judge();
        }
        let said: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        match said["errcode"].as_i64() {
            Some(0) => answer.judge(),
            // The token is invalid or has expired: another one with the next attempt.
            Some(40014 | 42001) => {
                *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
                Err(Failure::transient("WeChat's access token has expired"))
            }
            Some(code) if WECHAT_BUSY.contains(&code) => {
                Err(Failure::transient(format!("WeChat asks for patience: {}", answer.body)))
            }
            _ => Err(Failure::permanent(format!("WeChat refused: {}", answer.body))),
        }
    }
}

impl Sender for Wechat {
    fn send<'a>(&'a self, notification: &'a Notification) -> model::seam::BoxFuture<'a, Attempt> {
        Box::pin(self.run(notification))
    }
}
