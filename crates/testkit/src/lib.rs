//! What tests need: stand-ins for the seams.
//!
//! | module | holds |
//! |---|---|
//! | [`state`] | [`MemoryState`]: a [`model::StateStore`] in memory that can be told to fail |

pub mod state;

pub use state::MemoryState;
