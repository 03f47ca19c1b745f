//! Dropping series whose samples are all in blocks, so that memory follows the active series.

use hashbrown::HashSet;
use model::SeriesRef;

use super::group::GONE;
use super::{Head, split};
use crate::wal::series_log::{Entry, put_entry};

/// A group is given up for new series when it has this many dropped columns and they are more than the live ones.
const MIN_DEAD: usize = 64;

impl Head {
    /// Drops every series without a sample at or after `end`; gives the number of series dropped. No append may be under
    /// way: the caller holds the gate.
    pub(crate) fn drop_idle(&self, end: i64) -> usize {
        let mut index = self.index.write();
        let mut groups = self.groups.write();
        let mut dropped = HashSet::new();
        let mut dead_groups = Vec::new();
        let mut retired = Vec::new();
        for (number, group) in &groups.by_number {
            let mut state = group.state.lock();
            let mut live = 0;
            for column in 0..state.series.len() {
                let series = state.series[column];
                if series == GONE {
                    continue;
                }
                if state.last_time[column] >= end {
                    live += 1;
                    continue;
                }
                dropped.insert(index.place(series));
                index.remove(series);
                state.series[column] = GONE;
            }
            let dead = state.series.len() - live;
            if live == 0 && state.chunks.is_empty() && state.rows.is_empty() && state.sealing.is_none() {
                dead_groups.push((*number, group.target));
            } else if dead >= MIN_DEAD && dead > live {
                retired.push((*number, group.target));
            }
        }
        for (number, _) in &dead_groups {
            groups.by_number.remove(number);
        }
        for (number, target) in dead_groups.into_iter().chain(retired) {
            if groups.by_target.get(&target) == Some(&number) {
                groups.by_target.remove(&target);
            }
        }
        // Those without a sample were dropped with the rest.
        self.some_empty.store(false, std::sync::atomic::Ordering::Relaxed);
        if !dropped.is_empty() {
            self.meta.lock().retain(|series: SeriesRef| !dropped.contains(&series));
        }
        dropped.len()
    }

    /// The entries of a series log that says what is live, and by pair the number it has in there. The caller keeps new
    /// series out until the log is in place.
    pub(crate) fn log_entries(&self, index: &super::index::Index) -> (Vec<u8>, Vec<(u32, u32)>) {
        let mut out = Vec::new();
        let mut numbers = Vec::new();
        let mut by_pair = hashbrown::HashMap::new();
        let groups = self.groups.read();
        // Numbers are never used again, not even those of groups that are gone.
        let newest = groups.next_number - 1;
        if newest > 0 && !groups.by_number.contains_key(&newest) {
            put_entry(&mut out, &Entry::Group { group: newest, target: 0 });
        }
        let mut targets: Vec<_> = groups.by_number.values().collect();
        // The group that takes new series of a target is the one named last.
        targets.sort_unstable_by_key(|g| (groups.by_target.get(&g.target) == Some(&g.number), g.number));
        for group in targets {
            put_entry(&mut out, &Entry::Group { group: group.number, target: group.target });
        }
        let mut series: Vec<(SeriesRef, u32)> =
            index.places().map(|(series, place)| (place, series)).collect();
        series.sort_unstable();
        let mut pairs = Vec::new();
        for (place, series) in series {
            pairs.clear();
            for &pair in index.pairs_of(series) {
                let next = by_pair.len() as u32;
                let number = *by_pair.entry(pair).or_insert_with(|| {
                    let (name, value) = index.pair_text(pair);
                    put_entry(&mut out, &Entry::Pair { name, value });
                    numbers.push((pair, next));
                    next
                });
                pairs.push(number);
            }
            let (group, column) = split(place);
            put_entry(&mut out, &Entry::Series { group, column, pairs: &pairs });
        }
        (out, numbers)
    }
}
