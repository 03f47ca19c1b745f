//! Native histograms.
//!
//! One type for integer and float, exponential and custom-bucket histograms: counts are held as `f64`, which is exact
//! for every integer histogram up to 2^53 observations a bucket; `is_float` remembers which kind was sent. Buckets are
//! absolute counts, not deltas. Source: the Prometheus native histogram specification.

/// The schema that says "custom bucket bounds".
pub const CUSTOM_SCHEMA: i32 = -53;

/// The coarsest and the finest exponential schema.
pub const MIN_SCHEMA: i32 = -4;
/// See [`MIN_SCHEMA`].
pub const MAX_SCHEMA: i32 = 8;

/// The finest schema whose buckets grow at least by `factor`; one that is not above 1 allows every schema. Source: the Prometheus
/// manual, `native_histogram_min_bucket_factor`.
pub fn schema_of_factor(factor: f64) -> i32 {
    if factor.is_nan() || factor <= 1.0 {
        return MAX_SCHEMA;
    }
    let schema = (-factor.log2().log2()).floor();
    schema.clamp(f64::from(MIN_SCHEMA), f64::from(MAX_SCHEMA)) as i32
}

/// A run of consecutive buckets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Span {
    /// For the first span the index of its first bucket, for the others the gap to the end of the span before.
    pub offset: i32,
    /// How many buckets.
    pub length: u32,
}

/// What is known about a counter reset between the histogram before and this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum ResetHint {
    /// Nothing: compare the two.
    #[default]
    Unknown,
    /// There was a reset.
    Reset,
    /// There was none.
    NotReset,
    /// Not a counter: resets mean nothing.
    Gauge,
}

/// A native histogram sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// −4..=8: bucket bounds grow by 2^(2^−schema); [`CUSTOM_SCHEMA`]: the bounds are in `custom_values`.
    pub schema: i32,
    /// Whether the counts were sent as floats.
    pub is_float: bool,
    /// What is known about a reset before this sample.
    pub reset_hint: ResetHint,
    /// Observations with an absolute value up to this are in the zero bucket.
    pub zero_threshold: f64,
    /// Observations in the zero bucket.
    pub zero_count: f64,
    /// All observations.
    pub count: f64,
    /// The sum of the observations.
    pub sum: f64,
    /// Where the positive buckets are.
    pub positive_spans: Vec<Span>,
    /// Counts of the positive buckets, one for each bucket in the spans.
    pub positive: Vec<f64>,
    /// Where the negative buckets are.
    pub negative_spans: Vec<Span>,
    /// Counts of the negative buckets, one for each bucket in the spans.
    pub negative: Vec<f64>,
    /// Upper bounds, ascending, without +Inf; only for [`CUSTOM_SCHEMA`].
    pub custom_values: Vec<f64>,
}

/// A histogram that no encoder may have sent.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidHistogram {
    /// The schema is none that exists.
    #[error("histogram schema {0} is neither -4..=8 nor -53")]
    Schema(i32),
    /// Spans and buckets do not match.
    #[error("{side} spans describe {expected} buckets but there are {actual}")]
    Buckets {
        /// "positive" or "negative".
        side: &'static str,
        /// Buckets in the spans.
        expected: u64,
        /// Buckets given.
        actual: usize,
    },
    /// A later span's offset is negative.
    #[error("{side} span {index} has the negative offset {offset}")]
    SpanOffset {
        /// "positive" or "negative".
        side: &'static str,
        /// Which span.
        index: usize,
        /// Its offset.
        offset: i32,
    },
    /// A bucket's count is negative.
    #[error("{side} bucket {index} has the negative count {count}")]
    NegativeCount {
        /// "positive" or "negative".
        side: &'static str,
        /// Which bucket.
        index: usize,
        /// Its count.
        count: f64,
    },
    /// `count` is less than the sum of the buckets.
    #[error("{buckets} observations are in buckets but the count is {count}")]
    Count {
        /// Observations in all buckets.
        buckets: f64,
        /// The histogram's count.
        count: f64,
    },
    /// The zero threshold is negative or not finite.
    #[error("the zero threshold {0} is negative or not finite")]
    ZeroThreshold(f64),
    /// Custom bounds are missing, not finite or not ascending, or present where the schema has none.
    #[error("custom bounds are {0}")]
    CustomValues(&'static str),
}

impl Histogram {
    /// Whether the bounds are custom.
    pub fn is_custom(&self) -> bool {
        self.schema == CUSTOM_SCHEMA
    }

    /// Whether this is a staleness marker: Prometheus puts it in `sum`.
    pub fn is_stale(&self) -> bool {
        crate::sample::is_stale(self.sum)
    }

    /// Memory used by the value and its buckets, in bytes.
    pub fn size_bytes(&self) -> usize {
        size_of::<Self>()
            + (self.positive.len() + self.negative.len() + self.custom_values.len()) * size_of::<f64>()
            + (self.positive_spans.len() + self.negative_spans.len()) * size_of::<Span>()
    }

    /// Merges buckets of an exponential histogram until it has this coarser schema; a finer one changes nothing.
    pub fn reduce_resolution(&mut self, schema: i32) {
        if self.is_custom() || schema >= self.schema {
            return;
        }
        let steps = (self.schema - schema) as u32;
        (self.positive_spans, self.positive) = merged(&self.positive_spans, &self.positive, steps);
        (self.negative_spans, self.negative) = merged(&self.negative_spans, &self.negative, steps);
        self.schema = schema;
    }

    /// Checks what a decoder cannot: spans against buckets, counts, bounds.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn validate(&self) -> Result<(), InvalidHistogram> {
        if self.is_stale() {
            return Ok(());
        }
        if self.is_custom() {
            if self.custom_values.iter().any(|v| !v.is_finite()) {
                return Err(InvalidHistogram::CustomValues("not finite"));
            }
            if self.custom_values.windows(2).any(|w| w[0] >= w[1]) {
                return Err(InvalidHistogram::CustomValues("not ascending"));
            }
            if !self.negative.is_empty() || !self.negative_spans.is_empty() || self.zero_count != 0.0 {
                return Err(InvalidHistogram::CustomValues("combined with negative or zero buckets"));
            }
        } else {
            if !(-4..=8).contains(&self.schema) {
                return Err(InvalidHistogram::Schema(self.schema));
            }
            if !self.custom_values.is_empty() {
                return Err(InvalidHistogram::CustomValues("given with an exponential schema"));
            }
            if !self.zero_threshold.is_finite() || self.zero_threshold < 0.0 {
                return Err(InvalidHistogram::ZeroThreshold(self.zero_threshold));
            }
        }
        let mut total = self.zero_count;
        for (side, spans, buckets) in [
            ("positive", &self.positive_spans, &self.positive),
            ("negative", &self.negative_spans, &self.negative),
        ] {
            if let Some((index, span)) = spans.iter().enumerate().skip(1).find(|(_, s)| s.offset < 0) {
                return Err(InvalidHistogram::SpanOffset { side, index, offset: span.offset });
            }
            let expected: u64 = spans.iter().map(|s| u64::from(s.length)).sum();
            if expected != buckets.len() as u64 {
                return Err(InvalidHistogram::Buckets { side, expected, actual: buckets.len() });
            }
            if let Some((index, &count)) = buckets.iter().enumerate().find(|(_, c)| **c < 0.0) {
                return Err(InvalidHistogram::NegativeCount { side, index, count });
            }
            total += buckets.iter().sum::<f64>();
        }
        // NaN observations count without a bucket, so the count may be larger, but only an integer histogram is exact.
        if !self.is_float && total > self.count {
            return Err(InvalidHistogram::Count { buckets: total, count: self.count });
        }
        Ok(())
    }
}

/// Buckets whose bounds are squared `steps` times: bucket `i` goes into bucket `ceil(i / 2^steps)`.
fn merged(spans: &[Span], counts: &[f64], steps: u32) -> (Vec<Span>, Vec<f64>) {
    let (mut out_spans, mut out): (Vec<Span>, Vec<f64>) = (Vec::new(), Vec::new());
    let (mut index, mut counts, mut last) = (0i64, counts.iter(), None::<i64>);
    for span in spans {
        index += i64::from(span.offset);
        for _ in 0..span.length {
            let Some(count) = counts.next() else { return (out_spans, out) };
            let target = if steps < 32 { ((index - 1) >> steps) + 1 } else { i64::from(index > 0) };
            match last {
                Some(before) if before == target => {
                    if let Some(bucket) = out.last_mut() {
                        *bucket += count;
                    }
                }
                _ => {
                    let gap = target - last.map_or(0, |before| before + 1);
                    match out_spans.last_mut() {
                        Some(span) if gap == 0 => span.length += 1,
                        _ => out_spans.push(Span { offset: gap as i32, length: 1 }),
                    }
                    out.push(*count);
                    last = Some(target);
                }
            }
            index += 1;
        }
    }
    (out_spans, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolution_is_reduced_bucket_by_bucket() {
        let mut h = Histogram {
            schema: 1,
            count: 10.0,
            positive_spans: vec![Span { offset: -1, length: 4 }, Span { offset: 3, length: 1 }],
            positive: vec![1.0, 2.0, 3.0, 2.0, 2.0],
            ..Histogram::default()
        };
        // Buckets -1, 0, 1, 2 and 6 become 0 (for -1 and 0), 1 (for 1 and 2) and 3.
        h.reduce_resolution(0);
        assert_eq!(h.positive_spans, [Span { offset: 0, length: 2 }, Span { offset: 1, length: 1 }]);
        assert_eq!(h.positive, [3.0, 5.0, 2.0]);
        h.validate().unwrap();
        h.reduce_resolution(3);
        assert_eq!(h.schema, 0);
    }

    #[test]
    fn schemas_of_factors() {
        for (factor, schema) in [(0.0, 8), (1.0, 8), (1.1, 2), (2.0, 0), (4.0, -1), (65_536.0, -4), (1e9, -4)]
        {
            assert_eq!(schema_of_factor(factor), schema, "{factor}");
        }
    }
}
