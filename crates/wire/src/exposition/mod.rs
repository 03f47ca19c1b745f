//! What targets expose.
//!
//! Readers are visitors over the body: nothing is copied, and a line that stood at the same place in the target's last body
//! costs one hash of its series text ([`Cache`]). Sources: the Prometheus manual, "Exposition formats"; the OpenMetrics 1.0
//! and 2.0 specifications; UTF-8 names as in the Prometheus 3 manual.

mod check;
mod families;
pub mod format;
mod histogram;
mod protobuf;
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
#[error("{}{reason}", self.place())]
pub struct ParseError {
    /// The line, from 1; 0 for a format without lines.
    pub line: usize,
    /// What was expected and what was there.
    pub reason: String,
}

impl ParseError {
    fn place(&self) -> String {
        if self.line == 0 { String::new() } else { format!("line {}: ", self.line) }
    }
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

    /// Of a protobuf histogram that has both: whether the native one and whether the classic series are wanted.
    fn histograms(&self) -> Histograms {
        Histograms { native: true, classic: true }
    }
}

/// Which forms of a histogram that has both are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histograms {
    /// The native histogram.
    pub native: bool,
    /// The classic `_bucket`, `_sum` and `_count` series.
    pub classic: bool,
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
    labels: ExemplarLabels,
    /// The observed value.
    pub value: f64,
    /// When it was observed, in milliseconds.
    pub time: Option<i64>,
}

/// Where an exemplar's labels are in its body.
#[derive(Clone, Copy, Debug, PartialEq)]
enum ExemplarLabels {
    /// Text after an opening brace at this position.
    Text(u32),
    /// The body is the exemplar's protobuf message.
    Protobuf,
}

impl ExemplarText<'_> {
    /// The labels, unescaped, in the order of the body.
    pub fn labels(&self) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        let ExemplarLabels::Text(open) = self.labels else {
            return protobuf::exemplar_labels(self.body);
        };
        // The text was accepted by the same scanner.
        if scan::labels(self.body, open as usize, scan::Place::Exemplar, &mut pairs).is_err() {
            return Vec::new();
        }
        pairs.iter().map(|p| (p.name(self.body).into_owned(), p.value(self.body).into_owned())).collect()
    }
}

/// A series as written: a name and labels.
#[derive(Clone, Copy, Debug)]
pub struct Series<'a> {
    place: Place<'a>,
    kind: MetricType,
}

#[derive(Clone, Copy, Debug)]
enum Place<'a> {
    /// Within a text body.
    Text { body: &'a [u8], name: scan::Text, pairs: &'a [scan::Pair] },
    /// From a protobuf message, with a label that belongs to the kind of sample.
    Message { name: &'a str, labels: &'a [(&'a str, &'a str)], extra: Option<(&'a str, &'a str)> },
}

impl<'a> Series<'a> {
    /// The metric name, unescaped.
    pub fn name(&self) -> Cow<'a, str> {
        match self.place {
            Place::Text { body, name, .. } => name.get(body),
            Place::Message { name, .. } => Cow::Borrowed(name),
        }
    }

    /// The type of the family that was described last before this series, whatever its name.
    pub fn kind(&self) -> MetricType {
        self.kind
    }

    /// The labels, unescaped, in the order of the body; may hold a name twice. `le` of histograms and `quantile` of summaries
    /// are written canonically, so that `1` and `1.0` are one series.
    pub fn labels(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> + use<'a> {
        let (place, kind) = (self.place, self.kind);
        let count = match place {
            Place::Text { pairs, .. } => pairs.len(),
            Place::Message { labels, extra, .. } => labels.len() + usize::from(extra.is_some()),
        };
        (0..count).map(move |index| {
            let (name, value) = match place {
                Place::Text { body, pairs, .. } => (pairs[index].name(body), pairs[index].value(body)),
                Place::Message { labels, extra, .. } => {
                    let (name, value) = labels.get(index).copied().or(extra).unwrap_or_default();
                    (Cow::Borrowed(name), Cow::Borrowed(value))
                }
            };
            let is_bound = match kind {
                MetricType::Histogram | MetricType::GaugeHistogram => name == "le",
                MetricType::Summary => name == "quantile",
                _ => false,
            };
            if !is_bound {
                return (name, value);
            }
            match number::parse_float(value.as_bytes()) {
                Some(bound) => {
                    let mut text = String::new();
                    number::push_label_float(&mut text, bound);
                    (name, Cow::Owned(text))
                }
                None => (name, value),
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
        Format::Protobuf => {
            cache.clear();
            protobuf::read(body, visitor).map_err(|reason| ParseError { line: 0, reason })
        }
        _ => text::Reader::new(format, body, cache, visitor)?.run(),
    }
}
