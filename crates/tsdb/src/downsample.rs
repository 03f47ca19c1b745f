//! Down-sampled tiers: one row of aggregates for each series and step, in a block of its own.
//!
//! Step `k` of a tier with resolution `r` covers the times `(k·r, (k+1)·r]`, as PromQL's windows do, and has the timestamp
//! `(k+1)·r`. A step without samples has no row. Exact semantics of the columns, over the step's samples in order:
//!
//! | column | value |
//! |---|---|
//! | `count` | how many; staleness markers are no samples here |
//! | `sum` | added one by one, in order |
//! | `min`, `max` | NaN only when every value is NaN |
//! | `first`, `last` | the values of the earliest and the latest sample, bit for bit |
//! | `increase` | sum over the samples of the step of what was added since the sample before, which may lie in an earlier step: the difference, or the value itself after a counter reset; 0 for the first sample of the series in the inputs |
//!
//! So `sum_over_time`, `count_over_time`, `min_over_time`, `max_over_time`, `last_over_time` and the sum of `increase` are exact
//! for windows that begin and end on steps; `sum` may differ in the last bits, since floats were added in another grouping.
//! Between two blocks the increase is (or after a reset: begins anew at) `first` of the later minus `last` of the earlier. Native
//! histograms have no tier yet: they are left out and counted.

use std::path::Path;
use std::sync::Arc;

use model::{Samples, is_stale};

use crate::Error;
use crate::Result;
use crate::block::{Block, BlockMeta, BlockWriter, Tier};
use crate::compact::{Guard, SeriesMerge, remove};
use crate::disk::Disk;
use crate::head::select::retain;

/// What a down-sampling made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Downsampled {
    /// The new block.
    pub meta: BlockMeta,
    /// Native histogram samples that are in the inputs and not in the tier.
    pub histograms_left_out: u64,
}

/// Writes the tier of `resolution_ms` for the samples of raw blocks in `first..=last` into the new block `folder`; `meta` gives its id and
/// level.
///
/// The inputs stay what they are: the new block does not name them as its sources.
///
/// # Errors
/// `Invalid` when an input is no raw block or the resolution is not positive; as [`crate::compact::compact`].
pub fn downsample(
    disk: &Arc<dyn Disk>,
    inputs: &[Arc<Block>],
    folder: &Path,
    mut meta: BlockMeta,
    range: (i64, i64),
    resolution_ms: i64,
    guard: &dyn Guard,
) -> Result<Downsampled> {
    if resolution_ms <= 0 || inputs.iter().any(|block| block.meta().resolution_ms != 0) {
        return Err(Error::Invalid(format!(
            "a tier of {resolution_ms} ms is made from raw blocks and needs a positive resolution"
        )));
    }
    meta.resolution_ms = resolution_ms;
    let mut writer = BlockWriter::create(Arc::clone(disk), folder, meta)?;
    match write(inputs, &mut writer, range, resolution_ms, guard) {
        Ok(histograms_left_out) => Ok(Downsampled { meta: writer.finish()?, histograms_left_out }),
        Err(err) => {
            if let Err(second) = writer.abort() {
                tracing::warn!(error = %second, "cannot remove an unfinished block; it is removed at the next start");
            }
            Err(err)
        }
    }
}

fn write(
    inputs: &[Arc<Block>],
    writer: &mut BlockWriter,
    (first, last): (i64, i64),
    resolution_ms: i64,
    guard: &dyn Guard,
) -> Result<u64> {
    let mut merge = SeriesMerge::new(inputs)?;
    let mut samples = Samples::default();
    let mut tier = Tier::default();
    let mut histograms = 0;
    while let Some(labels) = merge.next(&mut samples)? {
        remove(&mut samples, &guard.deleted(&labels));
        retain(&mut samples, |time| (first..=last).contains(&time));
        histograms += samples.histograms.len() as u64;
        aggregate(&samples, resolution_ms, &mut tier);
        writer.add_tier(&labels, &tier)?;
        guard.check(writer.samples())?;
    }
    Ok(histograms)
}

/// The rows of one series, into `tier`, which is cleared.
pub fn aggregate(samples: &Samples, resolution_ms: i64, tier: &mut Tier) {
    tier.clear();
    let mut histograms = samples.histograms.iter().map(|(at, _)| *at as usize).peekable();
    let mut before: Option<f64> = None;
    for (i, (&time, &value)) in samples.times.iter().zip(&samples.values).enumerate() {
        if histograms.next_if_eq(&i).is_some() || is_stale(value) {
            continue;
        }
        // The end of the step, which is the step's own last instant.
        let end = (-time.saturating_neg().div_euclid(resolution_ms)).saturating_mul(resolution_ms);
        let added = match before {
            None => 0.0,
            Some(before) if value < before => value,
            Some(before) => value - before,
        };
        before = Some(value);
        if tier.times.last() != Some(&end) {
            tier.push(end, value);
        }
        tier.add(value, added);
    }
}

/// Writes a tier's block anew without the rows whose step has a deleted instant.
///
/// # Errors
/// As [`downsample`].
pub fn rewrite(
    disk: &Arc<dyn Disk>,
    input: &Arc<Block>,
    folder: &Path,
    mut meta: BlockMeta,
    guard: &dyn Guard,
) -> Result<BlockMeta> {
    let resolution = input.meta().resolution_ms;
    meta.resolution_ms = resolution;
    if meta.sources.is_empty() {
        meta.sources = vec![input.meta().id.clone()];
    }
    let mut writer = BlockWriter::create(Arc::clone(disk), folder, meta)?;
    let all = model::seam::TimeRange { start: model::Timestamp::MIN, end: model::Timestamp::MAX };
    let mut write = || {
        let mut tier = Tier::default();
        for series in input.select(&[], all)? {
            let labels = series.labels()?;
            series.read_tier(all, &mut tier)?;
            tier.remove(resolution, &guard.deleted(&labels));
            writer.add_tier(&labels, &tier)?;
            guard.check(writer.samples())?;
        }
        Ok(())
    };
    match write() {
        Ok(()) => writer.finish(),
        Err(err) => {
            if let Err(second) = writer.abort() {
                tracing::warn!(error = %second, "cannot remove an unfinished block; it is removed at the next start");
            }
            Err(err)
        }
    }
}

#[cfg(test)]
mod tests {
    use model::sample::STALE_NAN;
    use model::seam::TimeRange;
    use model::{Labels, Timestamp};
    use proptest::prelude::*;

    use super::*;
    use crate::compact::KeepAll;
    use crate::disk::FaultDisk;

    const ALL: TimeRange = TimeRange { start: Timestamp::MIN, end: Timestamp::MAX };

    fn samples(points: &[(i64, f64)]) -> Samples {
        let mut samples = Samples::default();
        points.iter().for_each(|&(t, v)| samples.push_float(t, v));
        samples
    }

    #[test]
    fn a_counter_with_a_reset() {
        let mut tier = Tier::default();
        let stale = f64::from_bits(STALE_NAN);
        aggregate(
            &samples(&[(-5, 1.0), (0, 2.0), (1, 5.0), (10, 7.0), (11, 3.0), (12, stale), (35, 4.0)]),
            10,
            &mut tier,
        );
        assert_eq!(tier.times, [0, 10, 20, 40]);
        assert_eq!(tier.count, [2.0, 2.0, 1.0, 1.0]);
        assert_eq!(tier.sum, [3.0, 12.0, 3.0, 4.0]);
        assert_eq!(tier.min, [1.0, 5.0, 3.0, 4.0]);
        assert_eq!(tier.max, [2.0, 7.0, 3.0, 4.0]);
        assert_eq!(tier.first, [1.0, 5.0, 3.0, 4.0]);
        assert_eq!(tier.last, [2.0, 7.0, 3.0, 4.0]);
        assert_eq!(tier.increase, [1.0, 5.0, 3.0, 1.0]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn a_tier_is_what_the_raw_samples_say(
            steps in prop::collection::vec((1i64..90_000, prop_oneof![6 => (-50i32..50).prop_map(f64::from), 1 => Just(f64::NAN)]), 1..200),
            resolution in prop_oneof![Just(300_000i64), Just(60_000), Just(7)],
        ) {
            let mut time = 1_700_000_000_000;
            let points: Vec<(i64, f64)> = steps.iter().map(|&(s, v)| { time += s; (time, v) }).collect();
            let disk: Arc<dyn Disk> = Arc::new(FaultDisk::new());
            let labels = Labels::from_pairs([("__name__", "m")]);
            let mut writer = BlockWriter::create(Arc::clone(&disk), Path::new("/d/raw"), BlockMeta::new("raw", 0)).unwrap();
            writer.add_series(&labels, &samples(&points)).unwrap();
            writer.finish().unwrap();
            let raw = Block::open(&*disk, Path::new("/d/raw")).unwrap();
            let made = downsample(&disk, &[raw], Path::new("/d/tier"), BlockMeta::new("tier", 0), (i64::MIN, i64::MAX), resolution, &KeepAll).unwrap();
            prop_assert_eq!(made.meta.resolution_ms, resolution);
            let block = Block::open(&*disk, Path::new("/d/tier")).unwrap();
            prop_assert!(block.verify().unwrap().is_empty());
            let series = block.select(&[], ALL).unwrap();
            let mut tier = Tier::default();
            prop_assert!(series[0].read(ALL, &mut Samples::default()).is_err());
            series[0].read_tier(ALL, &mut tier).unwrap();
            let mut total = 0.0;
            for (row, &end) in tier.times.iter().enumerate() {
                let of: Vec<f64> = points.iter().filter(|(t, _)| end - resolution < *t && *t <= end).map(|p| p.1).collect();
                prop_assert_eq!(tier.count[row], of.len() as f64);
                let same = |a: f64, b: f64| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
                prop_assert!(same(tier.sum[row], of.iter().skip(1).fold(of[0], |a, b| a + b)));
                prop_assert!(same(tier.min[row], of.iter().copied().fold(f64::NAN, f64::min)));
                prop_assert!(same(tier.max[row], of.iter().copied().fold(f64::NAN, f64::max)));
                prop_assert!(same(tier.first[row], of[0]) && same(tier.last[row], of[of.len() - 1]));
                total += of.len() as f64;
            }
            prop_assert_eq!(total as usize, points.len());
        }
    }
}
