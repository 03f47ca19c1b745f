//! Settings of the host source.

use model::duration::PromDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::containers::config::ContainerConfig;
pub use crate::hardware::config::HardwareConfig;
pub use crate::power::config::PowerConfig;
pub use crate::process::config::{GroupConfig, ProcessConfig};
pub use crate::services::config::ServicesConfig;
pub use crate::sockets::config::SocketConfig;

/// Watching this host: processors, memory, disks, file systems, network, pressure, processes, under node_exporter's names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Whether this host is watched.
    pub enabled: bool,
    /// How often, from 1s up.
    pub interval: PromDuration,
    /// The `job` label of this host's series.
    pub job: String,
    /// The `instance` label; empty means the host's name.
    pub instance: String,
    /// How long one collector may take.
    pub collector_timeout: PromDuration,
    /// Collectors that run although they do not by default, by node_exporter's names.
    pub enabled_collectors: Vec<String>,
    /// Collectors that are not run, by node_exporter's names.
    pub disabled_collectors: Vec<String>,
    /// Whether only the collectors of `enabled_collectors` run.
    pub disable_default_collectors: bool,
    /// Where procfs is mounted.
    pub procfs: String,
    /// Where sysfs is mounted.
    pub sysfs: String,
    /// The root of the host's file system; other than `/` in a container.
    pub rootfs: String,
    /// Folders of `*.prom` files whose samples are added, separated by commas, with `*` and `?` in the last part; empty means none.
    pub textfile_directory: String,
    /// Devices that `arp` is limited to; empty means all. This and all filters are regular expressions for the whole name.
    pub arp_device_include: String,
    /// Devices that `arp` leaves out.
    pub arp_device_exclude: String,
    /// Whether `cpu` shows time spent in virtual machines.
    pub cpu_guest: bool,
    /// Block devices that `diskstats` is limited to; empty means all.
    pub diskstats_device_include: String,
    /// Block devices that are left out.
    pub diskstats_device_exclude: String,
    /// Mount points that `filesystem` is limited to; empty means all.
    pub filesystem_mount_points_include: String,
    /// Mount points that are left out.
    pub filesystem_mount_points_exclude: String,
    /// File system types that `filesystem` is limited to; empty means all.
    pub filesystem_fs_types_include: String,
    /// File system types that are left out.
    pub filesystem_fs_types_exclude: String,
    /// Chips that `hwmon` is limited to; empty means all.
    pub hwmon_chip_include: String,
    /// Chips that `hwmon` leaves out.
    pub hwmon_chip_exclude: String,
    /// Sensors, as `chip;sensor`, that `hwmon` is limited to; empty means all.
    pub hwmon_sensor_include: String,
    /// Sensors, as `chip;sensor`, that `hwmon` leaves out.
    pub hwmon_sensor_exclude: String,
    /// Sources, as `type;info;devices`, that `interrupts` is limited to; empty means all.
    pub interrupts_name_include: String,
    /// Sources, as `type;info;devices`, that `interrupts` leaves out.
    pub interrupts_name_exclude: String,
    /// Whether `interrupts` shows counters that are 0.
    pub interrupts_include_zeros: bool,
    /// Network devices that `netdev` is limited to; empty means all.
    pub netdev_device_include: String,
    /// Network devices that are left out by `netdev`; empty means none.
    pub netdev_device_exclude: String,
    /// Network devices that are left out by `netclass`; empty means none.
    pub netclass_ignored_devices: String,
    /// Units that `systemd` is limited to; empty means all.
    pub systemd_unit_include: String,
    /// Units that `systemd` leaves out.
    pub systemd_unit_exclude: String,
    /// The D-Bus socket at which systemd is asked; empty means the one of `DBUS_SYSTEM_BUS_ADDRESS`, else `/run/dbus/system_bus_socket`.
    pub systemd_bus: String,
    /// Other software of this host.
    pub services: ServicesConfig,
    /// Fields of `/proc/net/netstat` and `snmp` that are kept.
    pub netstat_fields: String,
    /// Supplies that `powersupplyclass` leaves out; empty means none.
    pub powersupply_ignored_supplies: String,
    /// Kernel parameters that `sysctl` shows, such as `vm.swappiness` or `fs.file-nr:allocated,free,max`.
    pub sysctl_include: Vec<String>,
    /// Fields of `/proc/vmstat` that are kept.
    pub vmstat_fields: String,
    /// A folder in which totals that survive reboots and the events are kept. Empty: below the server's data; the agent then keeps
    /// neither beyond its own life.
    pub state_directory: String,
    /// Processes: groups, critical ones, how they end.
    pub processes: ProcessConfig,
    /// Whether the kernel's messages are followed.
    pub follow_kernel_log: bool,
    /// Containers and services.
    pub containers: ContainerConfig,
    /// Who talks to whom.
    pub sockets: SocketConfig,
    /// Hardware errors, slowing disks, disks' health.
    pub hardware: HardwareConfig,
    /// Power and supplies.
    pub power: PowerConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: PromDuration(15_000),
            job: "node".into(),
            instance: String::new(),
            collector_timeout: PromDuration(2_000),
            enabled_collectors: Vec::new(),
            disabled_collectors: Vec::new(),
            disable_default_collectors: false,
            procfs: "/proc".into(),
            sysfs: "/sys".into(),
            rootfs: "/".into(),
            textfile_directory: String::new(),
            arp_device_include: String::new(),
            arp_device_exclude: String::new(),
            cpu_guest: true,
            diskstats_device_include: String::new(),
            diskstats_device_exclude: r"(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+".into(),
            filesystem_mount_points_include: String::new(),
            filesystem_mount_points_exclude: "/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/.*)".into(),
            filesystem_fs_types_include: String::new(),
            filesystem_fs_types_exclude: "autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|erofs|fusectl|hugetlbfs|iso9660|mqueue|nsfs|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|sysfs|tracefs".into(),
            hwmon_chip_include: String::new(),
            hwmon_chip_exclude: String::new(),
            hwmon_sensor_include: String::new(),
            hwmon_sensor_exclude: String::new(),
            interrupts_name_include: String::new(),
            interrupts_name_exclude: String::new(),
            interrupts_include_zeros: true,
            netdev_device_include: String::new(),
            netdev_device_exclude: String::new(),
            netclass_ignored_devices: String::new(),
            systemd_unit_include: String::new(),
            systemd_unit_exclude: r".+\.(automount|device|mount|scope|slice)".into(),
            systemd_bus: String::new(),
            services: ServicesConfig::default(),
            netstat_fields: "(.*_(InErrors|InErrs)|Ip_Forwarding|Ip(6|Ext)_(InOctets|OutOctets)|Icmp6?_(InMsgs|OutMsgs)|TcpExt_(Listen.*|Syncookies.*|TCPSynRetrans|TCPTimeouts|TCPOFOQueue|TCPRcvQDrop)|Tcp_(ActiveOpens|InSegs|OutSegs|OutRsts|PassiveOpens|RetransSegs|CurrEstab)|Udp6?_(InDatagrams|OutDatagrams|NoPorts|RcvbufErrors|SndbufErrors))".into(),
            powersupply_ignored_supplies: String::new(),
            sysctl_include: Vec::new(),
            vmstat_fields: "(oom_kill|pgpg|pswp|pg.*fault).*".into(),
            state_directory: String::new(),
            processes: ProcessConfig::default(),
            follow_kernel_log: true,
            containers: ContainerConfig::default(),
            sockets: SocketConfig::default(),
            hardware: HardwareConfig::default(),
            power: PowerConfig::default(),
        }
    }
}
