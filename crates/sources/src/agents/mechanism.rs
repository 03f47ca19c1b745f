//! The registry as a discovery: `agent_sd_configs`.

use std::sync::Arc;
use std::time::Duration;

use super::registry::{Announcement, Registry};
use crate::discovery::{Group, Out};

/// How often leases and silent peers are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Sends the owned agents when they change, until cancelled.
pub(crate) async fn run(registry: Arc<Registry>, mut out: Out) {
    let mut changed = registry.watch();
    let mut last: Option<Vec<Announcement>> = None;
    loop {
        changed.mark_unchanged();
        let owned = registry.owned();
        if last.as_ref() != Some(&owned) {
            out.all(owned.iter().map(group).collect()).await;
            last = Some(owned);
        }
        if let Ok(Err(_)) = tokio::time::timeout(LOOK, changed.changed()).await {
            return;
        }
    }
}

/// An agent's labels are its target's, and are there as `__meta_agent_label_…` for relabelling too.
fn group(agent: &Announcement) -> Group {
    let mut group = Group { source: agent.name.clone(), targets: Vec::new(), labels: agent.labels.clone() };
    for (name, value) in &agent.labels {
        group.labels.insert(format!("__meta_agent_label_{name}"), value.clone());
    }
    group.labels.insert("__meta_agent_name".into(), agent.name.clone());
    group.labels.insert("instance".into(), agent.name.clone());
    for (name, value) in [("__scheme__", &agent.scheme), ("__metrics_path__", &agent.metrics_path)] {
        if !value.is_empty() {
            group.labels.insert(name.into(), value.clone());
        }
    }
    group.targets.push([("__address__".to_owned(), agent.address.clone())].into());
    group
}
