//! What we go and look at.

pub mod host;
