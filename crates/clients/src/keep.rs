//! Sanitized reports on disk, for the time that the operator asks for: durable before an upload is acknowledged.
//!
//! A folder of files, one an hour, each a line of JSON a report (the fields of [`crate::rollup::Row`]). One thread at a time
//! writes; uploads that come meanwhile share its `fsync`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::rollup::Row;

const HOUR_MS: i64 = 3_600_000;

#[derive(Debug)]
struct Open {
    hour: i64,
    file: File,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    /// The number of the batch that `bytes` will be.
    next: u64,
}

/// The folder.
#[derive(Debug)]
pub struct Keep {
    folder: PathBuf,
    keep_ms: i64,
    max_bytes: u64,
    queue: Mutex<Queue>,
    writer: Mutex<Writer>,
}

#[derive(Debug, Default)]
struct Writer {
    open: Option<Open>,
    /// The last batch that was written, or failed.
    done: u64,
    /// Batches that failed, for the threads that still wait for them.
    failed: std::collections::VecDeque<u64>,
}

/// More threads than wait at once.
const MAX_FAILED: usize = 1024;

fn name(hour: i64) -> String {
    format!("{hour:010}.jsonl")
}

impl Keep {
    /// Opens or creates the folder.
    ///
    /// # Errors
    /// It cannot be used.
    pub fn open(folder: &Path, keep_ms: i64, max_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            keep_ms,
            max_bytes,
            queue: Mutex::new(Queue { bytes: Vec::new(), next: 1 }),
            writer: Mutex::new(Writer::default()),
        })
    }

    /// Writes rows; they are durable when it returns. Blocks.
    ///
    /// # Errors
    /// The disk refused: none of the rows counts as kept.
    pub fn append(&self, rows: &[Row], now: i64) -> io::Result<()> {
        let mut lines = Vec::with_capacity(rows.len() * 200);
        for row in rows {
            serde_json::to_writer(&mut lines, row).map_err(io::Error::other)?;
            lines.push(b'\n');
        }
        let mine = {
            let mut queue = self.queue.lock();
            queue.bytes.extend_from_slice(&lines);
            queue.next
        };
        let mut writer = self.writer.lock();
        if writer.done >= mine {
            // Another thread has written this batch meanwhile.
            return match writer.failed.contains(&mine) {
                true => Err(io::Error::other("the batch of this upload could not be written")),
                false => Ok(()),
            };
        }
        let (bytes, batch) = {
            let mut queue = self.queue.lock();
            let batch = queue.next;
            queue.next += 1;
            (std::mem::take(&mut queue.bytes), batch)
        };
        let result = self.write(&mut writer, &bytes, now);
        writer.done = batch;
        if result.is_err() {
            // What is torn is skipped when it is read; a new file handle is tried next.
            writer.open = None;
            writer.failed.push_back(batch);
            if writer.failed.len() > MAX_FAILED {
                writer.failed.pop_front();
            }
        }
        result
    }

    fn write(&self, writer: &mut Writer, bytes: &[u8], now: i64) -> io::Result<()> {
        let hour = now.div_euclid(HOUR_MS);
        if writer.open.as_ref().is_none_or(|open| open.hour != hour) {
            let file = OpenOptions::new().create(true).append(true).open(self.folder.join(name(hour)))?;
            writer.open = Some(Open { hour, file });
            File::open(&self.folder)?.sync_all()?;
        }
        match &mut writer.open {
            Some(open) => open.file.write_all(bytes).and_then(|()| open.file.sync_data()),
            None => Ok(()),
        }
    }

    fn files(&self) -> io::Result<Vec<(i64, PathBuf, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let hour = path
                .file_name()
                .and_then(|n| n.to_str())
                .and_then(|n| n.strip_suffix(".jsonl")?.parse().ok());
            if let Some(hour) = hour {
                let bytes = fs::metadata(&path)?.len();
                files.push((hour, path, bytes));
            }
        }
        files.sort();
        Ok(files)
    }

    /// Deletes what is too old or too much; answers the bytes that are left. Blocks.
    ///
    /// # Errors
    /// The folder cannot be read or a file not deleted.
    pub fn clean(&self, now: i64) -> io::Result<u64> {
        let files = self.files()?;
        let mut left: u64 = files.iter().map(|(_, _, bytes)| bytes).sum();
        let count = files.len();
        for (index, (hour, path, bytes)) in files.into_iter().enumerate() {
            let old = (hour + 1) * HOUR_MS < now - self.keep_ms;
            let much = left > self.max_bytes && index + 1 < count;
            if old || much {
                fs::remove_file(path)?;
                left -= bytes;
            }
        }
        Ok(left)
    }

    /// Hands over the rows of events from minute `from` on. Blocks.
    ///
    /// # Errors
    /// A file cannot be read. Lines that are torn are counted in the answer.
    pub fn read_since(&self, from: i64, mut each: impl FnMut(Row)) -> io::Result<u64> {
        let mut torn = 0;
        for (hour, path, _) in self.files()? {
            // An event may be reported in a later hour than its own, never in an earlier one.
            if (hour + 1) * 60 < from {
                continue;
            }
            for line in io::BufReader::new(File::open(path)?).split(b'\n') {
                match serde_json::from_slice::<Row>(&line?) {
                    Ok(row) if row.minute >= from => each(row),
                    Ok(_) => {}
                    Err(_) => torn += 1,
                }
            }
        }
        Ok(torn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(minute: i64) -> Row {
        Row {
            minute,
            site: "s".into(),
            source: "nel".into(),
            kind: "ok".into(),
            origin: String::new(),
            pop: String::new(),
            protocol: String::new(),
            browser: String::new(),
            country: String::new(),
            asn: 0,
            reports: 1,
            weight: 1.0,
            square: 1.0,
            clients: 1,
        }
    }

    #[test]
    fn what_is_kept_is_read_again_and_deleted_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let keep = Keep::open(folder.path(), 2 * HOUR_MS, 1 << 20).unwrap();
        let start = 1000 * HOUR_MS;
        std::thread::scope(|scope| {
            for n in 0..8 {
                let keep = &keep;
                scope.spawn(move || keep.append(&[row(60_000 + n)], start).unwrap());
            }
        });
        keep.append(&[row(60_060)], start + HOUR_MS).unwrap();
        fs::OpenOptions::new()
            .append(true)
            .open(folder.path().join(name(1001)))
            .unwrap()
            .write_all(b"{\"torn")
            .unwrap();
        let mut minutes = Vec::new();
        assert_eq!(keep.read_since(60_001, |row| minutes.push(row.minute)).unwrap(), 1);
        minutes.sort();
        assert_eq!(minutes, [60_001, 60_002, 60_003, 60_004, 60_005, 60_006, 60_007, 60_060]);
        assert!(keep.clean(start + 4 * HOUR_MS - 1).unwrap() > 0);
        assert_eq!(keep.files().unwrap().len(), 1);
        assert_eq!(keep.clean(start + 9 * HOUR_MS).unwrap(), 0);
    }
}
