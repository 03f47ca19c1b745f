//! Which cohort explains failures that are not usual.

use std::collections::BTreeMap;

use super::baseline::Baselines;
use super::sum::{Ratio, Statistic, Sum};
use crate::class::Group;
use crate::cohort::{Cohort, Dimension, View};

/// Of explanations that are nearly as likely, the one of the earlier dimension is taken.
const NEARLY: f64 = 0.98;

/// Reports of one failure by one client, where nothing is wrong: browsers try again.
const USUAL_REPEATS: f64 = 1.5;

/// What makes a finding.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Least logarithm of the likelihood ratio.
    pub min_evidence: f64,
    /// Least factor between the rate's lower bound and what is usual.
    pub min_factor: f64,
    /// Least rate.
    pub min_error_ratio: f64,
    /// The time, in milliseconds.
    pub now: i64,
}

/// A cohort with a fault.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Who has it.
    pub cohort: Cohort,
    /// What was counted; `None`: the cohort is silent.
    pub statistic: Option<Statistic>,
    /// The rate and its bounds; for silence, the share of the expected reports.
    pub ratio: Ratio,
    /// What is usual.
    pub baseline: f64,
    /// The natural logarithm of how much likelier the fault is than chance.
    pub evidence: f64,
    /// The window, in minutes.
    pub minutes: i64,
    /// Attempts in it, estimated.
    pub attempts: f64,
    /// At least so many clients had failures.
    pub clients: u32,
    /// The share of the view's excess failures that the cohort has.
    pub explains: f64,
    /// Excess failures by group, the most first.
    pub groups: Vec<(Group, f64)>,
}

/// The logarithm of the likelihood ratio of `seen` against `expected` events, when more were seen.
///
/// Source: Kulldorff's scan statistic in its expectation-based Poisson form (Neill, 2009).
pub fn evidence(seen: f64, expected: f64) -> f64 {
    if seen <= expected || seen <= 0.0 {
        return 0.0;
    }
    let expected = expected.max(1e-9);
    seen * (seen / expected).ln() - (seen - expected)
}

/// The best explanation among the cohorts of one view, if any is good enough. It may be of too few clients to be shown: a
/// larger cohort would then be blamed for them.
pub fn best(
    sums: &BTreeMap<Cohort, Sum>,
    rules: &Rules,
    view: View,
    baselines: &Baselines,
) -> Option<Finding> {
    let mut best: Option<(f64, Cohort, Statistic)> = None;
    // The order of the map is that of the dimensions.
    for (cohort, sum) in sums {
        for statistic in Statistic::all() {
            let seen = sum.count(statistic);
            if seen <= 0.0 {
                continue;
            }
            let changed = statistic == Statistic::Group(Group::AddressChanged);
            // Addresses change for everybody when the operator changes them.
            if changed && !matches!(cohort.dimension, Dimension::Asn | Dimension::Country) {
                continue;
            }
            let usual = baselines.ratio(view, *cohort, statistic, rules.now);
            let attempts = sum.attempts(statistic);
            let ratio = sum.ratio(statistic);
            if ratio.ratio < rules.min_error_ratio || ratio.lower < rules.min_factor * usual {
                continue;
            }
            let independent = sum.independent(statistic);
            // As many failures of each client are expected as were seen, but no more than usual ones have: else a few clients
            // that repeat themselves make everybody's usual failures look new.
            let expected = usual * attempts;
            let found = evidence(independent, (expected * independent / seen).max(expected / USUAL_REPEATS));
            if found < rules.min_evidence {
                continue;
            }
            let better = best.is_none_or(|(known, kept, _)| {
                if kept.dimension == cohort.dimension { found > known } else { found * NEARLY > known }
            });
            if better {
                best = Some((found, *cohort, statistic));
            }
        }
    }
    let (evidence, cohort, statistic) = best?;
    let sum = &sums[&cohort];
    let excess = |sum: &Sum, cohort: Cohort, group: Group| {
        let statistic = Statistic::Group(group);
        let usual = baselines.ratio(view, cohort, statistic, rules.now);
        (sum.count(statistic) - usual * sum.attempts(statistic)).max(0.0)
    };
    let mut groups: Vec<(Group, f64)> = Group::ALL
        .into_iter()
        .filter(|g| g.is_failure() || *g == Group::AddressChanged)
        .map(|group| (group, excess(sum, cohort, group)))
        .filter(|(_, excess)| *excess > 0.0)
        .collect();
    groups.sort_by(|a, b| b.1.total_cmp(&a.1));
    let own: f64 = groups.iter().map(|(_, excess)| excess).sum();
    let all: f64 = sums.get(&Cohort::GLOBAL).map_or(own, |all| {
        Group::ALL
            .into_iter()
            .filter(|g| g.is_failure() || *g == Group::AddressChanged)
            .map(|group| excess(all, Cohort::GLOBAL, group))
            .sum()
    });
    Some(Finding {
        cohort,
        statistic: Some(statistic),
        ratio: sum.ratio(statistic),
        baseline: baselines.ratio(view, cohort, statistic, rules.now),
        evidence,
        minutes: 0,
        attempts: sum.attempts(statistic),
        clients: sum.failing_clients(statistic),
        explains: if all > 0.0 { (own / all).min(1.0) } else { 1.0 },
        groups,
    })
}
