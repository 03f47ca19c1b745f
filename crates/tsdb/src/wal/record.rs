//! Records: what a write-ahead log says about one group of series.
//!
//! Values are integer differences to the series' last value where that is exact, else the bits that differ from it. The
//! first record of a series in a segment has the base 0, so that segments stand alone. Byte layout: docs/formats/wal.md.

use std::collections::HashMap;
use std::sync::Arc;

use model::{Exemplar, Histogram, Labels, Metadata, MetricType, Timestamp};

use crate::chunk::varint::{Cursor, put, put_signed, unzigzag, zigzag};
use crate::chunk::{CorruptChunk, decode_histograms, encode_histograms};

const FLOATS: u8 = 1;
const HISTOGRAMS: u8 = 2;
const STARTS: u8 = 3;
const EXEMPLAR: u8 = 4;
const METADATA: u8 = 5;

const SAME_TIME: u8 = 1;
const NEXT_COLUMN: u8 = 2;
/// Bases are 0 and stay as they are.
const ABSOLUTE: u8 = 4;

/// A float sample on its way into the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogFloat {
    pub(crate) column: u32,
    pub(crate) time: i64,
    pub(crate) value: f64,
    /// The series' last value in this segment, 0 when it has none.
    pub(crate) base: f64,
}

/// Appends float samples of one group. `absolute`: with base 0 whatever the samples say, and without becoming a base.
pub(crate) fn put_floats(out: &mut Vec<u8>, group: u64, samples: &[LogFloat], absolute: bool) {
    let Some(first) = samples.first() else { return };
    let same_time = samples.iter().all(|s| s.time == first.time);
    let next_column = samples.windows(2).all(|w| w[1].column == w[0].column.wrapping_add(1));
    out.push(FLOATS);
    put(out, group);
    out.push(
        if same_time { SAME_TIME } else { 0 }
            | if next_column { NEXT_COLUMN } else { 0 }
            | if absolute { ABSOLUTE } else { 0 },
    );
    put(out, samples.len() as u64);
    put_signed(out, first.time);
    put(out, u64::from(first.column));
    let (mut column, mut time) = (first.column, first.time);
    for sample in samples {
        if !next_column {
            put_signed(out, i64::from(sample.column) - i64::from(column));
            column = sample.column;
        }
        if !same_time {
            put_signed(out, sample.time.wrapping_sub(time));
            time = sample.time;
        }
        put_value(out, sample.value, if absolute { 0.0 } else { sample.base });
    }
}

/// `value` as an integer that an `f64` holds exactly, −0 excluded.
#[inline]
fn as_integer(value: f64) -> Option<i64> {
    let integer = value as i64;
    ((integer as f64).to_bits() == value.to_bits() && integer.unsigned_abs() <= 1 << 53).then_some(integer)
}

#[inline]
fn put_value(out: &mut Vec<u8>, value: f64, base: f64) {
    if let (Some(value), Some(base)) = (as_integer(value), as_integer(base)) {
        put(out, zigzag(value - base) << 1);
        return;
    }
    // Low bytes are zero most often: keep the high ones.
    let bits = (value.to_bits() ^ base.to_bits()).swap_bytes();
    let bytes = 8 - bits.leading_zeros() as usize / 8;
    out.push((bytes as u8) << 1 | 1);
    out.extend_from_slice(&bits.to_le_bytes()[..bytes]);
}

#[inline]
fn take_value(cursor: &mut Cursor<'_>, base: f64) -> Result<f64, CorruptChunk> {
    let head = cursor.varint()?;
    if head & 1 == 0 {
        let base = as_integer(base).ok_or(CorruptChunk("a difference to a value that is no integer"))?;
        return Ok(base.wrapping_add(unzigzag(head >> 1)) as f64);
    }
    let count = (head >> 1) as usize;
    if count > 8 {
        return Err(CorruptChunk("a value has more than 8 bytes"));
    }
    let mut bytes = [0; 8];
    bytes[..count].copy_from_slice(cursor.bytes(count)?);
    Ok(f64::from_bits(u64::from_le_bytes(bytes).swap_bytes() ^ base.to_bits()))
}

/// Appends histogram samples `(column, time, histogram)` of one group.
pub(crate) fn put_histograms(out: &mut Vec<u8>, group: u64, samples: &[(u32, i64, Arc<Histogram>)]) {
    if samples.is_empty() {
        return;
    }
    out.push(HISTOGRAMS);
    put(out, group);
    put(out, samples.len() as u64);
    for (column, time, _) in samples {
        put(out, u64::from(*column));
        put_signed(out, *time);
    }
    // Neighbours are different series: each for itself.
    let mut one = Vec::new();
    for (_, _, histogram) in samples {
        one.clear();
        encode_histograms(std::slice::from_ref(histogram), &mut one);
        put(out, one.len() as u64);
        out.extend_from_slice(&one);
    }
}

/// Appends start timestamps `(column, time, start)` of one group.
pub(crate) fn put_starts(out: &mut Vec<u8>, group: u64, starts: &[(u32, i64, i64)]) {
    if starts.is_empty() {
        return;
    }
    out.push(STARTS);
    put(out, group);
    put(out, starts.len() as u64);
    for &(column, time, start) in starts {
        put(out, u64::from(column));
        put_signed(out, time);
        put_signed(out, time.wrapping_sub(start));
    }
}

/// Appends an exemplar.
pub(crate) fn put_exemplar(out: &mut Vec<u8>, group: u64, column: u32, exemplar: &Exemplar) {
    out.push(EXEMPLAR);
    put(out, group);
    put(out, u64::from(column));
    put_signed(out, exemplar.at.ms());
    out.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
    put_bytes(out, exemplar.labels.as_encoded());
}

/// Appends what is known about a metric.
pub(crate) fn put_metadata(out: &mut Vec<u8>, name: &str, metadata: &Metadata) {
    out.push(METADATA);
    put_bytes(out, name.as_bytes());
    put_bytes(out, metadata.kind.as_str().as_bytes());
    put_bytes(out, metadata.help.as_bytes());
    put_bytes(out, metadata.unit.as_bytes());
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

pub(crate) fn take_bytes<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], CorruptChunk> {
    let len = cursor.varint()?;
    let len = usize::try_from(len).map_err(|_| CorruptChunk("a length is impossible"))?;
    cursor.bytes(len)
}

pub(crate) fn take_text<'a>(cursor: &mut Cursor<'a>) -> Result<&'a str, CorruptChunk> {
    std::str::from_utf8(take_bytes(cursor)?).map_err(|_| CorruptChunk("a text is not UTF-8"))
}

/// What a record puts into memory, without its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Place {
    /// A float sample.
    Float(u64, u32, i64),
    /// A histogram sample.
    Histogram(u64, u32, i64),
    /// A start timestamp: the sample's time, and the start.
    Start(u64, u32, i64, i64),
    /// An exemplar.
    Exemplar(u64, u32, Box<Exemplar>),
    /// Metadata of a metric.
    Metadata(String, Box<Metadata>),
}

/// Reads records without their segment: the bases of their values are not needed.
///
/// # Errors
/// [`CorruptChunk`] when no encoder can have written them.
pub(crate) fn read_places(records: &[u8], each: &mut dyn FnMut(Place)) -> Result<(), CorruptChunk> {
    let mut cursor = Cursor::new(records);
    let mut places = Vec::new();
    while !cursor.rest().is_empty() {
        match cursor.byte()? {
            FLOATS => {
                let layout = Layout::read(&mut cursor)?;
                layout.each(&mut cursor, |cursor, column, time| {
                    let head = cursor.varint()?;
                    if head & 1 == 1 {
                        cursor.bytes((head >> 1) as usize)?;
                    }
                    each(Place::Float(layout.group, column, time));
                    Ok(())
                })?;
            }
            HISTOGRAMS => {
                let group = read_histogram_places(&mut cursor, &mut places)?;
                for &(column, time) in &places {
                    take_bytes(&mut cursor)?;
                    each(Place::Histogram(group, column, time));
                }
            }
            kind => read_other(kind, &mut cursor, each)?,
        }
    }
    Ok(())
}

/// The head of a record of floats.
struct Layout {
    group: u64,
    flags: u8,
    count: usize,
    time: i64,
    column: u32,
}

impl Layout {
    fn read(cursor: &mut Cursor<'_>) -> Result<Self, CorruptChunk> {
        let group = cursor.varint()?;
        let flags = cursor.byte()?;
        let count = cursor.varint()? as usize;
        if count > cursor.rest().len() {
            return Err(CorruptChunk("a record has more samples than bytes"));
        }
        Ok(Self { group, flags, count, time: cursor.signed()?, column: take_column(cursor)? })
    }

    /// Calls `each` with column and time of every sample; it reads the value.
    #[inline]
    fn each<'a>(
        &self,
        cursor: &mut Cursor<'a>,
        mut each: impl FnMut(&mut Cursor<'a>, u32, i64) -> Result<(), CorruptChunk>,
    ) -> Result<(), CorruptChunk> {
        let (mut time, mut column) = (self.time, self.column);
        for i in 0..self.count {
            if self.flags & NEXT_COLUMN == 0 {
                let moved = i64::from(column).checked_add(cursor.signed()?);
                column = moved
                    .and_then(|c| u32::try_from(c).ok())
                    .filter(|&c| c < MAX_COLUMNS)
                    .ok_or(CorruptChunk("a column is impossible"))?;
            } else if i > 0 {
                column += 1;
            }
            if self.flags & SAME_TIME == 0 {
                time = time.wrapping_add(cursor.signed()?);
            }
            each(cursor, column, time)?;
        }
        Ok(())
    }
}

/// The head of a record of histograms: the group; columns and times go to `places`.
fn read_histogram_places(cursor: &mut Cursor<'_>, places: &mut Vec<(u32, i64)>) -> Result<u64, CorruptChunk> {
    let group = cursor.varint()?;
    let count = cursor.varint()? as usize;
    if count > cursor.rest().len() {
        return Err(CorruptChunk("a record has more samples than bytes"));
    }
    places.clear();
    for _ in 0..count {
        places.push((take_column(cursor)?, cursor.signed()?));
    }
    Ok(group)
}

/// Reads a record that holds no samples.
fn read_other(kind: u8, cursor: &mut Cursor<'_>, each: &mut dyn FnMut(Place)) -> Result<(), CorruptChunk> {
    match kind {
        STARTS => {
            let group = cursor.varint()?;
            for _ in 0..cursor.varint()? {
                let column = take_column(cursor)?;
                let time = cursor.signed()?;
                let start = time.wrapping_sub(cursor.signed()?);
                each(Place::Start(group, column, time, start));
            }
        }
        EXEMPLAR => {
            let group = cursor.varint()?;
            let column = take_column(cursor)?;
            let at = Timestamp(cursor.signed()?);
            let value = f64::from_bits(cursor.u64()?);
            let labels = Labels::from_encoded(take_bytes(cursor)?)
                .ok_or(CorruptChunk("an exemplar's labels are not canonical"))?;
            each(Place::Exemplar(group, column, Box::new(Exemplar { labels, value, at })));
        }
        METADATA => {
            let name = take_text(cursor)?.to_owned();
            let kind =
                MetricType::parse(take_text(cursor)?).ok_or(CorruptChunk("a metric type does not exist"))?;
            let help = take_text(cursor)?.to_owned();
            let unit = take_text(cursor)?.to_owned();
            each(Place::Metadata(name, Box::new(Metadata { kind, help, unit })));
        }
        _ => return Err(CorruptChunk("a record's kind does not exist")),
    }
    Ok(())
}

/// What a log says, in order.
pub(crate) trait Replay {
    /// Float samples of one group: `(column, time, value)`.
    fn floats(&mut self, group: u64, samples: &[(u32, i64, f64)]);
    /// A histogram sample.
    fn histogram(&mut self, group: u64, column: u32, time: i64, histogram: Arc<Histogram>);
    /// A start timestamp.
    fn start(&mut self, group: u64, column: u32, time: i64, start: i64);
    /// An exemplar.
    fn exemplar(&mut self, group: u64, column: u32, exemplar: Exemplar);
    /// What is known about a metric.
    fn metadata(&mut self, name: String, metadata: Metadata);
}

/// Reads the records of one segment.
#[derive(Default)]
pub(crate) struct Reader {
    /// By group: the last value of each column.
    bases: HashMap<u64, Vec<f64>>,
    floats: Vec<(u32, i64, f64)>,
    histograms: Vec<Arc<Histogram>>,
}

/// Columns of a group at most; bounds what a damaged record can ask for.
pub(crate) const MAX_COLUMNS: u32 = 1 << 24;

impl Reader {
    /// Reads the records of one frame.
    ///
    /// # Errors
    /// [`CorruptChunk`] when no encoder can have written them; what came before is replayed.
    pub(crate) fn read(&mut self, payload: &[u8], replay: &mut dyn Replay) -> Result<(), CorruptChunk> {
        let mut cursor = Cursor::new(payload);
        while !cursor.rest().is_empty() {
            match cursor.byte()? {
                FLOATS => self.read_floats(&mut cursor, replay)?,
                HISTOGRAMS => self.read_histograms(&mut cursor, replay)?,
                kind => read_other(kind, &mut cursor, &mut |place| match place {
                    Place::Start(group, column, time, start) => replay.start(group, column, time, start),
                    Place::Exemplar(group, column, exemplar) => replay.exemplar(group, column, *exemplar),
                    Place::Metadata(name, metadata) => replay.metadata(name, *metadata),
                    Place::Float(..) | Place::Histogram(..) => {}
                })?,
            }
        }
        Ok(())
    }

    fn read_floats(&mut self, cursor: &mut Cursor<'_>, replay: &mut dyn Replay) -> Result<(), CorruptChunk> {
        let layout = Layout::read(cursor)?;
        let bases = self.bases.entry(layout.group).or_default();
        self.floats.clear();
        self.floats.reserve(layout.count);
        let floats = &mut self.floats;
        layout.each(cursor, |cursor, column, time| {
            let value = if layout.flags & ABSOLUTE != 0 {
                take_value(cursor, 0.0)?
            } else {
                if bases.len() <= column as usize {
                    bases.resize(column as usize + 1, 0.0);
                }
                let base = &mut bases[column as usize];
                *base = take_value(cursor, *base)?;
                *base
            };
            floats.push((column, time, value));
            Ok(())
        })?;
        replay.floats(layout.group, &self.floats);
        Ok(())
    }

    fn read_histograms(
        &mut self,
        cursor: &mut Cursor<'_>,
        replay: &mut dyn Replay,
    ) -> Result<(), CorruptChunk> {
        let mut places = Vec::new();
        let group = read_histogram_places(cursor, &mut places)?;
        for (column, time) in places {
            let bytes = take_bytes(cursor)?;
            self.histograms.clear();
            if decode_histograms(bytes, 1, &mut self.histograms)? != bytes.len() {
                return Err(CorruptChunk("bytes are left behind a histogram"));
            }
            let histogram = self.histograms.pop().ok_or(CorruptChunk("a histogram is missing"))?;
            replay.histogram(group, column, time, histogram);
        }
        Ok(())
    }
}

fn take_column(cursor: &mut Cursor<'_>) -> Result<u32, CorruptChunk> {
    u32::try_from(cursor.varint()?)
        .ok()
        .filter(|&column| column < MAX_COLUMNS)
        .ok_or(CorruptChunk("a column is impossible"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Collect(Vec<(u64, u32, i64, u64)>);
    impl Replay for Collect {
        fn floats(&mut self, group: u64, samples: &[(u32, i64, f64)]) {
            self.0.extend(samples.iter().map(|&(c, t, v)| (group, c, t, v.to_bits())));
        }
        fn histogram(&mut self, _: u64, _: u32, _: i64, _: Arc<Histogram>) {}
        fn start(&mut self, _: u64, _: u32, _: i64, _: i64) {}
        fn exemplar(&mut self, _: u64, _: u32, _: Exemplar) {}
        fn metadata(&mut self, _: String, _: Metadata) {}
    }

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            (-1000i64..1000).prop_map(|v| v as f64),
            prop::sample::select(vec![0.0, -0.0, 0.1, f64::NAN, f64::INFINITY, 9.007199254740992e15, 1e300]),
        ]
    }

    proptest! {
        #[test]
        fn floats_come_back_bit_for_bit(
            records in prop::collection::vec(
                (0u64..3, any::<bool>(), prop::collection::vec((0u32..6, -5i64..5, value()), 1..12)), 1..10)
        ) {
            let mut last: HashMap<(u64, u32), f64> = HashMap::new();
            let (mut out, mut expected) = (Vec::new(), Vec::new());
            for (group, absolute, samples) in records {
                let mut floats = Vec::new();
                for (column, time, value) in samples {
                    let base = last.get(&(group, column)).copied().unwrap_or(0.0);
                    floats.push(LogFloat { column, time, value, base });
                    if !absolute {
                        last.insert((group, column), value);
                    }
                    expected.push((group, column, time, value.to_bits()));
                }
                put_floats(&mut out, group, &floats, absolute);
            }
            let mut got = Collect::default();
            Reader::default().read(&out, &mut got).unwrap();
            prop_assert_eq!(&got.0, &expected);
            let mut places = Vec::new();
            read_places(&out, &mut |place| places.push(place)).unwrap();
            let expected: Vec<_> = expected.iter().map(|e| Place::Float(e.0, e.1, e.2)).collect();
            prop_assert_eq!(places, expected);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _outcome = Reader::default().read(&bytes, &mut Collect::default());
            let _places = read_places(&bytes, &mut |_| {});
        }
    }
}
