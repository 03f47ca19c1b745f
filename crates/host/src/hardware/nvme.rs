//! The health log of NVMe disks, asked of the disk itself. Sources: NVM Express Base Specification, "SMART / Health Information";
//! the kernel's include/uapi/linux/nvme_ioctl.h. Needs root.

use std::os::fd::{AsRawFd, OwnedFd};

use model::MetricType::{Counter, Gauge};
use rustix::fs::{Mode, OFlags};

use crate::files::Files;
use crate::output::Output;

/// `_IOWR('N', 0x41, struct nvme_admin_cmd)`.
const NVME_IOCTL_ADMIN_CMD: u64 = 0xC048_4E41;
const GET_LOG_PAGE: u8 = 0x02;
const HEALTH_LOG: u32 = 0x02;
const LOG_BYTES: usize = 512;
const TIMEOUT_MS: u32 = 2_000;
/// A data unit is a thousand blocks of 512 bytes.
const DATA_UNIT: f64 = 512_000.0;

/// The command as the kernel takes it.
#[repr(C)]
#[derive(Default)]
struct AdminCommand {
    opcode: u8,
    flags: u8,
    reserved: u16,
    namespace: u32,
    words_2_3: [u32; 2],
    metadata: u64,
    address: u64,
    metadata_length: u32,
    data_length: u32,
    words_10_15: [u32; 6],
    timeout_ms: u32,
    result: u32,
}

/// Adds the health of every NVMe controller.
pub(super) fn collect(files: &Files, out: &mut Output) {
    for device in files.sys_list("class/nvme").unwrap_or_default() {
        let path = super::device_path(files, &device);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(file) => match read(&file) {
                Ok(log) => report(&device, &log, out),
                Err(err) => tracing::debug!(%device, error = %err, "an NVMe disk does not tell its health"),
            },
            Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => out.deny("health of NVMe disks"),
            Err(err) => tracing::debug!(%device, error = %err, "an NVMe disk cannot be opened"),
        }
    }
}

#[expect(unsafe_code, reason = "the command is an ioctl that no safe wrapper has")]
fn read(file: &OwnedFd) -> std::io::Result<[u8; LOG_BYTES]> {
    let mut log = [0u8; LOG_BYTES];
    let mut command = AdminCommand {
        opcode: GET_LOG_PAGE,
        namespace: u32::MAX,
        address: log.as_mut_ptr() as u64,
        data_length: LOG_BYTES as u32,
        timeout_ms: TIMEOUT_MS,
        ..AdminCommand::default()
    };
    // Number of 32-bit words less one, and which log.
    command.words_10_15[0] = ((LOG_BYTES as u32 / 4 - 1) << 16) | HEALTH_LOG;
    // SAFETY: the struct has the kernel's layout (72 bytes, checked by a test); `address` and `data_length` are those of `log`, which
    // outlives the call; the command only reads from the disk.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), NVME_IOCTL_ADMIN_CMD as _, &raw mut command) };
    match result {
        0 => Ok(log),
        result if result < 0 => Err(std::io::Error::last_os_error()),
        status => Err(std::io::Error::other(format!("the disk answers with status {status:#x}"))),
    }
}

fn report(device: &str, log: &[u8; LOG_BYTES], out: &mut Output) {
    // 128-bit numbers; the upper half is never reached.
    let long = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&log[at..at + 8]);
        u64::from_le_bytes(bytes) as f64
    };
    let kelvin = f64::from(u16::from_le_bytes([log[1], log[2]]));
    let label = [("device", device)];
    let rows = [
        (
            "smartctl_device_smart_status",
            Gauge,
            "1 while a disk calls itself well.",
            f64::from(u8::from(log[0] == 0)),
        ),
        (
            "smartctl_device_critical_warning",
            Gauge,
            "Bits of what a disk warns of; 0 is good.",
            f64::from(log[0]),
        ),
        (
            "smartctl_device_available_spare",
            Gauge,
            "Spare blocks that are left, in percent.",
            f64::from(log[3]),
        ),
        (
            "smartctl_device_available_spare_threshold",
            Gauge,
            "Percent of spare blocks below which a disk is worn.",
            f64::from(log[4]),
        ),
        (
            "smartctl_device_percentage_used",
            Gauge,
            "Percent of a disk's life that is used up; may pass 100.",
            f64::from(log[5]),
        ),
        ("smartctl_device_bytes_read", Counter, "Bytes read in a disk's life.", long(32) * DATA_UNIT),
        ("smartctl_device_bytes_written", Counter, "Bytes written in a disk's life.", long(48) * DATA_UNIT),
        ("smartctl_device_power_cycle_count", Counter, "Times that a disk was switched on.", long(112)),
        ("smartctl_device_power_on_seconds", Counter, "Time that a disk has been on.", long(128) * 3600.0),
        (
            "smartctl_device_unsafe_shutdowns",
            Counter,
            "Times that a disk lost power without warning.",
            long(144),
        ),
        (
            "smartctl_device_media_errors",
            Counter,
            "Times that a disk could not read what it had written.",
            long(160),
        ),
        ("smartctl_device_num_err_log_entries", Counter, "Entries of a disk's error log.", long(176)),
    ];
    for (name, kind, help, value) in rows {
        out.add(name, kind, help, &label, value);
    }
    if kelvin > 0.0 {
        let labels = [("device", device), ("temperature_type", "current")];
        out.gauge("smartctl_device_temperature", "Temperature of a disk in °C.", &labels, kelvin - 273.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_has_the_kernels_layout() {
        assert_eq!(size_of::<AdminCommand>(), 72);
        assert_eq!(std::mem::offset_of!(AdminCommand, address), 24);
        assert_eq!(std::mem::offset_of!(AdminCommand, words_10_15), 40);
    }

    #[test]
    fn the_log_is_read() {
        let mut log = [0u8; LOG_BYTES];
        log[1..3].copy_from_slice(&323u16.to_le_bytes());
        (log[3], log[4], log[5]) = (100, 10, 7);
        log[160] = 2;
        log[48] = 3;
        let mut out = Output::new("hardware");
        report("nvme0", &log, &mut out);
        let families = out.finish();
        let value = |name: &str| families.iter().find(|family| family.name == name).unwrap().samples[0].1;
        assert_eq!(value("smartctl_device_temperature"), 50.0);
        assert_eq!(
            (value("smartctl_device_media_errors"), value("smartctl_device_percentage_used")),
            (2.0, 7.0)
        );
        assert_eq!(value("smartctl_device_bytes_written"), 1_536_000.0);
        assert_eq!(value("smartctl_device_smart_status"), 1.0);
    }
}
