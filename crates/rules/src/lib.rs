//! rules (to be filled).
