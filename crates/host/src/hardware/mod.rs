//! Hardware that fails or is about to: errors with totals that survive reboots, disks that get slower, disks' own health.
//!
//! | module | holds |
//! |---|---|
//! | `totals` | counters that go on after a reboot |
//! | `latency` | how long disks take, against their own history and their likes |
//! | `nvme` | the health log of NVMe disks, asked of the disk |
//! | `smart` | the health of SATA and SAS disks, through smartctl where it is installed |

pub(crate) mod config;
mod latency;
mod nvme;
mod smart;
mod totals;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::files::{self, Files};
use crate::output::Output;
use crate::{Collector, Error};
use config::HardwareConfig;
use latency::Latency;
use smart::Smart;
use totals::Totals;

pub(crate) struct Hardware {
    totals: Totals,
    latency: Latency,
    smart: Smart,
    /// What the disks said, and when they were asked.
    health: Option<(Instant, Output)>,
    health_interval: Duration,
    save_failed: bool,
}

impl Hardware {
    /// `state`: the file of the totals.
    pub(crate) fn new(config: &HardwareConfig, state: Option<PathBuf>) -> Self {
        Self {
            totals: Totals::open(state.as_deref()),
            latency: Latency::default(),
            smart: Smart::new(&config.smartctl),
            health: None,
            health_interval: config.health_interval.to_std(),
            save_failed: false,
        }
    }

    fn error(&mut self, out: &mut Output, kind: &str, device: &str, raw: f64) {
        let total = self.totals.follow(&format!("{kind}/{device}"), raw);
        let help = "Errors of hardware by kind and place; goes on where it was after a reboot while state_directory is kept.";
        out.counter("bellwether_hardware_errors_total", help, &[("device", device), ("kind", kind)], total);
    }

    /// Memory modules, by the label on the board.
    fn memory(&mut self, files: &Files, out: &mut Output) {
        const ROOT: &str = "devices/system/edac/mc";
        for controller in files.sys_list(ROOT).unwrap_or_default() {
            let folder = format!("{ROOT}/{controller}");
            for (file, kind) in [("ce_count", "memory_corrected"), ("ue_count", "memory_uncorrected")] {
                if let Some(count) = files.sys_number(&format!("{folder}/{file}")) {
                    self.error(out, kind, &controller, count);
                }
            }
            for entry in files.sys_list(&folder).unwrap_or_default() {
                if !(entry.starts_with("dimm") || entry.starts_with("rank")) {
                    continue;
                }
                let label = files.sys(&format!("{folder}/{entry}/dimm_label")).unwrap_or_default();
                let device = if label.trim().is_empty() {
                    format!("{controller}/{entry}")
                } else {
                    label.trim().to_owned()
                };
                for (file, kind) in
                    [("dimm_ce_count", "dimm_corrected"), ("dimm_ue_count", "dimm_uncorrected")]
                {
                    if let Some(count) = files.sys_number(&format!("{folder}/{entry}/{file}")) {
                        self.error(out, kind, &device, count);
                    }
                }
            }
        }
    }

    /// Requests that disks of the SCSI layer failed, and errors on PCI Express links.
    fn links(&mut self, files: &Files, out: &mut Output) {
        for device in files.sys_list("block").unwrap_or_default() {
            if let Some(count) = files.sys_number(&format!("block/{device}/device/ioerr_cnt")) {
                self.error(out, "disk_request", &device, count);
            }
        }
        for device in files.sys_list("bus/pci/devices").unwrap_or_default() {
            for (file, total, kind) in [
                ("aer_dev_correctable", "TOTAL_ERR_COR", "pcie_corrected"),
                ("aer_dev_nonfatal", "TOTAL_ERR_NONFATAL", "pcie_nonfatal"),
                ("aer_dev_fatal", "TOTAL_ERR_FATAL", "pcie_fatal"),
            ] {
                let Ok(text) = files.sys(&format!("bus/pci/devices/{device}/{file}")) else { continue };
                let count =
                    text.lines().find_map(|line| line.strip_prefix(total)?.trim().parse::<f64>().ok());
                // Most devices never have one: only those that had.
                if let Some(count) = count.filter(|count| *count > 0.0) {
                    self.error(out, kind, &device, count);
                }
            }
        }
    }

    /// Asks the disks for their health now and then: it costs them, and must not wake those that sleep.
    fn health(&mut self, files: &Files, out: &mut Output) {
        let due = self.health.as_ref().is_none_or(|(at, _)| at.elapsed() >= self.health_interval);
        if due {
            let mut fresh = Output::new("hardware");
            nvme::collect(files, &mut fresh);
            self.smart.collect(files, &mut fresh);
            self.health = Some((Instant::now(), fresh));
        }
        if let Some((at, known)) = &self.health {
            out.append(known.clone());
            let help = "Age of what is shown of the disks' own health.";
            out.gauge("bellwether_disk_health_age_seconds", help, &[], at.elapsed().as_secs_f64());
        }
    }
}

impl Collector for Hardware {
    fn name(&self) -> &'static str {
        "hardware"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        self.memory(files, out);
        self.links(files, out);
        if let Ok(text) = files.proc("diskstats") {
            self.latency.collect(&text, files, out);
        }
        self.health(files, out);
        match self.totals.save() {
            Ok(()) => self.save_failed = false,
            Err(err) => {
                if !self.save_failed {
                    tracing::warn!(error = %err, "totals of hardware errors cannot be saved; they are lost with the next restart");
                }
                self.save_failed = true;
            }
        }
        let help = "1 while totals of hardware errors cannot be saved.";
        out.gauge("bellwether_hardware_state_unsaved", help, &[], f64::from(u8::from(self.save_failed)));
        Ok(())
    }
}

/// The disks as the kernel names them: no partitions, no loops.
fn disks(files: &Files) -> Vec<String> {
    let names = files.sys_list("block").unwrap_or_default();
    let is_disk = |name: &String| files.sys_path(&format!("block/{name}/device")).exists();
    names.into_iter().filter(is_disk).collect()
}

/// A device file below the host's root.
fn device_path(files: &Files, name: &str) -> PathBuf {
    files.root_path(&format!("/dev/{name}"))
}

/// Text of a small file, trimmed; empty when there is none.
fn text(files: &Files, path: &str) -> String {
    files::read(&files.sys_path(path)).map(|text| text.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::Config;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn error_of(root: &Path, hardware: &mut Hardware, kind: &str) -> f64 {
        let config = Config {
            sysfs: root.join("sys").display().to_string(),
            procfs: root.join("proc").display().to_string(),
            ..Config::default()
        };
        let mut out = Output::new("hardware");
        hardware.collect(&Files::new(&config), &mut out).unwrap();
        let families = out.finish();
        let family =
            families.iter().find(|family| family.name == "bellwether_hardware_errors_total").unwrap();
        family.samples.iter().find(|(labels, _)| labels.get("kind") == Some(kind)).unwrap().1
    }

    #[test]
    fn totals_of_a_module_survive_a_reboot() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let dimm = "sys/devices/system/edac/mc/mc0/dimm0";
        write(root, &format!("{dimm}/dimm_label"), "CPU0_A1\n");
        write(root, &format!("{dimm}/dimm_ce_count"), "11\n");
        write(root, "sys/block/sda/device/ioerr_cnt", "0x3\n");
        write(root, "sys/bus/pci/devices/0000:00:01.0/aer_dev_correctable", "RxErr 4\nTOTAL_ERR_COR 4\n");
        let state = Some(root.join("totals.json"));
        let open = || Hardware::new(&HardwareConfig::default(), state.clone());
        let mut hardware = open();
        assert_eq!(error_of(root, &mut hardware, "dimm_corrected"), 11.0);
        assert_eq!(error_of(root, &mut hardware, "disk_request"), 3.0);
        assert_eq!(error_of(root, &mut hardware, "pcie_corrected"), 4.0);
        write(root, &format!("{dimm}/dimm_ce_count"), "2\n");
        assert_eq!(error_of(root, &mut open(), "dimm_corrected"), 13.0);
    }
}
