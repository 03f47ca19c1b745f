//! Classic histograms of a body, put together to native histograms with custom buckets (`convert_classic_histograms_to_nhcb`).
//!
//! A line that belongs to a histogram is a [`Part`]; parts with the same labels but `le` make a group, and a group makes one
//! sample when the body has been read. A part is named by a tag of its own, so that a line that stands where it stood costs no
//! label work. Source: the Prometheus native histogram specification, "Native histograms with custom buckets".

use std::collections::HashMap;

use model::histogram::{CUSTOM_SCHEMA, Span};
use model::{Exemplar, Histogram};
use xxhash_rust::xxh3::Xxh3DefaultBuilder;

/// Tags from here on are parts.
pub(super) const FIRST_TAG: u32 = 1 << 30;

/// What a line says about its histogram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum What {
    /// Observations up to a bound.
    Bucket(f64),
    Sum,
    Count,
}

/// The name of the histogram that a series belongs to, and what the series says about it.
pub(super) fn belongs_to<'n>(name: &'n str, bound: Option<&str>) -> Option<(&'n str, What)> {
    if let Some(base) = name.strip_suffix("_bucket") {
        return Some((base, What::Bucket(bound?.parse().ok()?)));
    }
    let sum = name.strip_suffix("_sum").map(|base| (base, What::Sum));
    sum.or_else(|| name.strip_suffix("_count").map(|base| (base, What::Count)))
        .filter(|(base, _)| bound.is_none() && !base.is_empty())
}

/// One line of a histogram.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) group: u32,
    pub(super) what: What,
    /// The classic series, when it is stored too or might have to be: its entry and labels.
    pub(super) classic: Option<(u32, Box<[u8]>)>,
    pub(super) seen: u32,
}

/// The parts of one histogram in one body.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    hash: u64,
    /// The native series: its entry and labels; `None` when relabelling drops it.
    pub(super) native: Option<(u32, Box<[u8]>)>,
    pub(super) seen: u32,
    pub(super) buckets: Vec<(f64, f64)>,
    pub(super) sum: Option<f64>,
    pub(super) count: Option<f64>,
    pub(super) time: Option<i64>,
    pub(super) start: Option<i64>,
    pub(super) exemplars: Vec<Exemplar>,
    /// Classic series that are stored after all when the group turns out to be none: entry, labels, value.
    pub(super) held: Vec<(u32, Box<[u8]>, f64)>,
}

/// All histograms of a target.
#[derive(Debug, Default)]
pub(super) struct Groups {
    pub(super) parts: Vec<Part>,
    free_parts: Vec<u32>,
    pub(super) groups: Vec<Group>,
    free_groups: Vec<u32>,
    by_hash: HashMap<u64, u32, Xxh3DefaultBuilder>,
}

impl Groups {
    /// The group with this hash of its labels.
    pub(super) fn find(&self, hash: u64) -> Option<u32> {
        self.by_hash.get(&hash).copied()
    }

    pub(super) fn add_group(&mut self, hash: u64, native: Option<(u32, Box<[u8]>)>) -> u32 {
        let group = Group { hash, native, ..Group::default() };
        let at = put(&mut self.groups, &mut self.free_groups, group);
        self.by_hash.insert(hash, at);
        at
    }

    /// Adds a part; its tag.
    pub(super) fn add_part(&mut self, part: Part) -> u32 {
        FIRST_TAG + put(&mut self.parts, &mut self.free_parts, part)
    }

    /// Forgets what the body of this generation did not have.
    pub(super) fn prune(&mut self, generation: u32) {
        for (at, part) in self.parts.iter_mut().enumerate() {
            // 0 is free already.
            if part.seen != generation && part.seen != 0 {
                part.seen = 0;
                part.classic = None;
                self.free_parts.push(at as u32);
            }
        }
        for (at, group) in self.groups.iter_mut().enumerate() {
            if group.seen != generation && group.seen != 0 {
                self.by_hash.remove(&group.hash);
                *group = Group::default();
                self.free_groups.push(at as u32);
            }
        }
    }
}

fn put<T>(list: &mut Vec<T>, free: &mut Vec<u32>, value: T) -> u32 {
    match free.pop() {
        Some(at) => {
            list[at as usize] = value;
            at
        }
        None => {
            list.push(value);
            (list.len() - 1) as u32
        }
    }
}

impl Group {
    /// Starts a body.
    pub(super) fn begin(&mut self, generation: u32) {
        if self.seen != generation {
            self.seen = generation;
            self.buckets.clear();
            self.exemplars.clear();
            self.held.clear();
            (self.sum, self.count, self.time, self.start) = (None, None, None, None);
        }
    }

    /// The histogram; `None` when the parts contradict each other.
    pub(super) fn build(&mut self) -> Option<Histogram> {
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.buckets.dedup_by(|later, first| later.0 == first.0);
        let last = *self.buckets.last()?;
        let count = self.count.unwrap_or(last.1);
        if last.0 == f64::INFINITY {
            if last.1 != count {
                return None;
            }
        } else {
            self.buckets.push((f64::INFINITY, count));
        }
        let integer = |value: f64| value.fract() == 0.0 && value.is_finite();
        let mut histogram = Histogram {
            schema: CUSTOM_SCHEMA,
            is_float: !self.buckets.iter().all(|(_, count)| integer(*count)),
            count,
            sum: self.sum.unwrap_or(0.0),
            ..Histogram::default()
        };
        let (mut before, mut next) = (0.0, 0usize);
        for (index, (bound, cumulative)) in self.buckets.iter().enumerate() {
            if bound.is_finite() {
                histogram.custom_values.push(*bound);
            }
            let own = cumulative - before;
            if own.is_nan() || own < 0.0 {
                return None;
            }
            before = *cumulative;
            // Empty buckets are left out: a gap between spans.
            if own == 0.0 {
                continue;
            }
            match histogram.positive_spans.last_mut() {
                Some(span) if index == next => span.length += 1,
                _ => histogram.positive_spans.push(Span { offset: (index - next) as i32, length: 1 }),
            }
            next = index + 1;
            histogram.positive.push(own);
        }
        histogram.validate().ok()?;
        Some(histogram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn build(buckets: &[(f64, f64)], count: Option<f64>) -> Option<Histogram> {
        Group { buckets: buckets.to_vec(), count, sum: Some(9.5), ..Group::default() }.build()
    }

    #[test]
    fn cumulative_buckets_become_spans() {
        let h = build(&[(5.0, 7.0), (1.0, 2.0), (2.0, 2.0), (f64::INFINITY, 9.0)], Some(9.0)).unwrap();
        assert_eq!(h.custom_values, [1.0, 2.0, 5.0]);
        assert_eq!(h.positive, [2.0, 5.0, 2.0]);
        assert_eq!(h.positive_spans, [Span { offset: 0, length: 1 }, Span { offset: 1, length: 2 }]);
        assert_eq!((h.count, h.sum, h.is_float), (9.0, 9.5, false));
        let open = build(&[(1.0, 2.0)], Some(3.5)).unwrap();
        assert_eq!((open.positive, open.is_float), (vec![2.0, 1.5], true));
    }

    #[test]
    fn contradictions_make_no_histogram() {
        assert!(build(&[], Some(3.0)).is_none());
        assert!(build(&[(1.0, 3.0), (2.0, 2.0)], None).is_none());
        assert!(build(&[(1.0, 1.0), (f64::INFINITY, 2.0)], Some(3.0)).is_none());
    }

    #[test]
    fn names() {
        assert_eq!(belongs_to("a_bucket", Some("0.5")), Some(("a", What::Bucket(0.5))));
        assert_eq!(belongs_to("a_bucket", Some("+Inf")), Some(("a", What::Bucket(f64::INFINITY))));
        assert_eq!(belongs_to("a_count", None), Some(("a", What::Count)));
        assert_eq!(belongs_to("a_bucket", None), None);
        assert_eq!(belongs_to("_sum", None), None);
    }
}
