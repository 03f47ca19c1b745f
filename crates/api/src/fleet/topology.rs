//! Where every server stands: a tree made from labels, in which a server is an index.

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Servers in a leaf that has no rack label.
const SYNTHETIC_LEAF: usize = 40;
/// Cells that a rack is drawn with, unless it holds more.
const RACK_SLOTS: u32 = 40;
/// Most servers in one leaf.
const MAX_LEAF: usize = 64;

/// One server as discovery and labels describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// As people say it.
    pub(crate) name: String,
    /// What picks its series.
    pub(crate) instance: String,
    /// `None` when its targets have several jobs.
    pub(crate) job: Option<String>,
    /// The value of each place label; empty when it has none.
    pub(crate) place: Place,
}

/// Where a server says it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) region: String,
    pub(crate) datacenter: String,
    pub(crate) row: String,
    pub(crate) rack: String,
    pub(crate) slot: String,
}

/// A node of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    /// A region, data centre, row or job.
    Inner { name: String, children: Vec<Node> },
    /// A rack: servers in use, and places.
    Leaf { name: String, used: u32, total: u32 },
}

/// The tree, and the servers in its order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Topology {
    /// Outermost first.
    pub(crate) levels: Vec<String>,
    pub(crate) roots: Vec<Node>,
    /// By index.
    pub(crate) list: Vec<Server>,
    /// The first server of each rack, ascending, and the rack's node names from the root.
    pub(crate) racks: Vec<Rack>,
    pub(crate) hash: u64,
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

impl Topology {
    /// Orders servers by place. Names must be unique.
    pub(crate) fn build(servers: Vec<Server>) -> Self {
        let has = |of: fn(&Place) -> &String| servers.iter().any(|server| !of(&server.place).is_empty());
        let levels: Vec<(&str, fn(&Place) -> &String)> = [
            ("region", (|place| &place.region) as fn(&Place) -> &String),
            ("datacenter", |place| &place.datacenter),
            ("row", |place| &place.row),
        ]
        .into_iter()
        .filter(|(_, of)| has(*of))
        .collect();
        let has_racks = has(|place| &place.rack);
        let has_rows = has(|place| &place.row);
        let placed = has_racks || !levels.is_empty();
        let path = |server: &Server| -> Vec<String> {
            let mut path: Vec<String> = if placed {
                levels.iter().map(|(_, of)| of(&server.place).clone()).collect()
            } else {
                vec![server.job.clone().unwrap_or_else(|| "several jobs".to_owned())]
            };
            path.push(server.place.rack.clone());
            path
        };
        let mut keyed: Vec<(Vec<String>, Server)> =
            servers.into_iter().map(|server| (path(&server), server)).collect();
        keyed.sort_by(|(path_a, a), (path_b, b)| {
            let by_path = path_a.iter().zip(path_b).map(|(a, b)| natural(a, b)).find(|order| order.is_ne());
            by_path
                .unwrap_or(Ordering::Equal)
                // Names that compare as equal numbers ("01", "1") are still different places.
                .then_with(|| path_a.cmp(path_b))
                .then_with(|| natural(&a.place.slot, &b.place.slot))
                .then_with(|| natural(&a.name, &b.name))
                .then_with(|| a.name.cmp(&b.name))
        });
        let mut racks: Vec<Rack> = Vec::new();
        let mut at = 0;
        for group in keyed.chunk_by(|(a, _), (b, _)| a == b) {
            let (whole, first) = &group[0];
            let labelled = !first.place.rack.is_empty();
            let size = if labelled { MAX_LEAF } else { SYNTHETIC_LEAF };
            for part in group.chunks(size) {
                let used = part.len() as u32;
                let total = if labelled { used.max(RACK_SLOTS) } else { used };
                racks.push(Rack { first: at, used, total, path: whole.clone() });
                at += used;
            }
        }
        let mut names: Vec<String> = if placed {
            levels.iter().map(|(name, _)| (*name).to_owned()).collect()
        } else {
            vec!["job".to_owned()]
        };
        names.push("rack".to_owned());
        let mut topology = Self {
            levels: names,
            roots: tree(&racks, 0),
            list: keyed.into_iter().map(|(_, server)| server).collect(),
            racks,
            hash: 0,
            synthetic_leaves: !has_racks,
            synthetic_rows: !has_rows,
        };
        topology.hash = topology.identity();
        topology
    }

    /// How many servers.
    pub(crate) fn servers(&self) -> u32 {
        self.list.len() as u32
    }

    pub(crate) fn flags(&self) -> u8 {
        u8::from(self.synthetic_leaves) | u8::from(self.synthetic_rows) << 1
    }

    /// The rack that server `index` stands in.
    pub(crate) fn rack_of(&self, index: u32) -> usize {
        self.racks.partition_point(|rack| rack.first <= index).saturating_sub(1)
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
        self.list.iter().for_each(|server| add(server.name.as_bytes()));
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

/// Servers by name, from `up` series: several targets of one host are one server.
pub(crate) fn servers<'a>(series: impl Iterator<Item = &'a model::Labels>) -> Vec<Server> {
    let mut found: BTreeMap<String, Server> = BTreeMap::new();
    for labels in series {
        let Some(server) = server(labels) else { continue };
        match found.get_mut(&server.name) {
            None => {
                found.insert(server.name.clone(), server);
            }
            Some(known) => {
                if known.job != server.job {
                    known.job = None;
                }
                if known.place == Place::default() {
                    known.place = server.place;
                }
            }
        }
    }
    found.into_values().collect()
}

/// The name of the server that a series belongs to, as [`server`] gives it.
pub(crate) fn server_name(labels: &model::Labels) -> Option<&str> {
    let named = ["nodename", "host"].into_iter().find_map(|name| labels.get(name));
    named.or_else(|| labels.get("instance").map(without_port))
}

fn server(labels: &model::Labels) -> Option<Server> {
    let label =
        |names: &[&str]| names.iter().find_map(|name| labels.get(name)).unwrap_or_default().to_owned();
    Some(Server {
        name: server_name(labels)?.to_owned(),
        instance: labels.get("instance").unwrap_or_default().to_owned(),
        job: labels.get("job").map(str::to_owned),
        place: Place {
            region: label(&["region"]),
            datacenter: label(&["datacenter", "dc", "cluster", "zone"]),
            row: label(&["row"]),
            rack: label(&["rack"]),
            slot: label(&["slot", "unit"]),
        },
    })
}

fn without_port(instance: &str) -> &str {
    match instance.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => instance,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Labels;

    fn series(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied())
    }

    #[test]
    fn names_sort_as_people_count() {
        let mut names = ["row 10", "row 2", "row 02b", "a", "row 2a", ""];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["", "a", "row 2", "row 2a", "row 02b", "row 10"]);
    }

    #[test]
    fn targets_of_one_host_are_one_server() {
        let list = [
            series(&[("instance", "a:9100"), ("job", "node"), ("rack", "r1")]),
            series(&[("instance", "a:9090"), ("job", "bellwether")]),
            series(&[("instance", "b:9100"), ("job", "node"), ("rack", "r1")]),
            series(&[("job", "no instance")]),
        ];
        let found = servers(list.iter());
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].name.as_str(), &found[0].job), ("a", &None));
        assert_eq!(found[1].job.as_deref(), Some("node"));
    }

    #[test]
    fn without_place_labels_servers_are_grouped_by_job() {
        let list: Vec<Labels> =
            (0..90).map(|i| series(&[("instance", &format!("h{i}:9100")), ("job", "node")])).collect();
        let topology = Topology::build(servers(list.iter()));
        assert_eq!(topology.levels, ["job", "rack"]);
        assert_eq!(topology.flags(), 3);
        assert_eq!(topology.racks.iter().map(|rack| rack.used).collect::<Vec<_>>(), [40, 40, 10]);
        assert_eq!(topology.list[2].name, "h2");
        assert_eq!(topology.list[10].name, "h10");
        assert_eq!(topology.rack_of(0), 0);
        assert_eq!(topology.rack_of(39), 0);
        assert_eq!(topology.rack_of(40), 1);
        assert_eq!(topology.rack_of(89), 2);
    }

    #[test]
    fn places_make_a_tree_in_natural_order() {
        let mut list = Vec::new();
        for (dc, row, rack) in
            [("ams1", "2", "1"), ("ams1", "10", "1"), ("ams1", "2", "12"), ("ams1", "2", "3")]
        {
            for slot in ["1", "2"] {
                let name = format!("{dc}-{row}-{rack}-{slot}");
                list.push(series(&[
                    ("instance", &name),
                    ("zone", dc),
                    ("row", row),
                    ("rack", rack),
                    ("slot", slot),
                ]));
            }
        }
        let topology = Topology::build(servers(list.iter()));
        assert_eq!(topology.levels, ["datacenter", "row", "rack"]);
        assert_eq!(topology.flags(), 0);
        let paths: Vec<String> = topology.racks.iter().map(|rack| rack.path.join("/")).collect();
        assert_eq!(paths, ["ams1/2/1", "ams1/2/3", "ams1/2/12", "ams1/10/1"]);
        assert_eq!(topology.list[1].name, "ams1-2-1-2");
        let mut other = list.clone();
        other.reverse();
        assert_eq!(Topology::build(servers(other.iter())).hash, topology.hash);
        other.pop();
        assert_ne!(Topology::build(servers(other.iter())).hash, topology.hash);
    }
}
