//! All groups on their schedule.
//!
//! Each group is a task that sleeps until its next place in the interval. A reload keeps groups that did not change, and
//! the state of rules that did not.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use model::Timestamp;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, error, info};

use crate::config::Settings;
use crate::file::RuleFile;
use crate::group::{Context, Group, same_key};
use crate::snapshot::{AlertSnapshot, GroupSnapshot};

/// Runs rule groups.
pub struct Ruler {
    context: Arc<Context>,
    running: Mutex<Vec<Running>>,
    /// Held over a whole reload: one at a time.
    reload: tokio::sync::Mutex<()>,
    /// Whether rules were loaded before; the first time state is restored.
    loaded: AtomicBool,
    stop: CancellationToken,
}

struct Running {
    group: Arc<Group>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Ruler {
    /// A ruler without rules. Must be dropped or [stopped](Ruler::stop) before its runtime ends.
    pub fn new(context: Context) -> Self {
        Self {
            context: Arc::new(context),
            running: Mutex::default(),
            reload: tokio::sync::Mutex::default(),
            loaded: AtomicBool::new(false),
            stop: CancellationToken::new(),
        }
    }

    /// Runs the groups of `files` instead of those before. Must be called within a tokio runtime.
    pub async fn load(&self, files: &[RuleFile], settings: Settings) {
        let _one_at_a_time = self.reload.lock().await;
        let restore = !self.loaded.swap(true, Ordering::Relaxed);
        let settings = Arc::new(settings);
        *self.context.settings.write() = Arc::clone(&settings);
        let mut old = std::mem::take(&mut *self.running.lock());
        let mut kept = Vec::new();
        let mut changed = Vec::new();
        for rules in files.iter().flat_map(|file| &file.groups) {
            let group = Group::new(Arc::clone(rules), &settings);
            let before = old.iter().position(|running| same_key(&running.group.rules, rules));
            match before.map(|at| old.swap_remove(at)) {
                Some(running) if running.group.is_same(&group) => kept.push(running),
                before => changed.push((group, before)),
            }
        }
        let (kept_count, changed_count, removed_count) = (kept.len(), changed.len(), old.len());
        // Old tasks end before new ones begin, so that an alert is never moved on by two.
        for running in changed.iter().filter_map(|(_, before)| before.as_ref()).chain(&old) {
            running.stop.cancel();
        }
        for (group, before) in changed {
            let mut restore = restore;
            if let Some(before) = before {
                let old = Arc::clone(&before.group);
                before.ended().await;
                restore = old.is_restoring();
                group.succeed(&old);
            }
            if !restore {
                group.skip_restore();
            }
            kept.push(self.start(Arc::new(group), restore));
        }
        for running in old {
            let group = Arc::clone(&running.group);
            running.ended().await;
            self.context.metrics.forget(&group.metric_labels);
            self.end_later(group);
        }
        kept.sort_by(|a, b| {
            let key =
                |running: &Running| (running.group.rules.file.clone(), running.group.rules.name.clone());
            key(a).cmp(&key(b))
        });
        *self.running.lock() = kept;
        info!(kept = kept_count, started = changed_count, removed = removed_count, "rule groups loaded");
    }

    fn start(&self, group: Arc<Group>, restore: bool) -> Running {
        let stop = self.stop.child_token();
        let task = tokio::spawn(run(Arc::clone(&group), Arc::clone(&self.context), stop.clone(), restore));
        Running { group, stop, task }
    }

    /// Ends the series of a group that is gone, after two intervals: a rule that has only moved to another group has
    /// gone on writing them by then, and this is then refused as older.
    fn end_later(&self, group: Arc<Group>) {
        let context = Arc::clone(&self.context);
        let stop = self.stop.clone();
        let at = context.clock.now();
        tokio::spawn(async move {
            let wait = Duration::from_millis(2 * group.interval_ms as u64);
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(wait) => group.end_all(&context, at + 1).await,
            }
        });
    }

    /// Stops all groups; an evaluation that has begun is finished.
    pub async fn stop(&self) {
        self.stop.cancel();
        let running = std::mem::take(&mut *self.running.lock());
        for running in running {
            running.ended().await;
        }
    }

    /// What `/api/v1/rules` shows: all groups, sorted by file and name.
    pub fn groups(&self) -> Vec<GroupSnapshot> {
        let groups: Vec<_> = self.running.lock().iter().map(|running| Arc::clone(&running.group)).collect();
        groups.iter().map(|group| GroupSnapshot::of(group)).collect()
    }

    /// What `/api/v1/alerts` shows: all pending and firing alerts.
    pub fn alerts(&self) -> Vec<AlertSnapshot> {
        let groups: Vec<_> = self.running.lock().iter().map(|running| Arc::clone(&running.group)).collect();
        groups.iter().flat_map(|group| AlertSnapshot::of_group(group)).collect()
    }

    /// What groups work with.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }
}

impl Running {
    async fn ended(self) {
        self.stop.cancel();
        if let Err(err) = self.task.await {
            error!(group = %self.group.metric_labels.rule_group, error = %err, "a rule group's task failed");
        }
    }
}

impl Group {
    fn is_same(&self, other: &Self) -> bool {
        (self.interval_ms, self.offset_ms) == (other.interval_ms, other.offset_ms)
            && self.rules.same(&other.rules)
    }
}

async fn run(group: Arc<Group>, context: Arc<Context>, stop: CancellationToken, mut restore: bool) {
    let interval = group.interval_ms;
    let labels = &group.metric_labels;
    let mut next = group.slot(context.clock.now()) + interval;
    let mut evaluations = 0u64;
    loop {
        let now = context.clock.now();
        if next - now > interval {
            // The clock was set back.
            next = group.slot(now) + interval;
        }
        let wait = Duration::from_millis((next - now).max(0) as u64);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        let late = ((context.clock.now() - next) / interval).max(0);
        if late > 0 {
            context.metrics.iterations_missed.get_or_create(labels).inc_by(late as u64);
            next = next + late * interval;
        }
        context.metrics.iterations.get_or_create(labels).inc_by(late as u64 + 1);
        evaluate(&group, &context, next).await;
        evaluations += 1;
        // After the second evaluation: by then targets have been scraped again and recording rules have run.
        if restore && evaluations == 2 {
            group.restore(&context, context.clock.now()).await;
            restore = false;
        }
        next = next + interval;
    }
}

/// One evaluation in a span of its own. A panic ends this evaluation alone.
async fn evaluate(group: &Group, context: &Context, at: Timestamp) {
    let name = &group.metric_labels.rule_group;
    let span = tracing::debug_span!("rule_group", group = %name, %at);
    let evaluation = AssertUnwindSafe(group.evaluate(context, at).instrument(span));
    if evaluation.catch_unwind().await.is_err() {
        context.metrics.panics.inc();
        error!(group = %name, %at, "evaluating a rule group panicked; please report this with the lines before");
    }
}
