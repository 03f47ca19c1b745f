//! httpc (to be filled).
