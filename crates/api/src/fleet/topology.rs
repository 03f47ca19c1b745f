//! Where every server stands: a tree made from labels, in which a server is an index.

use std::cmp::Ordering;

use super::hosts::{Hosts, NONE};
use super::targets::Table;

/// Servers in a leaf that has no rack label.
const SYNTHETIC_LEAF: usize = 40;
/// Cells that a rack is drawn with, unless it holds more.
const RACK_SLOTS: u32 = 40;
/// Most servers in one leaf.
const MAX_LEAF: usize = 64;

/// A node of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// A region, data centre, row or job.
    Inner { name: String, children: Vec<Node> },
    /// A rack: servers in use, and places.
    Leaf { name: String, used: u32, total: u32 },
}

/// Texts one after the other.
#[derive(Clone, Debug, Default)]
struct Arena {
    text: String,
    ends: Vec<u32>,
}

impl Arena {
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len() as u32);
    }

    fn get(&self, index: usize) -> &str {
        let from = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.text.get(from as usize..self.ends[index] as usize).unwrap_or_default()
    }

    fn bytes(&self) -> usize {
        self.text.capacity() + self.ends.capacity() * 4
    }
}

/// The tree, and the servers in its order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Topology {
    /// Outermost first.
    pub(crate) levels: Vec<String>,
    pub(crate) roots: Vec<Node>,
    /// The target of each server's host exporter, by server.
    pub(crate) main: Vec<u32>,
    /// The first server of each rack, ascending, and the rack's node names from the root.
    pub(crate) racks: Vec<Rack>,
    pub(crate) hash: u64,
    names: Arena,
    synthetic_leaves: bool,
    synthetic_rows: bool,
}

/// A leaf of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rack {
    pub(crate) first: u32,
    pub(crate) used: u32,
    pub(crate) total: u32,
    /// One name a level.
    pub(crate) path: Vec<String>,
}

/// How many symbols sort before each: natural order as a number.
fn ranks(names: &[Box<str>]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..names.len() as u32).collect();
    // Names that compare as equal numbers ("01", "1") are still different places.
    order.sort_by(|&a, &b| {
        let (a, b) = (&names[a as usize], &names[b as usize]);
        natural(a, b).then_with(|| a.cmp(b))
    });
    let mut ranks = vec![0; names.len()];
    for (rank, symbol) in (0u32..).zip(order) {
        ranks[symbol as usize] = rank;
    }
    ranks
}

impl Topology {
    /// Orders the servers by place, and gives for each target its server's index in that order.
    pub(crate) fn build(table: &Table, hosts: &Hosts) -> (Self, Vec<u32>) {
        let target = |server: u32| &table.list[hosts.list[server as usize].main as usize];
        let ranks = ranks(table.names());
        let mut used_places = vec![false; table.places.len()];
        hosts
            .list
            .iter()
            .for_each(|found| used_places[table.list[found.main as usize].place as usize] = true);
        let has = |level: usize| {
            table.places.iter().zip(&used_places).any(|(place, used)| *used && place[level] != 0)
        };
        let level_names = ["region", "datacenter", "row"];
        let levels: Vec<usize> = (0..3).filter(|level| has(*level)).collect();
        let (has_rows, has_racks) = (has(2), has(3));
        let placed = has_racks || !levels.is_empty();
        // The whole place as one number, so that sorting a million servers compares numbers.
        let place_key = |place: &[u32; 4]| {
            let level = |level: usize| if has(level) { ranks[place[level] as usize] } else { 0 };
            [level(0), level(1), level(2), level(3)]
        };
        let place_ranks: Vec<u32> = {
            let keys: Vec<[u32; 4]> = table.places.iter().map(place_key).collect();
            let mut sorted = keys.clone();
            sorted.sort_unstable();
            sorted.dedup();
            keys.iter().map(|key| sorted.binary_search(key).unwrap_or_default() as u32).collect()
        };
        let key = |server: u32| {
            let target = target(server);
            let group = if placed { place_ranks[target.place as usize] } else { ranks[target.job as usize] };
            (group, ranks[target.slot as usize])
        };
        let name = |server: u32| hosts.list[server as usize].name.of(table, target(server));
        let mut order: Vec<(u32, u32, u32)> =
            (0..hosts.list.len() as u32).map(|server| (key(server).0, key(server).1, server)).collect();
        order.sort_unstable_by(|a, b| {
            (a.0, a.1)
                .cmp(&(b.0, b.1))
                .then_with(|| natural(name(a.2), name(b.2)))
                .then_with(|| name(a.2).cmp(name(b.2)))
        });
        let path = |server: u32| -> Vec<String> {
            let target = target(server);
            let place = &table.places[target.place as usize];
            let mut path: Vec<String> = if placed {
                levels.iter().map(|&level| table.name(place[level]).to_owned()).collect()
            } else {
                vec![table.name(target.job).to_owned()]
            };
            path.push(table.name(place[3]).to_owned());
            path
        };
        let mut racks: Vec<Rack> = Vec::new();
        let mut at = 0;
        for group in order.chunk_by(|a, b| a.0 == b.0) {
            let whole = path(group[0].2);
            let labelled = whole.last().is_some_and(|name| !name.is_empty());
            let size = if labelled { MAX_LEAF } else { SYNTHETIC_LEAF };
            for part in group.chunks(size) {
                let used = part.len() as u32;
                let total = if labelled { used.max(RACK_SLOTS) } else { used };
                racks.push(Rack { first: at, used, total, path: whole.clone() });
                at += used;
            }
        }
        let mut names: Vec<String> = if placed {
            levels.iter().map(|&level| level_names[level].to_owned()).collect()
        } else {
            vec!["job".to_owned()]
        };
        names.push("rack".to_owned());
        let mut topology = Self {
            levels: names,
            roots: tree(&racks, 0),
            main: order.iter().map(|(_, _, server)| hosts.list[*server as usize].main).collect(),
            racks,
            hash: 0,
            names: Arena::default(),
            synthetic_leaves: !has_racks,
            synthetic_rows: !has_rows,
        };
        let mut position = vec![NONE; hosts.list.len()];
        for (index, (_, _, server)) in (0u32..).zip(&order) {
            position[*server as usize] = index;
            topology.names.push(name(*server));
        }
        topology.names.text.shrink_to_fit();
        topology.names.ends.shrink_to_fit();
        topology.hash = topology.identity();
        let of = |server: &u32| if *server == NONE { NONE } else { position[*server as usize] };
        (topology, hosts.of_target.iter().map(of).collect())
    }

    /// How many servers.
    pub(crate) fn servers(&self) -> u32 {
        self.main.len() as u32
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.main.is_empty()
    }

    /// A server's name.
    pub(crate) fn name(&self, server: u32) -> &str {
        self.names.get(server as usize)
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = (&str, u32)> {
        (0..self.servers()).map(|server| (self.name(server), server))
    }

    pub(crate) fn flags(&self) -> u8 {
        u8::from(self.synthetic_leaves) | u8::from(self.synthetic_rows) << 1
    }

    /// The rack that server `index` stands in.
    pub(crate) fn rack_of(&self, index: u32) -> usize {
        self.racks.partition_point(|rack| rack.first <= index).saturating_sub(1)
    }

    /// Memory that it holds, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let racks: usize = self
            .racks
            .iter()
            .map(|rack| 40 + rack.path.iter().map(|name| 24 + name.len()).sum::<usize>())
            .sum();
        // The tree repeats the racks' names.
        self.names.bytes() + self.main.capacity() * 4 + 2 * racks
    }

    /// FNV-1a over everything that gives the servers their order.
    fn identity(&self) -> u64 {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        let mut add = |bytes: &[u8]| {
            for byte in bytes.iter().chain(&[0xff]) {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        self.levels.iter().for_each(|level| add(level.as_bytes()));
        for rack in &self.racks {
            rack.path.iter().for_each(|name| add(name.as_bytes()));
            add(&rack.used.to_le_bytes());
        }
        self.names().for_each(|(name, _)| add(name.as_bytes()));
        hash
    }
}

fn tree(racks: &[Rack], level: usize) -> Vec<Node> {
    let Some(first) = racks.first() else { return Vec::new() };
    if level + 1 == first.path.len() {
        let leaf =
            |rack: &Rack| Node::Leaf { name: rack.path[level].clone(), used: rack.used, total: rack.total };
        return racks.iter().map(leaf).collect();
    }
    racks
        .chunk_by(|a, b| a.path[level] == b.path[level])
        .map(|group| Node::Inner { name: group[0].path[level].clone(), children: tree(group, level + 1) })
        .collect()
}

/// Text order in which runs of digits compare as numbers: "row 2" before "row 10".
pub(crate) fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        match (a.first(), b.first()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(x), Some(y)) if x.is_ascii_digit() && y.is_ascii_digit() => {
                let (number_a, rest_a) = digits(a);
                let (number_b, rest_b) = digits(b);
                let order = number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b));
                if order.is_ne() {
                    return order;
                }
                (a, b) = (rest_a, rest_b);
            }
            (Some(x), Some(y)) if x == y => (a, b) = (&a[1..], &b[1..]),
            (Some(x), Some(y)) => return x.cmp(y),
        }
    }
}

/// The leading digits without leading zeros, and the rest.
fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let zeros = text[..end].iter().take_while(|byte| **byte == b'0').count();
    (&text[zeros..end], &text[end..])
}

/// A topology from servers given as `(name, labels)`, for tests: each is a target of job "node" with its name as instance.
#[cfg(test)]
pub(crate) fn of_servers(servers: &[(&str, &[(&str, &str)])]) -> (Topology, Table) {
    let mut table = Table::new(1 << 20);
    let mut samples = model::Samples::default();
    samples.push_float(1, 1.0);
    for (name, labels) in servers {
        let mut pairs = vec![("__name__", "up"), ("job", "node"), ("instance", *name)];
        pairs.extend_from_slice(labels);
        table.samples(&model::Labels::from_pairs(pairs), &samples);
    }
    let rules = super::hosts::Rules {
        jobs: model::pattern::Pattern::new("node").expect("a pattern"),
        own: String::new(),
    };
    let hosts = super::hosts::find(&table, &rules);
    (Topology::build(&table, &hosts).0, table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_as_people_count() {
        let mut names = ["row 10", "row 2", "row 02b", "a", "row 2a", ""];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["", "a", "row 2", "row 2a", "row 02b", "row 10"]);
    }

    #[test]
    fn without_place_labels_servers_are_grouped_by_job() {
        let names: Vec<String> = (0..90).map(|i| format!("h{i}")).collect();
        let list: Vec<(&str, &[(&str, &str)])> =
            names.iter().map(|name| (name.as_str(), &[] as &[_])).collect();
        let (topology, _) = of_servers(&list);
        assert_eq!(topology.levels, ["job", "rack"]);
        assert_eq!(topology.flags(), 3);
        assert_eq!(topology.racks.iter().map(|rack| rack.used).collect::<Vec<_>>(), [40, 40, 10]);
        assert_eq!((topology.name(2), topology.name(10)), ("h2", "h10"));
        assert_eq!([0, 39, 40, 89].map(|server| topology.rack_of(server)), [0, 0, 1, 2]);
    }

    #[test]
    fn places_make_a_tree_in_natural_order() {
        let mut list: Vec<(String, Vec<(&str, &str)>)> = Vec::new();
        for (dc, row, rack) in
            [("ams1", "2", "1"), ("ams1", "10", "1"), ("ams1", "2", "12"), ("ams1", "2", "3")]
        {
            for slot in ["1", "2"] {
                let name = format!("{dc}-{row}-{rack}-{slot}");
                list.push((name, vec![("zone", dc), ("row", row), ("rack", rack), ("slot", slot)]));
            }
        }
        let build = |list: &[(String, Vec<(&str, &str)>)]| {
            let list: Vec<(&str, &[(&str, &str)])> =
                list.iter().map(|(name, labels)| (name.as_str(), labels.as_slice())).collect();
            of_servers(&list).0
        };
        let topology = build(&list);
        assert_eq!(topology.levels, ["datacenter", "row", "rack"]);
        assert_eq!(topology.flags(), 0);
        let paths: Vec<String> = topology.racks.iter().map(|rack| rack.path.join("/")).collect();
        assert_eq!(paths, ["ams1/2/1", "ams1/2/3", "ams1/2/12", "ams1/10/1"]);
        assert_eq!(topology.name(1), "ams1-2-1-2");
        list.reverse();
        assert_eq!(build(&list).hash, topology.hash);
        list.pop();
        assert_ne!(build(&list).hash, topology.hash);
    }
}
