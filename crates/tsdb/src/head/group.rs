//! Group: the series of one target, which share their timestamps.
//!
//! Samples since the last seal are rows: one time and a value for each column (series) that has one then. A row is a list
//! of `(column, value)` until half of the columns are in it, then an array with a bit a column. Rows are shared with
//! readers and copied when one of them still holds the row that changes.

use std::sync::{Arc, OnceLock};

use model::{Histogram, Samples};
use parking_lot::Mutex;

use super::sealed::Chunk;
use crate::wal::record::LogFloat;

/// One time and its values.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) time: i64,
    cells: Cells,
}

#[derive(Clone, Debug)]
enum Cells {
    /// Ascending by column.
    Sparse(Vec<(u32, f64)>),
    Dense {
        values: Vec<f64>,
        present: Vec<u64>,
        count: u32,
    },
}

impl Row {
    fn new(time: i64, expected: usize, columns: usize) -> Self {
        let cells = if expected * 2 >= columns {
            Cells::Dense { values: vec![0.0; columns], present: vec![0; columns.div_ceil(64)], count: 0 }
        } else {
            Cells::Sparse(Vec::with_capacity(expected))
        };
        Self { time, cells }
    }

    /// The value of `column`.
    #[inline]
    pub(crate) fn get(&self, column: u32) -> Option<f64> {
        match &self.cells {
            Cells::Sparse(list) => list.binary_search_by_key(&column, |(c, _)| *c).ok().map(|at| list[at].1),
            // Of a row that is full the bits need not be brought near.
            Cells::Dense { values, count, .. } if *count as usize == values.len() => {
                values.get(column as usize).copied()
            }
            Cells::Dense { values, present, .. } => {
                let word = present.get(column as usize / 64)?;
                (word >> (column % 64) & 1 == 1).then(|| values[column as usize])
            }
        }
    }

    /// Sets the value of a column that has none.
    fn set(&mut self, column: u32, value: f64, columns: usize) {
        match &mut self.cells {
            Cells::Sparse(list) => {
                match list.last() {
                    Some((last, _)) if *last >= column => {
                        let at = list.partition_point(|(c, _)| *c < column);
                        list.insert(at, (column, value));
                    }
                    _ => list.push((column, value)),
                }
                if list.len() * 2 >= columns && list.len() > 4 {
                    let list = std::mem::take(list);
                    let mut dense = Self::new(self.time, columns, columns);
                    for (column, value) in list {
                        dense.set(column, value, columns);
                    }
                    self.cells = dense.cells;
                }
            }
            Cells::Dense { values, present, count } => {
                let at = column as usize;
                if at >= values.len() {
                    let len = columns.max(at + 1);
                    values.resize(len, 0.0);
                    present.resize(len.div_ceil(64), 0);
                }
                values[at] = value;
                present[at / 64] |= 1 << (at % 64);
                *count += 1;
            }
        }
    }

    /// Takes the value of a column away.
    fn unset(&mut self, column: u32) {
        match &mut self.cells {
            Cells::Sparse(list) => {
                if let Ok(at) = list.binary_search_by_key(&column, |(c, _)| *c) {
                    list.remove(at);
                }
            }
            Cells::Dense { present, count, .. } => {
                let (word, bit) = (column as usize / 64, 1u64 << (column % 64));
                if let Some(word) = present.get_mut(word).filter(|word| **word & bit != 0) {
                    *word &= !bit;
                    *count -= 1;
                }
            }
        }
    }

    /// Calls `each` for every column with a value, ascending.
    pub(crate) fn for_each(&self, mut each: impl FnMut(u32, f64)) {
        match &self.cells {
            Cells::Sparse(list) => list.iter().for_each(|&(column, value)| each(column, value)),
            Cells::Dense { values, present, .. } => {
                for (word_at, &word) in present.iter().enumerate() {
                    let mut word = word;
                    while word != 0 {
                        let column = word_at * 64 + word.trailing_zeros() as usize;
                        each(column as u32, values[column]);
                        word &= word - 1;
                    }
                }
            }
        }
    }

    /// How many columns have a value.
    pub(crate) fn len(&self) -> usize {
        match &self.cells {
            Cells::Sparse(list) => list.len(),
            Cells::Dense { count, .. } => *count as usize,
        }
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
            + 24
            + match &self.cells {
                Cells::Sparse(list) => list.capacity() * 16,
                Cells::Dense { values, present, .. } => (values.capacity() + present.capacity()) * 8,
            }
    }
}

/// Histogram sample and start timestamp of a column; few series have them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Extras {
    /// `(column, time, histogram)`, in the order of arrival.
    pub(crate) histograms: Vec<(u32, i64, Arc<Histogram>)>,
    /// `(column, time, start)`, in the order of arrival.
    pub(crate) starts: Vec<(u32, i64, i64)>,
    /// Made when a column is read, gone when anything changes.
    by_column: OnceLock<ByColumn>,
}

/// Places in [`Extras`], sorted by column and then by arrival: a group of histograms is read column by column.
#[derive(Clone, Debug)]
struct ByColumn {
    histograms: Vec<u32>,
    starts: Vec<u32>,
}

impl Extras {
    fn by_column(&self) -> &ByColumn {
        self.by_column.get_or_init(|| {
            let mut histograms: Vec<u32> = (0..self.histograms.len() as u32).collect();
            histograms.sort_by_key(|&at| self.histograms[at as usize].0);
            let mut starts: Vec<u32> = (0..self.starts.len() as u32).collect();
            starts.sort_by_key(|&at| self.starts[at as usize].0);
            ByColumn { histograms, starts }
        })
    }

    /// The histogram samples of a column, in the order of arrival.
    pub(crate) fn histograms_of(&self, column: u32) -> impl Iterator<Item = &(u32, i64, Arc<Histogram>)> {
        let places = &self.by_column().histograms;
        let from = places.partition_point(|&at| self.histograms[at as usize].0 < column);
        let all = places[from..].iter().map(|&at| &self.histograms[at as usize]);
        all.take_while(move |(c, ..)| *c == column)
    }

    /// The start timestamps of a column, in the order of arrival.
    fn starts_of(&self, column: u32) -> impl Iterator<Item = &(u32, i64, i64)> {
        let places = &self.by_column().starts;
        let from = places.partition_point(|&at| self.starts[at as usize].0 < column);
        places[from..].iter().map(|&at| &self.starts[at as usize]).take_while(move |(c, ..)| *c == column)
    }

    /// To be called with every change.
    fn changed(&mut self) {
        self.by_column = OnceLock::new();
    }
}

/// Samples that are not sealed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows {
    /// Ascending in time.
    pub(crate) rows: Vec<Arc<Row>>,
    pub(crate) extras: Option<Arc<Extras>>,
}

impl Rows {
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.extras.is_none()
    }

    /// First and last time, `None` when there is no sample.
    pub(crate) fn time_range(&self) -> Option<(i64, i64)> {
        let rows = self.rows.first().zip(self.rows.last()).map(|(a, b)| (a.time, b.time));
        let extras = self.extras.iter().flat_map(|e| &e.histograms).map(|(_, t, _)| (*t, *t));
        rows.into_iter().chain(extras).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
    }

    /// The rows between two times, both included. Histograms are taken whole: they are few.
    pub(crate) fn within(&self, start: i64, end: i64) -> Self {
        let low = self.rows.partition_point(|row| row.time < start);
        let high = self.rows.partition_point(|row| row.time <= end).max(low);
        let extras = self.extras.clone().filter(|extras| {
            low < high || extras.histograms.iter().any(|(_, time, _)| (start..=end).contains(time))
        });
        Self { rows: self.rows[low..high].to_vec(), extras }
    }

    /// Appends the samples of `column`; mixes into `times_id` which rows they came from.
    pub(crate) fn read(&self, column: u32, out: &mut Samples) {
        let Some(extras) = self.extras.as_deref() else {
            let before = out.times.len();
            out.times.reserve(self.rows.len());
            out.values.reserve(self.rows.len());
            for row in &self.rows {
                if let Some(value) = row.get(column) {
                    out.times.push(row.time);
                    out.values.push(value);
                }
            }
            if !out.starts.is_empty() {
                out.starts.resize(out.times.len(), 0);
            }
            if out.times.len() - before == self.rows.len() {
                // A value in every row, as most columns have: the rows as a whole tell the times.
                let ends = self.rows.first().zip(self.rows.last());
                if let Some((first, last)) = ends {
                    out.times_id = mix(out.times_id, Arc::as_ptr(first) as usize as u64);
                    out.times_id =
                        mix(out.times_id, Arc::as_ptr(last) as usize as u64 ^ self.rows.len() as u64);
                }
            } else {
                for row in self.rows.iter().filter(|row| row.get(column).is_some()) {
                    out.times_id = mix(out.times_id, Arc::as_ptr(row) as usize as u64);
                }
            }
            return;
        };
        let mut histograms: Vec<(i64, &Arc<Histogram>)> =
            extras.histograms_of(column).map(|(_, t, h)| (*t, h)).collect();
        histograms.sort_by_key(|(time, _)| *time);
        let mut histograms = histograms.into_iter().peekable();
        for row in &self.rows {
            while let Some((time, histogram)) = histograms.next_if(|(time, _)| *time < row.time) {
                out.push_histogram(time, Arc::clone(histogram));
                out.times_id = mix(out.times_id, time as u64);
            }
            if let Some(value) = row.get(column) {
                out.push_float(row.time, value);
                out.times_id = mix(out.times_id, row.time as u64);
            }
        }
        for (time, histogram) in histograms {
            out.push_histogram(time, Arc::clone(histogram));
            out.times_id = mix(out.times_id, time as u64);
        }
        for (_, time, start) in extras.starts_of(column) {
            if let Ok(at) = out.times.binary_search(time) {
                out.starts.resize(out.times.len(), 0);
                out.starts[at] = *start;
            }
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.rows.iter().map(|row| row.bytes()).sum::<usize>()
            + self.rows.capacity() * 8
            + self.extras.as_ref().map_or(0, |extras| {
                extras.starts.capacity() * 24
                    + extras.histograms.iter().map(|(_, _, h)| h.size_bytes() + 24).sum::<usize>()
            })
    }

    /// The row at `time`, made if there is none. `expected`: how many columns it will likely get now.
    fn at(&mut self, time: i64, expected: usize, columns: usize) -> &mut Row {
        let at = match self.rows.last() {
            Some(last) if last.time == time => self.rows.len() - 1,
            Some(last) if last.time > time => {
                let at = self.rows.partition_point(|row| row.time < time);
                if self.rows[at].time != time {
                    self.rows.insert(at, Arc::new(Row::new(time, expected, columns)));
                }
                at
            }
            _ => {
                self.rows.push(Arc::new(Row::new(time, expected, columns)));
                self.rows.len() - 1
            }
        };
        Arc::make_mut(&mut self.rows[at])
    }

    /// Puts rows that a seal could not write back; of two samples at one time those stay.
    pub(crate) fn put_back(&mut self, older: &Self, columns: usize) {
        for row in &older.rows {
            let into = self.at(row.time, row.len(), columns);
            row.for_each(|column, value| {
                if into.get(column).is_none() {
                    into.set(column, value, columns);
                }
            });
        }
        if let Some(older) = &older.extras {
            let mut both = Extras::clone(older);
            if let Some(newer) = &self.extras {
                both.histograms.extend(newer.histograms.iter().cloned());
                both.starts.extend(newer.starts.iter().copied());
            }
            both.changed();
            self.extras = Some(Arc::new(both));
        }
    }

    /// Takes samples out again: floats and histograms `(column, time)`, start timestamps `(column, time)`.
    pub(crate) fn remove(&mut self, floats: &[(u32, i64)], histograms: &[(u32, i64)], starts: &[(u32, i64)]) {
        for &(column, time) in floats {
            if let Ok(at) = self.rows.binary_search_by_key(&time, |row| row.time) {
                Arc::make_mut(&mut self.rows[at]).unset(column);
            }
        }
        self.rows.retain(|row| row.len() > 0);
        if let Some(extras) = self.extras.as_mut().filter(|_| !histograms.is_empty() || !starts.is_empty()) {
            let extras = Arc::make_mut(extras);
            extras.changed();
            let mut wanted = counts(histograms);
            retain_from_back(&mut extras.histograms, |(column, time, _)| wanted.take((*column, *time)));
            let mut wanted = counts(starts);
            retain_from_back(&mut extras.starts, |(column, time, _)| wanted.take((*column, *time)));
            if extras.histograms.is_empty() && extras.starts.is_empty() {
                self.extras = None;
            }
        }
    }

    /// The newest sample of a column: its time, and its value if it is a float.
    pub(crate) fn newest(&self, column: u32) -> Option<(i64, Option<f64>)> {
        let float = self.rows.iter().rev().find_map(|row| Some((row.time, Some(row.get(column)?))));
        let histograms = self.extras.iter().flat_map(|extras| &extras.histograms);
        let histogram = histograms.filter(|(c, ..)| *c == column).map(|(_, time, _)| (*time, None));
        histogram.chain(float).max_by_key(|(time, _)| *time)
    }

    fn float_at(&self, column: u32, time: i64) -> Option<f64> {
        let at = self.rows.binary_search_by_key(&time, |row| row.time).ok()?;
        self.rows[at].get(column)
    }

    fn histogram_at(&self, column: u32, time: i64) -> Option<&Arc<Histogram>> {
        let extras = self.extras.as_ref()?;
        extras.histograms.iter().rev().find(|(c, t, _)| *c == column && *t == time).map(|(_, _, h)| h)
    }
}

/// How many of each are still to be taken.
struct Wanted(hashbrown::HashMap<(u32, i64), usize>);

impl Wanted {
    fn take(&mut self, place: (u32, i64)) -> bool {
        self.0.get_mut(&place).is_some_and(|left| {
            let take = *left > 0;
            *left -= usize::from(take);
            take
        })
    }
}

fn counts(places: &[(u32, i64)]) -> Wanted {
    let mut wanted = Wanted(hashbrown::HashMap::new());
    for place in places {
        *wanted.0.entry(*place).or_default() += 1;
    }
    wanted
}

/// Drops what `gone` says, asking for the newest first.
fn retain_from_back<T>(list: &mut Vec<T>, mut gone: impl FnMut(&T) -> bool) {
    list.reverse();
    list.retain(|item| !gone(item));
    list.reverse();
}

/// What became of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    /// Newer than all of its series.
    InOrder,
    /// Older than the newest of its series.
    OutOfOrder,
    /// Already there with the same value.
    Same,
    /// Already there with another value.
    Conflict,
}

/// Columns and samples of a group.
#[derive(Debug, Default)]
pub(crate) struct GroupState {
    /// By column: the series' number in the index, [`GONE`] when it was dropped.
    pub(crate) series: Vec<u32>,
    /// By column: the time of the newest sample, `i64::MIN` before the first.
    pub(crate) last_time: Vec<i64>,
    /// By column: the newest float.
    pub(crate) last_value: Vec<f64>,
    /// By column: whether `last_value` was logged in `epoch`.
    logged: Vec<u64>,
    epoch: u32,
    pub(crate) rows: Rows,
    /// Taken out of `rows` by a seal that is not on disk yet.
    pub(crate) sealing: Option<Arc<Rows>>,
    /// On disk, oldest seal first; shared with readers.
    pub(crate) chunks: Arc<Vec<Chunk>>,
}

/// A column whose series was dropped.
pub(crate) const GONE: u32 = u32::MAX;

impl GroupState {
    /// Adds a column.
    pub(crate) fn add_column(&mut self, series: u32) -> u32 {
        self.series.push(series);
        self.last_time.push(i64::MIN);
        self.last_value.push(0.0);
        if self.series.len() > self.logged.len() * 64 {
            self.logged.push(0);
        }
        (self.series.len() - 1) as u32
    }

    /// Makes sure that no new series gets `column`: stored samples name it.
    #[inline]
    pub(crate) fn never_use(&mut self, column: u32) {
        while self.series.len() <= column as usize {
            self.add_column(GONE);
        }
    }

    /// Starts a new epoch of the log when it has one: no base is known in it.
    pub(crate) fn enter_epoch(&mut self, epoch: u32) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.logged.fill(0);
        }
    }

    /// The base of the next value of `column` in the log.
    #[inline]
    pub(crate) fn base(&self, column: u32) -> f64 {
        let at = column as usize;
        if self.logged[at / 64] >> (at % 64) & 1 == 1 { self.last_value[at] } else { 0.0 }
    }

    /// Says that the newest value of `column` is in the log.
    #[inline]
    pub(crate) fn set_logged(&mut self, column: u32) {
        self.logged[column as usize / 64] |= 1 << (column % 64);
    }

    /// Puts samples `(column, value, _)` of one time into their row where that is newer than all of their series, and gives them
    /// to the log; the places of the others go to `slow`.
    pub(crate) fn put_newest(
        &mut self,
        time: i64,
        samples: &[(u32, f64, u32)],
        expected: usize,
        logged: &mut Vec<LogFloat>,
        slow: &mut Vec<u32>,
    ) {
        let columns = self.series.len();
        let mut row: Option<&mut Row> = None;
        let mut rows = Some(&mut self.rows);
        for (at, &(column, value, _)) in samples.iter().enumerate() {
            let place = column as usize;
            if time <= self.last_time[place] || self.series[place] == GONE {
                slow.push(at as u32);
                continue;
            }
            if let Some(rows) = rows.take() {
                row = Some(rows.at(time, expected, columns));
            }
            if let Some(row) = &mut row {
                row.set(column, value, columns);
            }
            let (word, bit) = (place / 64, 1u64 << (place % 64));
            let base = if self.logged[word] & bit == 0 { 0.0 } else { self.last_value[place] };
            self.logged[word] |= bit;
            self.last_time[place] = time;
            self.last_value[place] = value;
            logged.push(LogFloat { column, time, value, base });
        }
    }

    /// Puts samples `(column, time, value)` of one time, as the log has them, in their places; how many have no series.
    pub(crate) fn put_replayed(&mut self, samples: &[(u32, i64, f64)]) -> usize {
        let last = samples.iter().map(|(column, ..)| *column).max();
        last.into_iter().for_each(|column| self.never_use(column));
        let columns = self.series.len();
        let mut orphans = 0;
        let mut slow = Vec::new();
        let mut row: Option<&mut Row> = None;
        let mut rows = Some(&mut self.rows);
        for &sample in samples {
            let (column, time, value) = sample;
            let at = column as usize;
            if self.series[at] == GONE {
                orphans += 1;
            } else if time > self.last_time[at] {
                // Found once for all of them.
                if let Some(rows) = rows.take() {
                    row = Some(rows.at(time, samples.len(), columns));
                }
                if let Some(row) = &mut row {
                    row.set(column, value, columns);
                }
                self.last_time[at] = time;
                self.last_value[at] = value;
            } else {
                slow.push(sample);
            }
        }
        for (column, time, value) in slow {
            self.put_float(column, time, value, 1);
        }
        orphans
    }

    /// Puts a float sample in its place.
    #[inline]
    pub(crate) fn put_float(&mut self, column: u32, time: i64, value: f64, expected: usize) -> Placed {
        let at = column as usize;
        let last = self.last_time[at];
        let columns = self.series.len();
        if time > last {
            self.rows.at(time, expected, columns).set(column, value, columns);
            self.last_time[at] = time;
            self.last_value[at] = value;
            return Placed::InOrder;
        }
        match self.find(column, time) {
            Some(Found::Float(old)) if old.to_bits() == value.to_bits() => Placed::Same,
            Some(_) => Placed::Conflict,
            // Sealed since: sent again.
            None if time == last && self.last_value[at].to_bits() == value.to_bits() => Placed::Same,
            None => {
                self.rows.at(time, 1, columns).set(column, value, columns);
                Placed::OutOfOrder
            }
        }
    }

    /// Puts a histogram sample in its place.
    pub(crate) fn put_histogram(&mut self, column: u32, time: i64, histogram: &Arc<Histogram>) -> Placed {
        let last = self.last_time[column as usize];
        if time <= last {
            match self.find(column, time) {
                Some(Found::Histogram(old)) if same_bits(old, histogram) => return Placed::Same,
                Some(_) => return Placed::Conflict,
                None => {}
            }
        }
        let extras = Arc::make_mut(self.rows.extras.get_or_insert_default());
        extras.changed();
        extras.histograms.push((column, time, Arc::clone(histogram)));
        if time > last {
            self.last_time[column as usize] = time;
            Placed::InOrder
        } else {
            Placed::OutOfOrder
        }
    }

    /// Keeps a start timestamp.
    pub(crate) fn put_start(&mut self, column: u32, time: i64, start: i64) {
        let extras = Arc::make_mut(self.rows.extras.get_or_insert_default());
        extras.changed();
        extras.starts.push((column, time, start));
    }

    /// The sample of `column` at `time` among those in memory.
    fn find(&self, column: u32, time: i64) -> Option<Found<'_>> {
        for rows in std::iter::once(&self.rows).chain(self.sealing.as_deref()) {
            if let Some(value) = rows.float_at(column, time) {
                return Some(Found::Float(value));
            }
            if let Some(histogram) = rows.histogram_at(column, time) {
                return Some(Found::Histogram(histogram));
            }
        }
        None
    }

    /// Memory in bytes: columns and bookkeeping, rows.
    pub(crate) fn bytes(&self) -> (usize, usize) {
        let columns = self.series.capacity() * 4
            + self.last_time.capacity() * 8
            + self.last_value.capacity() * 8
            + self.logged.capacity() * 8
            + self.chunks.capacity() * size_of::<Chunk>()
            + size_of::<Group>();
        (columns, self.rows.bytes() + self.sealing.as_ref().map_or(0, |rows| rows.bytes()))
    }
}

/// Mixes a source of samples into a `times_id`.
#[inline]
pub(crate) fn mix(id: u64, source: u64) -> u64 {
    ((id ^ source).wrapping_mul(0x9e37_79b9_7f4a_7c15)).rotate_left(29) | 1
}

enum Found<'a> {
    Float(f64),
    Histogram(&'a Arc<Histogram>),
}

/// Equality where a NaN equals itself.
pub(crate) fn same_bits(a: &Histogram, b: &Histogram) -> bool {
    let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    a.schema == b.schema
        && a.is_float == b.is_float
        && a.reset_hint == b.reset_hint
        && a.positive_spans == b.positive_spans
        && a.negative_spans == b.negative_spans
        && [a.zero_threshold, a.zero_count, a.count, a.sum].map(f64::to_bits)
            == [b.zero_threshold, b.zero_count, b.count, b.sum].map(f64::to_bits)
        && bits(&a.positive) == bits(&b.positive)
        && bits(&a.negative) == bits(&b.negative)
        && bits(&a.custom_values) == bits(&b.custom_values)
}

/// A group. Its number is never used again, so a column of it names one series for ever.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) number: u64,
    /// Hash of the target whose series it holds.
    pub(crate) target: u64,
    pub(crate) state: Mutex<GroupState>,
}

impl Group {
    pub(crate) fn new(number: u64, target: u64) -> Arc<Self> {
        Arc::new(Self { number, target, state: Mutex::default() })
    }
}
