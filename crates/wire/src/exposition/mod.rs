//! What targets expose.
//!
//! Readers are visitors over the body: nothing is copied, and a line that stood at the same place in the target's last body
//! costs one hash of its series text ([`Cache`]). Sources: the Prometheus manual, "Exposition formats"; the OpenMetrics 1.0
//! and 2.0 specifications; UTF-8 names as in the Prometheus 3 manual.

mod check;
mod families;
pub mod format;
mod histogram;
mod scan;
#[cfg(test)]
mod tests;
mod text;
pub mod write;

use std::borrow::Cow;
use std::sync::Arc;

use model::{Histogram, MetricType};

pub use check::{Lint, check_exposition, lint};
pub use families::families;

pub use format::Format;

use crate::number;

/// A body that is not what its format says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct ParseError {
    /// The line, from 1; 0 for a format without lines.
    pub line: usize,
    /// What was expected and what was there.
    pub reason: String,
}

/// What a reader finds, in the body's order.
pub trait Visitor {
    /// A sample of a series that [`Visitor::series`] has named `tag` in an earlier body. `false`: the tag means nothing
    /// any more, tell me the series.
    ///
    /// # Errors
    /// Any reason ends the reading.
    fn known(&mut self, tag: u32, point: &Point<'_>) -> Result<bool, String>;

    /// A sample of a series that stands in a place where it did not stand before. The answer is the tag by which it is
    /// named from the next body on; at most [`MAX_TAG`].
    ///
    /// # Errors
    /// Any reason ends the reading.
    fn series(&mut self, series: &Series<'_>, point: &Point<'_>) -> Result<u32, String>;

    /// The type, help or unit of a family; not repeated when it stands where it stood in the last body.
    fn describe(&mut self, family: Cow<'_, str>, what: Describe<'_>);
}

/// What a comment line says about a family.
#[derive(Clone, Debug, PartialEq)]
pub enum Describe<'a> {
    /// `# TYPE`
    Type(MetricType),
    /// `# HELP`, unescaped.
    Help(Cow<'a, str>),
    /// `# UNIT`
    Unit(&'a str),
}

/// A sample's value and what comes with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Point<'a> {
    /// The value; every NaN has Prometheus' bits. 0 for a native histogram.
    pub value: f64,
    /// The native histogram that is the value.
    pub histogram: Option<Arc<Histogram>>,
    /// The line's own timestamp in milliseconds.
    pub time: Option<i64>,
    /// When the counter started, in milliseconds (OpenMetrics 2.0 `st@`).
    pub start: Option<i64>,
    /// The exemplar.
    pub exemplar: Option<ExemplarText<'a>>,
}

/// An exemplar as written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExemplarText<'a> {
    body: &'a [u8],
    labels: (u32, u32),
    /// The observed value.
    pub value: f64,
    /// When it was observed, in milliseconds.
    pub time: Option<i64>,
}

impl ExemplarText<'_> {
    /// The labels, unescaped, in the order of the body.
    pub fn labels(&self) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        // The text was accepted by the same scanner.
        if scan::labels(self.body, self.labels.0 as usize, scan::Place::Exemplar, &mut pairs).is_err() {
            return Vec::new();
        }
        pairs.iter().map(|p| (p.name(self.body).into_owned(), p.value(self.body).into_owned())).collect()
    }
}

/// A series as written: the name and labels of one line.
#[derive(Clone, Copy, Debug)]
pub struct Series<'a> {
    body: &'a [u8],
    name: scan::Text,
    pairs: &'a [scan::Pair],
    kind: MetricType,
}

impl<'a> Series<'a> {
    /// The metric name, unescaped.
    pub fn name(&self) -> Cow<'a, str> {
        self.name.get(self.body)
    }

    /// The type that the last `# TYPE` before this line gave, whatever its family.
    pub fn kind(&self) -> MetricType {
        self.kind
    }

    /// The labels, unescaped, in the order of the body; may hold a name twice. `le` of histograms and `quantile` of summaries
    /// are written canonically, so that `1` and `1.0` are one series.
    pub fn labels(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> + use<'a> {
        let (body, kind) = (self.body, self.kind);
        self.pairs.iter().map(move |pair| {
            let name = pair.name(body);
            let value = pair.value(body);
            let is_bound = match kind {
                MetricType::Histogram | MetricType::GaugeHistogram => name == "le",
                MetricType::Summary => name == "quantile",
                _ => false,
            };
            match number::parse_float(value.as_bytes()) {
                Some(bound) if is_bound => {
                    let mut text = String::new();
                    number::push_label_float(&mut text, bound);
                    (name, Cow::Owned(text))
                }
                _ => (name, value),
            }
        })
    }
}

/// What a target's last body looked like: for each line the hash of its series text (or of the whole comment), so that a
/// line in its old place is recognised without being parsed. 16 bytes a line.
#[derive(Clone, Debug, Default)]
pub struct Cache {
    seed: u64,
    lines: Vec<Line>,
    next: Vec<Line>,
}

#[derive(Clone, Copy, Debug)]
struct Line {
    hash: u64,
    /// Bytes of the series text, or of the comment.
    len: u32,
    /// The series' tag, or `COMMENT` and the type that it sets.
    tag: u32,
}

/// The largest tag that a visitor may give.
pub const MAX_TAG: u32 = COMMENT - 1;

/// Tags from here on are comments; below it are series.
const COMMENT: u32 = u32::MAX - 16;

impl Cache {
    /// An empty cache. `seed` is a secret of the process, so that nobody can construct texts with equal hashes.
    pub fn new(seed: u64) -> Self {
        Self { seed, lines: Vec::new(), next: Vec::new() }
    }

    /// Forgets everything: the format has changed, or tags have lost their meaning.
    pub fn clear(&mut self) {
        self.lines = Vec::new();
        self.next = Vec::new();
    }

    /// Memory used, in bytes.
    pub fn size_bytes(&self) -> usize {
        (self.lines.capacity() + self.next.capacity()) * size_of::<Line>()
    }
}

/// Whether [`read`] knows the format.
pub fn can_read(format: Format) -> bool {
    format != Format::Protobuf
}

/// Reads a body.
///
/// # Errors
/// The first line that is wrong; what was visited before it must be discarded.
pub fn read(
    format: Format,
    body: &[u8],
    cache: &mut Cache,
    visitor: &mut dyn Visitor,
) -> Result<(), ParseError> {
    match format {
        Format::Protobuf => Err(ParseError { line: 0, reason: "protobuf bodies cannot be read yet".into() }),
        _ => text::Reader::new(format, body, cache, visitor)?.run(),
    }
}
