//! `io.prometheus.write.v2.Request`: labels are references into a table of symbols.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::labels::METRIC_NAME;
use model::{Batch, Metadata};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use super::known::{Item, Known, Request};
use super::{Decoded, Decoder, Malformed, NO_KEY, exemplar, histogram, kind};
use crate::proto::{Fields, Value, packed_varints, text};

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
    // The symbols may stand anywhere, so that they are collected first.
    let mut symbols: Vec<&[u8]> = Vec::new();
    let mut fields = Fields(body);
    while let Some((number, value)) = fields.next()? {
        match number {
            4 => symbols.push(value.bytes()?),
            // A 1.0 message under a 2.0 name: its fields are reserved here.
            1 | 3 => {
                return Err(Malformed(
                    "the message is prometheus.WriteRequest, not io.prometheus.write.v2.Request",
                ));
            }
            _ => {}
        }
    }
    if symbols.first().is_some_and(|first| !first.is_empty()) {
        return Err(Malformed("the first symbol is not empty"));
    }
    let mut decoded = Decoded::default();
    let mut pairs = Pairs::new();
    let mut described: BTreeMap<&[u8], Metadata> = BTreeMap::new();
    if u32::try_from(body.len()).is_err() {
        return Err(Malformed("a message is larger than 4 GiB"));
    }
    // A series is known by what its references name: labels first, then type, help and unit.
    let hashes: Vec<u64> = symbols.iter().map(|symbol| xxh3_64_with_seed(symbol, seed)).collect();
    let mut names = Vec::new();
    request.clear();
    let mut fields = Fields(body);
    while let Some((number, value)) = fields.next()? {
        if number == 5 {
            let series = value.bytes()?;
            let end = body.len() - fields.0.len();
            let start = end - series.len();
            let Head { key, rest, start_ms } = head(series, &hashes, &mut names, seed)?;
            request.keys.push(key);
            let (start, rest, end) = (start as u32, (start + rest) as u32, end as u32);
            request.items.push(Item { start, rest, end, start_ms });
        }
    }
    request.look_up(known);
    for at in 0..request.items.len() {
        let (item, key) = (request.items[at], request.keys[at]);
        let index = match (request.seen(key), request.found[at]) {
            _ if key == NO_KEY || request.whole => None,
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
                samples(decoder, rest, (index, item.start_ms), &symbols, batch, &mut decoded)?;
            }
            None => {
                let body = &body[item.start as usize..item.end as usize];
                let parts = (&symbols, &mut pairs, &mut described);
                if let Some(index) = series(decoder, body, key, parts, batch, &mut decoded)?
                    && key != NO_KEY
                    && !request.whole
                {
                    request.note(key, index);
                }
            }
        }
    }
    for (name, metadata) in described {
        batch.push_metadata(text(name)?, metadata);
    }
    Ok(Some(decoded))
}

/// What is known of a series before it is read.
struct Head {
    /// [`NO_KEY`] when its references do not come first and at once.
    key: u128,
    /// Where what follows its references starts.
    rest: usize,
    /// Its start timestamp.
    start_ms: i64,
}

/// The head of a series. Its metadata is part of the key: it is read again when it changes.
fn head(series: &[u8], hashes: &[u64], names: &mut Vec<u8>, seed: u64) -> Result<Head, Malformed> {
    let unusual = Head { key: NO_KEY, rest: 0, start_ms: 0 };
    let hash_of = |reference: u64| {
        let hash = usize::try_from(reference).ok().and_then(|at| hashes.get(at));
        hash.copied().ok_or(Malformed("a reference beyond the symbols"))
    };
    names.clear();
    let mut fields = Fields(series);
    match fields.next()? {
        Some((1, value @ Value::Bytes(_))) => packed_varints(value, |reference| {
            names.extend_from_slice(&hash_of(reference)?.to_le_bytes());
            Ok(())
        })?,
        _ => return Ok(unusual),
    }
    let rest = series.len() - fields.0.len();
    let mut start_ms = 0;
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => return Ok(unusual),
            5 => {
                let mut described = Fields(value.bytes()?);
                while let Some((field, value)) = described.next()? {
                    let what = match field {
                        1 => value.varint()?,
                        3 | 4 => hash_of(value.varint()?)?,
                        _ => continue,
                    };
                    // Field numbers are less than 8: no label's hash is taken for them, as labels come in eights.
                    names.push(field as u8);
                    names.extend_from_slice(&what.to_le_bytes());
                }
            }
            6 => start_ms = value.int()?,
            _ => {}
        }
    }
    Ok(Head { key: xxh3_128_with_seed(names, seed) | 1, rest, start_ms })
}

/// Looks up pairs of references.
fn labels<'a>(
    value: crate::proto::Value<'_>,
    symbols: &[&'a [u8]],
    pending: &mut Option<&'a [u8]>,
    out: &mut Pairs<'a>,
) -> Result<(), Malformed> {
    packed_varints(value, |reference| {
        let symbol = usize::try_from(reference).ok().and_then(|at| symbols.get(at));
        let symbol = *symbol.ok_or(Malformed("a reference beyond the symbols"))?;
        match pending.take() {
            None => *pending = Some(symbol),
            Some(name) => out.push((name, symbol)),
        }
        Ok(())
    })
}

/// Reads a series in full: its index, `None` when it is left out.
fn series<'a>(
    decoder: &mut Decoder,
    body: &[u8],
    key: u128,
    request: (&Vec<&'a [u8]>, &mut Pairs<'a>, &mut BTreeMap<&'a [u8], Metadata>),
    batch: &mut Batch,
    decoded: &mut Decoded,
) -> Result<Option<u32>, Malformed> {
    let (symbols, pairs, described) = request;
    pairs.clear();
    let mut pending = None;
    let mut metadata = None;
    let (mut count, mut series_start) = (0, 0);
    let mut fields = Fields(body);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => labels(value, symbols, &mut pending, pairs)?,
            2..=4 => count += 1,
            5 => metadata = Some(describe(value.bytes()?, symbols)?),
            6 => series_start = value.int()?,
            _ => {}
        }
    }
    if pending.is_some() {
        return Err(Malformed("a label without value"));
    }
    let name = pairs.iter().find(|(name, _)| *name == METRIC_NAME.as_bytes()).map(|(_, value)| *value);
    let index = match decoder.series(pairs, key, batch) {
        Ok(index) => index,
        Err(reason) => {
            decoded.refuse(count, || reason);
            return Ok(None);
        }
    };
    if let (Some(name), Some(metadata)) = (name, metadata)
        && metadata != Metadata::default()
    {
        described.insert(name, metadata);
    }
    samples(decoder, Fields(body), (index, series_start), symbols, batch, decoded)?;
    Ok(Some(index))
}

/// Reads the samples and exemplars of a series: its index, its start timestamp.
fn samples(
    decoder: &mut Decoder,
    mut fields: Fields<'_>,
    (index, series_start): (u32, i64),
    symbols: &[&[u8]],
    batch: &mut Batch,
    decoded: &mut Decoded,
) -> Result<(), Malformed> {
    while let Some((number, value)) = fields.next()? {
        match number {
            2 => {
                let (mut number, mut time, mut start) = (0.0, 0, series_start);
                let mut fields = Fields(value.bytes()?);
                while let Some((field, value)) = fields.next()? {
                    match field {
                        1 => number = value.double()?,
                        2 => time = value.int()?,
                        3 => start = value.int()?,
                        _ => {}
                    }
                }
                decoder.note_time(index, time);
                batch.push_float(index, time, number);
                if start != 0 {
                    batch.push_start(index, time, start);
                }
            }
            3 => {
                let sent = histogram::decode(value.bytes()?)?;
                match sent.histogram.validate() {
                    Ok(()) => {
                        decoder.note_time(index, sent.time);
                        let start = if sent.start == 0 { series_start } else { sent.start };
                        if start != 0 {
                            batch.push_start(index, sent.time, start);
                        }
                        batch.push_histogram(index, sent.time, Arc::new(sent.histogram));
                    }
                    Err(err) => decoded.refuse(1, || err.to_string()),
                }
            }
            4 => {
                let (mut own, mut pending, mut number, mut time) = (Pairs::new(), None, 0.0, 0);
                let mut fields = Fields(value.bytes()?);
                while let Some((field, value)) = fields.next()? {
                    match field {
                        1 => labels(value, symbols, &mut pending, &mut own)?,
                        2 => number = value.double()?,
                        3 => time = value.int()?,
                        _ => {}
                    }
                }
                match exemplar(&own, number, time) {
                    Some(exemplar) => batch.push_exemplar(index, exemplar),
                    None => decoded.refuse(1, || "an exemplar's labels are not UTF-8".into()),
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn describe(body: &[u8], symbols: &[&[u8]]) -> Result<Metadata, Malformed> {
    let mut metadata = Metadata::default();
    let symbol = |reference: u64| {
        let symbol = usize::try_from(reference).ok().and_then(|at| symbols.get(at));
        text(symbol.ok_or(Malformed("a reference beyond the symbols"))?).map(str::to_owned)
    };
    let mut fields = Fields(body);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => metadata.kind = kind(value.varint()?),
            3 => metadata.help = symbol(value.varint()?)?,
            4 => metadata.unit = symbol(value.varint()?)?,
            _ => {}
        }
    }
    Ok(metadata)
}
