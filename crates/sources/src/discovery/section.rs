//! A section such as `consul_sd_configs` as it stands in the file, read field by field.
//!
//! The section's field names were checked when the file was loaded (`config::discovery`); each mechanism reads its values here,
//! once at load so that a wrong value is refused with the file, and again when it starts.

use std::time::Duration;

use model::duration::PromDuration;
use serde_json::{Map, Value};

/// The fields of one section.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section<'a> {
    map: &'a Map<String, Value>,
}

impl<'a> Section<'a> {
    pub(crate) fn new(map: &'a Map<String, Value>) -> Self {
        Self { map }
    }

    /// The section's HTTP client settings.
    pub(crate) fn http(&self) -> Result<httpc::Config, String> {
        crate::config::http_part(self.map)
    }

    /// A scalar as text; `""` when it is not there.
    pub(crate) fn text(&self, key: &str) -> String {
        match self.map.get(key) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::Bool(flag)) => flag.to_string(),
            _ => String::new(),
        }
    }

    /// A scalar as text, with a default.
    pub(crate) fn text_or(&self, key: &str, default: &str) -> String {
        let text = self.text(key);
        if text.is_empty() { default.to_owned() } else { text }
    }

    /// A text that must be there.
    pub(crate) fn required(&self, key: &str) -> Result<String, String> {
        let text = self.text(key);
        if text.is_empty() { Err(format!("{key} is missing")) } else { Ok(text) }
    }

    /// A duration as Prometheus writes it.
    pub(crate) fn duration_or(&self, key: &str, seconds: u64) -> Result<Duration, String> {
        let text = self.text(key);
        if text.is_empty() {
            return Ok(Duration::from_secs(seconds));
        }
        let parsed = PromDuration::parse(&text).map_err(|err| format!("{key}: {err}"))?;
        if parsed.ms() == 0 { Err(format!("{key} must be above 0")) } else { Ok(parsed.to_std()) }
    }

    /// A TCP port.
    pub(crate) fn port_or(&self, key: &str, default: u16) -> Result<u16, String> {
        let text = self.text(key);
        if text.is_empty() {
            return Ok(default);
        }
        text.parse().map_err(|_| format!("{key}: {text:?} is not a port"))
    }

    /// Yes or no.
    pub(crate) fn flag_or(&self, key: &str, default: bool) -> Result<bool, String> {
        match self.map.get(key) {
            None | Some(Value::Null) => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => Err(format!("{key}: {other} is neither true nor false")),
        }
    }

    /// A list of texts.
    pub(crate) fn texts(&self, key: &str) -> Result<Vec<String>, String> {
        texts(key, self.map.get(key).unwrap_or(&Value::Null))
    }

    /// `filters: [{name: …, values: […]}]`
    pub(crate) fn filters(&self) -> Result<Vec<(String, Vec<String>)>, String> {
        let Some(Value::Array(list)) = self.map.get("filters") else { return Ok(Vec::new()) };
        list.iter()
            .map(|filter| {
                let name = filter["name"].as_str().ok_or("filters: a filter needs a name")?;
                Ok((name.to_owned(), texts("filters.values", &filter["values"])?))
            })
            .collect()
    }

    /// A nested value.
    pub(crate) fn value(&self, key: &str) -> &'a Value {
        self.map.get(key).unwrap_or(&Value::Null)
    }
}

/// A list of scalars; null is an empty one.
pub(crate) fn texts(key: &str, value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::Null => Ok(Vec::new()),
        Value::Array(items) => items
            .iter()
            .map(|item| match item {
                Value::String(text) => Ok(text.clone()),
                Value::Number(number) => Ok(number.to_string()),
                Value::Bool(flag) => Ok(flag.to_string()),
                other => Err(format!("{key}: {other} is not a text")),
            })
            .collect(),
        other => Err(format!("{key}: {other} is not a list")),
    }
}
