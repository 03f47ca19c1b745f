//! Names behind a cell's numbers: sites, origins, points of presence. Bounded, because clients bring them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::config::Limits;
use crate::geo;
use crate::sites::Sites;

/// A table that gives every name a number until it is full; then every new name is number 0.
#[derive(Debug)]
pub struct Table {
    names: Vec<String>,
    numbers: HashMap<String, u16>,
    max: usize,
}

impl Table {
    /// `zero`: what number 0 is called.
    fn new(zero: &str, max: usize) -> Self {
        Self {
            names: vec![zero.to_owned()],
            numbers: HashMap::new(),
            max: max.min(usize::from(u16::MAX) - 1),
        }
    }

    /// The number of a name.
    pub fn number(&mut self, name: &str) -> u16 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        if self.names.len() > self.max || name == self.names[0] {
            return 0;
        }
        let number = self.names.len() as u16;
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    /// The name of a number.
    pub fn name(&self, number: u16) -> &str {
        self.names.get(usize::from(number)).map_or("", String::as_str)
    }
}

/// Every table.
#[derive(Debug)]
pub struct Names {
    sites: Arc<Sites>,
    /// Origins.
    pub origins: Table,
    /// Points of presence.
    pub pops: Table,
}

impl Names {
    /// Empty tables within the bounds, and the sites in force.
    pub fn new(sites: Arc<Sites>, limits: &Limits) -> Self {
        Self { sites, origins: Table::new("other", limits.origins), pops: Table::new("", limits.pops) }
    }

    /// Other sites are in force.
    pub fn set_sites(&mut self, sites: Arc<Sites>) {
        self.sites = sites;
    }

    /// The number of a site in force.
    pub fn site(&self, name: &str) -> Option<u16> {
        self.sites.find(name).map(|(number, _)| number)
    }

    /// The name of a site.
    pub fn site_name(&self, site: u16) -> &str {
        self.sites.get(site).map_or("", |live| live.site.name.as_str())
    }

    /// The point of presence of a server's address: as the operator named it, else its network.
    pub fn pop(&mut self, site: u16, server: IpAddr) -> u16 {
        let server = server.to_canonical();
        if let Some(live) = self.sites.get(site) {
            let holds = |networks: &Vec<crate::config::ipnet_text::Network>| {
                networks.iter().any(|n| n.0.contains(&server))
            };
            if let Some((name, _)) = live.site.pops.iter().find(|(_, networks)| holds(networks)) {
                return self.pops.number(name);
            }
        }
        self.pops.number(&geo::server_network(server))
    }
}
