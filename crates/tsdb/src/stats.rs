//! Numbers of a tenant's head and of what its labels cost.

use model::labels::METRIC_NAME;

use crate::head::Head;
use crate::tenant::Tenant;

/// A name or pair, and its number.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Count {
    /// What is counted: a metric name, a label name, or `name=value`.
    pub name: String,
    /// How many, or how many bytes.
    pub value: u64,
}

/// Numbers of a tenant's head, as Prometheus' `/api/v1/status/tsdb` shows them, and of its files.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Stats {
    /// Series in the head.
    pub series: u64,
    /// Distinct label pairs in the head.
    pub label_pairs: u64,
    /// Compressed chunks of the head: one a series and seal.
    pub chunks: u64,
    /// Oldest sample of the head in milliseconds, `None` when it is empty.
    pub min_time: Option<i64>,
    /// Newest sample of the head in milliseconds, `None` when it is empty.
    pub max_time: Option<i64>,
    /// Samples in memory that are not sealed.
    pub unsealed_samples: u64,
    /// Bytes of sealed files.
    pub sealed_bytes: u64,
    /// Blocks.
    pub blocks: u64,
    /// Bytes of blocks.
    pub blocks_bytes: u64,
    /// Samples in blocks.
    pub blocks_samples: u64,
    /// Memory of the head by kind, in bytes.
    pub memory_bytes: Vec<Count>,
    /// Metric names with the most series.
    pub series_by_metric: Vec<Count>,
    /// Label names with the most values.
    pub values_by_label: Vec<Count>,
    /// Label names whose values take the most bytes, counted once for each series.
    pub bytes_by_label: Vec<Count>,
    /// Label pairs with the most series.
    pub series_by_pair: Vec<Count>,
}

/// Keeps the `limit` largest.
fn top(mut counts: Vec<Count>, limit: usize) -> Vec<Count> {
    counts.sort_unstable_by(|a, b| b.value.cmp(&a.value).then_with(|| a.name.cmp(&b.name)));
    counts.truncate(limit);
    counts
}

/// The four lists of cardinality: series by metric, values by label, bytes by label, series by pair.
fn cardinality(head: &Head, limit: usize) -> [Vec<Count>; 4] {
    let index = head.index.read();
    let mut metrics = Vec::new();
    let mut pairs: Vec<Count> = Vec::new();
    let mut labels: Vec<(String, u64, u64)> = Vec::new();
    let mut least = 0;
    index.each_pair(|name, value, postings| {
        let series = postings.len() as u64;
        let bytes = series * (name.len() + value.len()) as u64;
        match labels.last_mut() {
            Some((last, values, sum)) if last == name => {
                *values += 1;
                *sum += bytes;
            }
            _ => labels.push((name.to_owned(), 1, bytes)),
        }
        if name == METRIC_NAME {
            metrics.push(Count { name: value.to_owned(), value: series });
        }
        if series > least || pairs.len() < limit {
            pairs.push(Count { name: format!("{name}={value}"), value: series });
            if pairs.len() >= limit * 4 {
                pairs = top(std::mem::take(&mut pairs), limit);
                least = pairs.last().map_or(0, |pair| pair.value);
            }
        }
    });
    let values = labels.iter().map(|(name, values, _)| Count { name: name.clone(), value: *values });
    let bytes = labels.iter().map(|(name, _, bytes)| Count { name: name.clone(), value: *bytes });
    [top(metrics, limit), top(values.collect(), limit), top(bytes.collect(), limit), top(pairs, limit)]
}

impl Tenant {
    /// Numbers of the head and the files; `limit` names in each list.
    pub(crate) fn stats(&self, limit: usize) -> Stats {
        let [series_by_metric, values_by_label, bytes_by_label, series_by_pair] =
            cardinality(&self.head, limit.max(1));
        let (mut chunks, mut sealed) = (0, std::collections::HashMap::new());
        for group in self.head.all_groups() {
            let state = group.state.lock();
            let live = state.series.iter().filter(|&&series| series != crate::head::group::GONE).count();
            chunks += (state.chunks.len() * live) as u64;
            sealed.extend(state.chunks.iter().map(|chunk| (chunk.file.number, chunk.file.len)));
        }
        let blocks = self.blocks.list();
        let index = self.head.index.read();
        let (series, label_pairs) = (index.len() as u64, index.pair_count() as u64);
        drop(index);
        Stats {
            series,
            label_pairs,
            chunks,
            min_time: self.head.oldest_sample(),
            max_time: self.head.newest(),
            unsealed_samples: self.head.unsealed.load(std::sync::atomic::Ordering::Relaxed),
            sealed_bytes: sealed.values().sum(),
            blocks: blocks.len() as u64,
            blocks_bytes: self.blocks.bytes(),
            blocks_samples: blocks.iter().map(|block| block.meta().samples).sum(),
            memory_bytes: self.memory().map(|(name, value)| Count { name: name.to_owned(), value }).to_vec(),
            series_by_metric,
            values_by_label,
            bytes_by_label,
            series_by_pair,
        }
    }
}
