//! Names behind a cell's numbers: sites, origins, points of presence. Bounded, because clients bring them.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::config::{Config, Site};
use crate::geo;

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
    sites: Vec<Site>,
    by_name: HashMap<String, u16>,
    /// Origins.
    pub origins: Table,
    /// Points of presence.
    pub pops: Table,
}

impl Names {
    /// The sites of a configuration.
    pub fn new(config: &Config) -> Self {
        let by_name =
            config.sites.iter().enumerate().map(|(index, site)| (site.name.clone(), index as u16)).collect();
        Self {
            sites: config.sites.clone(),
            by_name,
            origins: Table::new("other", config.limits.origins),
            pops: Table::new("", config.limits.pops),
        }
    }

    /// The number of a site.
    pub fn site(&self, name: &str) -> Option<u16> {
        self.by_name.get(name).copied()
    }

    /// The name of a site.
    pub fn site_name(&self, site: u16) -> &str {
        self.sites.get(usize::from(site)).map_or("", |site| site.name.as_str())
    }

    /// The point of presence of a server's address: as the operator named it, else its network.
    pub fn pop(&mut self, site: u16, server: IpAddr) -> u16 {
        let server = server.to_canonical();
        let named = self.sites.get(usize::from(site)).and_then(|site| {
            let holds = |networks: &Vec<crate::config::ipnet_text::Network>| {
                networks.iter().any(|n| n.0.contains(&server))
            };
            site.pops.iter().find(|(_, networks)| holds(networks)).map(|(name, _)| name.clone())
        });
        let name = named.unwrap_or_else(|| geo::server_network(server));
        self.pops.number(&name)
    }
}
