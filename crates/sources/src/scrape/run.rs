//! One target: when it is scraped, and what becomes of each scrape.

use std::sync::Arc;
use std::time::Duration;

use model::labels::METRIC_NAME;
use model::seam::BoxFuture;
use model::{Appender, Batch, Clock, Family, Labels, SeriesRef, TenantId, Timestamp};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use wire::{Cache, Format};

use super::collect::{Collect, Counts, Rules, Table};
use super::fetch::{Ask, fetch};
use super::metrics::Metrics;
use super::status::{Health, TargetStatus};

/// Bodies from here on are read on a thread for blocking work, so that no other target waits.
const LARGE_BODY: usize = 512 << 10;
/// A sample's time is the planned one when the scrape started at most this much later, so that a target's series keep
/// equal distances. Source: Prometheus' scrape timestamp tolerance.
const TOLERANCE_MS: i64 = 10;
/// Buffers kept for reuse.
const MAX_BUFFERS: usize = 32;
/// A larger buffer is given back to the allocator.
const MAX_BUFFER: usize = 4 << 20;

/// What all targets share.
pub(crate) struct Shared {
    pub(crate) appender: Arc<dyn Appender>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tenant: TenantId,
    pub(crate) metrics: Metrics,
    /// A secret of the process.
    pub(crate) seed: u64,
    /// The hard limit of a body without a limit of its own.
    pub(crate) max_body: usize,
    pub(crate) buffers: Mutex<Vec<Vec<u8>>>,
    /// Where failed scrapes are written down.
    pub(crate) failure_logs: super::failure_log::FailureLogs,
    /// Agents that announce themselves.
    pub(crate) agents: Option<Arc<crate::agents::Registry>>,
}

impl Shared {
    fn buffer(&self) -> Vec<u8> {
        self.buffers.lock().pop().unwrap_or_default()
    }

    fn give_back(&self, buffer: Vec<u8>) {
        let mut buffers = self.buffers.lock();
        if buffers.len() < MAX_BUFFERS && buffer.capacity() <= MAX_BUFFER {
            buffers.push(buffer);
        }
    }
}

/// Makes families for a target within this process.
pub type Collector = Arc<dyn Fn() -> BoxFuture<'static, Vec<Family>> + Send + Sync>;

/// What is scraped.
#[derive(Clone)]
pub(crate) enum Origin {
    Http(httpc::Client, Arc<Ask>),
    InProcess(Collector),
}

/// How a target is scraped; replaced as a whole when the job's configuration changes.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) rules: Arc<Rules>,
    pub(crate) origin: Origin,
    /// Whether the extra `scrape_*` series are recorded.
    pub(crate) extra: bool,
    /// The job, and the file of its failed scrapes.
    pub(crate) failure_log: Option<Arc<(String, String)>>,
}

/// Why a target's task ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Go on.
    Not,
    /// The target is gone: its series end.
    Removed,
    /// The process ends: its series do not.
    Shutdown,
}

/// The series that a scrape reports about itself.
const REPORTS: [&str; 8] = [
    "up",
    "scrape_duration_seconds",
    "scrape_samples_scraped",
    "scrape_samples_post_metric_relabeling",
    "scrape_series_added",
    "scrape_timeout_seconds",
    "scrape_sample_limit",
    "scrape_body_size_bytes",
];
/// How many of them are recorded always.
const ALWAYS: usize = 5;

/// The memory of one target between scrapes.
struct State {
    cache: Cache,
    format: Option<Format>,
    table: Table,
    batch: Batch,
    rows: Vec<u32>,
    reports: [(Labels, Option<SeriesRef>); REPORTS.len()],
    /// How many report series were written last time.
    reported: usize,
    /// Metadata has changed in part: read all of it with the next body.
    describe_again: bool,
    first: bool,
}

pub(crate) struct Run {
    pub(crate) shared: Arc<Shared>,
    pub(crate) settings: watch::Receiver<Arc<Settings>>,
    pub(crate) stop: watch::Receiver<Stop>,
    pub(crate) status: Arc<Mutex<TargetStatus>>,
    pub(crate) labels: Labels,
    pub(crate) url: String,
    pub(crate) interval_ms: i64,
    pub(crate) timeout: Duration,
    /// Where in the interval the scrape is.
    pub(crate) phase_ms: i64,
    /// Scrape at once, then on schedule.
    pub(crate) at_once: bool,
    /// Scrape when notified, besides the schedule.
    pub(crate) wake: Option<Arc<Notify>>,
}

/// What one scrape brought.
struct Outcome {
    counts: Counts,
    body_bytes: usize,
    result: Result<(), String>,
}

/// Never, when there is nobody to notify us.
async fn notified(wake: Option<&Notify>) {
    match wake {
        Some(wake) => wake.notified().await,
        None => std::future::pending().await,
    }
}

impl Run {
    /// Scrapes on schedule until told to stop.
    pub(crate) async fn run(mut self) {
        let mut state = State::new(&self.labels, self.shared.seed);
        let mut last = self.shared.clock.now().ms();
        let mut planned = if self.at_once { last } else { self.next_after(last) };
        loop {
            let wait = planned - self.shared.clock.now().ms();
            let mut woken = false;
            if wait > 0 {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(wait as u64)) => {}
                    () = notified(self.wake.as_deref()) => woken = true,
                    changed = self.stop.changed() => {
                        if changed.is_err() || *self.stop.borrow() != Stop::Not {
                            break;
                        }
                        continue;
                    }
                }
            }
            if self.settings.has_changed().unwrap_or(false) {
                // Other rules give other labels for the same text.
                state.cache.clear();
            }
            let settings = Arc::clone(&self.settings.borrow_and_update());
            let began = self.shared.clock.now().ms();
            let tolerance = TOLERANCE_MS.min(self.interval_ms / 100).max(2);
            let time = if (began - planned).abs() <= tolerance { planned } else { began };
            self.shared.metrics.lateness.observe((began - planned).max(0) as f64 / 1000.0);
            let mut stop = self.stop.clone();
            let scrape = self.scrape(state, &settings, time);
            tokio::select! {
                done = scrape => state = done,
                // A removed target's series must end, so that its scrape (bounded by the timeout) is waited for.
                () = shutdown(&mut stop) => return,
            }
            if *self.stop.borrow() != Stop::Not {
                break;
            }
            if woken && planned > self.shared.clock.now().ms() {
                continue;
            }
            last = planned.max(self.shared.clock.now().ms());
            planned = self.next_after(last);
        }
        if *self.stop.borrow() == Stop::Removed {
            self.end(state).await;
        }
    }

    /// The first planned time after `time`.
    fn next_after(&self, time: i64) -> i64 {
        let since = (time - self.phase_ms).rem_euclid(self.interval_ms);
        time - since + self.interval_ms
    }

    async fn scrape(&self, mut state: State, settings: &Arc<Settings>, time: i64) -> State {
        let started = Instant::now();
        let shared = &self.shared;
        state.batch.clear();
        state.rows.clear();
        let mut body = shared.buffer();
        let mut families = None;
        let fetched = match &settings.origin {
            Origin::Http(client, ask) => {
                fetch(client, &self.url, ask, self.timeout, &mut body).await.map(Some)
            }
            Origin::InProcess(collect) => match tokio::time::timeout(self.timeout, collect()).await {
                Ok(made) => {
                    families = Some(made);
                    Ok(None)
                }
                Err(_) => Err(format!("the source did not answer within {:?}", self.timeout)),
            },
        };
        let (mut outcome, format) = match fetched {
            Err(reason) => (Outcome { counts: Counts::default(), body_bytes: 0, result: Err(reason) }, None),
            Ok(format) => {
                let work = Work { settings: Arc::clone(settings), labels: self.labels.clone(), time, format };
                let (counts, result);
                if body.len() > LARGE_BODY {
                    let done = tokio::task::spawn_blocking(move || {
                        let out = work.digest(&mut state, &body, families.as_deref());
                        (state, body, families, out)
                    });
                    match done.await {
                        Ok((state_back, body_back, families_back, out)) => {
                            (state, body, families) = (state_back, body_back, families_back);
                            (counts, result) = out;
                        }
                        Err(err) => {
                            // A panic in the reader: this target starts anew.
                            state = State::new(&self.labels, shared.seed);
                            body = Vec::new();
                            families = None;
                            (counts, result) =
                                (Counts::default(), Err(format!("reading the body failed: {err}")));
                        }
                    }
                } else {
                    (counts, result) = work.digest(&mut state, &body, families.as_deref());
                }
                (Outcome { counts, body_bytes: body.len(), result }, format)
            }
        };
        shared.metrics.body.inc_by(outcome.body_bytes as u64);
        shared.metrics.duplicates.inc_by(outcome.counts.duplicates);
        let good = outcome.result.is_ok();
        if !good {
            state.batch.clear();
            state.rows.clear();
        }
        state.table.mark_stale(
            &mut state.batch,
            &mut state.rows,
            time,
            !good,
            settings.rules.track_staleness,
        );
        let took = started.elapsed();
        let mut rows = std::mem::take(&mut state.rows);
        self.report(&mut state, &mut rows, settings, time, &outcome, took, false);
        let stored = shared.appender.append(&shared.tenant, &state.batch).await;
        match stored {
            Ok(appended) => {
                shared.metrics.samples.inc_by(state.batch.sample_count() as u64);
                shared.metrics.rejected.inc_by(appended.rejected_count as u64);
                if let Some(first) = appended.rejected.first() {
                    tracing::debug!(target_url = %self.url, rejected = appended.rejected_count, reason = %first.reason, detail = %first.detail, "storage refused samples");
                }
                let lost_reports = state.learn_reports(&rows, &appended);
                let lost_series = state.table.learn(&rows, &appended) && good;
                if lost_reports || lost_series {
                    state.batch.clear();
                    let mut rows = Vec::new();
                    if lost_series {
                        let work = Work {
                            settings: Arc::clone(settings),
                            labels: self.labels.clone(),
                            time,
                            format,
                        };
                        outcome.result = work.read(&mut state, &mut rows, &body, families.as_deref(), true).1;
                    }
                    self.report(&mut state, &mut rows, settings, time, &outcome, took, true);
                    if let Err(reason) = self.append_again(&mut state, &rows).await {
                        outcome.result = Err(reason);
                    }
                }
            }
            Err(err) => {
                // What was not stored is lost, what comes next names its series in full.
                state.table.forget_references();
                state.forget_reports();
                state.cache.clear();
                outcome.result = Err(format!("cannot store the scrape: {}", err.chain()));
            }
        }
        state.rows = rows;
        shared.give_back(body);
        self.publish(&state, settings, &outcome, time, took);
        state
    }

    /// Stores the series whose references the storage had forgotten, by their labels.
    async fn append_again(&self, state: &mut State, rows: &[u32]) -> Result<(), String> {
        let stored = self.shared.appender.append(&self.shared.tenant, &state.batch).await;
        let appended = stored.map_err(|err| format!("cannot store the scrape: {}", err.chain()))?;
        self.shared.metrics.samples.inc_by(state.batch.sample_count() as u64);
        state.learn_reports(rows, &appended);
        state.table.learn(rows, &appended);
        Ok(())
    }

    /// Adds `up` and its kin; `again`: only those that the storage has forgotten.
    #[expect(
        clippy::too_many_arguments,
        reason = "one call site each way; a struct would only rename the arguments"
    )]
    fn report(
        &self,
        state: &mut State,
        rows: &mut Vec<u32>,
        settings: &Settings,
        time: i64,
        outcome: &Outcome,
        took: Duration,
        again: bool,
    ) {
        let good = outcome.result.is_ok();
        let values = [
            f64::from(u8::from(good)),
            took.as_secs_f64(),
            outcome.counts.scraped as f64,
            if good { outcome.counts.kept as f64 } else { 0.0 },
            if good { outcome.counts.added as f64 } else { 0.0 },
            self.timeout.as_secs_f64(),
            settings.rules.sample_limit as f64,
            outcome.body_bytes as f64,
        ];
        let count = if settings.extra { REPORTS.len() } else { ALWAYS };
        for (i, ((labels, reference), value)) in state.reports.iter().zip(values).take(count).enumerate() {
            let series = match reference {
                Some(_) if again => continue,
                Some(reference) => state.batch.add_series_ref(*reference),
                None => state.batch.add_series(labels),
            };
            state.batch.push_float(series, time, value);
            rows.push(u32::MAX - 1 - i as u32);
        }
        state.reported = count;
    }

    fn publish(&self, state: &State, settings: &Settings, outcome: &Outcome, time: i64, took: Duration) {
        let metrics = &self.shared.metrics;
        match &outcome.result {
            Ok(()) => {
                metrics.scrapes.inc();
            }
            Err(reason) => {
                tracing::debug!(target_url = %self.url, error = %reason, "scrape failed");
                metrics.failures.inc();
                if let Some(named) = settings.failure_log.as_deref() {
                    let (job, file) = named;
                    self.shared.failure_logs.write(file, Timestamp(time), job, &self.url, reason);
                }
            }
        }
        let mut status = self.status.lock();
        metrics.series.inc_by(state.table.len() as i64 - status.series as i64);
        status.series = state.table.len();
        status.health = if outcome.result.is_ok() { Health::Up } else { Health::Down };
        status.last_error = outcome.result.as_ref().err().cloned().unwrap_or_default();
        status.last_scrape = Timestamp(time);
        status.last_scrape_duration = took.as_secs_f64();
    }

    /// The target is gone: every series of it ends.
    async fn end(&self, mut state: State) {
        state.batch.clear();
        state.rows.clear();
        let time = self.shared.clock.now().ms();
        state.table.mark_stale(&mut state.batch, &mut state.rows, time, true, true);
        for (_, reference) in state.reports.iter().take(state.reported) {
            if let Some(reference) = reference {
                let series = state.batch.add_series_ref(*reference);
                state.batch.push_float(series, time, f64::from_bits(model::STALE_NAN));
            }
        }
        self.shared.metrics.series.dec_by(self.status.lock().series as i64);
        if state.batch.is_empty() {
            return;
        }
        if let Err(err) = self.shared.appender.append(&self.shared.tenant, &state.batch).await {
            tracing::warn!(target_url = %self.url, error = %err.chain(), "cannot mark the series of a removed target stale");
        }
    }
}

async fn shutdown(stop: &mut watch::Receiver<Stop>) {
    // When the sender is gone the process ends, too.
    if stop.wait_for(|stop| *stop == Stop::Shutdown).await.is_err() {
        tracing::trace!("the pool is gone");
    }
}

/// Reading a body, apart from the target's task.
struct Work {
    settings: Arc<Settings>,
    labels: Labels,
    time: i64,
    /// `None`: families instead of a body.
    format: Option<Format>,
}

impl Work {
    fn digest(
        &self,
        state: &mut State,
        body: &[u8],
        families: Option<&[Family]>,
    ) -> (Counts, Result<(), String>) {
        if state.format != self.format || std::mem::take(&mut state.describe_again) {
            state.cache.clear();
            state.format = self.format;
            state.first = true;
        }
        let mut rows = std::mem::take(&mut state.rows);
        let out = self.read(state, &mut rows, body, families, false);
        state.rows = rows;
        out
    }

    fn read(
        &self,
        state: &mut State,
        rows: &mut Vec<u32>,
        body: &[u8],
        families: Option<&[Family]>,
        again: bool,
    ) -> (Counts, Result<(), String>) {
        let rules = &self.settings.rules;
        let new = if again { Collect::again } else { Collect::new };
        let mut collect = new(rules, &self.labels, self.time, &mut state.table, &mut state.batch, rows);
        let result = match (families, self.format) {
            (Some(families), _) => collect.families(families),
            (None, Some(format)) => wire::exposition::read(format, body, &mut state.cache, &mut collect)
                .map_err(|err| err.to_string()),
            (None, None) => Err("there is neither a body nor a source".into()),
        };
        let result = result.and_then(|()| collect.complete());
        let (counts, described) = collect.finish();
        if described && families.is_none() && !again {
            // Lines that stand where they stood are not described again: a change in one of them needs all.
            state.describe_again = !state.first;
        }
        state.first = result.is_err();
        (counts, result)
    }
}

impl State {
    fn new(labels: &Labels, seed: u64) -> Self {
        let reports = REPORTS.map(|name| {
            let mut builder = labels.to_builder();
            builder.set(METRIC_NAME, name);
            (builder.build(), None)
        });
        Self {
            cache: Cache::new(seed),
            format: None,
            table: Table::new(seed),
            batch: Batch::new(),
            rows: Vec::new(),
            reports,
            reported: 0,
            describe_again: false,
            first: true,
        }
    }

    /// Takes over the references of the reports; whether some were forgotten.
    fn learn_reports(&mut self, rows: &[u32], appended: &model::Appended) -> bool {
        let mut lost = false;
        let report =
            |row: u32| (u32::MAX - 1).checked_sub(row).map(|i| i as usize).filter(|i| *i < REPORTS.len());
        for (row, reference) in rows.iter().zip(&appended.refs) {
            if let (Some(i), Some(reference)) = (report(*row), reference) {
                self.reports[i].1 = Some(*reference);
            }
        }
        for index in &appended.unknown_refs {
            if let Some(i) = rows.get(*index as usize).and_then(|row| report(*row)) {
                self.reports[i].1 = None;
                lost = true;
            }
        }
        lost
    }

    fn forget_reports(&mut self) {
        self.reports.iter_mut().for_each(|(_, reference)| *reference = None);
    }
}
