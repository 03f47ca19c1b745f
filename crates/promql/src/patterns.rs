//! Compiled regular expressions, shared between queries.
//!
//! Compiling one costs several times as much as parsing the query around it, and dashboards and rules send the same
//! ones again and again.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use model::pattern::{InvalidPattern, Pattern};
use model::{MatchOp, Matcher};

/// At most this many patterns are kept.
const MAX_PATTERNS: usize = 512;

/// Longer patterns are not kept.
const MAX_KEPT_BYTES: usize = 512;

static PATTERNS: LazyLock<Mutex<HashMap<String, Pattern>>> = LazyLock::new(Mutex::default);

/// A matcher whose pattern comes from the cache when it is there.
pub(crate) fn matcher(name: String, op: MatchOp, value: String) -> Result<Matcher, InvalidPattern> {
    match op {
        MatchOp::Equal | MatchOp::NotEqual => Matcher::new(name, op, value),
        MatchOp::Regex | MatchOp::NotRegex => {
            Ok(Matcher::with_pattern(name, op == MatchOp::Regex, pattern(value)?))
        }
    }
}

fn pattern(source: String) -> Result<Pattern, InvalidPattern> {
    if let Some(found) = PATTERNS.lock().unwrap_or_else(PoisonError::into_inner).get(&source) {
        return Ok(found.clone());
    }
    let compiled = Pattern::new(&source)?;
    if is_small(&source) {
        let mut kept = PATTERNS.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= MAX_PATTERNS {
            // Patterns in use come back at once; an exact least-recently-used order is not worth a list.
            kept.clear();
        }
        kept.insert(source, compiled.clone());
    }
    Ok(compiled)
}

/// Whether the automaton is surely small: without counted repetitions and Unicode classes its size follows the length
/// of the text, so the cache holds a few megabytes at most.
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
        let first = matcher("a".to_owned(), MatchOp::Regex, "shared-.*x".to_owned()).unwrap();
        let second = matcher("b".to_owned(), MatchOp::NotRegex, "shared-.*x".to_owned()).unwrap();
        assert_eq!(first.pattern().unwrap().as_str(), second.pattern().unwrap().as_str());
        assert!(first.matches("shared-1x") && !second.matches("shared-1x"));
        assert!(matcher("a".to_owned(), MatchOp::Regex, "(".to_owned()).is_err());
        for i in 0..MAX_PATTERNS + 10 {
            matcher("a".to_owned(), MatchOp::Regex, format!("p{i}.*x")).unwrap();
        }
        assert!(PATTERNS.lock().unwrap().len() <= MAX_PATTERNS);
        assert!(!is_small("a{1000}") && !is_small(r"\pL*") && is_small("node-.*"));
    }
}
