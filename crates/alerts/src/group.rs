//! One group of alerts as a state machine: events in, effects out, no clock and no I/O.
//!
//! A new group waits `group_wait` before its first flush, or flushes at once when an alert has been firing for longer
//! than that; from then on it flushes every `group_interval`. One flush at a time: a timer that passes while one is on
//! its way starts the next as soon as that ends. A flush of more alerts than a notification lists waits for as long as
//! the group grows, within a bound ([`Digest`]). A flush hands out every alert of the group; resolved ones leave the
//! group when the flush succeeded and they have not changed meanwhile. Whether a flush becomes a notification is the
//! notification log's decision ([`crate::nflog`]).

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use model::{Alert, Labels, Timestamp};

use crate::route::RouteOptions;

/// A notification has at least so long, however short the group interval, in milliseconds.
pub const MIN_TIMEOUT_MS: i64 = 10_000;

/// A group grows when at least [`GROWTH_PERCENT`] of its alerts are new to it within so many milliseconds.
const GROWTH_WINDOW_MS: i64 = 5000;
/// See [`GROWTH_WINDOW_MS`].
const GROWTH_PERCENT: usize = 1;
/// So often a flush that waits looks whether the group still grows.
const GROWTH_LOOK_MS: i64 = 500;

/// When a flush waits for what still pours into its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    /// A notification lists so many alerts: a flush of no more of them never waits.
    pub listed: usize,
    /// The longest wait, in milliseconds.
    pub wait_ms: i64,
}

/// What happens to a group.
#[derive(Clone, Debug)]
pub enum Event {
    /// An alert of the group is new or has changed.
    Insert(Arc<Alert>),
    /// Time has passed.
    Tick,
    /// The flush that was handed out has ended; whether every receiver has it.
    Flushed {
        /// Whether every receiver has it.
        ok: bool,
    },
}

/// What the group wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Send [`Event::Tick`] at this time.
    Wake(Timestamp),
    /// Send the alerts through the pipeline and answer with [`Event::Flushed`].
    Flush(Flush),
}

/// The alerts of a group at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Flush {
    /// Sorted by `job`, `instance`, then labels. A firing alert's `ends_at` is [`Timestamp::MAX`], so that it does not
    /// resolve on the way.
    pub alerts: Vec<Arc<Alert>>,
    /// The moment.
    pub now: Timestamp,
    /// Attempts end here.
    pub deadline: Timestamp,
}

/// A group.
#[derive(Clone, Debug)]
pub struct Group {
    /// What its alerts share.
    pub labels: Labels,
    /// Alertmanager's text for it: the route's key, a colon, the labels.
    pub key: String,
    /// The route's options.
    pub options: Arc<RouteOptions>,
    alerts: BTreeMap<u64, Arc<Alert>>,
    digest: Digest,
    /// How many alerts were new to the group, by when: those of [`GROWTH_WINDOW_MS`].
    arrivals: VecDeque<(Timestamp, usize)>,
    next_flush: Timestamp,
    /// When the flush that waits was due.
    waits_since: Option<Timestamp>,
    has_flushed: bool,
    /// Fingerprint and `updated_at` of the resolved alerts on their way.
    on_its_way: Option<Vec<(u64, Timestamp)>>,
}

impl Group {
    /// An empty group; it flushes `group_wait` after `now`.
    pub fn new(
        labels: Labels,
        route_key: &str,
        options: Arc<RouteOptions>,
        digest: Digest,
        now: Timestamp,
    ) -> Self {
        let key = format!("{route_key}:{labels}");
        let next_flush = now + options.group_wait.ms();
        Self {
            labels,
            key,
            options,
            alerts: BTreeMap::new(),
            digest,
            arrivals: VecDeque::new(),
            next_flush,
            waits_since: None,
            has_flushed: false,
            on_its_way: None,
        }
    }

    /// Whether it has no alerts and nothing on its way.
    pub fn is_empty(&self) -> bool {
        self.alerts.is_empty() && self.on_its_way.is_none()
    }

    /// Its alerts.
    pub fn alerts(&self) -> impl Iterator<Item = &Arc<Alert>> {
        self.alerts.values()
    }

    /// Whether it holds the alert of this fingerprint.
    pub fn contains(&self, fingerprint: u64) -> bool {
        self.alerts.contains_key(&fingerprint)
    }

    /// When it flushes next.
    pub fn next_flush(&self) -> Timestamp {
        self.next_flush
    }

    /// Takes an event in and says what to do.
    pub fn on(&mut self, event: Event, now: Timestamp) -> Vec<Effect> {
        match event {
            Event::Insert(alert) => {
                let overdue = alert.starts_at + self.options.group_wait.ms() < now;
                if self.alerts.insert(alert.labels.fingerprint(), alert).is_none() {
                    self.arrived(now);
                }
                if !self.has_flushed && overdue && self.next_flush > now && self.waits_since.is_none() {
                    self.next_flush = now;
                }
                vec![Effect::Wake(self.next_flush)]
            }
            Event::Tick => self.tick(now),
            Event::Flushed { ok } => {
                let resolved = self.on_its_way.take().unwrap_or_default();
                if ok {
                    for (fingerprint, updated_at) in resolved {
                        if self.alerts.get(&fingerprint).is_some_and(|alert| alert.updated_at == updated_at) {
                            self.alerts.remove(&fingerprint);
                        }
                    }
                }
                self.tick(now)
            }
        }
    }

    /// Counts an alert that is new to the group.
    fn arrived(&mut self, now: Timestamp) {
        match self.arrivals.back_mut() {
            Some((at, count)) if now - *at < GROWTH_LOOK_MS => *count += 1,
            _ => self.arrivals.push_back((now, 1)),
        }
        while self.arrivals.front().is_some_and(|(at, _)| now - *at > GROWTH_WINDOW_MS) {
            self.arrivals.pop_front();
        }
    }

    /// Whether a notification now would list a part of the alerts while more of them pour in.
    fn grows(&self, now: Timestamp) -> bool {
        let recent = self.arrivals.iter().filter(|(at, _)| now - *at <= GROWTH_WINDOW_MS);
        let new: usize = recent.map(|(_, count)| count).sum();
        self.alerts.len() > self.digest.listed && new * 100 >= self.alerts.len() * GROWTH_PERCENT
    }

    fn tick(&mut self, now: Timestamp) -> Vec<Effect> {
        if self.on_its_way.is_some() {
            return vec![];
        }
        if now < self.next_flush {
            return vec![Effect::Wake(self.next_flush)];
        }
        let latest = self.waits_since.unwrap_or(self.next_flush) + self.digest.wait_ms;
        if now < latest && self.grows(now) {
            self.waits_since.get_or_insert(self.next_flush);
            self.next_flush = latest.min(now + GROWTH_LOOK_MS);
            return vec![Effect::Wake(self.next_flush)];
        }
        self.waits_since = None;
        let interval = self.options.group_interval.ms();
        // After a pause of the machine the beat starts anew instead of catching up.
        self.next_flush = now + interval;
        self.has_flushed = true;
        let wake = Effect::Wake(self.next_flush);
        if self.alerts.is_empty() {
            return vec![wake];
        }
        let mut resolved = Vec::new();
        let mut alerts = Vec::with_capacity(self.alerts.len());
        for (fingerprint, alert) in &self.alerts {
            if alert.is_resolved(now) {
                resolved.push((*fingerprint, alert.updated_at));
                alerts.push(alert.clone());
            } else {
                alerts.push(Arc::new(Alert { ends_at: Timestamp::MAX, ..Alert::clone(alert) }));
            }
        }
        let alerts = in_order(alerts, |alert| alert);
        self.on_its_way = Some(resolved);
        let deadline = now + interval.max(MIN_TIMEOUT_MS);
        vec![Effect::Flush(Flush { alerts, now, deadline }), wake]
    }
}

/// A notification's alerts in their order: by `job`, then `instance` (alerts without one come after those with), then
/// [`before`]. The two labels are looked up once for each alert.
pub(crate) fn in_order<T>(items: Vec<T>, alert: impl Fn(&T) -> &Alert) -> Vec<T> {
    fn value<'a>(labels: &'a Labels, name: &str) -> (bool, &'a str) {
        labels.get(name).map_or((true, ""), |value| (false, value))
    }
    let held: Vec<Labels> = items.iter().map(|item| alert(item).labels.clone()).collect();
    let keyed = held.iter().enumerate();
    let mut keyed: Vec<_> = keyed
        .map(|(place, labels)| ([value(labels, "job"), value(labels, "instance")], labels, place))
        .collect();
    keyed.sort_by(|(a, a_labels, _), (b, b_labels, _)| a.cmp(b).then_with(|| before(a_labels, b_labels)));
    let mut slots: Vec<Option<T>> = items.into_iter().map(Some).collect();
    keyed.into_iter().filter_map(|(_, _, place)| slots.get_mut(place)?.take()).collect()
}

/// Alertmanager's order of label sets: shorter first; at the first name that only one of two has, the one without it; at
/// the first value that differs, the smaller.
pub(crate) fn before(a: &Labels, b: &Labels) -> Ordering {
    let pairs = || a.iter().zip(b.iter());
    let differing = pairs().map(|((an, av), (bn, bv))| bn.cmp(an).then_with(|| av.cmp(bv)));
    a.len().cmp(&b.len()).then_with(|| differing.fold(Ordering::Equal, Ordering::then))
}

#[cfg(test)]
mod tests {
    use model::duration::PromDuration;
    use proptest::prelude::*;

    use super::*;

    fn options(wait: i64, interval: i64) -> Arc<RouteOptions> {
        Arc::new(RouteOptions {
            group_wait: PromDuration(wait),
            group_interval: PromDuration(interval),
            ..RouteOptions::default()
        })
    }

    fn alert(name: u64, starts: i64, ends: i64, updated: i64) -> Arc<Alert> {
        Arc::new(Alert {
            labels: Labels::from_pairs([("a", name.to_string())]),
            annotations: Labels::empty(),
            starts_at: Timestamp(starts),
            ends_at: Timestamp(ends),
            updated_at: Timestamp(updated),
            generator_url: String::new(),
        })
    }

    const DIGEST: Digest = Digest { listed: 500, wait_ms: 60_000 };

    fn flush(effects: &[Effect]) -> Option<&Flush> {
        effects.iter().find_map(|effect| match effect {
            Effect::Flush(flush) => Some(flush),
            Effect::Wake(_) => None,
        })
    }

    #[test]
    fn label_sets_are_in_alertmanagers_order() {
        let set = |text: &str| Labels::from_pairs(text.split(' ').map(|pair| pair.split_once('=').unwrap()));
        for (first, second) in [("a=9", "a=1 b=1"), ("a=1 rack=1", "a=1 i=2"), ("a=1 b=2", "a=2 b=1")] {
            assert_eq!(before(&set(first), &set(second)), Ordering::Less, "{first} {second}");
            assert_eq!(before(&set(second), &set(first)), Ordering::Greater);
        }
    }

    #[test]
    fn waits_then_beats() {
        let mut group = Group::new(Labels::empty(), "{}", options(30, 100), DIGEST, Timestamp(0));
        assert_eq!(group.key, "{}:{}");
        assert_eq!(group.on(Event::Insert(alert(1, 0, 999, 0)), Timestamp(0)), [Effect::Wake(Timestamp(30))]);
        assert_eq!(flush(&group.on(Event::Tick, Timestamp(29))), None);
        let effects = group.on(Event::Tick, Timestamp(30));
        assert_eq!(flush(&effects).unwrap().deadline, Timestamp(30 + MIN_TIMEOUT_MS));
        assert_eq!(group.next_flush(), Timestamp(130));
        // A timer that passes during a flush starts the next one right after it.
        assert_eq!(group.on(Event::Tick, Timestamp(130)), []);
        let next = group.on(Event::Flushed { ok: true }, Timestamp(150));
        assert_eq!(flush(&next).unwrap().now, Timestamp(150));
    }

    #[test]
    fn an_old_alert_does_not_wait() {
        let mut group = Group::new(Labels::empty(), "{}", options(30, 100), DIGEST, Timestamp(1000));
        let effects = group.on(Event::Insert(alert(1, 900, 9999, 1000)), Timestamp(1000));
        assert_eq!(effects, [Effect::Wake(Timestamp(1000))]);
    }

    #[test]
    fn the_resolved_stay_until_a_flush_has_told_it() {
        let mut group = Group::new(Labels::empty(), "{}", options(0, 100), DIGEST, Timestamp(0));
        group.on(Event::Insert(alert(1, 0, 5, 1)), Timestamp(0));
        let told = group.on(Event::Tick, Timestamp(10));
        assert_eq!(flush(&told).unwrap().alerts[0].ends_at, Timestamp(5));
        group.on(Event::Flushed { ok: false }, Timestamp(11));
        assert!(!group.is_empty());
        group.on(Event::Tick, Timestamp(110));
        // It fires again while the flush is on its way: it must not be lost.
        group.on(Event::Insert(alert(1, 111, 999, 111)), Timestamp(111));
        group.on(Event::Flushed { ok: true }, Timestamp(112));
        assert!(!group.is_empty());
    }

    /// Alerts of a storm come 100 at a time, 100 ms apart, as many as are given; answers when it flushed, and with how many.
    fn storm(digest: Digest, wait: i64, arrivals: usize) -> (i64, usize) {
        let mut group = Group::new(Labels::empty(), "{}", options(wait, 300_000), digest, Timestamp(0));
        for beat in 0.. {
            let now = Timestamp(beat * 100);
            for n in 0..100 {
                let n = beat as u64 * 100 + n;
                if n < arrivals as u64 {
                    group.on(Event::Insert(alert(n, now.ms(), 999_999, now.ms())), now);
                }
            }
            if let Some(flush) = flush(&group.on(Event::Tick, now)) {
                return (now.ms(), flush.alerts.len());
            }
        }
        unreachable!("a group flushes");
    }

    #[test]
    fn a_digest_waits_while_the_group_grows() {
        // As many as a notification lists: Alertmanager's timing, whatever comes.
        assert_eq!(storm(Digest { listed: 10_000, ..DIGEST }, 1000, 5000), (1000, 1100));
        // They come for five seconds, longer than the group waits; five seconds later nothing is new.
        let (at, count) = storm(DIGEST, 1000, 5000);
        assert_eq!(count, 5000);
        assert!((9000..11_000).contains(&at), "{at}");
        // It has been calm for long when the wait is over.
        assert_eq!(storm(DIGEST, 30_000, 5000), (30_000, 5000));
        // The bound holds, and can be nothing.
        let (at, count) = storm(Digest { wait_ms: 2000, ..DIGEST }, 1000, 1_000_000);
        assert_eq!((at, count), (3000, 3100));
        assert_eq!(storm(Digest { wait_ms: 0, ..DIGEST }, 1000, 5000), (1000, 1100));
    }

    #[test]
    fn a_trickle_keeps_no_digest_waiting() {
        let mut group = Group::new(Labels::empty(), "{}", options(1000, 300_000), DIGEST, Timestamp(0));
        for n in 0..1000 {
            group.on(Event::Insert(alert(n, 0, 999_999, 0)), Timestamp(0));
        }
        // One alert a second is less than a hundredth in five.
        for second in 1..=5 {
            let now = Timestamp(second * 1000);
            group.on(Event::Insert(alert(1000 + second as u64, now.ms(), 999_999, now.ms())), now);
            assert_eq!(flush(&group.on(Event::Tick, now)), None, "the thousand are new");
        }
        assert_eq!(flush(&group.on(Event::Tick, Timestamp(5500))).unwrap().alerts.len(), 1005);
    }

    proptest! {
        /// Whatever happens: one flush at a time; the first not before the wait is over (unless an alert is older than
        /// it), later ones not closer than the interval; no alert leaves before a successful flush had it as resolved;
        /// every flush has all alerts of the group.
        #[test]
        fn flushes_keep_their_distance_and_lose_nothing(
            steps in prop::collection::vec((0u8..4, 0u64..4, 0i64..60, -20i64..80, any::<bool>()), 1..60)
        ) {
            let (wait, interval) = (30, 50);
            let mut group = Group::new(Labels::empty(), "{}", options(wait, interval), DIGEST, Timestamp(0));
            let mut held: BTreeMap<u64, Arc<Alert>> = BTreeMap::new();
            let (mut now, mut on_its_way, mut last_start) = (Timestamp(0), None::<Flush>, None::<Timestamp>);
            for (what, name, pass, life, ok) in steps {
                now = now + pass;
                let event = match what {
                    0 | 1 => {
                        let one = alert(name, now.ms(), now.ms() + life.max(0), now.ms());
                        held.insert(one.labels.fingerprint(), one.clone());
                        Event::Insert(one)
                    }
                    2 if on_its_way.is_some() => {
                        let flush = on_its_way.take().unwrap();
                        if ok {
                            for told in flush.alerts.iter().filter(|alert| alert.is_resolved(flush.now)) {
                                let fingerprint = told.labels.fingerprint();
                                if held.get(&fingerprint).is_some_and(|alert| alert.updated_at == told.updated_at) {
                                    held.remove(&fingerprint);
                                }
                            }
                        }
                        Event::Flushed { ok }
                    }
                    _ => Event::Tick,
                };
                let effects = group.on(event, now);
                if let Some(flush) = flush(&effects) {
                    prop_assert!(on_its_way.is_none(), "two flushes at once");
                    match last_start {
                        None => prop_assert!(now.ms() >= wait),
                        Some(last) => prop_assert!(now - last >= interval),
                    }
                    last_start = Some(now);
                    let told: Vec<u64> = flush.alerts.iter().map(|alert| alert.labels.fingerprint()).collect();
                    let mut wanted: Vec<u64> = held.keys().copied().collect();
                    let mut sorted = told.clone();
                    sorted.sort_unstable();
                    wanted.sort_unstable();
                    prop_assert_eq!(sorted, wanted);
                    on_its_way = Some(flush.clone());
                } else if group.next_flush() <= now && on_its_way.is_none() && !held.is_empty() {
                    prop_assert!(!matches!(what, 3), "a tick that was due did not flush");
                }
                let mut kept: Vec<u64> = group.alerts().map(|alert| alert.labels.fingerprint()).collect();
                kept.sort_unstable();
                prop_assert_eq!(kept, held.keys().copied().collect::<Vec<_>>());
            }
        }
    }
}
