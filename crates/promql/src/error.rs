//! What can be wrong with a query text.

use std::fmt;

use crate::ast::Span;

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// Where in the text.
    pub span: Span,
    /// Line of the span's start, from 1; 0 when the text is empty.
    pub line: usize,
    /// Column in bytes of the span's start, from 1; 0 when the text is empty.
    pub column: usize,
    /// What is wrong, in Prometheus' words where Prometheus has the same error.
    pub message: String,
}

impl ParseError {
    pub(crate) fn new(input: &str, span: Span, message: impl Into<String>) -> Self {
        let (line, column) = match input {
            "" => (0, 0),
            _ => span.line_column(input).unwrap_or((0, 0)),
        };
        Self { span, line, column, message: message.into() }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "unknown position: parse error: {}", self.message),
            line => write!(f, "{line}:{}: parse error: {}", self.column, self.message),
        }
    }
}

/// Everything that is wrong with a text; at least one error. Displays as the first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseErrors(pub(crate) Vec<ParseError>);

impl ParseErrors {
    /// The errors, in the order in which they were found.
    pub fn all(&self) -> &[ParseError] {
        &self.0
    }

    /// The error that is shown to users.
    pub fn first(&self) -> &ParseError {
        &self.0[0]
    }
}

impl fmt::Display for ParseErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first().fmt(f)
    }
}

impl std::error::Error for ParseErrors {}
