//! E-mail by SMTP: STARTTLS, TLS from the first byte or none; PLAIN and LOGIN; text and HTML.
//!
//! Passwords cross the wire only under TLS or to this machine. CRAM-MD5 (`auth_secret`) is not spoken.

use std::path::Path;
use std::time::Duration;

use httpc::TlsConfig;
use lettre::address::Envelope;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Mailboxes, MultiPart, SinglePart};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use model::seam::BoxFuture;

use super::{Attempt, Delivered, Failure, Sender, secret};
use crate::config::receiver;
use crate::error::Error;
use crate::message::Notification;
use crate::render::Renderer;

/// A step of the SMTP dialogue takes no longer.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);

/// `email_configs`.
pub struct Email {
    section: receiver::Email,
    port: u16,
    renderer: Renderer,
}

impl Email {
    /// From its section.
    pub(super) fn new(section: &receiver::Email, renderer: &Renderer) -> Result<Self, Error> {
        let port = match section.smarthost.port.as_str() {
            "smtp" => 25,
            "submission" => 587,
            "smtps" | "submissions" => 465,
            number => number
                .parse()
                .map_err(|_| Error::config(format!("smarthost: {number:?} is no port number")))?,
        };
        let tls = section.tls_config.clone().unwrap_or_default();
        let client_certificate = !tls.cert.is_empty() || !tls.cert_file.as_os_str().is_empty();
        if client_certificate {
            return Err(Error::config("email tls_config: client certificates are not supported for SMTP"));
        }
        Ok(Self { section: section.clone(), port, renderer: renderer.clone() })
    }

    fn implicit_tls(&self) -> bool {
        self.section.force_implicit_tls.unwrap_or(self.port == 465)
    }

    async fn transport(&self) -> Result<AsyncSmtpTransport<Tokio1Executor>, Failure> {
        let section = &self.section;
        let host = &section.smarthost.host;
        let tls_config = section.tls_config.clone().unwrap_or_default();
        let (tls, encrypted) = if self.implicit_tls() {
            (Tls::Wrapper(tls_parameters(&tls_config, host).await?), true)
        } else if section.require_tls.unwrap_or(true) {
            (Tls::Required(tls_parameters(&tls_config, host).await?), true)
        } else {
            (Tls::None, false)
        };
        let hello = if section.hello.is_empty() { "localhost" } else { &section.hello };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(self.port)
            .tls(tls)
            .hello_name(ClientId::Domain(hello.to_owned()))
            .timeout(Some(STEP_TIMEOUT));
        if !section.auth_username.is_empty() {
            let password = secret(&section.auth_password, &section.auth_password_file).await?;
            if password.is_empty() {
                return Err(Failure::permanent(
                    "auth_username is set without auth_password; CRAM-MD5 (auth_secret) is not supported",
                ));
            }
            let local = matches!(host.as_str(), "localhost" | "127.0.0.1" | "::1");
            if !encrypted && !local {
                return Err(Failure::permanent(format!(
                    "the password is not sent to {host} without TLS; set require_tls: true"
                )));
            }
            let user = section.auth_username.clone();
            builder = builder
                .credentials(Credentials::new(user, password))
                .authentication(vec![Mechanism::Plain, Mechanism::Login]);
        }
        Ok(builder.build())
    }

    fn message(&self, notification: &Notification) -> Result<(Envelope, Vec<u8>), Failure> {
        let (section, data) = (&self.section, &notification.data);
        let text = |setting: &str| self.renderer.text(setting, data);
        let mut headers = section.headers.clone();
        let from = text(&section.from)?;
        let to = text(&section.to)?;
        let bad =
            |what: &str, text: &str| Failure::permanent(format!("{what} {text:?} is no e-mail address"));
        let sender: Mailbox = from.parse().map_err(|_| bad("from", &from))?;
        let receivers: Mailboxes = to.parse().map_err(|_| bad("to", &to))?;
        let addresses = receivers.iter().map(|mailbox| mailbox.email.clone()).collect();
        let envelope = Envelope::new(Some(sender.email.clone()), addresses)
            .map_err(|err| Failure::permanent(format!("to {to:?}: {err}")))?;
        let subject = text(
            &headers
                .remove("Subject")
                .unwrap_or_else(|| r#"{{ template "email.default.subject" . }}"#.into()),
        )?;
        let date = std::time::UNIX_EPOCH + Duration::from_millis(notification.now.ms().max(0) as u64);
        // The same id for a repeat after a crash: mail systems drop the second copy.
        let domain = sender.email.domain().to_owned();
        let mut builder = Message::builder()
            .message_id(Some(format!("<{}@{domain}>", notification.id)))
            .date(date)
            .subject(subject.replace(['\r', '\n'], " "));
        let header_from = headers.remove("From").map(|from| text(&from)).transpose()?;
        builder = match header_from {
            Some(shown) => builder.from(shown.parse().map_err(|_| bad("header From", &shown))?),
            None => builder.from(sender),
        };
        let shown_to = match headers.remove("To") {
            Some(shown) => {
                let shown = text(&shown)?;
                shown.parse::<Mailboxes>().map_err(|_| bad("header To", &shown))?
            }
            None => receivers,
        };
        for mailbox in shown_to {
            builder = builder.to(mailbox);
        }
        if section.threading.enabled {
            let day = match section.threading.thread_by_date.as_str() {
                "daily" => format!("-{}", rfc3339_day(notification)),
                _ => String::new(),
            };
            let thread = format!("<alert-{}{day}@{domain}>", notification.hash());
            for name in ["References", "In-Reply-To"] {
                headers.insert(name.to_owned(), thread.clone());
            }
        }
        for (name, value) in &headers {
            let value = text(value)?;
            let name = HeaderName::new_from_ascii(name.clone())
                .map_err(|_| Failure::permanent(format!("{name:?} is no header name")))?;
            builder = builder.raw_header(HeaderValue::new(name, value.replace(['\r', '\n'], " ")));
        }
        let html =
            if section.html.is_empty() { None } else { Some(self.renderer.html(&section.html, data)?) };
        let plain = if section.text.is_empty() { None } else { Some(text(&section.text)?) };
        let part = |kind: ContentType, body: String| SinglePart::builder().header(kind).body(body);
        // The last part is the preferred one.
        let parts = [
            plain.map(|body| part(ContentType::TEXT_PLAIN, body)),
            html.map(|body| part(ContentType::TEXT_HTML, body)),
        ];
        let mut multipart = MultiPart::alternative().build();
        for part in parts.into_iter().flatten() {
            multipart = multipart.singlepart(part);
        }
        let message = builder
            .envelope(envelope.clone())
            .multipart(multipart)
            .map_err(|err| Failure::permanent(format!("cannot build the message: {err}")))?;
        Ok((envelope, message.formatted()))
    }
}

fn rfc3339_day(notification: &Notification) -> String {
    crate::message::rfc3339(notification.now).chars().take(10).collect()
}

async fn tls_parameters(config: &TlsConfig, host: &str) -> Result<TlsParameters, Failure> {
    let name = if config.server_name.is_empty() { host } else { &config.server_name };
    let mut builder = TlsParameters::builder(name.to_owned())
        .dangerous_accept_invalid_certs(config.insecure_skip_verify)
        .dangerous_accept_invalid_hostnames(config.insecure_skip_verify);
    let given = !config.ca.is_empty() || config.ca_file != Path::new("");
    if given {
        let pem = secret(&config.ca, &config.ca_file).await?;
        for part in pem.split_inclusive("-----END CERTIFICATE-----") {
            if !part.contains("-----BEGIN CERTIFICATE-----") {
                continue;
            }
            let certificate = Certificate::from_pem(part.as_bytes())
                .map_err(|err| Failure::permanent(format!("tls_config ca: {err}")))?;
            builder = builder.add_root_certificate(certificate);
        }
    }
    builder.build().map_err(|err| Failure::permanent(format!("tls_config: {err}")))
}

impl Sender for Email {
    fn send<'a>(&'a self, notification: &'a Notification) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            let (envelope, message) = self.message(notification)?;
            let transport = self.transport().await?;
            match transport.send_raw(&envelope, &message).await {
                Ok(response) => {
                    let lines: Vec<&str> = response.message().collect();
                    Ok(Delivered { status: None, answer: format!("{} {}", response.code(), lines.join(" ")) })
                }
                Err(err) => {
                    let status = err.status().and_then(|code| code.to_string().parse().ok());
                    let mut message = err.to_string();
                    let mut source = std::error::Error::source(&err);
                    while let Some(cause) = source {
                        message = format!("{message}: {cause}");
                        source = cause.source();
                    }
                    // 5yz says that the same message will be refused again (RFC 5321 §4.2.1).
                    Err(Failure { retry: !err.is_permanent(), after: None, status, message })
                }
            }
        })
    }
}
