//! The finished page and feeds: made when something has changed, held in memory, copied to disk. Serving touches nothing else.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use model::{Clock, Timestamp};
use parking_lot::Mutex;

use super::shapes::Snapshot;
use super::{feed, html};

/// Ages on the page are right to this.
const FRESH_MS: i64 = 10_000;
/// The largest copy that is read.
const MAX_COPY: u64 = 64 << 20;

/// What is served.
pub(crate) struct Rendered {
    pub(crate) page: Bytes,
    pub(crate) history: Bytes,
    pub(crate) json: Bytes,
    pub(crate) rss: Bytes,
    pub(crate) feed: Bytes,
}

#[derive(Default)]
struct Held {
    snapshot: Option<Arc<Snapshot>>,
    rendered: Option<(i64, Arc<Rendered>)>,
}

/// The newest snapshot and what is made of it.
pub struct Published {
    copy: Option<PathBuf>,
    clock: Arc<dyn Clock>,
    held: Mutex<Held>,
}

impl Published {
    /// Begins with the copy on disk, when there is one. A copy that cannot be read is passed over with a warning: the next
    /// snapshot replaces it.
    pub fn open(copy: Option<PathBuf>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let known = copy.as_deref().and_then(|path| match read(path) {
            Ok(known) => known,
            Err(reason) => {
                tracing::warn!(path = %path.display(), %reason, "the copy of the status page is not used");
                None
            }
        });
        let held = Held { snapshot: known.map(Arc::new), rendered: None };
        Arc::new(Self { copy, clock, held: Mutex::new(held) })
    }

    /// Shows a snapshot from now on, and copies it to disk. Blocks on the disk.
    ///
    /// # Errors
    /// When the copy cannot be written; the snapshot is shown all the same.
    pub fn publish(&self, snapshot: Snapshot) -> std::io::Result<()> {
        let text = serde_json::to_vec(&snapshot)?;
        *self.held.lock() = Held { snapshot: Some(Arc::new(snapshot)), rendered: None };
        self.copy.as_deref().map_or(Ok(()), |path| write(path, &text))
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Option<Arc<Snapshot>> {
        self.held.lock().snapshot.clone()
    }

    /// The page as it is now; `None` before the first snapshot.
    pub(crate) fn rendered(&self) -> Option<Arc<Rendered>> {
        let now = self.clock.now();
        let window = now.ms().div_euclid(FRESH_MS);
        let mut held = self.held.lock();
        let snapshot = held.snapshot.clone()?;
        match &held.rendered {
            Some((made, rendered)) if *made == window => Some(Arc::clone(rendered)),
            _ => {
                let rendered = Arc::new(render(&snapshot, now));
                held.rendered = Some((window, Arc::clone(&rendered)));
                Some(rendered)
            }
        }
    }
}

fn render(snapshot: &Snapshot, now: Timestamp) -> Rendered {
    Rendered {
        page: html::page(snapshot, now).into(),
        history: html::history(snapshot, now).into(),
        json: serde_json::to_vec(snapshot).unwrap_or_default().into(),
        rss: feed::rss(snapshot).into(),
        feed: feed::json(snapshot).into(),
    }
}

fn read(path: &Path) -> Result<Option<Snapshot>, String> {
    let size = match std::fs::metadata(path) {
        Ok(found) => found.len(),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(err.to_string()),
    };
    if size > MAX_COPY {
        return Err(format!("it has {size} bytes, at most {MAX_COPY} are read"));
    }
    let text = std::fs::read(path).map_err(|err| err.to_string())?;
    serde_json::from_slice(&text).map(Some).map_err(|err| err.to_string())
}

/// Replaces a file whole: a crash leaves the old one.
fn write(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = std::fs::File::create(&partial)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&partial, path)
}
