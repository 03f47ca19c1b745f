//! Time-series storage on a local disk: a head in memory behind a write-ahead log, and immutable blocks.
//!
//! Synchronous inside; only `seam` is asynchronous.
//!
//! | module | holds |
//! |---|---|
//! | [`block`] | immutable folders of series in a time range, with their index |
//! | [`chunk`] | compressed columns: values, times, native histograms, start timestamps |
//! | [`compact`] | several blocks become one; what to merge next |
//! | [`disk`] | the file system seam: the real one, and one that fails and crashes on demand |
//! | [`error`] | what can go wrong |

pub mod block;
pub mod chunk;
pub mod compact;
pub mod disk;
pub mod error;
mod index;

pub use error::{Error, Result};
