//! Taking out of memory what the log could not write: a batch that is refused leaves no sample behind.
//!
//! The records that failed say what they put where. The series that they made stay, without a sample, until they get one or
//! are dropped as idle.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::group::{GONE, GroupState};
use super::{Head, reference};
use crate::wal::Memory;
use crate::wal::record::{Place, read_places};

/// What failed of one group: columns and times.
#[derive(Default)]
struct Failed {
    floats: Vec<(u32, i64)>,
    histograms: Vec<(u32, i64)>,
    starts: Vec<(u32, i64)>,
}

impl Memory for Head {
    fn undo(&self, failed: &mut dyn FnMut() -> Vec<u8>) {
        let _gate = self.gate.write();
        let records = failed();
        let mut groups: BTreeMap<u64, Failed> = BTreeMap::new();
        let read = read_places(&records, &mut |place| match place {
            Place::Float(group, column, time) => groups.entry(group).or_default().floats.push((column, time)),
            Place::Histogram(group, column, time) => {
                groups.entry(group).or_default().histograms.push((column, time));
            }
            Place::Start(group, column, time, _) => {
                groups.entry(group).or_default().starts.push((column, time));
            }
            Place::Exemplar(group, column, exemplar) => {
                self.meta.lock().remove_exemplar(reference(group, column), &exemplar);
            }
            Place::Metadata(name, metadata) => self.meta.lock().remove_metadata(&name, &metadata),
        });
        // We wrote them ourselves, a moment ago.
        read.expect("records in the log's buffer can be read");
        let mut samples = 0;
        for (number, failed) in &groups {
            samples += (failed.floats.len() + failed.histograms.len()) as u64;
            let group = self.groups.read().by_number.get(number).cloned();
            // Groups go only when they are empty.
            let Some(group) = group else { continue };
            let mut state = group.state.lock();
            state.rows.remove(&failed.floats, &failed.histograms, &failed.starts);
            // A seal may have taken them already; it waits for the log before it writes.
            if let Some(sealing) = &mut state.sealing {
                std::sync::Arc::make_mut(sealing).remove(&failed.floats, &failed.histograms, &failed.starts);
            }
            let mut columns: Vec<u32> =
                failed.floats.iter().chain(&failed.histograms).map(|(column, _)| *column).collect();
            columns.sort_unstable();
            columns.dedup();
            let empty = columns.into_iter().filter(|&column| !restore_newest(&mut state, column)).count();
            if empty > 0 {
                self.some_empty.store(true, Ordering::Relaxed);
            }
        }
        let unsealed = self.unsealed.load(Ordering::Relaxed);
        self.unsealed.store(unsealed.saturating_sub(samples), Ordering::Relaxed);
        let newest = self.all_groups().into_iter().filter_map(|group| {
            let state = group.state.lock();
            let live = state.last_time.iter().zip(&state.series).filter(|(_, series)| **series != GONE);
            live.map(|(time, _)| *time).max()
        });
        self.max_time.store(newest.max().unwrap_or(i64::MIN), Ordering::Relaxed);
    }
}

/// Sets time and value of the newest sample of a column anew; `false` when it has none in the head.
fn restore_newest(state: &mut GroupState, column: u32) -> bool {
    let in_memory = state
        .rows
        .newest(column)
        .into_iter()
        .chain(state.sealing.as_ref().and_then(|rows| rows.newest(column)));
    let mut newest = in_memory.max_by_key(|(time, _)| *time);
    for chunk in state.chunks.iter() {
        if newest.is_some_and(|(time, _)| time >= chunk.max_time) {
            continue;
        }
        // A damaged chunk is reported when it is read.
        let mut samples = model::Samples::default();
        if chunk.open().is_ok_and(|open| open.read(column, &mut samples).is_ok())
            && let Some(&time) = samples.times.last()
            && newest.is_none_or(|(known, _)| known < time)
        {
            let at = samples.times.len() - 1;
            let float = samples.histogram(at).is_none().then(|| samples.values[at]);
            newest = Some((time, float));
        }
    }
    let at = column as usize;
    state.last_time[at] = newest.map_or(i64::MIN, |(time, _)| time);
    if let Some(value) = newest.and_then(|(_, value)| value) {
        state.last_value[at] = value;
    }
    newest.is_some()
}
