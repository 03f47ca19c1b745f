//! Consent, policy and queue over a restart: one file, written as a whole, readable by its owner alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::policy::Policy;
use crate::queue::{Consent, Entry};

/// A larger file is none of ours.
const MAX_BYTES: u64 = 1 << 20;

/// What is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// The user's decision.
    #[serde(default)]
    pub consent: Consent,
    /// The policy and when it was last seen, milliseconds since the epoch.
    #[serde(default)]
    pub policy: Option<(Policy, i64)>,
    /// What waits.
    #[serde(default)]
    pub entries: Vec<Entry>,
}

/// The file.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
}

impl Store {
    /// At a path; nothing is touched yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// What is there; nothing when there is no file, or one that is none of ours.
    pub fn load(&self) -> Stored {
        let read = || -> io::Result<Stored> {
            let mut text = String::new();
            File::open(&self.path)?.take(MAX_BYTES).read_to_string(&mut text)?;
            serde_json::from_str(&text).map_err(io::Error::other)
        };
        read().unwrap_or_default()
    }

    /// Writes what is to be found after a restart; with nothing to store the file is deleted.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn save(&self, stored: &Stored) -> io::Result<()> {
        if *stored == Stored::default() {
            return match fs::remove_file(&self.path) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
                _ => Ok(()),
            };
        }
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let fresh = self.path.with_file_name(name);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&fresh)?;
        file.write_all(&serde_json::to_vec(stored).map_err(io::Error::other)?)?;
        file.sync_data()?;
        fs::rename(&fresh, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_found_again_and_rubbish_is_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(&folder.path().join("client.json"));
        assert_eq!(store.load(), Stored::default());
        let policy = Policy::parse(r#"{"max_age":60}"#).unwrap();
        let stored = Stored { consent: Consent::Basic, policy: Some((policy, 5)), entries: Vec::new() };
        store.save(&stored).unwrap();
        assert_eq!(store.load(), stored);
        std::fs::write(folder.path().join("client.json"), b"{rubbish").unwrap();
        assert_eq!(store.load(), Stored::default());
        store.save(&Stored::default()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
