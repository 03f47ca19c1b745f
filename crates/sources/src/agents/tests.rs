//! The registry under virtual time: leases, ownership, take-over.

use std::time::Duration;

use model::duration::PromDuration;

use super::config::RemoteConfig;
use super::registry::owner;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn registry(name: &str) -> Registry {
    let config = Config {
        enabled: true,
        lease: PromDuration(60_000),
        peer_interval: PromDuration(5_000),
        max_agents: 2_000,
        remote: vec![
            RemoteConfig {
                matches: [("dc".to_owned(), "n.*".to_owned())].into(),
                interval: PromDuration(60_000),
                drop: vec!["node_netstat.*".into()],
                ..RemoteConfig::default()
            },
            RemoteConfig::default(),
        ],
        ..Config::default()
    };
    let registry = Registry::new(name, config, Metrics::default());
    registry.set_tokens("# ours\nsecret\n\nother\n");
    registry
}

fn agent(name: &str, dc: &str) -> Announcement {
    Announcement {
        name: name.into(),
        address: format!("{name}:9100"),
        labels: [("dc".to_owned(), dc.to_owned())].into(),
        ..Announcement::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_ends_unless_it_is_renewed() {
    let registry = registry("c1");
    let granted = registry.announce("secret", agent("a", "north")).unwrap();
    assert_eq!((granted.lease_ms, granted.again_ms, granted.collector.as_str()), (60_000, 20_000, "c1"));
    assert_eq!((granted.remote.interval_ms, granted.remote.drop.len()), (60_000, 1));
    let granted = registry.announce("other", agent("b", "south")).unwrap();
    assert_eq!(granted.remote.interval_ms, 15_000);
    assert_eq!(registry.owned().len(), 2);
    tokio::time::advance(SECOND * 40).await;
    registry.announce("secret", agent("a", "north")).unwrap();
    tokio::time::advance(SECOND * 30).await;
    assert_eq!(registry.owned().iter().map(|agent| agent.name.as_str()).collect::<Vec<_>>(), ["a"]);
    assert_eq!(registry.withdraw("secret", "a"), Ok(true));
    assert!(registry.owned().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_refused_by_name() {
    let registry = registry("c1");
    assert_eq!(registry.announce("guess", agent("a", "n")), Err(Refused::Token));
    assert_eq!(registry.announce("# ours", agent("a", "n")), Err(Refused::Token));
    assert_eq!(registry.announce("", agent("a", "n")), Err(Refused::Token));
    let refused = |change: &dyn Fn(&mut Announcement)| {
        let mut agent = agent("a", "n");
        change(&mut agent);
        registry.announce("secret", agent).unwrap_err().to_string()
    };
    assert!(refused(&|a| a.name.clear()).contains("name"));
    assert!(refused(&|a| a.address = "a/b".into()).contains("address"));
    assert!(refused(&|a| a.scheme = "ftp".into()).contains("scheme"));
    for reserved in ["job", "instance", "__address__", "a-b"] {
        assert!(refused(&|a| drop(a.labels.insert(reserved.into(), "x".into()))).contains(reserved));
    }
    for i in 0..2_000 {
        registry.announce("secret", agent(&format!("a{i}"), "n")).unwrap();
    }
    assert_eq!(registry.announce("secret", agent("more", "n")), Err(Refused::Full(2_000)));
    registry.announce("secret", agent("a7", "south")).unwrap();
}

#[tokio::test(start_paused = true)]
async fn collectors_divide_the_agents_and_take_over_within_two_intervals() {
    let collectors = ["c1", "c2", "c3"].map(registry);
    for i in 0..900 {
        collectors[i % 3].announce("secret", agent(&format!("host-{i}"), "n")).unwrap();
    }
    let exchange = |alive: &[usize]| {
        for to in alive {
            for from in alive.iter().filter(|from| *from != to) {
                collectors[*to].heard(collectors[*from].collector(), collectors[*from].direct());
            }
        }
    };
    exchange(&[0, 1, 2]);
    let owned: Vec<Vec<Announcement>> = collectors.iter().map(Registry::owned).collect();
    assert_eq!(owned.iter().map(Vec::len).sum::<usize>(), 900);
    for part in &owned {
        assert!((240..360).contains(&part.len()), "{}", part.len());
    }
    // c2 dies. Until two intervals have passed nothing moves; then its agents, and only those, move.
    tokio::time::advance(SECOND * 5).await;
    exchange(&[0, 2]);
    assert_eq!(collectors[0].owned(), owned[0]);
    tokio::time::advance(SECOND * 5).await;
    exchange(&[0, 2]);
    tokio::time::advance(Duration::from_millis(1)).await;
    let after = [collectors[0].owned(), collectors[2].owned()];
    assert_eq!(after[0].len() + after[1].len(), 900);
    assert!(owned[0].iter().all(|agent| after[0].contains(agent)));
    assert!(owned[2].iter().all(|agent| after[1].contains(agent)));
    assert_eq!(collectors[0].collectors(), ["c1", "c3"]);
    // It comes back and gets the same agents again.
    exchange(&[0, 1, 2]);
    assert_eq!(collectors[0].owned(), owned[0]);
    assert_eq!(collectors[1].owned(), owned[1]);
}

#[tokio::test(start_paused = true)]
async fn what_a_peer_told_is_not_told_on_and_ends_with_its_lease() {
    let (a, b) = (registry("a"), registry("b"));
    a.announce("secret", agent("x", "n")).unwrap();
    tokio::time::advance(SECOND * 30).await;
    b.heard("a", a.direct());
    assert!(b.direct().is_empty());
    assert_eq!(b.all().len(), 1);
    tokio::time::advance(SECOND * 31).await;
    assert!(b.all().is_empty() && a.all().is_empty());
    // A lease that no collector would give is cut.
    b.heard("a", vec![Shared { agent: agent("y", "n"), left_ms: u64::MAX }]);
    tokio::time::advance(SECOND * 61).await;
    assert!(b.all().is_empty());
}

#[test]
fn ownership_depends_on_names_alone() {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let (three, two) = (names(&["a", "b", "c"]), names(&["c", "a"]));
    for i in 0..100 {
        let agent = format!("agent-{i}");
        let before = owner(&agent, &three);
        assert!(before == "b" || owner(&agent, &two) == before);
    }
    assert_eq!(owner("x", &[]), "");
}
