//! `filesystem`: size and use of mounted file systems.
//!
//! `statvfs` of a dead network mount never returns. Each mount is asked on a thread of its own; one that has not answered within
//! [`PATIENCE`] is reported by `node_filesystem_device_error` and not asked again until its thread is back, so that there is at
//! most one thread a mount and never more than [`MAX_WAITING`].

use std::collections::HashSet;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::files::Files;
use crate::filter::Filter;
use crate::output::Output;
use crate::{Collector, Error};

const PATIENCE: Duration = Duration::from_millis(1000);
const MAX_WAITING: usize = 64;

pub(crate) struct FileSystem {
    mounts: Filter,
    types: Filter,
    /// Mount points whose thread has not come back.
    waiting: Arc<Mutex<HashSet<String>>>,
}

impl FileSystem {
    pub(crate) fn new(mounts: Filter, types: Filter) -> Self {
        Self { mounts, types, waiting: Arc::default() }
    }

    /// The file system's numbers, or the text of `device_error`.
    fn stat(&self, path: &Path, mount: &str, until: Instant) -> Result<rustix::fs::StatVfs, String> {
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.contains(mount) || waiting.len() >= MAX_WAITING {
                return Err("mountpoint timeout".to_owned());
            }
            waiting.insert(mount.to_owned());
        }
        let (sender, receiver) = sync_channel(1);
        let (path, key, waiting) = (path.to_owned(), mount.to_owned(), Arc::clone(&self.waiting));
        let thread =
            std::thread::Builder::new().name("statvfs".into()).stack_size(64 << 10).spawn(move || {
                let result = rustix::fs::statvfs(&path).map_err(|err| std::io::Error::from(err).to_string());
                waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
                // Nobody waits any more when the patience has ended.
                drop(sender.send(result));
            });
        if let Err(err) = thread {
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(mount);
            return Err(format!("no thread: {err}"));
        }
        match receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => Err("mountpoint timeout".to_owned()),
            Err(RecvTimeoutError::Disconnected) => Err("the thread ended early".to_owned()),
        }
    }
}

impl Collector for FileSystem {
    fn name(&self) -> &'static str {
        "filesystem"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        // Process 1 sees the host's mounts even from a container that shares its process namespace.
        let text = files.proc("1/mountinfo").or_else(|_| files.proc("self/mountinfo"))?;
        let until = Instant::now() + PATIENCE;
        let mut seen = HashSet::new();
        for mount in text.lines().filter_map(Mount::parse) {
            let shown = match mount.point.strip_prefix(files.rootfs().to_string_lossy().trim_end_matches('/'))
            {
                Some("") => "/",
                Some(rest) if rest.starts_with('/') => rest,
                _ => mount.point.as_str(),
            };
            if !self.mounts.keeps(shown)
                || !self.types.keeps(&mount.fstype)
                || !seen.insert((mount.device.clone(), shown.to_owned()))
            {
                continue;
            }
            let result = self.stat(&files.root_path(shown), shown, until);
            report(out, &mount, shown, result);
        }
        Ok(())
    }
}

fn report(out: &mut Output, mount: &Mount, point: &str, result: Result<rustix::fs::StatVfs, String>) {
    let device_error = result.as_ref().err().map_or("", String::as_str);
    let labels = [
        ("device", mount.device.as_str()),
        ("device_error", device_error),
        ("fstype", mount.fstype.as_str()),
        ("mountpoint", point),
    ];
    let failed = f64::from(u8::from(result.is_err()));
    out.gauge(
        "node_filesystem_device_error",
        "1 when a file system did not answer, with why in device_error.",
        &labels,
        failed,
    );
    let info = [
        ("device", mount.device.as_str()),
        ("major", &mount.major),
        ("minor", &mount.minor),
        ("mountpoint", point),
    ];
    out.gauge(
        "node_filesystem_mount_info",
        "Always 1; the labels say which device is mounted where.",
        &info,
        1.0,
    );
    let readonly = f64::from(u8::from(mount.readonly));
    out.gauge("node_filesystem_readonly", "Whether a file system is mounted read-only.", &labels, readonly);
    let Ok(stat) = &result else { return };
    let block = stat.f_frsize.max(1) as f64;
    for (name, help, value) in [
        ("size_bytes", "Size of a file system.", stat.f_blocks as f64 * block),
        (
            "free_bytes",
            "Free space of a file system, what only root may use included.",
            stat.f_bfree as f64 * block,
        ),
        ("avail_bytes", "Free space of a file system that everybody may use.", stat.f_bavail as f64 * block),
        ("files", "Inodes of a file system.", stat.f_files as f64),
        ("files_free", "Free inodes of a file system.", stat.f_ffree as f64),
        ("purgeable_bytes", "Space that could be freed on demand: always 0 on Linux.", 0.0),
    ] {
        out.gauge(&format!("node_filesystem_{name}"), help, &labels, value);
    }
}

/// A line of mountinfo. Source: proc_pid_mountinfo(5).
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    device: String,
    major: String,
    minor: String,
    point: String,
    fstype: String,
    readonly: bool,
}

impl Mount {
    fn parse(line: &str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let left: Vec<&str> = left.split(' ').collect();
        let mut right = right.split(' ');
        let (fstype, device, options) = (right.next()?, right.next()?, right.next().unwrap_or_default());
        let (major, minor) = left.get(2)?.split_once(':')?;
        let has_ro = |options: &str| options.split(',').any(|option| option == "ro");
        Some(Self {
            device: unescape(device),
            major: major.to_owned(),
            minor: minor.to_owned(),
            point: unescape(left.get(4)?),
            fstype: fstype.to_owned(),
            readonly: has_ro(left.get(5)?) || has_ro(options),
        })
    }
}

/// Undoes `\040` and its like.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = (byte == b'\\').then(|| tail.get(..3)).flatten();
        let code = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match code {
            Some(code) => {
                bytes.push(code);
                rest = &tail[3..];
            }
            None => {
                bytes.push(byte);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_is_read() {
        let line = r"36 35 98:0 /mnt1 /mnt\040two ro,noatime master:1 - ext3 /dev/root rw,errors=continue";
        let mount = Mount::parse(line).unwrap();
        assert_eq!(mount.point, "/mnt two");
        assert_eq!((mount.device.as_str(), mount.fstype.as_str()), ("/dev/root", "ext3"));
        assert_eq!((mount.major.as_str(), mount.minor.as_str()), ("98", "0"));
        assert!(mount.readonly);
        assert_eq!(Mount::parse("nonsense"), None);
    }
}
