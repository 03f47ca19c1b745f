//! The files of one process, parsed. Sources: proc_pid_stat(5), proc_pid_io(5), proc_pid_status(5), cgroups(7).

/// USER_HZ.
pub(crate) const TICKS: f64 = 100.0;
/// PF_KTHREAD of the kernel's sched.h.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// `/proc/PID/stat`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Stat<'a> {
    pub comm: &'a str,
    pub state: char,
    pub parent: u32,
    pub is_kernel: bool,
    pub minor_faults: u64,
    pub major_faults: u64,
    pub user_ticks: u64,
    pub system_ticks: u64,
    pub threads: u32,
    /// Ticks after boot; with the PID it is a process's identity.
    pub started: u64,
    pub virtual_bytes: u64,
    pub resident_pages: u64,
    /// Ticks spent waiting for block devices; 0 unless delay accounting is on.
    pub io_delay_ticks: u64,
}

impl<'a> Stat<'a> {
    /// The name, in parentheses, may hold anything, parentheses too: fields are counted after the last one.
    pub(crate) fn parse(line: &'a str) -> Option<Self> {
        let (head, rest) = line.rsplit_once(") ")?;
        let (_, comm) = head.split_once(" (")?;
        let mut stat = Self { comm, ..Self::default() };
        for (index, word) in rest.trim_end().split(' ').enumerate() {
            let number = || word.parse::<u64>().ok();
            // The state is field 3 of the manual's numbering.
            match index + 3 {
                3 => stat.state = word.chars().next()?,
                4 => stat.parent = word.parse().ok()?,
                9 => stat.is_kernel = number()? & KERNEL_THREAD != 0,
                10 => stat.minor_faults = number()?,
                12 => stat.major_faults = number()?,
                14 => stat.user_ticks = number()?,
                15 => stat.system_ticks = number()?,
                20 => stat.threads = word.parse().ok()?,
                22 => stat.started = number()?,
                23 => stat.virtual_bytes = number()?,
                24 => stat.resident_pages = number()?,
                42 => stat.io_delay_ticks = number()?,
                _ => {}
            }
        }
        (stat.threads > 0).then_some(stat)
    }
}

/// A number of a `key: value` file.
pub(crate) fn field(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// The control group of a process: version 2's, else that of systemd, else that of the memory controller.
pub(crate) fn cgroup(text: &str) -> &str {
    let path = |wanted: &str| {
        text.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            controllers.split(',').any(|name| name == wanted).then_some(path)
        })
    };
    let unified = path("").filter(|path| *path != "/");
    unified
        .or_else(|| path("name=systemd").filter(|path| *path != "/"))
        .or_else(|| path("memory"))
        .unwrap_or("/")
}

/// The systemd unit in a control group's path: the last part that is a service or scope, else a slice.
pub(crate) fn unit(cgroup: &str) -> &str {
    let parts = || cgroup.rsplit('/').filter(|part| !part.is_empty());
    let ends =
        |suffixes: &'static [&str]| parts().find(|part| suffixes.iter().any(|suffix| part.ends_with(suffix)));
    ends(&[".service", ".scope", ".socket", ".mount"]).or_else(|| ends(&[".slice"])).unwrap_or("")
}

/// The first 12 digits of the container's id in a control group's path, as people write it.
pub(crate) fn container(cgroup: &str) -> &str {
    let found = cgroup.rsplit('/').find_map(|part| {
        let part = part.strip_suffix(".scope").unwrap_or(part);
        let id = part.rsplit(['-', ':']).next().unwrap_or(part);
        (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
    });
    found.and_then(|id| id.get(..12)).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_are_no_trap() {
        let line = "12 (a) R (b) S 1 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 37 0 99 1024 2 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 0 0 0 41 0\n";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.comm, stat.state, stat.parent, stat.threads), ("a) R (b", 'S', 1, 37));
        assert_eq!((stat.user_ticks, stat.system_ticks, stat.started), (5, 6, 99));
        assert_eq!((stat.minor_faults, stat.major_faults, stat.io_delay_ticks), (1, 3, 41));
        for text in ["", "1 (x", "1 (x) S", "nonsense", "1 (x) S a b"] {
            assert_eq!(Stat::parse(text), None, "{text}");
        }
    }

    #[test]
    fn units_and_containers_are_found_in_cgroups() {
        let v2 = "0::/system.slice/nginx.service\n";
        assert_eq!((cgroup(v2), unit(cgroup(v2))), ("/system.slice/nginx.service", "nginx.service"));
        let v1 = "4:memory:/x\n1:name=systemd:/user.slice/user-0.slice/session-3.scope\n0::/\n";
        assert_eq!(unit(cgroup(v1)), "session-3.scope");
        let id = "0123456789abcdef".repeat(4);
        assert_eq!(container(&format!("/system.slice/docker-{id}.scope")), "0123456789ab");
        assert_eq!(container(&format!("/kubepods/besteffort/pod12/{id}")), "0123456789ab");
        assert_eq!(container("/system.slice/nginx.service"), "");
        assert_eq!(unit("/"), "");
        assert_eq!(field("Name:\tx\nVmSwap:\t  12 kB\n", "VmSwap"), Some(12));
    }
}
