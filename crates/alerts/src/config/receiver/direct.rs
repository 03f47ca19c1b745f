//! What is told without a service of people in between: webhooks, SNS, Twilio, ntfy, SNMP traps, programs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use httpc::Secret;

use super::{Check, Global, Http, Section, must, named, section, set};
use crate::config::value::{GoDuration, HostPort, HttpUrl, SecretUrl};

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
