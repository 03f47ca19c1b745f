//! Alerts as the rules hand them to the alert manager.

use crate::labels::Labels;
use crate::time::Timestamp;

/// One alert, firing or resolved. Its identity is its label set.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// `alertname` and whatever the rule and its expression gave.
    pub labels: Labels,
    /// Texts for people, already expanded.
    pub annotations: Labels,
    /// Since when the condition holds (after `for`).
    pub starts_at: Timestamp,
    /// Resolved at this time when it is not after now; otherwise the time until which the alert counts as firing unless
    /// it is sent again.
    pub ends_at: Timestamp,
    /// When it was last sent.
    pub updated_at: Timestamp,
    /// A link to what raised it; may be empty.
    pub generator_url: String,
}

impl Alert {
    /// The alert's `alertname`, `""` when it lacks one.
    pub fn name(&self) -> &str {
        self.labels.get("alertname").unwrap_or_default()
    }

    /// Whether it is resolved at `now`.
    pub fn is_resolved(&self, now: Timestamp) -> bool {
        self.ends_at <= now
    }
}
