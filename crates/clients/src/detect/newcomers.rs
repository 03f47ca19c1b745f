//! Whether failures may be made up: most come from clients that nobody has seen before, all of one network.
//!
//! Who forges reports needs at least `min_clients` network prefixes. They are cheap in one network and dear in several, and they
//! have no past. Such failures wait for a second network or another witness.

use std::collections::{BTreeMap, BTreeSet};

use super::scan::Finding;
use super::{Detector, Found, MINUTE_MS, witness};
use crate::class::Group;
use crate::cohort::{Cohort, Dimension, View};

/// A collector that knows a site for fewer minutes has no past to compare with.
const KNOWN_MINUTES: u32 = 10;
/// A network takes part with at least so many clients.
const TAKES_PART: u32 = 3;

impl Detector {
    /// The findings that need a second network or another witness, of those that have none. Without a database of networks nothing
    /// can be told, and nothing waits.
    pub(super) fn doubtful(&self, found: &Found, now: i64) -> BTreeSet<(View, Cohort)> {
        let mut networks: BTreeMap<View, BTreeSet<u32>> = BTreeMap::new();
        let mut out = BTreeSet::new();
        for ((view, cohort), finding) in found {
            let Some(of) = self.newcomers_of(*view, finding, now) else { continue };
            networks.entry(*view).or_default().extend(of);
            out.insert((*view, *cohort));
        }
        out.retain(|(view, _)| {
            networks.get(view).is_none_or(|of| of.len() < 2)
                && !witness::confirmed(&self.answers, view.site, now)
        });
        out
    }

    /// The networks that take part in a finding, when most of its failing clients are new.
    fn newcomers_of(&self, view: View, finding: &Finding, now: i64) -> Option<Vec<u32>> {
        if finding.statistic.is_none() || self.baselines.volume(view, Cohort::GLOBAL).1 < KNOWN_MINUTES {
            return None;
        }
        let first = now.div_euclid(MINUTE_MS) - finding.minutes + 1;
        let mut failing: BTreeMap<u32, u64> = BTreeMap::new();
        for (_, cell, count) in self.cells.since(first) {
            let group = cell.class.group();
            let counts = group.is_failure() || group == Group::AddressChanged;
            if counts && cell.asn != 0 && View::of(cell) == view && finding.cohort.holds(cell) {
                *failing.entry(cell.asn).or_default() |= count.clients;
            }
        }
        let (mut all, mut new) = (0, 0);
        for (asn, bits) in &failing {
            let cohort = Cohort { dimension: Dimension::Asn, value: *asn };
            all += bits.count_ones();
            new += (bits & !self.baselines.seen(view, cohort)).count_ones();
        }
        let taking_part = failing.into_iter().filter(|(_, bits)| bits.count_ones() >= TAKES_PART);
        (new * 2 > all).then(|| taking_part.map(|(asn, _)| asn).collect())
    }
}
