//! Running totals by cohort, released only when enough clients stand behind them.

use std::collections::{BTreeMap, HashMap};

use model::{Family, Labels, Metadata, MetricType};

use crate::anonymous::visible;
use crate::cell::{Cell, Count};
use crate::class::{Class, Group};
use crate::cohort::{Cohort, Dimension, View};
use crate::names::Names;
use crate::report::COUNTED;

/// Clients are distinct within one to two periods of this length, in milliseconds.
const PERIOD_MS: i64 = 600_000;

/// A total of several parts that is shown only with enough clients.
#[derive(Clone, Debug)]
struct Total<const N: usize> {
    released: [f64; N],
    held: [f64; N],
    clients: u64,
    before: u64,
    ever: bool,
}

impl<const N: usize> Default for Total<N> {
    fn default() -> Self {
        Self { released: [0.0; N], held: [0.0; N], clients: 0, before: 0, ever: false }
    }
}

impl<const N: usize> Total<N> {
    fn add(&mut self, part: usize, amount: f64, clients: u64) {
        self.held[part] += amount;
        self.clients |= clients;
    }

    fn release(&mut self) {
        for (released, held) in self.released.iter_mut().zip(&mut self.held) {
            *released += std::mem::take(held);
        }
        self.ever = true;
    }

    /// A new period begins. What too few clients have sent is in the larger cohorts and nowhere else.
    fn turn(&mut self) {
        self.held = [0.0; N];
        self.before = std::mem::take(&mut self.clients);
    }
}

const GROUPS: usize = Group::ALL.len();

/// Every total.
#[derive(Debug)]
pub struct Counters {
    k: u32,
    max: usize,
    cohorts: HashMap<(View, Cohort), Total<GROUPS>>,
    types: HashMap<(View, Class), Total<1>>,
    others: HashMap<(u16, usize), Total<1>>,
    turned: i64,
    dropped: u64,
}

impl Counters {
    /// Cohorts with fewer than `k` clients are not shown; at most `max` are kept.
    pub fn new(k: u32, max: usize) -> Self {
        Self {
            k,
            max,
            cohorts: HashMap::new(),
            types: HashMap::new(),
            others: HashMap::new(),
            turned: 0,
            dropped: 0,
        }
    }

    /// Adds what has come in.
    pub fn add(&mut self, cell: &Cell, count: &Count) {
        let view = View::of(cell);
        let group = cell.class.group() as usize;
        for dimension in Dimension::ALL {
            let Some(cohort) = dimension.of(cell) else { continue };
            let key = (view, cohort);
            if self.cohorts.len() >= self.max && !self.cohorts.contains_key(&key) {
                self.dropped += 1;
                continue;
            }
            self.cohorts.entry(key).or_default().add(group, f64::from(count.weight), count.clients);
        }
        self.types.entry((view, cell.class)).or_default().add(0, f64::from(count.reports), count.clients);
    }

    /// Adds reports that are only counted by kind.
    pub fn add_other(&mut self, site: u16, kind: usize, count: u64, clients: u64) {
        self.others.entry((site, kind)).or_default().add(0, count as f64, clients);
    }

    /// Additions to cohorts beyond the bound since the last call.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// Releases what enough clients stand behind.
    pub fn release(&mut self, now: i64) {
        let mut dimensions: BTreeMap<(View, Dimension), Vec<Cohort>> = BTreeMap::new();
        for (view, cohort) in self.cohorts.keys() {
            dimensions.entry((*view, cohort.dimension)).or_default().push(*cohort);
        }
        for ((view, _), cohorts) in dimensions {
            let clients: Vec<u64> = cohorts
                .iter()
                .map(|cohort| {
                    self.cohorts.get(&(view, *cohort)).map_or(0, |total| total.clients | total.before)
                })
                .collect();
            for (cohort, shown) in cohorts.iter().zip(visible(&clients, self.k)) {
                if shown && let Some(total) = self.cohorts.get_mut(&(view, *cohort)) {
                    total.release();
                }
            }
        }
        let enough = |total: &Total<1>| (total.clients | total.before).count_ones() >= self.k;
        self.types.values_mut().filter(|t| enough(t)).for_each(Total::release);
        self.others.values_mut().filter(|t| enough(t)).for_each(Total::release);
        if now - self.turned >= PERIOD_MS {
            self.turned = now;
            self.cohorts.values_mut().for_each(Total::turn);
            self.types.values_mut().for_each(Total::turn);
            self.others.values_mut().for_each(Total::turn);
            // A cohort that was never shown and has gone needs no place.
            self.cohorts.retain(|_, total| total.ever || total.before != 0);
        }
    }

    /// The totals as counters.
    pub fn families(&self, names: &Names) -> Vec<Family> {
        let mut requests = Vec::new();
        for ((view, cohort), total) in &self.cohorts {
            if !total.ever {
                continue;
            }
            let (site, source) = (names.site_name(view.site), view.source.as_str());
            let value = cohort.name(names);
            for group in Group::ALL {
                let amount = total.released[group as usize];
                if amount > 0.0 || matches!(group, Group::Ok) {
                    let labels = Labels::from_pairs([
                        ("site", site),
                        ("source", source),
                        ("cohort", cohort.dimension.as_str()),
                        ("value", &value),
                        ("group", group.as_str()),
                    ]);
                    requests.push((labels, amount));
                }
            }
        }
        let types = self.types.iter().filter(|(_, total)| total.ever).map(|((view, class), total)| {
            let labels = Labels::from_pairs([
                ("site", names.site_name(view.site)),
                ("source", view.source.as_str()),
                ("type", class.name()),
                ("phase", class.phase().as_str()),
            ]);
            (labels, total.released[0])
        });
        let types = types.collect();
        let others = self.others.iter().filter(|(_, total)| total.ever).map(|((site, kind), total)| {
            let labels = Labels::from_pairs([
                ("site", names.site_name(*site)),
                ("kind", COUNTED.get(*kind).copied().unwrap_or_default()),
            ]);
            (labels, total.released[0])
        });
        let others = others.collect();
        vec![
            family(
                "bellwether_client_requests_total",
                MetricType::Counter,
                "Requests of clients by cohort and outcome, estimated from sampled reports",
                requests,
            ),
            family(
                "bellwether_client_reports_total",
                MetricType::Counter,
                "Reports of clients by type",
                types,
            ),
            family(
                "bellwether_client_other_reports_total",
                MetricType::Counter,
                "Reports of other kinds, such as csp-violation",
                others,
            ),
        ]
    }
}

/// A family.
pub(crate) fn family(name: &str, kind: MetricType, help: &str, samples: Vec<(Labels, f64)>) -> Family {
    Family {
        name: name.to_owned(),
        metadata: Metadata { kind, help: help.to_owned(), unit: String::new() },
        samples,
    }
}
