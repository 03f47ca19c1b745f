//! What tests need: stand-ins for the seams.
//!
//! | module | holds |
//! |---|---|
//! | [`state`] | [`MemoryState`]: a [`model::StateStore`] in memory that can be told to fail |
//! | [`peer`] | [`peer()`](peer::peer): other people's programs, and the Python that runs helpers |

pub mod peer;
pub mod state;

pub use state::MemoryState;
