//! What people and rules see of the detector: rates and incidents as series and as JSON, never of a cohort that is too small.

use std::collections::BTreeMap;

use model::{Family, Labels, MetricType};
use serde::Serialize;

use crate::anonymous::visible;
use crate::class::Group;
use crate::cohort::{Cohort, Dimension, View};
use crate::collector::Collector;
use crate::counters::family;
use crate::detect::sum::{Statistic, Sum, Sums};
use crate::detect::verdict::Verdict;
use crate::detect::witness::Reading;
use crate::detect::{Detector, Incident};
use crate::names::Names;
use crate::report::Source;

/// The window of the rates that are series, in minutes.
const SERIES_MINUTES: i64 = 5;

/// The cohorts of a window that may be shown.
pub fn shown(sums: &Sums, k: u32) -> Vec<(View, Cohort, &Sum)> {
    let mut dimensions: BTreeMap<(View, Dimension), Vec<(Cohort, &Sum)>> = BTreeMap::new();
    for ((view, cohort), sum) in sums {
        dimensions.entry((*view, cohort.dimension)).or_default().push((*cohort, sum));
    }
    let mut out = Vec::new();
    for ((view, _), mut cohorts) in dimensions {
        cohorts.sort_by_key(|(cohort, _)| *cohort);
        let clients: Vec<u64> = cohorts.iter().map(|(_, sum)| sum.clients).collect();
        let visible = visible(&clients, k);
        out.extend(
            cohorts
                .into_iter()
                .zip(visible)
                .filter(|(_, shown)| *shown)
                .map(|((cohort, sum), _)| (view, cohort, sum)),
        );
    }
    out
}

/// Rates and incidents as series.
pub(crate) fn families(detector: &Detector, names: &Names, k: u32, now: i64) -> Vec<Family> {
    let sums = detector.window(now, SERIES_MINUTES);
    let mut rates: [Vec<(Labels, f64)>; 4] = Default::default();
    const NAMES: [(&str, &str); 4] = [
        ("bellwether_client_error_ratio", "Share of clients' requests that failed in the last 5 minutes"),
        ("bellwether_client_error_ratio_lower", "Lower 95 % bound of the share that failed"),
        ("bellwether_client_error_ratio_upper", "Upper 95 % bound of the share that failed"),
        ("bellwether_client_error_ratio_baseline", "Share that usually fails"),
    ];
    for (view, cohort, sum) in shown(&sums, k) {
        let ratio = sum.ratio(Statistic::Failures);
        let usual = detector.baselines().ratio(view, cohort, Statistic::Failures, now);
        let value = cohort.name(names);
        for (index, number) in [ratio.ratio, ratio.lower, ratio.upper, usual].into_iter().enumerate() {
            let labels = Labels::from_pairs([
                ("site", names.site_name(view.site)),
                ("source", view.source.as_str()),
                ("cohort", cohort.dimension.as_str()),
                ("value", &value),
            ]);
            rates[index].push((labels, number));
        }
    }
    let mut families: Vec<Family> = NAMES
        .into_iter()
        .zip(rates)
        .map(|((name, help), samples)| family(name, MetricType::Gauge, help, samples))
        .collect();
    let incidents = detector.open().iter().map(|incident| {
        let labels = Labels::from_pairs([
            ("site", names.site_name(incident.view.site)),
            ("source", incident.view.source.as_str()),
            ("verdict", incident.verdict.as_str()),
            ("cohort", incident.finding.cohort.dimension.as_str()),
            ("value", &incident.finding.cohort.name(names)),
            ("group", main_group(incident)),
        ]);
        (labels, if incident.finding.statistic.is_some() { incident.finding.ratio.ratio } else { 1.0 })
    });
    let help = "An incident seen by clients; the value is the share of the cohort's requests that fail, 1 when it is silent";
    families.push(family("bellwether_client_incident", MetricType::Gauge, help, incidents.collect()));
    let checks = detector.open().iter().flat_map(|incident| {
        incident.readings.iter().map(|reading| {
            let labels = Labels::from_pairs([
                ("site", names.site_name(incident.view.site)),
                ("source", incident.view.source.as_str()),
                ("cohort", incident.finding.cohort.dimension.as_str()),
                ("value", &incident.finding.cohort.name(names)),
                ("check", reading.check.as_str()),
            ]);
            (labels, reading.says.value())
        })
    });
    let help = "What another witness says of an incident: 1 it fits, -1 it does not, 0 nothing";
    families.push(family("bellwether_client_incident_check", MetricType::Gauge, help, checks.collect()));
    families
}

fn main_group(incident: &Incident) -> &'static str {
    match (incident.finding.statistic, incident.finding.groups.first()) {
        (None, _) => "silence",
        (Some(Statistic::Group(group)), None) => group.as_str(),
        (Some(_), Some((group, _))) => group.as_str(),
        (Some(Statistic::Failures), None) => "failures",
    }
}

/// A cohort's rates, as JSON.
#[derive(Clone, Debug, Serialize)]
pub struct CohortView {
    /// The dimension.
    pub cohort: &'static str,
    /// The value in it.
    pub value: String,
    /// Estimated requests.
    pub requests: f64,
    /// Estimated failures.
    pub failures: f64,
    /// The share that failed.
    pub ratio: f64,
    /// 95 % bounds.
    pub lower: f64,
    /// 95 % bounds.
    pub upper: f64,
    /// What is usual.
    pub baseline: f64,
    /// Estimated requests by group, those above 0.
    pub groups: BTreeMap<&'static str, f64>,
}

/// An incident, as JSON.
#[derive(Clone, Debug, Serialize)]
pub struct IncidentView {
    /// Counts up.
    pub id: u64,
    /// The site.
    pub site: String,
    /// Who saw it.
    pub source: &'static str,
    /// What it is.
    pub verdict: Verdict,
    /// In a sentence.
    pub sentence: String,
    /// The cohort that has it.
    pub cohort: &'static str,
    /// Its value.
    pub value: String,
    /// Milliseconds since the epoch.
    pub opened: i64,
    /// Milliseconds since the epoch; `null` while it is open.
    pub ended: Option<i64>,
    /// Whether it is silence rather than failures.
    pub silent: bool,
    /// The share that fails, or of the expected reports that come.
    pub ratio: f64,
    /// 95 % bounds.
    pub lower: f64,
    /// 95 % bounds.
    pub upper: f64,
    /// What is usual.
    pub baseline: f64,
    /// The logarithm of the likelihood ratio.
    pub evidence: f64,
    /// The window in minutes.
    pub minutes: i64,
    /// Requests in the window, estimated.
    pub requests: f64,
    /// At least so many clients are affected.
    pub clients: u32,
    /// The share of all excess failures that this cohort has.
    pub explains: f64,
    /// Excess failures by group, the most first.
    pub groups: Vec<(&'static str, f64)>,
    /// What other witnesses say of it.
    pub checks: Vec<Reading>,
}

/// A count that tells no single request: rounded to two digits.
fn rounded(value: f64) -> f64 {
    if value < 100.0 {
        return value.round();
    }
    let unit = 10f64.powf(value.log10().floor() - 1.0);
    (value / unit).round() * unit
}

impl Collector {
    /// The cohorts of a site, seen by a source in the last `minutes` (at most 15).
    pub fn cohorts(&self, site: &str, source: Source, minutes: i64) -> Option<Vec<CohortView>> {
        let names = self.names.lock();
        let view = View { site: names.site(site)?, source };
        let state = self.state.lock();
        let detector = &state.detector;
        let now = self.now();
        let sums = detector.window(now, minutes.clamp(1, crate::detect::KEPT_MINUTES - 1));
        let of_view = shown(&sums, self.config.min_clients).into_iter().filter(|(of, _, _)| *of == view);
        let view_of = |(_, cohort, sum): (View, Cohort, &Sum)| {
            let ratio = sum.ratio(Statistic::Failures);
            let groups = Group::ALL
                .into_iter()
                .map(|group| (group.as_str(), rounded(sum.count(Statistic::Group(group)))))
                .filter(|(_, count)| *count > 0.0);
            CohortView {
                cohort: cohort.dimension.as_str(),
                value: cohort.name(&names),
                requests: rounded(sum.attempts(Statistic::Failures)),
                failures: rounded(sum.count(Statistic::Failures)),
                ratio: ratio.ratio,
                lower: ratio.lower,
                upper: ratio.upper,
                baseline: detector.baselines().ratio(view, cohort, Statistic::Failures, now),
                groups: groups.collect(),
            }
        };
        Some(of_view.map(view_of).collect())
    }

    /// Open incidents, then ended ones, the latest first.
    pub fn incidents(&self) -> Vec<IncidentView> {
        let names = self.names.lock();
        let state = self.state.lock();
        let detector = &state.detector;
        let all = detector.open().iter().rev().chain(detector.ended().iter().rev());
        all.map(|incident| {
            let finding = &incident.finding;
            let value = finding.cohort.name(&names);
            IncidentView {
                id: incident.id,
                site: names.site_name(incident.view.site).to_owned(),
                source: incident.view.source.as_str(),
                verdict: incident.verdict,
                sentence: incident.verdict.sentence(&value),
                cohort: finding.cohort.dimension.as_str(),
                value,
                opened: incident.opened,
                ended: incident.ended,
                silent: finding.statistic.is_none(),
                ratio: finding.ratio.ratio,
                lower: finding.ratio.lower,
                upper: finding.ratio.upper,
                baseline: finding.baseline,
                evidence: finding.evidence,
                minutes: finding.minutes,
                requests: rounded(finding.attempts),
                clients: finding.clients,
                explains: finding.explains,
                groups: finding
                    .groups
                    .iter()
                    .map(|(group, excess)| (group.as_str(), rounded(*excess)))
                    .collect(),
                checks: incident.readings.clone(),
            }
        })
        .collect()
    }
}
