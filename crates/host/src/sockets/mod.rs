//! Who talks to whom: TCP connections by process group and peer, with round-trip times, retransmits, bytes and queues.
//!
//! The kernel's table of sockets is read once a collection. Which group a socket belongs to is found through the descriptors of
//! processes, looked at in turn within a budget and remembered. Connections of one group with one peer at one service port are
//! an edge of the service map; there are at most `max_edges`, the rest are those with peer `other`.

pub(crate) mod config;
mod diag;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::files::Files;
use crate::output::Output;
use crate::process::Processes;
use crate::{Collector, Error};
use config::SocketConfig;
use diag::{ESTABLISHED, Info, LISTEN, STATES, Socket};

/// The peer of connections that have no edge of their own, and the group of sockets whose process is not known.
const OTHER: &str = "other";
const UNKNOWN: &str = "unknown";
/// Descriptors of one process that are looked at.
const MAX_DESCRIPTORS: usize = 200_000;

/// Which edge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Key {
    group: Arc<str>,
    direction: &'static str,
    peer: Arc<str>,
    port: u16,
}

/// An edge between collections.
#[derive(Clone, Debug, Default)]
struct Edge {
    sent_bytes: u64,
    received_bytes: u64,
    retransmitted: u64,
    segments: u64,
    // Of this collection.
    connections: u32,
    rtt_sum_us: u64,
    rtt_max_us: u32,
    rtt_min_us: u32,
    queued: u64,
    generation: u64,
}

/// A connection between collections.
struct Known {
    info: Info,
    generation: u64,
}

pub(crate) struct Sockets {
    processes: Option<Arc<Processes>>,
    edges: BTreeMap<Key, Edge>,
    known: HashMap<u64, Known>,
    /// The group of a socket, by inode; and in which collection it was seen last.
    owners: HashMap<u32, (Arc<str>, u64)>,
    /// PIDs in the order in which their descriptors are looked at.
    turn: u32,
    generation: u64,
    max_edges: usize,
    budget: Duration,
}

impl Sockets {
    pub(crate) fn new(config: &SocketConfig, processes: Option<Arc<Processes>>) -> Self {
        Self {
            processes,
            edges: BTreeMap::new(),
            known: HashMap::new(),
            owners: HashMap::new(),
            turn: 0,
            generation: 0,
            max_edges: config.max_edges.max(1),
            budget: Duration::from_millis(config.budget_ms),
        }
    }

    /// Finds the groups of sockets that have none yet.
    fn find_owners(&mut self, wanted: &BTreeSet<u32>, files: &Files, out: &mut Output) {
        let Some(processes) = &self.processes else { return };
        if wanted.is_empty() {
            return;
        }
        let began = Instant::now();
        let mut identities: Vec<(u32, Arc<str>)> = {
            let known = processes.identities.lock();
            known.iter().map(|(pid, identity)| (*pid, Arc::clone(&identity.group))).collect()
        };
        identities.sort_unstable_by_key(|(pid, _)| *pid);
        // On from where the budget ended last time.
        let start = identities.partition_point(|(pid, _)| *pid <= self.turn);
        identities.rotate_left(start);
        let mut left = wanted.len();
        for (pid, group) in identities {
            if left == 0 || began.elapsed() >= self.budget {
                break;
            }
            self.turn = pid;
            let folder = files.proc_path(&format!("{pid}/fd"));
            let entries = match std::fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(err) => {
                    if err.kind() == std::io::ErrorKind::PermissionDenied {
                        out.deny("which process a socket belongs to, of other users");
                    }
                    continue;
                }
            };
            for entry in entries.take(MAX_DESCRIPTORS).flatten() {
                let Ok(target) = std::fs::read_link(entry.path()) else { continue };
                let inode = target
                    .to_str()
                    .and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u32>().ok());
                if let Some(inode) = inode.filter(|inode| wanted.contains(inode)) {
                    let before = self.owners.insert(inode, (Arc::clone(&group), self.generation));
                    left -= usize::from(before.is_none());
                }
            }
        }
    }

    /// The edge of a connection; one for all others when there are too many.
    fn edge(&mut self, mut key: Key) -> &mut Edge {
        if !self.edges.contains_key(&key) && self.edges.len() >= self.max_edges {
            key.peer = OTHER.into();
            key.port = 0;
        }
        self.edges.entry(key).or_default()
    }

    fn account(&mut self, socket: &Socket, listening: &BTreeSet<u16>) {
        let group = self.owners.get(&socket.inode).map(|(group, _)| Arc::clone(group));
        let inbound = listening.contains(&socket.local.1);
        let key = Key {
            group: group.unwrap_or_else(|| UNKNOWN.into()),
            direction: if inbound { "in" } else { "out" },
            peer: socket.peer.0.to_string().into(),
            port: if inbound { socket.local.1 } else { socket.peer.1 },
        };
        let generation = self.generation;
        let first = generation == 1;
        let now = socket.info;
        let before = match self.known.insert(socket.cookie, Known { info: now, generation }) {
            Some(known) => known.info,
            // What was sent before the first look belongs to a time that nobody measured.
            None if first => now,
            None => Info::default(),
        };
        let edge = self.edge(key);
        if edge.generation != generation {
            edge.generation = generation;
            (edge.connections, edge.rtt_sum_us, edge.rtt_max_us, edge.rtt_min_us, edge.queued) =
                (0, 0, 0, u32::MAX, 0);
        }
        edge.connections += 1;
        edge.rtt_sum_us += u64::from(now.rtt_us);
        edge.rtt_max_us = edge.rtt_max_us.max(now.rtt_us);
        if now.min_rtt_us > 0 {
            edge.rtt_min_us = edge.rtt_min_us.min(now.min_rtt_us);
        }
        edge.queued += u64::from(socket.send_queue);
        edge.sent_bytes += now.bytes_acked.saturating_sub(before.bytes_acked);
        edge.received_bytes += now.bytes_received.saturating_sub(before.bytes_received);
        edge.retransmitted += u64::from(now.retransmitted.saturating_sub(before.retransmitted));
        edge.segments += u64::from(now.segments_out.saturating_sub(before.segments_out));
    }

    fn report(&mut self, out: &mut Output) {
        let generation = self.generation;
        // An edge without a connection goes, so that the map shows what is.
        self.edges.retain(|_, edge| edge.generation == generation);
        self.known.retain(|_, known| known.generation == generation);
        self.owners.retain(|_, (_, seen)| *seen == generation);
        for (key, edge) in &self.edges {
            let port = key.port.to_string();
            let labels = [
                ("direction", key.direction),
                ("groupname", &*key.group),
                ("peer", &*key.peer),
                ("port", port.as_str()),
            ];
            let connections = f64::from(edge.connections);
            let help =
                "Connections of a group with a peer; port is that of the service, direction who began.";
            out.gauge("bellwether_socket_connections", help, &labels, connections);
            let mean = edge.rtt_sum_us as f64 / connections.max(1.0) / 1e6;
            out.gauge(
                "bellwether_socket_rtt_seconds",
                "Mean smoothed round-trip time of an edge.",
                &labels,
                mean,
            );
            let help = "Largest smoothed round-trip time of an edge.";
            out.gauge("bellwether_socket_rtt_max_seconds", help, &labels, f64::from(edge.rtt_max_us) / 1e6);
            if edge.rtt_min_us != u32::MAX {
                let help = "Smallest round-trip time that an edge has had: the length of the path.";
                out.gauge(
                    "bellwether_socket_rtt_min_seconds",
                    help,
                    &labels,
                    f64::from(edge.rtt_min_us) / 1e6,
                );
            }
            let help = "Bytes of an edge that the peer has not taken yet.";
            out.gauge("bellwether_socket_send_queue_bytes", help, &labels, edge.queued as f64);
            for (metric, help, value) in [
                ("bellwether_socket_sent_bytes_total", "Bytes that the peer has taken.", edge.sent_bytes),
                (
                    "bellwether_socket_received_bytes_total",
                    "Bytes that came from the peer.",
                    edge.received_bytes,
                ),
                ("bellwether_socket_retransmits_total", "Segments that were sent again.", edge.retransmitted),
                ("bellwether_socket_segments_total", "Segments that were sent.", edge.segments),
            ] {
                out.counter(metric, help, &labels, value as f64);
            }
        }
    }
}

impl Collector for Sockets {
    fn name(&self) -> &'static str {
        "sockets"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        let mut connections = Vec::new();
        let mut listeners = Vec::new();
        read(|socket| match socket.state {
            ESTABLISHED => connections.push(socket),
            LISTEN => listeners.push(socket),
            _ => {}
        })?;
        self.generation += 1;
        let generation = self.generation;
        let mut wanted = BTreeSet::new();
        for socket in connections.iter().chain(&listeners) {
            match self.owners.get_mut(&socket.inode) {
                Some((_, seen)) => *seen = generation,
                None => drop(wanted.insert(socket.inode)),
            }
        }
        self.find_owners(&wanted, files, out);
        let ports: BTreeSet<u16> = listeners.iter().map(|socket| socket.local.1).collect();
        for socket in &connections {
            self.account(socket, &ports);
        }
        for socket in &listeners {
            let group = self.owners.get(&socket.inode).map(|(group, _)| Arc::clone(group));
            let group = group.unwrap_or_else(|| UNKNOWN.into());
            let (address, port) = (socket.local.0.to_string(), socket.local.1.to_string());
            let labels = [("address", address.as_str()), ("groupname", &*group), ("port", &port)];
            let help = "Connections that wait to be taken by a listening program.";
            out.gauge("bellwether_listen_queue", help, &labels, f64::from(socket.receive_queue));
            let help = "How many connections may wait to be taken; more are dropped.";
            out.gauge("bellwether_listen_queue_limit", help, &labels, f64::from(socket.send_queue));
        }
        self.report(out);
        let unknown = connections.iter().filter(|socket| !self.owners.contains_key(&socket.inode)).count();
        let help = "Connections whose process has not been found yet.";
        out.gauge("bellwether_socket_unknown_owners", help, &[], unknown as f64);
        Ok(())
    }
}

/// `tcpstat`: sockets by state, and bytes in their queues, as node_exporter counts them.
pub(crate) struct TcpStat;

impl Collector for TcpStat {
    fn name(&self) -> &'static str {
        "tcpstat"
    }

    fn collect(&mut self, _files: &Files, out: &mut Output) -> Result<(), Error> {
        let mut states = [0u64; STATES.len()];
        let (mut received, mut sent) = (0u64, 0u64);
        read(|socket| {
            if let Some(count) = states.get_mut(usize::from(socket.state).wrapping_sub(1)) {
                *count += 1;
            }
            received += u64::from(socket.receive_queue);
            sent += u64::from(socket.send_queue);
        })?;
        let help = "TCP sockets by state, and bytes in their queues.";
        let states = STATES.iter().zip(states).filter(|(_, count)| *count > 0);
        for (state, count) in states
            .map(|(state, count)| (*state, count))
            .chain([("rx_queued_bytes", received), ("tx_queued_bytes", sent)])
        {
            out.gauge("node_tcp_connection_states", help, &[("state", state)], count as f64);
        }
        Ok(())
    }
}

fn read(visit: impl FnMut(Socket)) -> Result<(), Error> {
    diag::dump(visit).map_err(|source| Error::Read { path: "the kernel's table of sockets".into(), source })
}
