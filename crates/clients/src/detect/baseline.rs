//! What is usual: error rates by cohort and group, their season over the week, and how many reports come.

use std::collections::{BTreeSet, HashMap};

use super::sum::{Statistic, Sum, Sums};
use crate::class::Group;
use crate::cohort::{Cohort, View};

const GROUPS: usize = Group::ALL.len();
/// What is known weighs half after a day.
const HALF_LIFE_MINUTES: f64 = 1440.0;
/// How many reports come is judged by the last minutes: it follows the time of day.
const VOLUME_HALF_LIFE_MINUTES: f64 = 15.0;
/// A cohort's own rate counts as much as its site's after so many attempts.
const SHRINK: f64 = 300.0;
/// What is expected of a site that is not known yet: a share of failures, and how many attempts that opinion is worth.
const PRIOR_RATIO: f64 = 0.003;
const PRIOR_ATTEMPTS: f64 = 1000.0;
/// Hours of a week.
const SLOTS: usize = 168;
/// An hour of the week counts from so many attempts on, and raises the rate at most so many times.
const SLOT_ATTEMPTS: f32 = 500.0;
const SLOT_FACTOR_MAX: f64 = 10.0;
/// Earlier weeks weigh half after two.
const SLOT_DECAY: f32 = 0.7;

/// What is usual for one cohort.
#[derive(Clone, Debug, Default)]
struct Base {
    attempts: f64,
    weight: [f64; GROUPS],
    /// Reports of attempts a minute.
    volume: f64,
    minutes: u32,
    /// Attempts and failures by hour of the week; empty until there are enough.
    slots: Vec<(f32, f32)>,
    slot: usize,
    /// Places of the clients for whom all was well in some minute of this hour and of the one before.
    seen: [u64; 2],
    hour: i64,
}

/// What is usual for every cohort.
#[derive(Debug)]
pub struct Baselines {
    bases: HashMap<(View, Cohort), Base>,
    max: usize,
}

fn slot_of(minute: i64) -> usize {
    minute.div_euclid(60).rem_euclid(SLOTS as i64) as usize
}

impl Baselines {
    /// For at most `max` cohorts.
    pub fn new(max: usize) -> Self {
        Self { bases: HashMap::new(), max }
    }

    /// Takes in a complete minute; `of` says which views may be learned from.
    pub fn learn(&mut self, minute: i64, sums: &Sums, of: impl Fn(View) -> bool) {
        let decay = 0.5f64.powf(1.0 / HALF_LIFE_MINUTES);
        let fresh = 1.0 - 0.5f64.powf(1.0 / VOLUME_HALF_LIFE_MINUTES);
        for key in sums.keys() {
            if of(key.0) && (self.bases.len() < self.max || self.bases.contains_key(key)) {
                self.bases.entry(*key).or_default();
            }
        }
        let nothing = Sum::default();
        for (key, base) in &mut self.bases {
            if !of(key.0) {
                continue;
            }
            let sum = sums.get(key).unwrap_or(&nothing);
            base.attempts = base.attempts * decay + sum.attempts(Statistic::Failures);
            for (index, weight) in base.weight.iter_mut().enumerate() {
                *weight = *weight * decay + f64::from(sum.weight[index]);
            }
            base.minutes = base.minutes.saturating_add(1);
            // The first minutes are a plain mean.
            let share = fresh.max(1.0 / f64::from(base.minutes));
            base.volume += (f64::from(sum.reports) - base.volume) * share;
            base.season(minute, sum);
            base.see(minute, sum.clients & !sum.any_failing());
        }
        if self.bases.len() >= self.max {
            // Those that have gone make room.
            self.bases.retain(|_, base| base.attempts > 1.0);
        }
    }

    /// The share of attempts that usually fail so, at a time (milliseconds).
    pub fn ratio(&self, view: View, cohort: Cohort, statistic: Statistic, now: i64) -> f64 {
        let site = self.bases.get(&(view, Cohort::GLOBAL));
        let prior = PRIOR_RATIO * PRIOR_ATTEMPTS;
        let of = |base: &Base| {
            let count: f64 =
                Group::ALL.iter().filter(|g| statistic.holds(**g)).map(|g| base.weight[*g as usize]).sum();
            let extra = if statistic == Statistic::Group(Group::AddressChanged) { count } else { 0.0 };
            (count, base.attempts + extra)
        };
        let (count, attempts) = site.map(of).unwrap_or_default();
        let whole = (count + prior) / (attempts + PRIOR_ATTEMPTS);
        let own = self.bases.get(&(view, cohort)).filter(|_| cohort != Cohort::GLOBAL);
        let ratio = match own.map(of) {
            // A large cohort without failures knows more than its site only up to a point; else it would be blamed first.
            Some((count, attempts)) => ((count + whole * SHRINK) / (attempts + SHRINK)).max(whole / 3.0),
            None => whole,
        };
        let season = own.or(site).map_or(1.0, |base| base.season_factor(now));
        (ratio * season).clamp(1e-6, 1.0)
    }

    /// Reports of attempts that usually come in a minute, and from how many minutes that is known.
    pub fn volume(&self, view: View, cohort: Cohort) -> (f64, u32) {
        self.bases.get(&(view, cohort)).map_or((0.0, 0), |base| (base.volume, base.minutes))
    }

    /// Places of the clients of a cohort for whom all was well in some minute of the last one to two hours.
    pub fn seen(&self, view: View, cohort: Cohort) -> u64 {
        self.bases.get(&(view, cohort)).map_or(0, |base| base.seen[0] | base.seen[1])
    }

    /// The cohorts of a view.
    pub fn cohorts(&self, view: View) -> impl Iterator<Item = Cohort> {
        self.bases.keys().filter(move |(of, _)| *of == view).map(|(_, cohort)| *cohort)
    }

    /// Every view.
    pub fn views(&self) -> BTreeSet<View> {
        self.bases.keys().map(|(view, _)| *view).collect()
    }
}

impl Base {
    fn see(&mut self, minute: i64, clients: u64) {
        let hour = minute.div_euclid(60);
        if hour != self.hour {
            self.seen = [0, if hour == self.hour + 1 { self.seen[0] } else { 0 }];
            self.hour = hour;
        }
        self.seen[0] |= clients;
    }

    fn season(&mut self, minute: i64, sum: &Sum) {
        if self.slots.is_empty() {
            if self.attempts < f64::from(SLOT_ATTEMPTS) {
                return;
            }
            self.slots = vec![(0.0, 0.0); SLOTS];
            self.slot = SLOTS;
        }
        let now = slot_of(minute);
        if self.slot != now {
            // A new week reaches this hour.
            let (attempts, failures) = self.slots[now];
            self.slots[now] = (attempts * SLOT_DECAY, failures * SLOT_DECAY);
            self.slot = now;
        }
        self.slots[now].0 += sum.attempts(Statistic::Failures) as f32;
        self.slots[now].1 += sum.count(Statistic::Failures) as f32;
    }

    /// How many times worse than the whole week this hour usually is; never below 1.
    fn season_factor(&self, now: i64) -> f64 {
        let Some(&(attempts, failures)) = self.slots.get(slot_of(now.div_euclid(60_000))) else { return 1.0 };
        let all: f64 = Group::ALL.iter().filter(|g| g.is_failure()).map(|g| self.weight[*g as usize]).sum();
        if attempts < SLOT_ATTEMPTS || all <= 0.0 || self.attempts <= 0.0 {
            return 1.0;
        }
        (f64::from(failures / attempts) / (all / self.attempts)).clamp(1.0, SLOT_FACTOR_MAX)
    }
}
