//! Asking mounted file systems, which may never answer.
//!
//! `statvfs` of a dead network mount does not return, and what waits for it cannot be ended while the kernel waits. So it is never asked in
//! this process: one child process asks, of one mount after the other. When it does not answer in time it is killed and left to the
//! kernel, the mount counts as stalled, and a new child goes on with the rest. A stalled mount is asked again, last, once its child is gone
//! and after a pause that grows.
//!
//! The two talk through pipes: a length and a path there, an error number and six numbers of 64 bits back, little endian.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long one mount may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long all mounts of a collection may take.
const TOTAL: Duration = Duration::from_millis(1_800);
/// How long a child may take to be there.
const START: Duration = Duration::from_secs(5);
/// The first pause before a stalled mount is asked again, and the longest.
const AGAIN: Duration = Duration::from_secs(10);
const AGAIN_MAX: Duration = Duration::from_secs(300);
/// How long a mount may take that has stalled before.
const SHORT: Duration = Duration::from_millis(250);
/// Children that the kernel holds; with more of them no further mount is asked.
const MAX_HELD: usize = 64;
/// Bytes of a path.
const MAX_PATH: usize = 4096;
/// Bytes of an answer: an error number and six numbers.
const ANSWER: usize = 4 + 6 * 8;
/// What a child says first.
const HELLO: &[u8; 8] = b"mounts 1";

/// The program that is started as a child, with its arguments; it must call [`child`].
#[derive(Clone, Debug)]
pub struct MountChild {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// Numbers of a file system, as `statvfs` gives them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) block_bytes: u64,
    pub(crate) blocks: u64,
    pub(crate) free: u64,
    pub(crate) available: u64,
    pub(crate) files: u64,
    pub(crate) files_free: u64,
}

/// Why there are no numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Silent {
    /// The kernel said so.
    Refused(String),
    /// It does not answer, since so long.
    Stalled(Duration),
    /// Others took the time.
    NotAsked,
}

/// Asks mounts through a child.
#[derive(Debug)]
pub(crate) struct Mounts {
    child: Option<MountChild>,
    running: Option<Asking>,
    stalled: BTreeMap<PathBuf, Stalled>,
}

#[derive(Debug)]
struct Stalled {
    since: Instant,
    /// Until the kernel lets it go.
    held: Option<Child>,
    again: Instant,
    pause: Duration,
    /// It is a path below a mount.
    also: bool,
}

#[derive(Debug)]
struct Asking {
    /// Until it is abandoned.
    child: Option<Child>,
    to: ChildStdin,
    from: ChildStdout,
}

impl Drop for Asking {
    fn drop(&mut self) {
        // It is not in the kernel's hands: it ends at once, or has ended. Not waited for, it would stay as a zombie.
        if let Some(mut child) = self.child.take()
            && child.kill().is_ok()
        {
            drop(child.wait());
        }
    }
}

impl Mounts {
    /// `child`: `None` asks in this process, for programs that have no such child.
    pub(crate) fn new(child: Option<MountChild>) -> Self {
        Self { child, running: None, stalled: BTreeMap::new() }
    }

    /// The numbers of each of these paths, in their order.
    pub(crate) fn ask(&mut self, paths: &[PathBuf]) -> Vec<Result<Numbers, Silent>> {
        // What is no longer mounted is forgotten, once the kernel has let its child go; what others ask for comes again by itself.
        self.stalled.retain(|path, stalled| !stalled.is_released() || paths.contains(path) || stalled.also);
        self.all(paths, false)
    }

    /// The same for paths that are no mounts of their own.
    pub(crate) fn ask_also(&mut self, paths: &[PathBuf]) -> Vec<Result<Numbers, Silent>> {
        self.all(paths, true)
    }

    fn all(&mut self, paths: &[PathBuf], also: bool) -> Vec<Result<Numbers, Silent>> {
        let until = Instant::now() + TOTAL;
        let mut order: Vec<usize> = (0..paths.len()).collect();
        // Those that stalled come last: they take no time from the others.
        order.sort_by_key(|index| self.stalled.contains_key(&paths[*index]));
        let mut answers: Vec<Result<Numbers, Silent>> = vec![Err(Silent::NotAsked); paths.len()];
        for index in order {
            answers[index] = self.one(&paths[index], until, also);
        }
        answers
    }

    fn one(&mut self, path: &Path, until: Instant, also: bool) -> Result<Numbers, Silent> {
        let now = Instant::now();
        let mut patience = PATIENCE;
        if let Some(stalled) = self.stalled.get_mut(path) {
            if now < stalled.again || !stalled.is_released() {
                return Err(Silent::Stalled(now - stalled.since));
            }
            patience = SHORT;
        }
        if self.stalled.values().filter(|stalled| stalled.held.is_some()).count() >= MAX_HELD {
            return Err(Silent::NotAsked);
        }
        let left = until.saturating_duration_since(now);
        if left < patience.min(SHORT) {
            return Err(self
                .stalled
                .get(path)
                .map_or(Silent::NotAsked, |one| Silent::Stalled(now - one.since)));
        }
        match self.exchange(path, patience.min(left)) {
            Ok(answer) => {
                if let Some(stalled) = self.stalled.remove(path) {
                    tracing::info!(mount = %path.display(), after = ?stalled.since.elapsed(), "a mount answers again");
                }
                answer.map_err(Silent::Refused)
            }
            Err(err) if err.kind() == io::ErrorKind::TimedOut => {
                let held = self.running.take().and_then(Asking::abandon);
                let stalled = self.stalled.entry(path.to_owned()).or_insert_with(|| {
                    tracing::warn!(mount = %path.display(), "a mount does not answer");
                    Stalled { since: now, held: None, again: now, pause: AGAIN / 2, also }
                });
                stalled.held = held;
                stalled.pause = (stalled.pause * 2).min(AGAIN_MAX);
                stalled.again = Instant::now() + stalled.pause;
                Err(Silent::Stalled(stalled.since.elapsed()))
            }
            Err(err) => {
                self.running = None;
                Err(Silent::Refused(format!("the process that asks mounts: {err}")))
            }
        }
    }

    /// One question and its answer: numbers or what the kernel said. `TimedOut`: there is none.
    fn exchange(&mut self, path: &Path, patience: Duration) -> io::Result<Result<Numbers, String>> {
        let Some(program) = &self.child else { return Ok(stat(path).map_err(|err| err.to_string())) };
        let mut asking = match self.running.take() {
            Some(asking) => asking,
            None => Asking::start(program)?,
        };
        let bytes = path.as_os_str().as_bytes();
        let length = u32::try_from(bytes.len()).ok().filter(|length| *length as usize <= MAX_PATH);
        let length = length.ok_or_else(|| io::Error::other("the path is too long"))?;
        let question = [&length.to_le_bytes(), bytes].concat();
        asking.to.write_all(&question)?;
        let mut answer = [0; ANSWER];
        let read = asking.read(&mut answer, patience);
        // Kept even when it did not answer: the caller leaves it to the kernel.
        self.running = Some(asking);
        read?;
        Ok(decode(&answer))
    }
}

impl Stalled {
    /// Whether the kernel has let its child go.
    fn is_released(&mut self) -> bool {
        if let Some(child) = &mut self.held
            && matches!(child.try_wait(), Ok(Some(_)) | Err(_))
        {
            self.held = None;
        }
        self.held.is_none()
    }
}

impl Asking {
    fn start(program: &MountChild) -> io::Result<Self> {
        let mut command = Command::new(&program.program);
        command.args(&program.arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("it has no pipes"));
        };
        let mut asking = Self { child: Some(child), to, from };
        let mut hello = [0; HELLO.len()];
        match asking.read(&mut hello, START) {
            Ok(()) if hello == *HELLO => Ok(asking),
            Ok(()) => Err(io::Error::other("it is another program")),
            // Not the mount's fault.
            Err(err) => Err(io::Error::other(format!("it did not start: {err}"))),
        }
    }

    fn read(&mut self, mut buffer: &mut [u8], patience: Duration) -> io::Result<()> {
        let until = Instant::now() + patience;
        while !buffer.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            let from = self.from.as_fd();
            if poll(&mut [PollFd::new(&from, PollFlags::IN)], Some(&left))? == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
            match self.from.read(buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => buffer = &mut buffer[count..],
            }
        }
        Ok(())
    }

    /// Kills the child, which the kernel may hold for long.
    fn abandon(mut self) -> Option<Child> {
        let mut child = self.child.take()?;
        // It has ended already when this fails, and is reaped like any other.
        drop(child.kill());
        Some(child)
    }
}

/// The numbers of a mount, however long it takes.
fn stat(path: &Path) -> io::Result<Numbers> {
    let found = rustix::fs::statvfs(path)?;
    Ok(Numbers {
        block_bytes: found.f_frsize.max(1),
        blocks: found.f_blocks,
        free: found.f_bfree,
        available: found.f_bavail,
        files: found.f_files,
        files_free: found.f_ffree,
    })
}

fn encode(found: io::Result<Numbers>) -> [u8; ANSWER] {
    let mut answer = [0; ANSWER];
    match found {
        Err(err) => {
            let number = err.raw_os_error().unwrap_or(rustix::io::Errno::IO.raw_os_error());
            answer[..4].copy_from_slice(&number.to_le_bytes());
        }
        Ok(found) => {
            let numbers =
                [found.block_bytes, found.blocks, found.free, found.available, found.files, found.files_free];
            for (place, number) in answer[4..].chunks_exact_mut(8).zip(numbers) {
                place.copy_from_slice(&number.to_le_bytes());
            }
        }
    }
    answer
}

fn decode(answer: &[u8; ANSWER]) -> Result<Numbers, String> {
    let (error, numbers) = answer.split_at(4);
    let error = i32::from_le_bytes(error.try_into().expect("four bytes"));
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error).to_string());
    }
    let mut numbers =
        numbers.chunks_exact(8).map(|bytes| u64::from_le_bytes(bytes.try_into().expect("eight bytes")));
    let mut next = || numbers.next().unwrap_or(0);
    Ok(Numbers {
        block_bytes: next(),
        blocks: next(),
        free: next(),
        available: next(),
        files: next(),
        files_free: next(),
    })
}

/// What the child process does: answers until its pipe closes.
///
/// # Errors
/// A pipe broke.
pub fn child() -> io::Result<()> {
    let (mut from, mut to) = (io::stdin().lock(), io::stdout().lock());
    to.write_all(HELLO)?;
    to.flush()?;
    let mut path = vec![0; MAX_PATH];
    loop {
        let mut length = [0; 4];
        match from.read_exact(&mut length) {
            Err(err) if err.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        }
        let length = u32::from_le_bytes(length) as usize;
        let bytes = path.get_mut(..length).ok_or_else(|| io::Error::other("the path is too long"))?;
        from.read_exact(bytes)?;
        to.write_all(&encode(stat(Path::new(OsStr::from_bytes(bytes)))))?;
        to.flush()?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Option<MountChild> {
        Some(MountChild { program: "/bin/sh".into(), arguments: vec!["-c".into(), script.into()] })
    }

    #[test]
    fn numbers_and_errors_cross_the_pipe() {
        let root = stat(Path::new("/")).unwrap();
        assert_eq!(decode(&encode(Ok(root))), Ok(root));
        let missing = stat(Path::new("/no/such/folder"));
        assert!(decode(&encode(missing)).unwrap_err().contains("No such file"));
    }

    #[test]
    fn a_child_that_does_not_answer_is_killed_and_its_mount_has_stalled() {
        // Says hello and never answers.
        let mut mounts = Mounts::new(shell("printf 'mounts 1'; exec sleep 1000"));
        let (hung, other) = (PathBuf::from("/hung"), PathBuf::from("/other"));
        let began = Instant::now();
        let answers = mounts.ask(&[hung.clone(), other.clone()]);
        assert!(matches!(answers[0], Err(Silent::Stalled(_))), "{answers:?}");
        assert!(began.elapsed() >= PATIENCE);
        assert!(mounts.running.is_none(), "it was killed");
        // Not asked again while it is left alone, and the stall grows.
        let Err(Silent::Stalled(first)) = mounts.ask(std::slice::from_ref(&hung))[0] else {
            panic!("it has stalled")
        };
        let Err(Silent::Stalled(then)) = mounts.ask(std::slice::from_ref(&hung))[0] else {
            panic!("it has stalled")
        };
        assert!(then >= first);
        // Unmounted: forgotten, once the kernel has let the child go.
        while !mounts.stalled.is_empty() {
            mounts.ask(&[]);
        }
        // Another program, or none.
        let text = |child| match &Mounts::new(child).ask(std::slice::from_ref(&other))[0] {
            Err(Silent::Refused(text)) => text.clone(),
            other => panic!("{other:?}"),
        };
        assert!(text(shell("printf 'something'")).contains("another program"));
        assert!(text(shell("exit 1")).contains("did not start"));
        let absent = MountChild { program: "/no/such/program".into(), arguments: Vec::new() };
        assert!(text(Some(absent)).contains("No such file"));
    }

    #[test]
    fn without_a_child_this_process_asks() {
        let answers = Mounts::new(None).ask(&["/".into(), "/no/such/folder".into()]);
        assert!(answers[0].as_ref().is_ok_and(|numbers| numbers.blocks > 0 || numbers.block_bytes > 0));
        assert!(matches!(&answers[1], Err(Silent::Refused(text)) if text.contains("No such file")));
    }
}
