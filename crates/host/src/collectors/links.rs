//! `bonding`, `infiniband`, `fibrechannel`, `tapestats`: links below and beside Ethernet, and tape drives.

use crate::files::Files;
use crate::output::Output;
use crate::{Collector, Error};

pub(crate) struct Bonding;

impl Collector for Bonding {
    fn name(&self) -> &'static str {
        "bonding"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        let masters = files.sys("class/net/bonding_masters")?;
        for master in masters.split_ascii_whitespace() {
            let slaves = files.sys(&format!("class/net/{master}/bonding/slaves")).unwrap_or_default();
            let (mut all, mut up) = (0u32, 0u32);
            for slave in slaves.split_ascii_whitespace() {
                all += 1;
                // Kernels before 3.13 have it elsewhere.
                let status = ["bonding_slave/mii_status", "lower_mii_status", "operstate"]
                    .iter()
                    .find_map(|file| files.sys(&format!("class/net/{slave}/{file}")).ok());
                up += u32::from(status.as_deref() == Some("up"));
            }
            let label = [("master", master)];
            let help = "Interfaces that a bond is made of.";
            out.gauge("node_bonding_slaves", help, &label, f64::from(all));
            let help = "Interfaces of a bond that have a link.";
            out.gauge("node_bonding_active", help, &label, f64::from(up));
        }
        Ok(())
    }
}

pub(crate) struct InfiniBand;

/// File below `counters`, metric and factor: data is counted in words of four bytes.
const IB_COUNTERS: [(&str, &str, f64); 26] = [
    ("excessive_buffer_overrun_errors", "excessive_buffer_overrun_errors_total", 1.0),
    ("link_downed", "link_downed_total", 1.0),
    ("link_error_recovery", "link_error_recovery_total", 1.0),
    ("local_link_integrity_errors", "local_link_integrity_errors_total", 1.0),
    ("multicast_rcv_packets", "multicast_packets_received_total", 1.0),
    ("multicast_xmit_packets", "multicast_packets_transmitted_total", 1.0),
    ("port_rcv_constraint_errors", "port_constraint_errors_received_total", 1.0),
    ("port_rcv_data", "port_data_received_bytes_total", 4.0),
    ("port_rcv_discards", "port_discards_received_total", 1.0),
    ("port_rcv_errors", "port_errors_received_total", 1.0),
    ("port_rcv_packets", "port_packets_received_total", 1.0),
    ("port_rcv_remote_physical_errors", "port_receive_remote_physical_errors_total", 1.0),
    ("port_rcv_switch_relay_errors", "port_receive_switch_relay_errors_total", 1.0),
    ("port_xmit_constraint_errors", "port_constraint_errors_transmitted_total", 1.0),
    ("port_xmit_data", "port_data_transmitted_bytes_total", 4.0),
    ("port_xmit_discards", "port_discards_transmitted_total", 1.0),
    ("port_xmit_packets", "port_packets_transmitted_total", 1.0),
    ("port_xmit_wait", "port_transmit_wait_total", 1.0),
    ("symbol_error", "symbol_error_total", 1.0),
    ("unicast_rcv_packets", "unicast_packets_received_total", 1.0),
    ("unicast_xmit_packets", "unicast_packets_transmitted_total", 1.0),
    ("VL15_dropped", "vl15_dropped_total", 1.0),
    ("legacy_port_rcv_data_64", "legacy_data_received_bytes_total", 4.0),
    ("legacy_port_xmit_data_64", "legacy_data_transmitted_bytes_total", 4.0),
    ("legacy_port_rcv_packets_64", "legacy_packets_received_total", 1.0),
    ("legacy_port_xmit_packets_64", "legacy_packets_transmitted_total", 1.0),
];

impl Collector for InfiniBand {
    fn name(&self) -> &'static str {
        "infiniband"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        for device in files.sys_list("class/infiniband")? {
            let folder = format!("class/infiniband/{device}");
            let text = |file: &str| files.sys(&format!("{folder}/{file}")).unwrap_or_default();
            let (board, firmware, kind) = (text("board_id"), text("fw_ver"), text("hca_type"));
            let info = [
                ("board_id", board.as_str()),
                ("device", &device),
                ("firmware_version", &firmware),
                ("hca_type", &kind),
            ];
            let help = "Always 1; the labels describe an InfiniBand adapter.";
            out.gauge("node_infiniband_info", help, &info, 1.0);
            for port in files.sys_list(&format!("{folder}/ports"))? {
                let labels = [("device", device.as_str()), ("port", &port)];
                // `4: ACTIVE`
                for (file, metric, help) in [
                    ("state", "state_id", "State of a port: 1 down, 2 initialising, 3 armed, 4 active."),
                    ("phys_state", "physical_state_id", "State of a port's link: 3 disabled, 5 up, …"),
                ] {
                    let text = text(&format!("ports/{port}/{file}"));
                    if let Some(id) = text.split(':').next().and_then(|id| id.trim().parse().ok()) {
                        out.gauge(&format!("node_infiniband_{metric}"), help, &labels, id);
                    }
                }
                // `40 Gb/sec (4X QDR)`
                let rate = text(&format!("ports/{port}/rate"));
                if let Some(gigabits) = rate.split(' ').next().and_then(|rate| rate.parse::<f64>().ok()) {
                    let help = "Speed of a port.";
                    out.gauge("node_infiniband_rate_bytes_per_second", help, &labels, gigabits * 1e9 / 8.0);
                }
                for (file, metric, factor) in IB_COUNTERS {
                    if let Some(count) = files.sys_number(&format!("{folder}/ports/{port}/counters/{file}")) {
                        let help = format!("Counter {file} of an InfiniBand port.");
                        out.counter(&format!("node_infiniband_{metric}"), &help, &labels, count * factor);
                    }
                }
            }
        }
        Ok(())
    }
}

pub(crate) struct FibreChannel;

const FC_COUNTERS: [(&str, &str); 15] = [
    ("dumped_frames", "dumped_frames_total"),
    ("error_frames", "error_frames_total"),
    ("fcp_packet_aborts", "fcp_packet_aborts_total"),
    ("invalid_crc_count", "invalid_crc_total"),
    ("invalid_tx_word_count", "invalid_tx_words_total"),
    ("link_failure_count", "link_failure_total"),
    ("loss_of_signal_count", "loss_of_signal_total"),
    ("loss_of_sync_count", "loss_of_sync_total"),
    ("nos_count", "nos_total"),
    ("rx_frames", "rx_frames_total"),
    ("rx_words", "rx_words_total"),
    ("seconds_since_last_reset", "seconds_since_last_reset_total"),
    ("tx_frames", "tx_frames_total"),
    ("tx_words", "tx_words_total"),
    ("prim_seq_protocol_err_count", "primitive_sequence_protocol_errors_total"),
];

const FC_INFO: [(&str, bool); 11] = [
    ("dev_loss_tmo", false),
    ("fabric_name", true),
    ("node_name", true),
    ("port_id", true),
    ("port_name", true),
    ("port_state", false),
    ("port_type", false),
    ("speed", false),
    ("supported_classes", false),
    ("supported_speeds", false),
    ("symbolic_name", false),
];

impl Collector for FibreChannel {
    fn name(&self) -> &'static str {
        "fibrechannel"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        for host in files.sys_list("class/fc_host")? {
            let folder = format!("class/fc_host/{host}");
            let values = FC_INFO.map(|(file, hex)| {
                let text = files.sys(&format!("{folder}/{file}")).unwrap_or_default();
                if hex { text.trim_start_matches("0x").to_owned() } else { text }
            });
            let mut labels: Vec<(&str, &str)> = FC_INFO
                .iter()
                .zip(&values)
                // What node_exporter shows too.
                .filter(|((name, _), _)| *name != "node_name")
                .map(|((name, _), text)| (*name, text.as_str()))
                .collect();
            labels.push(("fc_host", &host));
            let help = "Always 1; the labels describe a Fibre Channel port.";
            out.gauge("node_fibrechannel_info", help, &labels, 1.0);
            for (file, metric) in FC_COUNTERS {
                let Ok(text) = files.sys(&format!("{folder}/statistics/{file}")) else { continue };
                // All ones: the adapter does not count this.
                match u64::from_str_radix(text.trim_start_matches("0x"), 16) {
                    Ok(count) if count != u64::MAX => {
                        let help = format!("Counter {file} of a Fibre Channel port.");
                        let label = [("fc_host", host.as_str())];
                        out.counter(&format!("node_fibrechannel_{metric}"), &help, &label, count as f64);
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

pub(crate) struct TapeStats;

/// File, metric, whether it is a counter, factor.
const TAPE: [(&str, &str, bool, f64); 10] = [
    ("in_flight", "io_now", false, 1.0),
    ("io_ns", "io_time_seconds_total", true, 1e-9),
    ("other_cnt", "io_others_total", true, 1.0),
    ("read_byte_cnt", "read_bytes_total", true, 1.0),
    ("read_cnt", "reads_completed_total", true, 1.0),
    ("read_ns", "read_time_seconds_total", true, 1e-9),
    ("resid_cnt", "residual_total", true, 1.0),
    ("write_byte_cnt", "written_bytes_total", true, 1.0),
    ("write_cnt", "writes_completed_total", true, 1.0),
    ("write_ns", "write_time_seconds_total", true, 1e-9),
];

impl Collector for TapeStats {
    fn name(&self) -> &'static str {
        "tapestats"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        for device in files.sys_list("class/scsi_tape")? {
            // `st0a`, `nst0` are other names of `st0`.
            let is_drive = device
                .strip_prefix("st")
                .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()));
            if !is_drive {
                continue;
            }
            for (file, metric, counts, factor) in TAPE {
                let Some(value) = files.sys_number(&format!("class/scsi_tape/{device}/stats/{file}")) else {
                    continue;
                };
                let help = format!("Counter {file} of a tape drive.");
                let kind = if counts { model::MetricType::Counter } else { model::MetricType::Gauge };
                let label = [("device", device.as_str())];
                out.add(&format!("node_tape_{metric}"), kind, &help, &label, value * factor);
            }
        }
        Ok(())
    }
}
