//! StatsD and DogStatsD: values come at any time, series are stored at an interval.
//!
//! Counters are kept as totals that rise, timers and distributions as histograms, gauges as their last value, sets as the number of
//! their members within an interval. A series that is silent for `expiry` ends.

mod aggregate;
mod sketch;

use std::sync::Arc;

use model::Batch;
use model::seam::BoxFuture;
use parking_lot::Mutex;
use wire::gather::Refused;

use crate::config::StatsdConfig;
use crate::listen::{Context, Serve, Served, Take};
use crate::push::Stored;
use aggregate::Aggregate;

const PROTOCOL: &str = "statsd";

/// Takes lines, stores series.
pub(crate) struct Receiver {
    config: StatsdConfig,
    context: Context,
    aggregate: Mutex<Aggregate>,
}

impl Receiver {
    pub(crate) fn new(config: &StatsdConfig, context: Context) -> Self {
        let aggregate = Mutex::new(Aggregate::new(config, context.seed));
        Self { config: config.clone(), context, aggregate }
    }

    pub(crate) fn lines(self: &Arc<Self>) -> Arc<dyn Serve> {
        Arc::<Self>::clone(self)
    }

    pub(crate) fn datagrams(self: &Arc<Self>) -> Arc<dyn Take> {
        Arc::<Self>::clone(self)
    }

    fn read(&self, bytes: &[u8]) {
        let now = self.context.clock.now().ms();
        let mut refused = Refused::default();
        {
            let mut aggregate = self.aggregate.lock();
            for line in bytes.split(|b| *b == b'\n') {
                let line = line.trim_ascii();
                if !line.is_empty() {
                    aggregate.line(line, now, &mut refused);
                }
            }
        }
        if refused.count + refused.ignored > 0 {
            let done = Stored::Done { rejected: 0, first: None };
            self.context.metrics.pushed(PROTOCOL, &Batch::new(), &refused, &done);
            if let Some(reason) = &refused.first {
                self.context.metrics.warn(PROTOCOL, reason);
            }
        }
    }

    /// Stores at each interval, and once more when the server stops.
    pub(crate) async fn flush_forever(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(self.config.flush_interval.to_std());
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut stop = self.context.stopped();
        loop {
            let ends = tokio::select! {
                _ = ticks.tick() => false,
                _ = stop.wait_for(|stop| *stop) => true,
            };
            self.flush().await;
            if ends {
                return;
            }
        }
    }

    async fn flush(&self) {
        let now = self.context.clock.now().ms();
        let batch = self.aggregate.lock().flush(now);
        self.context.metrics.statsd_series.set(self.aggregate.lock().len() as i64);
        if !batch.is_empty() {
            // What cannot be stored now is part of the next interval's totals.
            self.context.store(PROTOCOL, &batch, &Refused::default(), false).await;
        }
    }
}

impl Take for Receiver {
    fn take<'a>(&'a self, datagram: &'a [u8]) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.read(datagram) })
    }
}

impl Serve for Receiver {
    fn serve<'a>(&'a self, bytes: &'a [u8], end: bool) -> BoxFuture<'a, Result<Served, String>> {
        Box::pin(async move {
            let whole = match bytes.iter().rposition(|b| *b == b'\n') {
                _ if end => bytes.len(),
                Some(at) => at + 1,
                None => 0,
            };
            self.read(bytes.get(..whole).unwrap_or_default());
            Ok(Served { used: whole, ..Served::default() })
        })
    }

    fn max_pending(&self) -> usize {
        self.context.limits.max_message_bytes
    }
}
