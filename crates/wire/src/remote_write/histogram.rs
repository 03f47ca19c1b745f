//! Native histograms as remote write sends them; both versions use the same message.

use model::Histogram;
use model::histogram::{ResetHint, Span};

use crate::proto::{Fields, Malformed, Value, packed_doubles, packed_varints, zigzag};

/// A histogram with its times.
pub(crate) struct Sent {
    pub(crate) histogram: Histogram,
    pub(crate) time: i64,
    pub(crate) start: i64,
}

pub(crate) fn decode(body: &[u8]) -> Result<Sent, Malformed> {
    let mut fields = Fields(body);
    let mut sent = Sent { histogram: Histogram::default(), time: 0, start: 0 };
    let h = &mut sent.histogram;
    let (mut positive, mut negative) = (Vec::new(), Vec::new());
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => h.count = value.varint()? as f64,
            2 => {
                h.count = value.double()?;
                h.is_float = true;
            }
            3 => h.sum = value.double()?,
            4 => h.schema = i32::try_from(value.sint()?).map_err(|_| Malformed("a histogram schema"))?,
            5 => h.zero_threshold = value.double()?,
            6 => h.zero_count = value.varint()? as f64,
            7 => h.zero_count = value.double()?,
            8 => h.negative_spans.push(span(value)?),
            9 => deltas(value, &mut negative)?,
            10 => packed_doubles(value, &mut h.negative)?,
            11 => h.positive_spans.push(span(value)?),
            12 => deltas(value, &mut positive)?,
            13 => packed_doubles(value, &mut h.positive)?,
            14 => {
                h.reset_hint = match value.varint()? {
                    1 => ResetHint::Reset,
                    2 => ResetHint::NotReset,
                    3 => ResetHint::Gauge,
                    _ => ResetHint::Unknown,
                };
            }
            15 => sent.time = value.int()?,
            16 => packed_doubles(value, &mut h.custom_values)?,
            17 => sent.start = value.int()?,
            _ => {}
        }
    }
    if !h.is_float {
        h.positive = positive;
        h.negative = negative;
    }
    Ok(sent)
}

fn span(value: Value<'_>) -> Result<Span, Malformed> {
    let mut fields = Fields(value.bytes()?);
    let mut span = Span { offset: 0, length: 0 };
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => span.offset = i32::try_from(value.sint()?).map_err(|_| Malformed("a span's offset"))?,
            2 => span.length = u32::try_from(value.varint()?).map_err(|_| Malformed("a span's length"))?,
            _ => {}
        }
    }
    Ok(span)
}

/// Each bucket's difference to the one before.
fn deltas(value: Value<'_>, out: &mut Vec<f64>) -> Result<(), Malformed> {
    let mut count = out.last().map_or(0, |last| *last as i64);
    packed_varints(value, |delta| {
        count = count.checked_add(zigzag(delta)).ok_or(Malformed("a bucket's count"))?;
        out.push(count as f64);
        Ok(())
    })
}
