//! The language against what others wrote: Prometheus' scripts and queries, and another parser.
#![expect(clippy::print_stdout, reason = "a suite that is not there is said to be not run")]

mod conformance;
mod depth;
mod differential;
mod evaluation;
mod oracle;
mod peer;
mod robustness;
mod scripts;
