//! Totals that survive reboots: the kernel starts its error counters at 0 with every boot and driver load.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Most counters that are kept.
const MAX: usize = 10_000;

/// One counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Total {
    /// Up to the last reset.
    base: f64,
    /// What the kernel said last.
    last: f64,
}

/// Counters by name, in a file when there is one.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    path: Option<PathBuf>,
    counters: BTreeMap<String, Total>,
    changed: bool,
}

impl Totals {
    /// Reads the file when there is one. A damaged one is set aside, so that what it holds can be looked at.
    pub(crate) fn open(path: Option<&Path>) -> Self {
        let mut totals = Self { path: path.map(Path::to_owned), ..Self::default() };
        let Some(path) = path else { return totals };
        match std::fs::read(path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(counters) => totals.counters = counters,
                Err(err) => {
                    let aside = path.with_extension("damaged");
                    tracing::warn!(path = %path.display(), error = %err, aside = %aside.display(), "the totals cannot be read; they start again at 0");
                    if let Err(err) = std::fs::rename(path, &aside) {
                        tracing::warn!(error = %err, "the damaged file cannot be set aside");
                    }
                }
            },
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => {}
            Err(err) => tracing::warn!(path = %path.display(), error = %err, "the totals cannot be read"),
        }
        totals
    }

    /// The total of a counter of which the kernel says `raw` now. A smaller value than last time means that it began anew.
    pub(crate) fn follow(&mut self, name: &str, raw: f64) -> f64 {
        if !self.counters.contains_key(name) {
            if self.counters.len() >= MAX {
                return raw;
            }
            self.changed = true;
            self.counters.insert(name.to_owned(), Total::default());
        }
        let Some(total) = self.counters.get_mut(name) else { return raw };
        if raw < total.last {
            total.base += total.last;
        }
        self.changed |= raw != total.last;
        total.last = raw;
        total.base + raw
    }

    /// Writes the file when something has changed: beside it, synced, then in its place.
    pub(crate) fn save(&mut self) -> std::io::Result<()> {
        let Some(path) = self.path.as_ref().filter(|_| self.changed) else { return Ok(()) };
        let fresh = path.with_extension("new");
        let file = std::fs::File::create(&fresh)?;
        serde_json::to_writer(&file, &self.counters)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)?;
        self.changed = false;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_go_on_after_a_reset_and_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("totals.json");
        let mut totals = Totals::open(Some(&path));
        assert_eq!((totals.follow("a", 5.0), totals.follow("a", 7.0)), (5.0, 7.0));
        // The machine is rebooted.
        assert_eq!((totals.follow("a", 1.0), totals.follow("a", 1.0)), (8.0, 8.0));
        totals.save().unwrap();
        let mut totals = Totals::open(Some(&path));
        assert_eq!((totals.follow("a", 3.0), totals.follow("a", 0.0)), (10.0, 10.0));
        std::fs::write(&path, "{").unwrap();
        assert_eq!(Totals::open(Some(&path)).follow("a", 2.0), 2.0);
        assert!(folder.path().join("totals.damaged").exists());
    }
}
