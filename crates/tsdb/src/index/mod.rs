//! The index of a block: label pairs in a sorted, front-coded dictionary, and for each the ids of its series.
//!
//! | module | what |
//! |---|---|
//! | `build` | collects pairs while a block is written |
//! | `dictionary` | pairs by id, by text, by prefix |
//! | `postings` | sorted series ids as runs or roaring bitmaps |
//! | `lookup` | matchers to series ids; label names, values, statistics |
//!
//! Nothing here lives longer than its block: no table grows with retention. Layout: docs/formats/block.md.

pub(crate) mod build;
mod dictionary;
mod lookup;
pub(crate) mod postings;
#[cfg(test)]
mod tests;

pub(crate) use lookup::Index;

/// Entries between two restarts, where a reader can begin.
pub(crate) const RESTART: usize = 16;

/// How many series and values a label name has in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameStats {
    /// The label's name.
    pub name: String,
    /// Distinct values.
    pub values: u64,
    /// Series that have the label.
    pub series: u64,
}

/// How many series have a label pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairStats {
    /// The label's name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Series that have the pair.
    pub series: u64,
}
