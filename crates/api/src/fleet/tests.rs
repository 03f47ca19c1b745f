//! The whole way from samples of `up` to bytes on the wire, at size.

use model::pattern::Pattern;
use model::{Labels, Samples};

use super::codec::{self, Bits, Code, StateHeader};
use super::hosts::{self, Lookup, Rules};
use super::round::{self, Plane};
use super::targets::Table;
use super::topology::Topology;
use super::{FleetConfig, LOOKBACK_MS};

/// How much memory do the map's tables of a million servers take, and how long does a round?
///
/// `cargo test -p api --release -- --ignored --nocapture million`. 1,000,000 targets in 25,000 racks, one sample each; the codes of
/// all, the delta and the state with 1,000 dead servers.
#[test]
#[ignore = "takes a minute without optimisation; prints figures"]
fn a_million_servers_fit() {
    const SERVERS: usize = 1_000_000;
    let mut table = Table::new(2 * SERVERS);
    let mut samples = Samples::default();
    samples.push_float(LOOKBACK_MS, 1.0);
    for server in 0..SERVERS {
        let (rack, slot) = (server / 40, server % 40);
        let (row, position) = (rack / 40, rack % 40);
        let hall = format!("dc{:02}", row / 25);
        let labels = [
            ("__name__", "up".to_owned()),
            ("datacenter", hall.clone()),
            ("instance", format!("{hall}-r{:02}-k{position:02}-u{slot:02}:9100", row % 25)),
            ("job", "node".to_owned()),
            ("rack", format!("rack {position:02}")),
            ("row", format!("row {:02}", row % 25)),
            ("slot", format!("{slot:02}")),
        ];
        table.samples(&Labels::from_pairs(labels), &samples);
    }
    let jobs = Pattern::new(&FleetConfig::default().host_jobs).unwrap();
    let rules = Rules { jobs, own: "elsewhere".into() };
    let started = tokio::time::Instant::now();
    let found = hosts::find(&table, &rules);
    let (topology, server_of) = Topology::build(&table, &found);
    drop(found);
    let lookup = Lookup::new(&table, &server_of, topology.names());
    let built = started.elapsed();
    assert_eq!(topology.servers() as usize, SERVERS);
    assert_eq!(lookup.name("dc00-r00-k00-u01"), Some(1));

    let started = tokio::time::Instant::now();
    let targets = server_of.iter().zip(&table.list);
    let up = round::up_codes(SERVERS, targets.map(|(of, target)| (*of, Table::code(target, LOOKBACK_MS, 3))));
    let mut dead = up.clone();
    (0..1000).for_each(|n| dead[n * 997] = Code::Critical);
    let mut plane = Plane::new(SERVERS);
    plane.advance(up.clone(), Bits::new(SERVERS), 1);
    plane.advance(dead.clone(), Bits::new(SERVERS), 2);
    let delta = codec::delta(&up, &dead);
    let took = started.elapsed();

    let bytes = table.bytes() + topology.bytes() + lookup.bytes() + server_of.len() * 4 + 2 * plane.bytes();
    let header = StateHeader { topo_hash: topology.hash, sequence: 1, time_ms: 1 };
    let one_bit = codec::state(header, &dead, &Bits::new(SERVERS), 1).len();
    let shape = codec::topology(&topology).len();
    println!(
        "{bytes} bytes; layout {built:?}, round {took:?}; delta {} bytes, topology {shape}, 1-bit state {one_bit}",
        delta.len()
    );
    assert!(bytes <= 200_000_000, "{bytes}");
    assert_eq!(one_bit, 125_000 + 40);
    assert!(delta.len() < 8_000);
}
