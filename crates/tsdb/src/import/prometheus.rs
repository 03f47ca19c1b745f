//! Reads a block of Prometheus' own storage (index format 2; floats and native histograms) and hands over its series.
//!
//! Deleted ranges (tombstones) are left out. Chunks of another encoding are counted in the report, never dropped in silence. Source: the Prometheus TSDB format documents (index, chunks, tombstones).

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use bytes::Bytes;
use model::{Labels, LabelsBuilder, Samples};

use super::{histograms, xor};
use crate::chunk::CorruptChunk;
use crate::chunk::varint::Cursor;
use crate::compact::{merge, remove};
use crate::disk::Disk;
use crate::{Error, Result};

const INDEX_MAGIC: u32 = 0xBAAA_D700;
const CHUNKS_MAGIC: u32 = 0x85BD_40DD;
const TOMBSTONES_MAGIC: u32 = 0x0130_BA30;
const ENCODING_XOR: u8 = 1;
const ENCODING_HISTOGRAM: u8 = 2;
const ENCODING_FLOAT_HISTOGRAM: u8 = 3;
const TOC: usize = 52;

/// What was read and what was not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Series handed over.
    pub series: u64,
    /// Samples handed over.
    pub samples: u64,
    /// Chunks that were not read, by Prometheus' number of their encoding (2 and 3: native histograms of a schema that does not
    /// exist here).
    pub chunks_not_read: BTreeMap<u8, u64>,
}

/// Calls `each` with every series of the Prometheus block in `folder`.
///
/// # Errors
/// `Io`; `Corrupt` when a file is damaged; `Invalid` for another format version; what `each` answers.
pub fn read(
    disk: &dyn Disk,
    folder: &Path,
    mut each: impl FnMut(&Labels, &Samples) -> Result<()>,
) -> Result<Report> {
    let map = |path: &Path| disk.map(path).map_err(Error::io("map", path));
    let index_path = folder.join("index");
    let index = map(&index_path)?;
    let bad_index = |err: CorruptChunk| Error::corrupt(&index_path, 0, err.to_string());
    if index.len() < 5 + TOC || be32(&index, 0) != Some(INDEX_MAGIC) {
        return Err(bad_index(CorruptChunk("it is no Prometheus index")));
    }
    if index[4] != 2 {
        return Err(Error::Invalid(format!(
            "{index_path:?} has index format {}, but only format 2 (Prometheus 2.0 and later) can be imported",
            index[4]
        )));
    }
    let toc = &index[index.len() - TOC..];
    if crc32c::crc32c(&toc[..TOC - 4]) != be32(toc, TOC - 4).unwrap_or(0) {
        return Err(bad_index(CorruptChunk("the checksum of its table of contents differs")));
    }
    let entry = |i: usize| toc[i * 8..i * 8 + 8].iter().fold(0u64, |n, &b| n << 8 | u64::from(b)) as usize;
    let (symbols_at, series_at, series_end) = (entry(0), entry(1), entry(2));
    let symbols = read_symbols(&index, symbols_at).map_err(bad_index)?;
    let deleted = read_tombstones(disk, &folder.join("tombstones"))?;

    let chunks_folder = folder.join("chunks");
    let mut segments = Vec::new();
    for file in disk.list(&chunks_folder).map_err(Error::io("list", &chunks_folder))? {
        let path = chunks_folder.join(&file.name);
        let bytes = map(&path)?;
        if be32(&bytes, 0) != Some(CHUNKS_MAGIC) || bytes.get(4) != Some(&1) {
            return Err(Error::corrupt(&path, 0, "it is no Prometheus chunk segment of version 1"));
        }
        segments.push((path, bytes));
    }

    let mut report = Report::default();
    let mut at = series_at;
    let (mut part, mut all) = (Samples::default(), Samples::default());
    while at < series_end.min(index.len()) {
        at = at.next_multiple_of(16);
        if at >= series_end {
            break;
        }
        let entry = read_entry(&index, at, &symbols)
            .map_err(|err| Error::corrupt(&index_path, at as u64, err.to_string()))?;
        all.clear();
        for (reference, ..) in &entry.chunks {
            let (encoding, data) = read_chunk(&segments, *reference)?;
            part.clear();
            let read = match encoding {
                ENCODING_XOR => xor::decode(&data, &mut part).map(|()| true),
                ENCODING_HISTOGRAM => histograms::decode(&data, false, &mut part),
                ENCODING_FLOAT_HISTOGRAM => histograms::decode(&data, true, &mut part),
                _ => Ok(false),
            };
            let read = read.map_err(|err| {
                Error::corrupt(
                    &segments[(*reference >> 32) as usize].0,
                    *reference & 0xffff_ffff,
                    err.to_string(),
                )
            })?;
            if !read {
                *report.chunks_not_read.entry(encoding).or_default() += 1;
                continue;
            }
            let first = std::mem::take(&mut all);
            merge(&[&first, &part], &mut all);
        }
        if let Some(ranges) = deleted.get(&((at / 16) as u64)) {
            remove(&mut all, ranges);
        }
        if !all.is_empty() {
            report.series += 1;
            report.samples += all.len() as u64;
            each(&entry.labels, &all)?;
        }
        at = entry.end;
    }
    if !report.chunks_not_read.is_empty() {
        tracing::warn!(block = %folder.display(), chunks = ?report.chunks_not_read, "chunks of encodings that are not known were not imported");
    }
    Ok(report)
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

fn read_symbols(index: &[u8], at: usize) -> std::result::Result<Vec<&str>, CorruptChunk> {
    let outside = CorruptChunk("the symbols lie outside the file");
    let len = be32(index, at).ok_or(outside)? as usize;
    let body =
        index.get(at..).and_then(|rest| rest.get(4..)).and_then(|rest| rest.get(..len)).ok_or(outside)?;
    if be32(index, at + 4 + len) != Some(crc32c::crc32c(body)) {
        return Err(CorruptChunk("the checksum of the symbols differs"));
    }
    let count = be32(body, 0).ok_or(outside)?;
    let mut cursor = Cursor::new(&body[4..]);
    let mut symbols = Vec::new();
    for _ in 0..count {
        let len = cursor.at_most(index.len())?;
        let text =
            std::str::from_utf8(cursor.bytes(len)?).map_err(|_| CorruptChunk("a symbol is not UTF-8"))?;
        symbols.push(text);
    }
    Ok(symbols)
}

struct Entry {
    labels: Labels,
    /// Reference, first and last time.
    chunks: Vec<(u64, i64, i64)>,
    end: usize,
}

fn read_entry(index: &[u8], at: usize, symbols: &[&str]) -> std::result::Result<Entry, CorruptChunk> {
    let rest = index.get(at..).ok_or(CorruptChunk("a series lies outside the file"))?;
    let mut cursor = Cursor::new(rest);
    let len = cursor.at_most(rest.len())?;
    let body_at = cursor.used();
    let body = cursor.bytes(len)?;
    let crc = cursor.bytes(4)?;
    if crc32c::crc32c(body).to_be_bytes() != *crc {
        return Err(CorruptChunk("the checksum of a series differs"));
    }
    let mut cursor = Cursor::new(body);
    let mut labels = LabelsBuilder::default();
    for _ in 0..cursor.at_most(len)? {
        let mut symbol = || {
            let at = cursor.at_most(symbols.len())?;
            symbols.get(at).copied().ok_or(CorruptChunk("a symbol does not exist"))
        };
        let (name, value) = (symbol()?, symbol()?);
        labels.set(name, value);
    }
    let mut chunks = Vec::new();
    let (mut last, mut reference) = (0i64, 0i64);
    for i in 0..cursor.at_most(len)? {
        let min = if i == 0 { cursor.signed()? } else { last.wrapping_add(cursor.varint()? as i64) };
        last = min.wrapping_add(cursor.varint()? as i64);
        reference = if i == 0 { cursor.varint()? as i64 } else { reference.wrapping_add(cursor.signed()?) };
        chunks.push((reference as u64, min, last));
    }
    Ok(Entry { labels: labels.build(), chunks, end: at + body_at + len + 4 })
}

fn read_chunk(segments: &[(std::path::PathBuf, Bytes)], reference: u64) -> Result<(u8, Bytes)> {
    let (segment, offset) = ((reference >> 32) as usize, (reference & 0xffff_ffff) as usize);
    let Some((path, bytes)) = segments.get(segment) else {
        return Err(Error::Invalid(format!(
            "a series has a chunk in segment {segment}, which does not exist"
        )));
    };
    let damaged = |what: &str| Error::corrupt(path, offset as u64, what);
    let rest = bytes.get(offset..).ok_or_else(|| damaged("a chunk lies outside the file"))?;
    let mut cursor = Cursor::new(rest);
    let read = |cursor: &mut Cursor<'_>| {
        let len = cursor.at_most(rest.len())?;
        let start = cursor.used();
        let body = cursor.bytes(len + 1)?;
        let crc = cursor.bytes(4)?;
        Ok::<_, CorruptChunk>((start, len, crc32c::crc32c(body).to_be_bytes() == *crc))
    };
    let (start, len, intact) = read(&mut cursor).map_err(|err| damaged(&err.to_string()))?;
    if !intact {
        return Err(damaged("the checksum of a chunk differs"));
    }
    let data = offset + start + 1;
    Ok((rest[start], bytes.slice(data..data + len)))
}

/// Deleted ranges by series reference.
fn read_tombstones(disk: &dyn Disk, path: &Path) -> Result<HashMap<u64, Vec<(i64, i64)>>> {
    let mut deleted: HashMap<u64, Vec<(i64, i64)>> = HashMap::new();
    if !disk.exists(path).map_err(Error::io("look for", path))? {
        return Ok(deleted);
    }
    let bytes = disk.read(path).map_err(Error::io("read", path))?;
    if be32(&bytes, 0) != Some(TOMBSTONES_MAGIC) || bytes.len() < 9 || bytes[4] != 1 {
        return Err(Error::corrupt(path, 0, "it is no Prometheus tombstone file of version 1"));
    }
    let (body, crc) = bytes[5..].split_at(bytes.len() - 9);
    if crc32c::crc32c(body).to_be_bytes() != *crc {
        return Err(Error::corrupt(path, 5, "the checksum differs"));
    }
    let mut cursor = Cursor::new(body);
    let mut read = || {
        while !cursor.rest().is_empty() {
            let (series, start, end) = (cursor.varint()?, cursor.signed()?, cursor.signed()?);
            deleted.entry(series).or_default().push((start, end));
        }
        Ok::<_, CorruptChunk>(())
    };
    read().map_err(|err| Error::corrupt(path, 5, err.to_string()))?;
    Ok(deleted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::varint::{put, put_signed};
    use crate::disk::FaultDisk;
    use crate::import::xor::tests::encode;

    /// A block as Prometheus writes it: two series, one of them with two chunks, and one histogram chunk.
    fn block(disk: &FaultDisk) {
        let write = |path: &str, bytes: &[u8]| {
            let path = Path::new(path);
            disk.create_dir_all(path.parent().unwrap()).unwrap();
            disk.create(path).unwrap().write_all(bytes).unwrap();
        };
        let mut segment = CHUNKS_MAGIC.to_be_bytes().to_vec();
        segment.extend([1, 0, 0, 0]);
        let mut add = |encoding: u8, data: &[u8]| {
            let at = segment.len() as u64;
            put(&mut segment, data.len() as u64);
            let start = segment.len();
            segment.push(encoding);
            segment.extend_from_slice(data);
            let crc = crc32c::crc32c(&segment[start..]);
            segment.extend(crc.to_be_bytes());
            at
        };
        let refs = [
            add(1, &encode(&[(1000, 1.5), (2000, 2.5)])),
            add(1, &encode(&[(3000, 3.5)])),
            add(1, &encode(&[(1000, 7.0), (2000, 8.0), (3000, 9.0)])),
            add(200, &[0, 1, 2]),
        ];
        write("/p/chunks/000001", &segment);

        let symbols = ["", "__name__", "a", "down", "up", "x"];
        let mut index = INDEX_MAGIC.to_be_bytes().to_vec();
        index.push(2);
        let symbols_at = index.len() as u64;
        index.extend([0; 4]);
        index.extend((symbols.len() as u32).to_be_bytes());
        for symbol in symbols {
            put(&mut index, symbol.len() as u64);
            index.extend_from_slice(symbol.as_bytes());
        }
        let body = index[symbols_at as usize + 4..].to_vec();
        index[symbols_at as usize..symbols_at as usize + 4]
            .copy_from_slice(&(body.len() as u32).to_be_bytes());
        index.extend(crc32c::crc32c(&body).to_be_bytes());
        index.resize(index.len().next_multiple_of(16), 0);
        let series_at = index.len() as u64;
        let mut references = Vec::new();
        for (pairs, chunks) in [
            (vec![(1, 3)], vec![(1000, 2000, refs[0]), (3000, 3000, refs[1])]),
            (vec![(1, 4), (2, 5)], vec![(1000, 3000, refs[2]), (4000, 4000, refs[3])]),
        ] {
            let mut body = Vec::new();
            put(&mut body, pairs.len() as u64);
            pairs.iter().for_each(|&(n, v)| {
                put(&mut body, n);
                put(&mut body, v);
            });
            put(&mut body, chunks.len() as u64);
            let mut last: Option<(i64, u64)> = None;
            for &(min, max, at) in &chunks {
                match last {
                    None => {
                        put_signed(&mut body, min);
                        put(&mut body, (max - min) as u64);
                        put(&mut body, at);
                    }
                    Some((end, before)) => {
                        put(&mut body, (min - end) as u64);
                        put(&mut body, (max - min) as u64);
                        put_signed(&mut body, at as i64 - before as i64);
                    }
                }
                last = Some((max, at));
            }
            index.resize(index.len().next_multiple_of(16), 0);
            references.push(index.len() as u64 / 16);
            put(&mut index, body.len() as u64);
            index.extend_from_slice(&body);
            index.extend(crc32c::crc32c(&body).to_be_bytes());
        }
        let end = index.len() as u64;
        let toc: Vec<u8> =
            [symbols_at, series_at, end, 0, 0, 0].iter().flat_map(|v| v.to_be_bytes()).collect();
        index.extend_from_slice(&toc);
        index.extend(crc32c::crc32c(&toc).to_be_bytes());
        write("/p/index", &index);

        let mut tombstones = TOMBSTONES_MAGIC.to_be_bytes().to_vec();
        tombstones.push(1);
        put(&mut tombstones, references[1]);
        put_signed(&mut tombstones, 1500);
        put_signed(&mut tombstones, 2500);
        let crc = crc32c::crc32c(&tombstones[5..]);
        tombstones.extend(crc.to_be_bytes());
        write("/p/tombstones", &tombstones);
    }

    #[test]
    fn series_samples_and_deletions_are_read() {
        let disk = FaultDisk::new();
        block(&disk);
        let mut found = Vec::new();
        let report = read(&disk, Path::new("/p"), |labels, samples| {
            found.push(format!("{labels} {:?} {:?}", samples.times, samples.values));
            Ok(())
        })
        .unwrap();
        assert_eq!(
            found,
            ["down [1000, 2000, 3000] [1.5, 2.5, 3.5]", r#"up{a="x"} [1000, 3000] [7.0, 9.0]"#]
        );
        let chunks_not_read = BTreeMap::from([(200, 1)]);
        assert_eq!(report, Report { series: 2, samples: 5, chunks_not_read });
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let disk = FaultDisk::new();
        block(&disk);
        for (path, len) in disk.files() {
            for at in 0..len {
                disk.flip(&path, at, 0x21).unwrap();
                let padding = if path.ends_with("index") { at >= 16 } else { (5..8).contains(&at) };
                if let Ok(report) = read(&disk, Path::new("/p"), |_, _| Ok(())) {
                    assert!(padding && report.samples == 5, "{path:?} {at}");
                }
                disk.flip(&path, at, 0x21).unwrap();
            }
        }
    }
}
