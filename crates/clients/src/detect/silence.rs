//! Places that have gone quiet: a total outage sends no reports at all.

use std::collections::BTreeMap;

use super::baseline::Baselines;
use super::scan::Finding;
use super::sum::{Ratio, Sums};
use super::{KEPT_MINUTES, MINUTE_MS};
use crate::cell::clients_at_least;
use crate::cohort::{Cohort, Dimension, View};
use crate::config::Detection;

/// Complete minutes that must be quiet.
const QUIET_MINUTES: i64 = 2;
/// The same in milliseconds.
pub const QUIET_MS: i64 = QUIET_MINUTES * MINUTE_MS;
/// Fewer expected reports say nothing.
const MIN_EXPECTED: f64 = 40.0;
/// The others count as steady from this share of what they usually send.
const STEADY: f64 = 0.5;
/// A cohort must be known for so many minutes.
const MIN_KNOWN_MINUTES: u32 = 10;

/// The quiet cohorts by place; of several in one view the one that misses most, and what it does not explain.
pub fn find(
    minutes: &BTreeMap<i64, Sums>,
    baselines: &Baselines,
    config: &Detection,
    min_clients: u32,
    now: i64,
    complete_after: i64,
) -> Vec<(View, Finding)> {
    let end = (now - complete_after).div_euclid(MINUTE_MS);
    let window = end - QUIET_MINUTES..end;
    let reports = |view: View, cohort: Cohort| -> f64 {
        minutes
            .range(window.clone())
            .filter_map(|(_, sums)| sums.get(&(view, cohort)))
            .map(|sum| f64::from(sum.reports))
            .sum()
    };
    let mut out = Vec::new();
    for view in baselines.views() {
        let (all_usual, _) = baselines.volume(view, Cohort::GLOBAL);
        let all_now = reports(view, Cohort::GLOBAL) / QUIET_MINUTES as f64;
        let mut quiet: Vec<Finding> = Vec::new();
        for cohort in baselines.cohorts(view) {
            if !matches!(cohort.dimension, Dimension::Asn | Dimension::Country | Dimension::Pop) {
                continue;
            }
            let (usual, known) = baselines.volume(view, cohort);
            let seen = reports(view, cohort);
            let others_usual = all_usual - usual;
            let others_now = all_now - seen / QUIET_MINUTES as f64;
            if known < MIN_KNOWN_MINUTES || others_usual <= 0.0 || others_now < STEADY * others_usual {
                continue;
            }
            // What the others do tells how busy the hour is.
            let expected = usual * QUIET_MINUTES as f64 * (others_now / others_usual).min(1.0);
            if expected < MIN_EXPECTED || seen >= config.silent_below * expected {
                continue;
            }
            let before =
                minutes.range(end - KEPT_MINUTES..).filter_map(|(_, sums)| sums.get(&(view, cohort)));
            let clients = clients_at_least(before.fold(0, |bits, sum| bits | sum.clients));
            if clients < min_clients {
                continue;
            }
            let share = seen / expected;
            let missing = if seen > 0.0 { seen * share.ln() } else { 0.0 };
            quiet.push(Finding {
                cohort,
                statistic: None,
                ratio: Ratio { ratio: share, lower: share, upper: share },
                baseline: 1.0,
                evidence: missing + expected - seen,
                minutes: QUIET_MINUTES,
                attempts: expected,
                clients,
                explains: 1.0,
                groups: Vec::new(),
            });
        }
        // A country is quiet because its only network is, or a network because its country is: the one that misses most.
        quiet.sort_by(|a, b| b.attempts.total_cmp(&a.attempts).then(a.cohort.cmp(&b.cohort)));
        if let Some(first) = quiet.into_iter().next()
            && first.evidence >= config.min_evidence
        {
            out.push((view, first));
        }
    }
    out
}
