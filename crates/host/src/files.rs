//! Reading procfs and sysfs below configurable roots.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::Error;
use crate::config::Config;

/// No file of procfs or sysfs that we read is larger.
const MAX_BYTES: u64 = 16 << 20;

/// The roots.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    procfs: PathBuf,
    sysfs: PathBuf,
    rootfs: PathBuf,
}

impl Files {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            procfs: PathBuf::from(&config.procfs),
            sysfs: PathBuf::from(&config.sysfs),
            rootfs: PathBuf::from(&config.rootfs),
        }
    }

    pub(crate) fn proc_path(&self, name: &str) -> PathBuf {
        self.procfs.join(name)
    }

    pub(crate) fn sys_path(&self, name: &str) -> PathBuf {
        self.sysfs.join(name)
    }

    /// A path of the host as this process sees it.
    pub(crate) fn root_path(&self, path: &str) -> PathBuf {
        self.rootfs.join(path.trim_start_matches('/'))
    }

    pub(crate) fn rootfs(&self) -> &Path {
        &self.rootfs
    }

    /// The text of a file below procfs.
    pub(crate) fn proc(&self, name: &str) -> Result<String, Error> {
        read(&self.proc_path(name))
    }

    /// The text of a file below sysfs, without the final newline.
    pub(crate) fn sys(&self, name: &str) -> Result<String, Error> {
        read(&self.sys_path(name)).map(|text| text.trim_end().to_owned())
    }

    /// A number from a file below sysfs; `None` when the file is missing, unreadable (drivers say EINVAL for "not
    /// supported") or no number.
    pub(crate) fn sys_number(&self, name: &str) -> Option<f64> {
        let text = self.sys(name).ok()?;
        match text.strip_prefix("0x") {
            Some(hex) => i64::from_str_radix(hex, 16).ok().map(|number| number as f64),
            None => text.parse().ok(),
        }
    }

    /// The names in a folder below sysfs, sorted.
    pub(crate) fn sys_list(&self, name: &str) -> Result<Vec<String>, Error> {
        list(&self.sys_path(name))
    }
}

/// Reads a text file, capped.
pub(crate) fn read(path: &Path) -> Result<String, Error> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => Error::Absent(path.display().to_string()),
        _ => Error::Read { path: path.display().to_string(), source },
    };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes)).map_err(failed)?;
    Ok(String::from_utf8(bytes).unwrap_or_else(|err| String::from_utf8_lossy(err.as_bytes()).into_owned()))
}

/// The names in a folder, sorted.
pub(crate) fn list(path: &Path) -> Result<Vec<String>, Error> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => Error::Absent(path.display().to_string()),
        _ => Error::Read { path: path.display().to_string(), source },
    };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        names.push(entry.map_err(failed)?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// A number in a file, or an error that names both.
pub(crate) fn number(path: &str, text: &str) -> Result<f64, Error> {
    text.parse().map_err(|_| Error::Parse { path: path.to_owned(), text: text.to_owned() })
}
