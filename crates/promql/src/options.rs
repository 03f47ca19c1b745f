//! Which parts of the language are switched on, and how large a query may be.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::patterns::PatternCache;

/// Language settings. All experimental parts are off by default, as in Prometheus.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Functions and aggregations that Prometheus calls experimental: `limitk`, `mad_over_time`, `info`, …
    pub experimental_functions: bool,
    /// Arithmetic on durations: `[1m + 2m]`, `offset (step() * 2)`.
    pub duration_expressions: bool,
    /// `anchored` and `smoothed` selectors.
    pub extended_range_selectors: bool,
    /// `fill`, `fill_left` and `fill_right` in vector matching.
    pub fill_modifiers: bool,
    /// Longest query text, in bytes.
    pub max_query_bytes: usize,
    /// Deepest nesting of expressions.
    pub max_depth: usize,
    /// Patterns that earlier queries compiled.
    #[serde(skip)]
    pub patterns: PatternCache,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            experimental_functions: false,
            duration_expressions: false,
            extended_range_selectors: false,
            fill_modifiers: false,
            max_query_bytes: 1 << 20,
            max_depth: 200,
            patterns: PatternCache::default(),
        }
    }
}

impl Options {
    /// Everything is switched on.
    pub fn all() -> Self {
        Self {
            experimental_functions: true,
            duration_expressions: true,
            extended_range_selectors: true,
            fill_modifiers: true,
            ..Self::default()
        }
    }
}
