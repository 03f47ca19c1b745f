//! From a body to a batch: which series, which labels, which are gone.
//!
//! Pure: no clock, no socket. A [`Table`] is what a target remembers of its series between scrapes; a steady series is
//! named by the storage's reference and costs no label work.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use model::batch::SeriesRef;
use model::labels::{self, METRIC_NAME, is_legacy_label_name, is_legacy_metric_name};
use model::sample::STALE_NAN;
use model::{
    Appended, Batch, Exemplar, Family, Histogram, Labels, LabelsBuilder, Metadata, Timestamp, relabel,
};
use wire::exposition::{Describe, Histograms, MAX_TAG, Point, Series, Visitor};

use super::nhcb::{self, Groups, Part, What};
use xxhash_rust::xxh3::{Xxh3DefaultBuilder, xxh3_64_with_seed};

/// The tag of lines whose series relabelling drops.
const DROPPED: u32 = MAX_TAG;

/// What decides about a target's samples.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    pub(crate) honor_labels: bool,
    pub(crate) honor_timestamps: bool,
    pub(crate) track_staleness: bool,
    pub(crate) legacy_names: bool,
    pub(crate) native_histograms: bool,
    pub(crate) classic_histograms: bool,
    /// Whether classic histograms become native ones with custom buckets.
    pub(crate) convert_histograms: bool,
    /// The finest resolution of native histograms.
    pub(crate) max_schema: i32,
    /// The most buckets of a native histogram; 0 is no limit.
    pub(crate) bucket_limit: usize,
    pub(crate) sample_limit: u64,
    pub(crate) label_limit: u64,
    pub(crate) label_name_length_limit: u64,
    pub(crate) label_value_length_limit: u64,
    pub(crate) relabel: Vec<relabel::Rule>,
}

/// One series of a target.
#[derive(Clone, Debug)]
struct Entry {
    /// Of the canonical labels.
    hash: u64,
    reference: Option<SeriesRef>,
    /// The generation in which it was last seen; 0 when it is not alive.
    seen: u32,
    /// Its index in the batch of that generation.
    index: u32,
    /// The newest sample of that generation.
    time: i64,
    /// It came with the target's own timestamps.
    own_time: bool,
}

/// The series of one target.
#[derive(Debug, Default)]
pub(crate) struct Table {
    seed: u64,
    generation: u32,
    entries: Vec<Entry>,
    free: Vec<u32>,
    by_hash: HashMap<u64, u32, Xxh3DefaultBuilder>,
    /// Classic histograms that are converted.
    histograms: Groups,
}

impl Table {
    /// `seed`: a secret of the process.
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// How many series are remembered.
    pub(crate) fn len(&self) -> usize {
        self.by_hash.len()
    }

    fn insert(&mut self, hash: u64) -> u32 {
        let entry = Entry { hash, reference: None, seen: 0, index: 0, time: 0, own_time: false };
        let at = match self.free.pop() {
            Some(at) => {
                self.entries[at as usize] = entry;
                at
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        };
        self.by_hash.insert(hash, at);
        at
    }

    /// Adds staleness markers at `time` for series that are gone. After a good scrape those are the ones that it did not
    /// have; they are forgotten. Otherwise (`all`) every living series is marked and kept for when the target is back.
    /// Series with timestamps of their own get a marker only when `track` says so.
    pub(crate) fn mark_stale(
        &mut self,
        batch: &mut Batch,
        rows: &mut Vec<u32>,
        time: i64,
        all: bool,
        track: bool,
    ) {
        if !all {
            self.histograms.prune(self.generation);
        }
        for at in 0..self.entries.len() {
            let entry = &mut self.entries[at];
            if !all && entry.seen == self.generation {
                continue;
            }
            let alive = std::mem::take(&mut entry.seen) != 0;
            if alive
                && (track || !entry.own_time)
                && let Some(reference) = entry.reference
            {
                let series = batch.add_series_ref(reference);
                batch.push_float(series, time, f64::from_bits(STALE_NAN));
                rows.push(u32::MAX);
            }
            if !all && self.by_hash.get(&self.entries[at].hash) == Some(&(at as u32)) {
                self.by_hash.remove(&self.entries[at].hash);
                self.entries[at].reference = None;
                self.free.push(at as u32);
            }
        }
    }

    /// Takes over the references that the storage gave. `rows`: for each series of the batch its entry. Whether some
    /// references were not known any more.
    pub(crate) fn learn(&mut self, rows: &[u32], appended: &Appended) -> bool {
        for (row, reference) in rows.iter().zip(&appended.refs) {
            if let (Some(entry), Some(reference)) = (self.entries.get_mut(*row as usize), reference) {
                entry.reference = Some(*reference);
            }
        }
        let mut lost = false;
        for index in &appended.unknown_refs {
            let row = rows.get(*index as usize).copied().unwrap_or(u32::MAX);
            if let Some(entry) = self.entries.get_mut(row as usize) {
                entry.reference = None;
                lost = true;
            }
        }
        lost
    }

    /// Forgets all references: the storage did not take the batch.
    pub(crate) fn forget_references(&mut self) {
        for entry in &mut self.entries {
            entry.reference = None;
        }
    }

    /// The generation after this one; 0 means "not alive" and is left out.
    fn next_generation(&mut self) {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
    }
}

/// What one scrape counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Samples exposed.
    pub(crate) scraped: u64,
    /// Samples left after relabelling.
    pub(crate) kept: u64,
    /// Series that were not there at the last scrape.
    pub(crate) added: u64,
    /// Samples of a series and time that the body has already had.
    pub(crate) duplicates: u64,
}

/// Collects one scrape into a batch.
pub(crate) struct Collect<'a> {
    rules: &'a Rules,
    /// The target's public labels.
    target: &'a Labels,
    time: i64,
    table: &'a mut Table,
    batch: &'a mut Batch,
    /// For each series of the batch its entry.
    rows: &'a mut Vec<u32>,
    pub(crate) counts: Counts,
    /// Only series without a reference are collected: the storage has forgotten them.
    again: bool,
    metadata: BTreeMap<String, Metadata>,
    encoded: Vec<u8>,
    /// A native histogram could not be made small enough; the scrape fails at its end, so that all samples are counted.
    over_bucket_limit: bool,
}

impl<'a> Collect<'a> {
    /// A scrape at `time`. `batch` and `rows` are empty.
    pub(crate) fn new(
        rules: &'a Rules,
        target: &'a Labels,
        time: i64,
        table: &'a mut Table,
        batch: &'a mut Batch,
        rows: &'a mut Vec<u32>,
    ) -> Self {
        table.next_generation();
        Self {
            rules,
            target,
            time,
            table,
            batch,
            rows,
            counts: Counts::default(),
            again: false,
            metadata: BTreeMap::new(),
            encoded: Vec::new(),
            over_bucket_limit: false,
        }
    }

    /// The same scrape once more, for the series that have no reference.
    pub(crate) fn again(
        rules: &'a Rules,
        target: &'a Labels,
        time: i64,
        table: &'a mut Table,
        batch: &'a mut Batch,
        rows: &'a mut Vec<u32>,
    ) -> Self {
        Self { again: true, ..Self::new(rules, target, time, table, batch, rows) }
    }

    /// Adds what only the whole body tells: the histograms that were put together.
    ///
    /// # Errors
    /// A limit is exceeded.
    pub(crate) fn complete(&mut self) -> Result<(), String> {
        if self.rules.convert_histograms {
            let mut groups = std::mem::take(&mut self.table.histograms);
            let added = self.converted(&mut groups);
            self.table.histograms = groups;
            added?;
        }
        if self.over_bucket_limit {
            return Err(format!("histogram bucket limit exceeded: the limit is {}", self.rules.bucket_limit));
        }
        Ok(())
    }

    fn converted(&mut self, groups: &mut Groups) -> Result<(), String> {
        let generation = self.table.generation;
        for group in groups.groups.iter_mut().filter(|group| group.seen == generation) {
            // Series that only look like parts of a histogram.
            if group.buckets.is_empty() {
                for (entry, labels, value) in std::mem::take(&mut group.held) {
                    self.encoded.clear();
                    self.encoded.extend_from_slice(&labels);
                    let (time, start) = (group.time, group.start);
                    self.add(entry, &Point { value, histogram: None, time, start, exemplar: None })?;
                }
                continue;
            }
            let histogram = group.build().map(Arc::new);
            let (Some(histogram), Some((entry, labels))) = (histogram, &group.native) else { continue };
            // The body had it as a native histogram, too.
            if self.table.entries[*entry as usize].seen == generation {
                continue;
            }
            self.encoded.clear();
            self.encoded.extend_from_slice(labels);
            let (time, start) = (group.time, group.start);
            let point = Point { value: 0.0, histogram: Some(histogram), time, start, exemplar: None };
            self.add_converted(*entry, &point)?;
            let entry = &self.table.entries[*entry as usize];
            if entry.seen == generation && entry.index != u32::MAX {
                for exemplar in std::mem::take(&mut group.exemplars) {
                    self.batch.push_exemplar(entry.index, exemplar);
                }
            }
        }
        Ok(())
    }

    /// A line of a classic histogram.
    fn part(&mut self, tag: u32, point: &Point<'_>) -> Result<bool, String> {
        let generation = self.table.generation;
        let Some(part) = self.table.histograms.parts.get_mut((tag - nhcb::FIRST_TAG) as usize) else {
            return Ok(false);
        };
        if part.seen == 0 {
            return Ok(false);
        }
        part.seen = generation;
        let (what, classic) = (part.what, part.classic.clone());
        let time = point.time.filter(|_| self.rules.honor_timestamps);
        let group = &mut self.table.histograms.groups[part.group as usize];
        group.begin(generation);
        group.time = group.time.or(time);
        group.start = group.start.or(point.start);
        match what {
            What::Bucket(bound) => group.buckets.push((bound, point.value)),
            What::Sum => group.sum = Some(point.value),
            What::Count => group.count = Some(point.value),
        }
        if let Some(exemplar) = point.exemplar {
            let at = Timestamp(exemplar.time.or(time).unwrap_or(self.time));
            let labels = Labels::from_pairs(exemplar.labels());
            group.exemplars.push(Exemplar { labels, value: exemplar.value, at });
        }
        match classic {
            Some((entry, labels)) if self.rules.classic_histograms => {
                self.encoded.clear();
                self.encoded.extend_from_slice(&labels);
                self.add(entry, point)?;
            }
            Some((entry, labels)) => group.held.push((entry, labels, point.value)),
            None => {}
        }
        Ok(true)
    }

    /// Makes a part of a series that belongs to a classic histogram; its tag.
    fn new_part(&mut self, series: &Series<'_>) -> Result<Option<u32>, String> {
        use model::MetricType;
        if !matches!(series.kind(), MetricType::Histogram | MetricType::GaugeHistogram) {
            return Ok(None);
        }
        let name = series.name();
        let bound = series.labels().find(|(name, _)| name == "le").map(|(_, value)| value);
        let Some((base, what)) = nhcb::belongs_to(&name, bound.as_deref()) else { return Ok(None) };
        let without = series.labels().filter(|(name, _)| name != "le");
        let native = self.entry(Cow::Borrowed(base), without)?;
        // What relabelling drops is a group all the same, by its labels before.
        let native = (native != DROPPED).then(|| (native, self.encoded.clone().into_boxed_slice()));
        let hash = match &native {
            Some((_, labels)) => xxh3_64_with_seed(labels, self.table.seed),
            None => {
                let mut key = base.as_bytes().to_vec();
                for (name, value) in series.labels().filter(|(name, _)| name != "le") {
                    labels::encode_pair(&mut key, &name, &value);
                }
                xxh3_64_with_seed(&key, !self.table.seed)
            }
        };
        let generation = self.table.generation;
        let group = match self.table.histograms.find(hash) {
            Some(group) => group,
            None => self.table.histograms.add_group(hash, native),
        };
        self.table.histograms.groups[group as usize].begin(generation);
        let needs_classic = self.rules.classic_histograms || !matches!(what, What::Bucket(_));
        let mut classic = None;
        if needs_classic {
            let entry = self.entry(series.name(), series.labels())?;
            classic = (entry != DROPPED).then(|| (entry, self.encoded.clone().into_boxed_slice()));
        }
        let part = Part { group, what, classic, seen: generation };
        Ok(Some(self.table.histograms.add_part(part)))
    }

    /// Puts the collected metadata into the batch; whether there was any.
    pub(crate) fn finish(self) -> (Counts, bool) {
        let any = !self.metadata.is_empty();
        for (name, metadata) in self.metadata {
            self.batch.push_metadata(name, metadata);
        }
        (self.counts, any)
    }

    /// Collects families that a source in this process has made.
    pub(crate) fn families(&mut self, families: &[Family]) -> Result<(), String> {
        for family in families {
            if family.metadata != Metadata::default() {
                self.metadata.insert(family.name.clone(), family.metadata.clone());
            }
            for (labels, value) in &family.samples {
                let pairs = labels.iter().map(|(n, v)| (Cow::Borrowed(n), Cow::Borrowed(v)));
                let tag = self.entry(Cow::Borrowed(&family.name), pairs)?;
                if tag != DROPPED {
                    let point =
                        Point { value: *value, histogram: None, time: None, start: None, exemplar: None };
                    self.add(tag, &point)?;
                } else {
                    self.counts.scraped += 1;
                }
            }
        }
        Ok(())
    }

    /// The entry of a series, or `DROPPED`. Leaves the canonical labels in `encoded`.
    fn entry<'s>(
        &mut self,
        name: Cow<'s, str>,
        pairs: impl Iterator<Item = (Cow<'s, str>, Cow<'s, str>)>,
    ) -> Result<u32, String> {
        let mut all: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::with_capacity(16);
        for pair in pairs.filter(|(_, value)| !value.is_empty()) {
            all.push(pair);
        }
        // Before the look for duplicates: a source in this process may name its series twice.
        all.push((Cow::Borrowed(METRIC_NAME), name));
        all.sort_unstable();
        if let Some(pair) = all.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(format!("label name {:?} is not unique: invalid sample", pair[0].0));
        }
        with_target_labels(&mut all, self.target, self.rules.honor_labels);
        self.encoded.clear();
        if self.rules.relabel.is_empty() {
            all.sort_unstable();
            self.check(all.iter().map(|(n, v)| (&**n, &**v)))?;
            for (name, value) in &all {
                labels::encode_pair(&mut self.encoded, name, value);
            }
        } else {
            let mut builder = LabelsBuilder::default();
            for (name, value) in all {
                builder.set(name, value);
            }
            if relabel::apply(&self.rules.relabel, &mut builder).is_err() {
                return Ok(DROPPED);
            }
            let labels = builder.build();
            if labels.is_empty() {
                return Ok(DROPPED);
            }
            self.check(labels.iter())?;
            self.encoded.extend_from_slice(labels.as_encoded());
        }
        let hash = xxh3_64_with_seed(&self.encoded, self.table.seed);
        Ok(match self.table.by_hash.get(&hash) {
            Some(at) => *at,
            None => self.table.insert(hash),
        })
    }

    fn check<'s>(&self, labels: impl Iterator<Item = (&'s str, &'s str)>) -> Result<(), String> {
        let (mut count, mut metric) = (0, "");
        for (name, value) in labels {
            count += 1;
            let valid = if name == METRIC_NAME {
                metric = value;
                !self.rules.legacy_names || is_legacy_metric_name(value)
            } else {
                !self.rules.legacy_names || is_legacy_label_name(name)
            };
            if !valid || name.is_empty() {
                return Err(format!("invalid metric name or label names: {name}={value:?}"));
            }
            let over = |limit: u64, len: usize| limit > 0 && len as u64 > limit;
            if over(self.rules.label_name_length_limit, name.len()) {
                let limit = self.rules.label_name_length_limit;
                return Err(format!(
                    "label_name_length_limit exceeded (metric: {metric:?}, label name: {name:?}, length: {}, limit: {limit})",
                    name.len()
                ));
            }
            if over(self.rules.label_value_length_limit, value.len()) {
                let limit = self.rules.label_value_length_limit;
                return Err(format!(
                    "label_value_length_limit exceeded (metric: {metric:?}, label name: {name:?}, length: {}, limit: {limit})",
                    value.len()
                ));
            }
        }
        if metric.is_empty() {
            return Err("missing metric name (__name__ label)".into());
        }
        if self.rules.label_limit > 0 && count > self.rules.label_limit {
            let limit = self.rules.label_limit;
            return Err(format!(
                "label_limit exceeded (metric: {metric:?}, number of labels: {count}, limit: {limit})"
            ));
        }
        Ok(())
    }

    /// Adds a sample of the entry `tag`; its labels are in `encoded` when it has no reference.
    fn add(&mut self, tag: u32, point: &Point<'_>) -> Result<(), String> {
        self.counts.scraped += 1;
        self.counts.kept += 1;
        let limit = self.rules.sample_limit;
        if limit > 0 && self.counts.kept > limit {
            return Err(format!("sample limit exceeded: the limit is {limit}"));
        }
        if point.histogram.is_some() && !self.rules.native_histograms {
            return Ok(());
        }
        self.store(tag, point)
    }

    /// A histogram with custom buckets, which was asked for.
    fn add_converted(&mut self, tag: u32, point: &Point<'_>) -> Result<(), String> {
        self.counts.scraped += 1;
        self.counts.kept += 1;
        let limit = self.rules.sample_limit;
        if limit > 0 && self.counts.kept > limit {
            return Err(format!("sample limit exceeded: the limit is {limit}"));
        }
        self.store(tag, point)
    }

    fn store(&mut self, tag: u32, point: &Point<'_>) -> Result<(), String> {
        let fitted = match &point.histogram {
            None => None,
            Some(histogram) => match fit(histogram, self.rules) {
                Some(histogram) => Some(histogram),
                None => {
                    self.over_bucket_limit = true;
                    return Ok(());
                }
            },
        };
        let generation = self.table.generation;
        let entry = &mut self.table.entries[tag as usize];
        if self.again && entry.reference.is_some() && entry.seen != generation {
            // The first pass has stored it.
            entry.seen = generation;
            entry.index = u32::MAX;
        }
        let own = point.time.filter(|_| self.rules.honor_timestamps);
        let time = own.unwrap_or(self.time);
        if entry.seen == generation {
            if entry.index == u32::MAX {
                return Ok(());
            }
            if time <= entry.time {
                self.counts.duplicates += 1;
                return Ok(());
            }
        } else {
            self.counts.added += u64::from(entry.seen == 0);
            entry.seen = generation;
            entry.own_time = own.is_some();
            entry.index = match entry.reference {
                Some(reference) => self.batch.add_series_ref(reference),
                None => self.batch.add_series_with(|arena| arena.extend_from_slice(&self.encoded)),
            };
            self.rows.push(tag);
        }
        entry.time = time;
        let index = entry.index;
        match fitted {
            Some(histogram) => self.batch.push_histogram(index, time, histogram),
            None => self.batch.push_float(index, time, point.value),
        }
        if let Some(start) = point.start {
            self.batch.push_start(index, time, start);
        }
        if let Some(exemplar) = point.exemplar {
            let at = Timestamp(exemplar.time.unwrap_or(time));
            let labels = Labels::from_pairs(exemplar.labels());
            self.batch.push_exemplar(index, Exemplar { labels, value: exemplar.value, at });
        }
        Ok(())
    }
}

impl Visitor for Collect<'_> {
    fn known(&mut self, tag: u32, point: &Point<'_>) -> Result<bool, String> {
        if tag == DROPPED {
            self.counts.scraped += 1;
            return Ok(true);
        }
        if tag >= nhcb::FIRST_TAG {
            return self.part(tag, point);
        }
        match self.table.entries.get(tag as usize) {
            Some(entry) if entry.reference.is_some() => {}
            _ => return Ok(false),
        }
        self.add(tag, point)?;
        Ok(true)
    }

    fn series(&mut self, series: &Series<'_>, point: &Point<'_>) -> Result<u32, String> {
        if self.rules.convert_histograms
            && point.histogram.is_none()
            && let Some(tag) = self.new_part(series)?
        {
            self.part(tag, point)?;
            return Ok(tag);
        }
        let tag = self.entry(series.name(), series.labels())?;
        if tag == DROPPED {
            self.counts.scraped += 1;
        } else {
            self.add(tag, point)?;
        }
        Ok(tag)
    }

    fn histograms(&self) -> Histograms {
        Histograms { native: self.rules.native_histograms, classic: self.rules.classic_histograms }
    }

    fn describe(&mut self, family: Cow<'_, str>, what: Describe<'_>) {
        let metadata = self.metadata.entry(family.into_owned()).or_default();
        match what {
            Describe::Type(kind) => metadata.kind = kind,
            Describe::Help(text) => metadata.help = text.into_owned(),
            Describe::Unit(unit) => metadata.unit = unit.to_owned(),
        }
    }
}

/// The histogram in the resolution that the rules allow; `None` when even the coarsest has too many buckets.
fn fit(histogram: &Arc<Histogram>, rules: &Rules) -> Option<Arc<Histogram>> {
    let over =
        |h: &Histogram| rules.bucket_limit > 0 && h.positive.len() + h.negative.len() > rules.bucket_limit;
    if histogram.is_custom() {
        return (!over(histogram)).then(|| Arc::clone(histogram));
    }
    if histogram.schema <= rules.max_schema && !over(histogram) {
        return Some(Arc::clone(histogram));
    }
    let mut coarser = Histogram::clone(histogram);
    coarser.reduce_resolution(rules.max_schema.min(histogram.schema));
    while over(&coarser) {
        if coarser.schema <= model::histogram::MIN_SCHEMA {
            return None;
        }
        coarser.reduce_resolution(coarser.schema - 1);
    }
    Some(Arc::new(coarser))
}

/// Adds the target's labels to a sample's: with `honor` the sample's own win, else they are kept as `exported_…`.
pub(crate) fn with_target_labels<'a>(
    labels: &mut Vec<(Cow<'a, str>, Cow<'a, str>)>,
    target: &'a Labels,
    honor: bool,
) {
    let own = labels.len();
    for (name, value) in target {
        let clash = labels[..own].iter().position(|(n, _)| n == name);
        match clash {
            Some(_) if honor => continue,
            Some(at) => {
                let mut exported = format!("exported_{name}");
                while labels.iter().any(|(n, _)| *n == exported) || target.get(&exported).is_some() {
                    exported.insert_str(0, "exported_");
                }
                labels[at].0 = Cow::Owned(exported);
            }
            None => {}
        }
        labels.push((Cow::Borrowed(name), Cow::Borrowed(value)));
    }
}
