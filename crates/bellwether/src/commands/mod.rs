//! The subcommands other than the server. Each has `command()`, its part of the command line, and `run()`.

pub(crate) mod agent;
pub(crate) mod alerts;
pub(crate) mod check;
pub(crate) mod client;
pub(crate) mod docs;
pub(crate) mod probe;
pub(crate) mod query;
pub(crate) mod simulate;
pub(crate) mod status_page;
pub(crate) mod test;
pub(crate) mod tsdb;
pub(crate) mod watch;

use std::io::Write;

/// Prints a line on standard output; a closed pipe (`| head`) is no error worth words.
pub(crate) fn say(text: impl std::fmt::Display) {
    drop(writeln!(std::io::stdout(), "{text}"));
}

/// Prints a line on standard error.
pub(crate) fn complain(text: impl std::fmt::Display) {
    drop(writeln!(std::io::stderr(), "{text}"));
}
