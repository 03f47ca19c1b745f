//! The collector from its public side: uploads in, series out.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a helper that fails ends its test; what is not run is said"
)]

mod collector;
mod hostile;
mod replay;
mod snippets;
