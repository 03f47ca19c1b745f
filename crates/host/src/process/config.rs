//! Settings of process groups and critical processes.

use model::duration::PromDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Processes: groups under process-exporter's names, the largest ones, critical ones, how they end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ProcessConfig {
    /// Whether processes are looked at.
    pub enabled: bool,
    /// How processes are grouped; the first that fits counts. Empty: by the name of the program.
    pub groups: Vec<GroupConfig>,
    /// Most groups; processes of further ones are in the group `other`.
    pub max_groups: usize,
    /// How long a group without processes is still shown, with 0.
    pub forget_after: PromDuration,
    /// Names of groups that must be there: shown with 0 when absent, every end is an event, restarts are counted.
    pub critical: Vec<String>,
    /// Whether a group that has run this long becomes critical by itself; 0 means no.
    pub learn_after: PromDuration,
    /// How many of the largest processes are shown one by one, by processor time and by memory; 0 means none.
    pub top: usize,
    /// Milliseconds of each collection that may go into details which are dear to read (descriptors, shared memory); what is left
    /// waits for the next.
    pub detail_budget_ms: u64,
    /// Whether ends of processes are followed as they happen, with their cause. Needs root or CAP_NET_ADMIN; without it
    /// only critical processes are followed, and why they ended is not known.
    pub follow_exits: bool,
}

impl Default for ProcessConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            groups: Vec::new(),
            max_groups: 200,
            forget_after: PromDuration(3_600_000),
            critical: Vec::new(),
            learn_after: PromDuration(0),
            top: 10,
            detail_budget_ms: 20,
            follow_exits: true,
        }
    }
}

/// One kind of group. A process fits when everything that is given fits; filters are regular expressions for the whole text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct GroupConfig {
    /// The group's name. `{{.Comm}}`, `{{.ExeBase}}`, `{{.ExeFull}}`, `{{.Username}}`, `{{.Unit}}`, `{{.Cgroup}}`, `{{.PID}}` and
    /// `{{.Matches.name}}` (a named group of `cmdline`) stand for what the process has. Empty means `{{.Comm}}`.
    pub name: String,
    /// Names of programs, as the kernel cuts them at 15 bytes.
    pub comm: Vec<String>,
    /// Programs: a path, or the last part of one.
    pub exe: Vec<String>,
    /// Patterns that the command line contains, all of them.
    pub cmdline: Vec<String>,
    /// The systemd unit.
    pub unit: String,
    /// The user's name.
    pub user: String,
}
