//! One module a collector, named as node_exporter names it.

mod cpu;
mod diskstats;
mod filesystem;
mod identity;
mod kernel;
mod meminfo;
mod netclass;
mod netdev;
mod netstat;
mod pressure;
mod processes;
mod sockets;
mod stat;
mod time;
mod vmstat;

use std::sync::Arc;

use model::Clock;
use model::pattern::Pattern;

use super::config::Config;
use super::{Collector, Error};

/// The collectors that `config` enables, in the order in which they run.
pub(super) fn all(config: &Config, clock: &Arc<dyn Clock>) -> Result<Vec<Box<dyn Collector>>, Error> {
    let all: Vec<Box<dyn Collector>> = vec![
        Box::new(cpu::Cpu),
        Box::new(stat::Stat),
        Box::new(kernel::LoadAvg),
        Box::new(meminfo::MemInfo),
        Box::new(vmstat::VmStat::new(filter("vmstat_fields", &config.vmstat_fields)?)),
        Box::new(pressure::Pressure),
        Box::new(processes::Processes::new()),
        Box::new(diskstats::DiskStats::new(exclude(
            "diskstats_device_exclude",
            &config.diskstats_device_exclude,
        )?)),
        Box::new(filesystem::FileSystem::new(
            exclude("filesystem_mount_points_exclude", &config.filesystem_mount_points_exclude)?,
            exclude("filesystem_fs_types_exclude", &config.filesystem_fs_types_exclude)?,
        )),
        Box::new(netdev::NetDev::new(exclude("netdev_device_exclude", &config.netdev_device_exclude)?)),
        Box::new(netclass::NetClass::new(exclude(
            "netclass_ignored_devices",
            &config.netclass_ignored_devices,
        )?)),
        Box::new(netstat::NetStat::new(filter("netstat_fields", &config.netstat_fields)?)),
        Box::new(sockets::SockStat),
        Box::new(sockets::SoftNet),
        Box::new(sockets::UdpQueues),
        Box::new(sockets::Arp),
        Box::new(kernel::Conntrack),
        Box::new(kernel::Entropy),
        Box::new(kernel::FileFd),
        Box::new(kernel::HungTasks),
        Box::new(kernel::Selinux),
        Box::new(identity::Uname),
        Box::new(identity::Os),
        Box::new(time::Time::new(Arc::clone(clock))),
        Box::new(time::Timex),
    ];
    let enabled = |name: &str| !config.disabled_collectors.iter().any(|disabled| disabled == name);
    Ok(all.into_iter().filter(|collector| enabled(collector.name())).collect())
}

fn filter(field: &'static str, text: &str) -> Result<Pattern, Error> {
    Pattern::new(text).map_err(|source| Error::Filter { field, source })
}

/// A filter that leaves things out; an empty one leaves out nothing.
fn exclude(field: &'static str, text: &str) -> Result<Option<Pattern>, Error> {
    if text.is_empty() { Ok(None) } else { filter(field, text).map(Some) }
}

fn excludes(filter: Option<&Pattern>, name: &str) -> bool {
    filter.is_some_and(|filter| filter.matches(name))
}
