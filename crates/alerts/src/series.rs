//! The alerts that are held, as series with the alerts' own labels, so that PromQL joins them with anything else.

use std::collections::HashMap;
use std::sync::Arc;

use model::{Alert, Family, Labels, Metadata, MetricType};

use crate::dispatcher::Dispatcher;

/// Since when alerts fire, what keeps them back, when who was told. At most `limit` alerts; the second value says how many
/// are left out.
pub fn families(dispatcher: &Dispatcher, limit: usize) -> (Vec<Family>, usize) {
    let (mut since, mut suppressed, mut notified) = (Vec::new(), Vec::new(), Vec::new());
    let left_out = dispatcher.look(|core, now| {
        let firing: Vec<&Arc<Alert>> =
            core.store.iter().map(|(_, alert)| alert).filter(|alert| !alert.is_resolved(now)).collect();
        let mut told: HashMap<u64, Vec<(&str, &str, f64)>> = HashMap::new();
        for entry in core.nflog.iter() {
            let Some(at) = entry.at else { continue };
            for fingerprint in &entry.firing {
                told.entry(*fingerprint).or_default().push((
                    &entry.receiver,
                    &entry.integration,
                    at.seconds(),
                ));
            }
        }
        for alert in firing.iter().take(limit) {
            let labels = &alert.labels;
            let with = |pairs: &[(&str, &str)]| {
                let mut builder = labels.to_builder();
                for &(name, value) in pairs {
                    builder.set(name, value);
                }
                builder.build()
            };
            since.push((labels.clone(), alert.starts_at.seconds()));
            let mutes = core.mutes(labels, now);
            if !mutes.silenced_by.is_empty() {
                suppressed.push((with(&[("suppressed_by", "silence")]), 1.0));
            }
            if mutes.inhibited_by.is_some() {
                suppressed.push((with(&[("suppressed_by", "inhibition")]), 1.0));
            }
            let mut latest: HashMap<(&str, &str), f64> = HashMap::new();
            for (receiver, integration, at) in told.get(&labels.fingerprint()).into_iter().flatten() {
                let known = latest.entry((receiver, integration)).or_insert(*at);
                *known = known.max(*at);
            }
            for ((receiver, integration), at) in latest {
                notified
                    .push((with(&[("alert_receiver", receiver), ("alert_integration", integration)]), at));
            }
        }
        firing.len().saturating_sub(limit)
    });
    let family = |name: &str, help: &str, samples: Vec<(Labels, f64)>| Family {
        name: name.to_owned(),
        metadata: Metadata { kind: MetricType::Gauge, help: help.to_owned(), unit: String::new() },
        samples,
    };
    let families = vec![
        family(
            "bellwether_alert_since_seconds",
            "Unix time since when the alert with these labels fires, as the alert manager holds it.",
            since,
        ),
        family(
            "bellwether_alert_suppressed",
            "1 while a silence or another alert keeps the alert back.",
            suppressed,
        ),
        family(
            "bellwether_alert_notified_seconds",
            "Unix time when a receiver was last told of the alert.",
            notified,
        ),
    ];
    (families, left_out)
}
