//! Time-series storage on a local disk: a head in memory behind a write-ahead log, and immutable blocks.
//!
//! Synchronous inside; only `seam` is asynchronous.
//!
//! | module | holds |
//! |---|---|
//! | [`disk`] | the file system seam: the real one, and one that fails and crashes on demand |
//! | [`error`] | what can go wrong |

pub mod disk;
pub mod error;

pub use error::{Error, Result};
