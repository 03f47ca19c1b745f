//! `scrape_failure_log_file`: failed scrapes as lines of JSON, with the fields that Prometheus 3 writes (`time`, `level`,
//! `msg`, `job_name`, `target`).

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;

use model::Timestamp;
use parking_lot::Mutex;

/// The files by their names; jobs share one.
#[derive(Default)]
pub(crate) struct FailureLogs(Mutex<BTreeMap<String, File>>);

impl FailureLogs {
    /// Opens files to add to; each is created when it is not there, for its owner alone.
    ///
    /// # Errors
    /// The first name that cannot be opened, and why.
    pub(crate) fn open<'a>(
        names: impl Iterator<Item = &'a str>,
    ) -> Result<BTreeMap<String, File>, (String, io::Error)> {
        let mut files = BTreeMap::new();
        for name in names {
            if !files.contains_key(name) {
                let file = OpenOptions::new().create(true).append(true).mode(0o600).open(name);
                files.insert(name.to_owned(), file.map_err(|err| (name.to_owned(), err))?);
            }
        }
        Ok(files)
    }

    /// Goes on in these, as after a reload: a file that was moved away is there anew.
    pub(crate) fn replace(&self, files: BTreeMap<String, File>) {
        *self.0.lock() = files;
    }

    /// Adds a line; one write, so that lines stay whole.
    ///
    /// # Errors
    /// The file's.
    pub(crate) fn write(
        &self,
        name: &str,
        time: Timestamp,
        job: &str,
        url: &str,
        reason: &str,
    ) -> io::Result<()> {
        let time = jiff::Timestamp::from_millisecond(time.ms()).map(|at| at.to_string()).unwrap_or_default();
        let line = serde_json::json!({
            "time": time, "level": "ERROR", "msg": reason, "job_name": job, "target": url,
        });
        match self.0.lock().get_mut(name) {
            Some(file) => file.write_all(format!("{line}\n").as_bytes()),
            None => Ok(()),
        }
    }
}
