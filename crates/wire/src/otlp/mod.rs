//! OTLP metrics: an export request becomes a [`Batch`].
//!
//! One pass over the protobuf message; JSON is rewritten as protobuf first ([`json`]). Names and labels follow Prometheus'
//! `otlp` section ([`Options`]). A malformed message is an error, a bad point in a good message is counted and left out. Deltas are
//! handed to an [`Accumulate`], which knows what came before. Sources: the OpenTelemetry protocol 1.7 and its
//! specification's "Prometheus and OpenMetrics compatibility"; the Prometheus manual.

mod histogram;
pub mod json;
mod labels;
mod names;
mod point;
pub mod reply;
#[cfg(test)]
mod tests;
mod value;

use std::collections::HashMap;
use std::sync::Arc;

use model::{Batch, Histogram, Metadata, MetricType};

pub use crate::gather::Refused;
pub use crate::proto::Malformed;

use crate::gather::Gather;
use crate::proto::{Fields, text};
use labels::{Attributes, Base, LabelNames};
use names::Kind;
use point::Point;

/// How names and attributes become metric names and labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Names are escaped to letters, digits and `_`.
    pub escape: bool,
    /// Suffixes for the unit and for counters are added.
    pub suffixes: bool,
    /// Which resource attributes become labels.
    pub promote: Promote,
    /// `service.name`, `service.namespace` and `service.instance.id` stay on `target_info`.
    pub keep_identifying: bool,
    /// Explicit-bucket histograms become native ones with custom buckets.
    pub histograms_to_nhcb: bool,
    /// The scope's name, version, schema and attributes become labels.
    pub promote_scope: bool,
    /// A label name that starts with one `_` gets the prefix `key`.
    pub underscore_sanitization: bool,
    /// Several `_` in a row stay in label names.
    pub preserve_multiple_underscores: bool,
    /// Each resource gets a `target_info` series.
    pub target_info: bool,
}

/// Which resource attributes become labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Promote {
    /// All but these.
    AllBut(Vec<String>),
    /// These.
    Only(Vec<String>),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            escape: true,
            suffixes: true,
            promote: Promote::Only(Vec::new()),
            keep_identifying: false,
            histograms_to_nhcb: false,
            promote_scope: false,
            underscore_sanitization: true,
            preserve_multiple_underscores: true,
            target_info: true,
        }
    }
}

/// Adds deltas up. Times in milliseconds; `labels` in their canonical encoding.
pub trait Accumulate {
    /// The running total after `value`, and since when it runs.
    ///
    /// # Errors
    /// In words, when the delta cannot be added: it is older than what was added already, or there are too many series.
    fn float(&mut self, labels: &[u8], start: i64, time: i64, value: f64) -> Result<(f64, i64), String>;

    /// The running total after `histogram`, and since when it runs.
    ///
    /// # Errors
    /// As [`Accumulate::float`].
    fn histogram(
        &mut self,
        labels: &[u8],
        start: i64,
        time: i64,
        histogram: Histogram,
    ) -> Result<(Histogram, i64), String>;
}

/// Refuses deltas: for a receiver without a memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoDeltas;

impl Accumulate for NoDeltas {
    fn float(&mut self, _: &[u8], _: i64, _: i64, _: f64) -> Result<(f64, i64), String> {
        Err("delta temporality is switched off; send cumulative".into())
    }

    fn histogram(&mut self, _: &[u8], _: i64, _: i64, _: Histogram) -> Result<(Histogram, i64), String> {
        Err("delta temporality is switched off; send cumulative".into())
    }
}

/// Translated names that are kept.
const MAX_NAMES: usize = 16_384;
/// How far apart the samples of a `target_info` series are when a request covers more time, in milliseconds: half of the time that a
/// query looks back by default.
const TARGET_INFO_STEP: i64 = 150_000;
/// At most so many `target_info` samples for a resource.
const MAX_TARGET_INFO: usize = 100;

/// Decodes requests; keeps its memory between them.
#[derive(Debug)]
pub struct Decoder {
    options: Arc<Options>,
    gather: Gather,
    metrics: HashMap<(String, String, Kind), Arc<Names>>,
    keys: LabelNames,
    attributes: Attributes,
}

/// The names of a metric and of its parts.
#[derive(Debug)]
struct Names {
    plain: String,
    sum: String,
    count: String,
    bucket: String,
}

/// Everything that one message needs besides the message.
struct Work<'d, 'a> {
    options: &'d Options,
    gather: &'d mut Gather,
    keys: &'d mut LabelNames,
    attributes: &'d mut Attributes,
    batch: &'d mut Batch,
    deltas: &'d mut dyn Accumulate,
    refused: Refused,
    base: Base,
    point: Point<'a>,
}

impl Decoder {
    /// `seed`: a secret of the process, so that nobody can construct colliding labels.
    pub fn new(seed: u64, options: Arc<Options>) -> Self {
        Self {
            options,
            gather: Gather::new(seed),
            metrics: HashMap::new(),
            keys: LabelNames::default(),
            attributes: Attributes::default(),
        }
    }

    /// Decodes an `ExportMetricsServiceRequest` into `batch`, which is cleared first.
    ///
    /// # Errors
    /// [`Malformed`]: the whole message must be refused; the batch is then empty. Deltas of the message that came before the
    /// damage may have been added up.
    pub fn decode(
        &mut self,
        body: &[u8],
        batch: &mut Batch,
        deltas: &mut dyn Accumulate,
    ) -> Result<Refused, Malformed> {
        let Self { options, gather, metrics, keys, attributes } = self;
        gather.begin(batch);
        if metrics.len() > MAX_NAMES {
            metrics.clear();
        }
        keys.bound(MAX_NAMES);
        let mut work = Work {
            options,
            gather,
            keys,
            attributes,
            batch,
            deltas,
            refused: Refused::default(),
            base: Base::default(),
            point: Point::default(),
        };
        let outcome = work.request(body, metrics);
        let Work { gather, batch, refused, .. } = work;
        match outcome {
            Ok(()) => {
                gather.finish(batch);
                Ok(refused)
            }
            Err(err) => {
                batch.clear();
                Err(err)
            }
        }
    }
}

type MetricNames = HashMap<(String, String, Kind), Arc<Names>>;

impl<'a> Work<'_, 'a> {
    fn request(&mut self, body: &'a [u8], metrics: &mut MetricNames) -> Result<(), Malformed> {
        let mut fields = Fields(body);
        while let Some((number, value)) = fields.next()? {
            if number == 1 {
                self.resource(value.bytes()?, metrics)?;
            }
        }
        Ok(())
    }

    fn resource(&mut self, body: &'a [u8], metrics: &mut MetricNames) -> Result<(), Malformed> {
        let mut resource: &[u8] = &[];
        let mut fields = Fields(body);
        while let Some((number, value)) = fields.next()? {
            if number == 1 {
                resource = value.bytes()?;
            }
        }
        self.base = Base::of_resource(self.options, self.keys, resource)?;
        let without_scope = self.base.clone();
        let (mut first, mut last) = (i64::MAX, i64::MIN);
        let mut fields = Fields(body);
        while let Some((number, value)) = fields.next()? {
            if number == 2 {
                self.point.times = (i64::MAX, i64::MIN);
                self.scope(value.bytes()?, metrics)?;
                self.base = without_scope.clone();
                first = first.min(self.point.times.0);
                last = last.max(self.point.times.1);
            }
        }
        if self.options.target_info && first <= last {
            self.target_info(first, last);
        }
        Ok(())
    }

    /// One sample of the resource's own series, more when the request covers more time than a query looks back.
    fn target_info(&mut self, first: i64, last: i64) {
        let Some(labels) = self.base.target_info() else { return };
        self.gather.encoded.clear();
        for (name, value) in labels {
            model::labels::encode_pair(&mut self.gather.encoded, name, value);
        }
        let series = self.gather.find(self.batch);
        let mut time = first;
        for _ in 0..MAX_TARGET_INFO {
            if time >= last {
                break;
            }
            self.gather.float(self.batch, series, time, 1.0);
            time += TARGET_INFO_STEP;
        }
        self.gather.float(self.batch, series, last, 1.0);
    }

    fn scope(&mut self, body: &'a [u8], metrics: &mut MetricNames) -> Result<(), Malformed> {
        if self.options.promote_scope {
            let (mut scope, mut schema): (&[u8], &str) = (&[], "");
            let mut fields = Fields(body);
            while let Some((number, value)) = fields.next()? {
                match number {
                    1 => scope = value.bytes()?,
                    3 => schema = text(value.bytes()?)?,
                    _ => {}
                }
            }
            self.base.add_scope(self.options, self.keys, scope, schema)?;
        }
        let mut fields = Fields(body);
        while let Some((number, value)) = fields.next()? {
            if number == 2 {
                self.metric(value.bytes()?, metrics)?;
            }
        }
        Ok(())
    }

    fn metric(&mut self, body: &'a [u8], metrics: &mut MetricNames) -> Result<(), Malformed> {
        let (mut name, mut help, mut unit) = ("", "", "");
        let mut data: Option<(u64, &'a [u8])> = None;
        let mut fields = Fields(body);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => name = text(value.bytes()?)?,
                2 => help = text(value.bytes()?)?,
                3 => unit = text(value.bytes()?)?,
                5 | 7 | 9 | 10 | 11 => data = Some((number, value.bytes()?)),
                _ => {}
            }
        }
        let Some((form, data)) = data else {
            self.refused.refuse(1, || format!("metric {name:?} has no data, or data of an unknown kind"));
            return Ok(());
        };
        let (mut temporality, mut monotonic, mut points) = (0, false, 0);
        let mut fields = Fields(data);
        while let Some((number, value)) = fields.next()? {
            match number {
                1 => points += 1,
                2 if form != 5 && form != 11 => temporality = value.varint()?,
                3 if form == 7 => monotonic = value.varint()? != 0,
                _ => {}
            }
        }
        let (kind, shown) = match form {
            5 => (Kind::Gauge, MetricType::Gauge),
            7 if monotonic => (Kind::Counter, MetricType::Counter),
            7 => (Kind::Other, MetricType::Gauge),
            11 => (Kind::Other, MetricType::Summary),
            _ => (Kind::Other, MetricType::Histogram),
        };
        if !matches!((form, temporality), (5 | 11, _) | (_, 1 | 2)) {
            self.refused.refuse(points, || {
                format!("metric {name:?} has the aggregation temporality {temporality}, neither delta nor cumulative")
            });
            return Ok(());
        }
        let key = (name.to_owned(), unit.to_owned(), kind);
        let names = match metrics.get(&key) {
            Some(names) => Arc::clone(names),
            None => match names::metric(self.options, name, unit, kind) {
                Ok(plain) => {
                    let with = |suffix: &str| format!("{plain}{suffix}");
                    let (sum, count, bucket) = (with("_sum"), with("_count"), with("_bucket"));
                    let names = Arc::new(Names { plain, sum, count, bucket });
                    metrics.insert(key, Arc::clone(&names));
                    names
                }
                Err(reason) => {
                    self.refused.refuse(points, || reason);
                    return Ok(());
                }
            },
        };
        if points > 0 {
            let metadata = Metadata { kind: shown, help: help.to_owned(), unit: unit.to_owned() };
            self.batch.push_metadata(names.plain.as_str(), metadata);
        }
        let delta = temporality == 1;
        let mut fields = Fields(data);
        while let Some((number, value)) = fields.next()? {
            if number == 1 {
                let body = value.bytes()?;
                match form {
                    5 | 7 => self.number(body, &names, delta, kind == Kind::Counter)?,
                    9 => self.explicit(body, &names, delta)?,
                    10 => self.exponential(body, &names, delta)?,
                    _ => self.summary(body, &names)?,
                }
            }
        }
        Ok(())
    }
}
