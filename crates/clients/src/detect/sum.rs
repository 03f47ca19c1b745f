//! Attempts and failures of a cohort, weighted by sampling, with what is needed for their uncertainty.

use std::collections::HashMap;

use crate::cell::{Count, clients_about, clients_at_least};
use crate::class::Group;
use crate::cohort::{Cohort, View};

/// Sums by view and cohort.
pub type Sums = HashMap<(View, Cohort), Sum>;

const GROUPS: usize = Group::ALL.len();
/// Groups that may be failures or changed addresses have numbers below this.
const FAILING: usize = Group::Timeout as usize + 1;

/// What a cohort did in some time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sum {
    /// Reports of attempts.
    pub reports: u32,
    /// Estimated requests by group.
    pub weight: [f32; GROUPS],
    /// Sums of squared weights by group.
    pub square: [f32; GROUPS],
    /// Places of the clients with failures or changed addresses, by group.
    failing: [u64; FAILING],
    /// Places of all clients.
    pub clients: u64,
}

/// Which reports a scan looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Statistic {
    /// Every failure.
    Failures,
    /// One group.
    Group(Group),
}

impl Statistic {
    /// What is scanned.
    pub fn all() -> impl Iterator<Item = Self> {
        let groups = Group::ALL.into_iter().filter(|g| g.is_failure() || *g == Group::AddressChanged);
        std::iter::once(Self::Failures).chain(groups.map(Self::Group))
    }

    /// Whether a group belongs to it.
    pub fn holds(self, group: Group) -> bool {
        match self {
            Self::Failures => group.is_failure(),
            Self::Group(one) => one == group,
        }
    }
}

/// A ratio with its uncertainty.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Ratio {
    /// The estimate.
    pub ratio: f64,
    /// 95 % Wilson bounds.
    pub lower: f64,
    /// 95 % Wilson bounds.
    pub upper: f64,
}

/// The Wilson score interval at 95 % for a share `p` of `n` independent trials.
pub fn wilson(p: f64, n: f64) -> Ratio {
    if n <= 0.0 {
        return Ratio { ratio: p, lower: 0.0, upper: 1.0 };
    }
    const Z: f64 = 1.96;
    let z2 = Z * Z / n;
    let middle = (p + z2 / 2.0) / (1.0 + z2);
    let half = Z / (1.0 + z2) * (p * (1.0 - p) / n + z2 / (4.0 * n)).max(0.0).sqrt();
    Ratio { ratio: p, lower: (middle - half).max(0.0), upper: (middle + half).min(1.0) }
}

impl Sum {
    /// Adds reports of one group.
    pub fn add(&mut self, group: Group, count: &Count) {
        let index = group as usize;
        if group.is_attempt() {
            self.reports = self.reports.saturating_add(count.reports);
        }
        self.weight[index] += count.weight;
        self.square[index] += count.square;
        self.clients |= count.clients;
        if group.is_failure() || group == Group::AddressChanged {
            self.failing[index] |= count.clients;
        }
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        self.reports = self.reports.saturating_add(other.reports);
        for index in 0..GROUPS {
            self.weight[index] += other.weight[index];
            self.square[index] += other.square[index];
        }
        for (bits, more) in self.failing.iter_mut().zip(&other.failing) {
            *bits |= more;
        }
        self.clients |= other.clients;
    }

    fn total(&self, values: &[f32; GROUPS], of: impl Fn(Group) -> bool) -> f64 {
        Group::ALL.iter().filter(|g| of(**g)).map(|g| f64::from(values[*g as usize])).sum()
    }

    /// Estimated requests of a statistic.
    pub fn count(&self, statistic: Statistic) -> f64 {
        self.total(&self.weight, |g| statistic.holds(g))
    }

    /// Estimated attempts; for changed addresses, which are no attempts, those as well.
    pub fn attempts(&self, statistic: Statistic) -> f64 {
        self.total(&self.weight, |g| g.is_attempt() || statistic.holds(g))
    }

    /// As many independent observations say as much as the weighted ones: sampling makes fewer, and a client that fails often
    /// is one.
    pub fn independent(&self, statistic: Statistic) -> f64 {
        let weight = self.count(statistic);
        let square = self.total(&self.square, |g| statistic.holds(g));
        if square <= 0.0 {
            return 0.0;
        }
        (weight * weight / square).min(clients_about(self.failing(statistic)).max(1.0))
    }

    /// The share of attempts, with bounds.
    pub fn ratio(&self, statistic: Statistic) -> Ratio {
        let (failures, attempts) = (self.count(statistic), self.attempts(statistic));
        if attempts <= 0.0 {
            return Ratio { ratio: 0.0, lower: 0.0, upper: 1.0 };
        }
        let p = (failures / attempts).clamp(0.0, 1.0);
        let fail_square = self.total(&self.square, |g| statistic.holds(g));
        let rest_square = self.total(&self.square, |g| g.is_attempt() && !statistic.holds(g));
        // The delta method: failures and the rest are sampled apart.
        let variance = ((1.0 - p).powi(2) * fail_square + p * p * rest_square) / (attempts * attempts);
        let reports = f64::from(self.reports).max(1.0);
        let mut n = if variance > 0.0 && p > 0.0 && p < 1.0 { p * (1.0 - p) / variance } else { reports };
        if fail_square > 0.0 {
            n *= self.independent(statistic) / (failures * failures / fail_square);
        }
        wilson(p, n)
    }

    /// Places of the clients with reports of a statistic.
    pub fn failing(&self, statistic: Statistic) -> u64 {
        let of = Group::ALL.iter().zip(&self.failing).filter(|(group, _)| statistic.holds(**group));
        of.fold(0, |bits, (_, more)| bits | more)
    }

    /// Places of the clients with failures or changed addresses.
    pub fn any_failing(&self) -> u64 {
        self.failing.iter().fold(0, |bits, more| bits | more)
    }

    /// At least so many clients had reports of a statistic.
    pub fn failing_clients(&self, statistic: Statistic) -> u32 {
        clients_at_least(self.failing(statistic))
    }

    /// At least so many clients there were.
    pub fn all_clients(&self) -> u32 {
        clients_at_least(self.clients)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sampling_widens_the_bounds() {
        let sum = |weight: f32, successes: u32| {
            let mut sum = Sum::default();
            let each = Count {
                reports: successes,
                weight: weight * successes as f32,
                square: weight * weight * successes as f32,
                clients: u64::MAX,
            };
            sum.add(Group::Ok, &each);
            sum.add(Group::Tcp, &Count { reports: 100, weight: 100.0, square: 100.0, clients: u64::MAX });
            sum.ratio(Statistic::Failures)
        };
        let (full, sampled) = (sum(1.0, 900), sum(20.0, 45));
        assert!((full.ratio - 0.1).abs() < 1e-6 && (sampled.ratio - 0.1).abs() < 1e-6);
        assert!(sampled.upper - sampled.lower > full.upper - full.lower);
        // The plain Wilson interval of 100 in 1000.
        assert!((full.lower - 0.0829).abs() < 5e-4 && (full.upper - 0.1203).abs() < 5e-4, "{full:?}");
    }

    #[test]
    fn one_client_that_fails_often_is_one() {
        let mut sum = Sum::default();
        sum.add(Group::Tcp, &Count { reports: 500, weight: 500.0, square: 500.0, clients: 1 });
        assert!(sum.independent(Statistic::Failures) < 1.1);
        assert_eq!(sum.failing_clients(Statistic::Failures), 1);
        // Others that fail in another way are no witnesses of this one.
        sum.add(Group::Dns, &Count { reports: 30, weight: 30.0, square: 30.0, clients: u64::MAX });
        assert_eq!(sum.failing_clients(Statistic::Group(Group::Tcp)), 1);
        assert!(sum.independent(Statistic::Group(Group::Tcp)) < 1.1);
    }
}
