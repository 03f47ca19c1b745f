//! Families under construction.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use model::{Family, Labels, Metadata, MetricType};

/// Families by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Output {
    families: BTreeMap<String, Family>,
    collector: &'static str,
    denied: BTreeSet<&'static str>,
}

impl Output {
    /// For one collector.
    pub(crate) fn new(collector: &'static str) -> Self {
        Self { collector, ..Self::default() }
    }

    /// Adds a sample to a family of any type; the first call names type and help.
    pub(crate) fn add(
        &mut self,
        name: &str,
        kind: MetricType,
        help: &str,
        labels: &[(&str, &str)],
        value: f64,
    ) {
        let sample = (Labels::from_pairs(labels.iter().copied()), value);
        match self.families.get_mut(name) {
            Some(family) => family.samples.push(sample),
            None => {
                let metadata = Metadata { kind, help: help.to_owned(), unit: String::new() };
                let family = Family { name: name.to_owned(), metadata, samples: vec![sample] };
                self.families.insert(name.to_owned(), family);
            }
        }
    }

    pub(crate) fn gauge(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.add(name, MetricType::Gauge, help, labels, value);
    }

    pub(crate) fn counter(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.add(name, MetricType::Counter, help, labels, value);
    }

    pub(crate) fn untyped(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.add(name, MetricType::Unknown, help, labels, value);
    }

    /// Adds a whole family.
    pub(crate) fn family(&mut self, family: Family) {
        match self.families.get_mut(&family.name) {
            Some(known) => known.samples.extend(family.samples),
            None => drop(self.families.insert(family.name.clone(), family)),
        }
    }

    /// Says that something is not seen for want of a permission; the rest of the collector goes on.
    pub(crate) fn deny(&mut self, what: &'static str) {
        self.denied.insert(what);
    }

    pub(crate) fn denied(&mut self, collector: &str, what: &str) {
        let help = "1 for each thing that this process may not see; root sees all.";
        self.gauge("bellwether_host_denied", help, &[("collector", collector), ("what", what)], 1.0);
    }

    /// Takes over another's families.
    pub(crate) fn append(&mut self, other: Self) {
        for what in other.denied {
            self.denied(other.collector, what);
        }
        for family in other.families.into_values() {
            self.family(family);
        }
    }

    /// The families, each label set once: of two equal ones the first counts.
    pub(crate) fn finish(self) -> Vec<Family> {
        let mut seen = HashSet::new();
        self.families
            .into_values()
            .filter_map(|mut family| {
                if family.samples.len() > 1 {
                    seen.clear();
                    family.samples.retain(|(labels, _)| seen.insert(labels.clone()));
                }
                (!family.samples.is_empty()).then_some(family)
            })
            .collect()
    }
}
