//! What a report says happened: the types of Network Error Logging and of our agents, as a dotted tree.
//!
//! Source: W3C Network Error Logging, section "Predefined network error types", and the further types that Chromium sends.
//! A leaf that is not known is kept under its nearest known parent, so that a new browser loses nothing.

/// Where in a request's life it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Name resolution.
    Dns,
    /// Transport and TLS.
    Connection,
    /// Request and response.
    Application,
}

impl Phase {
    /// The word of the report's field `phase`.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "dns" => Self::Dns,
            "connection" => Self::Connection,
            "application" => Self::Application,
            _ => return None,
        })
    }

    /// The word of the report's field `phase`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Connection => "connection",
            Self::Application => "application",
        }
    }
}

/// Types that are counted and judged together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Group {
    /// The request succeeded.
    Ok,
    /// The name was not resolved.
    Dns,
    /// The policy came from another address than the report: a signal of its own, neither success nor failure.
    AddressChanged,
    /// No connection, or one that broke.
    Tcp,
    /// No TLS session for another reason than the certificate.
    Tls,
    /// The certificate was refused.
    Certificate,
    /// HTTP/2 or HTTP/3 itself failed.
    Protocol,
    /// A response that could not be read.
    Response,
    /// Status 5xx.
    ServerError,
    /// Status 4xx: shown apart, an attempt that reached the service.
    ClientError,
    /// An agent saw that the service could not be reached and cannot know why.
    Unreachable,
    /// An agent's own time limit passed.
    Timeout,
    /// The user went away: not counted.
    Abandoned,
    /// The client's own network was down: not counted.
    Local,
}

impl Group {
    /// Every group, in the order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::Ok,
        Self::Dns,
        Self::AddressChanged,
        Self::Tcp,
        Self::Tls,
        Self::Certificate,
        Self::Protocol,
        Self::Response,
        Self::ServerError,
        Self::ClientError,
        Self::Unreachable,
        Self::Timeout,
        Self::Abandoned,
        Self::Local,
    ];

    /// The value of the label `group`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Dns => "dns",
            Self::AddressChanged => "address_changed",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Certificate => "certificate",
            Self::Protocol => "protocol",
            Self::Response => "response",
            Self::ServerError => "server_error",
            Self::ClientError => "client_error",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Abandoned => "abandoned",
            Self::Local => "local",
        }
    }

    /// Whether it counts as a failure of the service or of the way to it.
    pub fn is_failure(self) -> bool {
        !matches!(self, Self::Ok | Self::AddressChanged | Self::ClientError | Self::Abandoned | Self::Local)
    }

    /// Whether it counts as an attempt: the denominator of the error rate.
    pub fn is_attempt(self) -> bool {
        self.is_failure() || matches!(self, Self::Ok | Self::ClientError)
    }
}

/// A known type: an index into [`CLASSES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Class(pub u8);

/// Type name, phase, group; sorted by name. The two `http.error` entries are told apart by the status.
pub const CLASSES: &[(&str, Phase, Group)] = &[
    ("abandoned", Phase::Application, Group::Abandoned),
    ("agent.local", Phase::Connection, Group::Local),
    ("agent.resource", Phase::Connection, Group::Unreachable),
    ("agent.timeout", Phase::Application, Group::Timeout),
    ("agent.truncated", Phase::Application, Group::Response),
    ("agent.unreachable", Phase::Connection, Group::Unreachable),
    ("dns", Phase::Dns, Group::Dns),
    ("dns.address_changed", Phase::Dns, Group::AddressChanged),
    ("dns.failed", Phase::Dns, Group::Dns),
    ("dns.name_not_resolved", Phase::Dns, Group::Dns),
    ("dns.protocol", Phase::Dns, Group::Dns),
    ("dns.server", Phase::Dns, Group::Dns),
    ("dns.unreachable", Phase::Dns, Group::Dns),
    ("h2", Phase::Connection, Group::Protocol),
    ("h2.ping_failed", Phase::Connection, Group::Protocol),
    ("h2.protocol.error", Phase::Connection, Group::Protocol),
    ("h3", Phase::Connection, Group::Protocol),
    ("h3.protocol.error", Phase::Connection, Group::Protocol),
    ("http", Phase::Application, Group::Response),
    ("http.error.4xx", Phase::Application, Group::ClientError),
    ("http.error.5xx", Phase::Application, Group::ServerError),
    ("http.failed", Phase::Application, Group::Response),
    ("http.protocol.error", Phase::Application, Group::Response),
    ("http.request.range_not_satisfiable", Phase::Application, Group::ClientError),
    ("http.response.headers", Phase::Application, Group::Response),
    ("http.response.invalid", Phase::Application, Group::Response),
    ("http.response.invalid.content_length_mismatch", Phase::Application, Group::Response),
    ("http.response.invalid.empty", Phase::Application, Group::Response),
    ("http.response.invalid.incomplete_chunked_encoding", Phase::Application, Group::Response),
    ("http.response.invalid.invalid_chunked_encoding", Phase::Application, Group::Response),
    ("http.response.redirect_loop", Phase::Application, Group::Response),
    ("ok", Phase::Application, Group::Ok),
    ("tcp", Phase::Connection, Group::Tcp),
    ("tcp.aborted", Phase::Connection, Group::Tcp),
    ("tcp.address_invalid", Phase::Connection, Group::Tcp),
    ("tcp.address_unreachable", Phase::Connection, Group::Tcp),
    ("tcp.closed", Phase::Connection, Group::Tcp),
    ("tcp.failed", Phase::Connection, Group::Tcp),
    ("tcp.refused", Phase::Connection, Group::Tcp),
    ("tcp.reset", Phase::Connection, Group::Tcp),
    ("tcp.timed_out", Phase::Connection, Group::Tcp),
    ("tls", Phase::Connection, Group::Tls),
    ("tls.bad_client_auth_cert", Phase::Connection, Group::Tls),
    ("tls.cert", Phase::Connection, Group::Certificate),
    ("tls.cert.authority_invalid", Phase::Connection, Group::Certificate),
    ("tls.cert.date_invalid", Phase::Connection, Group::Certificate),
    ("tls.cert.invalid", Phase::Connection, Group::Certificate),
    ("tls.cert.name_invalid", Phase::Connection, Group::Certificate),
    ("tls.cert.pinned_key_not_in_cert_chain", Phase::Connection, Group::Certificate),
    ("tls.cert.revoked", Phase::Connection, Group::Certificate),
    ("tls.failed", Phase::Connection, Group::Tls),
    ("tls.protocol.error", Phase::Connection, Group::Tls),
    ("tls.unrecognized_name_alert", Phase::Connection, Group::Tls),
    ("tls.version_or_cipher_mismatch", Phase::Connection, Group::Tls),
    ("unknown", Phase::Application, Group::Local),
];

impl Class {
    /// The class named exactly so.
    pub fn named(name: &str) -> Option<Self> {
        CLASSES.binary_search_by(|(known, _, _)| (*known).cmp(name)).ok().map(|index| Self(index as u8))
    }

    /// The class of a report's `type` and `status_code`; `None` when not even its first word is known.
    ///
    /// `http.error` needs a status of 4xx or 5xx to be told apart; without one it counts as 5xx.
    pub fn of(kind: &str, status: u16) -> Option<Self> {
        if kind == "http.error" {
            return Self::named(if (400..500).contains(&status) {
                "http.error.4xx"
            } else {
                "http.error.5xx"
            });
        }
        let mut name = kind;
        loop {
            if let Some(class) = Self::named(name) {
                return Some(class);
            }
            (name, _) = name.rsplit_once('.')?;
        }
    }

    /// The type's name.
    pub fn name(self) -> &'static str {
        CLASSES[usize::from(self.0)].0
    }

    /// Where a request of this class failed.
    pub fn phase(self) -> Phase {
        CLASSES[usize::from(self.0)].1
    }

    /// What it is judged with.
    pub fn group(self) -> Group {
        CLASSES[usize::from(self.0)].2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_parents_come_with_their_children() {
        assert!(CLASSES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (name, _, _) in CLASSES {
            let class = Class::named(name).unwrap();
            assert_eq!(class.name(), *name);
        }
        assert!(Group::ALL.iter().enumerate().all(|(index, group)| *group as usize == index));
    }

    #[test]
    fn types_find_their_class() {
        let name = |kind, status| Class::of(kind, status).map(Class::name);
        assert_eq!(name("tcp.refused", 0), Some("tcp.refused"));
        assert_eq!(name("http.error", 404), Some("http.error.4xx"));
        assert_eq!(name("http.error", 503), Some("http.error.5xx"));
        assert_eq!(name("tls.cert.from_the_future", 0), Some("tls.cert"));
        assert_eq!(name("http.response.headers.truncated", 0), Some("http.response.headers"));
        assert_eq!(name("quic.odd", 0), None);
        assert_eq!(name("", 0), None);
    }
}
