//! Remote write requests of a fleet, encoded before they are sent, in a file: what is measured is the server.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::fleet::{Fleet, PER_HOST};

/// Hosts in one request: 2,000 samples, as Prometheus sends by default.
pub(crate) const HOSTS_PER_REQUEST: usize = 20;

/// Remote write's version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

/// Where the requests of a load are.
pub(crate) struct Load {
    path: PathBuf,
    /// By round, then by request: offset and length in the file.
    requests: Vec<Vec<(u64, u32)>>,
    pub(crate) bytes: u64,
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn sample(out: &mut Vec<u8>, value: f64, time: i64) {
    // A value of 0 and a time of 0 are left out by proto3; times never are 0.
    if value.to_bits() != 0 {
        out.push(1 << 3 | 1);
        out.extend_from_slice(&value.to_le_bytes());
    }
    varint(out, 2 << 3);
    varint(out, time as u64);
}

/// Encodes a request of version 1.0 with one sample of one series.
pub(crate) fn one_sample(metric: &str, time: i64, out: &mut Vec<u8>) {
    let (mut pair, mut one, mut series) = (Vec::new(), Vec::new(), Vec::new());
    bytes(&mut pair, 1, b"__name__");
    bytes(&mut pair, 2, metric.as_bytes());
    bytes(&mut series, 1, &pair);
    sample(&mut one, 1.0, time);
    bytes(&mut series, 2, &one);
    bytes(out, 1, &series);
}

/// Encodes series whose labels are encoded already.
struct Encoder {
    version: Version,
    /// By series: for 1.0 its labels as fields of a `TimeSeries`, for 2.0 its packed references.
    series: Vec<Vec<u8>>,
    /// By request: for 2.0 the symbols as fields of a request.
    symbols: Vec<Vec<u8>>,
}

impl Encoder {
    fn new(fleet: &Fleet, version: Version) -> Self {
        let mut encoder = Self { version, series: Vec::with_capacity(fleet.series()), symbols: Vec::new() };
        for first in (0..fleet.hosts).step_by(HOSTS_PER_REQUEST) {
            let last = (first + HOSTS_PER_REQUEST).min(fleet.hosts);
            let mut known = std::collections::HashMap::from([(String::new(), 0u64)]);
            let mut symbols = Vec::new();
            bytes(&mut symbols, 4, b"");
            for series in first * PER_HOST..last * PER_HOST {
                let mut out = Vec::new();
                fleet.labels(series, |name, value| match version {
                    Version::One => {
                        let mut pair = Vec::new();
                        bytes(&mut pair, 1, name.as_bytes());
                        bytes(&mut pair, 2, value.as_bytes());
                        bytes(&mut out, 1, &pair);
                    }
                    Version::Two => {
                        for text in [name, value] {
                            let next = known.len() as u64;
                            let number = *known.entry(text.to_owned()).or_insert_with(|| {
                                bytes(&mut symbols, 4, text.as_bytes());
                                next
                            });
                            varint(&mut out, number);
                        }
                    }
                });
                if version == Version::Two {
                    let mut packed = Vec::new();
                    bytes(&mut packed, 1, &out);
                    out = packed;
                }
                encoder.series.push(out);
            }
            encoder.symbols.push(symbols);
        }
        encoder
    }

    fn request(&self, fleet: &mut Fleet, request: usize, out: &mut Vec<u8>) {
        out.clear();
        let (message_field, sample_field) = match self.version {
            Version::One => (1, 2),
            Version::Two => (5, 2),
        };
        if self.version == Version::Two {
            out.extend_from_slice(&self.symbols[request]);
        }
        let first = request * HOSTS_PER_REQUEST;
        let last = (first + HOSTS_PER_REQUEST).min(fleet.hosts);
        let (mut one, mut message) = (Vec::new(), Vec::new());
        for host in first..last {
            let time = fleet.time(host);
            for series in host * PER_HOST..(host + 1) * PER_HOST {
                one.clear();
                sample(&mut one, fleet.value(series), time);
                message.clear();
                message.extend_from_slice(&self.series[series]);
                bytes(&mut message, sample_field, &one);
                bytes(out, message_field, &message);
            }
        }
    }
}

impl Load {
    /// Encodes `rounds` of the fleet into a file in `dir`.
    pub(crate) fn write(fleet: &mut Fleet, rounds: usize, version: Version, dir: &Path) -> Result<Self> {
        let path = dir.join(format!("load-{version:?}"));
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
        let encoder = Encoder::new(fleet, version);
        let mut snappy = snap::raw::Encoder::new();
        let mut load = Self { path: path.clone(), requests: Vec::new(), bytes: 0 };
        let mut body = Vec::new();
        for _ in 0..rounds {
            let mut requests = Vec::new();
            for request in 0..fleet.hosts.div_ceil(HOSTS_PER_REQUEST) {
                encoder.request(fleet, request, &mut body);
                let compressed = snappy.compress_vec(&body)?;
                file.write_all(&compressed)?;
                requests.push((load.bytes, compressed.len() as u32));
                load.bytes += compressed.len() as u64;
            }
            load.requests.push(requests);
            fleet.advance();
        }
        file.flush()?;
        Ok(load)
    }

    pub(crate) fn rounds(&self) -> usize {
        self.requests.len()
    }

    pub(crate) fn requests_per_round(&self) -> usize {
        self.requests.first().map_or(0, Vec::len)
    }

    pub(crate) fn reader(&self) -> Result<Reader<'_>> {
        Ok(Reader { load: self, file: File::open(&self.path).context("open the load")? })
    }
}

/// Reads requests of a load.
pub(crate) struct Reader<'a> {
    load: &'a Load,
    file: File,
}

impl Reader<'_> {
    pub(crate) fn read(&mut self, round: usize, request: usize, into: &mut Vec<u8>) -> Result<()> {
        let (at, len) = self.load.requests[round][request];
        into.resize(len as usize, 0);
        self.file.seek(SeekFrom::Start(at))?;
        self.file.read_exact(into)?;
        Ok(())
    }
}

/// The labels of a series as fields of a version 1.0 `TimeSeries`.
pub(crate) fn labels_v1(fleet: &Fleet, series: usize) -> Vec<u8> {
    let mut out = Vec::new();
    fleet.labels(series, |name, value| {
        let mut pair = Vec::new();
        bytes(&mut pair, 1, name.as_bytes());
        bytes(&mut pair, 2, value.as_bytes());
        bytes(&mut out, 1, &pair);
    });
    out
}

/// Appends a version 1.0 `TimeSeries` with samples (value, milliseconds) to a request.
pub(crate) fn series_v1(labels: &[u8], samples: &[(f64, i64)], out: &mut Vec<u8>) {
    let mut message = labels.to_vec();
    let mut one = Vec::new();
    for &(value, time) in samples {
        one.clear();
        sample(&mut one, value, time);
        bytes(&mut message, 2, &one);
    }
    bytes(out, 1, &message);
}
