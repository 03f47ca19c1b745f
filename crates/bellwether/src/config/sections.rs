//! One file, two readers: Prometheus' sections go to `sources`, ours to this crate. Both read the whole text, each skips
//! what is the other's, and what is nobody's is an error.

use std::sync::OnceLock;

use sources::config::{PrometheusFile, StorageConfig};
use yaml::Take;

use super::Settings;

/// Who reads an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Prometheus,
    Ours,
    /// Both have a section of this name; its fields are the one's or the other's.
    Both,
}

/// Which entries are Prometheus'.
///
/// # Errors
/// A section that there is not.
pub(super) fn prometheus(path: &[&str]) -> Result<Take, String> {
    Ok(match owner(path)? {
        Owner::Prometheus => Take::Whole,
        Owner::Both => Take::Within,
        Owner::Ours => Take::Not,
    })
}

/// Which entries are ours.
///
/// # Errors
/// A section that there is not.
pub(super) fn ours(path: &[&str]) -> Result<Take, String> {
    Ok(match owner(path)? {
        Owner::Prometheus => Take::Not,
        Owner::Both => Take::Within,
        Owner::Ours => Take::Whole,
    })
}

fn owner(path: &[&str]) -> Result<Owner, String> {
    let (theirs, ours) = (PrometheusFile::sections(), yaml::fields::<Settings>());
    match *path {
        [section] => match (theirs.contains(&section), ours.contains(&section)) {
            (true, true) => Ok(Owner::Both),
            (true, false) => Ok(Owner::Prometheus),
            (false, true) => Ok(Owner::Ours),
            (false, false) => Err(format!("there is no section `{section}`; there are {}", all())),
        },
        // `storage` is the only one of both: Prometheus' fields are known, all others are ours.
        [_, field] if yaml::fields::<StorageConfig>().contains(&field) => Ok(Owner::Prometheus),
        _ => Ok(Owner::Ours),
    }
}

/// The names of all sections.
fn all() -> &'static str {
    static ALL: OnceLock<String> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut names = [PrometheusFile::sections(), yaml::fields::<Settings>()].concat();
        names.sort_unstable();
        names.dedup();
        names.join(", ")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_has_one_owner() {
        assert_eq!(owner(&["scrape_configs"]), Ok(Owner::Prometheus));
        assert_eq!(owner(&["web"]), Ok(Owner::Ours));
        assert_eq!(owner(&["storage", "tsdb"]), Ok(Owner::Prometheus));
        assert_eq!(owner(&["storage", "wal"]), Ok(Owner::Ours));
        let both = |name: &&&str| owner(&[name]) == Ok(Owner::Both);
        assert_eq!(yaml::fields::<Settings>().iter().filter(both).collect::<Vec<_>>(), [&"storage"]);
        assert!(owner(&["globals"]).unwrap_err().contains("`globals`; there are agent, alerting, alerts, "));
    }
}
