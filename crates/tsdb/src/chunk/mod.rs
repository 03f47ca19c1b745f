//! Chunks: one series' columns (values, times, native histograms, start timestamps), compressed.
//!
//! Pure functions from columns to bytes and back. Encoders append; decoders append too and say how many bytes they
//! used, so that columns can lie one behind the other. The number of samples is the container's to keep, and so is the
//! checksum. Decoders take any bytes without a panic. Layout: docs/formats/chunk.md.
//!
//! | module | what |
//! |---|---|
//! | `values` | floats, bit for bit |
//! | `times` | ascending timestamps; start timestamps |
//! | `histograms` | native histograms |
//! | `ints`, `pack`, `varint`, `cpu` | integer columns, mini-blocks of 64, LEB128, compiled for the processor |

mod cpu;
mod histograms;
mod ints;
mod pack;
mod times;
mod values;
pub(crate) mod varint;

pub use histograms::{decode_histograms, encode_histograms};
pub use times::{decode_starts, decode_times, encode_starts, encode_times};
pub use values::{decode_values, encode_values};

/// Samples in one column at most; bounds what a decoder allocates.
pub const MAX_COUNT: usize = 1 << 20;

/// Bytes that no encoder can have written, and what is wrong with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chunk is damaged: {0}")]
pub struct CorruptChunk(pub(crate) &'static str);
