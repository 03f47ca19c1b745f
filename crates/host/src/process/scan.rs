//! One look at every process. Idle ones cost one small read; details that are dear are read in turn, within a budget.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};

use super::Processes;
use super::files::{self, Stat};
use super::groups::Identity;
use crate::error::Error;

/// A line of `stat` and the other small files fit.
const SMALL: usize = 4096;
/// Descriptors of one process that are counted.
const MAX_DESCRIPTORS: usize = 1 << 20;
/// Idle processes are read in full once in so many scans.
const IDLE_TURN: u64 = 8;

/// Counters of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Counters {
    pub user_ticks: u64,
    pub system_ticks: u64,
    pub minor_faults: u64,
    pub major_faults: u64,
    pub io_delay_ticks: u64,
    pub read_bytes: u64,
    pub write_bytes: u64,
    pub run_delay_ns: u64,
    pub voluntary: u64,
    pub involuntary: u64,
}

impl Counters {
    /// Adds what `now` has more than `before`.
    pub(super) fn add(&mut self, now: &Self, before: &Self) {
        let fields: [(&mut u64, u64, u64); 10] = [
            (&mut self.user_ticks, now.user_ticks, before.user_ticks),
            (&mut self.system_ticks, now.system_ticks, before.system_ticks),
            (&mut self.minor_faults, now.minor_faults, before.minor_faults),
            (&mut self.major_faults, now.major_faults, before.major_faults),
            (&mut self.io_delay_ticks, now.io_delay_ticks, before.io_delay_ticks),
            (&mut self.read_bytes, now.read_bytes, before.read_bytes),
            (&mut self.write_bytes, now.write_bytes, before.write_bytes),
            (&mut self.run_delay_ns, now.run_delay_ns, before.run_delay_ns),
            (&mut self.voluntary, now.voluntary, before.voluntary),
            (&mut self.involuntary, now.involuntary, before.involuntary),
        ];
        for (sum, now, before) in fields {
            *sum += now.saturating_sub(before);
        }
    }
}

/// What is dear to read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Details {
    pub descriptors: Option<u64>,
    pub descriptor_limit: Option<u64>,
    pub swap_bytes: u64,
    pub pss_bytes: Option<u64>,
    pub swap_pss_bytes: Option<u64>,
}

/// A process between scans.
pub(super) struct Record {
    pub started: u64,
    generation: u64,
    pub identity: Arc<Identity>,
    pub counters: Counters,
    /// Processor ticks since the scan before.
    pub recent_ticks: u64,
    /// Bytes read and written since the scan before.
    pub recent_bytes: [u64; 2],
    pub state: char,
    pub threads: u32,
    pub virtual_bytes: u64,
    pub resident_bytes: u64,
    pub details: Details,
    detailed: Option<Instant>,
}

/// Numbers of all processes.
#[derive(Clone, Debug, Default)]
pub(super) struct Overall {
    pub states: HashMap<char, u32>,
    pub processes: u32,
    pub threads: u64,
    pub kernel_threads: u32,
    /// What was not permitted.
    pub denied_io: bool,
    pub denied_details: bool,
    /// Age of the oldest details.
    pub detail_age: Duration,
}

/// All processes.
pub(super) struct Table {
    shared: Arc<Processes>,
    proc_dir: Option<OwnedFd>,
    pub records: HashMap<u32, Record>,
    generation: u64,
    buffer: Vec<u8>,
    page: u64,
    detail_budget: Duration,
    /// Gains of groups in this scan.
    pub gains: HashMap<Arc<str>, Counters>,
}

impl Table {
    pub(super) fn new(shared: Arc<Processes>, detail_budget: Duration) -> Self {
        Self {
            shared,
            proc_dir: None,
            records: HashMap::new(),
            generation: 0,
            buffer: Vec::with_capacity(SMALL),
            page: rustix::param::page_size() as u64,
            detail_budget,
            gains: HashMap::new(),
        }
    }

    /// Looks at every process once.
    pub(super) fn scan(&mut self) -> Result<Overall, Error> {
        let procfs = self.shared.procfs.clone();
        let failed = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => Error::Absent(procfs.display().to_string()),
            _ => Error::Read { path: procfs.display().to_string(), source },
        };
        if self.proc_dir.is_none() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            self.proc_dir =
                Some(rustix::fs::open(&procfs, flags, Mode::empty()).map_err(|err| failed(err.into()))?);
        }
        self.generation += 1;
        self.gains.clear();
        let mut overall = Overall::default();
        let mut pids = Vec::with_capacity(self.records.len() + 64);
        for entry in std::fs::read_dir(&procfs).map_err(failed)? {
            let Ok(entry) = entry else { continue };
            if let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) {
                pids.push(pid);
            }
        }
        for pid in pids {
            // One that has ended meanwhile is no error.
            self.look(pid, &mut overall);
        }
        self.forget();
        self.detail(&mut overall);
        Ok(overall)
    }

    fn look(&mut self, pid: u32, overall: &mut Overall) {
        let mut buffer = std::mem::take(&mut self.buffer);
        if self.read(&format!("{pid}/stat"), &mut buffer).is_some() {
            let text = String::from_utf8_lossy(&buffer);
            if let Some(stat) = Stat::parse(&text) {
                *overall.states.entry(stat.state).or_default() += 1;
                overall.processes += 1;
                overall.threads += u64::from(stat.threads);
                if stat.is_kernel {
                    overall.kernel_threads += 1;
                } else {
                    self.update(pid, &stat, overall);
                }
            }
        }
        self.buffer = buffer;
    }

    fn update(&mut self, pid: u32, stat: &Stat<'_>, overall: &mut Overall) {
        let known = self.records.get(&pid).filter(|record| record.started == stat.started);
        let same = known.is_some_and(|record| *record.identity.comm == *stat.comm);
        let before = known.map(|record| record.counters);
        let is_new = before.is_none();
        let before = before.unwrap_or_default();
        let mut counters = Counters {
            user_ticks: stat.user_ticks,
            system_ticks: stat.system_ticks,
            minor_faults: stat.minor_faults,
            major_faults: stat.major_faults,
            io_delay_ticks: stat.io_delay_ticks,
            ..before
        };
        let ticks =
            (stat.user_ticks + stat.system_ticks).saturating_sub(before.user_ticks + before.system_ticks);
        let is_turn = u64::from(pid) % IDLE_TURN == self.generation % IDLE_TURN;
        let is_idle = ticks == 0 && stat.major_faults == before.major_faults && stat.state == 'S';
        if is_new || is_turn || !is_idle {
            self.read_counters(pid, &mut counters, overall);
        }
        let identity = match known {
            Some(record) if same => Arc::clone(&record.identity),
            _ => {
                // The name may have been changed by the program itself, and a PID may be used again.
                let identity = Arc::new(self.shared.groups.identify(pid, stat.comm));
                self.shared.identities.lock().insert(pid, Arc::clone(&identity));
                identity
            }
        };
        // What was used before the first look belongs to a time that nobody measured.
        let base = if is_new && self.generation == 1 { counters } else { before };
        self.gains.entry(Arc::clone(&identity.group)).or_default().add(&counters, &base);
        let recent_bytes = [
            counters.read_bytes.saturating_sub(base.read_bytes),
            counters.write_bytes.saturating_sub(base.write_bytes),
        ];
        let recent_ticks =
            (counters.user_ticks + counters.system_ticks).saturating_sub(base.user_ticks + base.system_ticks);
        let (details, detailed) = match self.records.get(&pid) {
            Some(record) if !is_new => (record.details, record.detailed),
            _ => (Details::default(), None),
        };
        let record = Record {
            started: stat.started,
            generation: self.generation,
            identity,
            counters,
            recent_ticks,
            recent_bytes,
            state: stat.state,
            threads: stat.threads,
            virtual_bytes: stat.virtual_bytes,
            resident_bytes: stat.resident_pages * self.page,
            details,
            detailed,
        };
        self.records.insert(pid, record);
    }

    /// Bytes of disks, and time spent waiting for a processor.
    fn read_counters(&self, pid: u32, counters: &mut Counters, overall: &mut Overall) {
        let mut buffer = Vec::with_capacity(SMALL);
        match self.read_result(&format!("{pid}/io"), &mut buffer) {
            Ok(()) => {
                let text = String::from_utf8_lossy(&buffer);
                counters.read_bytes = files::field(&text, "read_bytes").unwrap_or(counters.read_bytes);
                counters.write_bytes = files::field(&text, "write_bytes").unwrap_or(counters.write_bytes);
            }
            Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => overall.denied_io = true,
            Err(_) => {}
        }
        if self.read(&format!("{pid}/schedstat"), &mut buffer).is_some() {
            let text = String::from_utf8_lossy(&buffer);
            let delay = text.split_ascii_whitespace().nth(1).and_then(|word| word.parse().ok());
            counters.run_delay_ns = delay.unwrap_or(counters.run_delay_ns);
        }
    }

    /// Drops processes that are gone.
    fn forget(&mut self) {
        let generation = self.generation;
        self.records.retain(|_, record| record.generation == generation);
        let records = &self.records;
        // The follower may know of processes that began after the scan; those that it knows and that are gone for longer
        // than a scan are dropped by the next.
        let mut identities = self.shared.identities.lock();
        if identities.len() > 2 * records.len() + 1024 {
            identities.retain(|pid, _| records.contains_key(pid));
        }
    }

    /// Reads details of those whose details are oldest, until the budget is used up.
    fn detail(&mut self, overall: &mut Overall) {
        let began = Instant::now();
        let mut order: Vec<(Option<Instant>, u32)> =
            self.records.iter().map(|(pid, record)| (record.detailed, *pid)).collect();
        // `None` comes first.
        order.sort_unstable();
        for (_, pid) in &order {
            if began.elapsed() >= self.detail_budget {
                break;
            }
            let details = self.read_details(*pid, overall);
            if let Some(record) = self.records.get_mut(pid) {
                // Context switches come with the details.
                let before = record.counters;
                if let Some((voluntary, involuntary)) = details.1 {
                    record.counters.voluntary = voluntary;
                    record.counters.involuntary = involuntary;
                    if record.detailed.is_some() {
                        let gain = self.gains.entry(Arc::clone(&record.identity.group)).or_default();
                        gain.add(&record.counters, &before);
                    }
                }
                record.details = details.0;
                record.detailed = Some(Instant::now());
            }
        }
        let oldest = self.records.values().filter_map(|record| record.detailed).min();
        overall.detail_age = oldest.map(|at| at.elapsed()).unwrap_or_default();
    }

    fn read_details(&self, pid: u32, overall: &mut Overall) -> (Details, Option<(u64, u64)>) {
        let mut details = Details::default();
        let mut buffer = Vec::with_capacity(SMALL);
        let mut switches = None;
        if self.read(&format!("{pid}/status"), &mut buffer).is_some() {
            let text = String::from_utf8_lossy(&buffer);
            details.swap_bytes = files::field(&text, "VmSwap").unwrap_or(0) * 1024;
            switches = files::field(&text, "voluntary_ctxt_switches")
                .zip(files::field(&text, "nonvoluntary_ctxt_switches"));
        }
        match self.count_descriptors(pid) {
            Ok(count) => {
                details.descriptors = Some(count);
                if self.read(&format!("{pid}/limits"), &mut buffer).is_some() {
                    let text = String::from_utf8_lossy(&buffer);
                    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"));
                    details.descriptor_limit =
                        line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
                }
            }
            Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => overall.denied_details = true,
            Err(_) => {}
        }
        if self.read(&format!("{pid}/smaps_rollup"), &mut buffer).is_some() {
            let text = String::from_utf8_lossy(&buffer);
            details.pss_bytes = files::field(&text, "Pss").map(|kilobytes| kilobytes * 1024);
            details.swap_pss_bytes = files::field(&text, "SwapPss").map(|kilobytes| kilobytes * 1024);
        }
        (details, switches)
    }

    fn count_descriptors(&self, pid: u32) -> Result<u64, rustix::io::Errno> {
        let Some(proc_dir) = &self.proc_dir else { return Ok(0) };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::openat(proc_dir, format!("{pid}/fd"), flags, Mode::empty())?;
        // Since Linux 6.2 the folder's size is the count.
        let size = rustix::fs::fstat(&folder)?.st_size;
        if size > 0 {
            return Ok(size as u64);
        }
        let entries = rustix::fs::Dir::new(folder)?;
        Ok(entries.take(MAX_DESCRIPTORS).count().saturating_sub(2) as u64)
    }

    fn read(&self, path: &str, buffer: &mut Vec<u8>) -> Option<()> {
        self.read_result(path, buffer).ok()
    }

    /// Reads a small file below procfs into the buffer.
    fn read_result(&self, path: &str, buffer: &mut Vec<u8>) -> Result<(), rustix::io::Errno> {
        let Some(proc_dir) = &self.proc_dir else { return Err(rustix::io::Errno::NOENT) };
        let file = rustix::fs::openat(proc_dir, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        buffer.resize(SMALL, 0);
        let length = rustix::io::read(&file, buffer.as_mut_slice())?;
        buffer.truncate(length);
        Ok(())
    }
}
