//! Samples as OpenMetrics text, with timestamps.
//!
//! Every series is of type `unknown` (a block keeps no types), so that each sample's name is its family's. Native histograms and
//! staleness markers have no form in OpenMetrics 1.0; they are left out and counted. Source: OpenMetrics 1.0, text format.

use std::io::{self, Write};
use std::path::Path;

use model::labels::{is_legacy_label_name, is_legacy_metric_name};
use model::{Labels, Samples, is_stale};

use crate::{Error, Result};

/// What an export wrote and what it left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exported {
    /// Series with at least one sample.
    pub series: u64,
    /// Samples written.
    pub samples: u64,
    /// Native histograms, which the format cannot hold.
    pub histograms_left_out: u64,
    /// Staleness markers, which it cannot hold either.
    pub stale_left_out: u64,
}

/// Writes OpenMetrics text. Add series in label order: the series of a metric must be neighbours.
#[derive(Debug)]
pub struct OpenMetrics<W> {
    out: W,
    family: Option<String>,
    done: Exported,
}

impl<W: Write> OpenMetrics<W> {
    /// Writes to `out`, which should be buffered.
    pub fn new(out: W) -> Self {
        Self { out, family: None, done: Exported::default() }
    }

    /// Writes a series.
    ///
    /// # Errors
    /// `Io`.
    pub fn add(&mut self, labels: &Labels, samples: &Samples) -> Result<()> {
        self.write(labels, samples).map_err(Error::io("write", Path::new("the export")))
    }

    fn write(&mut self, labels: &Labels, samples: &Samples) -> io::Result<()> {
        let name = labels.metric_name();
        let mut head = Vec::new();
        let legacy = is_legacy_metric_name(name);
        if legacy {
            head.extend_from_slice(name.as_bytes());
        }
        let mut separator = b'{';
        if !legacy && !name.is_empty() {
            head.push(b'{');
            quote(name, &mut head);
            separator = b',';
        }
        for (label, value) in labels.iter().filter(|(label, _)| *label != model::labels::METRIC_NAME) {
            head.push(separator);
            separator = b',';
            if is_legacy_label_name(label) {
                head.extend_from_slice(label.as_bytes());
            } else {
                quote(label, &mut head);
            }
            head.push(b'=');
            quote(value, &mut head);
        }
        if separator == b',' {
            head.push(b'}');
        }
        let mut written = 0;
        for i in 0..samples.len() {
            let (time, value) = (samples.times[i], samples.values[i]);
            if samples.histogram(i).is_some() {
                self.done.histograms_left_out += 1;
                continue;
            }
            if is_stale(value) {
                self.done.stale_left_out += 1;
                continue;
            }
            if written == 0 && self.family.as_deref() != Some(name) {
                let mut family = Vec::new();
                if legacy {
                    family.extend_from_slice(name.as_bytes())
                } else {
                    quote(name, &mut family)
                }
                self.out.write_all(b"# TYPE ")?;
                self.out.write_all(&family)?;
                self.out.write_all(b" unknown\n")?;
                self.family = Some(name.to_owned());
            }
            written += 1;
            self.out.write_all(&head)?;
            let sign = if time < 0 { "-" } else { "" };
            let (seconds, ms) = (time.unsigned_abs() / 1000, time.unsigned_abs() % 1000);
            writeln!(self.out, " {} {sign}{seconds}.{ms:03}", Number(value))?;
        }
        self.done.samples += written;
        self.done.series += u64::from(written > 0);
        Ok(())
    }

    /// Ends the text and says what was written.
    ///
    /// # Errors
    /// `Io`.
    pub fn finish(mut self) -> Result<Exported> {
        let result = self.out.write_all(b"# EOF\n").and_then(|()| self.out.flush());
        result.map_err(Error::io("write", Path::new("the export")))?;
        Ok(self.done)
    }
}

fn quote(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            byte => out.push(byte),
        }
    }
    out.push(b'"');
}

/// The shortest text that reads as the same float.
struct Number(f64);

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.0;
        if value.is_nan() {
            f.write_str("NaN")
        } else if value.is_infinite() {
            f.write_str(if value > 0.0 { "+Inf" } else { "-Inf" })
        } else if value == 0.0 || (1e-6..1e17).contains(&value.abs()) {
            write!(f, "{value}")
        } else {
            write!(f, "{value:e}")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::Histogram;
    use model::sample::STALE_NAN;

    use super::*;

    #[test]
    fn text() {
        let mut out = Vec::new();
        let mut export = OpenMetrics::new(&mut out);
        let mut samples = Samples::default();
        for (t, v) in
            [(-1500, -0.0), (0, 1e300), (1_700_000_000_123, 0.1), (1_700_000_000_124, f64::INFINITY)]
        {
            samples.push_float(t, v);
        }
        samples.push_float(1_700_000_000_125, f64::from_bits(STALE_NAN));
        samples.push_histogram(1_700_000_000_126, Arc::new(Histogram::default()));
        export.add(&Labels::from_pairs([("__name__", "a_total"), ("b", "x\n\"\\")]), &samples).unwrap();
        let mut one = Samples::default();
        one.push_float(5, f64::NAN);
        export.add(&Labels::from_pairs([("__name__", "a_total")]), &one).unwrap();
        export.add(&Labels::from_pairs([("__name__", "c.d"), ("e.f", "g")]), &one).unwrap();
        let done = export.finish().unwrap();
        assert_eq!(done, Exported { series: 3, samples: 6, histograms_left_out: 1, stale_left_out: 1 });
        let expected = "# TYPE a_total unknown\n\
            a_total{b=\"x\\n\\\"\\\\\"} -0 -1.500\n\
            a_total{b=\"x\\n\\\"\\\\\"} 1e300 0.000\n\
            a_total{b=\"x\\n\\\"\\\\\"} 0.1 1700000000.123\n\
            a_total{b=\"x\\n\\\"\\\\\"} +Inf 1700000000.124\n\
            a_total NaN 0.005\n\
            # TYPE \"c.d\" unknown\n\
            {\"c.d\",\"e.f\"=\"g\"} NaN 0.005\n\
            # EOF\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
