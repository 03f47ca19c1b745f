//! Settings of the host source.

use model::duration::PromDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
    /// Collectors that are not run, by node_exporter's names.
    pub disabled_collectors: Vec<String>,
    /// Where procfs is mounted.
    pub procfs: String,
    /// Where sysfs is mounted.
    pub sysfs: String,
    /// The root of the host's file system; other than `/` in a container.
    pub rootfs: String,
    /// A folder of `*.prom` files whose samples are added; empty means none.
    pub textfile_directory: String,
    /// Block devices that are left out.
    pub diskstats_device_exclude: String,
    /// Mount points that are left out.
    pub filesystem_mount_points_exclude: String,
    /// File system types that are left out.
    pub filesystem_fs_types_exclude: String,
    /// Network devices that are left out by `netdev`; empty means none.
    pub netdev_device_exclude: String,
    /// Network devices that are left out by `netclass`; empty means none.
    pub netclass_ignored_devices: String,
    /// Fields of `/proc/net/netstat` and `snmp` that are kept.
    pub netstat_fields: String,
    /// Fields of `/proc/vmstat` that are kept.
    pub vmstat_fields: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            enabled: true,
            interval: PromDuration(15_000),
            job: "node".into(),
            instance: String::new(),
            collector_timeout: PromDuration(2_000),
            disabled_collectors: Vec::new(),
            procfs: "/proc".into(),
            sysfs: "/sys".into(),
            rootfs: "/".into(),
            textfile_directory: String::new(),
            diskstats_device_exclude: r"(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+".into(),
            filesystem_mount_points_exclude: "/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/.*)".into(),
            filesystem_fs_types_exclude: "autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|erofs|fusectl|hugetlbfs|iso9660|mqueue|nsfs|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|sysfs|tracefs".into(),
            netdev_device_exclude: String::new(),
            netclass_ignored_devices: String::new(),
            netstat_fields: "(.*_(InErrors|InErrs)|Ip_Forwarding|Ip(6|Ext)_(InOctets|OutOctets)|Icmp6?_(InMsgs|OutMsgs)|TcpExt_(Listen.*|Syncookies.*|TCPSynRetrans|TCPTimeouts|TCPOFOQueue|TCPRcvQDrop)|Tcp_(ActiveOpens|InSegs|OutSegs|OutRsts|PassiveOpens|RetransSegs|CurrEstab)|Udp6?_(InDatagrams|OutDatagrams|NoPorts|RcvbufErrors|SndbufErrors))".into(),
            vmstat_fields: "(oom_kill|pgpg|pswp|pg.*fault).*".into(),
        }
    }
}
