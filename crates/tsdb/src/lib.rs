//! Time-series storage on a local disk: a head in memory behind a write-ahead log, and immutable blocks.
//!
//! Synchronous inside; only `seam` and the requests of `bucket` are asynchronous. Concepts: docs/concepts/storage.md; bytes on disk: docs/formats/.
//!
//! | module | holds |
//! |---|---|
//! | [`block`] | immutable folders of series in a time range, with their index |
//! | `blocks` | a tenant's blocks: cut from the head, merged, deleted |
//! | [`bucket`] | blocks in an object store: sent, read back by ranges, deleted |
//! | [`chunk`] | compressed columns: values, times, native histograms, start timestamps |
//! | [`compact`] | several blocks become one; what to merge next |
//! | [`config`] | settings |
//! | [`db`] | the database: opens, recovers, hands batches and queries to their tenant |
//! | [`disk`] | the file system seam: the real one, and one that fails and crashes on demand |
//! | [`downsample`] | tiers: aggregates of each series and step |
//! | [`error`] | what can go wrong |
//! | [`export`] | samples as OpenMetrics text |
//! | `head` | the newest samples: index, groups, sealed files |
//! | [`import`] | samples from elsewhere, and Prometheus' own blocks, become blocks |
//! | `lookup` | questions about single series of the head |
//! | [`maintain`] | background work: what is due, and the thread that does it |
//! | [`metrics`] | what storage counts about itself |
//! | [`parquet`] | samples as a Parquet file |
//! | `query` | head and blocks as one set of series |
//! | `recovery` | a folder becomes a head again |
//! | [`restore`] | a snapshot becomes a data folder |
//! | `retention` | which blocks are to be deleted |
//! | `seam` | `model::Appender` and `model::Querier` |
//! | `snapshot` | a copy of the data folder, made while the database runs |
//! | [`stats`] | numbers of a tenant's head and of what its labels cost |
//! | `tenant` | one tenant's head, log and files |
//! | `tiers` | when tiers are made, and which of them answers a query |
//! | `tombstones` | deletions that are not physical yet |
//! | [`tools`] | looking at blocks from outside: list, verify, dump, analyze |
//! | `wal` | the write-ahead log and the series log |

pub mod block;
mod blocks;
pub mod bucket;
pub mod chunk;
pub mod compact;
pub mod config;
pub mod db;
pub mod disk;
pub mod downsample;
pub mod error;
pub mod export;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod head;
pub mod import;
mod index;
mod lookup;
pub mod maintain;
mod merge;
pub mod metrics;
pub mod parquet;
mod query;
mod recovery;
pub mod restore;
mod retention;
mod seam;
mod snapshot;
pub mod stats;
mod tenant;
mod tiers;
mod tombstones;
pub mod tools;
mod wal;

pub use config::Config;
pub use db::Db;
pub use disk::{Disk, RealDisk};
pub use error::{Error, Result};
pub use metrics::Metrics;
pub use recovery::Recovered;
pub use snapshot::Copied;
