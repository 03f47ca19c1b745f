//! Inhibition: an alert is muted while another one fires that explains it.
//!
//! A rule mutes an alert that matches its target while an alert that matches its source fires and both have equal
//! values for the rule's `equal` labels (a missing label is an empty one). An alert that matches both sides is not
//! muted by one that does so too, so that no alert mutes itself. Source: the Alertmanager manual, "Inhibition-related
//! settings".

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use model::matcher::selects;
use model::{Alert, Labels, Selector, Timestamp};

use crate::config::InhibitRule;

/// Why an alert is muted.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Inhibited {
    /// The rule's name, or its place in the file (`#0`).
    pub rule: String,
    /// The fingerprint of the alert that mutes.
    pub by: u64,
}

#[derive(Debug)]
struct Rule {
    name: String,
    source: Selector,
    target: Selector,
    equal: Vec<String>,
    /// Sources by the values of the `equal` labels.
    sources: HashMap<Vec<String>, Sources>,
}

/// Alerts that may mute others, by fingerprint. They may have resolved since. Those that match the target side too are
/// apart: in a storm of them none mutes another, and nobody looks through all of them to see that.
#[derive(Debug, Default)]
struct Sources {
    one_sided: BTreeMap<u64, Arc<Alert>>,
    two_sided: BTreeMap<u64, Arc<Alert>>,
}

impl Sources {
    fn sides(&mut self) -> [&mut BTreeMap<u64, Arc<Alert>>; 2] {
        [&mut self.one_sided, &mut self.two_sided]
    }

    /// One that fires. `two_sided`: of the one-sided only.
    fn firing(&self, two_sided: bool, now: Timestamp) -> Option<u64> {
        let first = |side: &BTreeMap<u64, Arc<Alert>>| {
            side.iter().find(|(_, alert)| !alert.is_resolved(now)).map(|(fingerprint, _)| *fingerprint)
        };
        first(&self.one_sided).or_else(|| (!two_sided).then(|| first(&self.two_sided)).flatten())
    }
}

impl Rule {
    fn values(&self, labels: &Labels) -> Vec<String> {
        self.equal.iter().map(|name| labels.get(name).unwrap_or_default().to_owned()).collect()
    }
}

/// All rules and the alerts that may mute.
#[derive(Debug, Default)]
pub struct Inhibitor {
    rules: Vec<Rule>,
}

impl Inhibitor {
    /// From the checked rules of a configuration.
    pub fn new(rules: &[InhibitRule]) -> Result<Self, String> {
        let rules = rules.iter().enumerate().map(|(at, rule)| {
            let name = if rule.name.is_empty() { format!("#{at}") } else { rule.name.clone() };
            let (source, target) = (rule.source()?, rule.target()?);
            Ok(Rule { name, source, target, equal: rule.equal.clone(), sources: HashMap::new() })
        });
        Ok(Self { rules: rules.collect::<Result<_, String>>()? })
    }

    /// Takes note of a new or changed alert.
    pub fn insert(&mut self, alert: &Arc<Alert>) {
        for rule in &mut self.rules {
            if selects(&rule.source, &alert.labels) {
                let values = rule.values(&alert.labels);
                let sources = rule.sources.entry(values).or_default();
                let two_sided = selects(&rule.target, &alert.labels);
                let side = if two_sided { &mut sources.two_sided } else { &mut sources.one_sided };
                side.insert(alert.labels.fingerprint(), alert.clone());
            }
        }
    }

    /// Forgets alerts that have resolved.
    pub fn collect(&mut self, now: Timestamp) {
        for rule in &mut self.rules {
            rule.sources.retain(|_, sources| {
                let mut left = false;
                for side in sources.sides() {
                    side.retain(|_, alert| !alert.is_resolved(now));
                    left |= !side.is_empty();
                }
                left
            });
        }
    }

    /// Whether an alert with these labels is muted now, and by what.
    pub fn mutes(&self, labels: &Labels, now: Timestamp) -> Option<Inhibited> {
        self.rules.iter().find_map(|rule| {
            if !selects(&rule.target, labels) {
                return None;
            }
            let two_sided = selects(&rule.source, labels);
            let by = rule.sources.get(&rule.values(labels))?.firing(two_sided, now)?;
            Some(Inhibited { rule: rule.name.clone(), by })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(pairs: &[(&str, &str)], ends: i64) -> Arc<Alert> {
        Arc::new(Alert {
            labels: Labels::from_pairs(pairs.iter().copied()),
            annotations: Labels::empty(),
            starts_at: Timestamp(0),
            ends_at: Timestamp(ends),
            updated_at: Timestamp(0),
            generator_url: String::new(),
        })
    }

    fn inhibitor(yaml: &str) -> Inhibitor {
        let rules: Vec<InhibitRule> = yaml::read(yaml).unwrap();
        Inhibitor::new(&rules).unwrap()
    }

    #[test]
    fn a_firing_source_with_equal_labels_mutes() {
        let mut rules = inhibitor(
            "- {source_matchers: [severity=critical], target_matchers: [severity=warning], equal: [dc, rack]}",
        );
        let source = alert(&[("severity", "critical"), ("dc", "a")], 100);
        rules.insert(&source);
        let muted = |pairs: &[(&str, &str)], now| {
            rules.mutes(&Labels::from_pairs(pairs.iter().copied()), Timestamp(now))
        };
        assert!(muted(&[("severity", "warning"), ("dc", "a")], 99).is_some(), "both lack rack");
        assert_eq!(muted(&[("severity", "warning"), ("dc", "a")], 100), None, "resolved");
        assert_eq!(muted(&[("severity", "warning"), ("dc", "b")], 50), None);
        assert_eq!(muted(&[("severity", "warning"), ("dc", "a"), ("rack", "1")], 50), None);
        assert_eq!(muted(&[("severity", "critical"), ("dc", "a")], 50), None);
    }

    #[test]
    fn nothing_mutes_itself_nor_its_like() {
        let mut rules = inhibitor("- {source_matchers: ['a=~\".+\"'], target_matchers: ['a=~\".+\"']}");
        rules.insert(&alert(&[("a", "1")], 100));
        rules.insert(&alert(&[("a", "2")], 100));
        assert_eq!(rules.mutes(&Labels::from_pairs([("a", "1")]), Timestamp(1)), None);
    }
}
