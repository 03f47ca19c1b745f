//! One flush on its way: what mutes it, whether its receiver must be told, the attempts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use model::Alert;
use serde_json::json;
use tokio::time::Instant;

use super::Inner;
use crate::core::{Due, Setup};
use crate::history::{Event, Kind};
use crate::message::{Data, Kv, Notification};
use crate::metrics::{IntegrationLabel, Metrics, ReasonLabel};
use crate::nflog::{self, Claim, Entry};
use crate::notify::{Failure, Integration};
use crate::silence;

/// The first pause between attempts; each further one is half as long again, up to [`MAX_PAUSE_MS`].
const FIRST_PAUSE_MS: u64 = 500;
/// The longest pause between attempts.
const MAX_PAUSE_MS: u64 = 60_000;
/// So many fingerprints are kept with an event of the history.
const KEPT_FINGERPRINTS: usize = 100;

impl Inner {
    /// Sends a flush through everything that mutes to the receiver; whether all of it has it.
    pub(super) async fn pipeline(&self, due: &Due) -> bool {
        let (unmuted, setup) = {
            let mut core = self.core();
            (core.unmuted(due), core.setup.clone())
        };
        let now = due.flush.now;
        for (reason, count) in &unmuted.counts {
            self.metrics.suppressed.get_or_create(&ReasonLabel { reason }).inc_by(*count);
        }
        let receiver = &due.options.receiver;
        let muted = unmuted.newly_muted.iter().map(|(alert, cause)| {
            Event::new(now, Kind::Suppressed, json!({ "cause": cause }))
                .alert(alert)
                .group(&due.key, receiver)
        });
        self.note_all(muted.collect()).await;
        if unmuted.alerts.is_empty() {
            return true;
        }
        let Some(ways) = setup.receivers.get(receiver) else {
            tracing::error!(receiver, "no such receiver");
            return false;
        };
        let deliveries = ways.iter().map(|way| self.deliver(due, &setup, way, &unmuted.alerts));
        join_all(deliveries).await.into_iter().all(|ok| ok)
    }

    /// Tells one way of a receiver, when it must be told; whether it knows now.
    async fn deliver(&self, due: &Due, setup: &Setup, way: &Integration, alerts: &[Arc<Alert>]) -> bool {
        let now = due.flush.now;
        let receiver = &due.options.receiver;
        let key = nflog::key(&due.key, receiver, way.name, way.index);
        let (mut firing, mut resolved) = (BTreeSet::new(), BTreeSet::new());
        for alert in alerts {
            let set = if alert.is_resolved(now) { &mut resolved } else { &mut firing };
            set.insert(alert.labels.fingerprint());
        }
        let repeat = due.options.repeat_interval.ms();
        let before = self.core().nflog.get(&key).cloned();
        let Some(reason) = nflog::needs(before.as_ref(), &firing, &resolved, way.send_resolved, repeat, now)
        else {
            return true;
        };
        let mut entry = before.unwrap_or_else(|| Entry {
            group_key: due.key.clone(),
            receiver: receiver.clone(),
            integration: way.name.to_owned(),
            index: way.index,
            ..Entry::default()
        });
        // The same notification keeps its id over a crash, so that receivers can tell.
        let same = entry.claim.as_ref().filter(|claim| claim.firing == firing && claim.resolved == resolved);
        let id = same.map_or_else(
            || silence::uuid(u128::from(self.draw()) << 64 | u128::from(self.draw())),
            |c| c.id.clone(),
        );
        entry.expires_at = now + self.settings.retention.ms().min(2 * repeat).max(repeat);
        let nobody_to_tell = !way.send_resolved && firing.is_empty();
        if !nobody_to_tell {
            entry.claim = Some(Claim {
                id: id.clone(),
                owner: self.owner.clone(),
                at: now,
                firing: firing.clone(),
                resolved: resolved.clone(),
            });
            self.store_entry(&key, &entry).await;
            let told: Vec<Arc<Alert>> = match way.send_resolved {
                true => alerts.to_vec(),
                false => alerts.iter().filter(|alert| !alert.is_resolved(now)).cloned().collect(),
            };
            let max = self.settings.max_alerts_per_notification.max(1);
            let mut data = Data::new(receiver, &self.settings.external_url, &due.labels, &told, max, now);
            data.notification_reason = reason.text().to_owned();
            let data = Arc::new(data);
            let labels = due.options.labels.iter().map(|(name, text)| {
                // A label that is no template, or a broken one, is shown as written.
                (name.clone(), setup.renderer.text(text, &data).unwrap_or_else(|_| text.clone()))
            });
            let labels = Kv(labels.collect());
            let mut data = Arc::unwrap_or_clone(data);
            data.route_labels = labels;
            let notification =
                Notification { id, group_key: due.key.clone(), reason, data: Arc::new(data), now };
            let arrived = self.attempts(due, way, &notification, &told).await;
            if !arrived {
                // What the receiver knows has not changed, as far as anybody can tell.
                entry.claim = None;
                self.store_entry(&key, &entry).await;
                return false;
            }
        }
        entry.claim = None;
        entry.at = Some(now);
        entry.firing = firing;
        entry.resolved = resolved;
        self.store_entry(&key, &entry).await;
        true
    }

    /// Attempts until one succeeds, one says that no further will, or the flush's time is over.
    async fn attempts(
        &self,
        due: &Due,
        way: &Integration,
        notification: &Notification,
        told: &[Arc<Alert>],
    ) -> bool {
        let label = IntegrationLabel { integration: way.name.to_owned() };
        self.metrics.notifications.get_or_create(&label).inc();
        // Waiting for the first turn is not the service's fault, and takes nothing of its time.
        let mut turn = Some(way.pace.turn().await);
        let deadline =
            Instant::now() + Duration::from_millis((due.flush.deadline - due.flush.now).max(0) as u64);
        let mut pause = FIRST_PAUSE_MS;
        let fingerprints: Vec<String> = told
            .iter()
            .take(KEPT_FINGERPRINTS)
            .map(|alert| format!("{:016x}", alert.labels.fingerprint()))
            .collect();
        let mut number = 0;
        loop {
            number += 1;
            let started = Instant::now();
            let attempt = {
                let first = turn.take();
                let timed = tokio::time::timeout_at(deadline, async {
                    let _turn = match first {
                        Some(turn) => turn,
                        None => way.pace.turn().await,
                    };
                    let Ok(_permit) = self.sending.acquire().await else {
                        return Err(Failure::permanent("the dispatcher has stopped"));
                    };
                    let _sending = Sending::new(&self.metrics);
                    way.sender.send(notification).await
                });
                timed.await.unwrap_or_else(|_| Err(Failure::transient("no answer within the group interval")))
            };
            let took = started.elapsed();
            self.metrics.attempts.get_or_create(&label).inc();
            self.metrics.attempt_duration.observe(took.as_secs_f64());
            let mut detail = json!({
                "integration": way.name, "index": way.index, "attempt": number, "reason": notification.reason,
                "id": notification.id, "durationMs": took.as_millis() as u64, "alerts": told.len(),
                "status": notification.data.status, "fingerprints": fingerprints,
            });
            let event = |kind, detail| {
                let event = Event::new(self.clock.now(), kind, detail).group(&due.key, &due.options.receiver);
                match told {
                    [only] => event.alert(only),
                    _ => event,
                }
            };
            let failure = match attempt {
                Ok(delivered) => {
                    // Before anything else: what a crash repeats is what is not in it yet.
                    if let Some(journal) = &self.journal {
                        journal.arrived(&notification.id);
                    }
                    detail["answer"] = delivered.answer.into();
                    detail["code"] = delivered.status.into();
                    self.note_all(vec![event(Kind::Delivered, detail)]).await;
                    return true;
                }
                Err(failure) => failure,
            };
            self.metrics.attempts_failed.get_or_create(&label).inc();
            detail["answer"] = failure.message.clone().into();
            detail["code"] = failure.status.into();
            self.note_all(vec![event(Kind::AttemptFailed, detail.clone())]).await;
            // Half as much more or less, so that many groups do not knock at once.
            let jitter = pause / 2 + self.draw() % pause;
            let wait = Duration::from_millis(jitter).max(failure.after.unwrap_or_default());
            if let Some(after) = failure.after {
                way.pace.hold(after);
            }
            if !failure.retry || Instant::now() + wait >= deadline {
                self.metrics.notifications_failed.get_or_create(&label).inc();
                self.note_all(vec![event(Kind::GivenUp, detail)]).await;
                tracing::error!(
                    receiver = due.options.receiver,
                    integration = way.name,
                    group = due.key,
                    attempts = number,
                    error = failure.message,
                    "notification given up"
                );
                return false;
            }
            tracing::warn!(
                receiver = due.options.receiver,
                integration = way.name,
                attempt = number,
                error = failure.message,
                "notification failed, will retry"
            );
            tokio::time::sleep(wait).await;
            pause = (pause * 3 / 2).min(MAX_PAUSE_MS);
        }
    }
}

/// Counts a notification that is on its way, also when its future is dropped.
struct Sending<'a>(&'a Metrics);

impl<'a> Sending<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        metrics.sending.inc();
        Self(metrics)
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.0.sending.dec();
    }
}
