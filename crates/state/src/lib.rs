//! state (to be filled).
