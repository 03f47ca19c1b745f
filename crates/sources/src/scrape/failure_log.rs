//! `scrape_failure_log_file`: failed scrapes as lines of JSON, with the fields that Prometheus 3 writes (`time`, `level`,
//! `msg`, `job_name`, `target`).
//!
//! A thread writes; scrapes hand lines over through a bounded queue and never wait for the disk. A line that finds the queue full is counted.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use model::Timestamp;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;

/// Lines that wait for the disk.
const MAX_WAITING: usize = 4096;

/// The files by their names; jobs share one.
pub(crate) type Files = BTreeMap<String, File>;

/// Writes lines on a thread that ends with this value, when what waits is written.
pub(crate) struct FailureLogs {
    files: Arc<Mutex<Arc<Files>>>,
    /// Once there is a file.
    writer: Mutex<Option<Writer>>,
    /// Lines that were not written.
    lost: Counter,
}

struct Writer {
    lines: SyncSender<(String, String)>,
    thread: JoinHandle<()>,
}

impl Drop for FailureLogs {
    fn drop(&mut self) {
        if let Some(Writer { lines, thread }) = self.writer.get_mut().take() {
            drop(lines);
            if thread.join().is_err() {
                tracing::error!("the thread that writes failed scrapes down has panicked");
            }
        }
    }
}

impl FailureLogs {
    pub(crate) fn new(lost: Counter) -> Self {
        Self { files: Arc::default(), writer: Mutex::default(), lost }
    }

    /// Opens files to add to; each is created when it is not there, for its owner alone.
    ///
    /// # Errors
    /// The first name that cannot be opened, and why.
    pub(crate) fn open<'a>(names: impl Iterator<Item = &'a str>) -> Result<Files, (String, io::Error)> {
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
    ///
    /// # Errors
    /// There is no thread to be had.
    pub(crate) fn replace(&self, files: Files) -> io::Result<()> {
        let any = !files.is_empty();
        *self.files.lock() = Arc::new(files);
        let mut writer = self.writer.lock();
        if any && writer.is_none() {
            let (lines, receiver) = sync_channel(MAX_WAITING);
            let (files, lost) = (Arc::clone(&self.files), self.lost.clone());
            let thread = std::thread::Builder::new()
                .name("scrape-failures".into())
                .spawn(move || write_all(&receiver, &files, &lost))?;
            *writer = Some(Writer { lines, thread });
        }
        Ok(())
    }

    /// Adds a line, when there is room in the queue.
    pub(crate) fn write(&self, name: &str, time: Timestamp, job: &str, url: &str, reason: &str) {
        let time = jiff::Timestamp::from_millisecond(time.ms()).map(|at| at.to_string()).unwrap_or_default();
        let line = serde_json::json!({
            "time": time, "level": "ERROR", "msg": reason, "job_name": job, "target": url,
        });
        let line = (name.to_owned(), format!("{line}\n"));
        let taken = self.writer.lock().as_ref().is_some_and(|writer| writer.lines.try_send(line).is_ok());
        if !taken {
            self.lost.inc();
        }
    }
}

/// Writes what comes; one write a line, so that lines stay whole.
fn write_all(lines: &Receiver<(String, String)>, files: &Mutex<Arc<Files>>, lost: &Counter) {
    for (name, line) in lines {
        let files = Arc::clone(&files.lock());
        let written = files.get(&name).map(|file| {
            let mut file: &File = file;
            file.write_all(line.as_bytes())
        });
        match written {
            Some(Ok(())) => {}
            Some(Err(err)) => {
                lost.inc();
                tracing::debug!(file = name, error = %err, "a failed scrape was not written down");
            }
            // A reload has taken the file away.
            None => drop(lost.inc()),
        }
    }
}
