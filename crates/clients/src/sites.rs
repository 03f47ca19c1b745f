//! The sites in force: what a reload of the configuration changes while everything that was counted stays.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::config::{Config, Site};
use crate::origin::Pattern;

/// A site that clients report about.
#[derive(Clone, Debug)]
pub struct Live {
    /// Its settings.
    pub site: Site,
    /// Its origins, read.
    pub patterns: Vec<Pattern>,
    /// It is no longer in the configuration: nothing is taken, its series go on until they are forgotten.
    pub gone: bool,
}

/// Every site that has been in force since the start. A site's number never changes: counts refer to it.
#[derive(Clone, Debug)]
pub struct Sites {
    list: Vec<Arc<Live>>,
    by_name: HashMap<String, u16>,
    datacenters: HashSet<u32>,
}

impl Sites {
    /// The sites of a configuration.
    ///
    /// # Errors
    /// An origin is none.
    pub fn new(config: &Config) -> Result<Self, String> {
        Self { list: Vec::new(), by_name: HashMap::new(), datacenters: HashSet::new() }.changed(config)
    }

    /// The same with the sites of another configuration in force.
    ///
    /// # Errors
    /// An origin is none, or more sites have been in force than are told apart.
    pub fn changed(&self, config: &Config) -> Result<Self, String> {
        let mut list: Vec<Arc<Live>> =
            self.list.iter().map(|live| Arc::new(Live { gone: true, ..Live::clone(live) })).collect();
        let mut by_name = self.by_name.clone();
        for site in &config.sites {
            let patterns =
                site.origins.iter().map(|origin| Pattern::parse(origin)).collect::<Result<_, _>>()?;
            let live = Arc::new(Live { site: site.clone(), patterns, gone: false });
            match by_name.get(&site.name) {
                Some(number) => list[usize::from(*number)] = live,
                None => {
                    let number = u16::try_from(list.len()).map_err(|_| {
                        "more than 65536 sites have been in force since the start: restart the collector"
                            .to_owned()
                    })?;
                    by_name.insert(site.name.clone(), number);
                    list.push(live);
                }
            }
        }
        Ok(Self { list, by_name, datacenters: config.datacenter_asns.iter().copied().collect() })
    }

    /// A site in force and its number.
    pub fn find(&self, name: &str) -> Option<(u16, &Arc<Live>)> {
        let number = *self.by_name.get(name)?;
        let live = self.list.get(usize::from(number)).filter(|live| !live.gone)?;
        Some((number, live))
    }

    /// A site by its number, whether or not it is in force.
    pub fn get(&self, number: u16) -> Option<&Arc<Live>> {
        self.list.get(usize::from(number))
    }

    /// Those in force, in the order in which they came.
    pub fn in_force(&self) -> impl Iterator<Item = &Site> {
        self.list.iter().filter(|live| !live.gone).map(|live| &live.site)
    }

    /// Whether an autonomous system is a data centre's.
    pub fn is_datacenter(&self, asn: u32) -> bool {
        self.datacenters.contains(&asn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_when_sites_come_and_go() {
        let of = |names: &[&str]| Config {
            sites: names
                .iter()
                .map(|name| Site {
                    name: (*name).into(),
                    origins: vec![format!("https://{name}.example")],
                    ..Site::default()
                })
                .collect(),
            ..Config::default()
        };
        let first = Sites::new(&of(&["a", "b"])).unwrap();
        let second = first.changed(&of(&["c", "b"])).unwrap();
        let third = second.changed(&of(&["a"])).unwrap();
        let number = |sites: &Sites, name: &str| sites.find(name).map(|(number, _)| number);
        assert_eq!((number(&first, "a"), number(&first, "b"), number(&first, "c")), (Some(0), Some(1), None));
        assert_eq!(
            (number(&second, "a"), number(&second, "b"), number(&second, "c")),
            (None, Some(1), Some(2))
        );
        assert_eq!((number(&third, "a"), number(&third, "b")), (Some(0), None));
        assert_eq!(third.get(2).map(|live| live.site.name.as_str()), Some("c"));
        assert_eq!(third.in_force().count(), 1);
    }
}
