//! Compiled regular expressions, shared between queries.
//!
//! Compiling one costs several times as much as parsing the query around it, and dashboards and rules send the same
//! ones again and again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use model::pattern::{InvalidPattern, Pattern};
use model::{MatchOp, Matcher};

/// Longer patterns are not kept.
const MAX_KEPT_BYTES: usize = 512;

/// Patterns that were compiled for earlier queries. Clones share one cache.
#[derive(Clone, Debug)]
pub struct PatternCache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    max_patterns: usize,
    kept: Mutex<HashMap<String, Pattern>>,
    compiled: AtomicU64,
}

impl Default for PatternCache {
    fn default() -> Self {
        Self::new(512)
    }
}

/// Settings are equal whatever has been cached.
impl PartialEq for PatternCache {
    fn eq(&self, other: &Self) -> bool {
        self.0.max_patterns == other.0.max_patterns
    }
}

impl Eq for PatternCache {}

impl PatternCache {
    /// A cache of at most `max_patterns` patterns, each of some kilobytes; 0 keeps none.
    pub fn new(max_patterns: usize) -> Self {
        Self(Arc::new(Inner { max_patterns, kept: Mutex::default(), compiled: AtomicU64::new(0) }))
    }

    /// How many patterns are kept.
    pub fn len(&self) -> usize {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many patterns had to be compiled so far.
    pub fn compiled(&self) -> u64 {
        self.0.compiled.load(Ordering::Relaxed)
    }

    /// A matcher whose pattern comes from the cache when it is there.
    pub(crate) fn matcher(
        &self,
        name: String,
        op: MatchOp,
        value: String,
    ) -> Result<Matcher, InvalidPattern> {
        match op {
            MatchOp::Equal | MatchOp::NotEqual => Matcher::new(name, op, value),
            MatchOp::Regex | MatchOp::NotRegex => {
                Ok(Matcher::with_pattern(name, op == MatchOp::Regex, self.pattern(value)?))
            }
        }
    }

    fn pattern(&self, source: String) -> Result<Pattern, InvalidPattern> {
        if let Some(found) = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner).get(&source) {
            return Ok(found.clone());
        }
        let compiled = Pattern::new(&source)?;
        self.0.compiled.fetch_add(1, Ordering::Relaxed);
        if self.0.max_patterns > 0 && is_small(&source) {
            let mut kept = self.0.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() >= self.0.max_patterns {
                // Patterns in use come back at once; an exact least-recently-used order is not worth a list.
                kept.clear();
            }
            kept.insert(source, compiled.clone());
        }
        Ok(compiled)
    }
}

/// Whether the automaton is surely small: without counted repetitions and Unicode classes its size follows the length
/// of the text, so the cache holds a few kilobytes a pattern at most.
fn is_small(source: &str) -> bool {
    source.len() <= MAX_KEPT_BYTES
        && !source.contains('{')
        && !source.contains("\\p")
        && !source.contains("\\P")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_shared_and_bounded() {
        let cache = PatternCache::new(20);
        let matcher = |op, value: &str| cache.matcher("a".to_owned(), op, value.to_owned());
        let first = matcher(MatchOp::Regex, "shared-.*x").unwrap();
        let second = matcher(MatchOp::NotRegex, "shared-.*x").unwrap();
        assert_eq!(cache.compiled(), 1);
        assert!(first.matches("shared-1x") && !second.matches("shared-1x"));
        assert!(matcher(MatchOp::Regex, "(").is_err());
        for i in 0..30 {
            matcher(MatchOp::Regex, &format!("p{i}.*x")).unwrap();
        }
        assert!(cache.len() <= 20);
        assert!(!is_small("a{1000}") && !is_small(r"\pL*") && is_small("node-.*"));
        let none = PatternCache::new(0);
        none.matcher("a".to_owned(), MatchOp::Regex, "x.*".to_owned()).unwrap();
        assert!(none.is_empty());
    }
}
