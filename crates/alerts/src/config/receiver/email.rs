//! E-mail.

use std::collections::BTreeMap;
use std::path::PathBuf;

use httpc::{Secret, TlsConfig};

use super::{Check, Global, Http, Section, must, named, section, set};
use crate::config::value::HostPort;

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
