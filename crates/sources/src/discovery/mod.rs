//! Finding targets. Each mechanism yields [`Group`]s under names of its own; a group that comes again replaces the old one.

pub mod file;

use std::collections::BTreeMap;

/// Targets that share labels, from one source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// Which file, URL or name they come from; unique within a job.
    pub source: String,
    /// The label sets of the targets; at least `__address__`.
    pub targets: Vec<BTreeMap<String, String>>,
    /// Labels of all of them; a target's own win.
    pub labels: BTreeMap<String, String>,
}
