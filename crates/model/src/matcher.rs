//! Label matchers and selectors.

use std::fmt;

use crate::labels::{Labels, Quoted, is_legacy_label_name};
use crate::pattern::{InvalidPattern, Pattern};

/// How a matcher compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// The operator as PromQL writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// One label test. A label that a series lacks has the value `""`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    pattern: Option<Pattern>,
}

/// Label tests that must all hold.
pub type Selector = Vec<Matcher>;

impl Matcher {
    /// Builds a matcher and compiles its pattern.
    ///
    /// # Errors
    /// [`InvalidPattern`] when `op` is a regular expression and `value` is none.
    pub fn new(
        name: impl Into<String>,
        op: MatchOp,
        value: impl Into<String>,
    ) -> Result<Self, InvalidPattern> {
        let (name, value) = (name.into(), value.into());
        let pattern = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => Some(Pattern::new(&value)?),
        };
        Ok(Self { name, op, value, pattern })
    }

    /// `name =~ pattern`, or `name !~ pattern` when `positive` is false, with a pattern that is compiled already.
    pub fn with_pattern(name: impl Into<String>, positive: bool, pattern: Pattern) -> Self {
        let op = if positive { MatchOp::Regex } else { MatchOp::NotRegex };
        Self { name: name.into(), op, value: pattern.as_str().to_owned(), pattern: Some(pattern) }
    }

    /// `name = value`.
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), op: MatchOp::Equal, value: value.into(), pattern: None }
    }

    /// The label's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The operator.
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// The value or pattern as written.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The compiled pattern of `=~` and `!~`.
    pub fn pattern(&self) -> Option<&Pattern> {
        self.pattern.as_ref()
    }

    /// Whether a label with this value passes.
    pub fn matches(&self, value: &str) -> bool {
        let positive = match &self.pattern {
            None => self.value == value,
            Some(pattern) => pattern.matches(value),
        };
        positive == matches!(self.op, MatchOp::Equal | MatchOp::Regex)
    }

    /// Whether a series without this label passes.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }

    /// Whether `labels` pass.
    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.matches(labels.get(&self.name).unwrap_or_default())
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_legacy_label_name(&self.name) {
            f.write_str(&self.name)?;
        } else {
            write!(f, "{}", Quoted(&self.name))?;
        }
        write!(f, "{}{}", self.op.as_str(), Quoted(&self.value))
    }
}

/// Whether `labels` pass every matcher.
pub fn selects(selector: &[Matcher], labels: &Labels) -> bool {
    selector.iter().all(|matcher| matcher.matches_labels(labels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiled_pattern_is_taken_as_it_is() {
        for op in [MatchOp::Regex, MatchOp::NotRegex] {
            let matcher = Matcher::new("job", op, "a|b").unwrap();
            let pattern = matcher.pattern().unwrap().clone();
            assert_eq!(Matcher::with_pattern("job", op == MatchOp::Regex, pattern), matcher);
        }
    }

    #[test]
    fn a_missing_label_is_empty() {
        let labels = Labels::from_pairs([("job", "node")]);
        let check = |op, value| Matcher::new("env", op, value).unwrap().matches_labels(&labels);
        assert!(check(MatchOp::Equal, "") && check(MatchOp::NotEqual, "prod"));
        assert!(
            check(MatchOp::Regex, "|prod")
                && !check(MatchOp::Regex, ".+")
                && check(MatchOp::NotRegex, "prod")
        );
        assert!(selects(&[Matcher::equal("job", "node")], &labels));
        assert_eq!(Matcher::new("a.b", MatchOp::NotRegex, "x\"").unwrap().to_string(), r#""a.b"!~"x\"""#);
    }
}
