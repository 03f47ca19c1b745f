//! promql (to be filled).
