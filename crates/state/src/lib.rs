//! Small, contended, durable state in one SQLite file: [`Store`] implements [`model::StateStore`] on a single node.
//!
//! What [`model::StateStore::put`] acknowledged is on the disk (`synchronous=FULL`); concurrent writers share one commit.
//! The file belongs to one process at a time, has mode 0600 and is checked when it is opened.
//!
//! | module | holds |
//! |---|---|
//! | [`store`] | [`Store`]: opening, the seam, backup |
//! | [`documents`] | what people edit, with every version |
//! | `writer` | the one thread that writes, and its group commit |
//! | `schema` | the tables and their migrations |
//! | [`config`], [`error`], [`metrics`] | settings; what can go wrong; figures |
//!
//! Layout of the file: docs/formats/state.md.
#![warn(missing_docs)]

pub mod config;
pub mod documents;
pub mod error;
pub mod metrics;
mod schema;
pub mod store;
mod writer;

pub use config::Config;
pub use documents::Documents;
pub use error::Error;
pub use metrics::Metrics;
pub use store::Store;
