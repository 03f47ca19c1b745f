//! tsdb (to be filled).
