//! `sockstat`, `softnet`, `udp_queues`, `arp`: sockets and the queues between them and the wire.

use std::collections::BTreeMap;

use crate::files::{Files, number};
use crate::filter::Filter;
use crate::output::Output;
use crate::{Collector, Error};

pub(crate) struct SockStat;

impl Collector for SockStat {
    fn name(&self) -> &'static str {
        "sockstat"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        let page = rustix::param::page_size() as f64;
        for file in ["net/sockstat", "net/sockstat6"] {
            let text = match files.proc(file) {
                // IPv6 may be switched off.
                Err(Error::Absent(_)) if file.ends_with('6') => continue,
                other => other?,
            };
            for line in text.lines() {
                let Some((protocol, rest)) = line.split_once(':') else { continue };
                let words: Vec<&str> = rest.split_ascii_whitespace().collect();
                for pair in words.chunks_exact(2) {
                    let value = number(file, pair[1])?;
                    if protocol == "sockets" {
                        out.gauge("node_sockstat_sockets_used", "Sockets in use.", &[], value);
                        continue;
                    }
                    let mut add = |key: &str, value: f64| {
                        let name = format!("node_sockstat_{protocol}_{key}");
                        let state = format!("Sockets of {protocol}: {key}.");
                        out.gauge(&name, &state, &[], value);
                    };
                    add(pair[0], value);
                    if pair[0] == "mem" {
                        // The kernel counts pages.
                        add("mem_bytes", value * page);
                    }
                }
            }
        }
        Ok(())
    }
}

pub(crate) struct SoftNet;

/// Column and metric of `/proc/net/softnet_stat`. Source: the kernel's net/core/net-procfs.c.
const SOFTNET: [(usize, &str, &str); 6] = [
    (0, "processed_total", "Packets that a processor has handled."),
    (1, "dropped_total", "Packets dropped because a processor's queue was full."),
    (2, "times_squeezed_total", "Times that a processor ran out of time with packets left."),
    (8, "cpu_collision_total", "Times that two processors wanted to send on one device."),
    (9, "received_rps_total", "Times that a processor was woken to take packets from another."),
    (10, "flow_limit_count_total", "Packets dropped because one flow had too many."),
];

impl Collector for SoftNet {
    fn name(&self) -> &'static str {
        "softnet"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        const FILE: &str = "net/softnet_stat";
        for (line_number, line) in files.proc(FILE)?.lines().enumerate() {
            let parse = |word: &str| {
                u32::from_str_radix(word, 16)
                    .map_err(|_| Error::Parse { path: FILE.to_owned(), text: word.to_owned() })
            };
            let words: Vec<u32> = line.split_ascii_whitespace().map(parse).collect::<Result<_, _>>()?;
            // Newer kernels name the processor; with older ones it is the line.
            let cpu = words.get(12).map_or(line_number.to_string(), u32::to_string);
            let label = [("cpu", cpu.as_str())];
            for (column, metric, help) in SOFTNET {
                if let Some(&count) = words.get(column) {
                    out.counter(&format!("node_softnet_{metric}"), help, &label, f64::from(count));
                }
            }
            if let Some(&length) = words.get(11) {
                out.gauge(
                    "node_softnet_backlog_len",
                    "Packets waiting for a processor.",
                    &label,
                    f64::from(length),
                );
            }
        }
        Ok(())
    }
}

pub(crate) struct UdpQueues;

impl Collector for UdpQueues {
    fn name(&self) -> &'static str {
        "udp_queues"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        let mut found = false;
        for (file, ip) in [("net/udp", "v4"), ("net/udp6", "v6")] {
            let text = match files.proc(file) {
                Err(Error::Absent(_)) => continue,
                other => other?,
            };
            found = true;
            let (mut sent, mut received) = (0u64, 0u64);
            for line in text.lines().skip(1) {
                // sl local remote st tx_queue:rx_queue …
                let Some((tx, rx)) =
                    line.split_ascii_whitespace().nth(4).and_then(|word| word.split_once(':'))
                else {
                    continue;
                };
                let hex = |word| {
                    u64::from_str_radix(word, 16)
                        .map_err(|_| Error::Parse { path: file.to_owned(), text: line.to_owned() })
                };
                sent += hex(tx)?;
                received += hex(rx)?;
            }
            let help = "Memory that waiting UDP datagrams use.";
            for (queue, bytes) in [("tx", sent), ("rx", received)] {
                out.gauge("node_udp_queues", help, &[("ip", ip), ("queue", queue)], bytes as f64);
            }
        }
        if found { Ok(()) } else { Err(Error::Absent("UDP socket tables".into())) }
    }
}

pub(crate) struct Arp {
    pub(crate) devices: Filter,
}

impl Collector for Arp {
    fn name(&self) -> &'static str {
        "arp"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        let mut devices: BTreeMap<String, u32> = BTreeMap::new();
        for line in files.proc("net/arp")?.lines().skip(1) {
            if let Some(device) =
                line.split_ascii_whitespace().last().filter(|device| self.devices.keeps(device))
            {
                *devices.entry(device.to_owned()).or_default() += 1;
            }
        }
        for (device, count) in devices {
            out.gauge(
                "node_arp_entries",
                "Neighbours known by their address, by network device.",
                &[("device", &device)],
                f64::from(count),
            );
        }
        Ok(())
    }
}
