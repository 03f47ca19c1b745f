//! What a line of the kernel means. Each rule is a text that the kernel has printed for many versions; the sources are named.

use crate::events::Severity;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    OomKill,
    HungTask,
    IoError,
    FilesystemError,
    LinkDown,
    LinkUp,
    Throttled,
    MachineCheck,
    MemoryError,
    Segfault,
    Lockup,
    Crash,
    DriverReset,
    RaidFailure,
    NfsTimeout,
    TableFull,
}

/// All kinds and their names in labels.
pub(crate) const KINDS: [(Kind, &str); 16] = [
    (Kind::OomKill, "oom_kill"),
    (Kind::HungTask, "hung_task"),
    (Kind::IoError, "io_error"),
    (Kind::FilesystemError, "filesystem_error"),
    (Kind::LinkDown, "link_down"),
    (Kind::LinkUp, "link_up"),
    (Kind::Throttled, "thermal_throttle"),
    (Kind::MachineCheck, "machine_check"),
    (Kind::MemoryError, "memory_error"),
    (Kind::Segfault, "segfault"),
    (Kind::Lockup, "lockup"),
    (Kind::Crash, "kernel_crash"),
    (Kind::DriverReset, "driver_reset"),
    (Kind::RaidFailure, "raid_failure"),
    (Kind::NfsTimeout, "nfs_timeout"),
    (Kind::TableFull, "table_full"),
];

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    pub(crate) fn severity(self) -> Severity {
        match self {
            Self::OomKill
            | Self::FilesystemError
            | Self::MachineCheck
            | Self::Lockup
            | Self::Crash
            | Self::RaidFailure => Severity::Critical,
            Self::LinkUp => Severity::Info,
            _ => Severity::Warning,
        }
    }
}

/// A line that means something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub kind: Kind,
    /// The disk, interface, server or table; empty when the line names none.
    pub device: String,
    /// The process that it is about.
    pub process: Option<(u32, String)>,
    /// The control group of an OOM kill, where the line has it.
    pub cgroup: String,
}

impl Notice {
    fn new(kind: Kind, device: &str) -> Self {
        let device = device.trim_matches(|c: char| c.is_whitespace() || ",:.()".contains(c));
        Self { kind, device: device.to_owned(), process: None, cgroup: String::new() }
    }

    fn of(kind: Kind, pid: u32, name: &str) -> Self {
        Self { kind, device: String::new(), process: Some((pid, name.to_owned())), cgroup: String::new() }
    }
}

/// What a line means; `None` for the many that mean nothing to us.
pub(crate) fn classify(text: &str) -> Option<Notice> {
    processes(text)
        .or_else(|| disks(text))
        .or_else(|| network(text))
        .or_else(|| hardware(text))
        .or_else(|| trouble(text))
}

/// mm/oom_kill.c, kernel/hung_task.c, arch/x86/mm/fault.c, arch/x86/kernel/traps.c.
fn processes(text: &str) -> Option<Notice> {
    // Out of memory: Killed process 1234 (name) total-vm:…; Memory cgroup out of memory: Killed process …
    if let Some((_, rest)) = text.split_once("Killed process ")
        && text.contains("ut of memory")
    {
        let (pid, rest) = rest.split_once(' ')?;
        let name = rest.strip_prefix('(')?.split_once(')')?.0;
        return Some(Notice::of(Kind::OomKill, pid.trim_end_matches(',').parse().ok()?, name));
    }
    // INFO: task jbd2/vda-8:123 blocked for more than 120 seconds.
    if let Some(rest) = text.strip_prefix("INFO: task ")
        && let Some((task, _)) = rest.split_once(" blocked for more than ")
    {
        let (name, pid) = task.rsplit_once(':')?;
        return Some(Notice::of(Kind::HungTask, pid.parse().ok()?, name));
    }
    // name[1234]: segfault at 0 ip … sp … error 4 in …; traps: name[1234] general protection fault …
    for (mark, prefix) in
        [("]: segfault at ", ""), ("] general protection", "traps: "), ("] trap ", "traps: ")]
    {
        if let Some((task, _)) = text.split_once(mark)
            && let Some((name, pid)) = task.strip_prefix(prefix).and_then(|task| task.rsplit_once('['))
            && let Ok(pid) = pid.parse()
        {
            return Some(Notice::of(Kind::Segfault, pid, name));
        }
    }
    None
}

/// block/blk-core.c, fs/buffer.c, drivers/{ata,nvme,md}, fs/{ext4,xfs,btrfs}.
fn disks(text: &str) -> Option<Notice> {
    if text.contains("error, dev ") || text.starts_with("Buffer I/O error on dev") {
        let after = text.split_once("error, dev ").or_else(|| text.split_once("error on device "));
        let (_, rest) = after.or_else(|| text.split_once("error on dev "))?;
        return Some(Notice::new(Kind::IoError, rest.split([',', ' ']).next()?));
    }
    for prefix in ["EXT4-fs error (device ", "EXT3-fs error (device ", "EXT2-fs error (device "] {
        if let Some(rest) = text.strip_prefix(prefix) {
            return Some(Notice::new(Kind::FilesystemError, rest.split(')').next()?));
        }
    }
    // XFS (sda1): Metadata corruption detected at …; XFS (sda1): log I/O error -5
    if let Some(rest) = text.strip_prefix("XFS (")
        && ["orruption", "I/O error", "shut down", "Shutting down", "hutdown"]
            .iter()
            .any(|word| rest.contains(word))
    {
        return Some(Notice::new(Kind::FilesystemError, rest.split(')').next()?));
    }
    // BTRFS error (device sda1): …; BTRFS critical (device …
    if let Some(rest) = text.strip_prefix("BTRFS ")
        && (rest.starts_with("error") || rest.starts_with("critical"))
    {
        let device = rest.split_once("(device ").and_then(|(_, rest)| rest.split([')', ' ']).next());
        return Some(Notice::new(Kind::FilesystemError, device.unwrap_or_default()));
    }
    if text.contains("Remounting filesystem read-only") {
        let device = text.split_once('(').and_then(|(_, rest)| rest.split(')').next());
        return Some(Notice::new(Kind::FilesystemError, device.unwrap_or_default()));
    }
    // md/raid1:md0: Disk failure on sdb1, disabling device.
    if let Some((_, rest)) = text.split_once(": Disk failure on ") {
        return Some(Notice::new(Kind::RaidFailure, rest.split(',').next()?));
    }
    // nvme nvme0: I/O 24 QID 4 timeout, aborting; nvme nvme0: controller is down; will reset
    if let Some(rest) = text.strip_prefix("nvme ")
        && ["timeout", "controller is down", "reset controller"].iter().any(|word| rest.contains(word))
    {
        return Some(Notice::new(Kind::DriverReset, rest.split(':').next()?));
    }
    // ata1.00: failed command: READ FPDMA QUEUED; ata1: hard resetting link
    if text.starts_with("ata")
        && ["failed command", "hard resetting link", "link is slow"].iter().any(|w| text.contains(w))
    {
        return Some(Notice::new(Kind::DriverReset, text.split(':').next()?));
    }
    None
}

/// Network drivers, fs/nfs, net/netfilter, net/core.
fn network(text: &str) -> Option<Notice> {
    let lower = text.to_ascii_lowercase();
    let is_link = [
        "link is down",
        "nic link is down",
        "link down",
        "lost carrier",
        "link becomes ready",
        "link is up",
        "link up",
    ];
    if let Some(mark) = is_link.iter().find(|mark| lower.contains(**mark)) {
        let up = mark.contains("ready") || mark.contains("up");
        let kind = if up { Kind::LinkUp } else { Kind::LinkDown };
        // SATA links are said in the same words.
        if !lower.starts_with("ata") {
            return Some(Notice::new(kind, &interface(text)));
        }
    }
    // NETDEV WATCHDOG: eth0 (e1000e): transmit queue 0 timed out
    if let Some((_, rest)) = text.split_once("NETDEV WATCHDOG: ") {
        return Some(Notice::new(Kind::DriverReset, rest.split_whitespace().next()?));
    }
    // nfs: server 10.0.0.1 not responding, still trying
    if let Some(rest) = text.strip_prefix("nfs: server ")
        && rest.contains("not responding")
    {
        return Some(Notice::new(Kind::NfsTimeout, rest.split_whitespace().next()?));
    }
    // nf_conntrack: table full, dropping packet; neighbour: arp_cache: neighbor table overflow!
    if text.contains("table full") || text.contains("table overflow") {
        let table = if lower.contains("conntrack") { "conntrack" } else { "neighbour" };
        return Some(Notice::new(Kind::TableFull, table));
    }
    None
}

/// The interface of `e1000e 0000:00:1f.6 eth0: NIC Link is Down`, `bond0: (slave eth1): link status down`, `eth0: link down`.
fn interface(text: &str) -> String {
    let mut words = text.split([' ', ':', '(', ')']).filter(|word| !word.is_empty());
    let names =
        ["eth", "en", "ib", "bond", "wl", "veth", "dummy", "tun", "tap", "br", "team", "sfp", "lan", "wan"];
    let is_name = |word: &&str| {
        let head = names.iter().any(|name| word.starts_with(name));
        head && word.bytes().any(|byte| byte.is_ascii_digit()) && word.len() <= 15
    };
    words.rfind(is_name).unwrap_or_default().to_owned()
}

/// arch/x86/kernel/cpu/mce, drivers/edac, mm/memory-failure.c, drivers/thermal.
fn hardware(text: &str) -> Option<Notice> {
    // mce: [Hardware Error]: CPU 1: Machine Check: 0 Bank 1: …
    if text.contains("[Hardware Error]") && (text.contains("Machine Check") || text.contains("Machine check"))
    {
        let bank = text.split_once("Bank ").and_then(|(_, rest)| rest.split([':', ' ']).next());
        let device = bank.map(|bank| format!("bank{bank}")).unwrap_or_default();
        return Some(Notice::new(Kind::MachineCheck, &device));
    }
    // EDAC MC0: 1 CE memory read error on CPU_SrcID#0_MC#0_Chan#0_DIMM#0 …
    if let Some(rest) = text.strip_prefix("EDAC MC")
        && (rest.contains(" CE ") || rest.contains(" UE "))
    {
        let number = rest.split(':').next()?;
        let dimm = rest.split_once(" on ").and_then(|(_, rest)| rest.split(' ').next()).unwrap_or_default();
        let device = if dimm.is_empty() { format!("mc{number}") } else { dimm.to_owned() };
        return Some(Notice::new(Kind::MemoryError, &device));
    }
    // Memory failure: 0x1234: recovery action for …
    if let Some(rest) = text.strip_prefix("Memory failure: ") {
        return Some(Notice::new(Kind::MemoryError, rest.split(':').next()?));
    }
    // CPU1: Core temperature above threshold, cpu clock throttled (total events = 1)
    if text.contains("temperature above threshold") || text.contains("clock throttled") {
        let cpu = text.split_once("CPU").map(|(_, rest)| rest.split(':').next().unwrap_or_default());
        return Some(Notice::new(Kind::Throttled, &format!("cpu{}", cpu.unwrap_or_default())));
    }
    None
}

/// kernel/watchdog.c, kernel/rcu, kernel/panic.c, lib/bug.c.
fn trouble(text: &str) -> Option<Notice> {
    if text.contains("soft lockup - CPU#")
        || text.contains("hard LOCKUP on cpu")
        || text.contains("rcu_sched self-detected stall")
        || text.contains("rcu_preempt detected stalls")
        || text.contains("rcu_preempt self-detected stall")
        || text.contains("rcu_sched detected stalls")
    {
        return Some(Notice::new(Kind::Lockup, ""));
    }
    let starts = [
        "BUG: ",
        "Oops: ",
        "kernel BUG at ",
        "Kernel panic",
        "general protection fault",
        "Internal error: Oops",
    ];
    starts.iter().any(|start| text.starts_with(start)).then(|| Notice::new(Kind::Crash, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, kind: &str, device: &str) {
        let notice = classify(text).unwrap_or_else(|| panic!("means nothing: {text}"));
        assert_eq!((notice.kind.as_str(), notice.device.as_str()), (kind, device), "{text}");
    }

    #[test]
    fn lines_of_real_kernels_are_understood() {
        check(
            "critical medium error, dev sda, sector 4660 op 0x0:(READ) flags 0x80700 phys_seg 1 prio class 2",
            "io_error",
            "sda",
        );
        check("blk_update_request: I/O error, dev nvme0n1, sector 5 op 0x1:(WRITE)", "io_error", "nvme0n1");
        check("Buffer I/O error on dev dm-2, logical block 0, async page read", "io_error", "dm-2");
        check(
            "EXT4-fs error (device vda1): ext4_lookup:1785: inode #2: comm ls: deleted inode",
            "filesystem_error",
            "vda1",
        );
        check("XFS (sdb1): Metadata corruption detected at xfs_agi_verify", "filesystem_error", "sdb1");
        check("BTRFS error (device sdc): bad tree block start", "filesystem_error", "sdc");
        check("md/raid1:md0: Disk failure on sdb1, disabling device.", "raid_failure", "sdb1");
        check("nvme nvme1: controller is down; will reset: CSTS=0xffffffff", "driver_reset", "nvme1");
        check("e1000e 0000:00:1f.6 eno1: NIC Link is Down", "link_down", "eno1");
        check("igb 0000:02:00.0 eth0: igb: eth0 NIC Link is Up 1000 Mbps Full Duplex", "link_up", "eth0");
        check("NETDEV WATCHDOG: eth0 (e1000e): transmit queue 0 timed out", "driver_reset", "eth0");
        check("nfs: server 10.1.2.3 not responding, still trying", "nfs_timeout", "10.1.2.3");
        check("nf_conntrack: nf_conntrack: table full, dropping packet", "table_full", "conntrack");
        check(
            "mce: [Hardware Error]: CPU 0: Machine Check: 0 Bank 1: 9c00004000010090",
            "machine_check",
            "bank1",
        );
        check(
            "EDAC MC0: 1 CE memory read error on CPU_SrcID#0_MC#0_Chan#0_DIMM#0 (channel:0 slot:0)",
            "memory_error",
            "CPU_SrcID#0_MC#0_Chan#0_DIMM#0",
        );
        check(
            "CPU1: Core temperature above threshold, cpu clock throttled (total events = 1)",
            "thermal_throttle",
            "cpu1",
        );
        check("watchdog: BUG: soft lockup - CPU#0 stuck for 22s! [kworker/0:1:123]", "lockup", "");
        check("BUG: unable to handle page fault for address: ffff", "kernel_crash", "");
    }

    #[test]
    fn processes_are_named() {
        let process = |text: &str| classify(text).unwrap().process.unwrap();
        let text = "Memory cgroup out of memory: Killed process 4242 (my app) total-vm:1kB, anon-rss:2kB";
        assert_eq!(process(text), (4242, "my app".into()));
        assert_eq!(process("Out of memory: Killed process 7 (java) total-vm:9kB"), (7, "java".into()));
        assert_eq!(
            process("INFO: task jbd2/vda-8:123 blocked for more than 120 seconds."),
            (123, "jbd2/vda-8".into())
        );
        assert_eq!(
            process("worker[77]: segfault at 0 ip 00 sp 00 error 4 in worker[400000+1000]"),
            (77, "worker".into())
        );
        assert_eq!(process("traps: a b[78] general protection fault ip:0 sp:0 error:0"), (78, "a b".into()));
    }

    #[test]
    fn everyday_lines_mean_nothing() {
        for text in [
            "NET: Registered protocol family 10",
            "Killed process 7 (x)",
            "audit: type=1400",
            "EXT4-fs (vda): mounted filesystem with ordered data mode",
            "XFS (sda1): Ending clean mount",
            "ata1: SATA link up 6.0 Gbps (SStatus 133 SControl 300)",
            "",
        ] {
            assert_eq!(classify(text), None, "{text}");
        }
    }
}
