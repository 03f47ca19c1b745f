//! `dmi`, `watchdog` and `nvme`: what the firmware, the watchdog and the disk controllers say of themselves.

use crate::files::Files;
use crate::output::Output;
use crate::{Collector, Error};

pub(crate) struct Dmi;

/// Files of `/sys/class/dmi/id` that are labels, each under its own name except `sys_vendor`.
const DMI: [&str; 20] = [
    "bios_date",
    "bios_release",
    "bios_vendor",
    "bios_version",
    "board_asset_tag",
    "board_name",
    "board_serial",
    "board_vendor",
    "board_version",
    "chassis_asset_tag",
    "chassis_serial",
    "chassis_vendor",
    "chassis_version",
    "product_family",
    "product_name",
    "product_serial",
    "product_sku",
    "product_uuid",
    "product_version",
    "sys_vendor",
];

impl Collector for Dmi {
    fn name(&self) -> &'static str {
        "dmi"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        files.sys_list("class/dmi/id")?;
        let mut values = Vec::with_capacity(DMI.len());
        for file in DMI {
            match files.sys(&format!("class/dmi/id/{file}")) {
                Ok(text) => {
                    values.push((if file == "sys_vendor" { "system_vendor" } else { file }, text));
                }
                Err(Error::Absent(_)) => {}
                // Serial numbers are for root alone.
                Err(_) => out.deny("serial numbers of the machine"),
            }
        }
        let labels: Vec<(&str, &str)> = values.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let help = "Always 1; the labels are what the firmware says of the machine.";
        out.gauge("node_dmi_info", help, &labels, 1.0);
        Ok(())
    }
}

pub(crate) struct Watchdog;

const WATCHDOG: [(&str, &str, &str); 8] = [
    ("bootstatus", "bootstatus", "Why the machine started last, in bits of linux/watchdog.h."),
    ("fw_version", "fw_version", "Version of the watchdog's firmware."),
    ("nowayout", "nowayout", "Whether the watchdog cannot be stopped once started."),
    ("timeleft", "timeleft_seconds", "Time until the machine is reset."),
    ("timeout", "timeout_seconds", "Time without a sign of life after which the machine is reset."),
    ("pretimeout", "pretimeout_seconds", "How long before the reset a warning is given."),
    ("access_cs0", "access_cs0", "Whether the watchdog booted from the first chip."),
    ("min_timeout", "min_timeout_seconds", "The shortest timeout that can be set."),
];
/// Of the above, what node_exporter has too.
const WATCHDOG_INFO: [&str; 5] = ["identity", "options", "pretimeout_governor", "state", "status"];

impl Collector for Watchdog {
    fn name(&self) -> &'static str {
        "watchdog"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        for name in files.sys_list("class/watchdog")? {
            let folder = format!("class/watchdog/{name}");
            for (file, metric, help) in WATCHDOG {
                if let Some(value) = files.sys_number(&format!("{folder}/{file}")) {
                    out.gauge(&format!("node_watchdog_{metric}"), help, &[("name", &name)], value);
                }
            }
            let values = WATCHDOG_INFO.map(|file| files.sys(&format!("{folder}/{file}")).unwrap_or_default());
            let mut labels: Vec<(&str, &str)> =
                WATCHDOG_INFO.iter().zip(&values).map(|(name, text)| (*name, text.as_str())).collect();
            labels.push(("name", &name));
            out.gauge("node_watchdog_info", "Always 1; the labels describe the watchdog.", &labels, 1.0);
        }
        Ok(())
    }
}

pub(crate) struct Nvme;

impl Collector for Nvme {
    fn name(&self) -> &'static str {
        "nvme"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        for device in files.sys_list("class/nvme")? {
            let folder = format!("class/nvme/{device}");
            let text = |file: &str| files.sys(&format!("{folder}/{file}")).unwrap_or_default();
            let values = [
                ("cntlid", text("cntlid")),
                ("device", device.clone()),
                ("firmware_revision", text("firmware_rev")),
                ("model", text("model").trim().to_owned()),
                ("serial", text("serial").trim().to_owned()),
                ("state", text("state")),
            ];
            let labels: Vec<(&str, &str)> =
                values.iter().map(|(name, text)| (*name, text.as_str())).collect();
            out.gauge("node_nvme_info", "Always 1; the labels describe an NVMe controller.", &labels, 1.0);
        }
        Ok(())
    }
}
