//! Remote write 1.0 and 2.0: a request becomes a [`Batch`].
//!
//! Labels are written to the batch once, samples once; nothing else is copied. A series that a request has several times
//! (Prometheus sends one entry a sample) becomes one, with its samples in order. A malformed message is an error, a bad series in
//! a good message is counted and left out. A receiver that remembers series ([`Known`]) gets them by reference, without their labels being
//! read at all. Sources: the Prometheus remote write specifications 1.0 and 2.0.

mod encode;
pub(crate) mod histogram;
mod known;
#[cfg(test)]
mod tests;
mod v1;
mod v2;

use model::labels::{self, METRIC_NAME};
use model::{Batch, Exemplar, Labels, Timestamp};
use xxhash_rust::xxh3::xxh3_64_with_seed;

pub use crate::proto::Malformed;
pub use encode::{encode, encode_metadata};
pub use known::{Known, Nobody};

/// Which message a request holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// `prometheus.WriteRequest`
    V1,
    /// `io.prometheus.write.v2.Request`
    V2,
}

impl Message {
    /// Reads a `Content-Type`; `None` when it names another message or is no protobuf.
    pub fn from_content_type(header: &str) -> Option<Self> {
        let mut parts = header.split(';').map(str::trim);
        if !parts.next()?.eq_ignore_ascii_case("application/x-protobuf") {
            return None;
        }
        let mut message = Self::V1;
        for part in parts {
            let (name, value) = part.split_once('=')?;
            if name.trim().eq_ignore_ascii_case("proto") {
                message = match value.trim().trim_matches('"') {
                    "prometheus.WriteRequest" => Self::V1,
                    "io.prometheus.write.v2.Request" => Self::V2,
                    _ => return None,
                };
            }
        }
        Some(message)
    }
}

/// What a request held besides what is in the batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// Samples, histograms and exemplars of series that were left out.
    pub invalid: usize,
    /// What was wrong with the first of them.
    pub first_invalid: Option<String>,
}

impl Decoded {
    fn refuse(&mut self, samples: usize, reason: impl FnOnce() -> String) {
        self.invalid += samples;
        if self.first_invalid.is_none() {
            self.first_invalid = Some(reason());
        }
    }
}

/// Decodes requests; keeps its memory between them.
#[derive(Debug, Default)]
pub struct Decoder {
    seed: u64,
    /// Open addressing: index + 1 of a series in the batch, 0 for empty.
    table: Vec<u32>,
    hashes: Vec<u64>,
    /// The newest sample of each series.
    times: Vec<i64>,
    encoded: Vec<u8>,
    unsorted: bool,
    /// By series of the batch: the key of its labels as they came, [`NO_KEY`] when they have none.
    keys: Vec<u128>,
    request: known::Request,
}

/// The key of a series that cannot be remembered.
const NO_KEY: u128 = 0;

impl Decoder {
    /// `seed`: a secret of the process, so that nobody can construct colliding labels.
    pub fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Decodes a decompressed message into `batch`, which is cleared first.
    ///
    /// # Errors
    /// [`Malformed`]: the whole message must be refused; the batch is then empty.
    pub fn decode(&mut self, message: Message, body: &[u8], batch: &mut Batch) -> Result<Decoded, Malformed> {
        self.decode_known(message, body, batch, 0, &Nobody)
    }

    /// As [`Decoder::decode`]; series that `known` knows are in the batch by reference. `scope`: what else a series depends
    /// on, such as its tenant.
    ///
    /// # Errors
    /// As [`Decoder::decode`].
    pub fn decode_known(
        &mut self,
        message: Message,
        body: &[u8],
        batch: &mut Batch,
        scope: u64,
        known: &dyn Known,
    ) -> Result<Decoded, Malformed> {
        let seed = self.seed ^ scope;
        let mut request = std::mem::take(&mut self.request);
        let decoded = loop {
            batch.clear();
            self.table.clear();
            self.hashes.clear();
            self.times.clear();
            self.keys.clear();
            self.unsorted = false;
            let decoded = match message {
                Message::V1 => v1::decode(self, body, batch, seed, &mut request, known),
                Message::V2 => v2::decode(self, body, batch, seed, &mut request, known),
            };
            match decoded {
                // A message that no usual sender writes: read it again in full.
                Ok(None) => request.whole = true,
                Ok(Some(decoded)) => break Ok(decoded),
                Err(err) => break Err(err),
            }
        };
        request.whole = false;
        self.request = request;
        if decoded.is_err() {
            batch.clear();
        } else if self.unsorted {
            batch.sort_samples();
        }
        decoded
    }

    /// By series of the last batch: a key under which [`Known`] may find it next time, `None` when there is none.
    pub fn key(&self, series: u32) -> Option<u128> {
        self.keys.get(series as usize).copied().filter(|key| *key != NO_KEY)
    }

    /// The index of the series that `reference` names.
    fn known_series(&mut self, key: u128, reference: model::SeriesRef, batch: &mut Batch) -> u32 {
        self.keys.push(key);
        self.times.push(i64::MIN);
        // Indices of `hashes` are those of the batch; nothing is looked for under this one.
        self.hashes.push(0);
        batch.add_series_ref(reference)
    }

    /// The index of the series whose labels are these pairs, in any order. Texts are checked.
    fn series(
        &mut self,
        pairs: &mut Vec<(&[u8], &[u8])>,
        key: u128,
        batch: &mut Batch,
    ) -> Result<u32, String> {
        let index = self.series_of(pairs, batch)?;
        if index as usize == self.keys.len() {
            self.keys.push(key);
        }
        Ok(index)
    }

    fn series_of(&mut self, pairs: &mut Vec<(&[u8], &[u8])>, batch: &mut Batch) -> Result<u32, String> {
        let show = |bytes: &[u8]| bytes.escape_ascii().to_string();
        pairs.retain(|(_, value)| !value.is_empty());
        if !pairs.is_sorted_by(|a, b| a.0 < b.0) {
            pairs.sort_unstable();
            if let Some(pair) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
                return Err(format!("label name \"{}\" is not unique", show(pair[0].0)));
            }
        }
        self.encoded.clear();
        let mut named = false;
        for (name, value) in pairs.iter() {
            let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) else {
                return Err(format!("label {}=\"{}\" is not UTF-8", show(name), show(value)));
            };
            if name.is_empty() {
                return Err(format!("a label with the value {value:?} has no name"));
            }
            named |= name == METRIC_NAME;
            labels::encode_pair(&mut self.encoded, name, value);
        }
        if !named {
            return Err("a series has no metric name (__name__ label)".into());
        }
        Ok(self.find(batch))
    }

    /// The index of the series whose canonical labels are in `encoded`.
    fn find(&mut self, batch: &mut Batch) -> u32 {
        if self.hashes.len() * 2 >= self.table.len() {
            let size = (self.hashes.len() * 4).next_power_of_two().max(64);
            self.table.clear();
            self.table.resize(size, 0);
            for (index, hash) in self.hashes.iter().enumerate() {
                if batch.label_bytes(index as u32).is_none() {
                    continue;
                }
                let mut at = *hash as usize & (size - 1);
                while self.table[at] != 0 {
                    at = (at + 1) & (size - 1);
                }
                self.table[at] = index as u32 + 1;
            }
        }
        let hash = xxh3_64_with_seed(&self.encoded, self.seed);
        let mask = self.table.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.table[at] {
                0 => {
                    let index = batch.add_series_with(|arena| arena.extend_from_slice(&self.encoded));
                    self.table[at] = index + 1;
                    self.hashes.push(hash);
                    self.times.push(i64::MIN);
                    return index;
                }
                found => {
                    let index = found - 1;
                    if self.hashes[index as usize] == hash && batch.label_bytes(index) == Some(&self.encoded)
                    {
                        return index;
                    }
                    at = (at + 1) & mask;
                }
            }
        }
    }

    fn note_time(&mut self, series: u32, time: i64) {
        let last = &mut self.times[series as usize];
        self.unsorted |= time < *last;
        *last = time.max(*last);
    }
}

fn exemplar(pairs: &[(&[u8], &[u8])], value: f64, time: i64) -> Option<Exemplar> {
    let mut labels = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        labels.push((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?));
    }
    Some(Exemplar { labels: Labels::from_pairs(labels), value, at: Timestamp(time) })
}

fn kind(number: u64) -> model::MetricType {
    use model::MetricType as T;
    match number {
        1 => T::Counter,
        2 => T::Gauge,
        3 => T::Histogram,
        4 => T::GaugeHistogram,
        5 => T::Summary,
        6 => T::Info,
        7 => T::StateSet,
        _ => T::Unknown,
    }
}
