//! One group at work: evaluates its rules, stores what they make, sends alerts.
//!
//! Rules run in waves ([`RuleGroup::waves`]): one call to the evaluator, one append and one notification each. A rule that
//! fails keeps its alerts and series as they were.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use model::labels::METRIC_NAME;
use model::{
    Alert, Appender, Batch, Clock, Labels, Notifier, Querier, RejectReason, STALE_NAN, SeriesRef, TenantId,
    Timestamp, Value,
};
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::alerting::{Active, AlertState, Found};
use crate::config::{Config, Settings};
use crate::evaluate::{Evaluator, Vector};
use crate::expand::{self, Expander};
use crate::metrics::{GroupLabels, Metrics};
use crate::rule::{Alerting, Kind, Query, RuleGroup};

/// How often the templates of one rule may come back with further queries.
const QUERY_ROUNDS: usize = 10;

/// What groups work with.
pub struct Context {
    /// Whose rules they are.
    pub tenant: TenantId,
    /// Evaluates expressions.
    pub evaluator: Arc<dyn Evaluator>,
    /// Reads the state of alerts after a restart.
    pub querier: Arc<dyn Querier>,
    /// Takes what rules make.
    pub appender: Arc<dyn Appender>,
    /// Takes alerts.
    pub notifier: Arc<dyn Notifier>,
    /// Wall time.
    pub clock: Arc<dyn Clock>,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Settings of the crate.
    pub config: Config,
    /// Language of queries in templates.
    pub language: promql::Options,
    /// Settings that change with a reload.
    pub settings: RwLock<Arc<Settings>>,
}

/// Whether a rule's last evaluation went well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Not evaluated yet.
    #[default]
    Unknown,
    /// It did.
    #[serde(rename = "ok")]
    Good,
    /// It failed.
    #[serde(rename = "err")]
    Bad,
}

/// One remembered evaluation of a rule.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Evaluated {
    /// The instant that the expression was evaluated at.
    pub at: Timestamp,
    /// Series in the result.
    pub series: usize,
    /// Pending alerts after it.
    pub pending: usize,
    /// Firing alerts after it.
    pub firing: usize,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The first series and their values.
    pub values: Vec<(Labels, f64)>,
}

/// What a group knows of one of its rules.
#[derive(Default)]
pub(crate) struct RuleState {
    pub(crate) active: Active,
    /// The series of the last good evaluation, with the storage's name for each.
    previous: HashMap<Labels, Option<SeriesRef>>,
    /// What a recording rule makes of the labels of its results, so that they are built once.
    recorded: HashMap<Labels, Labels>,
    /// What an alerting rule made of a result, by its labels, with the value's bits and the settings that it saw.
    expanded: HashMap<Labels, (u64, Found)>,
    expanded_with: Option<Arc<Settings>>,
    pub(crate) health: Health,
    pub(crate) last_error: String,
    pub(crate) evaluation_seconds: f64,
    pub(crate) last_evaluation: Option<Timestamp>,
    pub(crate) history: VecDeque<Evaluated>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) rules: Vec<RuleState>,
    pub(crate) evaluation_seconds: f64,
    pub(crate) last_evaluation: Option<Timestamp>,
    /// Series of rules that are gone; they end with the next evaluation.
    leftovers: Vec<Labels>,
}

/// A group with its state.
pub(crate) struct Group {
    pub(crate) rules: Arc<RuleGroup>,
    pub(crate) interval_ms: i64,
    pub(crate) offset_ms: i64,
    pub(crate) state: Mutex<State>,
    pub(crate) metric_labels: GroupLabels,
    waves: Vec<Wave>,
}

/// Rules that run together.
struct Wave {
    rules: std::ops::Range<usize>,
    /// Whether two of them may make the same series.
    may_clash: bool,
}

impl Wave {
    fn new(group: &RuleGroup, rules: std::ops::Range<usize>) -> Self {
        let mut names = HashSet::new();
        let may_clash = group.rules[rules.clone()].iter().any(|rule| {
            let is_alert = matches!(rule.kind, Kind::Alerting(_));
            !names.insert((is_alert, rule.name()))
        });
        Self { rules, may_clash }
    }
}

/// A series in a batch.
#[derive(Clone)]
struct Entry {
    rule: usize,
    labels: Labels,
    /// The storage's name for it, when the rule made it before.
    known: Option<Option<SeriesRef>>,
    /// Whether this is its staleness marker.
    ends: bool,
}

/// What a rule made.
struct Made {
    rule: usize,
    series: Vec<(Labels, Value)>,
}

impl Group {
    pub(crate) fn new(rules: Arc<RuleGroup>, settings: &Settings) -> Self {
        let state =
            State { rules: rules.rules.iter().map(|_| RuleState::default()).collect(), ..State::default() };
        Self {
            interval_ms: rules.interval_ms.unwrap_or(settings.interval_ms).max(1),
            offset_ms: rules.query_offset_ms.unwrap_or(settings.query_offset_ms),
            state: Mutex::new(state),
            metric_labels: GroupLabels { rule_group: format!("{};{}", rules.file, rules.name) },
            waves: rules.waves().into_iter().map(|range| Wave::new(&rules, range)).collect(),
            rules,
        }
    }

    /// Takes over the state of rules that stay; the series of the others end with the next evaluation.
    pub(crate) fn succeed(&self, old: &Self) {
        let mut state = self.state.lock();
        let mut old_state = old.state.lock();
        let mut free: Vec<Option<RuleState>> = old_state.rules.drain(..).map(Some).collect();
        state.evaluation_seconds = old_state.evaluation_seconds;
        state.last_evaluation = old_state.last_evaluation;
        for (rule, rule_state) in self.rules.rules.iter().zip(&mut state.rules) {
            let mut candidates = old.rules.rules.iter().zip(&mut free);
            let taken = candidates.find(|(old_rule, slot)| slot.is_some() && rule.succeeds(old_rule));
            match taken.and_then(|(_, slot)| slot.take()) {
                Some(old) => *rule_state = old,
                None => rule_state.active.restored = true,
            }
        }
        let mut leftovers = std::mem::take(&mut old_state.leftovers);
        leftovers.extend(free.into_iter().flatten().flat_map(|rule| rule.previous.into_keys()));
        state.leftovers = leftovers;
    }

    /// Whether the state from before a restart has not been read yet.
    pub(crate) fn is_restoring(&self) -> bool {
        self.state.lock().rules.iter().any(|rule| !rule.active.restored)
    }

    /// Nothing is to be restored: what rules make is written from the first evaluation.
    pub(crate) fn skip_restore(&self) {
        self.state.lock().rules.iter_mut().for_each(|rule| rule.active.restored = true);
    }

    /// The newest evaluation time that is not after `now`. Each group has its own place within the interval, by its name,
    /// so that groups do not all run at once and a group keeps its place over restarts.
    pub(crate) fn slot(&self, now: Timestamp) -> Timestamp {
        let key = Labels::from_pairs([("group", &self.rules.name), ("file", &self.rules.file)]);
        let place = (key.fingerprint() % self.interval_ms as u64) as i64;
        let shifted = now.ms() - place;
        Timestamp(shifted - shifted.rem_euclid(self.interval_ms) + place)
    }

    /// Evaluates all rules at `at`.
    pub(crate) async fn evaluate(&self, context: &Context, at: Timestamp) {
        let settings = Arc::clone(&context.settings.read());
        let started = Instant::now();
        let mut samples = 0;
        for wave in &self.waves {
            samples += self.wave(context, &settings, wave, at).await;
        }
        self.end_leftovers(context, at).await;
        let seconds = started.elapsed().as_secs_f64();
        let metrics = &context.metrics;
        let labels = &self.metric_labels;
        metrics.last_duration.get_or_create(labels).set(seconds);
        metrics.last_evaluation.get_or_create(labels).set(at.seconds());
        metrics.last_samples.get_or_create(labels).set(samples as i64);
        metrics.interval.get_or_create(labels).set(self.interval_ms as f64 / 1000.0);
        metrics.rules.get_or_create(labels).set(self.rules.rules.len() as i64);
        let mut state = self.state.lock();
        state.evaluation_seconds = seconds;
        state.last_evaluation = Some(at);
    }

    async fn wave(&self, context: &Context, settings: &Arc<Settings>, wave: &Wave, at: Timestamp) -> usize {
        let started = Instant::now();
        let query_at = at - self.offset_ms;
        let rules = &self.rules.rules[wave.rules.clone()];
        let queries: Vec<Arc<Query>> = rules.iter().map(|rule| Arc::clone(&rule.query)).collect();
        let answers = context.evaluator.instant(&context.tenant, &queries, query_at).await;
        let fetched = started.elapsed().as_secs_f64() / rules.len().max(1) as f64;
        let mut made = Vec::with_capacity(rules.len());
        let mut due = Vec::new();
        for (index, (rule, answer)) in wave.rules.clone().zip(rules.iter().zip(answers)) {
            let rule_started = Instant::now();
            let mut history =
                Evaluated { at: query_at, series: 0, pending: 0, firing: 0, error: None, values: Vec::new() };
            let result = match answer {
                Ok(vector) => {
                    history.series = vector.len();
                    let shown = vector.iter().take(context.config.history_series);
                    history.values = shown.map(|point| (point.labels.clone(), float(&point.value))).collect();
                    match &rule.kind {
                        Kind::Recording { metric, labels } => {
                            let cache = &mut self.state.lock().rules[index].recorded;
                            record(metric, labels, vector, self.rules.limit, cache)
                        }
                        Kind::Alerting(alerting) => {
                            self.alert(context, settings, index, alerting, vector, at).await
                        }
                    }
                }
                Err(err) => Err(err.chain()),
            };
            context.metrics.evaluations.get_or_create(&self.metric_labels).inc();
            let mut state = self.state.lock();
            let state = &mut state.rules[index];
            state.evaluation_seconds = fetched + rule_started.elapsed().as_secs_f64();
            state.last_evaluation = Some(at);
            match result {
                Ok(series) => {
                    state.health = Health::Good;
                    state.last_error.clear();
                    made.push(Made { rule: index, series });
                }
                Err(message) => {
                    context.metrics.evaluation_failures.get_or_create(&self.metric_labels).inc();
                    let group = &self.metric_labels.rule_group;
                    warn!(%group, rule = rule.name(), error = %message, "rule evaluation failed");
                    history.error = Some(message.clone());
                    state.fail(message);
                }
            }
            if let Kind::Alerting(_) = rule.kind {
                for alert in state.active.live() {
                    match alert.state {
                        AlertState::Firing => history.firing += 1,
                        _ => history.pending += 1,
                    }
                }
                if state.health == Health::Good {
                    let resend = context.config.resend_delay.ms();
                    let url = format!("{}{}", settings.external_url, expand::link(&rule.query.text, 1));
                    let alerts = state.active.due(at, resend, self.interval_ms, &url);
                    due.extend(alerts.into_iter().map(|alert| (index, alert)));
                }
            }
            if context.config.history > 0 {
                while state.history.len() >= context.config.history {
                    state.history.pop_front();
                }
                state.history.push_back(history);
            }
        }
        let samples = made.iter().map(|made| made.series.len()).sum();
        self.notify(context, settings, due, at).await;
        self.store(context, made, wave.may_clash, query_at).await;
        samples
    }

    /// Expands the texts of each result, moves the alerts on, and answers with their series.
    pub(crate) async fn alert(
        &self,
        context: &Context,
        settings: &Arc<Settings>,
        index: usize,
        alerting: &Alerting,
        vector: Vector,
        at: Timestamp,
    ) -> Result<Vec<(Labels, Value)>, String> {
        let found = match alerting.is_volatile() {
            true => self.expand_asking(context, settings, alerting, &vector, at).await?,
            false => self.expand_known(settings, index, alerting, &vector, at),
        };
        let mut state = self.state.lock();
        let active = &mut state.rules[index].active;
        active.step(alerting, found, at, self.rules.limit)?;
        let restored = active.restored;
        Ok(active
            .series()
            .filter(|_| restored)
            .map(|(labels, value)| (labels, Value::Float(value)))
            .collect())
    }

    /// Expands texts that depend on the result alone: what was made of an equal result is taken again.
    fn expand_known(
        &self,
        settings: &Arc<Settings>,
        index: usize,
        alerting: &Alerting,
        vector: &Vector,
        at: Timestamp,
    ) -> Vec<Found> {
        let mut state = self.state.lock();
        let state = &mut state.rules[index];
        if !state.expanded_with.as_ref().is_some_and(|with| Arc::ptr_eq(with, settings)) {
            state.expanded.clear();
            state.expanded_with = Some(Arc::clone(settings));
        }
        let mut before = std::mem::take(&mut state.expanded);
        let expander = std::cell::OnceCell::new();
        let mut found = Vec::with_capacity(vector.len());
        for point in vector {
            let bits = match &point.value {
                Value::Float(value) => Some(value.to_bits()),
                Value::Histogram(_) => None,
            };
            let known = before.remove(&point.labels).filter(|(known, _)| Some(*known) == bits);
            let one = known.map(|(_, found)| found).unwrap_or_else(|| {
                let new = || Expander::new(at, &settings.external_labels, &settings.external_url);
                expand_alert(expander.get_or_init(new), alerting, point)
            });
            if let Some(bits) = bits {
                state.expanded.insert(point.labels.clone(), (bits, one.clone()));
            }
            found.push(one);
        }
        found
    }

    /// Expands texts that may ask queries.
    pub(crate) async fn expand_asking(
        &self,
        context: &Context,
        settings: &Settings,
        alerting: &Alerting,
        vector: &Vector,
        at: Timestamp,
    ) -> Result<Vec<Found>, String> {
        if vector.is_empty() {
            return Ok(Vec::new());
        }
        let expander = Expander::new(at, &settings.external_labels, &settings.external_url);
        for _ in 0..QUERY_ROUNDS {
            let found = vector.iter().map(|point| expand_alert(&expander, alerting, point)).collect();
            let mut missing = expander.answers.lock().missing();
            missing.sort_unstable();
            missing.dedup();
            if missing.is_empty() {
                return Ok(found);
            }
            self.answer(context, &expander, missing, at).await;
        }
        Err(format!("the templates make queries from queries more than {QUERY_ROUNDS} deep"))
    }

    async fn answer(&self, context: &Context, expander: &Expander, missing: Vec<String>, at: Timestamp) {
        let mut queries = Vec::new();
        for text in missing {
            match Query::new(&text, &context.language) {
                Ok(query) => queries.push(Arc::new(query)),
                Err(err) => expander.answers.lock().answer(text, Err(err.to_string())),
            }
        }
        let answers = context.evaluator.instant(&context.tenant, &queries, at).await;
        for (query, answer) in queries.iter().zip(answers) {
            let answer = answer.map_err(|err| err.chain());
            expander.answers.lock().answer(query.text.clone(), answer);
        }
    }

    async fn notify(&self, context: &Context, settings: &Settings, due: Vec<(usize, Alert)>, at: Timestamp) {
        if due.is_empty() {
            return;
        }
        let alerts: Vec<Alert> = due.iter().filter_map(|(_, alert)| outgoing(alert, settings)).collect();
        let count = alerts.len() as u64;
        let sent = if alerts.is_empty() {
            Ok(())
        } else {
            let sending = context.notifier.notify(&context.tenant, alerts);
            match tokio::time::timeout(context.config.notify_timeout.to_std(), sending).await {
                Ok(Ok(())) => Ok(()),
                Ok(Err(err)) => Err(err.chain()),
                Err(_) => Err(format!("no answer within {}", context.config.notify_timeout)),
            }
        };
        match sent {
            Ok(()) => {
                context.metrics.alerts_sent.inc_by(count);
                let mut state = self.state.lock();
                for (rule, alert) in &due {
                    state.rules[*rule].active.sent(&alert.labels, at);
                }
            }
            Err(err) => {
                context.metrics.alerts_unsent.inc_by(count);
                warn!(group = %self.metric_labels.rule_group, alerts = count, error = %err,
                    "the alert manager did not take alerts; they are sent again with the next evaluation");
            }
        }
    }

    /// Stores what rules made, and staleness markers for what they no longer make.
    async fn store(&self, context: &Context, made: Vec<Made>, may_clash: bool, at: Timestamp) {
        let mut batch = Batch::new();
        let mut entries: Vec<Entry> = Vec::new();
        let mut twice: Vec<(usize, Labels, Value)> = Vec::new();
        {
            let mut names = HashSet::new();
            let state = self.state.lock();
            for Made { rule, series } in &made {
                let previous = &state.rules[*rule].previous;
                let mut went_on = 0;
                for (labels, value) in series {
                    // Two rules of one wave that make the same series: the second goes in a batch of its own.
                    if may_clash && !names.insert(labels.clone()) {
                        twice.push((*rule, labels.clone(), value.clone()));
                        continue;
                    }
                    let known = previous.get(labels).copied();
                    went_on += usize::from(known.is_some());
                    add(&mut batch, labels, known.flatten(), at, value);
                    entries.push(Entry { rule: *rule, labels: labels.clone(), known, ends: false });
                }
                if went_on < previous.len() {
                    let current: HashSet<&Labels> = series.iter().map(|(labels, _)| labels).collect();
                    for (labels, known) in previous.iter().filter(|(labels, _)| !current.contains(labels)) {
                        let elsewhere = may_clash
                            && made.iter().any(|other| other.series.iter().any(|(name, _)| name == labels));
                        if elsewhere {
                            continue;
                        }
                        add(&mut batch, labels, *known, at, &Value::Float(f64::from_bits(STALE_NAN)));
                        let known = Some(*known);
                        entries.push(Entry { rule: *rule, labels: labels.clone(), known, ends: true });
                    }
                }
            }
        }
        let refs = match self.append(context, &batch, &entries, at).await {
            Ok(refs) => refs,
            Err(message) => {
                let mut state = self.state.lock();
                for Made { rule, series } in &made {
                    if !series.is_empty() {
                        state.rules[*rule].fail(message.clone());
                    }
                }
                return;
            }
        };
        {
            let mut state = self.state.lock();
            for (entry, name) in entries.into_iter().zip(refs) {
                let previous = &mut state.rules[entry.rule].previous;
                if entry.ends {
                    previous.remove(&entry.labels);
                } else if entry.known != Some(name) {
                    previous.insert(entry.labels, name);
                }
            }
            for (rule, labels, _) in &twice {
                state.rules[*rule].previous.insert(labels.clone(), None);
            }
        }
        for (rule, labels, value) in twice {
            batch.clear();
            add(&mut batch, &labels, None, at, &value);
            let entry = Entry { rule, labels, known: None, ends: false };
            if let Err(message) = self.append(context, &batch, &[entry], at).await {
                self.state.lock().rules[rule].fail(message);
            }
        }
    }

    /// Appends and counts refusals. Answers with the storage's names for the series.
    async fn append(
        &self,
        context: &Context,
        batch: &Batch,
        entries: &[Entry],
        at: Timestamp,
    ) -> Result<Vec<Option<SeriesRef>>, String> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let appended = context.appender.append(&context.tenant, batch).await.map_err(|err| err.chain())?;
        let mut refs = appended.refs;
        refs.resize(entries.len(), None);
        self.refused(context, &appended.rejected, appended.rejected_count, entries);
        if !appended.unknown_refs.is_empty() {
            // The storage has forgotten these: name them by labels.
            let mut again = Batch::new();
            let mut again_entries = Vec::new();
            for &series in &appended.unknown_refs {
                let Some(entry) = entries.get(series as usize) else { continue };
                let index = again.add_series(&entry.labels);
                for sample in batch.floats().iter().filter(|sample| sample.series == series) {
                    again.push_float(index, at.ms(), sample.value);
                }
                for sample in batch.histograms().iter().filter(|sample| sample.series == series) {
                    again.push_histogram(index, at.ms(), Arc::clone(&sample.histogram));
                }
                again_entries.push((series as usize, entry.clone()));
            }
            let appended =
                context.appender.append(&context.tenant, &again).await.map_err(|err| err.chain())?;
            let by_series: Vec<_> = again_entries.iter().map(|(_, entry)| entry.clone()).collect();
            self.refused(context, &appended.rejected, appended.rejected_count, &by_series);
            for ((series, _), known) in again_entries.iter().zip(appended.refs) {
                refs[*series] = known;
            }
        }
        Ok(refs)
    }

    fn refused(&self, context: &Context, rejected: &[model::Rejected], count: usize, entries: &[Entry]) {
        if count == 0 {
            return;
        }
        context.metrics.samples_rejected.get_or_create(&self.metric_labels).inc_by(count as u64);
        let group = &self.metric_labels.rule_group;
        let mut state = self.state.lock();
        for refusal in rejected {
            let Some(Entry { rule, labels, ends, .. }) = entries.get(refusal.series as usize) else {
                continue;
            };
            let reason = refusal.reason;
            // A clock that went back, or a series that somebody else writes too, is no fault of the rule.
            if matches!(reason, RejectReason::TooOld | RejectReason::DuplicateTimestamp) || *ends {
                debug!(%group, series = %labels, %reason, detail = %refusal.detail, "sample of a rule refused");
                continue;
            }
            warn!(%group, series = %labels, %reason, detail = %refusal.detail, "sample of a rule refused");
            state.rules[*rule].fail(format!("sample of {labels} refused: {}", refusal.detail));
        }
    }

    async fn end_leftovers(&self, context: &Context, at: Timestamp) {
        let leftovers = std::mem::take(&mut self.state.lock().leftovers);
        end_series(context, &leftovers, at - self.offset_ms, &self.metric_labels.rule_group).await;
    }

    /// Ends every series of the group: it is no longer loaded.
    pub(crate) async fn end_all(&self, context: &Context, at: Timestamp) {
        let series: Vec<Labels> = {
            let mut state = self.state.lock();
            let mut series = std::mem::take(&mut state.leftovers);
            series.extend(
                state.rules.iter_mut().flat_map(|rule| std::mem::take(&mut rule.previous).into_keys()),
            );
            series
        };
        end_series(context, &series, at - self.offset_ms, &self.metric_labels.rule_group).await;
    }
}

impl RuleState {
    fn fail(&mut self, message: String) {
        self.health = Health::Bad;
        self.last_error = message;
    }
}

fn float(value: &Value) -> f64 {
    match value {
        Value::Float(value) => *value,
        Value::Histogram(_) => 0.0,
    }
}

fn add(batch: &mut Batch, labels: &Labels, known: Option<SeriesRef>, at: Timestamp, value: &Value) {
    let series = match known {
        Some(known) => batch.add_series_ref(known),
        None => batch.add_series(labels),
    };
    match value {
        Value::Float(value) => batch.push_float(series, at.ms(), *value),
        Value::Histogram(histogram) => batch.push_histogram(series, at.ms(), Arc::clone(histogram)),
    }
}

async fn end_series(context: &Context, series: &[Labels], at: Timestamp, group: &str) {
    if series.is_empty() {
        return;
    }
    let mut batch = Batch::new();
    let mut names = HashSet::new();
    for labels in series.iter().filter(|labels| names.insert(*labels)) {
        add(&mut batch, labels, None, at, &Value::Float(f64::from_bits(STALE_NAN)));
    }
    if let Err(err) = context.appender.append(&context.tenant, &batch).await {
        warn!(%group, error = %err.chain(), "cannot end the series of rules that are gone");
    }
}

/// A recording rule's series. `cache`: what was made of labels before.
fn record(
    metric: &str,
    labels: &[(String, String)],
    vector: Vector,
    limit: usize,
    cache: &mut HashMap<Labels, Labels>,
) -> Result<Vec<(Labels, Value)>, String> {
    let count = vector.len();
    if cache.len() > 2 * count + 16 {
        cache.clear();
    }
    let mut names = HashSet::with_capacity(count);
    let mut series = Vec::with_capacity(count);
    for point in vector {
        let labels = match cache.get(&point.labels) {
            Some(known) => known.clone(),
            None => {
                let mut builder = point.labels.to_builder();
                builder.set(METRIC_NAME, metric);
                for (name, value) in labels {
                    builder.set(name, value);
                }
                let built = builder.build();
                cache.insert(point.labels, built.clone());
                built
            }
        };
        if !names.insert(labels.clone()) {
            return Err(
                "vector contains metrics with the same labelset after applying rule labels".to_owned()
            );
        }
        series.push((labels, point.value));
    }
    if limit > 0 && count > limit {
        return Err(format!("exceeded limit of {limit} with {count} series"));
    }
    Ok(series)
}

pub(crate) fn expand_alert(
    expander: &Expander,
    alerting: &Alerting,
    point: &crate::evaluate::Point,
) -> Found {
    let data = expander.data(&point.labels, &point.value);
    let mut builder = point.labels.to_builder();
    builder.remove(METRIC_NAME);
    for (name, text) in &alerting.labels {
        builder.set(name, expander.expand(text, &data));
    }
    builder.set("alertname", &alerting.name);
    let annotations = alerting.annotations.iter().map(|(name, text)| (name, expander.expand(text, &data)));
    let annotations = Labels::from_pairs(annotations);
    Found { labels: builder.build(), annotations, value: float(&point.value) }
}

/// The alert with external labels and relabelling, `None` when that drops it.
fn outgoing(alert: &Alert, settings: &Settings) -> Option<Alert> {
    Some(Alert { labels: relabelled(&alert.labels, settings)?, ..alert.clone() })
}

/// An alert's labels as they are sent, `None` when relabelling drops the alert.
pub(crate) fn relabelled(labels: &Labels, settings: &Settings) -> Option<Labels> {
    let mut builder = labels.to_builder();
    for (name, value) in &settings.external_labels {
        if builder.get(name).is_empty() {
            builder.set(name, value);
        }
    }
    model::relabel::apply(&settings.alert_relabel, &mut builder).ok()?;
    Some(builder.build())
}

/// Whether two groups are the same in file and name.
pub(crate) fn same_key(a: &RuleGroup, b: &RuleGroup) -> bool {
    (&a.file, &a.name) == (&b.file, &b.name)
}
