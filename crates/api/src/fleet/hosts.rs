//! Which targets are one server. A server is a machine: the target of a host exporter. Other targets join the machine that
//! they run on, by name; those of no known machine (probes, services elsewhere) are not on the map. Pure.

use std::collections::HashMap;

use model::Labels;
use model::pattern::Pattern;

use super::targets::{HOST_LABELS, Table, Target};

/// No server.
pub(crate) const NONE: u32 = u32::MAX;

/// A server before it has a place in the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The target of its host exporter.
    pub(crate) main: u32,
    /// As people say it.
    pub(crate) name: Name,
}

/// Where a server's name comes from, so that a million of them need no text of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// The host part of its instance.
    HostPart,
    /// The whole instance: several of its job are on one machine.
    Instance,
    /// What a label or `node_uname_info` says.
    Host,
    /// Something that tells it from a namesake.
    Own(Box<str>),
}

impl Name {
    pub(crate) fn of<'a>(&'a self, table: &'a Table, target: &Target) -> &'a str {
        match self {
            Self::HostPart => without_port(table.str(target.instance)),
            Self::Instance => table.str(target.instance),
            Self::Host => table.str(target.host),
            Self::Own(name) => name,
        }
    }
}

/// The servers, and for each target the position of its server in that list, or [`NONE`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hosts {
    pub(crate) list: Vec<Found>,
    pub(crate) of_target: Vec<u32>,
}

/// What tells hosts from other targets.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// Jobs of host exporters.
    pub(crate) jobs: Pattern,
    /// The instance under which this machine is watched; `localhost` means it.
    pub(crate) own: String,
}

/// Finds the servers among the targets that are not gone.
pub(crate) fn find(table: &Table, rules: &Rules) -> Hosts {
    let by_job: Vec<bool> = {
        let mut known: HashMap<u32, bool> = HashMap::new();
        let matches = |job: u32| rules.jobs.matches(table.name(job));
        table
            .list
            .iter()
            .map(|target| *known.entry(target.job).or_insert_with(|| matches(target.job)))
            .collect()
    };
    let here = |target: &Target| !target.gone && target.last_ms != i64::MIN;
    let mut is_host: Vec<bool> = table
        .list
        .iter()
        .zip(by_job)
        .map(|(target, by_job)| here(target) && (target.uname || by_job))
        .collect();
    if !is_host.contains(&true) {
        // No host exporter anywhere: then the machines behind the instances are all that is known.
        is_host = table.list.iter().map(here).collect();
    }
    let mut hosts = Hosts { list: Vec::new(), of_target: vec![NONE; table.list.len()] };
    // Targets by machine: hash of site and name.
    let mut keyed: Vec<(u64, u32)> = (0u32..)
        .zip(&table.list)
        .filter(|(at, _)| is_host[*at as usize])
        .map(|(at, target)| (hash_in(site(table, target), machine(table, target)), at))
        .collect();
    keyed.sort_unstable();
    for group in keyed.chunk_by(|(a, _), (b, _)| a == b) {
        add_machine(table, group, &mut hosts);
    }
    drop(keyed);
    tell_namesakes_apart(table, &mut hosts);
    join_others(table, rules, &is_host, &mut hosts);
    hosts
}

/// Adds the servers of one machine's name: one, unless a job has it twice.
fn add_machine(table: &Table, group: &[(u64, u32)], hosts: &mut Hosts) {
    let target = |at: u32| &table.list[at as usize];
    let twice = |members: &[u32]| {
        let mut jobs: Vec<u32> = members.iter().map(|&at| target(at).job).collect();
        jobs.sort_unstable();
        jobs.windows(2).any(|pair| pair[0] == pair[1])
    };
    let members: Vec<u32> = group.iter().map(|(_, at)| *at).collect();
    let name = if target(members[0]).host_is_known() { Name::Host } else { Name::HostPart };
    if !twice(&members) {
        add_server(table, &members, name, hosts);
        return;
    }
    // One name for several machines ("localhost", a cloned image), or several exporters of one job on a machine.
    let mut parts: Vec<(&str, u32)> =
        members.iter().map(|&at| (without_port(table.str(target(at).instance)), at)).collect();
    parts.sort_unstable();
    for part in parts.chunk_by(|(a, _), (b, _)| a == b) {
        let members: Vec<u32> = part.iter().map(|(_, at)| *at).collect();
        if !twice(&members) {
            add_server(table, &members, Name::HostPart, hosts);
            continue;
        }
        for at in members {
            add_server(table, &[at], Name::Instance, hosts);
        }
    }
}

fn add_server(table: &Table, members: &[u32], name: Name, hosts: &mut Hosts) {
    let best = |&&at: &&u32| {
        let target = &table.list[at as usize];
        (!target.uname, table.name(target.job), at)
    };
    let main = members.iter().min_by_key(best).copied().unwrap_or(members[0]);
    let server = hosts.list.len() as u32;
    // The name is read from the main target.
    let name = match name {
        Name::Host if !table.list[main as usize].host_is_known() => Name::HostPart,
        name => name,
    };
    hosts.list.push(Found { main, name });
    for &at in members {
        hosts.of_target[at as usize] = server;
    }
}

/// Servers of different sites may bear one name: then the site is part of it, or a number where that does not help.
fn tell_namesakes_apart(table: &Table, hosts: &mut Hosts) {
    let of = |found: &Found| found.name.of(table, &table.list[found.main as usize]).to_owned();
    let mut hashes: Vec<(u64, u32)> = (0u32..)
        .zip(&hosts.list)
        .map(|(at, found)| (hash(found.name.of(table, &table.list[found.main as usize])), at))
        .collect();
    hashes.sort_unstable();
    let mut renamed: Vec<(u32, String)> = Vec::new();
    for group in hashes.chunk_by(|(a, _), (b, _)| a == b).filter(|group| group.len() > 1) {
        let mut seen: HashMap<String, usize> = HashMap::new();
        for &(_, at) in group {
            let found = &hosts.list[at as usize];
            let [region, hall, ..] = table.places[table.list[found.main as usize].place as usize];
            let site = if hall == 0 { region } else { hall };
            let mut name = of(found);
            if site != 0 {
                name = format!("{name} ({})", table.name(site));
            }
            let count = seen.entry(name.clone()).or_default();
            *count += 1;
            let name = if *count > 1 { format!("{name} #{count}") } else { name };
            renamed.push((at, name));
        }
    }
    for (at, name) in renamed {
        hosts.list[at as usize].name = Name::Own(name.into());
    }
}

/// Targets of other jobs join the machine that they name.
fn join_others(table: &Table, rules: &Rules, is_host: &[bool], hosts: &mut Hosts) {
    let others: Vec<u32> = (0u32..)
        .zip(&table.list)
        .filter(|(at, target)| !is_host[*at as usize] && !target.gone && target.last_ms != i64::MIN)
        .map(|(at, _)| at)
        .collect();
    if others.is_empty() {
        return;
    }
    let names = Names::new(table, hosts);
    let own = names.find(0, &rules.own);
    for at in others {
        let target = &table.list[at as usize];
        let site = site(table, target);
        let part = without_port(table.str(target.instance));
        let host = table.str(target.host);
        let named = (!host.is_empty()).then(|| names.find(site, host)).flatten();
        let found = named.or_else(|| names.find(site, part));
        // "localhost" is this machine when this server asked, and another's when labels say so.
        let found =
            found.or_else(|| own.filter(|_| host.is_empty() && target.place == 0 && is_loopback(part)));
        hosts.of_target[at as usize] = found.unwrap_or(NONE);
    }
}

/// Machines by name, by address and by short name; a name that two have finds neither, unless the site tells them apart.
struct Names {
    by_name: HashMap<u64, u32>,
}

impl Names {
    fn new(table: &Table, hosts: &Hosts) -> Self {
        let mut by_name: HashMap<u64, u32> = HashMap::new();
        let mut add = |key: u64, server: u32| {
            by_name
                .entry(key)
                .and_modify(|known| *known = if *known == server { server } else { NONE })
                .or_insert(server);
        };
        for (server, found) in (0u32..).zip(&hosts.list) {
            let main = &table.list[found.main as usize];
            let part = without_port(table.str(main.instance));
            let host = table.str(main.host);
            for name in [host, part] {
                for name in [name, short_name(name)].into_iter().filter(|name| !name.is_empty()) {
                    add(hash_in(0, name), server);
                    if site(table, main) != 0 {
                        add(hash_in(site(table, main), name), server);
                    }
                }
            }
        }
        Self { by_name }
    }

    fn find(&self, site: u64, name: &str) -> Option<u32> {
        let keys = [
            hash_in(site, name),
            hash_in(0, name),
            hash_in(site, short_name(name)),
            hash_in(0, short_name(name)),
        ];
        keys.iter().find_map(|key| self.by_name.get(key).copied().filter(|server| *server != NONE))
    }
}

impl Target {
    fn host_is_known(&self) -> bool {
        !self.host.is_empty()
    }
}

/// Region and data centre of a target, 0 when it has neither.
fn site(table: &Table, target: &Target) -> u64 {
    let [region, hall, ..] = table.places[target.place as usize];
    u64::from(region) << 32 | u64::from(hall)
}

/// The name of the machine that a target is on.
fn machine<'a>(table: &'a Table, target: &Target) -> &'a str {
    if target.host_is_known() { table.str(target.host) } else { without_port(table.str(target.instance)) }
}

/// FNV-1a.
pub(crate) fn hash(text: &str) -> u64 {
    hash_in(0, text)
}

fn hash_in(site: u64, text: &str) -> u64 {
    let bytes = site.to_le_bytes().into_iter().chain(text.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// `host` of `host:port`; what has no port stays as it is.
pub(crate) fn without_port(instance: &str) -> &str {
    match instance.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => instance,
    }
}

/// `web1` of `web1.example.com`; an address has none.
fn short_name(name: &str) -> &str {
    let address = name.bytes().all(|b| b.is_ascii_digit() || b == b'.') || name.contains(':');
    if address { name } else { name.split('.').next().unwrap_or(name) }
}

fn is_loopback(host: &str) -> bool {
    matches!(host, "localhost" | "[::1]" | "::1") || host.starts_with("127.")
}

/// Server by what labels say of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lookup {
    /// Sorted by hash; a hash that stands for several servers is left out.
    keys: Vec<u64>,
    servers: Vec<u32>,
}

impl Lookup {
    /// `server_of`: by target, in the order of the topology.
    pub(crate) fn new<'a>(
        table: &Table,
        server_of: &[u32],
        names: impl Iterator<Item = (&'a str, u32)>,
    ) -> Self {
        let mut found: Vec<(u64, u32)> = Vec::with_capacity(server_of.len() * 2);
        for (target, &server) in table.list.iter().zip(server_of) {
            if server != NONE {
                found.push((key("instance", table.str(target.instance)), server));
                let host = table.str(target.host);
                if !host.is_empty() {
                    found.push((key("host", host), server));
                }
            }
        }
        found.extend(names.map(|(name, server)| (key("host", name), server)));
        found.sort_unstable();
        found.dedup();
        let mut lookup = Self::default();
        let mut ambiguous = false;
        for group in found.chunk_by(|(a, _), (b, _)| a == b) {
            match group {
                [(key, server)] => {
                    lookup.keys.push(*key);
                    lookup.servers.push(*server);
                }
                _ => ambiguous = true,
            }
        }
        drop(found);
        if ambiguous {
            lookup.add_exact(table, server_of);
        }
        lookup.keys.shrink_to_fit();
        lookup.servers.shrink_to_fit();
        lookup
    }

    /// Where one instance is on several servers, job and site tell them apart.
    fn add_exact(&mut self, table: &Table, server_of: &[u32]) {
        let mut all: Vec<(u64, u32)> = self.keys.drain(..).zip(self.servers.drain(..)).collect();
        let mut exact: Vec<(u64, u32)> = Vec::new();
        for (target, &server) in table.list.iter().zip(server_of).filter(|(_, server)| **server != NONE) {
            let instance = table.str(target.instance);
            if all.binary_search_by_key(&key("instance", instance), |(key, _)| *key).is_ok() {
                continue;
            }
            let [_, hall, ..] = table.places[target.place as usize];
            exact.push((key(table.name(target.job), instance), server));
            exact.push((
                key(&format!("{}\u{1f}{}", table.name(target.job), table.name(hall)), instance),
                server,
            ));
        }
        exact.sort_unstable();
        exact.dedup();
        all.extend(
            exact.chunk_by(|(a, _), (b, _)| a == b).filter(|group| group.len() == 1).map(|group| group[0]),
        );
        all.sort_unstable();
        (self.keys, self.servers) = all.into_iter().unzip();
    }

    fn get(&self, key: u64) -> Option<u32> {
        self.keys.binary_search(&key).ok().map(|at| self.servers[at])
    }

    /// The server of an instance or name, as an address or a person gives it.
    pub(crate) fn name(&self, name: &str) -> Option<u32> {
        self.get(key("host", name)).or_else(|| self.get(key("instance", name)))
    }

    /// The server that a label set is about: by its instance, else by the machine that it names.
    pub(crate) fn labels(&self, labels: &Labels) -> Option<u32> {
        let instance = labels.get("instance");
        let exact = instance.and_then(|instance| {
            let job = labels.get("job").unwrap_or_default();
            let hall = ["datacenter", "dc", "cluster", "zone"].iter().find_map(|name| labels.get(name));
            self.get(key("instance", instance))
                .or_else(|| self.get(key(&format!("{job}\u{1f}{}", hall.unwrap_or_default()), instance)))
                .or_else(|| self.get(key(job, instance)))
        });
        let named = || HOST_LABELS.iter().find_map(|name| self.get(key("host", labels.get(name)?)));
        exact.or_else(named).or_else(|| self.get(key("host", without_port(instance?))))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.keys.capacity() * 8 + self.servers.capacity() * 4
    }
}

fn key(kind: &str, text: &str) -> u64 {
    hash_in(hash(kind), text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Samples;

    /// `(job, instance, further labels)`, each with a sample.
    fn table(targets: &[(&str, &str, &[(&str, &str)])]) -> Table {
        let mut table = Table::new(100);
        let mut samples = Samples::default();
        samples.push_float(1000, 1.0);
        for (job, instance, more) in targets {
            let mut pairs = vec![("__name__", "up"), ("job", *job), ("instance", *instance)];
            pairs.extend_from_slice(more);
            table.samples(&Labels::from_pairs(pairs), &samples);
        }
        table
    }

    fn servers(table: &Table) -> (Vec<String>, Vec<i64>) {
        let rules = Rules {
            jobs: Pattern::new(super::super::FleetConfig::default().host_jobs.as_str()).unwrap(),
            own: "me".into(),
        };
        let hosts = find(table, &rules);
        let names =
            hosts.list.iter().map(|found| found.name.of(table, &table.list[found.main as usize]).to_owned());
        (
            names.collect(),
            hosts
                .of_target
                .iter()
                .map(|&server| if server == NONE { -1 } else { i64::from(server) })
                .collect(),
        )
    }

    #[test]
    fn a_server_is_one_machine_and_its_other_targets_join_it() {
        let found = table(&[
            ("node", "web1:9100", &[]),
            ("app", "web1:8080", &[]),
            ("app", "web1:8081", &[]),
            ("mysql", "10.0.0.9:9104", &[("host", "web1")]),
            ("blackbox", "https://example.com/", &[]),
        ]);
        let (names, of) = servers(&found);
        assert_eq!(names, ["web1"]);
        assert_eq!(of, [0, 0, 0, 0, -1]);
    }

    #[test]
    fn two_host_exporters_behind_one_address_are_two_servers() {
        let found = table(&[("node", "gate:9101", &[]), ("node", "gate:9102", &[]), ("app", "gate:80", &[])]);
        let (mut names, of) = servers(&found);
        names.sort();
        assert_eq!(names, ["gate:9101", "gate:9102"]);
        assert_ne!(of[0], of[1]);
        assert_eq!(of[2], -1, "which of the two it is on is not known");
    }

    #[test]
    fn loopback_is_this_machine_unless_labels_say_otherwise() {
        let found = table(&[
            ("node", "me", &[]),
            ("scrape", "localhost:9187", &[]),
            ("scrape", "127.0.0.1:9187", &[("datacenter", "far")]),
        ]);
        assert_eq!(servers(&found), (vec!["me".to_owned()], vec![0, 0, -1]));
    }

    #[test]
    fn full_and_short_names_are_one_machine() {
        let found = table(&[("node", "web1.example.com:9100", &[]), ("app", "web1:80", &[])]);
        assert_eq!(servers(&found).1, [0, 0]);
    }

    #[test]
    fn namesakes_of_two_sites_are_told_apart() {
        let found = table(&[
            ("node", "db:9100", &[("datacenter", "ams1")]),
            ("node", "db:9100", &[("datacenter", "fra1")]),
            ("app", "db:80", &[("datacenter", "fra1")]),
        ]);
        let (names, of) = servers(&found);
        let mut sorted = names.clone();
        sorted.sort();
        assert_eq!(sorted, ["db (ams1)", "db (fra1)"]);
        assert_eq!(of[1], of[2]);
        let lookup = Lookup::new(&found, &[0, 1, 1], std::iter::empty());
        let alert =
            |hall: &str| Labels::from_pairs([("instance", "db:9100"), ("job", "node"), ("datacenter", hall)]);
        assert_eq!(lookup.labels(&alert("ams1")), Some(0));
        assert_eq!(lookup.labels(&alert("fra1")), Some(1));
        assert_eq!(lookup.labels(&Labels::from_pairs([("instance", "db:9100")])), None);
    }

    #[test]
    fn without_a_host_exporter_the_instances_hosts_are_the_servers() {
        let found = table(&[("app", "a:80", &[]), ("other", "a:81", &[]), ("app", "b:80", &[])]);
        let (mut names, _) = servers(&found);
        names.sort();
        assert_eq!(names, ["a", "b"]);
    }

    #[test]
    fn an_alert_finds_its_server_by_instance_then_by_name() {
        let found = table(&[("node", "a:9100", &[]), ("node", "b:9100", &[]), ("app", "a:80", &[])]);
        let lookup = Lookup::new(&found, &[0, 1, 0], [("a", 0), ("b", 1)].into_iter());
        let of = |pairs: &[(&str, &str)]| lookup.labels(&Labels::from_pairs(pairs.iter().copied()));
        assert_eq!(of(&[("instance", "a:80")]), Some(0));
        assert_eq!(of(&[("instance", "b:1234")]), Some(1));
        assert_eq!(of(&[("nodename", "b")]), Some(1));
        assert_eq!(of(&[("instance", "c:9100")]), None);
        assert_eq!(of(&[("alertname", "Watchdog")]), None);
    }
}
