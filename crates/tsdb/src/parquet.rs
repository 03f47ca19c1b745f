//! Samples as a Parquet file, one row a sample, for DuckDB, Spark and whatever else reads it.
//!
//! A small writer of our own: four columns, none nested, none optional. Strings are dictionary-encoded with run lengths (the rows of a
//! series are neighbours), numbers plain, pages compressed with Zstandard. The schema is written down in docs/formats/parquet.md. Native
//! histograms and staleness markers have no place in it; they are left out and counted. Source: the Apache Parquet format 2.11
//! (`parquet.thrift`, "Encodings"), the Thrift compact protocol.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;

use model::labels::METRIC_NAME;
use model::{Labels, Samples, is_stale};

use crate::export::Exported;
use crate::{Error, Result};

/// Rows of a row group; what is held in memory is one group.
const GROUP_ROWS: usize = 1 << 20;
/// Zstandard's level.
const LEVEL: i32 = 3;

const MAGIC: &[u8; 4] = b"PAR1";

/// Numbers of the format.
mod code {
    pub(super) const INT64: i64 = 2;
    pub(super) const DOUBLE: i64 = 5;
    pub(super) const BYTE_ARRAY: i64 = 6;
    pub(super) const PLAIN: i64 = 0;
    pub(super) const RLE: i64 = 3;
    pub(super) const RLE_DICTIONARY: i64 = 8;
    pub(super) const ZSTD: i64 = 6;
    pub(super) const DATA_PAGE: i64 = 0;
    pub(super) const DICTIONARY_PAGE: i64 = 2;
    pub(super) const UTF8: i64 = 0;
    pub(super) const TIMESTAMP_MILLIS: i64 = 9;
}

/// A column of strings: distinct ones, and runs of their numbers.
#[derive(Debug, Default)]
struct Strings {
    distinct: Vec<String>,
    numbers: HashMap<String, u32>,
    /// Number and how many rows in a row.
    runs: Vec<(u32, u32)>,
}

impl Strings {
    fn push(&mut self, text: &str, rows: u32) {
        let number = match self.numbers.get(text) {
            Some(&number) => number,
            None => {
                let number = self.distinct.len() as u32;
                self.distinct.push(text.to_owned());
                self.numbers.insert(text.to_owned(), number);
                number
            }
        };
        match self.runs.last_mut() {
            Some((last, count)) if *last == number => *count += rows,
            _ => self.runs.push((number, rows)),
        }
    }

    fn dictionary(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for text in &self.distinct {
            out.extend_from_slice(&(text.len() as u32).to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        out
    }

    fn indices(&self) -> Vec<u8> {
        let width = (usize::BITS - self.distinct.len().saturating_sub(1).leading_zeros()).max(1);
        let mut out = vec![width as u8];
        for &(number, count) in &self.runs {
            varint(&mut out, u64::from(count) << 1);
            out.extend_from_slice(&number.to_le_bytes()[..width.div_ceil(8) as usize]);
        }
        out
    }
}

/// What a column chunk is, for the footer.
#[derive(Debug)]
struct Chunk {
    name: &'static str,
    kind: i64,
    encodings: Vec<i64>,
    values: u64,
    plain_bytes: u64,
    bytes: u64,
    dictionary: Option<u64>,
    data: u64,
    /// Smallest and largest value, as the format has them.
    bounds: Option<([u8; 8], [u8; 8])>,
}

/// Writes a Parquet file.
#[derive(Debug)]
pub struct Parquet<W> {
    out: W,
    at: u64,
    metric: Strings,
    labels: Strings,
    times: Vec<i64>,
    values: Vec<f64>,
    groups: Vec<(Vec<Chunk>, u64)>,
    done: Exported,
}

impl<W: Write> Parquet<W> {
    /// Writes to `out`, which should be buffered.
    ///
    /// # Errors
    /// `Io`.
    pub fn new(out: W) -> Result<Self> {
        let mut this = Self {
            out,
            at: 0,
            metric: Strings::default(),
            labels: Strings::default(),
            times: Vec::new(),
            values: Vec::new(),
            groups: Vec::new(),
            done: Exported::default(),
        };
        this.write(MAGIC).map_err(failed)?;
        Ok(this)
    }

    /// Writes a series.
    ///
    /// # Errors
    /// `Io`.
    pub fn add(&mut self, labels: &Labels, samples: &Samples) -> Result<()> {
        let others = json(labels);
        let before = self.done.samples;
        for at in 0..samples.len() {
            let value = samples.values[at];
            if samples.histogram(at).is_some() {
                self.done.histograms_left_out += 1;
                continue;
            }
            if is_stale(value) {
                self.done.stale_left_out += 1;
                continue;
            }
            self.times.push(samples.times[at]);
            self.values.push(value);
            self.metric.push(labels.metric_name(), 1);
            self.labels.push(&others, 1);
            self.done.samples += 1;
            if self.times.len() >= GROUP_ROWS {
                self.group().map_err(failed)?;
            }
        }
        self.done.series += u64::from(self.done.samples > before);
        Ok(())
    }

    /// Ends the file and says what was written.
    ///
    /// # Errors
    /// `Io`.
    pub fn finish(mut self) -> Result<Exported> {
        let result = (|| {
            if !self.times.is_empty() {
                self.group()?;
            }
            let footer = self.footer();
            self.write(&footer)?;
            self.write(&(footer.len() as u32).to_le_bytes())?;
            self.write(MAGIC)?;
            self.out.flush()
        })();
        result.map_err(failed)?;
        Ok(self.done)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    /// Writes a page: where it starts, its bytes before compression and on disk, with the header.
    fn page(&mut self, kind: i64, values: u64, encoding: i64, plain: &[u8]) -> io::Result<(u64, u64, u64)> {
        let compressed = zstd::bulk::compress(plain, LEVEL)?;
        let mut header = Thrift::default();
        header.int(1, I32, kind);
        header.int(2, I32, plain.len() as i64);
        header.int(3, I32, compressed.len() as i64);
        header.open(if kind == code::DATA_PAGE { 5 } else { 7 });
        header.int(1, I32, values as i64);
        header.int(2, I32, encoding);
        if kind == code::DATA_PAGE {
            header.int(3, I32, code::RLE);
            header.int(4, I32, code::RLE);
        }
        header.close();
        header.close();
        let at = self.at;
        let header = header.out;
        self.write(&header)?;
        self.write(&compressed)?;
        Ok((at, (plain.len() + header.len()) as u64, (compressed.len() + header.len()) as u64))
    }

    fn strings(&mut self, name: &'static str, column: &Strings, rows: u64) -> io::Result<Chunk> {
        let distinct = column.distinct.len() as u64;
        let (dictionary, plain_a, bytes_a) =
            self.page(code::DICTIONARY_PAGE, distinct, code::PLAIN, &column.dictionary())?;
        let (data, plain_b, bytes_b) =
            self.page(code::DATA_PAGE, rows, code::RLE_DICTIONARY, &column.indices())?;
        Ok(Chunk {
            name,
            kind: code::BYTE_ARRAY,
            encodings: vec![code::PLAIN, code::RLE, code::RLE_DICTIONARY],
            values: rows,
            plain_bytes: plain_a + plain_b,
            bytes: bytes_a + bytes_b,
            dictionary: Some(dictionary),
            data,
            bounds: None,
        })
    }

    fn numbers(&mut self, name: &'static str, kind: i64, plain: &[u8]) -> io::Result<Chunk> {
        let values = (plain.len() / 8) as u64;
        let (data, plain_bytes, bytes) = self.page(code::DATA_PAGE, values, code::PLAIN, plain)?;
        let encodings = vec![code::PLAIN, code::RLE];
        Ok(Chunk { name, kind, encodings, values, plain_bytes, bytes, dictionary: None, data, bounds: None })
    }

    fn group(&mut self) -> io::Result<()> {
        let rows = self.times.len() as u64;
        let (metric, labels) = (std::mem::take(&mut self.metric), std::mem::take(&mut self.labels));
        let (times, values) = (std::mem::take(&mut self.times), std::mem::take(&mut self.values));
        let mut chunks = vec![self.strings("metric", &metric, rows)?, self.strings("labels", &labels, rows)?];
        let plain: Vec<u8> = times.iter().flat_map(|t| t.to_le_bytes()).collect();
        let mut chunk = self.numbers("timestamp", code::INT64, &plain)?;
        let bounds = times.iter().min().zip(times.iter().max());
        chunk.bounds = bounds.map(|(min, max)| (min.to_le_bytes(), max.to_le_bytes()));
        chunks.push(chunk);
        let plain: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        chunks.push(self.numbers("value", code::DOUBLE, &plain)?);
        self.groups.push((chunks, rows));
        Ok(())
    }

    fn footer(&self) -> Vec<u8> {
        let mut t = Thrift::default();
        t.int(1, I32, 2);
        t.list(2, STRUCT, 5);
        t.element();
        t.text(4, "samples");
        t.int(5, I32, 4);
        t.close();
        for (name, kind, converted) in [
            ("metric", code::BYTE_ARRAY, Some(code::UTF8)),
            ("labels", code::BYTE_ARRAY, Some(code::UTF8)),
            ("timestamp", code::INT64, Some(code::TIMESTAMP_MILLIS)),
            ("value", code::DOUBLE, None),
        ] {
            t.element();
            t.int(1, I32, kind);
            t.int(3, I32, 0);
            t.text(4, name);
            if let Some(converted) = converted {
                t.int(6, I32, converted);
            }
            t.close();
        }
        t.int(3, I64, self.groups.iter().map(|(_, rows)| *rows as i64).sum());
        t.list(4, STRUCT, self.groups.len());
        for (chunks, rows) in &self.groups {
            t.element();
            t.list(1, STRUCT, chunks.len());
            for chunk in chunks {
                let first = chunk.dictionary.unwrap_or(chunk.data);
                t.element();
                t.int(2, I64, first as i64);
                t.open(3);
                t.int(1, I32, chunk.kind);
                t.list(2, I32, chunk.encodings.len());
                chunk.encodings.iter().for_each(|e| t.number(*e));
                t.list(3, BINARY, 1);
                t.bytes(chunk.name.as_bytes());
                t.int(4, I32, code::ZSTD);
                t.int(5, I64, chunk.values as i64);
                t.int(6, I64, chunk.plain_bytes as i64);
                t.int(7, I64, chunk.bytes as i64);
                t.int(9, I64, chunk.data as i64);
                if let Some(at) = chunk.dictionary {
                    t.int(11, I64, at as i64);
                }
                if let Some((min, max)) = &chunk.bounds {
                    t.open(12);
                    t.field(5, BINARY);
                    t.bytes(max);
                    t.field(6, BINARY);
                    t.bytes(min);
                    t.close();
                }
                t.close();
                t.close();
            }
            t.int(2, I64, chunks.iter().map(|c| c.plain_bytes as i64).sum());
            t.int(3, I64, *rows as i64);
            t.close();
        }
        t.text(6, concat!("bellwether version ", env!("CARGO_PKG_VERSION")));
        // Bounds are in the order of the columns' types.
        t.list(7, STRUCT, 4);
        for _ in 0..4 {
            t.element();
            t.open(1);
            t.close();
            t.close();
        }
        t.close();
        t.out
    }
}

fn failed(err: io::Error) -> Error {
    Error::io("write", Path::new("the export"))(err)
}

/// The labels without the metric's name as a JSON object, keys in order.
fn json(labels: &Labels) -> String {
    let others: serde_json::Map<String, serde_json::Value> = labels
        .iter()
        .filter(|(name, _)| *name != METRIC_NAME)
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    serde_json::Value::Object(others).to_string()
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

const I32: u8 = 5;
const I64: u8 = 6;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// Writes the Thrift compact protocol.
#[derive(Debug, Default)]
struct Thrift {
    out: Vec<u8>,
    last: i16,
    outer: Vec<i16>,
}

impl Thrift {
    fn field(&mut self, id: i16, kind: u8) {
        // Ids ascend, by less than 16.
        self.out.push(((id - self.last) as u8) << 4 | kind);
        self.last = id;
    }

    fn number(&mut self, value: i64) {
        varint(&mut self.out, (value << 1 ^ value >> 63) as u64);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        varint(&mut self.out, bytes.len() as u64);
        self.out.extend_from_slice(bytes);
    }

    fn int(&mut self, id: i16, kind: u8, value: i64) {
        self.field(id, kind);
        self.number(value);
    }

    fn text(&mut self, id: i16, text: &str) {
        self.field(id, BINARY);
        self.bytes(text.as_bytes());
    }

    fn list(&mut self, id: i16, kind: u8, len: usize) {
        self.field(id, LIST);
        if len < 15 {
            self.out.push((len as u8) << 4 | kind);
        } else {
            self.out.push(0xf0 | kind);
            varint(&mut self.out, len as u64);
        }
    }

    /// Begins a field that is a struct.
    fn open(&mut self, id: i16) {
        self.field(id, STRUCT);
        self.element();
    }

    /// Begins a struct in a list.
    fn element(&mut self) {
        self.outer.push(self.last);
        self.last = 0;
    }

    /// Ends a struct.
    fn close(&mut self) {
        self.out.push(0);
        self.last = self.outer.pop().unwrap_or(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What readers of the format make of the file is tested with DuckDB and pyarrow: crates/bellwether/tests/it.
    #[test]
    fn a_file_has_its_frame_and_says_what_it_left_out() {
        let mut bytes = Vec::new();
        let mut file = Parquet::new(&mut bytes).unwrap();
        let mut samples = Samples::default();
        samples.push_float(1, 1.5);
        samples.push_float(2, f64::from_bits(model::STALE_NAN));
        samples.push_histogram(3, std::sync::Arc::new(model::Histogram::default()));
        file.add(&Labels::from_pairs([("__name__", "up"), ("job", "a\"b")]), &samples).unwrap();
        let done = file.finish().unwrap();
        assert_eq!((done.series, done.samples, done.histograms_left_out, done.stale_left_out), (1, 1, 1, 1));
        assert!(bytes.starts_with(MAGIC) && bytes.ends_with(MAGIC));
        let at = bytes.len() - 8;
        let footer = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        assert!(footer < at);
    }

    #[test]
    fn runs_of_a_column() {
        let mut column = Strings::default();
        for (text, rows) in [("a", 1), ("a", 2), ("b", 1), ("a", 300)] {
            column.push(text, rows);
        }
        assert_eq!(column.indices(), [1, 3 << 1, 0, 1 << 1, 1, 0xd8, 4, 0]);
        assert_eq!(column.dictionary(), [1, 0, 0, 0, b'a', 1, 0, 0, 0, b'b']);
    }
}
