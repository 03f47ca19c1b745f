//! `filesystem`: size and use of mounted file systems.
//!
//! A dead network mount never answers: a child process asks (`crate::mounts`), so that it costs its own series and nothing else.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::files::Files;
use crate::filter::Filter;
use crate::mounts::{Mounts, Numbers, Silent};
use crate::output::Output;
use crate::{Collector, Error};

/// Types whose servers may go away: each shows for how long it has stalled, 0 included.
const REMOTE: [&str; 12] =
    ["9p", "afs", "ceph", "cifs", "gfs2", "glusterfs", "lustre", "nfs", "nfs4", "ocfs2", "smb3", "smbfs"];

pub(crate) struct FileSystem {
    mounts: Filter,
    types: Filter,
    asked: Arc<Mutex<Mounts>>,
}

impl FileSystem {
    pub(crate) fn new(mounts: Filter, types: Filter, asked: Arc<Mutex<Mounts>>) -> Self {
        Self { mounts, types, asked }
    }
}

impl Collector for FileSystem {
    fn name(&self) -> &'static str {
        "filesystem"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        // Process 1 sees the host's mounts even from a container that shares its process namespace.
        let text = files.proc("1/mountinfo").or_else(|_| files.proc("self/mountinfo"))?;
        let (mut kept, mut paths) = (Vec::new(), Vec::new());
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
            paths.push(files.root_path(shown));
            let shown = shown.to_owned();
            kept.push((mount, shown));
        }
        let answers = self.asked.lock().unwrap_or_else(PoisonError::into_inner).ask(&paths);
        for ((mount, shown), answer) in kept.iter().zip(answers) {
            let stalled = match &answer {
                Err(Silent::Stalled(since)) => Some(since.as_secs_f64()),
                _ if REMOTE.contains(&mount.fstype.as_str()) || mount.fstype.starts_with("fuse") => Some(0.0),
                _ => None,
            };
            if let Some(seconds) = stalled {
                let labels = [
                    ("device", mount.device.as_str()),
                    ("fstype", mount.fstype.as_str()),
                    ("mountpoint", shown.as_str()),
                ];
                let help = "For how long a mounted file system has not answered; 0 when it answers.";
                out.gauge("bellwether_mount_stalled_seconds", help, &labels, seconds);
            }
            let answer = answer.map_err(|silent| match silent {
                Silent::Refused(text) => text,
                Silent::Stalled(_) | Silent::NotAsked => "mountpoint timeout".to_owned(),
            });
            report(out, mount, shown, answer);
        }
        Ok(())
    }
}

fn report(out: &mut Output, mount: &Mount, point: &str, result: Result<Numbers, String>) {
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
    let block = stat.block_bytes as f64;
    for (name, help, value) in [
        ("size_bytes", "Size of a file system.", stat.blocks as f64 * block),
        (
            "free_bytes",
            "Free space of a file system, what only root may use included.",
            stat.free as f64 * block,
        ),
        ("avail_bytes", "Free space of a file system that everybody may use.", stat.available as f64 * block),
        ("files", "Inodes of a file system.", stat.files as f64),
        ("files_free", "Free inodes of a file system.", stat.files_free as f64),
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
