//! Families under construction.

use std::collections::BTreeMap;

use model::{Family, Labels, Metadata, MetricType};

/// Families by name.
#[derive(Debug, Default)]
pub(super) struct Output {
    families: BTreeMap<String, Family>,
}

impl Output {
    /// Adds a sample to a family of any type; the first call names type and help.
    pub(super) fn add(
        &mut self,
        name: &str,
        kind: MetricType,
        help: &str,
        labels: &[(&str, &str)],
        value: f64,
    ) {
        if !self.families.contains_key(name) {
            let metadata = Metadata { kind, help: help.to_owned(), unit: String::new() };
            self.families
                .insert(name.to_owned(), Family { name: name.to_owned(), metadata, samples: Vec::new() });
        }
        if let Some(family) = self.families.get_mut(name) {
            family.samples.push((Labels::from_pairs(labels.iter().copied()), value));
        }
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.add(name, MetricType::Gauge, help, labels, value);
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.add(name, MetricType::Counter, help, labels, value);
    }

    pub(super) fn untyped(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.add(name, MetricType::Unknown, help, labels, value);
    }

    /// Takes over another's families.
    pub(super) fn append(&mut self, other: Self) {
        for (name, family) in other.families {
            match self.families.get_mut(&name) {
                Some(known) => known.samples.extend(family.samples),
                None => drop(self.families.insert(name, family)),
            }
        }
    }

    /// The families, each label set once: of two equal ones the first counts.
    pub(super) fn finish(self) -> Vec<Family> {
        self.families
            .into_values()
            .map(|mut family| {
                let mut seen = std::collections::HashSet::with_capacity(family.samples.len());
                family.samples.retain(|(labels, _)| seen.insert(labels.clone()));
                family
            })
            .collect()
    }
}
