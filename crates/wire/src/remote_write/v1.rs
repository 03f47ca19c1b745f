//! `prometheus.WriteRequest`.

use std::sync::Arc;

use model::{Batch, Metadata};

use super::{Decoded, Decoder, Malformed, exemplar, histogram, kind};
use crate::proto::{Fields, text};

/// Labels of a series or exemplar as they are on the wire.
type Pairs<'a> = Vec<(&'a [u8], &'a [u8])>;

pub(super) fn decode(decoder: &mut Decoder, body: &[u8], batch: &mut Batch) -> Result<Decoded, Malformed> {
    let mut decoded = Decoded::default();
    let mut pairs = Pairs::new();
    let mut fields = Fields(body);
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => series(decoder, value.bytes()?, &mut pairs, batch, &mut decoded)?,
            3 => metadata(value.bytes()?, batch)?,
            _ => {}
        }
    }
    Ok(decoded)
}

fn series<'a>(
    decoder: &mut Decoder,
    body: &'a [u8],
    pairs: &mut Pairs<'a>,
    batch: &mut Batch,
    decoded: &mut Decoded,
) -> Result<(), Malformed> {
    pairs.clear();
    // Labels come first from every known sender; a message may have them anywhere, though.
    let mut rest = Fields(body);
    let mut samples = Fields(body);
    let mut leading = true;
    let mut count = 0;
    loop {
        let before = rest;
        let Some((number, value)) = rest.next()? else { break };
        if number == 1 {
            pairs.push(label(value.bytes()?)?);
        } else {
            if leading {
                samples = before;
                leading = false;
            }
            count += usize::from(matches!(number, 2..=4));
        }
    }
    if leading {
        // No samples: nothing to store, but bad labels are still said.
        samples = Fields(&[]);
    }
    let index = match decoder.series(pairs, batch) {
        Ok(index) => index,
        Err(reason) => {
            decoded.refuse(count, || reason);
            return Ok(());
        }
    };
    while let Some((number, value)) = samples.next()? {
        match number {
            2 => {
                let (mut number, mut time) = (0.0, 0);
                let mut fields = Fields(value.bytes()?);
                while let Some((field, value)) = fields.next()? {
                    match field {
                        1 => number = value.double()?,
                        2 => time = value.int()?,
                        _ => {}
                    }
                }
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
    Ok(())
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
