//! The health of SATA and SAS disks, through smartctl. Source: smartctl(8), its JSON and its exit codes.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::files::Files;
use crate::output::Output;

/// How long a disk may take to answer.
const PATIENCE: Duration = Duration::from_millis(1500);
/// No answer is larger.
const MAX_ANSWER: u64 = 1 << 20;
/// Bits 0 and 1 of the exit code: the command line was wrong, or the disk could not be opened or sleeps.
const NOT_ASKED: i32 = 0b11;

pub(super) struct Smart {
    program: String,
    missing: bool,
}

impl Smart {
    pub(super) fn new(program: &str) -> Self {
        Self { program: program.to_owned(), missing: program.is_empty() }
    }

    /// Asks every disk of the SCSI layer, NVMe disks excepted. Those that sleep are not woken.
    pub(super) fn collect(&mut self, files: &Files, out: &mut Output) {
        if self.missing {
            return;
        }
        for device in super::disks(files) {
            // `sda`, `hda`: virtual disks have no health.
            if !(device.starts_with("sd") || device.starts_with("hd")) {
                continue;
            }
            let path = super::device_path(files, &device);
            let child = Command::new(&self.program)
                .args(["--json=c", "--nocheck=standby", "--all"])
                .arg(&path)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn();
            match child {
                Ok(child) => {
                    if let Some((code, answer)) = wait(child) {
                        report(&device, code, &answer, out);
                    }
                }
                Err(err) => {
                    tracing::info!(program = %self.program, error = %err, "the health of SATA and SAS disks is not asked: no smartctl");
                    self.missing = true;
                    return;
                }
            }
        }
    }
}

/// Exit code and output; a disk that does not answer in time is given up.
fn wait(mut child: std::process::Child) -> Option<(i32, Vec<u8>)> {
    let mut answer = Vec::new();
    let stdout = child.stdout.take()?;
    let reader = std::thread::Builder::new()
        .name("smartctl".into())
        .spawn(move || stdout.take(MAX_ANSWER).read_to_end(&mut answer).map(|_| answer))
        .ok()?;
    let deadline = Instant::now() + PATIENCE;
    let pid = rustix::process::Pid::from_child(&child);
    if let Ok(watch) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = rustix::event::Timespec {
            tv_sec: left.as_secs() as i64,
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        let mut fds = [rustix::event::PollFd::new(&watch, rustix::event::PollFlags::IN)];
        // Interrupted or not: the child is asked next.
        if rustix::event::poll(&mut fds, Some(&timeout)).is_err() {
            tracing::debug!("waiting for smartctl was interrupted");
        }
    }
    let code = match child.try_wait() {
        Ok(Some(status)) => status.code(),
        _ => {
            // It ends by itself when the disk does at last; nobody waits for it but the next collection's reaping.
            if child.kill().is_ok() {
                drop(child.wait());
            }
            None
        }
    };
    let answer = reader.join().ok()?.ok()?;
    Some((code?, answer))
}

fn report(device: &str, code: i32, answer: &[u8], out: &mut Output) {
    let Ok(answer) = serde_json::from_slice::<Value>(answer) else { return };
    let label = [("device", device)];
    let asleep = code & NOT_ASKED == 0b10 && answer["power_mode"].is_object();
    let help = "1 when a disk slept and was not asked for its health.";
    out.gauge("bellwether_disk_asleep", help, &label, f64::from(u8::from(asleep)));
    if code & NOT_ASKED != 0 {
        return;
    }
    if let Some(passed) = answer["smart_status"]["passed"].as_bool() {
        let help = "1 while a disk calls itself well.";
        out.gauge("smartctl_device_smart_status", help, &label, f64::from(u8::from(passed)));
    }
    if let Some(celsius) = answer["temperature"]["current"].as_f64() {
        let labels = [("device", device), ("temperature_type", "current")];
        out.gauge("smartctl_device_temperature", "Temperature of a disk in °C.", &labels, celsius);
    }
    if let Some(hours) = answer["power_on_time"]["hours"].as_f64() {
        out.counter(
            "smartctl_device_power_on_seconds",
            "Time that a disk has been on.",
            &label,
            hours * 3600.0,
        );
    }
    if let Some(count) = answer["power_cycle_count"].as_f64() {
        out.counter("smartctl_device_power_cycle_count", "Times that a disk was switched on.", &label, count);
    }
    for row in answer["ata_smart_attributes"]["table"].as_array().into_iter().flatten().take(64) {
        let (Some(id), Some(name)) = (row["id"].as_u64(), row["name"].as_str()) else { continue };
        let id = id.to_string();
        for (kind, value) in [
            ("value", &row["value"]),
            ("worst", &row["worst"]),
            ("thresh", &row["thresh"]),
            ("raw", &row["raw"]["value"]),
        ] {
            if let Some(value) = value.as_f64() {
                let labels = [
                    ("attribute_id", id.as_str()),
                    ("attribute_name", name),
                    ("attribute_value_type", kind),
                    ("device", device),
                ];
                out.gauge("smartctl_device_attribute", "An attribute of a disk's health.", &labels, value);
            }
        }
    }
    if let Some(defects) = answer["scsi_grown_defect_list"].as_f64() {
        let help = "Defects that a SAS disk has found since it was made.";
        out.counter("smartctl_scsi_grown_defect_list", help, &label, defects);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::Config;

    #[test]
    fn disks_are_asked_and_sleepers_are_not_woken() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for disk in ["sda", "sdb", "sdc", "vda"] {
            std::fs::create_dir_all(root.join(format!("sys/block/{disk}/device"))).unwrap();
        }
        let program = root.join("smartctl");
        std::fs::write(
            &program,
            "#!/bin/sh\ncase \"$*\" in *sdb) echo '{\"power_mode\":{\"ata_value\":0}}'; exit 2;; *sdc) exec sleep 60;; esac\n\
             echo '{\"smart_status\":{\"passed\":false},\"temperature\":{\"current\":41},\"ata_smart_attributes\":{\"table\":[\
             {\"id\":197,\"name\":\"Current_Pending_Sector\",\"value\":100,\"worst\":100,\"thresh\":0,\"raw\":{\"value\":8}}]}}'\nexit 8\n",
        )
        .unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let config = Config { sysfs: root.join("sys").display().to_string(), ..Config::default() };
        let mut out = Output::new("hardware");
        Smart::new(&program.display().to_string()).collect(&Files::new(&config), &mut out);
        let families = out.finish();
        let value = |name: &str, label: (&str, &str)| {
            let family = families.iter().find(|family| family.name == name).unwrap();
            family
                .samples
                .iter()
                .find(|(labels, _)| labels.get(label.0) == Some(label.1))
                .map(|(_, value)| *value)
        };
        assert_eq!(value("smartctl_device_smart_status", ("device", "sda")), Some(0.0));
        assert_eq!(value("smartctl_device_temperature", ("device", "sda")), Some(41.0));
        assert_eq!(value("smartctl_device_attribute", ("attribute_value_type", "raw")), Some(8.0));
        assert_eq!(value("bellwether_disk_asleep", ("device", "sdb")), Some(1.0));
        assert_eq!(value("smartctl_device_smart_status", ("device", "sdc")), None);
        assert_eq!(value("bellwether_disk_asleep", ("device", "vda")), None);
    }

    #[test]
    fn without_smartctl_nothing_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("sys/block/sda/device")).unwrap();
        let config = Config { sysfs: folder.path().join("sys").display().to_string(), ..Config::default() };
        let mut smart = Smart::new("/nonexistent/smartctl");
        let mut out = Output::new("hardware");
        smart.collect(&Files::new(&config), &mut out);
        assert!(smart.missing && out.finish().is_empty());
    }
}
