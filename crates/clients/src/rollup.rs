//! Per-minute sums on their way from an edge to the collector above it. Format: docs/formats/clients.md.

use serde::{Deserialize, Serialize};

use crate::browser;
use crate::cell::{Cell, Count};
use crate::class::Class;
use crate::names::Names;
use crate::report::{PROTOCOLS, Source};

/// The version of the format.
pub const VERSION: u32 = 1;
/// Most rows of one roll-up.
pub const MAX_ROWS: usize = 200_000;
/// Most bytes of one, decompressed.
pub const MAX_BYTES: usize = 128 << 20;

/// One row: what one edge counted of one cell in one minute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Minutes since the epoch.
    pub minute: i64,
    /// Site, by name.
    pub site: String,
    /// `nel`, `agent`, `native`.
    pub source: String,
    /// Type, from the fixed list.
    #[serde(rename = "type")]
    pub kind: String,
    /// Origin, or `other`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub origin: String,
    /// Point of presence, empty when not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub pop: String,
    /// HTTP version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub protocol: String,
    /// Browser family.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub browser: String,
    /// Country, empty when not known.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub country: String,
    /// Autonomous system, 0 when not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub asn: u32,
    /// Reports.
    pub reports: u32,
    /// Requests they stand for.
    pub weight: f32,
    /// Sum of squared weights.
    pub square: f32,
    /// Places of clients, see [`Count`].
    pub clients: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// A roll-up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollup {
    /// [`VERSION`].
    pub version: u32,
    /// The sender's name.
    pub from: String,
    /// The sender's start, in milliseconds: sequences begin anew with it.
    pub boot: i64,
    /// Counts up from 1. A receiver that has it already drops it.
    pub sequence: u64,
    /// The rows.
    pub rows: Vec<Row>,
}

/// Why a roll-up is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be decompressed within the bound.
    #[error("the roll-up cannot be decompressed to at most {MAX_BYTES} bytes")]
    Compression(#[source] std::io::Error),
    /// It is not of this format.
    #[error("the roll-up is not of format {VERSION}")]
    Format(#[source] serde_json::Error),
    /// It is of a later format or too large.
    #[error("the roll-up has {what}: update this collector or send less")]
    TooNew {
        /// What.
        what: String,
    },
}

impl Row {
    /// A cell in words.
    pub fn new(minute: i64, cell: &Cell, count: &Count, names: &Names) -> Self {
        let country = if cell.country == [0, 0] {
            String::new()
        } else {
            String::from_utf8_lossy(&cell.country).into_owned()
        };
        Self {
            minute,
            site: names.site_name(cell.site).to_owned(),
            source: cell.source.as_str().to_owned(),
            kind: cell.class.name().to_owned(),
            origin: names.origins.name(cell.origin).to_owned(),
            pop: names.pops.name(cell.pop).to_owned(),
            protocol: PROTOCOLS.get(usize::from(cell.protocol)).copied().unwrap_or_default().to_owned(),
            browser: browser::FAMILIES.get(usize::from(cell.browser)).copied().unwrap_or_default().to_owned(),
            country,
            asn: cell.asn,
            reports: count.reports,
            weight: count.weight,
            square: count.square,
            clients: count.clients,
        }
    }

    /// The cell, when this collector knows the site and type.
    pub fn cell(&self, names: &mut Names) -> Option<(i64, Cell, Count)> {
        let index =
            |list: &[&str], word: &str| list.iter().position(|known| *known == word).unwrap_or(0) as u8;
        let country = match *self.country.as_bytes() {
            [a, b] if a.is_ascii_uppercase() && b.is_ascii_uppercase() => [a, b],
            _ => [0, 0],
        };
        let origin = crate::origin::origin(&self.origin).map_or(0, |origin| names.origins.number(&origin));
        let short = |text: &str| text.len() <= 100 && !text.contains(char::is_control);
        let cell = Cell {
            site: names.site(&self.site)?,
            origin,
            pop: if short(&self.pop) { names.pops.number(&self.pop) } else { 0 },
            class: Class::named(&self.kind)?,
            source: Source::ALL.into_iter().find(|source| source.as_str() == self.source)?,
            protocol: index(&PROTOCOLS, &self.protocol),
            browser: index(&browser::FAMILIES, &self.browser),
            country,
            asn: self.asn,
        };
        let sane = |value: f32| value.is_finite() && value >= 0.0;
        (sane(self.weight) && sane(self.square)).then_some((
            self.minute,
            cell,
            Count { reports: self.reports, weight: self.weight, square: self.square, clients: self.clients },
        ))
    }
}

impl Rollup {
    /// The bytes to send.
    ///
    /// # Errors
    /// The compressor failed.
    pub fn encode(&self) -> std::io::Result<Vec<u8>> {
        let json = serde_json::to_vec(self).map_err(std::io::Error::other)?;
        zstd::bulk::compress(&json, 3)
    }

    /// Reads what [`Rollup::encode`] wrote, from anybody.
    ///
    /// # Errors
    /// When it is not one.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        use std::io::Read;
        let mut json = Vec::new();
        let decoder = zstd::stream::read::Decoder::new(bytes).map_err(Error::Compression)?;
        decoder.take(MAX_BYTES as u64 + 1).read_to_end(&mut json).map_err(Error::Compression)?;
        if json.len() > MAX_BYTES {
            return Err(Error::Compression(std::io::Error::other("too large")));
        }
        let rollup: Self = serde_json::from_slice(&json).map_err(Error::Format)?;
        if rollup.version != VERSION {
            return Err(Error::TooNew { what: format!("version {}", rollup.version) });
        }
        if rollup.rows.len() > MAX_ROWS {
            return Err(Error::TooNew { what: format!("{} rows, more than {MAX_ROWS}", rollup.rows.len()) });
        }
        Ok(rollup)
    }

    /// Reports of all rows.
    pub fn reports(&self) -> u64 {
        self.rows.iter().map(|row| u64::from(row.reports)).sum()
    }
}
