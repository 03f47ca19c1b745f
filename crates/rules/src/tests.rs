//! Files, and groups at work on a scripted evaluator under virtual time.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::seam::{BoxFuture, Names, Select, Selected, SeriesExemplars, SeriesSet, TimeRange};
use model::{
    Alert, Appended, Appender, Batch, Budget, Clock, ErrorKind, Labels, Metadata, Notifier, Querier, Samples,
    SeamError, Selector, SeriesRef, TenantId, Timestamp, Value, is_stale,
};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use crate::evaluate::{Evaluator, Point, Vector};
use crate::rule::Query;
use crate::*;

fn parse(text: &str) -> Result<RuleFile, String> {
    file::parse("r.yml", text, &promql::Options::default())
        .map_err(|problems| problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n"))
}

#[test]
fn files_with_all_fields() {
    let file = parse(
        r#"
groups:
  - name: a
    interval: 30s
    query_offset: 5s
    limit: 10
    labels: {team: x, n: 5}
    rules:
      - record: job:up:sum
        expr: sum by (job) (up)
        labels: {team: y}
      - alert: Down
        expr: up == 0
        for: 5m
        keep_firing_for: 1m
        annotations:
          summary: "{{ $labels.instance }} is down"
  - name: b
    rules:
"#,
    )
    .unwrap();
    let group = &file.groups[0];
    assert_eq!((group.interval_ms, group.query_offset_ms, group.limit), (Some(30_000), Some(5000), 10));
    assert_eq!(group.rules[0].labels().to_string(), r#"{n="5", team="y"}"#);
    assert_eq!((group.rules[1].name(), group.rules[1].line), ("Down", 12));
    assert_eq!(parse("").unwrap().groups.len(), 0);
    assert_eq!(parse("groups:").unwrap().groups.len(), 0);
}

#[test]
fn problems_say_where() {
    let cases = [
        (
            "groups:\n - name: a\n   rules:\n    - record: x\n      expr: 'up +'",
            "r.yml:5:13: group \"a\", rule 1, \"x\": could not parse expression: ",
        ),
        (
            "groups:\n - name: a\n   rules:\n    - expr: up",
            "r.yml:4:7: group \"a\", rule 1, \"\": one of 'record' or 'alert' must be set",
        ),
        (
            "groups:\n - name: a\n   rules:\n    - record: x\n      alert: y\n      expr: up",
            "only one of 'record' and 'alert' must be set",
        ),
        ("groups:\n - name: a\n   rules:\n    - alert: y", "field 'expr' must be set in rule"),
        (
            "groups:\n - name: a\n   rules:\n    - record: x\n      expr: up\n      for: 1m",
            "invalid field 'for' in recording rule",
        ),
        (
            "groups:\n - name: a\n   rules:\n    - record: x\n      expr: up\n      annotations: {a: b}",
            "invalid field 'annotations' in recording rule",
        ),
        (
            "groups:\n - name: a\n   rules:\n    - record: 'x{a=\"b\"}'\n      expr: up",
            "braces present in the recording rule name",
        ),
        (
            "groups:\n - name: a\n   rules:\n    - alert: x\n      expr: up\n      labels: {__name__: b}",
            "invalid label name: __name__",
        ),
        (
            "groups:\n - name: a\n   rules:\n    - alert: x\n      expr: up\n      annotations: {a: '{{ $label.x }}'}",
            "annotation \"a\": template: __alert_x:1: undefined variable \"$label\"",
        ),
        ("groups:\n - name: a\n - name: a", "groupname: \"a\" is repeated in the same file"),
        ("groups:\n - rules: []", "group name must not be empty"),
        ("groups:\n - name: a\n   foo: b", "r.yml:3:4: groups[0]: unknown field `foo`"),
        (
            "groups:\n - name: a\n   interval: 1x",
            "r.yml:3:14: groups[0].interval: not a valid duration string: \"1x\"",
        ),
        (
            "groups:\n - name: a\n   rules:\n    - record: x\n      expr: up[5m]",
            "a rule needs a vector or scalar",
        ),
        ("groups: [", "r.yml:1:9: groups[0]: unclosed bracket"),
    ];
    for (text, expected) in cases {
        let problems = parse(text).unwrap_err();
        assert!(problems.contains(expected), "{text}\n{problems}");
    }
}

#[test]
fn waves_keep_dependent_rules_apart() {
    let file = parse(
        "groups:\n - name: a\n   rules:\n    - {record: a, expr: up}\n    - {record: b, expr: up + c}\n    - {record: c, expr: a}\n    - {alert: d, expr: b}\n    - {record: e, expr: 'ALERTS{alertname=\"d\"}'}\n    - {record: f, expr: '{job=\"x\"}'}",
    )
    .unwrap();
    assert_eq!(file.groups[0].waves(), [0..2, 2..4, 4..5, 5..6]);
}

#[test]
fn patterns_find_files() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.yml", "b.yml", "c.yaml", "b1.yml"] {
        std::fs::write(folder.path().join(name), "groups: []").unwrap();
    }
    let names = |patterns: &[&str]| {
        let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
        let paths = file::expand(&patterns, folder.path()).unwrap();
        paths.iter().map(|p| p.file_name().unwrap().to_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&["*.yml", "a.yml"]), ["a.yml", "b.yml", "b1.yml"]);
    assert_eq!(names(&["[b-c]?y*", "none/*.yml"]), ["b.yml", "c.yaml"]);
    let missing = file::load_all(&["none.yml".to_owned()], folder.path(), &promql::Options::default());
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NotFound);
}

/// A storage that remembers what was written, and an evaluator that looks answers up in a script.
#[derive(Default)]
struct World {
    /// Series to samples; `NaN` stands for a staleness marker.
    stored: Mutex<BTreeMap<String, Vec<(i64, f64)>>>,
    labels: Mutex<BTreeMap<String, Labels>>,
    refs: Mutex<Vec<Labels>>,
    /// Query text to answer.
    answers: Mutex<BTreeMap<String, Result<Vec<(Labels, f64)>, String>>>,
    /// Query text to the last time at which its answer is not empty.
    until: Mutex<BTreeMap<String, i64>>,
    asked: Mutex<Vec<(String, i64)>>,
    inbox: Mutex<Vec<Alert>>,
    deaf: Mutex<bool>,
    forget_refs: Mutex<bool>,
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied())
}

impl World {
    fn answer(&self, query: &str, answer: &[(&[(&str, &str)], f64)]) {
        let answer = answer.iter().map(|(pairs, value)| (labels(pairs), *value)).collect();
        self.answers.lock().insert(query.to_owned(), Ok(answer));
    }

    fn series(&self, name: &str) -> Vec<f64> {
        let stored = self.stored.lock();
        stored.get(name).map(|samples| samples.iter().map(|(_, v)| *v).collect()).unwrap_or_default()
    }
}

impl Evaluator for World {
    fn instant<'a>(
        &'a self,
        _: &'a TenantId,
        queries: &'a [Arc<Query>],
        at: Timestamp,
    ) -> BoxFuture<'a, Vec<Result<Vector, SeamError>>> {
        Box::pin(async move {
            let answer = |query: &Arc<Query>| {
                self.asked.lock().push((query.text.clone(), at.ms()));
                assert!(query.text != "vector(13)", "unlucky");
                if self.until.lock().get(&query.text).is_some_and(|until| at.ms() > *until) {
                    return Ok(Vec::new());
                }
                match self.answers.lock().get(&query.text) {
                    Some(Ok(points)) => Ok(points
                        .iter()
                        .map(|(labels, value)| Point { labels: labels.clone(), value: Value::Float(*value) })
                        .collect()),
                    Some(Err(err)) => Err(SeamError::new(ErrorKind::Invalid, err.clone())),
                    None => Ok(Vec::new()),
                }
            };
            queries.iter().map(answer).collect()
        })
    }
}

impl Appender for World {
    fn append<'a>(&'a self, _: &'a TenantId, batch: &'a Batch) -> BoxFuture<'a, Result<Appended, SeamError>> {
        Box::pin(async move {
            let mut appended = Appended::default();
            let mut refs = self.refs.lock();
            if std::mem::take(&mut *self.forget_refs.lock()) {
                refs.iter_mut().for_each(|labels| *labels = Labels::empty());
            }
            let mut names = Vec::new();
            for (index, key) in batch.series().iter().enumerate() {
                let found = match key {
                    model::batch::SeriesKey::Ref(known) => Some(refs[known.0 as usize].clone()),
                    model::batch::SeriesKey::Labels(_) => {
                        Labels::from_encoded(batch.label_bytes(index as u32).unwrap())
                    }
                };
                let found = found.unwrap();
                if found.is_empty() {
                    appended.unknown_refs.push(index as u32);
                    appended.refs.push(None);
                } else {
                    refs.push(found.clone());
                    appended.refs.push(Some(SeriesRef(refs.len() as u64 - 1)));
                }
                names.push(found);
            }
            for sample in batch.floats() {
                let labels = &names[sample.series as usize];
                if labels.is_empty() {
                    continue;
                }
                let value = if is_stale(sample.value) { f64::NAN } else { sample.value };
                self.labels.lock().insert(labels.to_string(), labels.clone());
                self.stored.lock().entry(labels.to_string()).or_default().push((sample.time, value));
                appended.accepted += 1;
            }
            Ok(appended)
        })
    }
}

impl Notifier for World {
    fn notify<'a>(&'a self, _: &'a TenantId, alerts: Vec<Alert>) -> BoxFuture<'a, Result<(), SeamError>> {
        Box::pin(async move {
            if *self.deaf.lock() {
                return Err(SeamError::new(ErrorKind::Unavailable, "deaf"));
            }
            self.inbox.lock().extend(alerts);
            Ok(())
        })
    }
}

struct Found(Vec<(Labels, Vec<(i64, f64)>)>);

impl SeriesSet for Found {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn labels(&self, index: usize) -> Labels {
        self.0[index].0.clone()
    }
    fn read(&self, index: usize, out: &mut Samples) -> Result<(), SeamError> {
        out.clear();
        self.0[index].1.iter().for_each(|(time, value)| out.push_float(*time, *value));
        Ok(())
    }
}

impl Querier for World {
    fn select<'a>(
        &'a self,
        _: &'a TenantId,
        selects: &'a [Select],
        _: &'a Arc<Budget>,
    ) -> BoxFuture<'a, Result<Vec<Selected>, SeamError>> {
        Box::pin(async move {
            let names = self.labels.lock();
            let stored = self.stored.lock();
            let found = selects.iter().map(|select| {
                let matching = stored.iter().filter_map(|(name, samples)| {
                    let labels = &names[name];
                    let within: Vec<_> = samples
                        .iter()
                        .copied()
                        .filter(|(time, _)| select.start.ms() < *time && *time <= select.end.ms())
                        .collect();
                    let fits = model::matcher::selects(&select.matchers, labels) && !within.is_empty();
                    fits.then(|| (labels.clone(), within))
                });
                Selected { series: Arc::new(Found(matching.collect())), warnings: Vec::new() }
            });
            Ok(found.collect())
        })
    }
    fn series<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a [Selector],
        _: TimeRange,
        _: usize,
    ) -> BoxFuture<'a, Result<(Vec<Labels>, Vec<String>), SeamError>> {
        Box::pin(async { Ok(Default::default()) })
    }
    fn label_names<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a [Selector],
        _: TimeRange,
        _: usize,
    ) -> BoxFuture<'a, Result<Names, SeamError>> {
        Box::pin(async { Ok(Default::default()) })
    }
    fn label_values<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a str,
        _: &'a [Selector],
        _: TimeRange,
        _: usize,
    ) -> BoxFuture<'a, Result<Names, SeamError>> {
        Box::pin(async { Ok(Default::default()) })
    }
    fn metadata<'a>(
        &'a self,
        _: &'a TenantId,
        _: Option<&'a str>,
        _: usize,
    ) -> BoxFuture<'a, Result<BTreeMap<String, Vec<Metadata>>, SeamError>> {
        Box::pin(async { Ok(Default::default()) })
    }
    fn exemplars<'a>(
        &'a self,
        _: &'a TenantId,
        _: &'a [Selector],
        _: TimeRange,
    ) -> BoxFuture<'a, Result<Vec<SeriesExemplars>, SeamError>> {
        Box::pin(async { Ok(Default::default()) })
    }
}

/// Wall time that follows tokio's.
struct VirtualClock(Instant);

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_000 + self.0.elapsed().as_millis() as i64)
    }
}

fn ruler(world: &Arc<World>, clock: &Arc<VirtualClock>) -> Ruler {
    Ruler::new(Context {
        tenant: TenantId::default(),
        evaluator: world.clone(),
        querier: world.clone(),
        appender: world.clone(),
        notifier: world.clone(),
        clock: clock.clone(),
        metrics: Arc::new(Metrics::new(&mut prometheus_client::registry::Registry::default())),
        config: Config::default(),
        language: promql::Options::default(),
        settings: Default::default(),
    })
}

fn settings() -> Settings {
    Settings {
        external_labels: labels(&[("dc", "x"), ("severity", "never")]),
        external_url: "http://m".into(),
        ..Settings::default()
    }
}

fn minutes(n: u64) -> std::time::Duration {
    std::time::Duration::from_secs(60 * n)
}

const RULES: &str = r#"
groups:
  - name: a
    rules:
      - {record: total, expr: sum(up), labels: {by: rule}}
      - alert: Down
        expr: up == 0
        for: 2m
        labels: {severity: "{{ if eq $labels.i \"1\" }}page{{ else }}ticket{{ end }}"}
        annotations: {summary: "{{ $labels.i }} of {{ query \"count(up)\" | first | value }} is {{ $value }}"}
"#;

#[tokio::test(start_paused = true)]
async fn groups_record_alert_and_notify() {
    let world = Arc::new(World::default());
    let clock = Arc::new(VirtualClock(Instant::now()));
    let ruler = ruler(&world, &clock);
    world.answer("sum(up)", &[(&[], 1.0)]);
    world.answer("count(up)", &[(&[], 2.0)]);
    world.answer("up == 0", &[(&[("__name__", "up"), ("i", "1")], 0.0)]);
    ruler.load(&[parse(RULES).unwrap()], settings()).await;
    sleep(minutes(2)).await;
    assert_eq!(world.series(r#"total{by="rule"}"#), [1.0, 1.0]);
    // From the first evaluation on, so that a crash now forgets nothing.
    let pending =
        || world.series(r#"ALERTS{alertname="Down", alertstate="pending", i="1", severity="page"}"#);
    assert_eq!(pending(), [1.0, 1.0]);
    let groups = ruler.groups();
    assert_eq!(groups[0].rules[1].state, Some(alerting::AlertState::Pending));
    assert_eq!(groups[0].rules[1].health, Health::Good);
    assert!(world.inbox.lock().is_empty());
    sleep(minutes(1)).await;
    assert_eq!(
        world.series(r#"ALERTS{alertname="Down", alertstate="firing", i="1", severity="page"}"#),
        [1.0]
    );
    assert!(pending().last().unwrap().is_nan());
    let sent = world.inbox.lock().clone();
    let [alert] = sent.as_slice() else { panic!("{sent:?}") };
    assert_eq!(alert.labels.to_string(), r#"{alertname="Down", dc="x", i="1", severity="page"}"#);
    assert_eq!(alert.annotations.to_string(), r#"{summary="1 of 2 is 0"}"#);
    assert_eq!(alert.ends_at - alert.starts_at, 240_000);
    assert_eq!(alert.generator_url, "http://m/graph?g0.expr=up+%3D%3D+0&g0.tab=1");
    // Evaluations are a minute apart, at the group's own place in the minute.
    let asked = world.asked.lock().clone();
    let at: Vec<i64> = asked.iter().filter(|(query, _)| query == "sum(up)").map(|(_, at)| *at).collect();
    assert!(at.windows(2).all(|pair| pair[1] - pair[0] == 60_000));
    assert_ne!(at[0] % 60_000, 0);
    // While the alert manager does not answer nothing counts as sent; then the end is told too.
    *world.deaf.lock() = true;
    world.answer("up == 0", &[]);
    world.answer("sum(up)", &[]);
    *world.forget_refs.lock() = true;
    sleep(minutes(2)).await;
    *world.deaf.lock() = false;
    sleep(minutes(1)).await;
    let last = world.inbox.lock().last().cloned().unwrap();
    assert!(last.ends_at < clock.now() && last.ends_at > alert.starts_at);
    assert!(world.series(r#"total{by="rule"}"#).last().unwrap().is_nan());
    let firing = world.series(r#"ALERTS{alertname="Down", alertstate="firing", i="1", severity="page"}"#);
    assert!(firing.len() == 2 && firing[1].is_nan());
    let json = serde_json::to_value(ruler.groups()).unwrap();
    assert_eq!(json[0]["rules"][1]["type"], "alerting");
    assert_eq!(json[0]["rules"][1]["duration"], 120.0);
    assert_eq!(json[0]["rules"][0]["query"], "sum(up)");
    ruler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn failures_are_shown_and_leave_alerts_alone() {
    let world = Arc::new(World::default());
    let clock = Arc::new(VirtualClock(Instant::now()));
    let ruler = ruler(&world, &clock);
    world.answer("up == 0", &[(&[("i", "2")], 0.0)]);
    world.answer("sum(up)", &[(&[("a", "1")], 1.0), (&[("a", "1")], 2.0)]);
    ruler.load(&[parse(RULES).unwrap()], settings()).await;
    sleep(minutes(4)).await;
    world.answers.lock().insert("up == 0".into(), Err("no such thing".into()));
    sleep(minutes(1)).await;
    let rules = &ruler.groups()[0].rules;
    assert_eq!((rules[0].health, rules[1].health), (Health::Bad, Health::Bad));
    assert_eq!(
        rules[0].last_error,
        "vector contains metrics with the same labelset after applying rule labels"
    );
    assert_eq!(rules[1].last_error, "no such thing");
    assert_eq!(rules[1].state, Some(alerting::AlertState::Firing));
    assert_eq!(rules[1].history.last().unwrap().error.as_deref(), Some("no such thing"));
    assert_eq!(ruler.alerts().len(), 1);
    assert_eq!(ruler.alerts()[0].value, "0e+00");
    ruler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_what_stays() {
    let world = Arc::new(World::default());
    let clock = Arc::new(VirtualClock(Instant::now()));
    let ruler = ruler(&world, &clock);
    world.answer("up == 0", &[(&[("i", "2")], 0.0)]);
    world.answer("sum(up)", &[(&[], 1.0)]);
    ruler.load(&[parse(RULES).unwrap()], settings()).await;
    sleep(minutes(4)).await;
    assert_eq!(ruler.alerts()[0].state, alerting::AlertState::Firing);
    let since = ruler.alerts()[0].active_at.clone();
    // The same file: nothing changes. A rule is renamed: the other keeps its alert, the old series ends.
    ruler.load(&[parse(RULES).unwrap()], settings()).await;
    let renamed = RULES.replace("record: total", "record: sum");
    ruler.load(&[parse(&renamed).unwrap()], settings()).await;
    assert_eq!(ruler.alerts()[0].active_at, since);
    sleep(minutes(1)).await;
    assert_eq!(ruler.alerts()[0].state, alerting::AlertState::Firing);
    assert!(world.series(r#"total{by="rule"}"#).last().unwrap().is_nan());
    assert_eq!(world.series(r#"sum{by="rule"}"#), [1.0]);
    // All are gone: their series end after two intervals.
    ruler.load(&[], settings()).await;
    sleep(minutes(1)).await;
    assert_eq!(world.series(r#"sum{by="rule"}"#), [1.0]);
    sleep(minutes(2)).await;
    assert!(world.series(r#"sum{by="rule"}"#).last().unwrap().is_nan());
    ruler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_does_not_reset_the_clock_of_an_alert() {
    let world = Arc::new(World::default());
    let clock = Arc::new(VirtualClock(Instant::now()));
    let rules = RULES.replace("for: 2m", "for: 30m");
    world.answer("up == 0", &[(&[("i", "2")], 0.0)]);
    let first = ruler(&world, &clock);
    first.load(&[parse(&rules).unwrap()], settings()).await;
    sleep(minutes(10)).await;
    let before = first.alerts()[0].active_at.clone();
    first.stop().await;
    drop(first);
    sleep(minutes(5)).await;
    let second = ruler(&world, &clock);
    second.load(&[parse(&rules).unwrap()], settings()).await;
    sleep(minutes(3)).await;
    let after = second.alerts()[0].active_at.clone();
    let seconds = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_second();
    // The outage of five to six minutes does not count.
    let moved = seconds(&after) - seconds(&before);
    assert!((300..=480).contains(&moved), "{before} {after}");
    // About half an hour of being seen in all.
    sleep(minutes(17)).await;
    assert_eq!(second.alerts()[0].state, alerting::AlertState::Pending);
    sleep(minutes(3)).await;
    assert_eq!(second.alerts()[0].state, alerting::AlertState::Firing);
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_crash_soon_after_the_first_start_loses_no_clock() {
    let world = Arc::new(World::default());
    let clock = Arc::new(VirtualClock(Instant::now()));
    world.answer("up == 0", &[(&[("i", "2")], 0.0)]);
    let mut since = Vec::new();
    // Each time the server dies within two evaluations; the clock of `for` runs on.
    for _ in 0..3 {
        let ruler = ruler(&world, &clock);
        ruler.load(&[parse(&RULES.replace("for: 2m", "for: 30m")).unwrap()], settings()).await;
        sleep(minutes(1)).await;
        since.push(ruler.alerts()[0].active_at.parse::<jiff::Timestamp>().unwrap().as_second());
        ruler.stop().await;
    }
    assert!(since.windows(2).all(|pair| pair[1] - pair[0] <= 60), "only the outages are added: {since:?}");
    // What fired before a crash fires with the first evaluation after it.
    for wait in [4, 1] {
        let ruler = ruler(&world, &clock);
        ruler.load(&[parse(RULES).unwrap()], settings()).await;
        sleep(minutes(wait)).await;
        assert_eq!(ruler.alerts()[0].state, alerting::AlertState::Firing, "{wait}");
        ruler.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_resolves_nothing_that_is_kept_firing() {
    // Plain texts, and texts that ask queries.
    let plain = RULES.replace("{{ query \\\"count(up)\\\" | first | value }}", "2");
    assert_ne!(plain, RULES);
    for rules in [plain.as_str(), RULES] {
        let rules = rules.replace("for: 2m", "for: 2m\n        keep_firing_for: 10m");
        let world = Arc::new(World::default());
        let clock = Arc::new(VirtualClock(Instant::now()));
        world.answer("count(up)", &[(&[], 2.0)]);
        world.answer("up == 0", &[(&[("i", "2")], 0.0)]);
        let first = ruler(&world, &clock);
        first.load(&[parse(&rules).unwrap()], settings()).await;
        sleep(minutes(5)).await;
        world.until.lock().insert("up == 0".into(), clock.now().ms());
        sleep(minutes(3)).await;
        let before = first.alerts();
        assert_eq!(before[0].state, alerting::AlertState::Firing);
        let kept_since = before[0].keep_firing_since.clone().expect("it is only kept");
        // No good-bye: nothing is written at the end.
        first.stop().await;
        sleep(minutes(5)).await;
        let second = ruler(&world, &clock);
        second.load(&[parse(&rules).unwrap()], settings()).await;
        sleep(minutes(1)).await;
        let [alert] = second.alerts().try_into().unwrap();
        assert_eq!(
            (alert.state, &alert.annotations, &alert.active_at[..19]),
            (alerting::AlertState::Firing, &before[0].annotations, &before[0].active_at[..19])
        );
        let seconds = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_second();
        let moved = seconds(&alert.keep_firing_since.unwrap()) - seconds(&kept_since);
        assert!((300..=360).contains(&moved), "the outage alone does not count: {moved}");
        // Ten minutes of being kept in all: three before the crash, and these.
        sleep(minutes(5)).await;
        assert_eq!(second.alerts().len(), 1);
        assert!(
            world.inbox.lock().iter().all(|alert| alert.ends_at > alert.updated_at),
            "nothing has resolved"
        );
        sleep(minutes(3)).await;
        assert_eq!(second.alerts().len(), 0);
        assert!(world.inbox.lock().last().is_some_and(|alert| alert.ends_at <= alert.updated_at));
        second.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_had_resolved_before_a_crash_stays_so() {
    let world = Arc::new(World::default());
    let clock = Arc::new(VirtualClock(Instant::now()));
    let rules = RULES.replace("for: 2m", "keep_firing_for: 2m");
    world.answer("up == 0", &[(&[("i", "2")], 0.0)]);
    let first = ruler(&world, &clock);
    first.load(&[parse(&rules).unwrap()], settings()).await;
    sleep(minutes(2)).await;
    world.until.lock().insert("up == 0".into(), clock.now().ms());
    sleep(minutes(5)).await;
    assert_eq!(first.alerts().len(), 0);
    first.stop().await;
    let second = ruler(&world, &clock);
    second.load(&[parse(&rules).unwrap()], settings()).await;
    sleep(minutes(1)).await;
    assert_eq!(second.alerts().len(), 0);
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_explanation_says_what_the_rule_itself_says() {
    let world = Arc::new(World::default());
    let clock = Arc::new(VirtualClock(Instant::now()));
    // It held long before the server was there, as far as stored data goes.
    world.answer("up == 0", &[(&[("i", "2")], 0.0)]);
    let ruler = ruler(&world, &clock);
    ruler.load(&[parse(&RULES.replace("for: 2m", "for: 5m")).unwrap()], settings()).await;
    sleep(minutes(3)).await;
    let alert = labels(&[("alertname", "Down"), ("i", "2"), ("severity", "ticket")]);
    let [rule] = ruler.explain(&alert, clock.now()).await.try_into().unwrap();
    assert!(rule.verdict.starts_with("pending: the condition holds since"), "{}", rule.verdict);
    assert_eq!(rule.steps.last().unwrap().state, alerting::AlertState::Pending);
    ruler.stop().await;
}

/// The guide's rules are right and its test passes.
#[tokio::test]
async fn the_guide_is_true() {
    let guide = include_str!("../../../docs/guides/alert-rules.md");
    let block = |n: usize| guide.split("```yaml\n").nth(n).unwrap().split("```").next().unwrap();
    let groups = file::parse("shop.yml", block(1), &promql::Options::default()).unwrap().groups;
    let mut test = block(2).to_owned();
    test.push_str(block(3).split_once('\n').unwrap().1);
    let options = unit_test::TestOptions::default();
    let (failures, ran) = unit_test::run_text(&test, &|_| Ok(groups.clone()), &options).await;
    assert_eq!((failures.join("\n").as_str(), ran.len()), ("", 1));
}

#[tokio::test]
async fn the_engine_answers_each_rule_for_itself() {
    let mut storage = promql::script::Storage::new();
    for (job, value) in [("a", 1.0), ("b", 0.0)] {
        let up = labels(&[("__name__", "up"), ("job", job)]);
        storage.insert(&up, 1000, Value::Float(value), 0);
    }
    let limits = promql::Limits { threads: 1, ..Default::default() };
    let timeout = std::time::Duration::from_secs(10);
    let engine = Engine::new(Arc::new(storage), Default::default(), limits, Budget::unlimited(), timeout, 2);
    let mut texts = vec!["up == 0", "sum(up) + 1", "up * on () up", "3", "nothing"];
    texts.extend(["up"; 100]);
    let queries: Vec<_> =
        texts.iter().map(|text| Arc::new(Query::new(text, &Default::default()).unwrap())).collect();
    let answers = engine.instant(&TenantId::default(), &queries, Timestamp(2000)).await;
    let shown: Vec<String> = answers
        .iter()
        .map(|answer| match answer {
            Ok(vector) => format!("{:?}", vector.iter().map(|p| p.labels.to_string()).collect::<Vec<_>>()),
            Err(err) => err.to_string(),
        })
        .collect();
    assert_eq!(shown[0], r#"["up{job=\"b\"}"]"#);
    assert_eq!((shown[1].as_str(), shown[3].as_str(), shown[4].as_str()), (r#"["{}"]"#, r#"["{}"]"#, "[]"));
    assert!(shown[2].contains("found duplicate series"), "{}", shown[2]);
    assert_eq!(shown.len(), 105);
    assert!(shown[5..].iter().all(|one| one.matches("job").count() == 2));
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_one_evaluation_only() {
    let world = Arc::new(World::default());
    let clock = Arc::new(VirtualClock(Instant::now()));
    let ruler = ruler(&world, &clock);
    let text = "groups:\n- name: a\n  rules:\n  - {record: a, expr: vector(13)}\n- name: b\n  rules:\n  - {record: b, expr: sum(up)}";
    world.answer("sum(up)", &[(&[], 1.0)]);
    ruler.load(&[parse(text).unwrap()], settings()).await;
    sleep(minutes(3)).await;
    assert_eq!(ruler.context().metrics.panics.get(), 3);
    assert_eq!(world.series("b"), [1.0; 3]);
    ruler.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_reload_soon_after_a_start_does_not_lose_what_is_to_be_restored() {
    let world = Arc::new(World::default());
    let clock = Arc::new(VirtualClock(Instant::now()));
    let rules = RULES.replace("for: 2m", "for: 30m");
    world.answer("up == 0", &[(&[("i", "2")], 0.0)]);
    let first = ruler(&world, &clock);
    first.load(&[parse(&rules).unwrap()], settings()).await;
    sleep(minutes(20)).await;
    first.stop().await;
    let second = ruler(&world, &clock);
    second.load(&[parse(&rules).unwrap()], settings()).await;
    sleep(minutes(1)).await;
    second.load(&[parse(&rules.replace("record: total", "record: sum")).unwrap()], settings()).await;
    sleep(minutes(14)).await;
    assert_eq!(second.alerts()[0].state, alerting::AlertState::Firing);
    second.stop().await;
}

#[tokio::test]
async fn failures_name_the_test_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.yml");
    std::fs::write(&path, "tests: []\nfoo: 1\n").unwrap();
    let missing = folder.path().join("missing.yml");
    let report = unit_test::run(&[&path, &missing], &unit_test::TestOptions::default()).await;
    let (_, errors) = report.text();
    let named = |path: &std::path::Path, rest: &str| errors.contains(&format!("{}{rest}", path.display()));
    assert!(named(&path, ":2:1: unknown field `foo`") && named(&missing, ": No such file"), "{errors}");
}

#[tokio::test]
async fn tests_say_what_is_wrong() {
    let options = unit_test::TestOptions::default();
    let run = async |test: &str| {
        let (failures, _) = unit_test::run_text(test, &|_| Ok(Vec::new()), &options).await;
        failures.join("\n")
    };
    let sample = |expr: &str, value: &str| {
        format!("tests:\n- promql_expr_test:\n  - expr: {expr}\n    exp_samples: [{{value: {value}}}]")
    };
    for (expr, value) in [
        ("vector(NaN)", ".nan"),
        ("vector(NaN)", "NaN"),
        ("vector(-Inf)", "-.inf"),
        ("1e3", "1E+3"),
        ("16", "0x10"),
    ] {
        assert_eq!(run(&sample(expr, value)).await, "", "{expr} {value}");
    }
    let cases = [
        ("foo: 1", "1:1: unknown field `foo`"),
        ("evaluation_interval: 0s", "evaluation_interval must be more than 0"),
        ("group_eval_order: [a, a]", "group name repeated in evaluation order: a"),
        ("tests:\n- start_timestamp: soon", "start_timestamp \"soon\" is neither RFC 3339 nor seconds"),
        (
            "tests:\n- alert_rule_test: [{eval_time: 1m}]",
            "misses required attribute alertname at eval_time 1m",
        ),
        ("tests:\n- input_series: [{series: 'up{', values: 1}]", "input series \"up{\": "),
        ("tests:\n- input_series: [{series: up, values: one}]", "input series \"up\": \"one\" is no value"),
        ("tests:\n- promql_expr_test: [{expr: 'up +'}]", "expr: \"up +\", time: 0s, err: 1:5: parse error"),
    ];
    for (test, expected) in cases {
        let failures = run(test).await;
        assert!(failures.contains(expected), "{test}\n{failures}");
    }
}
