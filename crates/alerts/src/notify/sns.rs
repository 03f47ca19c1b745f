//! Amazon SNS, signed with AWS Signature Version 4.
//!
//! Keys come from the section or from `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`; profiles
//! and roles are not supported and refused when the configuration is loaded. Source: the AWS manual, "Signature
//! Version 4 signing process" and "Publish" of the SNS API reference.

use std::time::Duration;

use httpc::sigv4::{Credentials, sign};
use httpc::{Method, Url};
use model::seam::BoxFuture;

use super::http::{Http, form, request};
use super::{Attempt, Failure, Sender, cut_bytes};
use crate::config::receiver;
use crate::error::Error;
use crate::message::Notification;
use crate::render::Renderer;

/// An SMS is cut here, in bytes.
const SMS_BYTES: usize = 1600;
/// Any other message is cut here, in bytes.
const MESSAGE_BYTES: usize = 256 << 10;
/// Subjects are refused when they are not shorter, in characters.
const SUBJECT_CHARS: usize = 100;

const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// `sns_configs`.
pub struct Sns {
    section: receiver::Sns,
    http: Http,
    renderer: Renderer,
}

impl Sns {
    /// From its section.
    pub(super) fn new(section: &receiver::Sns, renderer: &Renderer) -> Result<Self, Error> {
        if !section.sigv4.profile.is_empty() || !section.sigv4.role_arn.is_empty() {
            let reason =
                "sns_configs: sigv4 profile and role_arn are not supported; set access_key and secret_key";
            return Err(Error::config(reason));
        }
        let http = Http::new(&section.http_config, Duration::ZERO)?;
        Ok(Self { section: section.clone(), http, renderer: renderer.clone() })
    }

    async fn run(&self, n: &Notification) -> Attempt {
        let (s, text) = (&self.section, |t: &str| self.renderer.text(t, &n.data));
        let env = |name| std::env::var(name).unwrap_or_default();
        let api_url = text(&s.api_url)?;
        let mut region = s.sigv4.region.clone();
        if region.is_empty() {
            // `sns.<region>.amazonaws.com`
            let host = Url::parse(&api_url).ok().and_then(|url| url.host_str().map(str::to_owned));
            region = host
                .and_then(|host| host.strip_prefix("sns.")?.split('.').next().map(str::to_owned))
                .unwrap_or_default();
        }
        if region.is_empty() {
            region = env("AWS_REGION");
        }
        if region.is_empty() {
            return Err(Failure::permanent(
                "no region: set sigv4.region, an api_url with one, or AWS_REGION",
            ));
        }
        let url = if api_url.is_empty() { format!("https://sns.{region}.amazonaws.com/") } else { api_url };
        let (access, secret, session) = match s.sigv4.access_key.as_str() {
            "" => (env("AWS_ACCESS_KEY_ID"), env("AWS_SECRET_ACCESS_KEY"), env("AWS_SESSION_TOKEN")),
            key => (key.to_owned(), s.sigv4.secret_key.expose().to_owned(), String::new()),
        };
        if access.is_empty() || secret.is_empty() {
            return Err(Failure::permanent(
                "no AWS keys: set sigv4.access_key and secret_key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            ));
        }
        let (topic, target, phone) = (text(&s.topic_arn)?, text(&s.target_arn)?, text(&s.phone_number)?);
        let full = text(&s.message)?;
        let limit = if phone.is_empty() { MESSAGE_BYTES } else { SMS_BYTES };
        let message = cut_bytes(&full, limit);
        let message = if message.trim().is_empty() { "(no details)".to_owned() } else { message };
        let mut subject = text(&s.subject)?.replace(char::is_control, " ");
        if subject.chars().count() >= SUBJECT_CHARS {
            // Not an ellipsis: subjects go into mail headers.
            subject = subject.chars().take(SUBJECT_CHARS - 4).chain("...".chars()).collect();
        }
        let mut attributes: Vec<(String, String)> = vec![];
        for (name, value) in &s.attributes {
            attributes.push((text(name)?, text(value)?));
        }
        if message.len() < full.len() {
            attributes.push(("truncated".into(), "true".into()));
        }
        let (hash, id) = (n.hash(), n.id.clone());
        let mut pairs: Vec<(String, String)> =
            vec![("Action".into(), "Publish".into()), ("Version".into(), "2010-03-31".into())];
        for (name, value) in [
            ("TopicArn", &topic),
            ("TargetArn", &target),
            ("PhoneNumber", &phone),
            ("Subject", &subject),
            ("Message", &message),
        ] {
            if !value.is_empty() {
                pairs.push((name.into(), value.clone()));
            }
        }
        if topic.ends_with(".fifo") {
            pairs.push(("MessageGroupId".into(), hash));
            pairs.push(("MessageDeduplicationId".into(), id));
        }
        for (at, (name, value)) in attributes.iter().enumerate() {
            let entry = format!("MessageAttributes.entry.{}", at + 1);
            pairs.push((format!("{entry}.Name"), name.clone()));
            pairs.push((format!("{entry}.Value.DataType"), "String".into()));
            pairs.push((format!("{entry}.Value.StringValue"), value.clone()));
        }
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let body = form(&pairs);
        let credentials = Credentials {
            access_key: access,
            secret_key: httpc::Secret::new(&secret),
            session_token: httpc::Secret::new(&session),
        };
        let request = request(Method::POST, &url, FORM, body, &[])?;
        let signed = sign(request, &credentials, &region, "sns", n.now.ms() / 1000);
        let signed = signed.map_err(|err| Failure::permanent(format!("sns_configs: {}", err.chain())))?;
        self.http.send(signed).await
    }
}

impl Sender for Sns {
    fn send<'a>(&'a self, notification: &'a Notification) -> BoxFuture<'a, Attempt> {
        Box::pin(self.run(notification))
    }
}
