//! The page from rounds to bytes: with the real state file, the real listener, a receiver of webhooks.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use flate2::Compression;
use flate2::read::GzEncoder;
use httpc::{Client, Options, Request};
use model::seam::BoxFuture;
use model::{Clock, Labels, SeamError, StateStore, TenantId, Timestamp, Value};
use parking_lot::Mutex;
use rules::evaluate::{Point, Vector};
use rules::{Evaluator, Query};
use tokio_util::sync::CancellationToken;

use super::config::{ComponentConfig, StatusPageConfig};
use super::keeper::{Keeper, NewIncident, NewUpdate, Parts};
use super::publish::Published;
use super::shapes::{DAY_MS, Impact, Snapshot, State, Status};
use super::{hooks, listen};
use crate::metrics::StatusPageMetrics;

/// Noon of a day in 2026.
const NOON: i64 = 20_500 * DAY_MS + DAY_MS / 2;

struct Hand(AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// Answers a share for what is asked now, and counts for what is asked of the past.
#[derive(Default)]
struct Answers {
    share: Mutex<Option<f64>>,
    asked: Mutex<Vec<String>>,
}

impl Evaluator for Answers {
    fn instant<'a>(
        &'a self,
        _: &'a TenantId,
        queries: &'a [Arc<Query>],
        _: Timestamp,
    ) -> BoxFuture<'a, Vec<Result<Vector, SeamError>>> {
        let one = |query: &Arc<Query>| {
            self.asked.lock().push(query.text.clone());
            let value = match query.text.as_str() {
                text if !text.starts_with("count_over_time") => *self.share.lock(),
                text if text.contains(">= 1") => Some(200.0),
                text if text.contains("< 0.5") => Some(8.0),
                _ => Some(288.0),
            };
            let point = |value| Point { labels: Labels::empty(), value: Value::Float(value) };
            Ok(value.map(point).into_iter().collect())
        };
        let answers = queries.iter().map(one).collect();
        Box::pin(async move { answers })
    }
}

struct World {
    clock: Arc<Hand>,
    answers: Arc<Answers>,
    published: Arc<Published>,
    keeper: Arc<Keeper>,
}

async fn world(folder: &Path) -> World {
    let clock = Arc::new(Hand(AtomicI64::new(NOON)));
    let answers = Arc::new(Answers::default());
    *answers.share.lock() = Some(1.0);
    let metrics = state::Metrics::new(&mut prometheus_client::registry::Registry::default());
    let store = state::Store::open(folder.join("state.sqlite"), state::Config::default(), metrics).unwrap();
    let published =
        Published::open(Some(folder.join("status-page.json")), Arc::clone(&clock) as Arc<dyn Clock>);
    let component = |id: &str| ComponentConfig {
        id: id.into(),
        name: format!("The <{id}>"),
        expr: format!("up{{job=\"{id}\"}} # says whether it works"),
        ..ComponentConfig::default()
    };
    let config = StatusPageConfig {
        title: "A & B".into(),
        url: "https://status.example.com/".into(),
        components: vec![component("shop"), component("mail")],
        max_incidents: 3,
        ..StatusPageConfig::default()
    };
    config.check(&promql::Options::default()).unwrap();
    let keeper = Keeper::open(Parts {
        config,
        evaluator: Arc::clone(&answers) as Arc<dyn Evaluator>,
        options: promql::Options::default(),
        state: Arc::new(store) as Arc<dyn StateStore>,
        clock: Arc::clone(&clock) as Arc<dyn Clock>,
        published: Arc::clone(&published),
        metrics: StatusPageMetrics::default(),
    });
    World { clock, answers, published, keeper: keeper.await.unwrap() }
}

impl World {
    async fn rounds(&self, count: usize) {
        for _ in 0..count {
            self.clock.0.fetch_add(30_000, Ordering::SeqCst);
            self.keeper.round().await.unwrap();
        }
    }

    fn seen(&self) -> Arc<Snapshot> {
        self.published.snapshot().unwrap()
    }

    fn page(&self) -> String {
        String::from_utf8(self.published.rendered().unwrap().page.to_vec()).unwrap()
    }
}

fn incident(impact: Impact, status: Status) -> NewIncident {
    NewIncident {
        title: "Shop <down>".into(),
        impact,
        components: vec!["shop".into()],
        status,
        text: "We look into it.".into(),
        starts_ms: None,
        ends_ms: None,
    }
}

fn update(status: Status, text: &str) -> NewUpdate {
    NewUpdate { status, text: text.into(), impact: None, components: None }
}

#[tokio::test]
async fn rounds_become_days_and_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    {
        let world = world(folder.path()).await;
        world.rounds(3).await;
        assert_eq!(world.seen().worst(), State::Operational);
        *world.answers.share.lock() = Some(0.2);
        world.rounds(3).await;
        let seen = world.seen();
        let shop = &seen.components[0];
        assert_eq!(shop.state, State::Outage);
        let today = shop.days.last().unwrap();
        // The first round books nothing; an outage is shown, and booked, from the second round on that says so.
        assert_eq!((today.day, today.ok_ms, today.outage_ms), (20_500, 120_000, 30_000));
        assert_eq!(shop.days.len(), 90);
        assert_eq!(shop.uptime(), Some(0.8));
        let page = world.page();
        assert!(page.contains("2 systems are in trouble"), "{page}");
        assert!(page.contains("The &lt;shop&gt;") && page.contains("<title>A &amp; B</title>"));
        // A gap in the rounds is time that nobody knows of.
        world.clock.0.fetch_add(3_600_000, Ordering::SeqCst);
        world.rounds(1).await;
        assert_eq!(world.seen().components[0].days.last().unwrap().outage_ms, 30_000);
    }
    let again = world(folder.path()).await;
    // Before its first round the copy on disk is shown, and after it the days are still there.
    assert_eq!(again.seen().components[0].state, State::Outage);
    again.rounds(1).await;
    assert_eq!(again.seen().components[0].days.last().unwrap().ok_ms, 120_000);
}

#[tokio::test]
async fn a_silent_monitor_does_not_look_healthy() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path()).await;
    world.rounds(2).await;
    assert!(world.page().contains("All systems operational"));
    world.clock.0.fetch_add(91_000, Ordering::SeqCst);
    let page = world.page();
    assert!(!page.contains("All systems operational"), "{page}");
    assert!(page.contains("may be out of date") && page.contains("the monitor is silent"));
}

#[tokio::test]
async fn a_new_component_is_filled_in_from_storage_once() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path()).await;
    world.rounds(1).await;
    world.keeper.fill_one(0).await.unwrap();
    world.rounds(1).await;
    let seen = world.seen();
    let days = &seen.components[0].days;
    let first = &days[0];
    assert_eq!((first.ok_ms, first.degraded_ms, first.outage_ms), (60_000_000, 24_000_000, 2_400_000));
    let asked = world.answers.asked.lock().len();
    world.keeper.fill_one(0).await.unwrap();
    assert_eq!(world.answers.asked.lock().len(), asked);
}

#[test]
fn what_is_booked_while_the_past_is_read_counts() {
    use crate::status_page::shapes::Day;

    let day = |ok_ms, outage_ms| Day { day: 7, ok_ms, outage_ms, ..Day::default() };
    let mut read = day(1000, 10);
    read.add_since(&day(60, 5), &day(20, 5));
    assert_eq!(read, day(1040, 10));
}

#[tokio::test]
async fn incidents_are_told_worked_on_and_kept_within_bounds() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path()).await;
    world.rounds(2).await;
    let refused = |new| {
        let keeper = Arc::clone(&world.keeper);
        async move { keeper.open_incident(new).await.unwrap_err().message }
    };
    let nameless =
        NewIncident { components: vec!["nothing".into()], ..incident(Impact::Minor, Status::Monitoring) };
    assert!(refused(nameless).await.contains("there are: shop, mail"));
    assert!(refused(incident(Impact::Minor, Status::Scheduled)).await.contains("are for maintenance"));
    assert!(refused(incident(Impact::Maintenance, Status::Scheduled)).await.contains("ends_ms"));

    let one = world.keeper.open_incident(incident(Impact::Major, Status::Investigating)).await.unwrap();
    assert_eq!(world.seen().components[0].state, State::Outage);
    assert_eq!(world.seen().components[1].state, State::Operational);
    assert!(world.page().contains("Shop &lt;down&gt;"));
    world.keeper.update_incident(one.id, update(Status::Resolved, "It works again.")).await.unwrap();
    assert_eq!(world.seen().components[0].state, State::Operational);
    let made = world.published.rendered().unwrap();
    let (rss, feed) = (String::from_utf8_lossy(&made.rss), String::from_utf8_lossy(&made.feed));
    assert_eq!(rss.matches("<item>").count(), 2, "{rss}");
    assert!(rss.contains(&format!("https://status.example.com/history#i{}", one.id)));
    let feed: serde_json::Value = serde_json::from_str(&feed).unwrap();
    assert_eq!(feed["items"][0]["title"], "Shop <down>: Resolved");

    // Announced work begins and ends by itself.
    let now = world.clock.now().ms();
    let work = NewIncident {
        starts_ms: Some(now + 60_000),
        ends_ms: Some(now + 120_000),
        ..incident(Impact::Maintenance, Status::Scheduled)
    };
    let work = world.keeper.open_incident(work).await.unwrap();
    assert_eq!(world.seen().components[0].state, State::Operational);
    world.rounds(2).await;
    assert_eq!(world.seen().components[0].state, State::Maintenance);
    world.rounds(3).await;
    let seen = world.seen();
    assert_eq!(seen.components[0].state, State::Operational);
    let shown = seen.incidents.iter().find(|one| one.id == work.id).unwrap();
    assert_eq!(
        shown.updates.iter().map(|one| one.status).collect::<Vec<_>>(),
        [Status::Scheduled, Status::InProgress, Status::Completed]
    );
    // The bound is three: the oldest that is over makes room, open ones do not.
    for _ in 0..3 {
        world.keeper.open_incident(incident(Impact::Minor, Status::Investigating)).await.unwrap();
    }
    assert!(!world.seen().incidents.iter().any(|seen| seen.id == one.id));
    assert!(refused(incident(Impact::Minor, Status::Investigating)).await.contains("max_incidents"));
}

/// A receiver that answers what it is told to, and keeps what it got.
async fn receiver(statuses: Vec<u16>) -> (String, Arc<Mutex<Vec<(String, String)>>>) {
    let got: Arc<Mutex<Vec<(String, String)>>> = Arc::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (kept, statuses) = (Arc::clone(&got), Arc::new(Mutex::new(statuses)));
    let router = axum::Router::new().fallback(move |headers: axum::http::HeaderMap, body: String| {
        let (kept, statuses) = (Arc::clone(&kept), Arc::clone(&statuses));
        async move {
            kept.lock().push((headers["bellwether-signature"].to_str().unwrap().to_owned(), body));
            let mut left = statuses.lock();
            let status = if left.is_empty() { 200 } else { left.remove(0) };
            axum::http::StatusCode::from_u16(status).unwrap()
        }
    });
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, got)
}

#[tokio::test]
async fn webhooks_are_told_in_order_signed_until_they_take_it() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path()).await;
    let (url, got) = receiver(vec![500]).await;
    let (hook, secret) = world.keeper.hooks.add("ours", &url).await.unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(Arc::clone(&world.keeper).run(stop.clone()));
    let one = world.keeper.open_incident(incident(Impact::Major, Status::Investigating)).await.unwrap();
    let wait = |count: usize| {
        let got = Arc::clone(&got);
        async move {
            for _ in 0..400 {
                if got.lock().len() >= count {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            panic!("{count} webhooks were expected: {:?}", got.lock());
        }
    };
    // The first attempt fails; nothing else comes before it is taken.
    wait(1).await;
    world.clock.0.fetch_add(5_000, Ordering::SeqCst);
    world.keeper.update_incident(one.id, update(Status::Resolved, "Mended.")).await.unwrap();
    wait(3).await;
    let seen = got.lock().clone();
    let event = |index: usize| serde_json::from_str::<serde_json::Value>(&seen[index].1).unwrap();
    assert_eq!(seen[0].1, seen[1].1);
    for (signature, body) in &seen {
        let (seconds, mac) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
        assert_eq!(mac, hooks::sign(&secret, seconds.parse().unwrap(), body));
    }
    let all: Vec<_> = (0..seen.len()).map(event).collect();
    assert!(
        all.iter().any(|event| event["event"] == "component" && event["component"]["state"] == "outage"),
        "{all:?}"
    );
    world.keeper.hooks.remove(hook.id).await.unwrap();
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn the_listener_serves_without_the_core_and_stays_small() {
    let folder = tempfile::tempdir().unwrap();
    let world = world(folder.path()).await;
    world.rounds(2).await;
    *world.answers.share.lock() = Some(0.0);
    world.rounds(2).await;
    world.keeper.open_incident(incident(Impact::Major, Status::Investigating)).await.unwrap();
    let served = listen::serve("127.0.0.1:0", 8, Arc::clone(&world.published), StatusPageMetrics::default());
    let serving = served.await.unwrap();
    let base = format!("http://{}", serving.address);
    // Nothing but the copy is left.
    let clock = Arc::clone(&world.clock);
    drop(world);
    let client =
        Client::new(&httpc::Config::default(), Options { compression: false, ..Options::default() }).unwrap();
    let get = |path: &str| {
        let request = Request::get(&format!("{base}{path}")).unwrap();
        let client = client.clone();
        async move {
            let response = client.send(request).await.unwrap();
            let status = response.status().as_u16();
            let header = |name: &str| response.header(name).unwrap_or_default().to_owned();
            let (kind, policy, tag) =
                (header("content-type"), header("content-security-policy"), header("etag"));
            (status, kind, policy, tag, response.bytes(1 << 20).await.unwrap())
        }
    };
    let (status, kind, policy, tag, body) = get("/").await;
    assert_eq!((status, kind.as_str()), (200, "text/html; charset=utf-8"));
    assert!(policy.starts_with("default-src 'none'"));
    let text = String::from_utf8_lossy(&body);
    assert!(!text.contains("<script"));
    let mut zipped = Vec::new();
    GzEncoder::new(&body[..], Compression::new(6)).read_to_end(&mut zipped).unwrap();
    assert!(zipped.len() <= 12 * 1024, "the page takes {} bytes", zipped.len());
    let again = Request::get(&format!("{base}/")).unwrap().header("If-None-Match", &tag).unwrap();
    assert_eq!(client.send(again).await.unwrap().status().as_u16(), 304);
    for (path, kind) in [
        ("/history", "text/html"),
        ("/status.json", "application/json"),
        ("/feed.rss", "application/rss+xml"),
        ("/feed.json", "application/feed+json"),
    ] {
        let (status, found, ..) = get(path).await;
        assert!(status == 200 && found.starts_with(kind), "{path}: {status} {found}");
    }
    // Nothing of the core is behind it.
    assert_eq!(get("/api/v1/query?query=up").await.0, 404);
    // Elsewhere, from the copy on disk alone.
    let alone = Published::open(Some(folder.path().join("status-page.json")), clock);
    assert_eq!(alone.snapshot().unwrap().incidents.len(), 1);
    drop(serving);
    let refused = client.send(Request::get(&base).unwrap()).await;
    assert!(refused.is_err());
}
