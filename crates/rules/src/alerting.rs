//! The life of alerts: inactive, pending, firing, and resolved for a while.
//!
//! [`Active::step`] is the state machine; it knows no clock and does no I/O.
//!
//! Source: the Prometheus manual, "Alerting rules"; resolved retention, resend delay and validity as in Prometheus.

use std::collections::HashMap;

use model::labels::METRIC_NAME;
use model::{Alert, Labels, Timestamp};

use crate::rule::Alerting;

/// How long a resolved alert is kept, so that the alert manager hears of it even when it is down for a while.
const RESOLVED_RETENTION_MS: i64 = 15 * 60_000;

/// Where an alert stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    /// The condition does not hold; kept to be sent as resolved.
    Inactive,
    /// The condition holds, but not for long enough yet.
    Pending,
    /// People are told.
    Firing,
}

/// One alert of a rule.
#[derive(Clone, Debug)]
pub struct ActiveAlert {
    /// Where it stands.
    pub state: AlertState,
    /// Expanded labels, with `alertname`.
    pub labels: Labels,
    /// Expanded annotations.
    pub annotations: Labels,
    /// The expression's last value.
    pub value: f64,
    /// Since when the condition holds.
    pub active_at: Timestamp,
    /// When it began to fire.
    pub fired_at: Option<Timestamp>,
    /// When it was resolved.
    pub resolved_at: Option<Timestamp>,
    /// Since when it fires only because of `keep_firing_for`.
    pub keep_firing_since: Option<Timestamp>,
    /// When the alert manager last took it.
    pub last_sent_at: Option<Timestamp>,
    /// The names of its series, `ALERTS` and `ALERTS_FOR_STATE`, once they are needed; the first goes with the state.
    names: Option<[Labels; 2]>,
}

/// What an evaluation found for one label set.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) labels: Labels,
    pub(crate) annotations: Labels,
    pub(crate) value: f64,
}

/// An alert that fired before a restart.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// What the last evaluation that found it made of it.
    pub(crate) found: Found,
    /// Since when its condition held.
    pub(crate) active_at: Timestamp,
    /// When it began to fire.
    pub(crate) fired_at: Timestamp,
    /// Since when it fires only because of `keep_firing_for`, as if there had been no outage.
    pub(crate) keep_firing_since: Option<Timestamp>,
}

/// All alerts of one rule.
#[derive(Clone, Debug, Default)]
pub(crate) struct Active {
    alerts: HashMap<Labels, ActiveAlert>,
    /// Whether the state from before a restart has been read. Until then nothing is written, so that it is not
    /// overwritten.
    pub(crate) restored: bool,
    /// What was active before a restart and has not been found again yet.
    remembered: Option<Remembered>,
}

/// What was active before a restart.
#[derive(Clone, Debug)]
struct Remembered {
    /// By the name of its `ALERTS_FOR_STATE`: when it was last written, and since when it said it was active (seconds).
    last: HashMap<Labels, (i64, f64)>,
    grace_ms: i64,
    /// Evaluations since the start.
    steps: u32,
}

/// An alert that comes back within so many evaluations after a restart goes on: by then targets have been scraped again
/// and recording rules have run.
pub(crate) const RESTORING_STEPS: u32 = 2;

impl Active {
    /// Takes the result of an evaluation at `now`. Answers how many alerts are pending or firing.
    ///
    /// # Errors
    /// Two results with the same labels, or more than `limit` alerts (0: no limit); then all alerts are forgotten, as in
    /// Prometheus.
    pub(crate) fn step(
        &mut self,
        rule: &Alerting,
        found: Vec<Found>,
        now: Timestamp,
        limit: usize,
    ) -> Result<usize, String> {
        let mut seen = std::collections::HashSet::with_capacity(found.len());
        for result in &found {
            if !seen.insert(result.labels.clone()) {
                return Err(
                    "vector contains metrics with the same labelset after applying alert labels".into()
                );
            }
        }
        for Found { labels, annotations, value } in found {
            match self.alerts.get_mut(&labels) {
                Some(alert) if alert.state != AlertState::Inactive => {
                    alert.value = value;
                    alert.annotations = annotations;
                }
                _ => {
                    let before = self.remembered.as_ref().and_then(|before| before.since(rule, &labels, now));
                    let alert = ActiveAlert {
                        state: AlertState::Pending,
                        labels: labels.clone(),
                        annotations,
                        value,
                        active_at: before.unwrap_or(now),
                        fired_at: None,
                        resolved_at: None,
                        keep_firing_since: None,
                        last_sent_at: None,
                        names: None,
                    };
                    self.alerts.insert(labels, alert);
                }
            }
        }
        let mut active = 0;
        self.alerts.retain(|labels, alert| {
            if seen.contains(labels) {
                alert.keep_firing_since = None;
            } else {
                let mut keep_firing = false;
                if alert.state == AlertState::Firing && rule.keep_firing_for_ms > 0 {
                    let since = *alert.keep_firing_since.get_or_insert(now);
                    keep_firing = now - since < rule.keep_firing_for_ms;
                }
                if !keep_firing {
                    let forget = alert.state == AlertState::Pending
                        || alert.resolved_at.is_some_and(|at| now - at > RESOLVED_RETENTION_MS);
                    if alert.state != AlertState::Inactive {
                        alert.state = AlertState::Inactive;
                        alert.resolved_at = Some(now);
                    }
                    return !forget;
                }
            }
            active += 1;
            if alert.state == AlertState::Pending && now - alert.active_at >= rule.hold_ms {
                alert.state = AlertState::Firing;
                alert.fired_at = Some(now);
                alert.names = None;
            }
            true
        });
        if let Some(remembered) = &mut self.remembered {
            remembered.steps += 1;
            if remembered.steps >= RESTORING_STEPS {
                self.remembered = None;
            }
        }
        if limit > 0 && active > limit {
            self.alerts.clear();
            return Err(format!("exceeded limit of {limit} with {active} alerts"));
        }
        Ok(active)
    }

    /// The series that tell of the pending and firing alerts: `ALERTS` and `ALERTS_FOR_STATE`.
    pub(crate) fn series(&mut self) -> impl Iterator<Item = (Labels, f64)> + '_ {
        let live = self.alerts.values_mut().filter(|alert| alert.state != AlertState::Inactive);
        live.flat_map(|alert| {
            let since = alert.active_at.ms().div_euclid(1000) as f64;
            let [alerts, for_state] = alert.names();
            [(alerts.clone(), 1.0), (for_state.clone(), since)]
        })
    }

    /// The alerts that must be sent at `now`: firing or resolved, new or not sent for `resend_ms`. They count as sent
    /// after [`Active::sent`].
    pub(crate) fn due(
        &self,
        now: Timestamp,
        resend_ms: i64,
        interval_ms: i64,
        generator_url: &str,
    ) -> Vec<Alert> {
        let due = self.alerts.values().filter(|alert| alert.needs_sending(now, resend_ms));
        due.map(|alert| Alert {
            labels: alert.labels.clone(),
            annotations: alert.annotations.clone(),
            starts_at: alert.fired_at.unwrap_or(alert.active_at),
            // Room for two failed evaluations or deliveries.
            ends_at: alert.resolved_at.unwrap_or(now + 4 * resend_ms.max(interval_ms)),
            updated_at: now,
            generator_url: generator_url.to_owned(),
        })
        .collect()
    }

    /// Notes that the alert manager has taken the alert with these labels.
    pub(crate) fn sent(&mut self, labels: &Labels, now: Timestamp) {
        if let Some(alert) = self.alerts.get_mut(labels) {
            alert.last_sent_at = Some(now);
        }
    }

    /// All alerts, those kept as resolved too, sorted by labels.
    pub(crate) fn sorted(&self) -> Vec<&ActiveAlert> {
        let mut alerts: Vec<_> = self.alerts.values().collect();
        alerts.sort_by(|a, b| a.labels.cmp(&b.labels));
        alerts
    }

    /// Pending and firing alerts.
    pub(crate) fn live(&self) -> impl Iterator<Item = &ActiveAlert> {
        self.alerts.values().filter(|alert| alert.state != AlertState::Inactive)
    }

    /// Takes up an alert that fired before a restart and whose condition may be over: it goes on without being found first.
    pub(crate) fn keep(&mut self, kept: Kept) {
        let Kept { found, active_at, fired_at, keep_firing_since } = kept;
        self.alerts.entry(found.labels.clone()).or_insert_with(|| ActiveAlert {
            state: AlertState::Firing,
            labels: found.labels,
            annotations: found.annotations,
            value: found.value,
            active_at,
            fired_at: Some(fired_at),
            resolved_at: None,
            keep_firing_since,
            last_sent_at: None,
            names: None,
        });
    }

    /// Learns what was active before a restart, by the name of its `ALERTS_FOR_STATE`; the next evaluations go on from there.
    pub(crate) fn remember(&mut self, last: HashMap<Labels, (i64, f64)>, grace_ms: i64) {
        self.remembered = Some(Remembered { last, grace_ms, steps: 0 });
        self.restored = true;
    }
}

impl Remembered {
    /// Since when an alert counts as active that is found at `now`; `None` for one that was not active before.
    fn since(&self, rule: &Alerting, labels: &Labels, now: Timestamp) -> Option<Timestamp> {
        let name = labels.to_builder().set(METRIC_NAME, "ALERTS_FOR_STATE").build();
        let &(down_at, since) = self.last.get(&name)?;
        restored_since(rule.hold_ms, Timestamp(down_at), since, &Restore { now, grace_ms: self.grace_ms })
    }
}

/// When state is restored.
#[derive(Clone, Copy, Debug)]
struct Restore {
    now: Timestamp,
    grace_ms: i64,
}

/// Since when an alert counts as active that was last seen at `down_at` and then had been active since `since` (seconds):
/// the outage does not count towards `for`, but at least the grace period passes before the alert fires. `None` when the
/// last sample says that it was not active.
fn restored_since(hold_ms: i64, down_at: Timestamp, since: f64, timing: &Restore) -> Option<Timestamp> {
    if since.is_nan() {
        return None;
    }
    let since = Timestamp((since as i64).saturating_mul(1000));
    let remaining = hold_ms - (down_at - since);
    // A shorter `for` starts anew. Prometheus then forgets alerts that were firing, too; here they go on.
    let grace_ms = timing.grace_ms.min(hold_ms);
    Some(if remaining <= 0 {
        // It was firing: it fires on.
        since
    } else if remaining < grace_ms {
        timing.now + grace_ms - hold_ms
    } else {
        since + (timing.now - down_at)
    })
}

impl ActiveAlert {
    fn names(&mut self) -> &[Labels; 2] {
        self.names.get_or_insert_with(|| {
            let mut builder = self.labels.to_builder();
            let for_state = builder.set(METRIC_NAME, "ALERTS_FOR_STATE").build();
            let state = match self.state {
                AlertState::Firing => "firing",
                _ => "pending",
            };
            [builder.set(METRIC_NAME, "ALERTS").set("alertstate", state).build(), for_state]
        })
    }

    fn needs_sending(&self, now: Timestamp, resend_ms: i64) -> bool {
        match (self.state, self.last_sent_at) {
            (AlertState::Pending, _) => false,
            (_, None) => true,
            (_, Some(sent)) => self.resolved_at.is_some_and(|at| at > sent) || sent + resend_ms < now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::Text;

    fn rule(hold_ms: i64, keep_firing_for_ms: i64) -> Alerting {
        let labels = vec![("severity".to_owned(), Text::parse("A", "page").unwrap())];
        Alerting { name: "A".into(), labels, annotations: vec![], hold_ms, keep_firing_for_ms }
    }

    fn found(instances: &[&str]) -> Vec<Found> {
        let labels = |i: &&str| Labels::from_pairs([("alertname", "A"), ("instance", *i)]);
        let found = |i| Found { labels: labels(i), annotations: Labels::empty(), value: 1.0 };
        instances.iter().map(found).collect()
    }

    /// Runs steps a minute apart and draws each instance's state: `p`, `F`, `i` (kept as resolved), `.` (unknown).
    fn draw(rule: &Alerting, steps: &[&[&str]]) -> String {
        let mut active = Active::default();
        let mut drawing = String::new();
        for (minute, instances) in steps.iter().enumerate() {
            active.step(rule, found(instances), Timestamp(minute as i64 * 60_000), 0).unwrap();
            drawing.push(match active.sorted().first().map(|a| a.state) {
                None => '.',
                Some(AlertState::Inactive) => 'i',
                Some(AlertState::Pending) => 'p',
                Some(AlertState::Firing) => 'F',
            });
        }
        drawing
    }

    #[test]
    fn pending_firing_resolved() {
        let (on, off): (&[&str], &[&str]) = (&["a"], &[]);
        assert_eq!(draw(&rule(0, 0), &[off, on, on, off]), ".FFi");
        assert_eq!(draw(&rule(120_000, 0), &[on, on, on, on, off, on]), "ppFFip");
        assert_eq!(draw(&rule(120_000, 0), &[on, on, off, on]), "pp.p");
        // `keep_firing_for` counts from the first evaluation without the condition, and starts anew when it returns.
        assert_eq!(draw(&rule(0, 120_000), &[on, off, off, off, off]), "FFFii");
        assert_eq!(draw(&rule(0, 120_000), &[on, off, on, off, off, off]), "FFFFFi");
        // Resolved alerts are kept for 15 minutes.
        let mut steps = vec![on];
        steps.extend([off; 18]);
        assert_eq!(draw(&rule(0, 0), &steps), format!("F{}..", "i".repeat(16)));
    }

    #[test]
    fn series_and_limits() {
        let rule = rule(60_000, 0);
        let mut active = Active::default();
        assert_eq!(active.step(&rule, found(&["a"]), Timestamp(5000), 1), Ok(1));
        let series: Vec<_> = active.series().map(|(labels, value)| (labels.to_string(), value)).collect();
        assert_eq!(
            series,
            [
                (r#"ALERTS{alertname="A", alertstate="pending", instance="a"}"#.to_owned(), 1.0),
                (r#"ALERTS_FOR_STATE{alertname="A", instance="a"}"#.to_owned(), 5.0)
            ]
        );
        assert!(
            active.step(&rule, found(&["a", "a"]), Timestamp(6000), 0).unwrap_err().contains("same labelset")
        );
        let err = active.step(&rule, found(&["a", "b"]), Timestamp(7000), 1).unwrap_err();
        assert_eq!(err, "exceeded limit of 1 with 2 alerts");
        assert_eq!(active.sorted().len(), 0);
    }

    #[test]
    fn sent_when_new_due_and_resolved() {
        let rule = rule(0, 0);
        let mut active = Active::default();
        let minute = |m: i64| Timestamp(m * 60_000);
        let send = |active: &mut Active, now: Timestamp| {
            let due = active.due(now, 60_000, 30_000, "");
            due.iter().for_each(|alert| active.sent(&alert.labels, now));
            due.first().map(|alert| (alert.starts_at.ms(), alert.ends_at.ms()))
        };
        active.step(&rule, found(&["a"]), minute(0), 0).unwrap();
        assert_eq!(send(&mut active, minute(0)), Some((0, 240_000)));
        assert_eq!(send(&mut active, minute(1)), None);
        assert_eq!(send(&mut active, Timestamp(60_001)), Some((0, 300_001)));
        active.step(&rule, vec![], minute(2), 0).unwrap();
        assert_eq!(send(&mut active, minute(2)), Some((0, 120_000)));
        assert_eq!(send(&mut active, minute(3)), None);
        assert_eq!(send(&mut active, minute(4)), Some((0, 120_000)));
    }

    #[test]
    fn what_was_active_goes_on_with_the_first_evaluation() {
        let name = |i: &str| {
            Labels::from_pairs([
                ("__name__", "ALERTS_FOR_STATE"),
                ("alertname", "A"),
                ("instance", i),
                ("severity", "page"),
            ])
        };
        let with_severity = |instances: &[&str]| {
            let mut found = found(instances);
            found
                .iter_mut()
                .for_each(|one| one.labels = one.labels.to_builder().set("severity", "page").build());
            found
        };
        let minute = |m: i64| Timestamp(m * 60_000);
        let rule = rule(10 * 60_000, 0);
        let mut active = Active::default();
        let stored = [("fired", 1), ("waits", 55), ("ended", 50), ("late", 1), ("later", 1)];
        let mut last: HashMap<Labels, (i64, f64)> =
            stored.iter().map(|(i, since)| (name(i), (minute(59).ms(), (since * 60) as f64))).collect();
        last.insert(name("ended"), (minute(59).ms(), f64::from_bits(model::STALE_NAN)));
        active.remember(last, 0);
        let mut states = |at: i64, instances: &[&str]| {
            active.step(&rule, with_severity(instances), minute(at), 0).unwrap();
            let shown = |alert: &&ActiveAlert| {
                (alert.labels.get("instance").unwrap().to_owned(), alert.state, alert.active_at.ms() / 60_000)
            };
            active.sorted().iter().map(shown).collect::<Vec<_>>()
        };
        use AlertState::{Firing, Pending};
        let first = states(60, &["fired", "waits", "ended", "new"]);
        let own = |i: &str, state, at| (i.to_owned(), state, at);
        let (fired, ended) = (own("fired", Firing, 1), own("ended", Pending, 60));
        let (waits, new) = (own("waits", Pending, 56), own("new", Pending, 60));
        assert_eq!(first, [ended, fired, new, waits]);
        let second = states(61, &["late"]);
        assert!(second.contains(&own("late", Firing, 1)), "{second:?}");
        let third = states(62, &["later"]);
        assert!(
            third.contains(&own("later", Pending, 62)),
            "after two evaluations it begins anew: {third:?}"
        );
    }

    #[test]
    fn restoring_after_an_outage() {
        let minutes = |m: i64| m * 60_000;
        let timing = Restore { now: Timestamp(minutes(100)), grace_ms: minutes(10) };
        let since = |hold: i64, down: i64, since: i64| {
            restored_since(minutes(hold), Timestamp(minutes(down)), (since * 60) as f64, &timing)
                .map(|at| at.ms() / 60_000)
        };
        // It was firing already.
        assert_eq!(since(30, 90, 50), Some(50));
        // Less than the grace period was left: it fires when the grace period has passed.
        assert_eq!(since(30, 90, 65), Some(80));
        // The outage of ten minutes is added.
        assert_eq!(since(30, 90, 85), Some(95));
        assert_eq!(restored_since(0, Timestamp(0), f64::from_bits(model::STALE_NAN), &timing), None);
    }
}
