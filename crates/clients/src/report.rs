//! An upload's bytes → reports that hold nothing but what may be kept.
//!
//! A hostile body costs no more than its size: what is not needed is skipped without being stored, however deep it is nested. Messages never repeat a word of the body.

use std::borrow::Cow;
use std::fmt;
use std::hash::Hasher;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use xxhash_rust::xxh3::Xxh3;

use crate::class::{Class, Phase};
use crate::origin;

/// Where a report comes from. Never added together: the same failure may be reported by both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Source {
    /// Network Error Logging of a browser.
    Nel,
    /// Our script in a page.
    Agent,
    /// Our library in an application.
    Native,
}

impl Source {
    /// Every source, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Nel, Self::Agent, Self::Native];

    /// The value of the label `source`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nel => "nel",
            Self::Agent => "agent",
            Self::Native => "native",
        }
    }
}

/// Protocols, by their number; the value of the cohort `protocol`.
pub const PROTOCOLS: [&str; 5] = ["", "http/1.1", "h2", "h3", "other"];

fn protocol(text: &str) -> u8 {
    match text {
        "" => 0,
        "http/1.1" | "http/1.0" | "http/0.9" => 1,
        "h2" | "h2c" => 2,
        text if text == "h3" || text.starts_with("h3-") => 3,
        _ => 4,
    }
}

/// Kinds of the Reporting API that are counted by kind and site alone.
pub const COUNTED: [&str; 12] = [
    "coep",
    "coop",
    "crash",
    "csp-hash",
    "csp-violation",
    "deprecation",
    "document-policy-violation",
    "integrity-violation",
    "intervention",
    "permissions-policy-violation",
    "potential-permissions-policy-violation",
    "connection-allowlist",
];

/// Why a report was not counted. [`Refused::as_str`] is the value of the metrics' label `reason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refused {
    /// The report is not an object with a body.
    Shape,
    /// `type` is of no kind that is known.
    Kind,
    /// `url` is no absolute `http(s)` URL.
    Url,
    /// `url` belongs to no origin of the site.
    Origin,
    /// The header `Origin` names another origin than the report's.
    Sender,
    /// `age` is no number from 0.
    Age,
    /// The event is older than accepted.
    TooOld,
    /// `phase` is no phase.
    Phase,
    /// `body.type` is of no type that is known.
    Type,
    /// `status_code`, `sampling_fraction` or `count` is out of range.
    Number,
    /// The same report has come before.
    Duplicate,
    /// This client has contributed enough for now.
    Contribution,
    /// The client is a program, and those are not counted.
    Automated,
    /// The client is in a data centre, and those are not counted.
    Datacenter,
    /// The upload holds more reports than accepted.
    TooMany,
}

impl Refused {
    /// Every reason, for metrics that start at 0.
    pub const ALL: [Self; 15] = [
        Self::Shape,
        Self::Kind,
        Self::Url,
        Self::Origin,
        Self::Sender,
        Self::Age,
        Self::TooOld,
        Self::Phase,
        Self::Type,
        Self::Number,
        Self::Duplicate,
        Self::Contribution,
        Self::Automated,
        Self::Datacenter,
        Self::TooMany,
    ];

    /// A word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shape => "shape",
            Self::Kind => "kind",
            Self::Url => "url",
            Self::Origin => "origin",
            Self::Sender => "sender",
            Self::Age => "age",
            Self::TooOld => "too_old",
            Self::Phase => "phase",
            Self::Type => "type",
            Self::Number => "number",
            Self::Duplicate => "duplicate",
            Self::Contribution => "contribution",
            Self::Automated => "automated",
            Self::Datacenter => "datacenter",
            Self::TooMany => "too_many",
        }
    }
}

/// What a report is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A request and what became of it.
    Network {
        /// Who saw it.
        source: Source,
        /// What happened.
        class: Class,
        /// An index into [`PROTOCOLS`].
        protocol: u8,
        /// How many requests it stands for in the client itself, at least 1.
        count: u32,
        /// The chance with which such a report is made, in (0, 1].
        fraction: f64,
        /// The address that was asked, when one is told.
        server: Option<std::net::IpAddr>,
    },
    /// One of [`COUNTED`], by its index.
    Counted(usize),
}

/// A report after everything that may not be kept was dropped.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Scheme, host and port that the request was for.
    pub origin: String,
    /// Milliseconds between the event and the upload.
    pub age_ms: i64,
    /// What it is about.
    pub kind: Kind,
    /// The browser family of the report's own user agent, when it names one.
    pub family: Option<u8>,
    /// A hash of the whole report but its age, keyed with `seed` of [`parse`]; lives in memory only.
    pub fingerprint: u64,
}

/// An upload that cannot be read at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// Not JSON, or nested too deeply: where, in bytes are not kept either, only line and column.
    NotJson {
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
    },
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::NotJson { line, column } = self;
        write!(
            f,
            "the body is no JSON array of reports (line {line}, column {column}); send what the Reporting API sends"
        )
    }
}

/// Reads an upload: an array of reports, or one report. `seed` keys the fingerprints. At most `limit` reports are read,
/// the others are [`Refused::TooMany`].
///
/// # Errors
/// When the body is no JSON. A report that cannot be used is an element, not an error.
pub fn parse(body: &[u8], seed: u64, limit: usize) -> Result<Vec<Result<Report, Refused>>, Unreadable> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let not_json = |err: serde_json::Error| Unreadable::NotJson { line: err.line(), column: err.column() };
    let upload = Upload { seed, limit };
    let reports = serde::de::DeserializeSeed::deserialize(upload, &mut deserializer).map_err(not_json)?;
    deserializer.end().map_err(not_json)?;
    Ok(reports)
}

struct Upload {
    seed: u64,
    limit: usize,
}

impl<'de> serde::de::DeserializeSeed<'de> for Upload {
    type Value = Vec<Result<Report, Refused>>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Upload {
    type Value = Vec<Result<Report, Refused>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of reports")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut out = Vec::with_capacity(seq.size_hint().unwrap_or(8).min(self.limit));
        while out.len() < self.limit {
            match seq.next_element::<Node<'_>>()? {
                Some(node) => out.push(node.finish(self.seed)),
                None => return Ok(out),
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {
            out.push(Err(Refused::TooMany));
        }
        Ok(out)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let node = Node::Object(Box::new(Envelope::read(map)?));
        Ok(vec![node.finish(self.seed)])
    }
}

/// A scalar of unknown type: what is neither text nor number reads as nothing.
#[derive(Debug, Default, Clone, PartialEq)]
enum Scalar<'a> {
    #[default]
    Nothing,
    Text(Cow<'a, str>),
    Number(f64),
}

impl<'a> Scalar<'a> {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            _ => "",
        }
    }

    /// The number, or `default` when the field is absent; `None` for anything else.
    fn number(&self, default: f64) -> Option<f64> {
        match self {
            Self::Nothing => Some(default),
            Self::Number(number) => Some(*number),
            Self::Text(_) => None,
        }
    }

    fn hash(&self, into: &mut Xxh3) {
        match self {
            Self::Nothing => into.write_u8(0),
            Self::Text(text) => {
                into.write(text.as_bytes());
                into.write_u8(0xff);
            }
            Self::Number(number) => into.write_u64(number.to_bits()),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any<'a>(std::marker::PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for Any<'a> {
            type Value = Scalar<'a>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_borrowed_str<E>(self, v: &'de str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Borrowed(v)))
            }
            fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Owned(v.to_owned())))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Self::Value, E> {
                Ok(Scalar::Number(v))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Self::Value, E> {
                Ok(Scalar::Number(v as f64))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Self::Value, E> {
                Ok(Scalar::Number(v as f64))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Scalar::Nothing)
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Scalar::Nothing)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Scalar::Nothing)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar::Nothing)
            }
        }
        deserializer.deserialize_any(Any(std::marker::PhantomData))
    }
}

/// An element of the upload.
enum Node<'a> {
    Object(Box<Envelope<'a>>),
    Other,
}

impl Node<'_> {
    fn finish(self, seed: u64) -> Result<Report, Refused> {
        match self {
            Node::Object(envelope) => envelope.finish(seed),
            Node::Other => Err(Refused::Shape),
        }
    }
}

/// Both `Node` and `Body` read an object or skip anything else.
macro_rules! object_or_other {
    ($name:ident, $inner:ident, $wrap:expr) => {
        impl<'de: 'a, 'a> Deserialize<'de> for $name<'a> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Any<'a>(std::marker::PhantomData<&'a ()>);
                impl<'de: 'a, 'a> Visitor<'de> for Any<'a> {
                    type Value = $name<'a>;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str("an object")
                    }
                    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
                        Ok($name::Other)
                    }
                    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                        Ok($name::Other)
                    }
                    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                        Ok($name::Other)
                    }
                    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                        Ok($name::Other)
                    }
                    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                        Ok($name::Other)
                    }
                    fn visit_unit<E>(self) -> Result<Self::Value, E> {
                        Ok($name::Other)
                    }
                    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                        while seq.next_element::<IgnoredAny>()?.is_some() {}
                        Ok($name::Other)
                    }
                    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                        Ok($name::Object($wrap($inner::read(map)?)))
                    }
                }
                deserializer.deserialize_any(Any(std::marker::PhantomData))
            }
        }
    };
}

object_or_other!(Node, Envelope, Box::new);
object_or_other!(Body, NetworkBody, std::convert::identity);

#[derive(Default)]
#[expect(clippy::large_enum_variant, reason = "one lives at a time, within a boxed envelope")]
enum Body<'a> {
    Object(NetworkBody<'a>),
    #[default]
    Other,
}

/// The envelope of the Reporting API.
#[derive(Default)]
struct Envelope<'a> {
    age: Scalar<'a>,
    kind: Scalar<'a>,
    url: Scalar<'a>,
    user_agent: Scalar<'a>,
    body: Body<'a>,
}

/// A report's body; everything is read only to be judged or hashed.
#[derive(Default)]
struct NetworkBody<'a> {
    phase: Scalar<'a>,
    kind: Scalar<'a>,
    status: Scalar<'a>,
    protocol: Scalar<'a>,
    fraction: Scalar<'a>,
    server: Scalar<'a>,
    count: Scalar<'a>,
    /// Told apart but never kept.
    elapsed: Scalar<'a>,
    method: Scalar<'a>,
}

impl<'a> Envelope<'a> {
    fn read<'de: 'a, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut out = Self::default();
        while let Some(key) = map.next_key::<Scalar<'de>>()? {
            match key.text() {
                "age" => out.age = map.next_value()?,
                "type" => out.kind = map.next_value()?,
                "url" => out.url = map.next_value()?,
                "user_agent" => out.user_agent = map.next_value()?,
                "body" => out.body = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(out)
    }

    fn finish(self, seed: u64) -> Result<Report, Refused> {
        let kind = self.kind.text();
        let source = match kind {
            "network-error" => Some(Source::Nel),
            "bellwether" => Some(Source::Agent),
            "bellwether-native" => Some(Source::Native),
            _ => None,
        };
        let counted = COUNTED.iter().position(|known| *known == kind);
        if source.is_none() && counted.is_none() {
            return Err(if kind.is_empty() { Refused::Shape } else { Refused::Kind });
        }
        let origin = origin::origin(self.url.text()).ok_or(Refused::Url)?;
        let age = self.age.number(0.0).filter(|age| (0.0..9e15).contains(age)).ok_or(Refused::Age)?;
        let mut hash = Xxh3::with_seed(seed);
        self.kind.hash(&mut hash);
        self.url.hash(&mut hash);
        let kind = match (source, &self.body) {
            (None, _) => Kind::Counted(counted.ok_or(Refused::Kind)?),
            (Some(_), Body::Other) => return Err(Refused::Shape),
            (Some(source), Body::Object(body)) => body.network(source, &mut hash)?,
        };
        let user_agent = self.user_agent.text();
        Ok(Report {
            origin,
            age_ms: age as i64,
            kind,
            family: (!user_agent.is_empty()).then(|| crate::browser::family(user_agent)),
            fingerprint: hash.finish(),
        })
    }
}

impl<'a> NetworkBody<'a> {
    fn read<'de: 'a, A: MapAccess<'de>>(mut map: A) -> Result<Self, A::Error> {
        let mut out = Self::default();
        while let Some(key) = map.next_key::<Scalar<'de>>()? {
            match key.text() {
                "phase" => out.phase = map.next_value()?,
                "type" => out.kind = map.next_value()?,
                "status_code" => out.status = map.next_value()?,
                "protocol" => out.protocol = map.next_value()?,
                "sampling_fraction" => out.fraction = map.next_value()?,
                "server_ip" => out.server = map.next_value()?,
                "count" => out.count = map.next_value()?,
                "elapsed_time" => out.elapsed = map.next_value()?,
                "method" => out.method = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(out)
    }

    fn network(&self, source: Source, hash: &mut Xxh3) -> Result<Kind, Refused> {
        for field in [
            &self.phase,
            &self.kind,
            &self.status,
            &self.protocol,
            &self.fraction,
            &self.server,
            &self.count,
            &self.elapsed,
            &self.method,
        ] {
            field.hash(hash);
        }
        // An agent need not say the phase; a browser always does.
        let phase = self.phase.text();
        if Phase::parse(phase).is_none() && !(phase.is_empty() && source != Source::Nel) {
            return Err(Refused::Phase);
        }
        let status = self.status.number(0.0).filter(|s| (0.0..1000.0).contains(s)).ok_or(Refused::Number)?;
        let class = Class::of(self.kind.text(), status as u16).ok_or(Refused::Type)?;
        let fraction = self.fraction.number(1.0).filter(|f| *f > 0.0 && *f <= 1.0).ok_or(Refused::Number)?;
        let count = self.count.number(1.0).filter(|c| (1.0..=10_000.0).contains(c)).ok_or(Refused::Number)?;
        Ok(Kind::Network {
            source,
            class,
            protocol: protocol(self.protocol.text()),
            // A browser reports one request at a time.
            count: if source == Source::Nel { 1 } else { count as u32 },
            fraction,
            server: self.server.text().parse().ok(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(json: &str) -> Result<Report, Refused> {
        parse(json.as_bytes(), 1, 100).unwrap().remove(0)
    }

    fn nel(body: &str) -> String {
        format!(r#"[{{"age":5,"type":"network-error","url":"https://a.test/p?q=1","body":{body}}}]"#)
    }

    #[test]
    fn a_report_of_chromium() {
        let report = one(
            r#"[{"age":3062,"body":{"elapsed_time":7,"method":"GET","phase":"connection","protocol":"http/1.1","referrer":"https://a.test/secret","sampling_fraction":0.5,"server_ip":"192.0.2.1","status_code":0,"type":"tcp.refused"},"type":"network-error","url":"https://a.test:8443/secret?x=1","user_agent":"Mozilla/5.0 HeadlessChrome/156.0.0.0 Safari/537.36"}]"#,
        )
        .unwrap();
        assert_eq!(
            (report.origin.as_str(), report.age_ms, report.family),
            ("https://a.test:8443", 3062, Some(7))
        );
        let Kind::Network { source, class, protocol, fraction, server, count } = report.kind else {
            panic!()
        };
        assert_eq!(
            (source, class.name(), protocol, fraction, count),
            (Source::Nel, "tcp.refused", 1, 0.5, 1)
        );
        assert_eq!(server, "192.0.2.1".parse().ok());
        assert!(!format!("{report:?}").contains("secret"));
    }

    #[test]
    fn refusals_are_named() {
        let ok = r#"{"phase":"application","type":"ok","status_code":200}"#;
        assert!(one(&nel(ok)).is_ok());
        for (json, reason) in [
            ("[1]".to_owned(), Refused::Shape),
            ("[{}]".to_owned(), Refused::Shape),
            (nel("null"), Refused::Shape),
            (nel("[[]]"), Refused::Shape),
            (nel(ok).replace("network-error", "odd"), Refused::Kind),
            (nel(ok).replace("https://a.test", "about:"), Refused::Url),
            (nel(ok).replace("\"age\":5", "\"age\":-5"), Refused::Age),
            (nel(ok).replace("\"age\":5", "\"age\":\"5\""), Refused::Age),
            (nel(&ok.replace("application", "lunch")), Refused::Phase),
            (nel(&ok.replace("\"ok\"", "\"what\"")), Refused::Type),
            (nel(&ok.replace("200", "20000")), Refused::Number),
            (nel(r#"{"phase":"dns","type":"dns.failed","sampling_fraction":0}"#), Refused::Number),
        ] {
            assert_eq!(one(&json), Err(reason), "{json}");
        }
    }

    #[test]
    fn bad_bodies_are_refused_without_repeating_them() {
        for bad in
            [&b"{"[..], b"", b"null", b"\"secret\"", b"[{}] x", b"\xff\xfe", "[".repeat(70_000).as_bytes()]
        {
            let err = parse(bad, 1, 100).unwrap_err();
            assert!(!err.to_string().contains("secret"));
        }
        let deep = nel(&format!("{}{}", "[".repeat(100_000), "]".repeat(100_000)));
        assert_eq!(one(&deep), Err(Refused::Shape));
        let many = format!("[{}]", vec!["{}"; 300].join(","));
        let reports = parse(many.as_bytes(), 1, 100).unwrap();
        assert_eq!(reports.iter().filter(|r| **r == Err(Refused::TooMany)).count(), 200);
    }

    #[test]
    fn a_retry_has_the_same_fingerprint_and_another_request_has_not() {
        let of = |json: String| one(&json).unwrap().fingerprint;
        let body = r#"{"phase":"application","type":"ok","elapsed_time":5}"#;
        let first = of(nel(body));
        assert_eq!(first, of(nel(body).replace("\"age\":5", "\"age\":900")));
        assert_ne!(first, of(nel(body).replace("q=1", "q=2")));
        assert_ne!(first, of(nel(&body.replace('5', "6"))));
    }

    #[test]
    fn other_reports_are_counted_by_kind() {
        let report = one(
            r#"{"type":"csp-violation","url":"https://a.test/","body":{"blockedURL":"https://x/secret"}}"#,
        )
        .unwrap();
        assert_eq!(report.kind, Kind::Counted(COUNTED.iter().position(|k| *k == "csp-violation").unwrap()));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(0u8..=255, 0..300)) {
            drop(parse(&bytes, 1, 10));
        }
    }
}
