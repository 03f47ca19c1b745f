//! `io.prometheus.write.v2.Request`: labels are references into a table of symbols.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::labels::METRIC_NAME;
use model::{Batch, Metadata};

use super::{Decoded, Decoder, Malformed, exemplar, histogram, kind};
use crate::proto::{Fields, packed_varints, text};

type Pairs<'a> = Vec<(&'a [u8], &'a [u8])>;

pub(super) fn decode(decoder: &mut Decoder, body: &[u8], batch: &mut Batch) -> Result<Decoded, Malformed> {
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
    let mut fields = Fields(body);
    while let Some((number, value)) = fields.next()? {
        if number == 5 {
            let request = (&symbols, &mut pairs, &mut described);
            series(decoder, value.bytes()?, request, batch, &mut decoded)?;
        }
    }
    for (name, metadata) in described {
        batch.push_metadata(text(name)?, metadata);
    }
    Ok(decoded)
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

fn series<'a>(
    decoder: &mut Decoder,
    body: &[u8],
    request: (&Vec<&'a [u8]>, &mut Pairs<'a>, &mut BTreeMap<&'a [u8], Metadata>),
    batch: &mut Batch,
    decoded: &mut Decoded,
) -> Result<(), Malformed> {
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
    let index = match decoder.series(pairs, batch) {
        Ok(index) => index,
        Err(reason) => {
            decoded.refuse(count, || reason);
            return Ok(());
        }
    };
    if let (Some(name), Some(metadata)) = (name, metadata)
        && metadata != Metadata::default()
    {
        described.insert(name, metadata);
    }
    let mut fields = Fields(body);
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
