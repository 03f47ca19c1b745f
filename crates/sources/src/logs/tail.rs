//! Following files: what is appended, over rotation and truncation.
//!
//! [`Tail`] holds one open file and is pure but for its reads. A file that was renamed away is read to its end before the new one
//! is opened; one that became shorter is read from its start. Blocks.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;

/// A file's place on its file system: the same file under whatever name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Inode {
    pub(crate) device: u64,
    pub(crate) number: u64,
}

fn inode(meta: &std::fs::Metadata) -> Inode {
    Inode { device: meta.dev(), number: meta.ino() }
}

/// Where reading goes on after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) inode: Inode,
    /// The end of the last whole line.
    pub(crate) offset: u64,
}

/// One followed path.
#[derive(Debug)]
pub(crate) struct Tail {
    path: PathBuf,
    open: Option<Open>,
    max_line: usize,
}

#[derive(Debug)]
struct Open {
    file: File,
    inode: Inode,
    /// Of the next read.
    offset: u64,
    /// A line that has not ended yet.
    rest: Vec<u8>,
    /// The line is longer than allowed; what follows until its end is skipped.
    skipping: bool,
}

/// What one look brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) lines: Vec<String>,
    pub(crate) bytes: u64,
    /// There may be more: look again at once.
    pub(crate) more: bool,
    /// The file was shorter than before.
    pub(crate) truncated: bool,
    /// Another file stands under the path.
    pub(crate) rotated: bool,
}

impl Tail {
    /// Opens a path. `known`: where it was left; without it reading starts at the end, or with `from_start` at the start.
    pub(crate) fn open(
        path: &Path,
        known: Option<Position>,
        from_start: bool,
        max_line: usize,
    ) -> io::Result<Self> {
        let mut open = Open::new(path)?;
        let len = open.file.metadata()?.len();
        open.offset = match known {
            Some(position) if position.inode == open.inode && position.offset <= len => position.offset,
            // It was replaced while nobody looked: all of it is new.
            Some(_) => 0,
            None if from_start => 0,
            None => len,
        };
        Ok(Self { path: path.to_owned(), open: Some(open), max_line })
    }

    /// Where reading goes on.
    pub(crate) fn position(&self) -> Option<Position> {
        let open = self.open.as_ref()?;
        Some(Position { inode: open.inode, offset: open.offset - open.rest.len() as u64 })
    }

    /// Reads what has been appended, at most a portion.
    pub(crate) fn look(&mut self) -> io::Result<Found> {
        let mut found = Found::default();
        if let Some(open) = &mut self.open {
            if open.file.metadata()?.len() < open.offset {
                open.offset = 0;
                open.rest.clear();
                open.skipping = false;
                found.truncated = true;
            }
            open.read(self.max_line, &mut found)?;
            if found.more {
                return Ok(found);
            }
        }
        // At the end: another file under the name is the next one. The old one got its last bytes above.
        let now = match std::fs::metadata(&self.path) {
            Ok(meta) => Some(inode(&meta)),
            Err(err) if err.kind() == io::ErrorKind::NotFound => None,
            Err(err) => return Err(err),
        };
        if let Some(now) = now
            && self.open.as_ref().is_none_or(|open| open.inode != now)
        {
            let mut last = Found::default();
            if let Some(open) = &mut self.open {
                open.read(self.max_line, &mut last)?;
                found.lines.append(&mut last.lines);
                found.bytes += last.bytes;
                if last.more {
                    found.more = true;
                    return Ok(found);
                }
                // A last line without an end is a line.
                found.lines.extend(open.flush());
            }
            self.open = Some(Open::new(&self.path)?);
            found.rotated = true;
            found.more = true;
        }
        Ok(found)
    }

    /// Whether the path is gone, too.
    pub(crate) fn is_gone(&self) -> bool {
        !self.path.exists()
    }
}

impl Open {
    fn new(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        if meta.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
        }
        Ok(Self { inode: inode(&meta), file, offset: 0, rest: Vec::new(), skipping: false })
    }

    fn flush(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.rest);
        (!rest.is_empty() && !self.skipping).then(|| text(&rest))
    }

    fn read(&mut self, max_line: usize, found: &mut Found) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.offset))?;
        let mut buffer = Vec::with_capacity(READ_BYTES);
        (&self.file).take(READ_BYTES as u64).read_to_end(&mut buffer)?;
        self.offset += buffer.len() as u64;
        found.bytes += buffer.len() as u64;
        found.more = buffer.len() == READ_BYTES;
        let mut rest = buffer.as_slice();
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            self.rest.extend_from_slice(&line[..line.len().min(max_line.saturating_sub(self.rest.len()))]);
            found.lines.push(text(&self.rest));
            self.rest.clear();
        }
        if self.skipping {
            return Ok(());
        }
        self.rest.extend_from_slice(rest);
        if self.rest.len() > max_line {
            self.rest.truncate(max_line);
            found.lines.push(text(&self.rest));
            self.rest.clear();
            self.skipping = true;
        }
        Ok(())
    }
}

/// A line as text: without its carriage return, bytes that are not UTF-8 replaced.
fn text(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    String::from_utf8_lossy(line).into_owned()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn all(tail: &mut Tail) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let found = tail.look().unwrap();
            lines.extend(found.lines);
            if !found.more {
                return lines;
            }
        }
    }

    fn append(path: &Path, text: &str) {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn appends_rotation_and_truncation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        append(&path, "old\n");
        let mut tail = Tail::open(&path, None, false, 100).unwrap();
        assert!(all(&mut tail).is_empty());
        append(&path, "one\r\ntw");
        assert_eq!(all(&mut tail), ["one"]);
        append(&path, "o\nthree\n");
        assert_eq!(all(&mut tail), ["two", "three"]);
        // Renamed away; the writer goes on with the old file for a moment.
        std::fs::rename(&path, folder.path().join("a.log.1")).unwrap();
        append(&folder.path().join("a.log.1"), "late\nlast without end");
        append(&path, "new\n");
        assert_eq!(all(&mut tail), ["late", "last without end", "new"]);
        // Copied and cut, as logrotate's copytruncate does.
        std::fs::write(&path, "").unwrap();
        append(&path, "x\n");
        assert_eq!(all(&mut tail), ["x"]);
        std::fs::remove_file(&path).unwrap();
        assert!(all(&mut tail).is_empty() && tail.is_gone());
        append(&path, "back\n");
        assert_eq!(all(&mut tail), ["back"]);
    }

    #[test]
    fn positions_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        append(&path, "one\nhal");
        let mut tail = Tail::open(&path, None, true, 100).unwrap();
        assert_eq!(all(&mut tail), ["one"]);
        let position = tail.position();
        append(&path, "f\n");
        assert_eq!(all(&mut Tail::open(&path, position, false, 100).unwrap()), ["half"]);
        std::fs::rename(&path, folder.path().join("b")).unwrap();
        append(&path, "other\n");
        assert_eq!(all(&mut Tail::open(&path, position, false, 100).unwrap()), ["other"]);
    }

    #[test]
    fn long_lines_are_cut_and_bytes_that_are_no_text_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        let long = "y".repeat(READ_BYTES + 10);
        append(&path, &format!("{long}\nshort\n"));
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"\xff\n").unwrap();
        let mut tail = Tail::open(&path, None, true, 8).unwrap();
        assert_eq!(all(&mut tail), ["yyyyyyyy", "short", "\u{fffd}"]);
    }
}
