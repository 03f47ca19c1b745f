//! template (to be filled).
