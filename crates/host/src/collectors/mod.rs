//! One module a collector or a few that belong together, named as node_exporter names them.

mod cooling;
mod cpu;
mod diskstats;
mod edac;
mod filesystem;
mod filesystems;
mod firmware;
mod hwmon;
mod identity;
mod ipvs;
mod kernel;
mod links;
mod mdadm;
mod meminfo;
mod memory;
mod mountstats;
mod netclass;
mod netdev;
mod netstat;
mod nfs;
mod optional;
mod power;
mod pressure;
mod sched;
mod sockets;
mod stat;
pub(crate) mod textfile;
mod time;
mod vmstat;

use std::sync::{Arc, Mutex};

use model::Clock;

use crate::config::Config;
use crate::filter::Filter;
use crate::mounts::{MountChild, Mounts};
use crate::systemd::Systemd;
use crate::{Collector, Error};

type Made = Result<Box<dyn Collector>, Error>;

/// What collectors share.
pub(crate) struct Parts {
    clock: Arc<dyn Clock>,
    mounts: Arc<Mutex<Mounts>>,
}

impl Parts {
    /// `child`: what asks mounts.
    pub(crate) fn new(clock: &Arc<dyn Clock>, child: Option<MountChild>) -> Self {
        Self { clock: Arc::clone(clock), mounts: Arc::new(Mutex::new(Mounts::new(child))) }
    }
}

/// A collector that can be made.
struct Entry {
    name: &'static str,
    /// Whether it runs unless it is disabled, as in node_exporter.
    default: bool,
    make: fn(&Config, &Parts) -> Made,
}

const fn on(name: &'static str, make: fn(&Config, &Parts) -> Made) -> Entry {
    Entry { name, default: true, make }
}

const fn off(name: &'static str, make: fn(&Config, &Parts) -> Made) -> Entry {
    Entry { name, default: false, make }
}

fn boxed(collector: impl Collector + 'static) -> Made {
    Ok(Box::new(collector))
}

/// Every collector, in the order in which they run.
const ALL: &[Entry] = &[
    on("cpu", |config, _| boxed(cpu::Cpu { guest: config.cpu_guest })),
    on("stat", |_, _| boxed(stat::Stat)),
    on("loadavg", |_, _| boxed(kernel::LoadAvg)),
    on("meminfo", |_, _| boxed(meminfo::MemInfo)),
    on("vmstat", |config, _| {
        boxed(vmstat::VmStat::new(Filter::including("vmstat_fields", &config.vmstat_fields)?))
    }),
    on("pressure", |_, _| boxed(pressure::Pressure)),
    on("schedstat", |_, _| boxed(sched::SchedStat)),
    on("diskstats", |config, _| {
        let fields = ["diskstats_device_include", "diskstats_device_exclude"];
        let filter = Filter::new(fields, &config.diskstats_device_include, &config.diskstats_device_exclude)?;
        boxed(diskstats::DiskStats::new(filter))
    }),
    on("netdev", |config, _| {
        let fields = ["netdev_device_include", "netdev_device_exclude"];
        let filter = Filter::new(fields, &config.netdev_device_include, &config.netdev_device_exclude)?;
        boxed(netdev::NetDev::new(filter))
    }),
    on("netclass", |config, _| {
        let filter = Filter::excluding("netclass_ignored_devices", &config.netclass_ignored_devices)?;
        boxed(netclass::NetClass::new(filter))
    }),
    on("netstat", |config, _| {
        boxed(netstat::NetStat::new(Filter::including("netstat_fields", &config.netstat_fields)?))
    }),
    on("sockstat", |_, _| boxed(sockets::SockStat)),
    on("softnet", |_, _| boxed(sockets::SoftNet)),
    on("udp_queues", |_, _| boxed(sockets::UdpQueues)),
    on("arp", |config, _| {
        let fields = ["arp_device_include", "arp_device_exclude"];
        let devices = Filter::new(fields, &config.arp_device_include, &config.arp_device_exclude)?;
        boxed(sockets::Arp { devices })
    }),
    on("conntrack", |_, _| boxed(kernel::Conntrack)),
    on("entropy", |_, _| boxed(kernel::Entropy)),
    on("filefd", |_, _| boxed(kernel::FileFd)),
    on("kernel_hung", |_, _| boxed(kernel::HungTasks)),
    on("selinux", |_, _| boxed(kernel::Selinux)),
    on("uname", |_, _| boxed(identity::Uname)),
    on("os", |_, _| boxed(identity::Os)),
    on("time", |_, parts| boxed(time::Time::new(Arc::clone(&parts.clock)))),
    on("timex", |_, _| boxed(time::Timex)),
    on("cpufreq", |_, _| boxed(cooling::CpuFreq)),
    on("thermal_zone", |_, _| boxed(cooling::ThermalZone)),
    on("edac", |_, _| boxed(edac::Edac)),
    on("hwmon", |config, _| {
        let chips = Filter::new(
            ["hwmon_chip_include", "hwmon_chip_exclude"],
            &config.hwmon_chip_include,
            &config.hwmon_chip_exclude,
        )?;
        let sensors = Filter::new(
            ["hwmon_sensor_include", "hwmon_sensor_exclude"],
            &config.hwmon_sensor_include,
            &config.hwmon_sensor_exclude,
        )?;
        boxed(hwmon::HwMon::new(chips, sensors))
    }),
    on("dmi", |_, _| boxed(firmware::Dmi)),
    on("watchdog", |_, _| boxed(firmware::Watchdog)),
    on("nvme", |_, _| boxed(firmware::Nvme)),
    on("rapl", |_, _| boxed(power::Rapl)),
    on("powersupplyclass", |config, _| {
        let filter = Filter::excluding("powersupply_ignored_supplies", &config.powersupply_ignored_supplies)?;
        boxed(power::PowerSupply::new(filter))
    }),
    on("mdadm", |_, _| boxed(mdadm::MdAdm)),
    on("bonding", |_, _| boxed(links::Bonding)),
    on("infiniband", |_, _| boxed(links::InfiniBand)),
    on("fibrechannel", |_, _| boxed(links::FibreChannel)),
    on("tapestats", |_, _| boxed(links::TapeStats)),
    on("ipvs", |_, _| boxed(ipvs::Ipvs)),
    on("nfs", |_, _| boxed(nfs::Nfs)),
    on("nfsd", |_, _| boxed(nfs::Nfsd)),
    on("xfs", |_, _| boxed(filesystems::Xfs)),
    on("btrfs", |_, _| boxed(filesystems::Btrfs)),
    on("zfs", |_, _| boxed(filesystems::Zfs)),
    on("textfile", |config, parts| {
        boxed(textfile::TextFile::new(&config.textfile_directory, Arc::clone(&parts.mounts)))
    }),
    // After the rest: it may have to wait.
    on("filesystem", |config, parts| {
        let points = Filter::new(
            ["filesystem_mount_points_include", "filesystem_mount_points_exclude"],
            &config.filesystem_mount_points_include,
            &config.filesystem_mount_points_exclude,
        )?;
        let types = Filter::new(
            ["filesystem_fs_types_include", "filesystem_fs_types_exclude"],
            &config.filesystem_fs_types_include,
            &config.filesystem_fs_types_exclude,
        )?;
        boxed(filesystem::FileSystem::new(points, types, Arc::clone(&parts.mounts)))
    }),
    off("softirqs", |_, _| boxed(sched::SoftIrqs)),
    off("interrupts", |config, _| {
        let names = Filter::new(
            ["interrupts_name_include", "interrupts_name_exclude"],
            &config.interrupts_name_include,
            &config.interrupts_name_exclude,
        )?;
        boxed(sched::Interrupts::new(names, config.interrupts_include_zeros))
    }),
    off("ksmd", |_, _| boxed(memory::Ksmd)),
    off("buddyinfo", |_, _| boxed(memory::BuddyInfo)),
    off("swap", |_, _| boxed(memory::Swap)),
    off("meminfo_numa", |_, _| boxed(memory::MemInfoNuma)),
    off("mountstats", |_, _| boxed(mountstats::MountStats)),
    off("cgroups", |_, _| boxed(optional::Cgroups)),
    off("cpu_vulnerabilities", |_, _| boxed(optional::CpuVulnerabilities)),
    off("tcpstat", |_, _| boxed(crate::sockets::TcpStat)),
    off("xfrm", |_, _| boxed(optional::Xfrm)),
    off("systemd", |config, _| {
        let fields = ["systemd_unit_include", "systemd_unit_exclude"];
        let units = Filter::new(fields, &config.systemd_unit_include, &config.systemd_unit_exclude)?;
        boxed(Systemd::new(units, &config.systemd_bus))
    }),
    off("sysctl", |config, _| boxed(optional::Sysctl::new(&config.sysctl_include))),
];

/// Collectors that are made elsewhere because they share more than the settings.
const SPECIAL: [(&str, bool); 5] =
    [("containers", true), ("hardware", true), ("power", true), ("processes", true), ("sockets", true)];

/// The names of all collectors and whether each runs by default.
pub(crate) fn names() -> impl Iterator<Item = (&'static str, bool)> {
    let services = crate::services::names().map(|name| (name, true));
    ALL.iter().map(|entry| (entry.name, entry.default)).chain(SPECIAL).chain(services)
}

/// Whether a collector runs.
pub(crate) fn is_enabled(config: &Config, name: &str, default: bool) -> bool {
    let lists = |list: &[String]| list.iter().any(|listed| listed == name);
    (lists(&config.enabled_collectors) || default && !config.disable_default_collectors)
        && !lists(&config.disabled_collectors)
}

/// The collectors that `config` enables, in the order in which they run.
pub(crate) fn all(config: &Config, parts: &Parts) -> Result<Vec<Box<dyn Collector>>, Error> {
    for (field, list) in [
        ("enabled_collectors", &config.enabled_collectors),
        ("disabled_collectors", &config.disabled_collectors),
    ] {
        if let Some(name) = list.iter().find(|name| names().all(|(known, _)| known != name.as_str())) {
            let mut known: Vec<&str> = names().map(|(name, _)| name).collect();
            known.sort_unstable();
            return Err(Error::UnknownCollector { field, name: name.clone(), known: known.join(", ") });
        }
    }
    ALL.iter()
        .filter(|entry| is_enabled(config, entry.name, entry.default))
        .map(|entry| (entry.make)(config, parts))
        .collect()
}
