//! Following files: patterns to paths, positions over restarts.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::StateStore;
use model::seam::Expect;
use tokio::time::Instant;

use super::super::config::FileInput;
use super::super::job::Job;
use super::super::multiline::Joiner;
use super::super::parse::Entry;
use super::super::tail::{Found, Inode, Position, Tail};
use super::{BUCKET, KEEP};
use crate::discovery::file::matching;

/// How often files are looked at when nothing comes.
const LOOK: Duration = Duration::from_millis(500);
/// How often patterns are listed again.
const LIST: Duration = Duration::from_secs(5);
/// Files of one job; more are not followed.
const MAX_FILES: usize = 1_000;

/// # Errors
/// What is wrong with the settings.
pub(in super::super) fn check(config: &FileInput, max_line_bytes: usize) -> Result<(), String> {
    if config.paths.is_empty() {
        return Err("file.paths: there is none".into());
    }
    if let Some(path) =
        config.paths.iter().find(|path| path.rsplit_once('/').is_some_and(|(folder, _)| folder.contains('*')))
    {
        return Err(format!("file.paths: {path:?} has a * before its last part"));
    }
    Joiner::new(&config.multiline.start, config.multiline.max_lines, max_line_bytes).map(drop)
}

struct Followed {
    tail: Tail,
    joiner: Joiner,
    /// When the last line came.
    last: Instant,
    /// The position that is in the state store.
    kept: Option<Position>,
}

struct Files {
    job: Arc<Job>,
    config: FileInput,
    state: Option<Arc<dyn StateStore>>,
    open: HashMap<PathBuf, Followed>,
    /// The first list has been made: files that come now are new.
    listed: bool,
    /// What was said about a path that cannot be read, to say it once.
    said: HashMap<PathBuf, String>,
}

/// Follows until cancelled.
pub(in super::super) async fn run(config: FileInput, job: Arc<Job>, state: Option<Arc<dyn StateStore>>) {
    let mut files = Files { job, config, state, open: HashMap::new(), listed: false, said: HashMap::new() };
    let (mut list_at, mut keep_at) = (Instant::now(), Instant::now() + KEEP);
    loop {
        if Instant::now() >= list_at {
            files.list().await;
            list_at = Instant::now() + LIST;
        }
        let more = files.read().await;
        if Instant::now() >= keep_at {
            files.keep().await;
            keep_at = Instant::now() + KEEP;
        }
        if !more {
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Files {
    /// Opens what has appeared, forgets what is gone.
    async fn list(&mut self) {
        let patterns = self.config.paths.clone();
        let listed = tokio::task::spawn_blocking(move || {
            patterns.iter().map(|pattern| matching(pattern)).collect::<Result<Vec<_>, _>>()
        });
        let paths: Vec<PathBuf> =
            match listed.await.map_err(|err| err.to_string()).map(|r| r.map_err(|err| err.to_string())) {
                Ok(Ok(paths)) => paths.into_iter().flatten().collect(),
                Ok(Err(reason)) | Err(reason) => return self.job.failed(&reason),
            };
        for path in paths {
            if self.open.contains_key(&path) {
                continue;
            }
            if self.open.len() >= MAX_FILES {
                self.job.failed(&format!("more than {MAX_FILES} files fit; the others are not followed"));
                break;
            }
            self.open(path).await;
        }
        self.listed = true;
        self.open.retain(|_, followed| !followed.tail.is_gone() || followed.last.elapsed() < LIST);
        self.job.counters.files.set(self.open.len() as i64);
    }

    async fn open(&mut self, path: PathBuf) {
        let kept = self.kept(&path).await;
        // What appears while we run is new from its first line on.
        let from_start = self.config.from_start || self.listed;
        let (at, max_line) = (path.clone(), self.job.max_line_bytes);
        let opened = tokio::task::spawn_blocking(move || Tail::open(&at, kept, from_start, max_line)).await;
        let multiline = &self.config.multiline;
        let joiner = Joiner::new(&multiline.start, multiline.max_lines, self.job.max_line_bytes);
        match (opened.map_err(|err| err.to_string()).and_then(|r| r.map_err(|err| err.to_string())), joiner) {
            (Ok(tail), Ok(joiner)) => {
                self.said.remove(&path);
                self.open.insert(path, Followed { tail, joiner, last: Instant::now(), kept });
            }
            (Err(reason), _) | (_, Err(reason)) => {
                let reason = format!("cannot follow {}: {reason}", path.display());
                if self.said.insert(path, reason.clone()).is_none_or(|before| before != reason) {
                    self.job.failed(&reason);
                }
            }
        }
    }

    /// Reads a portion of every file; whether there may be more.
    async fn read(&mut self) -> bool {
        let mut more = false;
        let timeout = self.config.multiline.timeout.to_std();
        for path in self.open.keys().cloned().collect::<Vec<_>>() {
            let Some(mut followed) = self.open.remove(&path) else { continue };
            let looked = tokio::task::spawn_blocking(move || {
                let found = followed.tail.look();
                (followed, found)
            });
            let (mut followed, found) = match looked.await {
                Ok(looked) => looked,
                Err(err) => {
                    self.job.failed(&format!("reading {} ended badly: {err}", path.display()));
                    continue;
                }
            };
            let found = found.unwrap_or_else(|err| {
                self.job.failed(&format!("cannot read {}: {err}", path.display()));
                Found::default()
            });
            if found.truncated {
                tracing::info!(path = %path.display(), "a log file became shorter and is read from its start");
            }
            if !found.lines.is_empty() {
                followed.last = Instant::now();
            }
            let mut entries: Vec<Entry> = found
                .lines
                .into_iter()
                .filter_map(|line| followed.joiner.push(line))
                .map(Entry::from)
                .collect();
            if entries.is_empty() && followed.last.elapsed() >= timeout {
                entries.extend(followed.joiner.flush().map(Entry::from));
            }
            more |= found.more;
            self.open.insert(path, followed);
            self.job.take(entries, found.bytes).await;
        }
        more
    }

    fn key(&self, path: &Path) -> String {
        format!("{}:{}", self.job.name, path.display())
    }

    async fn kept(&self, path: &Path) -> Option<Position> {
        let state = self.state.as_ref()?;
        match state.get(BUCKET, &self.key(path)).await {
            Ok(entry) => parse(&String::from_utf8_lossy(&entry?.value)),
            Err(err) => {
                self.job.failed(&format!("cannot read the position in {}: {}", path.display(), err.chain()));
                None
            }
        }
    }

    async fn keep(&mut self) {
        let Some(state) = self.state.clone() else { return };
        let mut changed = Vec::new();
        for (path, followed) in &mut self.open {
            let now = followed.tail.position();
            if now.is_some() && now != followed.kept {
                followed.kept = now;
                changed.push((path.clone(), now));
            }
        }
        for (path, position) in changed {
            let Some(Position { inode, offset }) = position else { continue };
            let value = format!("{} {} {offset}", inode.device, inode.number);
            if let Err(err) = state.put(BUCKET, &self.key(&path), value.as_bytes(), Expect::Any).await {
                self.job.failed(&format!("cannot keep the position in {}: {}", path.display(), err.chain()));
            }
        }
    }
}

/// `DEVICE INODE OFFSET`
fn parse(text: &str) -> Option<Position> {
    let mut numbers = text.split(' ').map(str::parse::<u64>);
    let mut next = || numbers.next()?.ok();
    Some(Position { inode: Inode { device: next()?, number: next()? }, offset: next()? })
}
