//! Small files that are read again when they change.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// No credential or certificate bundle is larger.
const MAX_BYTES: u64 = 4 << 20;

/// What tells two states of a file apart.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    len: u64,
    inode: u64,
}

impl Stamp {
    fn of(path: &Path) -> io::Result<Self> {
        let meta = std::fs::metadata(path)?;
        #[cfg(unix)]
        let inode = std::os::unix::fs::MetadataExt::ino(&meta);
        #[cfg(not(unix))]
        let inode = 0;
        Ok(Self { modified: meta.modified().ok(), len: meta.len(), inode })
    }
}

/// A file and its content as last read.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) path: PathBuf,
    pub(crate) content: String,
    stamp: Stamp,
}

impl Watched {
    /// Reads the file. Blocks.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let stamp = Stamp::of(path)?;
        let mut content = String::new();
        std::fs::File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut content)?;
        if content.len() as u64 > MAX_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("the file is larger than {MAX_BYTES} bytes"),
            ));
        }
        Ok(Self { path: path.to_owned(), content, stamp })
    }

    /// Whether the file on disk is another than the one that was read. A file that cannot be looked at has changed,
    /// so that reading it reports why. Blocks.
    pub(crate) fn changed(&self) -> bool {
        Stamp::of(&self.path).ok().as_ref() != Some(&self.stamp)
    }
}
