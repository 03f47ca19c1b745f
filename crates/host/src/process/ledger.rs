//! The account of how processes ended: causes, crashes, restarts. Decides and counts; reads no file and no clock.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::groups::Identity;
use crate::events::{Events, Severity};

/// A beginning this long after an end is a restart.
const RESTART_MS: i64 = 60_000;
/// So many restarts within this time are a loop.
const LOOP_COUNT: usize = 3;
const LOOP_MS: i64 = 300_000;
/// Different ends of one group that are counted apart.
const MAX_ENDS: usize = 24;
/// Events of one group within a minute; more are counted, not kept.
const MAX_EVENTS: u32 = 20;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub pid: u32,
    /// The wait status, as waitpid(2) gives it; `None` when nobody told us.
    pub status: Option<u32>,
    /// Whether the kernel wrote a core dump.
    pub core: bool,
    /// Whether the kernel killed it for want of memory.
    pub oom: bool,
}

impl End {
    pub(crate) fn signal(&self) -> u32 {
        self.status.map_or(0, |status| status & 0x7f)
    }

    fn code(&self) -> u32 {
        self.status.map_or(0, |status| (status >> 8) & 0xff)
    }

    fn cause(&self) -> &'static str {
        match (self.status, self.signal()) {
            (None, _) => "unknown",
            _ if self.oom => "oom",
            (_, 0) if self.code() == 0 => "ended",
            (_, 0) => "exit_code",
            _ if self.core => "core_dump",
            _ => "signal",
        }
    }

    /// Whether it is a crash whoever it is: not asked to stop, as by Ctrl-C or systemd.
    fn is_crash(&self) -> bool {
        const KILL: u32 = libc::SIGKILL as u32;
        let bad = [
            libc::SIGQUIT,
            libc::SIGILL,
            libc::SIGTRAP,
            libc::SIGABRT,
            libc::SIGBUS,
            libc::SIGFPE,
            libc::SIGSEGV,
            libc::SIGXCPU,
            libc::SIGXFSZ,
            libc::SIGSYS,
        ];
        self.oom || self.core || self.signal() == KILL || bad.contains(&(self.signal() as i32))
    }

    fn words(&self) -> String {
        match self.cause() {
            "oom" => "was killed by the kernel: memory ran out".to_owned(),
            "ended" => "ended".to_owned(),
            "exit_code" => format!("ended with exit code {}", self.code()),
            "core_dump" => format!("was killed by {} and dumped core", signal_name(self.signal())),
            "signal" => format!("was killed by {}", signal_name(self.signal())),
            _ => "ended; why is not known without CAP_NET_ADMIN".to_owned(),
        }
    }
}

/// What is known of one group.
#[derive(Default)]
pub(crate) struct Account {
    /// Ends by signal and exit code.
    pub ends: BTreeMap<(&'static str, String), u64>,
    pub oom_kills: u64,
    pub restarts: u64,
    pub last_crash: Option<Crash>,
    last_end: Option<i64>,
    recent: VecDeque<i64>,
    looping: bool,
    events: (i64, u32),
}

/// The last crash of a group.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Crash {
    /// In milliseconds since the epoch.
    pub time: i64,
    pub cause: &'static str,
    pub signal: &'static str,
    pub code: String,
    pub unit: Arc<str>,
}

impl Account {
    /// Whether the group begins again and again.
    pub(crate) fn is_looping(&self, now: i64) -> bool {
        self.recent.iter().filter(|time| now - **time <= LOOP_MS).count() >= LOOP_COUNT
    }
}

/// Accounts by group.
#[derive(Default)]
pub(crate) struct Ledger {
    pub accounts: BTreeMap<Arc<str>, Account>,
    /// Times that the kernel had more to tell than we could take.
    pub overruns: u64,
    pub ended: u64,
    pub suppressed: u64,
}

impl Ledger {
    /// A process of `who`'s group has ended. Says whether that was worth an event.
    pub(crate) fn end(
        &mut self,
        who: &Identity,
        critical: bool,
        end: End,
        now: i64,
        events: &Events,
    ) -> bool {
        self.ended += 1;
        let crash = end.is_crash() || critical && (end.code() != 0 || end.status.is_none());
        if !(crash || critical || end.signal() != 0) {
            return false;
        }
        let (signal, code) = match end.signal() {
            0 => ("", end.code().to_string()),
            signal => (signal_name(signal), String::new()),
        };
        let account = self.accounts.entry(Arc::clone(&who.group)).or_default();
        let mut key = (signal, code.clone());
        if !account.ends.contains_key(&key) && account.ends.len() >= MAX_ENDS {
            key = ("", "other".to_owned());
        }
        *account.ends.entry(key).or_default() += 1;
        account.oom_kills += u64::from(end.oom);
        if crash || critical {
            account.last_end = Some(now);
        }
        if crash {
            account.last_crash = Some(Crash {
                time: now,
                cause: end.cause(),
                signal,
                code: code.clone(),
                unit: Arc::clone(&who.unit),
            });
        }
        if !(crash || critical) {
            return false;
        }
        if now - account.events.0 >= 60_000 {
            account.events = (now, 0);
        }
        account.events.1 += 1;
        if account.events.1 > MAX_EVENTS {
            self.suppressed += 1;
            return false;
        }
        let severity = match (crash, critical) {
            (true, true) => Severity::Critical,
            (true, false) => Severity::Warning,
            _ => Severity::Info,
        };
        let of = if who.unit.is_empty() { String::new() } else { format!(" of {}", who.unit) };
        let message = format!("{} (process {}){of} {}", who.comm, end.pid, end.words());
        let pid = end.pid.to_string();
        events.add(
            "process_exit",
            severity,
            message,
            &[
                ("group", &*who.group),
                ("comm", &*who.comm),
                ("unit", &*who.unit),
                ("container", &*who.container),
                ("pid", &pid),
                ("cause", end.cause()),
                ("signal", signal),
                ("exit_code", &code),
            ],
        );
        true
    }

    /// A process of `who`'s group has begun.
    pub(crate) fn begin(&mut self, who: &Identity, now: i64, events: &Events) {
        let Some(account) = self.accounts.get_mut(&who.group) else { return };
        let Some(ended) = account.last_end.filter(|ended| now - ended <= RESTART_MS) else { return };
        // One beginning for one end.
        account.last_end = None;
        account.restarts += 1;
        account.recent.push_back(now);
        if account.recent.len() > LOOP_COUNT {
            account.recent.pop_front();
        }
        let looping = account.is_looping(now);
        if looping && !account.looping {
            let message = format!(
                "{} begins again and again: {LOOP_COUNT} times within {} s, last {} ms after its end",
                who.group,
                LOOP_MS / 1000,
                now - ended
            );
            events.add(
                "process_restart_loop",
                Severity::Critical,
                message,
                &[("group", &*who.group), ("unit", &*who.unit)],
            );
        }
        account.looping = looping;
    }
}

/// The signal's name.
pub(crate) fn signal_name(signal: u32) -> &'static str {
    const NAMES: [&str; 32] = [
        "",
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    NAMES.get(signal as usize).copied().unwrap_or("SIGRT")
}

#[cfg(test)]
mod tests {
    use model::time::SystemClock;

    use super::*;

    fn who(group: &str) -> Identity {
        Identity { group: group.into(), comm: group.into(), unit: "x.service".into(), container: "".into() }
    }

    fn events() -> Events {
        Events::open(None, Arc::new(SystemClock)).unwrap()
    }

    fn end(status: u32) -> End {
        End { pid: 7, status: Some(status), core: status & 0x80 != 0, oom: false }
    }

    #[test]
    fn causes_are_told_apart() {
        let (mut ledger, events) = (Ledger::default(), events());
        let mut told = |critical: bool, end: End| {
            let worth = ledger.end(&who("g"), critical, end, 0, &events);
            let last = events.since(0, 100).pop();
            worth.then(|| {
                let event = last.unwrap();
                (event.severity, event.labels["cause"].clone(), event.message)
            })
        };
        assert_eq!(told(false, end(3 << 8)), None, "programs say no by exit codes all day");
        assert_eq!(told(false, end(15)), None, "asked to stop");
        let (severity, cause, message) = told(true, end(3 << 8)).unwrap();
        assert_eq!((severity, cause.as_str()), (Severity::Critical, "exit_code"));
        assert_eq!(message, "g (process 7) of x.service ended with exit code 3");
        assert_eq!(told(false, end(11 | 0x80)).unwrap().1, "core_dump");
        assert_eq!(told(false, end(9)).unwrap().1, "signal");
        assert_eq!(told(false, End { oom: true, ..end(9) }).unwrap().1, "oom");
        assert_eq!(told(true, end(0)).unwrap().0, Severity::Info);
        let account = &ledger.accounts["g"];
        assert_eq!(account.ends[&("SIGKILL", String::new())], 2);
        assert_eq!((account.oom_kills, account.last_crash.as_ref().unwrap().cause), (1, "oom"));
    }

    #[test]
    fn a_loop_of_restarts_is_told_once() {
        let (mut ledger, events) = (Ledger::default(), events());
        for round in 0..5 {
            let now = round * 10_000;
            ledger.end(&who("g"), false, end(11), now, &events);
            ledger.begin(&who("g"), now + 50, &events);
            ledger.begin(&who("g"), now + 60, &events);
        }
        assert_eq!(ledger.accounts["g"].restarts, 5);
        let loops =
            events.since(0, 100).into_iter().filter(|event| event.kind == "process_restart_loop").count();
        assert_eq!(loops, 1);
        assert!(ledger.accounts["g"].is_looping(60_000) && !ledger.accounts["g"].is_looping(900_000));
        ledger.begin(&who("unknown"), 0, &events);
        assert_eq!(ledger.accounts.len(), 1);
    }

    #[test]
    fn events_and_ends_are_bounded() {
        let (mut ledger, events) = (Ledger::default(), events());
        for code in 0..200 {
            ledger.end(&who("g"), true, end(code << 8), 0, &events);
        }
        assert_eq!(events.since(0, 1000).len(), MAX_EVENTS as usize);
        assert_eq!(ledger.suppressed, 200 - u64::from(MAX_EVENTS));
        assert_eq!(ledger.accounts["g"].ends.len(), MAX_ENDS + 1);
    }
}
