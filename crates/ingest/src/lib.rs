//! ingest (to be filled).
