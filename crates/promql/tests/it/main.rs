//! The language against what others wrote: Prometheus' scripts and queries, and another parser.

mod conformance;
mod oracle;
