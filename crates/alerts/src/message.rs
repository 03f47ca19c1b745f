//! What a notification says: the data of templates and of webhooks.
//!
//! Source: the Alertmanager manual, "Notification template reference", and its webhook format, version 4.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use model::{Alert, Labels, Timestamp};
use serde::{Serialize, Serializer};
use template::time::Time;
use template::{Object, Value};

use crate::nflog::Reason;

/// Go's zero time, which stands for "not ended".
const ZERO_TIME: &str = "0001-01-01T00:00:00Z";
const ZERO_TIME_MS: i64 = -62_135_596_800_000;

/// Texts by name, with the methods that templates call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Kv(pub BTreeMap<String, String>);

impl From<&Labels> for Kv {
    fn from(labels: &Labels) -> Self {
        Self(labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

impl Kv {
    /// The pairs, `alertname` first.
    pub fn sorted_pairs(&self) -> Vec<(&str, &str)> {
        let mut pairs: Vec<_> = self.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        pairs.sort_by_key(|(name, _)| *name != "alertname");
        pairs
    }
}

impl Object for Kv {
    fn type_name(&self) -> &str {
        "template.KV"
    }
    fn underlying(&self) -> Option<Value> {
        Some(Value::string_map(&self.0))
    }
    fn text(&self) -> Option<String> {
        Some(joined(self.sorted_pairs().into_iter()))
    }
    fn call(&self, method: &str, args: &[Value]) -> Option<Result<Value, String>> {
        let pairs = || self.sorted_pairs().into_iter();
        Some(match (method, args) {
            ("SortedPairs", []) => {
                Ok(Value::object(Pairs(pairs().map(|(n, v)| (n.to_owned(), v.to_owned())).collect())))
            }
            ("Names", []) => Ok(Value::list(pairs().map(|(name, _)| name.into()))),
            ("Values", []) => Ok(Value::list(pairs().map(|(_, value)| value.into()))),
            ("Remove", [names]) => {
                let names: Vec<String> = names
                    .underlying()
                    .as_list()
                    .unwrap_or_default()
                    .iter()
                    .map(ToString::to_string)
                    .collect();
                let kept = self.0.iter().filter(|(name, _)| !names.contains(name));
                Ok(Value::object(Kv(kept.map(|(n, v)| (n.clone(), v.clone())).collect())))
            }
            ("String", []) => Ok(joined(pairs()).into()),
            ("SortedPairs" | "Names" | "Values" | "Remove" | "String", _) => {
                Err(format!("wrong number of args for {method}"))
            }
            _ => return None,
        })
    }
}

/// Pairs as Alertmanager prints them.
fn joined<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    pairs.map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(", ")
}

/// Pairs in order.
#[derive(Clone, Debug)]
struct Pairs(Vec<(String, String)>);

impl Object for Pairs {
    fn type_name(&self) -> &str {
        "template.Pairs"
    }
    fn underlying(&self) -> Option<Value> {
        Some(Value::list(self.0.iter().map(|(n, v)| Value::object(Pair(n.clone(), v.clone())))))
    }
    fn text(&self) -> Option<String> {
        Some(joined(self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))))
    }
    fn call(&self, method: &str, args: &[Value]) -> Option<Result<Value, String>> {
        Some(match (method, args) {
            ("Names", []) => Ok(Value::list(self.0.iter().map(|(name, _)| name.as_str().into()))),
            ("Values", []) => Ok(Value::list(self.0.iter().map(|(_, value)| value.as_str().into()))),
            ("String", []) => Ok(self.text().unwrap_or_default().into()),
            _ => return None,
        })
    }
}

#[derive(Clone, Debug)]
struct Pair(String, String);

impl Object for Pair {
    fn type_name(&self) -> &str {
        "template.Pair"
    }
    fn field(&self, name: &str) -> Option<Value> {
        match name {
            "Name" => Some(self.0.as_str().into()),
            "Value" => Some(self.1.as_str().into()),
            _ => None,
        }
    }
    fn fields(&self) -> &[&str] {
        &["Name", "Value"]
    }
}

fn time<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.map_or_else(|| ZERO_TIME.to_owned(), rfc3339))
}

/// RFC 3339 with as many digits as needed, as Go's JSON has times.
pub fn rfc3339(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.ms()).map_or_else(|_| ZERO_TIME.to_owned(), |at| at.to_string())
}

/// One alert of a notification.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertData {
    /// `firing` or `resolved`.
    pub status: Cow<'static, str>,
    /// Its labels.
    pub labels: Kv,
    /// Its annotations.
    pub annotations: Kv,
    /// Since when.
    #[serde(serialize_with = "time")]
    pub starts_at: Option<Timestamp>,
    /// Until when; `None` while it fires.
    #[serde(serialize_with = "time")]
    pub ends_at: Option<Timestamp>,
    /// Where it comes from.
    #[serde(rename = "generatorURL")]
    pub generator_url: String,
    /// Its identity in hexadecimal.
    pub fingerprint: String,
}

impl AlertData {
    fn new(alert: &Alert, now: Timestamp) -> Self {
        let resolved = alert.is_resolved(now);
        Self {
            status: if resolved { "resolved" } else { "firing" }.into(),
            labels: (&alert.labels).into(),
            annotations: (&alert.annotations).into(),
            starts_at: Some(alert.starts_at),
            ends_at: resolved.then_some(alert.ends_at),
            generator_url: alert.generator_url.clone(),
            fingerprint: format!("{:016x}", alert.labels.fingerprint()),
        }
    }

    /// Whether it has not resolved.
    pub fn is_firing(&self) -> bool {
        self.status == "firing"
    }
}

impl Object for AlertData {
    fn type_name(&self) -> &str {
        "template.Alert"
    }
    fn field(&self, name: &str) -> Option<Value> {
        let time =
            |at: Option<Timestamp>| Value::object(Time::from_ms(at.map_or(ZERO_TIME_MS, Timestamp::ms)));
        Some(match name {
            "Status" => self.status.as_ref().into(),
            "Labels" => Value::object(self.labels.clone()),
            "Annotations" => Value::object(self.annotations.clone()),
            "StartsAt" => time(self.starts_at),
            "EndsAt" => time(self.ends_at),
            "GeneratorURL" => self.generator_url.as_str().into(),
            "Fingerprint" => self.fingerprint.as_str().into(),
            _ => return None,
        })
    }
    fn fields(&self) -> &[&str] {
        &["Status", "Labels", "Annotations", "StartsAt", "EndsAt", "GeneratorURL", "Fingerprint"]
    }
}

/// The alerts of a notification.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct AlertList(pub Vec<Arc<AlertData>>);

impl AlertList {
    /// How many have not resolved.
    fn firing(&self) -> usize {
        self.0.iter().filter(|alert| alert.is_firing()).count()
    }
}

/// An alert behind a shared pointer.
#[derive(Clone)]
struct SharedAlert(Arc<AlertData>);

impl Object for SharedAlert {
    fn type_name(&self) -> &str {
        self.0.type_name()
    }
    fn field(&self, name: &str) -> Option<Value> {
        self.0.field(name)
    }
    fn fields(&self) -> &[&str] {
        self.0.fields()
    }
}

impl Object for AlertList {
    fn type_name(&self) -> &str {
        "template.Alerts"
    }
    fn underlying(&self) -> Option<Value> {
        Some(Value::list(self.0.iter().map(|alert| Value::object(SharedAlert(alert.clone())))))
    }
    fn call(&self, method: &str, args: &[Value]) -> Option<Result<Value, String>> {
        let only = |status| Self(self.0.iter().filter(|alert| alert.status == status).cloned().collect());
        match (method, args) {
            ("Firing", []) => Some(Ok(Value::object(only("firing")))),
            ("Resolved", []) => Some(Ok(Value::object(only("resolved")))),
            _ => None,
        }
    }
}

/// Everything a template sees.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Data {
    /// The receiver's name, quoted as a regular expression.
    pub receiver: String,
    /// `firing` while one alert does.
    pub status: Cow<'static, str>,
    /// The alerts.
    pub alerts: AlertList,
    /// Why it is sent, in Alertmanager's words.
    #[serde(rename = "notification_reason", skip_serializing_if = "String::is_empty")]
    pub notification_reason: String,
    /// What the group shares by its route.
    pub group_labels: Kv,
    /// What all its alerts share.
    pub common_labels: Kv,
    /// What all its alerts share.
    pub common_annotations: Kv,
    /// This server.
    #[serde(rename = "externalURL")]
    pub external_url: String,
    /// The route's labels.
    #[serde(skip)]
    pub route_labels: Kv,
    /// The alerts that are not in `alerts` because there are too many.
    #[serde(skip)]
    pub truncated: Truncated,
}

/// How many alerts a notification does not list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Truncated {
    /// Firing ones.
    pub firing: usize,
    /// Resolved ones.
    pub resolved: usize,
}

impl Truncated {
    /// All of them.
    pub fn all(self) -> usize {
        self.firing + self.resolved
    }
}

impl Object for Data {
    fn type_name(&self) -> &str {
        "template.Data"
    }
    fn field(&self, name: &str) -> Option<Value> {
        let count = |count: usize| Value::Int(i64::try_from(count).unwrap_or(i64::MAX));
        Some(match name {
            "Receiver" => self.receiver.as_str().into(),
            "Status" => self.status.as_ref().into(),
            "Alerts" => Value::object(self.alerts.clone()),
            "GroupLabels" => Value::object(self.group_labels.clone()),
            "CommonLabels" => Value::object(self.common_labels.clone()),
            "CommonAnnotations" => Value::object(self.common_annotations.clone()),
            "ExternalURL" => self.external_url.as_str().into(),
            "NotificationReason" => self.notification_reason.as_str().into(),
            "RouteLabels" => Value::object(self.route_labels.clone()),
            "FiringCount" => count(self.alerts.firing() + self.truncated.firing),
            "ResolvedCount" => count(self.alerts.0.len() - self.alerts.firing() + self.truncated.resolved),
            "AlertCount" => count(self.alerts.0.len() + self.truncated.all()),
            "TruncatedAlerts" => count(self.truncated.all()),
            _ => return None,
        })
    }
    fn fields(&self) -> &[&str] {
        &["Receiver", "Status", "Alerts", "GroupLabels", "CommonLabels", "CommonAnnotations", "ExternalURL"]
    }
}

impl Data {
    /// From the alerts of a flush, of which at most `max` are listed: firing ones before resolved ones. The rest is
    /// counted, and what all share is what really all share.
    pub fn new(
        receiver: &str,
        external_url: &str,
        group_labels: &Labels,
        alerts: &[Arc<Alert>],
        max: usize,
        now: Timestamp,
    ) -> Self {
        let firing_count = alerts.iter().filter(|alert| !alert.is_resolved(now)).count();
        let firing = firing_count > 0;
        let listed_firing = firing_count.min(max);
        let listed_resolved = (alerts.len() - firing_count).min(max - listed_firing);
        let truncated = Truncated {
            firing: firing_count - listed_firing,
            resolved: alerts.len() - firing_count - listed_resolved,
        };
        let (mut more_firing, mut more_resolved) = (listed_firing, listed_resolved);
        let listed = alerts.iter().filter(|alert| {
            let more = if alert.is_resolved(now) { &mut more_resolved } else { &mut more_firing };
            let listed = *more > 0;
            *more = more.saturating_sub(1);
            listed
        });
        Self {
            receiver: quote_meta(receiver),
            status: if firing { "firing" } else { "resolved" }.into(),
            alerts: AlertList(listed.map(|alert| Arc::new(AlertData::new(alert, now))).collect()),
            truncated,
            group_labels: group_labels.into(),
            common_labels: common(alerts.iter().map(|alert| &alert.labels)),
            common_annotations: common(alerts.iter().map(|alert| &alert.annotations)),
            external_url: external_url.to_owned(),
            notification_reason: String::new(),
            route_labels: Kv::default(),
        }
    }

    /// As JSON in the way Go writes it: `<`, `>` and `&` escaped, a line feed at the end.
    pub fn json<T: Serialize>(value: &T) -> Result<Vec<u8>, serde_json::Error> {
        let mut out = Self::escaped_json(value)?;
        out.push('\n');
        Ok(out.into_bytes())
    }

    /// As [`Data::json`], without the line feed.
    pub fn escaped_json<T: Serialize>(value: &T) -> Result<String, serde_json::Error> {
        let text = serde_json::to_string(value)?;
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '<' => out.push_str("\\u003c"),
                '>' => out.push_str("\\u003e"),
                '&' => out.push_str("\\u0026"),
                '\u{2028}' => out.push_str("\\u2028"),
                '\u{2029}' => out.push_str("\\u2029"),
                c => out.push(c),
            }
        }
        Ok(out)
    }
}

/// The pairs that all sets have.
fn common<'a>(mut sets: impl Iterator<Item = &'a Labels>) -> Kv {
    let mut shared: Vec<(&str, &str)> = sets.next().map(|labels| labels.iter().collect()).unwrap_or_default();
    for labels in sets {
        if shared.is_empty() {
            break;
        }
        shared.retain(|(name, value)| labels.get(name) == Some(value));
    }
    Kv(shared.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// Go's `regexp.QuoteMeta`.
fn quote_meta(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// What is sent and to whom.
#[derive(Clone, Debug)]
pub struct Notification {
    /// The same for every attempt, also after a crash; receivers can tell repeats by it.
    pub id: String,
    /// The group's key.
    pub group_key: String,
    /// Why.
    pub reason: Reason,
    /// What.
    pub data: Arc<Data>,
    /// The moment of the flush.
    pub now: Timestamp,
}

impl Notification {
    /// SHA-256 of the group's key in hexadecimal: the incident's key in services that have one.
    pub fn hash(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.group_key.as_bytes());
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}
