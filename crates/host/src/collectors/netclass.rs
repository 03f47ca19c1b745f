//! `netclass`: what `/sys/class/net` says of each network device.

use model::MetricType::{self, Counter, Gauge};

use crate::files::Files;
use crate::filter::Filter;
use crate::output::Output;
use crate::{Collector, Error};

/// File, metric and type. A file that the driver does not support is left out.
const NUMBERS: [(&str, &str, MetricType); 16] = [
    ("addr_assign_type", "address_assign_type", Gauge),
    ("carrier", "carrier", Gauge),
    ("carrier_changes", "carrier_changes_total", Counter),
    ("carrier_up_count", "carrier_up_changes_total", Counter),
    ("carrier_down_count", "carrier_down_changes_total", Counter),
    ("dev_id", "device_id", Gauge),
    ("dormant", "dormant", Gauge),
    ("flags", "flags", Gauge),
    ("ifindex", "iface_id", Gauge),
    ("iflink", "iface_link", Gauge),
    ("link_mode", "iface_link_mode", Gauge),
    ("mtu", "mtu_bytes", Gauge),
    ("name_assign_type", "name_assign_type", Gauge),
    ("netdev_group", "net_dev_group", Gauge),
    ("tx_queue_len", "transmit_queue_length", Gauge),
    ("type", "protocol_type", Gauge),
];

/// IFF_UP of netdevice(7).
const IFF_UP: i64 = 1;

pub(crate) struct NetClass {
    devices: Filter,
}

impl NetClass {
    pub(crate) fn new(devices: Filter) -> Self {
        Self { devices }
    }
}

impl Collector for NetClass {
    fn name(&self) -> &'static str {
        "netclass"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        for device in files.sys_list("class/net")? {
            let folder = format!("class/net/{device}");
            // `bonding_masters` is a file.
            if !self.devices.keeps(&device) || !files.sys_path(&folder).is_dir() {
                continue;
            }
            let label = [("device", device.as_str())];
            for (file, metric, kind) in NUMBERS {
                if let Some(value) = files.sys_number(&format!("{folder}/{file}")) {
                    let help = format!("Property {metric} of a network device.");
                    out.add(&format!("node_network_{metric}"), kind, &help, &label, value);
                }
            }
            if let Some(megabits) = files.sys_number(&format!("{folder}/speed")) {
                // −1 means unknown; shown as it is, like node_exporter does for a negative speed.
                let bytes = megabits * 1000.0 * 1000.0 / 8.0;
                out.gauge(
                    "node_network_speed_bytes",
                    "Speed of a network device in bytes a second; negative when unknown.",
                    &label,
                    bytes,
                );
            }
            let text = |file: &str| files.sys(&format!("{folder}/{file}")).unwrap_or_default();
            let operstate = text("operstate");
            let flags = files.sys_number(&format!("{folder}/flags")).map_or(0, |flags| flags as i64);
            let adminstate = if flags & IFF_UP != 0 { "up" } else { "down" };
            let up = f64::from(u8::from(operstate == "up"));
            out.gauge("node_network_up", "Whether a network device is up.", &label, up);
            let info = [
                ("address", text("address")),
                ("adminstate", adminstate.to_owned()),
                ("broadcast", text("broadcast")),
                ("device", device.clone()),
                ("duplex", text("duplex")),
                ("ifalias", text("ifalias")),
                ("operstate", operstate),
            ];
            let info: Vec<(&str, &str)> = info.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let help = "Always 1; the labels describe a network device.";
            out.gauge("node_network_info", help, &info, 1.0);
        }
        Ok(())
    }
}
