//! YAML to values, with errors in one line.

use serde::de::DeserializeOwned;
use serde_saphyr::NonFiniteFloatPolicy;

/// What is wrong with a text, and where: line and column from 1.
pub(crate) struct Wrong {
    pub(crate) at: Option<(u64, u64)>,
    pub(crate) message: String,
}

/// Reads `text`. Bounds are wide enough for 100,000 rules in a file.
pub(crate) fn read<T: DeserializeOwned>(text: &str) -> Result<T, Wrong> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        // `.nan` and `.inf` are values that a test may expect.
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        budget: serde_saphyr::budget! {
            max_nodes: 10_000_000,
            max_events: 20_000_000,
        },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|err| {
        let at = err.location().map(|at| (at.line(), at.column()));
        let full = err.to_string();
        // The place is said already.
        let message = match at {
            Some((line, column)) => {
                let full = full.strip_prefix("error: ").unwrap_or(&full);
                let before = format!("line {line} column {column}: ");
                let full = full.strip_prefix(&before).unwrap_or(full);
                full.strip_suffix(&format!(" at line {line}, column {column}")).unwrap_or(full).to_owned()
            }
            None => full,
        };
        Wrong { at, message }
    })
}
