//! The host source against real counterparts: node_exporter as oracle, processes that crash, a host that is full.

mod crashes;
mod oracle;
mod parity;
mod tree;
