//! `prometheus.WriteRequest`.

use std::sync::Arc;

use model::{Batch, Metadata};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::known::{Item, Known, Request};
use super::{Decoded, Decoder, Malformed, NO_KEY, exemplar, histogram, kind};
use crate::proto::{Fields, text};

/// Labels of a series or exemplar as they are on the wire.
type Pairs<'a> = Vec<(&'a [u8], &'a [u8])>;

/// `None`: read the message again with `request.whole`.
pub(super) fn decode(
    decoder: &mut Decoder,
    body: &[u8],
    batch: &mut Batch,
    seed: u64,
    request: &mut Request,
    known: &dyn Known,
) -> Result<Option<Decoded>, Malformed> {
    let mut decoded = Decoded::default();
    let mut pairs = Pairs::new();
    if u32::try_from(body.len()).is_err() {
        return Err(Malformed("a message is larger than 4 GiB"));
    }
    request.clear();
    let mut fields = Fields(body);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => {
                let series = value.bytes()?;
                let end = body.len() - fields.0.len();
                let start = end - series.len();
                let labels = leading_labels(series);
                request.keys.push(xxh3_128_with_seed(&series[..labels], seed) | 1);
                let (start, rest, end) = (start as u32, (start + labels) as u32, end as u32);
                request.items.push(Item { start, rest, end, start_ms: 0 });
            }
            3 => metadata(value.bytes()?, batch)?,
            _ => {}
        }
    }
    request.look_up(known);
    for at in 0..request.items.len() {
        let (item, key) = (request.items[at], request.keys[at]);
        let seen = request.seen(key);
        let index = match (seen, request.found[at]) {
            _ if request.whole => None,
            (Some(index), _) => Some(index),
            (None, Some(reference)) => {
                let index = decoder.known_series(key, reference, batch);
                request.note(key, index);
                Some(index)
            }
            (None, None) => None,
        };
        match index {
            Some(index) => {
                let rest = Fields(&body[item.rest as usize..item.end as usize]);
                if !samples(decoder, rest, index, batch, &mut decoded)? {
                    return Ok(None);
                }
            }
            None => {
                let body = &body[item.start as usize..item.end as usize];
                if let Some((index, usual)) = series(decoder, body, key, &mut pairs, batch, &mut decoded)?
                    && usual
                    && !request.whole
                {
                    request.note(key, index);
                }
            }
        }
    }
    Ok(Some(decoded))
}

/// How many bytes the labels take that a series begins with.
#[inline]
fn leading_labels(series: &[u8]) -> usize {
    let mut at = 0;
    while let Some([0x0a, len, ..]) = series.get(at..) {
        // A label of 128 bytes and more, or one that is cut off: the rest is read when the series is.
        let next = at + 2 + usize::from(*len);
        if *len >= 0x80 {
            let mut fields = Fields(&series[at..]);
            match fields.next() {
                Ok(Some(_)) => at = series.len() - fields.0.len(),
                _ => return at,
            }
        } else if next > series.len() {
            return at;
        } else {
            at = next;
        }
    }
    at
}

/// Reads a series in full: its index, and whether its labels came first. `None` when it is left out.
fn series<'a>(
    decoder: &mut Decoder,
    body: &'a [u8],
    key: u128,
    pairs: &mut Pairs<'a>,
    batch: &mut Batch,
    decoded: &mut Decoded,
) -> Result<Option<(u32, bool)>, Malformed> {
    pairs.clear();
    // Labels come first from every known sender; a message may have them anywhere, though.
    let mut rest = Fields(body);
    let mut behind = Fields(body);
    let (mut leading, mut usual) = (true, true);
    let mut count = 0;
    loop {
        let before = rest;
        let Some((number, value)) = rest.next()? else { break };
        if number == 1 {
            pairs.push(label(value.bytes()?)?);
            usual &= leading;
        } else {
            if leading {
                behind = before;
                leading = false;
            }
            count += usize::from(matches!(number, 2..=4));
        }
    }
    if leading {
        // No samples: nothing to store, but bad labels are still said.
        behind = Fields(&[]);
    }
    let index = match decoder.series(pairs, if usual { key } else { NO_KEY }, batch) {
        Ok(index) => index,
        Err(reason) => {
            decoded.refuse(count, || reason);
            return Ok(None);
        }
    };
    samples(decoder, behind, index, batch, decoded)?;
    Ok(Some((index, usual)))
}

/// One sample: value and time.
#[inline]
fn sample(body: &[u8]) -> Result<(f64, i64), Malformed> {
    let (mut number, mut time) = (0.0, 0);
    let mut fields = Fields(body);
    while let Some((field, value)) = fields.next()? {
        match field {
            1 => number = value.double()?,
            2 => time = value.int()?,
            _ => {}
        }
    }
    Ok((number, time))
}

/// Reads what follows the labels of a series; `false` when there are labels among it.
fn samples(
    decoder: &mut Decoder,
    mut behind: Fields<'_>,
    index: u32,
    batch: &mut Batch,
    decoded: &mut Decoded,
) -> Result<bool, Malformed> {
    let mut usual = true;
    while let Some((number, value)) = behind.next()? {
        match number {
            1 => usual = false,
            2 => {
                let (number, time) = sample(value.bytes()?)?;
                decoder.note_time(index, time);
                batch.push_float(index, time, number);
            }
            3 => {
                let (mut labels, mut number, mut time) = (Pairs::new(), 0.0, 0);
                let mut fields = Fields(value.bytes()?);
                while let Some((field, value)) = fields.next()? {
                    match field {
                        1 => labels.push(label(value.bytes()?)?),
                        2 => number = value.double()?,
                        3 => time = value.int()?,
                        _ => {}
                    }
                }
                match exemplar(&labels, number, time) {
                    Some(exemplar) => batch.push_exemplar(index, exemplar),
                    None => decoded.refuse(1, || "an exemplar's labels are not UTF-8".into()),
                }
            }
            4 => {
                let sent = histogram::decode(value.bytes()?)?;
                match sent.histogram.validate() {
                    Ok(()) => {
                        decoder.note_time(index, sent.time);
                        batch.push_histogram(index, sent.time, Arc::new(sent.histogram));
                    }
                    Err(err) => decoded.refuse(1, || err.to_string()),
                }
            }
            _ => {}
        }
    }
    Ok(usual)
}

fn label(body: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let mut pair: (&[u8], &[u8]) = (&[], &[]);
    let mut fields = Fields(body);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => pair.0 = value.bytes()?,
            2 => pair.1 = value.bytes()?,
            _ => {}
        }
    }
    Ok(pair)
}

fn metadata(body: &[u8], batch: &mut Batch) -> Result<(), Malformed> {
    let (mut name, mut metadata) = ("", Metadata::default());
    let mut fields = Fields(body);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => metadata.kind = kind(value.varint()?),
            2 => name = text(value.bytes()?)?,
            4 => metadata.help = text(value.bytes()?)?.to_owned(),
            5 => metadata.unit = text(value.bytes()?)?.to_owned(),
            _ => {}
        }
    }
    if !name.is_empty() {
        batch.push_metadata(name, metadata);
    }
    Ok(())
}
