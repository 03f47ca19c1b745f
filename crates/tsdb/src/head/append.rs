//! The write path: a batch goes to its groups, its records to the log's buffer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::batch::SeriesKey;
use model::labels::{self, METRIC_NAME};
use model::{Appended, Batch, Labels, RejectReason, SeriesRef};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::group::{GONE, Group, GroupState, Placed};
use super::{GROUP_COLUMNS, Head, reference, split};
use crate::config::Limits;
use crate::wal::record::{LogFloat, put_exemplar, put_floats, put_histograms, put_metadata, put_starts};
use crate::wal::series_log::{Entry, put_entry};
use crate::wal::{Ticket, Wal};

/// Exemplar labels, names and values together, in characters. Source: OpenMetrics 1.0, "Exemplars".
const EXEMPLAR_CHARS: usize = 128;

/// What a batch is checked against.
pub(crate) struct Rules<'a> {
    pub(crate) limits: &'a Limits,
    /// Samples before this are too old.
    pub(crate) oldest: i64,
    /// Samples after this are too new.
    pub(crate) newest: i64,
}

/// What became of a batch, and what must be on disk before that may be said.
pub(crate) struct Outcome {
    pub(crate) appended: Appended,
    pub(crate) ticket: Option<Ticket>,
    pub(crate) out_of_order: u64,
    pub(crate) created: u64,
    /// Refused samples by reason.
    pub(crate) rejected: Vec<(RejectReason, u64)>,
}

impl Outcome {
    fn reject(
        &mut self,
        series: u32,
        time: Option<i64>,
        reason: RejectReason,
        samples: usize,
        detail: impl FnOnce() -> String,
    ) {
        self.appended.reject(series, time, reason, samples, detail);
        match self.rejected.iter_mut().find(|(r, _)| *r == reason) {
            Some((_, count)) => *count += samples as u64,
            None => self.rejected.push((reason, samples as u64)),
        }
    }
}

/// A series of a batch that is not taken, and what to tell about its samples.
const NONE: SeriesRef = SeriesRef(u64::MAX);

impl Head {
    /// Stores a batch in memory and hands its records to the log.
    pub(crate) fn append(&self, wal: &Wal, batch: &Batch, rules: &Rules<'_>) -> Outcome {
        let first = wal.begin();
        let mut outcome = Outcome {
            appended: Appended::default(),
            ticket: None,
            out_of_order: 0,
            created: 0,
            rejected: Vec::new(),
        };
        let places = self.resolve(wal, batch, rules, &mut outcome);
        let mut pushed = outcome.created > 0;
        let mut runs = Runs {
            head: self,
            wal,
            rules,
            max_time: i64::MIN,
            logged: Vec::new(),
            records: Vec::new(),
            same_time: Vec::new(),
            slow: Vec::new(),
        };
        pushed |= runs.floats(batch, &places, &mut outcome);
        pushed |= runs.extras(batch, &places, &mut outcome);
        let max_time = runs.max_time;
        pushed |= self.append_meta(wal, batch, &places, rules, &mut outcome);
        self.max_time.fetch_max(max_time, Ordering::Relaxed);
        outcome.appended.refs = places.iter().map(|&place| (place != NONE).then_some(place)).collect();
        let unknown = &mut outcome.appended.unknown_refs;
        unknown.sort_unstable();
        unknown.dedup();
        for &series in &outcome.appended.unknown_refs {
            outcome.appended.refs[series as usize] = None;
        }
        outcome.ticket = pushed.then(|| wal.ticket(first));
        outcome
    }

    /// Where the samples of each series of the batch go.
    fn resolve(&self, wal: &Wal, batch: &Batch, rules: &Rules<'_>, outcome: &mut Outcome) -> Vec<SeriesRef> {
        let mut places = vec![NONE; batch.series().len()];
        let mut missing: Vec<(u32, u128)> = Vec::new();
        if batch.series().iter().any(|key| matches!(key, SeriesKey::Labels(_))) {
            let index = self.index.read();
            // Hash all, bring the table's lines near, then look.
            let mut hashes: Vec<(u32, u128)> = Vec::with_capacity(batch.series().len());
            for at in 0..batch.series().len() as u32 {
                if let Some(encoded) = batch.label_bytes(at) {
                    let hash = index.hash(encoded);
                    index.prefetch(hash);
                    hashes.push((at, hash));
                }
            }
            for (at, hash) in hashes {
                match index.find(hash) {
                    Some(series) => places[at as usize] = index.place(series),
                    None => missing.push((at, hash)),
                }
            }
        }
        let mut known: Option<(u64, usize)> = None;
        let groups = self.groups.read();
        for (at, key) in batch.series().iter().enumerate() {
            if let SeriesKey::Ref(series) = key {
                let (number, column) = split(*series);
                if known.is_none_or(|(same, _)| same != number) {
                    let columns = groups.by_number.get(&number).map(|group| group.state.lock().series.len());
                    known = Some((number, columns.unwrap_or(0)));
                }
                match known {
                    Some((_, columns)) if (column as usize) < columns => places[at] = *series,
                    _ => outcome.appended.unknown_refs.push(at as u32),
                }
            }
        }
        drop(groups);
        if !missing.is_empty() {
            self.create(wal, batch, &missing, rules, &mut places, outcome);
        }
        places
    }

    /// Adds series that are not there yet, as far as the limits allow.
    fn create(
        &self,
        wal: &Wal,
        batch: &Batch,
        missing: &[(u32, u128)],
        rules: &Rules<'_>,
        places: &mut [SeriesRef],
        outcome: &mut Outcome,
    ) {
        let counts = sample_counts(batch);
        let mut index = self.index.write();
        let mut entries = Vec::new();
        let mut pairs = Vec::new();
        let mut targets: hashbrown::HashMap<u64, usize> = hashbrown::HashMap::new();
        for &(at, hash) in missing {
            // Another batch, or an earlier series of this one, may have added it.
            if let Some(series) = index.find(hash) {
                places[at as usize] = index.place(series);
                continue;
            }
            let encoded = batch.label_bytes(at).expect("only series named by labels are missing");
            let samples = counts[at as usize] as usize;
            if let Err((reason, detail)) = check_labels(encoded, rules.limits) {
                outcome.reject(at, None, reason, samples, || detail);
                continue;
            }
            let limits = rules.limits;
            if limits.series > 0 && index.len() as u64 >= limits.series {
                let limit = limits.series;
                outcome.reject(at, None, RejectReason::SeriesLimit, samples, || {
                    format!("the tenant has {limit} active series already (storage.limits.series)")
                });
                continue;
            }
            let metric =
                labels::iter_encoded(encoded).find(|(n, _)| *n == METRIC_NAME).map_or("", |(_, v)| v);
            if limits.series_per_metric > 0 && index.metric_len(metric) as u64 >= limits.series_per_metric {
                let limit = limits.series_per_metric;
                outcome.reject(at, None, RejectReason::MetricSeriesLimit, samples, || {
                    format!(
                        "metric {metric:?} has {limit} active series already (storage.limits.series_per_metric)"
                    )
                });
                continue;
            }
            if limits.series_per_target > 0
                && let Some((job, instance)) = target_labels(encoded)
            {
                // The head grows under this lock alone, so that one look a batch is enough.
                let target = target_of(encoded);
                let count = targets.entry(target).or_insert_with(|| index.target_len(job, instance));
                if *count as u64 >= limits.series_per_target {
                    let limit = limits.series_per_target;
                    outcome.reject(at, None, RejectReason::TargetSeriesLimit, samples, || {
                        format!(
                            "target {instance:?} of job {job:?} has {limit} active series already (storage.limits.series_per_target); metric {metric:?}"
                        )
                    });
                    continue;
                }
                *count += 1;
            }
            let mut log_pairs = self.log_pairs.lock();
            let mut log_ids = Vec::new();
            pairs.clear();
            for (name, value) in labels::iter_encoded(encoded) {
                let (pair, _) = index.intern(name, value);
                let slot = index.pair_mut(pair);
                if slot.log == u32::MAX {
                    slot.log = *log_pairs;
                    *log_pairs += 1;
                    put_entry(&mut entries, &Entry::Pair { name, value });
                }
                log_ids.push(slot.log);
                pairs.push(pair);
            }
            drop(log_pairs);
            let (group, is_new) = self.group_for(target_of(encoded));
            if is_new {
                put_entry(&mut entries, &Entry::Group { group: group.number, target: group.target });
            }
            let (_, place) = index.insert(hash, &pairs, |series| {
                reference(group.number, group.state.lock().add_column(series))
            });
            let (group, column) = split(place);
            put_entry(&mut entries, &Entry::Series { group, column, pairs: &log_ids });
            places[at as usize] = place;
            outcome.created += 1;
            outcome.appended.created.push(at);
        }
        if !entries.is_empty() {
            // Under the index's lock: the log has pairs in the order of their numbers.
            wal.push_series(&entries);
        }
    }

    /// The group that takes new series of a target; `true` when it was made now.
    pub(crate) fn group_for(&self, target: u64) -> (Arc<Group>, bool) {
        let mut groups = self.groups.write();
        if let Some(group) = groups.by_target.get(&target).and_then(|n| groups.by_number.get(n))
            && group.state.lock().series.len() < GROUP_COLUMNS
        {
            return (Arc::clone(group), false);
        }
        let number = groups.next_number;
        groups.next_number += 1;
        let group = Group::new(number, target);
        groups.by_number.insert(number, Arc::clone(&group));
        groups.by_target.insert(target, number);
        (group, true)
    }

    fn append_meta(
        &self,
        wal: &Wal,
        batch: &Batch,
        places: &[SeriesRef],
        rules: &Rules<'_>,
        outcome: &mut Outcome,
    ) -> bool {
        if batch.exemplars().is_empty() && batch.metadata().is_empty() {
            return false;
        }
        let mut records = Vec::new();
        let mut meta = self.meta.lock();
        for (at, exemplar) in batch.exemplars() {
            let place = places[*at as usize];
            if place == NONE {
                continue;
            }
            let chars: usize =
                exemplar.labels.iter().map(|(n, v)| n.chars().count() + v.chars().count()).sum();
            let time = Some(exemplar.at.ms());
            // A refused exemplar is told and counted; its sample stays accepted.
            let mut refuse = |detail: String| {
                outcome.reject(*at, time, RejectReason::InvalidExemplar, 1, || detail);
            };
            if chars > EXEMPLAR_CHARS {
                refuse(format!("an exemplar's labels have {chars} characters, {EXEMPLAR_CHARS} are allowed"));
                continue;
            }
            if exemplar.at.ms() > rules.newest {
                refuse(format!("the exemplar at {} is too far in the future", exemplar.at));
                continue;
            }
            match meta.add_exemplar(place, exemplar) {
                (false, _) => {
                    refuse(format!("the exemplar at {} is older than the newest of its series", exemplar.at));
                }
                (true, true) => {
                    let (group, column) = split(place);
                    put_exemplar(&mut records, group, column, exemplar);
                }
                (true, false) => {}
            }
        }
        for (name, metadata) in batch.metadata() {
            if meta.add_metadata(name, metadata) {
                put_metadata(&mut records, name, metadata);
            }
        }
        drop(meta);
        push(wal, &records);
        !records.is_empty()
    }
}

/// Adds records that depend on no base.
fn push(wal: &Wal, records: &[u8]) {
    if records.is_empty() {
        return;
    }
    let mut epoch = wal.epoch();
    while let Err(now) = wal.push(records, epoch) {
        epoch = now;
    }
}

/// Float and histogram samples by series of the batch.
fn sample_counts(batch: &Batch) -> Vec<u32> {
    let mut counts = vec![0; batch.series().len()];
    batch.floats().iter().for_each(|s| counts[s.series as usize] += 1);
    batch.histograms().iter().for_each(|s| counts[s.series as usize] += 1);
    counts
}

fn check_labels(encoded: &[u8], limits: &Limits) -> Result<(), (RejectReason, String)> {
    let Some(labels) = Labels::from_encoded(encoded) else {
        return Err((RejectReason::InvalidLabels, "the labels are not sorted, unique and UTF-8".to_owned()));
    };
    if labels.metric_name().is_empty() {
        return Err((RejectReason::InvalidLabels, format!("{labels} has no metric name")));
    }
    let count = labels.len();
    if limits.labels_per_series > 0 && count > limits.labels_per_series {
        let limit = limits.labels_per_series;
        return Err((
            RejectReason::TooManyLabels,
            format!("{labels} has {count} labels, {limit} are allowed (storage.limits.labels_per_series)"),
        ));
    }
    for (name, value) in &labels {
        if name.is_empty() {
            return Err((RejectReason::InvalidLabels, format!("{labels} has a label without a name")));
        }
        if limits.label_name_bytes > 0 && name.len() > limits.label_name_bytes {
            let (len, limit) = (name.len(), limits.label_name_bytes);
            return Err((
                RejectReason::LabelTooLong,
                format!(
                    "a label name has {len} bytes, {limit} are allowed (storage.limits.label_name_bytes)"
                ),
            ));
        }
        if limits.label_value_bytes > 0 && value.len() > limits.label_value_bytes {
            let (len, limit) = (value.len(), limits.label_value_bytes);
            return Err((
                RejectReason::LabelTooLong,
                format!(
                    "the value of label {name:?} has {len} bytes, {limit} are allowed (storage.limits.label_value_bytes)"
                ),
            ));
        }
    }
    Ok(())
}

/// Hash of the target that a series belongs to: its `job` and `instance`.
fn target_of(encoded: &[u8]) -> u64 {
    let mut hash = 0;
    for (name, value) in labels::iter_encoded(encoded) {
        match name {
            "instance" => hash ^= xxh3_64_with_seed(value.as_bytes(), 1),
            "job" => hash ^= xxh3_64_with_seed(value.as_bytes(), 2),
            _ => {}
        }
    }
    hash
}

/// Job and instance of a series that has both.
fn target_labels(encoded: &[u8]) -> Option<(&str, &str)> {
    let of = |wanted: &str| {
        labels::iter_encoded(encoded).find(|(name, _)| *name == wanted).map(|(_, value)| value)
    };
    Some((of("job")?, of("instance")?))
}

/// Walks a batch group by group.
struct Runs<'a> {
    head: &'a Head,
    wal: &'a Wal,
    rules: &'a Rules<'a>,
    max_time: i64,
    /// Accepted samples of the run that go into the log: in order, and out of order.
    logged: Vec<LogFloat>,
    records: Vec<u8>,
    /// Samples of one time: column, value, series of the batch.
    same_time: Vec<(u32, f64, u32)>,
    /// Those of them that are not simply newer than all of their series.
    slow: Vec<u32>,
}

impl Runs<'_> {
    /// Stores the float samples.
    fn floats(&mut self, batch: &Batch, places: &[SeriesRef], outcome: &mut Outcome) -> bool {
        let floats = batch.floats();
        let group_at = |at: usize| split(places[floats[at].series as usize]).0;
        // Samples mostly come group by group; else sort them so.
        let changes = (1..floats.len()).filter(|&at| group_at(at) != group_at(at - 1)).count();
        let mut order: Vec<u32> = Vec::new();
        if changes * 4 > floats.len() {
            order = (0..floats.len() as u32).collect();
            order.sort_by_key(|&at| group_at(at as usize));
        }
        let nth = |at: usize| if order.is_empty() { at } else { order[at] as usize };
        let mut pushed = false;
        let mut from = 0;
        while from < floats.len() {
            let number = group_at(nth(from));
            let mut to = from + 1;
            while to < floats.len() && group_at(nth(to)) == number {
                to += 1;
            }
            if places[floats[nth(from)].series as usize] != NONE {
                let group = self.head.groups.read().by_number.get(&number).cloned();
                match group {
                    Some(group) => {
                        let run = (from..to).map(|at| floats[nth(at)]);
                        pushed |= self.float_run(&group, run, to - from, places, outcome);
                    }
                    // Dropped between look-up and now: the sender names it by labels again.
                    None => outcome.appended.unknown_refs.extend((from..to).map(|at| floats[nth(at)].series)),
                }
            }
            from = to;
        }
        pushed
    }

    fn float_run(
        &mut self,
        group: &Group,
        run: impl Iterator<Item = model::batch::FloatSample>,
        len: usize,
        places: &[SeriesRef],
        outcome: &mut Outcome,
    ) -> bool {
        let mut state = group.state.lock();
        let state = &mut *state;
        let mut epoch = self.wal.epoch();
        state.enter_epoch(epoch);
        self.logged.clear();
        let mut late: Vec<LogFloat> = Vec::new();
        let mut again = false;
        let mut same_time = std::mem::take(&mut self.same_time);
        let mut run = run.peekable();
        // Samples of one time go into one row.
        while let Some(&model::batch::FloatSample { time, .. }) = run.peek() {
            same_time.clear();
            while let Some(sample) = run.next_if(|sample| sample.time == time) {
                let (_, column) = split(places[sample.series as usize]);
                same_time.push((column, sample.value, sample.series));
            }
            if !self.in_bounds(time, &same_time, outcome) {
                continue;
            }
            let logged_before = self.logged.len();
            self.slow.clear();
            state.put_newest(time, &same_time, len, &mut self.logged, &mut self.slow);
            outcome.appended.accepted += self.logged.len() - logged_before;
            for &at in &self.slow {
                let (column, value, series) = same_time[at as usize];
                if state.series[column as usize] == GONE {
                    outcome.appended.unknown_refs.push(series);
                    continue;
                }
                let base = state.base(column);
                match state.put_float(column, time, value, len) {
                    Placed::InOrder => {
                        state.set_logged(column);
                        self.logged.push(LogFloat { column, time, value, base });
                    }
                    Placed::OutOfOrder => {
                        late.push(LogFloat { column, time, value, base: 0.0 });
                        outcome.out_of_order += 1;
                    }
                    // In the log, or on its way there: the ticket waits for that.
                    Placed::Same => again = true,
                    Placed::Conflict => {
                        reject_conflict(outcome, series, time);
                        continue;
                    }
                }
                outcome.appended.accepted += 1;
            }
            self.max_time = self.max_time.max(time);
        }
        self.same_time = same_time;
        if self.logged.is_empty() && late.is_empty() {
            return again;
        }
        self.head.unsealed.fetch_add((self.logged.len() + late.len()) as u64, Ordering::Relaxed);
        self.records.clear();
        put_floats(&mut self.records, group.number, &self.logged, false);
        put_floats(&mut self.records, group.number, &late, true);
        while let Err(now) = self.wal.push(&self.records, epoch) {
            // A new segment began: no base is known in it.
            epoch = now;
            state.enter_epoch(epoch);
            self.records.clear();
            put_floats(&mut self.records, group.number, &self.logged, true);
            put_floats(&mut self.records, group.number, &late, true);
        }
        true
    }

    /// Whether `time` is acceptable; refuses the samples `(column, value, series)` if not.
    fn in_bounds(&self, time: i64, samples: &[(u32, f64, u32)], outcome: &mut Outcome) -> bool {
        let (oldest, newest) = (self.rules.oldest, self.rules.newest);
        if (oldest..=newest).contains(&time) {
            return true;
        }
        for &(_, _, series) in samples {
            if time < oldest {
                outcome.reject(series, Some(time), RejectReason::TooOld, 1, || {
                    format!("the sample at {time} is older than the oldest accepted time {oldest}; raise storage.out_of_order_window to accept it")
                });
            } else {
                outcome.reject(series, Some(time), RejectReason::TooNew, 1, || {
                    format!("the sample at {time} is after the newest accepted time {newest}; correct the sender's clock or raise storage.future_limit")
                });
            }
        }
        false
    }

    /// Stores histogram samples and start timestamps.
    fn extras(&mut self, batch: &Batch, places: &[SeriesRef], outcome: &mut Outcome) -> bool {
        let mut pushed = false;
        let mut order: Vec<u32> = (0..batch.histograms().len() as u32).collect();
        order.sort_by_key(|&at| split(places[batch.histograms()[at as usize].series as usize]).0);
        let samples: Vec<_> = order.iter().map(|&at| &batch.histograms()[at as usize]).collect();
        for run in
            samples.chunk_by(|a, b| split(places[a.series as usize]).0 == split(places[b.series as usize]).0)
        {
            self.with_group(places[run[0].series as usize], outcome, |this, group, state, outcome| {
                let mut logged = Vec::new();
                for sample in run {
                    let (_, column) = split(places[sample.series as usize]);
                    if !this.in_bounds(sample.time, &[(column, 0.0, sample.series)], outcome) {
                        continue;
                    }
                    if let Err(err) = sample.histogram.validate() {
                        let reason = RejectReason::InvalidHistogram;
                        outcome.reject(sample.series, Some(sample.time), reason, 1, || err.to_string());
                        continue;
                    }
                    if state.series[column as usize] == GONE {
                        outcome.appended.unknown_refs.push(sample.series);
                        continue;
                    }
                    match state.put_histogram(column, sample.time, &sample.histogram) {
                        Placed::Conflict => {
                            reject_conflict(outcome, sample.series, sample.time);
                            continue;
                        }
                        Placed::OutOfOrder => outcome.out_of_order += 1,
                        Placed::InOrder => {}
                        Placed::Same => {
                            outcome.appended.accepted += 1;
                            pushed = true;
                            continue;
                        }
                    }
                    logged.push((column, sample.time, Arc::clone(&sample.histogram)));
                    outcome.appended.accepted += 1;
                    this.max_time = this.max_time.max(sample.time);
                }
                this.records.clear();
                put_histograms(&mut this.records, group.number, &logged);
                this.head.unsealed.fetch_add(logged.len() as u64, Ordering::Relaxed);
                push(this.wal, &this.records);
                pushed |= !logged.is_empty();
            });
        }
        let mut starts: Vec<_> = batch.starts().to_vec();
        starts.retain(|&(series, time, start)| {
            start != 0
                && places[series as usize] != NONE
                && (self.rules.oldest..=self.rules.newest).contains(&time)
        });
        starts.sort_by_key(|(series, ..)| split(places[*series as usize]).0);
        for run in starts.chunk_by(|a, b| split(places[a.0 as usize]).0 == split(places[b.0 as usize]).0) {
            self.with_group(places[run[0].0 as usize], outcome, |this, group, state, _| {
                let columns: Vec<_> = run
                    .iter()
                    .map(|&(series, time, start)| (split(places[series as usize]).1, time, start))
                    .collect();
                columns.iter().for_each(|&(column, time, start)| state.put_start(column, time, start));
                this.records.clear();
                put_starts(&mut this.records, group.number, &columns);
                push(this.wal, &this.records);
                pushed = true;
            });
        }
        pushed
    }

    fn with_group(
        &mut self,
        place: SeriesRef,
        outcome: &mut Outcome,
        run: impl FnOnce(&mut Self, &Group, &mut GroupState, &mut Outcome),
    ) {
        if place == NONE {
            return;
        }
        let group = self.head.groups.read().by_number.get(&split(place).0).cloned();
        if let Some(group) = group {
            let mut state = group.state.lock();
            run(self, &group, &mut state, outcome);
        }
    }
}

fn reject_conflict(outcome: &mut Outcome, series: u32, time: i64) {
    outcome.reject(series, Some(time), RejectReason::DuplicateTimestamp, 1, || {
        format!("the series has another value at {time} already")
    });
}
