//! sources (to be filled).
