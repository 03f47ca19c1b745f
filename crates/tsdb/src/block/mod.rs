//! Blocks: immutable folders of series in a time range, with their index.
//!
//! [`BlockWriter`] takes series in label order and leaves a whole block or none. [`Block`] finds series by matchers and
//! reads their samples, from a mapped file or from any [`Source`] of byte ranges. Series whose samples have the same times
//! share one time column. Layout: docs/formats/block.md.
//!
//! | module | what |
//! |---|---|
//! | `format` | magic numbers, footer, meta file |
//! | `writer`, `reader` | the two ends |
//! | `directory`, `times`, `payload` | series entries; time groups; the columns of a chunk |
//! | `tier` | the columns of a down-sampled series |
//! | `source` | where the bytes come from |

mod directory;
mod format;
mod payload;
mod reader;
mod source;
#[cfg(test)]
mod tests;
mod tier;
mod times;
mod writer;

pub use format::{BlockMeta, DATA_FILE, META_FILE, TMP_SUFFIX};
pub(crate) use reader::SelectedPairs;
pub use reader::{Block, BlockScan, BlockSeries, BlockStats};
pub use source::{Mapped, Source};
pub use tier::Tier;
pub use writer::{BlockWriter, CHUNK_MS, CHUNK_SAMPLES};

pub use crate::index::{NameStats, PairStats};
