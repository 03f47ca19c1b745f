//! What alerts take up again after a restart, from the series that they left: `ALERTS_FOR_STATE` says since when each was
//! active, `ALERTS` which fired.
//!
//! An alert that only `keep_firing_for` keeps is found by no evaluation any more. Its rule is evaluated again at its last
//! places before the outage, newest first, until one finds it: that gives its texts and the moment its condition ended.

use std::collections::HashMap;
use std::sync::Arc;

use model::labels::METRIC_NAME;
use model::seam::Select;
use model::{Budget, Labels, Matcher, Samples, Timestamp};
use tracing::warn;

use crate::alerting::Kept;
use crate::expand::Expander;
use crate::group::{Context, Group, expand_alert};
use crate::rule::{Alerting, Kind};

/// Memory for restoring the state of one group's alerts.
const RESTORE_BYTES: u64 = 256 << 20;

/// A rule is evaluated at so many of its last places at most; with a longer `keep_firing_for` only at every second, third …
const LOOKS: i64 = 240;

/// The last sample of each series: its time and value.
type Last = HashMap<Labels, (i64, f64)>;

impl Group {
    /// Reads since when alerts were active before a restart, before the first evaluation, so that this one goes on from
    /// there and may write. Whether that is done.
    pub(crate) async fn restore(&self, context: &Context, now: Timestamp) -> bool {
        let mut wanted = Vec::new();
        let mut selects = Vec::new();
        {
            let state = self.state.lock();
            for (index, rule) in self.rules.rules.iter().enumerate() {
                if let Kind::Alerting(alerting) = &rule.kind
                    && !state.rules[index].active.restored
                {
                    wanted.push((index, alerting));
                    let select = |matchers: &[(&str, &str)]| Select {
                        matchers: matchers
                            .iter()
                            .map(|(name, value)| Matcher::equal(*name, *value))
                            .collect(),
                        start: now - context.config.for_outage_tolerance.ms(),
                        end: now,
                        hints: Default::default(),
                    };
                    selects.push(select(&[(METRIC_NAME, "ALERTS_FOR_STATE"), ("alertname", &alerting.name)]));
                    if alerting.keep_firing_for_ms > 0 {
                        let firing = ("alertstate", "firing");
                        selects.push(select(&[
                            (METRIC_NAME, "ALERTS"),
                            ("alertname", &alerting.name),
                            firing,
                        ]));
                    }
                }
            }
        }
        if !selects.is_empty() {
            let budget = Budget::new("restoring alert state", RESTORE_BYTES, None);
            let selected = match context.querier.select(&context.tenant, &selects, &budget).await {
                Ok(selected) => selected,
                Err(err) => return self.restore_failed(&err),
            };
            let mut selected = selected.iter().map(|selected| last_samples(&*selected.series));
            let mut read = || selected.next().unwrap_or_else(|| Ok(Last::new()));
            let mut before = Vec::with_capacity(wanted.len());
            for (index, alerting) in wanted {
                let for_state = read();
                let firing = if alerting.keep_firing_for_ms > 0 { read() } else { Ok(Last::new()) };
                match (for_state, firing) {
                    (Ok(for_state), Ok(firing)) => before.push((index, alerting, for_state, firing)),
                    (Err(err), _) | (_, Err(err)) => return self.restore_failed(&err),
                }
            }
            for (index, alerting, for_state, firing) in before {
                let kept = self.kept(context, index, alerting, &for_state, &firing, now).await;
                let active = &mut self.state.lock().rules[index].active;
                kept.into_iter().for_each(|kept| active.keep(kept));
                active.remember(for_state, context.config.for_grace_period.ms());
            }
        }
        self.skip_restore();
        true
    }

    /// The alerts of a rule with `keep_firing_for` that fired when they were last written.
    async fn kept(
        &self,
        context: &Context,
        index: usize,
        alerting: &Alerting,
        for_state: &Last,
        firing: &Last,
        now: Timestamp,
    ) -> Vec<Kept> {
        // By labels: when it was last written, and since when it was active then.
        let mut missing: HashMap<Labels, (Timestamp, Timestamp)> = HashMap::new();
        for (name, &(at, value)) in firing {
            let mut labels = name.to_builder();
            labels.remove("alertstate");
            let state = labels.set(METRIC_NAME, "ALERTS_FOR_STATE").build();
            if let Some(&(written, since)) = for_state.get(&state)
                && (written, value.is_nan(), since.is_nan()) == (at, false, false)
            {
                let since = Timestamp((since as i64).saturating_mul(1000));
                missing.insert(labels.remove(METRIC_NAME).build(), (Timestamp(at), since));
            }
        }
        let Some(down_at) = missing.values().map(|(at, _)| *at).max() else { return Vec::new() };
        let settings = Arc::clone(&context.settings.read());
        let query = [Arc::clone(&self.rules.rules[index].query)];
        let stride = (alerting.keep_firing_for_ms / self.interval_ms / LOOKS + 1) * self.interval_ms;
        let mut kept = Vec::new();
        let mut found_at = down_at;
        while !missing.is_empty() && down_at - found_at <= alerting.keep_firing_for_ms + stride {
            let answer = context.evaluator.instant(&context.tenant, &query, found_at).await.pop();
            let vector = match answer {
                Some(Ok(vector)) => vector,
                Some(Err(err)) => {
                    self.restore_failed(&err);
                    break;
                }
                None => break,
            };
            let at = found_at + self.offset_ms;
            let expanded = match alerting.is_volatile() {
                true => self.expand_asking(context, &settings, alerting, &vector, at).await,
                false => {
                    let expander = Expander::new(at, &settings.external_labels, &settings.external_url);
                    Ok(vector.iter().map(|point| expand_alert(&expander, alerting, point)).collect())
                }
            };
            // A template that fails now is no reason to look for another text further back.
            let Ok(expanded) = expanded else { break };
            for found in expanded {
                let Some((last, active_at)) = missing.remove(&found.labels) else { continue };
                let outage = now - (last + self.offset_ms);
                let ended = (found_at < last).then(|| found_at + self.interval_ms + self.offset_ms + outage);
                kept.push(Kept {
                    found,
                    active_at,
                    fired_at: active_at + alerting.hold_ms,
                    keep_firing_since: ended,
                });
            }
            found_at = found_at - stride;
        }
        kept
    }

    fn restore_failed(&self, err: &model::SeamError) -> bool {
        warn!(group = %self.metric_labels.rule_group, error = %err.chain(),
            "cannot read since when alerts are active");
        false
    }
}

/// The last sample of each series.
fn last_samples(series: &dyn model::seam::SeriesSet) -> Result<Last, model::SeamError> {
    let mut last = HashMap::with_capacity(series.len());
    let mut samples = Samples::default();
    for index in 0..series.len() {
        series.read(index, &mut samples)?;
        if let (Some(&time), Some(&value)) = (samples.times.last(), samples.values.last()) {
            last.insert(series.labels(index), (time, value));
        }
    }
    Ok(last)
}
