//! Amazon SNS, signed with AWS Signature Version 4.
//!
//! Keys come from the section or from `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`; profiles
//! and roles are not supported and refused when the configuration is loaded. Source: the AWS manual, "Signature
//! Version 4 signing process" and "Publish" of the SNS API reference.

use std::time::Duration;

use httpc::{Method, Url};
use model::seam::BoxFuture;
use ring::{digest, hmac};

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
        let parsed = Url::parse(&url).map_err(|err| Failure::permanent(format!("api_url: {err}")))?;
        let at = jiff::Timestamp::from_millisecond(n.now.ms()).unwrap_or_default();
        let date = at.strftime("%Y%m%dT%H%M%SZ").to_string();
        let signature = sign(&Signing {
            method: "POST",
            url: &parsed,
            headers: &[("content-type", FORM), ("x-amz-date", &date), ("x-amz-security-token", &session)],
            body: &body,
            region: &region,
            service: "sns",
            access: &access,
            secret: &secret,
            date: &date,
        });
        let mut headers = vec![("x-amz-date", date.as_str()), ("authorization", signature.as_str())];
        if !session.is_empty() {
            headers.push(("x-amz-security-token", session.as_str()));
        }
        self.http.send(request(Method::POST, &url, FORM, body, &headers)?).await
    }
}

impl Sender for Sns {
    fn send<'a>(&'a self, notification: &'a Notification) -> BoxFuture<'a, Attempt> {
        Box::pin(self.run(notification))
    }
}

struct Signing<'a> {
    method: &'a str,
    url: &'a Url,
    /// In lower case; those with an empty value are not signed.
    headers: &'a [(&'a str, &'a str)],
    body: &'a [u8],
    region: &'a str,
    service: &'a str,
    access: &'a str,
    secret: &'a str,
    /// `YYYYMMDDTHHMMSSZ`
    date: &'a str,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The header `Authorization`.
fn sign(request: &Signing<'_>) -> String {
    let host = request.url.host_str().unwrap_or_default();
    let host = request.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let mut headers: Vec<(&str, &str)> =
        request.headers.iter().copied().filter(|(_, v)| !v.is_empty()).collect();
    headers.push(("host", &host));
    headers.sort_unstable();
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let sha256 = |bytes: &[u8]| hex(digest::digest(&digest::SHA256, bytes).as_ref());
    let canonical = format!(
        "{}\n{}\n{}\n{lines}\n{names}\n{}",
        request.method,
        request.url.path(),
        request.url.query().unwrap_or_default(),
        sha256(request.body)
    );
    let day = request.date.get(..8).unwrap_or_default();
    let scope = format!("{day}/{}/{}/aws4_request", request.region, request.service);
    let text = format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{}", request.date, sha256(canonical.as_bytes()));
    let mac = |key: &[u8], text: &str| {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
    };
    let first = format!("AWS4{}", request.secret);
    let key = [day, request.region, request.service, "aws4_request"]
        .iter()
        .fold(first.into_bytes(), |key, part| mac(&key, part));
    format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={}",
        request.access,
        hex(&mac(&key, &text))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the AWS manual: "get-vanilla" of the published test suite's parameters.
    #[test]
    fn signs_as_the_manual() {
        let url = Url::parse("https://example.amazonaws.com/").unwrap();
        let signature = sign(&Signing {
            method: "GET",
            url: &url,
            headers: &[("x-amz-date", "20150830T123600Z")],
            body: b"",
            region: "us-east-1",
            service: "service",
            access: "AKIDEXAMPLE",
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            date: "20150830T123600Z",
        });
        let wanted = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
        assert!(signature.ends_with(wanted), "{signature}");
    }
}
