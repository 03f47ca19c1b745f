//! The folder in which totals and events are kept, and the mark that tells a clean end from a power cut.

use std::path::PathBuf;

use crate::config::Config;
use crate::error::Error;
use crate::events::{Events, Severity};

/// The folder, when there is one.
pub(crate) struct State {
    folder: Option<PathBuf>,
}

impl State {
    /// Makes the folder when it is missing.
    pub(crate) fn open(config: &Config) -> Result<Self, Error> {
        let folder = Some(&config.state_directory).filter(|path| !path.is_empty()).map(PathBuf::from);
        let state = Self { folder };
        if let Some(folder) = &state.folder {
            std::fs::create_dir_all(folder).map_err(|err| state.error(&err))?;
        }
        Ok(state)
    }

    /// A file of the folder.
    pub(crate) fn file(&self, name: &str) -> Option<PathBuf> {
        self.folder.as_ref().map(|folder| folder.join(name))
    }

    pub(crate) fn error(&self, err: &std::io::Error) -> Error {
        let folder = self.folder.as_ref().map(|folder| folder.display().to_string()).unwrap_or_default();
        Error::Setting {
            field: "state_directory".into(),
            reason: format!("{folder:?} cannot be used: {err}; name a folder that this process may write"),
        }
    }
}

/// A file that exists while we run. When it is there at the start and names another boot, the machine went down without
/// stopping us: power was cut, or the kernel crashed.
#[derive(Debug)]
pub(crate) struct Running {
    path: PathBuf,
}

impl Running {
    /// Looks at the mark of the last run, tells of an unclean end, and makes a new one.
    pub(crate) fn mark(state: &State, events: &Events) -> Option<Self> {
        let path = state.file("running")?;
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        if let Ok(last) = std::fs::read_to_string(&path)
            && last != boot
        {
            let message = "the machine went down without a shutdown: power was cut, it was reset, or the kernel crashed";
            events.add("power", Severity::Warning, message.to_owned(), &[("flag", "unclean_shutdown")]);
        }
        match std::fs::write(&path, boot) {
            Ok(()) => Some(Self { path }),
            Err(err) => {
                tracing::warn!(path = %path.display(), error = %err, "an unclean shutdown will not be told");
                None
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(err) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), error = %err, "this end will look like a power cut");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn an_unclean_end_is_told_after_the_next_boot() {
        let folder = tempfile::tempdir().unwrap();
        let config = Config { state_directory: folder.path().display().to_string(), ..Config::default() };
        let state = State::open(&config).unwrap();
        let events = Events::open(None, Arc::new(model::time::SystemClock)).unwrap();
        let mark = Running::mark(&state, &events).unwrap();
        // Killed, and started again in the same boot: nothing happened to the machine.
        std::mem::forget(mark);
        drop(Running::mark(&state, &events).unwrap());
        assert!(events.since(0, 10).is_empty());
        std::fs::write(folder.path().join("running"), "another boot\n").unwrap();
        drop(Running::mark(&state, &events).unwrap());
        assert_eq!(events.since(0, 10)[0].labels["flag"], "unclean_shutdown");
        assert!(!folder.path().join("running").exists());
    }
}
