//! Data points as samples.

use model::sample::STALE_NAN;
use model::{Exemplar, Histogram, Labels, Timestamp};

use super::value::{key_value, push};
use super::{Accumulate, Names, Refused, Work, histogram};
use crate::gather::Gather;
use crate::proto::{Fields, Malformed, Value, packed_doubles, packed_fixed64};

/// Label text of an exemplar, names and values together, in characters. Source: OpenMetrics 1.0, "Exemplars".
const EXEMPLAR_CHARS: usize = 128;
/// The flag of a point that ends its series.
const NO_RECORDED_VALUE: u64 = 1;

/// What the points of all kinds have; the buffers are kept from point to point.
#[derive(Debug, Default)]
pub(super) struct Point<'a> {
    attributes: Vec<&'a [u8]>,
    exemplars: Vec<&'a [u8]>,
    start: i64,
    time: i64,
    flags: u64,
    count: u64,
    sum: Option<f64>,
    /// The earliest and the latest time of the points so far.
    pub(super) times: (i64, i64),
}

impl Point<'_> {
    fn clear(&mut self) {
        self.attributes.clear();
        self.exemplars.clear();
        (self.start, self.time, self.flags, self.count, self.sum) = (0, 0, 0, 0, None);
    }

    fn seen(&mut self) {
        self.times = (self.times.0.min(self.time), self.times.1.max(self.time));
    }

    fn is_stale(&self) -> bool {
        self.flags & NO_RECORDED_VALUE != 0
    }
}

fn ms(nanoseconds: u64) -> i64 {
    (nanoseconds / 1_000_000) as i64
}

/// Where a sample goes.
struct Out<'w> {
    gather: &'w mut Gather,
    batch: &'w mut model::Batch,
    deltas: Option<&'w mut dyn Accumulate>,
    refused: &'w mut Refused,
    start: i64,
    time: i64,
    stale: bool,
    /// Whether the start is worth keeping.
    rises: bool,
}

impl Out<'_> {
    /// Adds a sample of the series whose labels are in `gather.encoded`; the series' index.
    fn float(&mut self, value: f64) -> Option<u32> {
        let (mut value, mut start) = (value, self.start);
        if self.stale {
            value = f64::from_bits(STALE_NAN);
        } else if let Some(deltas) = &mut self.deltas {
            match deltas.float(&self.gather.encoded, self.start, self.time, value) {
                Ok(total) => (value, start) = total,
                Err(reason) => {
                    self.refused.refuse(1, || reason);
                    return None;
                }
            }
        }
        let series = self.gather.find(self.batch);
        self.gather.float(self.batch, series, self.time, value);
        if self.rises && start != 0 && !self.stale {
            self.batch.push_start(series, self.time, start);
        }
        Some(series)
    }

    fn histogram(&mut self, histogram: Histogram) -> Option<u32> {
        let (mut histogram, mut start) = (histogram, self.start);
        if let Err(err) = histogram.validate() {
            self.refused.refuse(1, || err.to_string());
            return None;
        }
        if let Some(deltas) = self.deltas.as_mut().filter(|_| !self.stale) {
            match deltas.histogram(&self.gather.encoded, self.start, self.time, histogram) {
                Ok(total) => (histogram, start) = total,
                Err(reason) => {
                    self.refused.refuse(1, || reason);
                    return None;
                }
            }
        }
        let series = self.gather.find(self.batch);
        self.gather.histogram(self.batch, series, self.time, histogram);
        if start != 0 && !self.stale {
            self.batch.push_start(series, self.time, start);
        }
        Some(series)
    }
}

/// A borrow of [`Work`]'s parts: the labels of the point, and where its samples go.
macro_rules! parts {
    ($self:ident, $delta:expr, $rises:expr) => {{
        $self.point.seen();
        let point = &$self.point;
        let labels = $self.attributes.merge($self.options, $self.keys, &$self.base, &point.attributes)?;
        let out = Out {
            gather: &mut *$self.gather,
            batch: &mut *$self.batch,
            deltas: if $delta { Some(&mut *$self.deltas) } else { None },
            refused: &mut $self.refused,
            start: point.start,
            time: point.time,
            stale: point.is_stale(),
            rises: $rises,
        };
        (labels, out, &point.exemplars)
    }};
}

impl<'a> Work<'_, 'a> {
    pub(super) fn number(
        &mut self,
        body: &'a [u8],
        names: &Names,
        delta: bool,
        rises: bool,
    ) -> Result<(), Malformed> {
        self.point.clear();
        let mut number = None;
        let mut fields = Fields(body);
        while let Some((field, value)) = fields.next()? {
            match field {
                2 => self.point.start = ms(value.fixed64()?),
                3 => self.point.time = ms(value.fixed64()?),
                4 => number = Some(value.double()?),
                5 => self.point.exemplars.push(value.bytes()?),
                6 => number = Some(value.fixed64()? as i64 as f64),
                7 => self.point.attributes.push(value.bytes()?),
                8 => self.point.flags = value.varint()?,
                _ => {}
            }
        }
        if number.is_none() && !self.point.is_stale() {
            self.refused.refuse(1, || format!("a point of metric {:?} has no value", names.plain));
            return Ok(());
        }
        let (labels, mut out, exemplars) = parts!(self, delta, rises);
        labels.encode(&mut out.gather.encoded, &names.plain, None);
        if let Some(series) = out.float(number.unwrap_or_default()) {
            for body in exemplars {
                let exemplar = exemplar(body)?;
                out.batch.push_exemplar(series, exemplar);
            }
        }
        Ok(())
    }

    pub(super) fn explicit(&mut self, body: &'a [u8], names: &Names, delta: bool) -> Result<(), Malformed> {
        self.point.clear();
        let (mut buckets, mut bounds) = (Vec::new(), Vec::new());
        let mut fields = Fields(body);
        while let Some((field, value)) = fields.next()? {
            match field {
                2 => self.point.start = ms(value.fixed64()?),
                3 => self.point.time = ms(value.fixed64()?),
                4 => self.point.count = value.fixed64()?,
                5 => self.point.sum = Some(value.double()?),
                6 => packed_fixed64(value, &mut buckets)?,
                7 => packed_doubles(value, &mut bounds)?,
                8 => self.point.exemplars.push(value.bytes()?),
                9 => self.point.attributes.push(value.bytes()?),
                10 => self.point.flags = value.varint()?,
                _ => {}
            }
        }
        let (count, sum) = (self.point.count, self.point.sum);
        let fits = buckets.len() == bounds.len() + 1 || (buckets.is_empty() && bounds.is_empty());
        if !fits || bounds.iter().any(|b| b.is_nan()) || bounds.windows(2).any(|w| w[0] >= w[1]) {
            self.refused.refuse(1, || {
                format!(
                    "a histogram of metric {:?} has {} buckets for {} bounds, or bounds that do not rise",
                    names.plain,
                    buckets.len(),
                    bounds.len()
                )
            });
            return Ok(());
        }
        let nhcb = self.options.histograms_to_nhcb;
        let (labels, mut out, exemplars) = parts!(self, delta, true);
        if nhcb {
            let native = histogram::custom(&buckets, bounds, count, sum.unwrap_or_default(), out.stale);
            labels.encode(&mut out.gather.encoded, &names.plain, None);
            if let Some(series) = out.histogram(native) {
                for body in exemplars {
                    let exemplar = exemplar(body)?;
                    out.batch.push_exemplar(series, exemplar);
                }
            }
            return Ok(());
        }
        if let Some(sum) = sum {
            labels.encode(&mut out.gather.encoded, &names.sum, None);
            out.float(sum);
        }
        labels.encode(&mut out.gather.encoded, &names.count, None);
        out.float(count as f64);
        let exemplars = exemplars.iter().map(|body| exemplar(body)).collect::<Result<Vec<_>, _>>()?;
        let mut below = 0u64;
        let mut lower = f64::NEG_INFINITY;
        let infinite = [f64::INFINITY];
        let upper_bounds = bounds.iter().filter(|b| b.is_finite()).chain(&infinite);
        for (i, upper) in upper_bounds.enumerate() {
            below = below.saturating_add(buckets.get(i).copied().unwrap_or_default());
            // What is above all bounds is known from the count alone.
            let value = if upper.is_finite() { below } else { count };
            let bound = if upper.is_finite() { upper.to_string() } else { "+Inf".to_owned() };
            labels.encode(&mut out.gather.encoded, &names.bucket, Some(("le", &bound)));
            if let Some(series) = out.float(value as f64) {
                for exemplar in exemplars.iter().filter(|e| e.value > lower && e.value <= *upper) {
                    out.batch.push_exemplar(series, exemplar.clone());
                }
            }
            lower = *upper;
        }
        Ok(())
    }

    pub(super) fn exponential(
        &mut self,
        body: &'a [u8],
        names: &Names,
        delta: bool,
    ) -> Result<(), Malformed> {
        self.point.clear();
        let mut sent = histogram::Exponential::default();
        let mut fields = Fields(body);
        while let Some((field, value)) = fields.next()? {
            match field {
                1 => self.point.attributes.push(value.bytes()?),
                2 => self.point.start = ms(value.fixed64()?),
                3 => self.point.time = ms(value.fixed64()?),
                4 => sent.count = value.fixed64()?,
                5 => sent.sum = value.double()?,
                6 => sent.scale = value.sint()?,
                7 => sent.zero_count = value.fixed64()?,
                8 => sent.positive = histogram::buckets(value.bytes()?)?,
                9 => sent.negative = histogram::buckets(value.bytes()?)?,
                10 => self.point.flags = value.varint()?,
                11 => self.point.exemplars.push(value.bytes()?),
                14 => sent.zero_threshold = value.double()?,
                _ => {}
            }
        }
        let native = match histogram::exponential(&sent, self.point.is_stale()) {
            Ok(native) => native,
            Err(reason) => {
                self.refused.refuse(1, || format!("a histogram of metric {:?}: {reason}", names.plain));
                return Ok(());
            }
        };
        let (labels, mut out, exemplars) = parts!(self, delta, true);
        labels.encode(&mut out.gather.encoded, &names.plain, None);
        if let Some(series) = out.histogram(native) {
            for body in exemplars {
                let exemplar = exemplar(body)?;
                out.batch.push_exemplar(series, exemplar);
            }
        }
        Ok(())
    }

    pub(super) fn summary(&mut self, body: &'a [u8], names: &Names) -> Result<(), Malformed> {
        self.point.clear();
        let (mut sum, mut quantiles) = (0.0, Vec::new());
        let mut fields = Fields(body);
        while let Some((field, value)) = fields.next()? {
            match field {
                2 => self.point.start = ms(value.fixed64()?),
                3 => self.point.time = ms(value.fixed64()?),
                4 => self.point.count = value.fixed64()?,
                5 => sum = value.double()?,
                6 => quantiles.push(quantile(value)?),
                7 => self.point.attributes.push(value.bytes()?),
                8 => self.point.flags = value.varint()?,
                _ => {}
            }
        }
        let count = self.point.count;
        let (labels, mut out, _) = parts!(self, false, true);
        labels.encode(&mut out.gather.encoded, &names.sum, None);
        out.float(sum);
        labels.encode(&mut out.gather.encoded, &names.count, None);
        out.float(count as f64);
        out.rises = false;
        for (quantile, value) in quantiles {
            labels.encode(&mut out.gather.encoded, &names.plain, Some(("quantile", &quantile.to_string())));
            out.float(value);
        }
        Ok(())
    }
}

fn quantile(value: Value<'_>) -> Result<(f64, f64), Malformed> {
    let mut pair = (0.0, 0.0);
    let mut fields = Fields(value.bytes()?);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => pair.0 = value.double()?,
            2 => pair.1 = value.double()?,
            _ => {}
        }
    }
    Ok(pair)
}

fn exemplar(body: &[u8]) -> Result<Exemplar, Malformed> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let mut filtered: Vec<(String, String)> = Vec::new();
    let (mut number, mut time) = (0.0, 0);
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let mut fields = Fields(body);
    while let Some((field, value)) = fields.next()? {
        match field {
            2 => time = ms(value.fixed64()?),
            3 => number = value.double()?,
            4 => pairs.push(("span_id".into(), hex(value.bytes()?))),
            5 => pairs.push(("trace_id".into(), hex(value.bytes()?))),
            6 => number = value.fixed64()? as i64 as f64,
            7 => {
                let (key, value) = key_value(value.bytes()?)?;
                let mut text = String::new();
                push(&mut text, value, 0)?;
                filtered.push((key.to_owned(), text));
            }
            _ => {}
        }
    }
    let chars = |pairs: &[(String, String)]| -> usize {
        pairs.iter().map(|(n, v)| n.chars().count() + v.chars().count()).sum()
    };
    pairs.retain(|(_, value)| value.bytes().any(|b| b != b'0'));
    if chars(&pairs) + chars(&filtered) <= EXEMPLAR_CHARS {
        pairs.extend(filtered);
    }
    Ok(Exemplar { labels: Labels::from_pairs(pairs), value: number, at: Timestamp(time) })
}
