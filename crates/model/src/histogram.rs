//! Native histograms.
//!
//! One type for integer and float, exponential and custom-bucket histograms: counts are held as `f64`, which is exact
//! for every integer histogram up to 2^53 observations a bucket; `is_float` remembers which kind was sent. Buckets are
//! absolute counts, not deltas. Source: the Prometheus native histogram specification.

/// The schema that says "custom bucket bounds".
pub const CUSTOM_SCHEMA: i32 = -53;

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
