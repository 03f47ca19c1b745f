//! Following processes and the kernel's messages as they come, on one thread.
//!
//! The process connector tells of every beginning and end; `/dev/kmsg` tells why memory was taken from whom. An end by SIGKILL waits
//! [`OOM_WAIT`] for the kernel's message, so that both are joined. Where the connector is not permitted, the ends of critical
//! processes are seen through file descriptors of the processes, without their cause.
//! Sources: the kernel's include/uapi/linux/{connector,cn_proc}.h, pidfd_open(2).

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustix::process::{Pid, PidfdFlags};

use super::Processes;
use super::ledger::End;
use crate::events::Events;
use crate::kernel::{self, KINDS, Kind};
use crate::netlink::{self, u32_at};

/// How long the end of a killed process waits for the message that memory ran out.
const OOM_WAIT: Duration = Duration::from_millis(200);
/// How long such a message waits for the end.
const OOM_MEMORY: Duration = Duration::from_secs(30);
/// The kernel's queue for us.
const QUEUE_BYTES: usize = 4 << 20;
/// Equal messages within this time are one event.
const FOLD_MS: i64 = 60_000;
/// Devices that are counted apart.
const MAX_DEVICES: usize = 256;

const CN_IDX_PROC: u32 = 1;
const CN_VAL_PROC: u32 = 1;
const PROC_CN_MCAST_LISTEN: u32 = 1;
const PROC_EVENT_FORK: u32 = 0x1;
const PROC_EVENT_EXEC: u32 = 0x2;
const PROC_EVENT_EXIT: u32 = 0x8000_0000;

/// What the kernel has said.
#[derive(Default)]
pub(crate) struct KernelLog {
    /// By kind.
    pub counts: BTreeMap<Kind, u64>,
    /// By kind and device.
    pub devices: BTreeMap<(Kind, String), u64>,
    /// Messages that were lost because they came too fast.
    pub overruns: u64,
}

/// What is not followed, and why.
#[derive(Clone, Debug, Default)]
pub(crate) struct Missing {
    pub connector: Option<String>,
    pub kmsg: Option<String>,
}

/// The thread. It ends when this is dropped.
pub(crate) struct Follower {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
    pub missing: Missing,
    pub log: Arc<Mutex<KernelLog>>,
}

impl Follower {
    /// Starts following. `processes`: `None` follows the kernel's messages only.
    pub(crate) fn start(
        processes: Option<Arc<Processes>>,
        kernel_log: bool,
        events: Events,
    ) -> io::Result<Self> {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let mut missing = Missing::default();
        let connector = match processes.as_ref().map(|_| connect()) {
            None => None,
            Some(Ok(socket)) => Some(socket),
            Some(Err(err)) => {
                missing.connector = Some(err.to_string());
                None
            }
        };
        let kmsg = match kernel_log.then(open_kmsg) {
            None => None,
            Some(Ok(file)) => Some(file),
            Some(Err(err)) => {
                missing.kmsg = Some(err.to_string());
                None
            }
        };
        let log = Arc::new(Mutex::new(KernelLog::default()));
        let work = Work {
            processes,
            events,
            connector,
            kmsg,
            stop: Arc::clone(&stop),
            log: Arc::clone(&log),
            out_of_memory: HashMap::new(),
            killed: Vec::new(),
            watched: HashMap::new(),
        };
        let thread = std::thread::Builder::new().name("follow".into()).spawn(move || work.run())?;
        Ok(Self { stop, thread: Some(thread), missing, log })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        if rustix::io::write(&*self.stop, &1u64.to_ne_bytes()).is_ok()
            && let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that follows processes has panicked");
        }
    }
}

/// Asks the kernel to tell of processes.
fn connect() -> io::Result<OwnedFd> {
    let socket = netlink::open(rustix::net::netlink::CONNECTOR, CN_IDX_PROC)?;
    // Beyond the limit with CAP_NET_ADMIN, which the connector needs anyway.
    if let Err(err) = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, QUEUE_BYTES) {
        tracing::debug!(error = %err, "the queue for process events stays at its default size");
    }
    let mut payload = Vec::with_capacity(24);
    for word in [CN_IDX_PROC, CN_VAL_PROC, 0, 0] {
        payload.extend_from_slice(&word.to_ne_bytes());
    }
    payload.extend_from_slice(&4u16.to_ne_bytes());
    payload.extend_from_slice(&0u16.to_ne_bytes());
    payload.extend_from_slice(&PROC_CN_MCAST_LISTEN.to_ne_bytes());
    rustix::net::send(&socket, &netlink::message(netlink::NLMSG_DONE, 0, &payload), SendFlags::empty())?;
    Ok(socket)
}

/// The kernel's messages from now on.
fn open_kmsg() -> io::Result<std::fs::File> {
    use std::io::Seek;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open("/dev/kmsg")?;
    file.seek(io::SeekFrom::End(0))?;
    Ok(file)
}

struct Work {
    processes: Option<Arc<Processes>>,
    events: Events,
    connector: Option<OwnedFd>,
    kmsg: Option<std::fs::File>,
    stop: Arc<OwnedFd>,
    log: Arc<Mutex<KernelLog>>,
    /// Processes that the kernel killed for want of memory and that have not ended yet.
    out_of_memory: HashMap<u32, Instant>,
    /// Ends by SIGKILL whose cause is not known yet.
    killed: Vec<(Instant, End)>,
    /// Critical processes, where the connector is not permitted.
    watched: HashMap<u32, OwnedFd>,
}

impl Work {
    fn run(mut self) {
        let mut buffer = vec![0u8; 64 << 10];
        loop {
            let wait = if !self.killed.is_empty() {
                Some(Duration::from_millis(50))
            } else if self.connector.is_none() && self.processes.is_some() {
                // New critical processes are looked for.
                Some(Duration::from_secs(1))
            } else {
                None
            };
            if self.connector.is_none() {
                self.watch_critical();
            }
            let mut ended = Vec::new();
            let (mut told, mut said) = (false, false);
            {
                let mut fds = vec![PollFd::new(&*self.stop, PollFlags::IN)];
                fds.extend(self.connector.as_ref().map(|socket| PollFd::new(socket, PollFlags::IN)));
                fds.extend(self.kmsg.as_ref().map(|file| PollFd::new(file, PollFlags::IN)));
                let pids: Vec<u32> = self.watched.keys().copied().collect();
                fds.extend(pids.iter().map(|pid| PollFd::new(&self.watched[pid], PollFlags::IN)));
                let timeout = wait.map(|wait| Timespec {
                    tv_sec: wait.as_secs() as i64,
                    tv_nsec: i64::from(wait.subsec_nanos()),
                });
                match poll(&mut fds, timeout.as_ref()) {
                    Ok(_) => {}
                    Err(Errno::INTR) => continue,
                    Err(err) => {
                        tracing::error!(error = %err, "processes and kernel messages are not followed any more");
                        return;
                    }
                }
                let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
                if ready[0] {
                    return;
                }
                let mut next = 1;
                if self.connector.is_some() {
                    told = ready[next];
                    next += 1;
                }
                if self.kmsg.is_some() {
                    said = ready[next];
                    next += 1;
                }
                ended.extend(
                    pids.iter().zip(&ready[next..]).filter(|(_, ready)| **ready).map(|(pid, _)| *pid),
                );
            }
            // The kernel's words first: they tell the cause of the ends.
            if said {
                self.read_kmsg(&mut buffer);
            }
            if told {
                self.read_connector(&mut buffer);
            }
            for pid in ended {
                self.watched.remove(&pid);
                let oom = self.out_of_memory.remove(&pid).is_some();
                self.ended(End { pid, status: oom.then_some(libc::SIGKILL as u32), core: false, oom });
            }
            self.settle();
        }
    }

    /// Killed processes whose wait is over, and memories that are old.
    fn settle(&mut self) {
        let now = Instant::now();
        let due: Vec<End> = {
            let (due, left) =
                std::mem::take(&mut self.killed).into_iter().partition(|(until, _)| *until <= now);
            self.killed = left;
            let due: Vec<(Instant, End)> = due;
            due.into_iter().map(|(_, end)| end).collect()
        };
        for end in due {
            self.ended(end);
        }
        self.out_of_memory.retain(|_, at| now.duration_since(*at) < OOM_MEMORY);
    }

    fn read_connector(&mut self, buffer: &mut [u8]) {
        loop {
            let Some(socket) = &self.connector else { return };
            match rustix::net::recv(socket.as_fd(), &mut *buffer, RecvFlags::DONTWAIT) {
                Ok((length, _)) => {
                    for (_, payload) in netlink::messages(&buffer[..length]) {
                        self.process_event(payload);
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::NOBUFS) => {
                    // Beginnings and ends were lost; the next scan of /proc sets the table right.
                    if let Some(processes) = &self.processes {
                        processes.ledger.lock().overruns += 1;
                    }
                }
                Err(_) => return,
            }
        }
    }

    fn process_event(&mut self, payload: &[u8]) {
        // After the 20 bytes of the connector: what, processor, time, then what belongs to the event.
        let (Some(what), Some(first), Some(second)) =
            (u32_at(payload, 20), u32_at(payload, 36), u32_at(payload, 40))
        else {
            return;
        };
        let Some(processes) = self.processes.clone() else { return };
        match what {
            PROC_EVENT_FORK => {
                // Parent's thread and process, child's thread and process.
                let (Some(thread), Some(child)) = (u32_at(payload, 44), u32_at(payload, 48)) else { return };
                if thread != child {
                    return;
                }
                let parent = processes.identities.lock().get(&second).cloned();
                if let Some(identity) = parent {
                    processes.identities.lock().insert(child, Arc::clone(&identity));
                    let now = self.events.now().ms();
                    processes.ledger.lock().begin(&identity, now, &self.events);
                }
            }
            PROC_EVENT_EXEC if first == second => {
                if let Some(identity) = processes.identify(first) {
                    let now = self.events.now().ms();
                    processes.ledger.lock().begin(&identity, now, &self.events);
                }
            }
            // One comes for every thread; the process has ended when its first thread has.
            PROC_EVENT_EXIT if first == second => {
                let Some(status) = u32_at(payload, 44) else { return };
                // Set when a core was written, not when one was tried.
                let core = status & 0x80 != 0;
                let oom = self.out_of_memory.remove(&first).is_some();
                let end = End { pid: first, status: Some(status), core, oom };
                if end.signal() == libc::SIGKILL as u32 && !oom && self.kmsg.is_some() {
                    self.killed.push((Instant::now() + OOM_WAIT, end));
                } else {
                    self.ended(end);
                }
            }
            _ => {}
        }
    }

    fn ended(&self, end: End) {
        let Some(processes) = &self.processes else { return };
        let known = processes.identities.lock().remove(&end.pid);
        // Not reaped yet, perhaps.
        let Some(identity) = known.or_else(|| processes.identify(end.pid)) else { return };
        processes.identities.lock().remove(&end.pid);
        let critical = processes.groups.is_critical(&identity.group);
        let now = self.events.now().ms();
        processes.ledger.lock().end(&identity, critical, end, now, &self.events);
    }

    /// Opens descriptors of critical processes that are not watched yet.
    fn watch_critical(&mut self) {
        let Some(processes) = &self.processes else { return };
        let critical: Vec<u32> = {
            let identities = processes.identities.lock();
            let critical = |identity: &Arc<_>| -> bool {
                let identity: &super::groups::Identity = identity;
                processes.groups.is_critical(&identity.group)
            };
            identities.iter().filter(|(_, identity)| critical(identity)).map(|(pid, _)| *pid).collect()
        };
        for pid in critical {
            if self.watched.len() < MAX_DEVICES
                && !self.watched.contains_key(&pid)
                && let Some(id) = Pid::from_raw(pid as i32)
                && let Ok(fd) = rustix::process::pidfd_open(id, PidfdFlags::empty())
            {
                self.watched.insert(pid, fd);
            }
        }
    }

    fn read_kmsg(&mut self, buffer: &mut [u8]) {
        loop {
            let Some(file) = &mut self.kmsg else { return };
            // One record each time.
            match file.read(buffer) {
                Ok(0) => return,
                Ok(length) => {
                    let record = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    if let Some(line) = kernel::parse(&record) {
                        self.message(line.text);
                    }
                }
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                // The ring has gone on without us; the next read goes on where it is.
                Err(err) if err.raw_os_error() == Some(libc::EPIPE) => self.log.lock().overruns += 1,
                Err(_) => return,
            }
        }
    }

    fn message(&mut self, text: &str) {
        let Some(notice) = kernel::classify(text) else { return };
        {
            let mut log = self.log.lock();
            *log.counts.entry(notice.kind).or_default() += 1;
            if !notice.device.is_empty() {
                let key = (notice.kind, notice.device.clone());
                if log.devices.contains_key(&key) || log.devices.len() < MAX_DEVICES {
                    *log.devices.entry(key).or_default() += 1;
                }
            }
        }
        let (mut pid, mut comm, mut group, mut unit) =
            (String::new(), String::new(), String::new(), String::new());
        if let Some((number, name)) = &notice.process {
            (pid, comm) = (number.to_string(), name.clone());
            let identity = self.processes.as_ref().and_then(|processes| processes.identity(*number));
            if let Some(identity) = identity {
                (group, unit) = (identity.group.to_string(), identity.unit.to_string());
            }
            if notice.kind == Kind::OomKill {
                match self.killed.iter().position(|(_, end)| end.pid == *number) {
                    Some(at) => {
                        let (_, end) = self.killed.swap_remove(at);
                        self.ended(End { oom: true, ..end });
                    }
                    None => drop(self.out_of_memory.insert(*number, Instant::now())),
                }
            }
        }
        let kind = if notice.kind == Kind::OomKill { "oom_kill" } else { "kernel" };
        let labels = [
            ("what", notice.kind.as_str()),
            ("device", notice.device.as_str()),
            ("comm", &comm),
            ("pid", &pid),
            ("group", &group),
            ("unit", &unit),
        ];
        if !self.events.fold(kind, &labels, FOLD_MS) {
            self.events.add(kind, notice.kind.severity(), text.to_owned(), &labels);
        }
    }
}

/// The kinds of messages as families.
pub(crate) fn report(log: &KernelLog, out: &mut crate::output::Output) {
    for (kind, name) in KINDS {
        let count = log.counts.get(&kind).copied().unwrap_or(0);
        let help = "Messages of the kernel since this process began, by what they tell of.";
        out.counter("bellwether_kernel_events_total", help, &[("kind", name)], count as f64);
    }
    for ((kind, device), count) in &log.devices {
        let labels = [("device", device.as_str()), ("kind", kind.as_str())];
        let help = "Messages of the kernel about a device since this process began, by what they tell of.";
        out.counter("bellwether_kernel_device_events_total", help, &labels, *count as f64);
    }
    let help = "Times that messages of the kernel were lost because they came too fast.";
    out.counter("bellwether_kernel_log_overruns_total", help, &[], log.overruns as f64);
}
