//! node_exporter's command line flags as settings, so that a unit file that starts it starts `bellwether agent` too.
//!
//! node_exporter searches its patterns anywhere in a name, our settings match the whole name: a pattern given by a flag is
//! widened accordingly.

use crate::collectors;
use crate::config::Config;
use crate::error::Error;

/// What a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Nothing; `--no-…` turns it off.
    Nothing,
    /// A value, the last of several counts.
    Value,
    /// A value, several add up.
    Values,
}

/// One flag.
#[derive(Clone, Debug)]
pub struct Flag {
    /// Without the dashes.
    pub name: String,
    /// What it takes.
    pub takes: Takes,
    /// What it does.
    pub help: String,
}

type Field = fn(&mut Config) -> &mut String;

/// Flags that set a path or list as it is.
const PLAIN: &[(&str, Field, &str)] = &[
    ("path.procfs", |c| &mut c.procfs, "Where procfs is mounted"),
    ("path.sysfs", |c| &mut c.sysfs, "Where sysfs is mounted"),
    ("path.rootfs", |c| &mut c.rootfs, "The root of the host's file system"),
];

/// Flags that set a filter.
const PATTERNS: &[(&str, Field, &str)] = &[
    ("collector.arp.device-include", |c| &mut c.arp_device_include, "Devices that arp is limited to"),
    ("collector.arp.device-exclude", |c| &mut c.arp_device_exclude, "Devices that arp leaves out"),
    (
        "collector.diskstats.device-include",
        |c| &mut c.diskstats_device_include,
        "Devices that diskstats is limited to",
    ),
    (
        "collector.diskstats.device-exclude",
        |c| &mut c.diskstats_device_exclude,
        "Devices that diskstats leaves out",
    ),
    (
        "collector.filesystem.mount-points-include",
        |c| &mut c.filesystem_mount_points_include,
        "Mount points that filesystem is limited to",
    ),
    (
        "collector.filesystem.mount-points-exclude",
        |c| &mut c.filesystem_mount_points_exclude,
        "Mount points that filesystem leaves out",
    ),
    (
        "collector.filesystem.fs-types-include",
        |c| &mut c.filesystem_fs_types_include,
        "Types that filesystem is limited to",
    ),
    (
        "collector.filesystem.fs-types-exclude",
        |c| &mut c.filesystem_fs_types_exclude,
        "Types that filesystem leaves out",
    ),
    ("collector.hwmon.chip-include", |c| &mut c.hwmon_chip_include, "Chips that hwmon is limited to"),
    ("collector.hwmon.chip-exclude", |c| &mut c.hwmon_chip_exclude, "Chips that hwmon leaves out"),
    (
        "collector.hwmon.sensor-include",
        |c| &mut c.hwmon_sensor_include,
        "Sensors (chip;sensor) that hwmon is limited to",
    ),
    (
        "collector.hwmon.sensor-exclude",
        |c| &mut c.hwmon_sensor_exclude,
        "Sensors (chip;sensor) that hwmon leaves out",
    ),
    (
        "collector.interrupts.name-include",
        |c| &mut c.interrupts_name_include,
        "Sources that interrupts is limited to",
    ),
    (
        "collector.interrupts.name-exclude",
        |c| &mut c.interrupts_name_exclude,
        "Sources that interrupts leaves out",
    ),
    (
        "collector.netdev.device-include",
        |c| &mut c.netdev_device_include,
        "Devices that netdev is limited to",
    ),
    ("collector.netdev.device-exclude", |c| &mut c.netdev_device_exclude, "Devices that netdev leaves out"),
    (
        "collector.netclass.ignored-devices",
        |c| &mut c.netclass_ignored_devices,
        "Devices that netclass leaves out",
    ),
    ("collector.netstat.fields", |c| &mut c.netstat_fields, "Fields that netstat shows"),
    (
        "collector.powersupply.ignored-supplies",
        |c| &mut c.powersupply_ignored_supplies,
        "Supplies that powersupplyclass leaves out",
    ),
    ("collector.systemd.unit-include", |c| &mut c.systemd_unit_include, "Units that systemd is limited to"),
    ("collector.systemd.unit-exclude", |c| &mut c.systemd_unit_exclude, "Units that systemd leaves out"),
    ("collector.vmstat.fields", |c| &mut c.vmstat_fields, "Fields that vmstat shows"),
];

type Switch = fn(&mut Config) -> &mut bool;

const SWITCHES: &[(&str, Switch, &str)] = &[
    (
        "collector.disable-defaults",
        |c| &mut c.disable_default_collectors,
        "Run only the collectors that are enabled by a flag",
    ),
    ("collector.cpu.guest", |c| &mut c.cpu_guest, "Show time spent in virtual machines"),
    (
        "collector.interrupts.include-zeros",
        |c| &mut c.interrupts_include_zeros,
        "Show interrupt counters that are 0",
    ),
];

/// Every flag.
pub fn all() -> Vec<Flag> {
    let value =
        |name: &str, help: &str| Flag { name: name.to_owned(), takes: Takes::Value, help: help.to_owned() };
    let mut flags: Vec<Flag> =
        PLAIN.iter().chain(PATTERNS).map(|(name, _, help)| value(name, help)).collect();
    flags.push(Flag {
        name: "collector.textfile.directory".into(),
        takes: Takes::Values,
        help: "A folder of *.prom files whose samples are added".into(),
    });
    flags.push(Flag {
        name: "collector.sysctl.include".into(),
        takes: Takes::Values,
        help: "A kernel parameter that sysctl shows".into(),
    });
    let switch = |name: String, help: String| {
        [
            Flag { name: format!("no-{name}"), takes: Takes::Nothing, help: format!("Not: {help}") },
            Flag { name, takes: Takes::Nothing, help },
        ]
    };
    for (name, _, help) in SWITCHES {
        flags.extend(switch((*name).to_owned(), (*help).to_owned()));
    }
    for (name, default) in collectors::names() {
        let default = if default { "on" } else { "off" };
        flags.extend(switch(
            format!("collector.{name}"),
            format!("Run the collector {name} [default: {default}]"),
        ));
    }
    flags
}

/// Does what a flag says. `value` is what it was given; flags that take nothing ignore it.
///
/// # Errors
/// [`Error::Setting`] for a flag that there is not.
pub fn apply(config: &mut Config, name: &str, value: &str) -> Result<(), Error> {
    if let Some((_, field, _)) = PLAIN.iter().find(|(flag, ..)| *flag == name) {
        value.clone_into(field(config));
        return Ok(());
    }
    if let Some((_, field, _)) = PATTERNS.iter().find(|(flag, ..)| *flag == name) {
        *field(config) = if value.is_empty() { String::new() } else { format!("(?:.*(?:{value}).*)") };
        return Ok(());
    }
    if name == "collector.textfile.directory" {
        let list = &mut config.textfile_directory;
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(value);
        return Ok(());
    }
    if name == "collector.sysctl.include" {
        config.sysctl_include.push(value.to_owned());
        return Ok(());
    }
    let (on, bare) = match name.strip_prefix("no-") {
        Some(bare) => (false, bare),
        None => (true, name),
    };
    if let Some((_, field, _)) = SWITCHES.iter().find(|(flag, ..)| *flag == bare) {
        *field(config) = on;
        return Ok(());
    }
    let collector = bare.strip_prefix("collector.").unwrap_or_default();
    if collectors::names().any(|(known, _)| known == collector) {
        let (into, out_of) = match on {
            true => (&mut config.enabled_collectors, &mut config.disabled_collectors),
            false => (&mut config.disabled_collectors, &mut config.enabled_collectors),
        };
        out_of.retain(|listed| listed != collector);
        into.push(collector.to_owned());
        return Ok(());
    }
    Err(Error::Setting { field: format!("--{name}"), reason: "there is no such flag".into() })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn flags_set_what_node_exporter_sets() {
        let mut config = Config::default();
        for (name, value) in [
            ("path.procfs", "/host/proc"),
            ("collector.netdev.device-exclude", "^veth"),
            ("no-collector.cpu", ""),
            ("collector.interrupts", ""),
            ("collector.textfile.directory", "/a"),
            ("collector.textfile.directory", "/b"),
        ] {
            apply(&mut config, name, value).unwrap();
        }
        assert_eq!((config.procfs.as_str(), config.textfile_directory.as_str()), ("/host/proc", "/a,/b"));
        assert_eq!(config.disabled_collectors, ["cpu"]);
        assert_eq!(config.enabled_collectors, ["interrupts"]);
        let filter = crate::filter::Filter::excluding("f", &config.netdev_device_exclude).unwrap();
        assert!(!filter.keeps("veth12ab") && filter.keeps("eth0") && filter.keeps("xveth"));
        assert!(apply(&mut config, "collector.nonsense", "").is_err());
        let made = collectors::all(
            &config,
            &collectors::Parts::new(&(Arc::new(model::time::SystemClock) as _), None),
        )
        .unwrap();
        let names: Vec<&str> = made.iter().map(|collector| collector.name()).collect();
        assert!(names.contains(&"interrupts") && !names.contains(&"cpu"));
    }

    #[test]
    fn every_flag_can_be_applied() {
        for flag in all() {
            apply(&mut Config::default(), &flag.name, "x").unwrap();
        }
    }
}
