//! alerts (to be filled).
