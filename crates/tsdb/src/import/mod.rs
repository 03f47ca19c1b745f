//! Samples from elsewhere become blocks.
//!
//! [`Importer`] takes series in any order, from any parser (OpenMetrics text is read by the crate `wire`), sorts them into windows
//! and writes blocks within a memory budget. [`prometheus`] reads Prometheus' own blocks. What is imported twice is merged by
//! compaction, so an import that was interrupted can be run again.

mod histograms;
pub mod prometheus;
mod xor;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{Labels, Samples};

use crate::Result;
use crate::block::{BlockMeta, BlockWriter};
use crate::compact::merge;
use crate::disk::Disk;

/// Turns series into blocks.
pub struct Importer {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    id: String,
    window_ms: i64,
    budget_bytes: usize,
    /// Windows by their number, in each the series.
    pending: BTreeMap<i64, BTreeMap<Labels, Samples>>,
    pending_bytes: usize,
    written: Vec<BlockMeta>,
}

impl Importer {
    /// Writes blocks `<id>-<number>` into `folder`, each within one window of `window_ms` (2 h by default elsewhere; multiples of it
    /// make fewer blocks), and holds at most about `budget_bytes` of samples in memory.
    pub fn new(
        disk: Arc<dyn Disk>,
        folder: &Path,
        id: impl Into<String>,
        window_ms: i64,
        budget_bytes: usize,
    ) -> Self {
        Self {
            disk,
            folder: folder.to_owned(),
            id: id.into(),
            window_ms: window_ms.max(1),
            budget_bytes,
            pending: BTreeMap::new(),
            pending_bytes: 0,
            written: Vec::new(),
        }
    }

    /// Adds samples; the first of two samples with one time wins.
    ///
    /// # Errors
    /// `Io`, when the budget is used up and blocks have to be written.
    pub fn add(&mut self, labels: &Labels, samples: &Samples) -> Result<()> {
        let mut start = 0;
        while start < samples.len() {
            let window = samples.times[start].div_euclid(self.window_ms);
            let end =
                start + samples.times[start..].partition_point(|t| t.div_euclid(self.window_ms) == window);
            let mut part = Samples::default();
            crate::compact::append(samples, start..end, &mut part);
            let series = self.pending.entry(window).or_default();
            self.pending_bytes +=
                part.len() * 16 + part.histograms.iter().map(|(_, h)| h.size_bytes()).sum::<usize>();
            match series.get_mut(labels) {
                Some(there) => {
                    let first = std::mem::take(there);
                    merge(&[&first, &part], there);
                }
                None => {
                    self.pending_bytes += labels.as_encoded().len() + 256;
                    series.insert(labels.clone(), part);
                }
            }
            start = end;
        }
        if self.pending_bytes > self.budget_bytes { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        while let Some((_, series)) = self.pending.pop_first() {
            let id = format!("{}-{:06}", self.id, self.written.len());
            let folder = self.folder.join(&id);
            let mut writer = BlockWriter::create(Arc::clone(&self.disk), &folder, BlockMeta::new(id, 0))?;
            for (labels, samples) in &series {
                writer.add_series(labels, samples)?;
            }
            self.written.push(writer.finish()?);
        }
        self.pending_bytes = 0;
        Ok(())
    }

    /// Writes what is left and returns the new blocks.
    ///
    /// # Errors
    /// `Io`.
    pub fn finish(mut self) -> Result<Vec<BlockMeta>> {
        self.flush()?;
        Ok(self.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::Block;
    use crate::compact::SeriesMerge;
    use crate::disk::FaultDisk;

    #[test]
    fn series_in_any_order_become_blocks() {
        let disk: Arc<dyn Disk> = Arc::new(FaultDisk::new());
        for budget in [0, 1 << 20] {
            let folder = PathBuf::from(format!("/d{budget}"));
            let mut importer = Importer::new(Arc::clone(&disk), &folder, "import", 1000, budget);
            let labels = |name: &str| Labels::from_pairs([("__name__", name)]);
            let samples = |times: &[i64], value: f64| {
                let mut samples = Samples::default();
                times.iter().for_each(|&t| samples.push_float(t, value));
                samples
            };
            importer.add(&labels("b"), &samples(&[-1, 5, 1500, 1600], 1.0)).unwrap();
            importer.add(&labels("a"), &samples(&[1200], 2.0)).unwrap();
            importer.add(&labels("b"), &samples(&[5, 6], 3.0)).unwrap();
            let blocks = importer.finish().unwrap();
            assert!(blocks.len() >= 3);
            let open: Vec<_> =
                blocks.iter().map(|b| Block::open(&*disk, &folder.join(&b.id)).unwrap()).collect();
            let mut all = SeriesMerge::new(&open).unwrap();
            let mut out = Samples::default();
            let mut found = Vec::new();
            while let Some(labels) = all.next(&mut out).unwrap() {
                found.push((labels.to_string(), out.times.clone(), out.values.clone()));
            }
            assert_eq!(
                found,
                [
                    ("a".to_owned(), vec![1200], vec![2.0]),
                    ("b".to_owned(), vec![-1, 5, 6, 1500, 1600], vec![1.0, 1.0, 3.0, 1.0, 1.0]),
                ]
            );
        }
    }
}
