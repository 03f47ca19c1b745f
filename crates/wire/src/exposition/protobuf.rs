//! Length-delimited `io.prometheus.client.MetricFamily` messages. Source: the `client_model` message definitions.
//!
//! A histogram with native buckets becomes one native histogram sample, its classic series beside it when they are wanted.

use std::borrow::Cow;
use std::sync::Arc;

use model::histogram::{ResetHint, Span};
use model::{Histogram, MetricType};

use super::{Describe, ExemplarLabels, ExemplarText, Place, Point, Series, Visitor};
use crate::number;
use crate::proto::{Fields, Malformed, Value, packed_doubles, packed_varints, text, zigzag};

/// Reads all families.
pub(super) fn read(body: &[u8], visitor: &mut dyn Visitor) -> Result<(), String> {
    let mut rest = Fields(body);
    let mut count = 0;
    while !rest.0.is_empty() {
        count += 1;
        let family = (|| {
            let len = usize::try_from(rest.varint()?).map_err(|_| Malformed("a length beyond memory"))?;
            let (family, after) =
                rest.0.split_at_checked(len).ok_or(Malformed("a family is longer than the body"))?;
            rest.0 = after;
            Ok::<_, Malformed>(family)
        })();
        let family = family.map_err(|err| format!("metric family {count}: {err}"))?;
        read_family(family, visitor).map_err(|err| format!("metric family {count}: {err}"))?;
    }
    Ok(())
}

/// Either kind of failure, as text.
struct Failed(String);

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Malformed> for Failed {
    fn from(err: Malformed) -> Self {
        Self(err.to_string())
    }
}

impl From<String> for Failed {
    fn from(text: String) -> Self {
        Self(text)
    }
}

fn read_family(body: &[u8], visitor: &mut dyn Visitor) -> Result<(), Failed> {
    let (mut name, mut help, mut unit, mut kind) = ("", None, "", MetricType::Counter);
    let mut fields = Fields(body);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => name = text(value.bytes()?)?,
            2 => help = Some(text(value.bytes()?)?),
            3 => {
                kind = match value.varint()? {
                    0 => MetricType::Counter,
                    1 => MetricType::Gauge,
                    2 => MetricType::Summary,
                    3 => MetricType::Unknown,
                    4 => MetricType::Histogram,
                    5 => MetricType::GaugeHistogram,
                    other => return Err(format!("unknown metric type {other} of {name:?}").into()),
                };
            }
            5 => unit = text(value.bytes()?)?,
            _ => {}
        }
    }
    if name.is_empty() {
        return Err("it has no name".to_owned().into());
    }
    visitor.describe(Cow::Borrowed(name), Describe::Type(kind));
    if let Some(help) = help {
        visitor.describe(Cow::Borrowed(name), Describe::Help(Cow::Borrowed(help)));
    }
    if !unit.is_empty() {
        visitor.describe(Cow::Borrowed(name), Describe::Unit(unit));
    }
    let mut fields = Fields(body);
    while let Some((number, value)) = fields.next()? {
        if number == 4 {
            read_metric(name, kind, value.bytes()?, visitor)?;
        }
    }
    Ok(())
}

fn point(value: f64, time: Option<i64>) -> Point<'static> {
    let value = if value.is_nan() { f64::from_bits(model::sample::NORMAL_NAN) } else { value };
    Point { value, histogram: None, time, start: None, exemplar: None }
}

fn read_metric(name: &str, kind: MetricType, body: &[u8], visitor: &mut dyn Visitor) -> Result<(), Failed> {
    let (mut labels, mut time, mut content) = (Vec::new(), None, None);
    let mut fields = Fields(body);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => labels.push(label(value.bytes()?)?),
            2 | 3 | 4 | 5 | 7 => content = Some((number, value.bytes()?)),
            6 => time = Some(value.int()?).filter(|time| *time != 0),
            _ => {}
        }
    }
    let Some((number, content)) = content else {
        return Err(format!("a metric of {name:?} has no value").into());
    };
    let mut emit = |name: &str, extra: Option<(&str, &str)>, point: Point<'_>| {
        let series = Series { place: Place::Message { name, labels: &labels, extra }, kind };
        visitor.series(&series, &point).map(drop)
    };
    match number {
        4 => read_summary(name, content, time, &mut emit)?,
        7 => {
            let parts = read_histogram(content)?;
            let wanted = visitor.histograms();
            let mut emit = |name: &str, extra: Option<(&str, &str)>, point: Point<'_>| {
                let series = Series { place: Place::Message { name, labels: &labels, extra }, kind };
                visitor.series(&series, &point).map(drop)
            };
            parts.emit(name, time, wanted, &mut emit)?;
        }
        _ => {
            let (mut value_read, mut start, mut sample) = (0.0, None, None);
            let mut fields = Fields(content);
            while let Some((field, value)) = fields.next()? {
                match (field, number) {
                    (1, _) => value_read = value.double()?,
                    (2, 3) => sample = Some(exemplar(value.bytes()?)?),
                    (3, 3) => start = Some(timestamp(value.bytes()?)?),
                    _ => {}
                }
            }
            emit(name, None, Point { start, exemplar: sample, ..point(value_read, time) })?;
        }
    }
    Ok(())
}

/// Hands one series to the visitor: its name, a further label, its sample.
type Emit<'e> = dyn FnMut(&str, Option<(&str, &str)>, Point<'_>) -> Result<(), String> + 'e;

fn read_summary(name: &str, body: &[u8], time: Option<i64>, emit: &mut Emit<'_>) -> Result<(), Failed> {
    let (mut count, mut sum, mut start) = (0.0, 0.0, None);
    let mut quantiles = Vec::new();
    let mut fields = Fields(body);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => count = value.varint()? as f64,
            2 => sum = value.double()?,
            3 => {
                let (mut quantile, mut at) = (0.0, 0.0);
                let mut fields = Fields(value.bytes()?);
                while let Some((number, value)) = fields.next()? {
                    match number {
                        1 => quantile = value.double()?,
                        2 => at = value.double()?,
                        _ => {}
                    }
                }
                quantiles.push((quantile, at));
            }
            4 => start = Some(timestamp(value.bytes()?)?),
            _ => {}
        }
    }
    emit(&format!("{name}_count"), None, Point { start, ..point(count, time) })?;
    emit(&format!("{name}_sum"), None, Point { start, ..point(sum, time) })?;
    for (quantile, value) in quantiles {
        let mut bound = String::new();
        number::push_label_float(&mut bound, quantile);
        emit(name, Some(("quantile", &bound)), Point { start, ..point(value, time) })?;
    }
    Ok(())
}

/// A histogram in both its forms.
struct Parts<'a> {
    native: Histogram,
    is_native: bool,
    count: f64,
    buckets: Vec<(f64, f64, Option<ExemplarText<'a>>)>,
    start: Option<i64>,
    exemplar: Option<ExemplarText<'a>>,
}

fn read_histogram(body: &[u8]) -> Result<Parts<'_>, Malformed> {
    let mut h = Histogram::default();
    let (mut positive, mut negative) = (Vec::new(), Vec::new());
    let mut parts = Parts {
        native: Histogram::default(),
        is_native: false,
        count: 0.0,
        buckets: Vec::new(),
        start: None,
        exemplar: None,
    };
    let mut fields = Fields(body);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => h.count = value.varint()? as f64,
            2 => h.sum = value.double()?,
            3 => parts.buckets.push(bucket(value.bytes()?)?),
            4 => {
                let count = value.double()?;
                if count > 0.0 {
                    h.count = count;
                    h.is_float = true;
                }
            }
            5 => h.schema = i32::try_from(value.sint()?).map_err(|_| Malformed("a histogram schema"))?,
            6 => h.zero_threshold = value.double()?,
            7 => h.zero_count = value.varint()? as f64,
            8 => h.zero_count = value.double()?,
            9 => h.negative_spans.push(span(value)?),
            10 => deltas(value, &mut negative)?,
            11 => packed_doubles(value, &mut h.negative)?,
            12 => h.positive_spans.push(span(value)?),
            13 => deltas(value, &mut positive)?,
            14 => packed_doubles(value, &mut h.positive)?,
            15 => parts.start = Some(timestamp(value.bytes()?)?),
            16 => parts.exemplar = Some(exemplar(value.bytes()?)?),
            _ => {}
        }
    }
    if !h.is_float {
        (h.positive, h.negative) = (positive, negative);
    }
    parts.count = h.count;
    parts.is_native = !h.positive_spans.is_empty()
        || !h.negative_spans.is_empty()
        || h.zero_threshold > 0.0
        || h.zero_count > 0.0;
    parts.native = h;
    Ok(parts)
}

impl Parts<'_> {
    fn emit(
        mut self,
        name: &str,
        time: Option<i64>,
        wanted: super::Histograms,
        emit: &mut Emit<'_>,
    ) -> Result<(), Failed> {
        let (start, sum) = (self.start, self.native.sum);
        let has_native = self.is_native && wanted.native;
        if has_native {
            self.native.reset_hint = ResetHint::Unknown;
            self.native.validate().map_err(|err| format!("{name}: {err}"))?;
            let histogram = Some(Arc::new(std::mem::take(&mut self.native)));
            emit(name, None, Point { histogram, start, exemplar: self.exemplar, ..point(0.0, time) })?;
        }
        if has_native && (!wanted.classic || self.buckets.is_empty()) {
            return Ok(());
        }
        emit(&format!("{name}_count"), None, Point { start, ..point(self.count, time) })?;
        emit(&format!("{name}_sum"), None, Point { start, ..point(sum, time) })?;
        let bucket_name = format!("{name}_bucket");
        let mut infinite = false;
        for (bound, count, exemplar) in self.buckets {
            infinite |= bound == f64::INFINITY;
            let mut le = String::new();
            number::push_label_float(&mut le, bound);
            emit(&bucket_name, Some(("le", &le)), Point { start, exemplar, ..point(count, time) })?;
        }
        if !infinite {
            emit(&bucket_name, Some(("le", "+Inf")), Point { start, ..point(self.count, time) })?;
        }
        Ok(())
    }
}

fn bucket(body: &[u8]) -> Result<(f64, f64, Option<ExemplarText<'_>>), Malformed> {
    let (mut bound, mut count, mut sample) = (0.0, 0.0, None);
    let mut fields = Fields(body);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => count = value.varint()? as f64,
            2 => bound = value.double()?,
            3 => sample = Some(exemplar(value.bytes()?)?),
            4 => {
                let float = value.double()?;
                if float > 0.0 {
                    count = float;
                }
            }
            _ => {}
        }
    }
    Ok((bound, count, sample))
}

fn span(value: Value<'_>) -> Result<Span, Malformed> {
    let mut span = Span { offset: 0, length: 0 };
    let mut fields = Fields(value.bytes()?);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => span.offset = i32::try_from(value.sint()?).map_err(|_| Malformed("a span's offset"))?,
            2 => span.length = u32::try_from(value.varint()?).map_err(|_| Malformed("a span's length"))?,
            _ => {}
        }
    }
    Ok(span)
}

fn deltas(value: Value<'_>, out: &mut Vec<f64>) -> Result<(), Malformed> {
    let mut count = out.last().map_or(0, |last| *last as i64);
    packed_varints(value, |delta| {
        count = count.checked_add(zigzag(delta)).ok_or(Malformed("a bucket's count"))?;
        out.push(count as f64);
        Ok(())
    })
}

fn label(body: &[u8]) -> Result<(&str, &str), Malformed> {
    let mut pair = ("", "");
    let mut fields = Fields(body);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => pair.0 = text(value.bytes()?)?,
            2 => pair.1 = text(value.bytes()?)?,
            _ => {}
        }
    }
    Ok(pair)
}

fn exemplar(body: &[u8]) -> Result<ExemplarText<'_>, Malformed> {
    let mut out = ExemplarText { body, labels: ExemplarLabels::Protobuf, value: 0.0, time: None };
    let mut fields = Fields(body);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => drop(label(value.bytes()?)?),
            2 => out.value = value.double()?,
            3 => out.time = Some(timestamp(value.bytes()?)?),
            _ => {}
        }
    }
    Ok(out)
}

/// The labels of an exemplar's message, which was read before.
pub(super) fn exemplar_labels(body: &[u8]) -> Vec<(String, String)> {
    let mut labels = Vec::new();
    let mut fields = Fields(body);
    while let Ok(Some((number, value))) = fields.next() {
        if let (1, Ok(Ok((name, value)))) = (number, value.bytes().map(label)) {
            labels.push((name.to_owned(), value.to_owned()));
        }
    }
    labels
}

/// `google.protobuf.Timestamp` in milliseconds.
fn timestamp(body: &[u8]) -> Result<i64, Malformed> {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    let mut fields = Fields(body);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => seconds = value.int()?,
            2 => nanos = value.int()?,
            _ => {}
        }
    }
    Ok(seconds.saturating_mul(1000).saturating_add(nanos / 1_000_000))
}
