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
use tracing::{Instrument as _, error, info, warn};

use crate::alerting::RESTORING_STEPS;
use crate::config::Settings;
use crate::file::RuleFile;
use crate::group::{Context, Group, same_key};
use crate::rule::RuleGroup;
use crate::snapshot::{AlertSnapshot, GroupSnapshot};

/// How the file names of the library's groups begin.
pub const LIBRARY: &str = "library/";

/// Runs rule groups.
pub struct Ruler {
    context: Arc<Context>,
    running: Mutex<Vec<Running>>,
    /// Held over a whole reload: one at a time.
    reload: tokio::sync::Mutex<Sources>,
    /// Groups of the library that a file's group of the same name keeps out.
    shadowed: Mutex<Vec<Shadowed>>,
    /// Whether rules were loaded before; the first time state is restored.
    loaded: AtomicBool,
    stop: CancellationToken,
}

/// Where rules come from.
#[derive(Default)]
struct Sources {
    files: Vec<RuleFile>,
    library: Vec<RuleFile>,
}

/// A group of the library that is not evaluated because a file has one of the same name.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Shadowed {
    /// The group's name.
    pub group: String,
    /// The document.
    pub document: String,
    /// The file that has the say.
    pub file: String,
}

impl Sources {
    /// The groups to run, and those that are left out.
    fn groups(&self) -> (Vec<Arc<RuleGroup>>, Vec<Shadowed>) {
        let mut groups: Vec<Arc<RuleGroup>> =
            self.files.iter().flat_map(|file| file.groups.clone()).collect();
        let of_files = groups.len();
        let mut shadowed = Vec::new();
        for group in self.library.iter().flat_map(|file| &file.groups) {
            match groups.iter().take(of_files).find(|of_file| of_file.name == group.name) {
                Some(of_file) => shadowed.push(Shadowed {
                    group: group.name.clone(),
                    document: group.file.clone(),
                    file: of_file.file.clone(),
                }),
                None => groups.push(Arc::clone(group)),
            }
        }
        (groups, shadowed)
    }
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
            shadowed: Mutex::default(),
            loaded: AtomicBool::new(false),
            stop: CancellationToken::new(),
        }
    }

    /// Runs the groups of `files` instead of those of files before. Must be called within a tokio runtime.
    pub async fn load(&self, files: &[RuleFile], settings: Settings) {
        let mut sources = self.reload.lock().await;
        sources.files = files.to_vec();
        let settings = Arc::new(settings);
        *self.context.settings.write() = Arc::clone(&settings);
        let restore = !self.loaded.swap(true, Ordering::Relaxed);
        self.run(&sources, &settings, restore).await;
    }

    /// Runs the groups of the rules-and-actions database, beside those of files; one with the name of a file's group is
    /// left out. Before the first [`Ruler::load`] they only wait for it.
    pub async fn load_library(&self, files: &[RuleFile]) {
        let mut sources = self.reload.lock().await;
        sources.library = files.to_vec();
        if self.loaded.load(Ordering::Relaxed) {
            let settings = Arc::clone(&self.context.settings.read());
            self.run(&sources, &settings, false).await;
        }
    }

    /// Groups of the library that are left out because of files.
    pub fn shadowed(&self) -> Vec<Shadowed> {
        self.shadowed.lock().clone()
    }

    async fn run(&self, sources: &Sources, settings: &Arc<Settings>, restore: bool) {
        let (wanted, shadowed) = sources.groups();
        for Shadowed { group, document, file } in &shadowed {
            warn!(%group, %document, %file, "a rule group of the library is not evaluated: a file has one of the same name");
        }
        *self.shadowed.lock() = shadowed;
        let mut old = std::mem::take(&mut *self.running.lock());
        let mut kept = Vec::new();
        let mut changed = Vec::new();
        for rules in wanted {
            let group = Group::new(Arc::clone(&rules), settings);
            let before = old.iter().position(|running| same_key(&running.group.rules, &rules));
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

    /// What keeps rules from being evaluated, if anything does.
    ///
    /// # Errors
    /// Names a group that has not been evaluated for three of its intervals and a minute.
    pub fn check_alive(&self) -> Result<(), String> {
        let now = self.context.clock.now();
        for group in self.running_groups() {
            let last = group.state.lock().last_evaluation;
            let late = last.map_or(0, |last| now - last - 3 * group.interval_ms);
            if late > 60_000 {
                let name = &group.metric_labels.rule_group;
                return Err(format!("rule group {name} has not been evaluated for {} s", late / 1000));
            }
        }
        Ok(())
    }

    /// The groups of files: file and name.
    pub fn file_groups(&self) -> Vec<(String, String)> {
        let groups = self.running_groups().into_iter();
        let of_files = groups.filter(|group| !group.rules.file.starts_with(LIBRARY));
        of_files.map(|group| (group.rules.file.clone(), group.rules.name.clone())).collect()
    }

    /// What `/api/v1/rules` shows: all groups, sorted by file and name.
    pub fn groups(&self) -> Vec<GroupSnapshot> {
        let groups = self.running_groups();
        groups.iter().map(|group| GroupSnapshot::of(group)).collect()
    }

    /// What `/api/v1/alerts` shows: all pending and firing alerts.
    pub fn alerts(&self) -> Vec<AlertSnapshot> {
        let groups = self.running_groups();
        groups.iter().flat_map(|group| AlertSnapshot::of_group(group)).collect()
    }

    /// The groups that run.
    pub(crate) fn running_groups(&self) -> Vec<Arc<Group>> {
        self.running.lock().iter().map(|running| Arc::clone(&running.group)).collect()
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
    let mut evaluations = 0;
    loop {
        // A storage that cannot be read now may be read by the second evaluation; after it alerts count from then.
        if restore && (group.restore(&context, context.clock.now()).await || evaluations >= RESTORING_STEPS) {
            restore = false;
            group.skip_restore();
        }
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
