//! One group: the series of one grouping key.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use model::labels::METRIC_NAME;
use model::sample::STALE_NAN;
use model::{Batch, Histogram, Labels, LabelsBuilder, Metadata, MetricType};
use wire::exposition::{Cache, Describe, Format, Point, Series, Visitor, read};

/// Series that the group itself has.
const PUSH_TIME: &str = "push_time_seconds";
const FAILURE_TIME: &str = "push_failure_time_seconds";

/// A value as pushed.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Float(f64),
    Histogram(Arc<Histogram>),
}

/// The series of one grouping key.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Group {
    /// The series, with the family's name.
    pub(super) series: BTreeMap<Labels, (String, Value)>,
    pub(super) metadata: BTreeMap<String, Metadata>,
    /// The grouping key, with an empty instance left out.
    pub(super) key: Labels,
    /// Milliseconds since the epoch; 0 for never.
    pub(super) push_time: i64,
    pub(super) failure_time: i64,
}

impl Group {
    /// Reads a pushed body.
    ///
    /// # Errors
    /// In words: it does not parse, has timestamps, a series twice, or a name that is the group's own.
    pub(super) fn read(format: Format, body: &[u8], key: &Labels) -> Result<Self, String> {
        let mut collect =
            Collect { group: Self { key: key.clone(), ..Self::default() }, current: String::new() };
        read(format, body, &mut Cache::new(0), &mut collect).map_err(|err| err.to_string())?;
        Ok(collect.group)
    }

    pub(super) fn len(&self) -> usize {
        self.series.len()
    }

    /// This group with the metrics of `fresh` instead of its own of the same names.
    pub(super) fn merged(&self, fresh: Self) -> Self {
        let mut merged = fresh;
        let replaced: std::collections::BTreeSet<String> = merged
            .series
            .values()
            .map(|(family, _)| family.clone())
            .chain(merged.metadata.keys().cloned())
            .collect();
        for (labels, (family, value)) in &self.series {
            if !replaced.contains(family) {
                merged.series.insert(labels.clone(), (family.clone(), value.clone()));
            }
        }
        for (family, metadata) in &self.metadata {
            merged.metadata.entry(family.clone()).or_insert_with(|| metadata.clone());
        }
        merged
    }

    fn own(&self, name: &str) -> Labels {
        let mut builder = self.key.to_builder();
        builder.set(METRIC_NAME, name);
        builder.build()
    }

    /// Every series at `now`.
    pub(super) fn batch(&self, now: i64) -> Batch {
        let mut batch = Batch::new();
        for (labels, (_, value)) in &self.series {
            let index = batch.add_series(labels);
            match value {
                Value::Float(value) => batch.push_float(index, now, *value),
                Value::Histogram(histogram) => batch.push_histogram(index, now, Arc::clone(histogram)),
            }
        }
        for (name, time) in [(PUSH_TIME, self.push_time), (FAILURE_TIME, self.failure_time)] {
            let index = batch.add_series(&self.own(name));
            batch.push_float(index, now, time as f64 / 1000.0);
        }
        for (family, metadata) in &self.metadata {
            batch.push_metadata(family.as_str(), metadata.clone());
        }
        let help = "Last Unix time when changing this group in the Pushgateway succeeded.";
        let metadata = Metadata { kind: MetricType::Gauge, help: help.into(), unit: String::new() };
        batch.push_metadata(PUSH_TIME, metadata.clone());
        let help = "Last Unix time when changing this group in the Pushgateway failed.".into();
        batch.push_metadata(FAILURE_TIME, Metadata { help, ..metadata });
        batch
    }

    /// The end of every series.
    pub(super) fn ends(&self, now: i64) -> Batch {
        let mut batch = Batch::new();
        let own = [self.own(PUSH_TIME), self.own(FAILURE_TIME)];
        for labels in self.series.keys().chain(&own) {
            let index = batch.add_series(labels);
            batch.push_float(index, now, f64::from_bits(STALE_NAN));
        }
        batch
    }

    /// The end of those series that `fresh` lacks.
    pub(super) fn end_missing(&self, fresh: &Self, now: i64, batch: &mut Batch) {
        for labels in self.series.keys().filter(|labels| !fresh.series.contains_key(*labels)) {
            let index = batch.add_series(labels);
            batch.push_float(index, now, f64::from_bits(STALE_NAN));
        }
    }

    /// As the Pushgateway shows a group.
    pub(super) fn json(&self, key: &Labels) -> serde_json::Value {
        use serde_json::json;
        let mut shown = serde_json::Map::new();
        shown.insert("labels".into(), json!(key));
        shown.insert("last_push_successful".into(), json!(self.push_time >= self.failure_time));
        let seconds = |ms: i64| json!({"type": "GAUGE", "metrics": [{"labels": self.key, "value": (ms as f64 / 1000.0).to_string()}]});
        shown.insert(PUSH_TIME.into(), seconds(self.push_time));
        shown.insert(FAILURE_TIME.into(), seconds(self.failure_time));
        let mut families: BTreeMap<&str, Vec<serde_json::Value>> = BTreeMap::new();
        for (labels, (family, value)) in &self.series {
            let value = match value {
                Value::Float(value) => json!(value.to_string()),
                Value::Histogram(h) => json!({"count": h.count, "sum": h.sum}),
            };
            families.entry(family).or_default().push(json!({"labels": labels, "value": value}));
        }
        for (family, metrics) in families {
            let metadata = self.metadata.get(family).cloned().unwrap_or_default();
            let time = model::Timestamp(self.push_time);
            let entry = json!({"type": metadata.kind.as_str().to_uppercase(), "help": metadata.help, "time_stamp_ms": time.ms(), "metrics": metrics});
            shown.insert(family.to_owned(), entry);
        }
        serde_json::Value::Object(shown)
    }
}

struct Collect {
    group: Group,
    /// The family that was described last.
    current: String,
}

impl Collect {
    /// The family of a sample: the described one when the name is one of its parts.
    fn family(&self, name: &str) -> String {
        let part = name.strip_prefix(self.current.as_str()).filter(|_| !self.current.is_empty());
        match part {
            Some("" | "_total" | "_bucket" | "_sum" | "_count" | "_created" | "_info") => {
                self.current.clone()
            }
            _ => name.to_owned(),
        }
    }
}

impl Visitor for Collect {
    fn known(&mut self, _: u32, _: &Point<'_>) -> Result<bool, String> {
        Ok(false)
    }

    fn series(&mut self, series: &Series<'_>, point: &Point<'_>) -> Result<u32, String> {
        let name = series.name();
        if point.time.is_some() {
            return Err(format!("pushed metrics must not have timestamps: {name}"));
        }
        if name == PUSH_TIME || name == FAILURE_TIME {
            return Err(format!("the name {name} is the group's own"));
        }
        let mut labels = LabelsBuilder::default();
        for (label, value) in series.labels() {
            if !labels.get(&label).is_empty() {
                return Err(format!("label name {label:?} of {name} is not unique"));
            }
            labels.set(label, value);
        }
        // The grouping key wins; without an instance there is none, whoever pushes.
        labels.remove("instance");
        for (label, value) in &self.group.key {
            labels.set(label, value);
        }
        labels.set(METRIC_NAME, &*name);
        let value = match &point.histogram {
            Some(histogram) => Value::Histogram(Arc::clone(histogram)),
            None => Value::Float(point.value),
        };
        let labels = labels.build();
        let family = self.family(&name);
        if self.group.series.contains_key(&labels) {
            return Err(format!("the series {labels} is there twice"));
        }
        self.group.series.insert(labels, (family, value));
        Ok(0)
    }

    fn describe(&mut self, family: Cow<'_, str>, what: Describe<'_>) {
        let metadata = self.group.metadata.entry(family.clone().into_owned()).or_default();
        match what {
            Describe::Type(kind) => metadata.kind = kind,
            Describe::Help(text) => metadata.help = text.into_owned(),
            Describe::Unit(unit) => metadata.unit = unit.to_owned(),
        }
        self.current = family.into_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Group, String> {
        let key = Labels::from_pairs([("job", "j")]);
        Group::read(Format::Text004, body.as_bytes(), &key)
    }

    #[test]
    fn merging_replaces_by_name() {
        let old = read("# TYPE a counter\na{x=\"1\"} 1\na{x=\"2\"} 2\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\nb 3\n").unwrap();
        let merged = old.merged(read("a{job=\"other\",x=\"9\"} 9\n# TYPE h histogram\n").unwrap());
        let shown: Vec<String> = merged.series.keys().map(Labels::to_string).collect();
        assert_eq!(shown, ["a{job=\"j\", x=\"9\"}", "b{job=\"j\"}"]);
        assert_eq!(merged.batch(5).floats().len(), 4);
        let mut batch = Batch::new();
        old.end_missing(&merged, 5, &mut batch);
        assert_eq!(batch.series().len(), 5);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "a 1 5\n",
            "a{x=\"1\"} 1\na{x=\"1\"} 2\n",
            "push_time_seconds 1\n",
            "a{job=\"x\"} 1\na{job=\"y\"} 1\n",
            "a b\n",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
