//! Probes against real servers on loopback, and against the blackbox exporter.

mod oracle;
mod script;
mod targets;
