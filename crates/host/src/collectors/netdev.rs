//! `netdev`: bytes, packets and errors of network devices, from `/proc/net/dev`.

use crate::files::{Files, number};
use crate::filter::Filter;
use crate::output::Output;
use crate::{Collector, Error};

const FIELDS: [&str; 16] = [
    "receive_bytes",
    "receive_packets",
    "receive_errs",
    "receive_drop",
    "receive_fifo",
    "receive_frame",
    "receive_compressed",
    "receive_multicast",
    "transmit_bytes",
    "transmit_packets",
    "transmit_errs",
    "transmit_drop",
    "transmit_fifo",
    "transmit_colls",
    "transmit_carrier",
    "transmit_compressed",
];

pub(crate) struct NetDev {
    devices: Filter,
}

impl NetDev {
    pub(crate) fn new(devices: Filter) -> Self {
        Self { devices }
    }
}

impl Collector for NetDev {
    fn name(&self) -> &'static str {
        "netdev"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        for line in files.proc("net/dev")?.lines() {
            // The two heading lines have no colon.
            let Some((device, rest)) = line.rsplit_once(':') else { continue };
            let device = device.trim();
            if !self.devices.keeps(device) {
                continue;
            }
            for (field, word) in FIELDS.iter().zip(rest.split_ascii_whitespace()) {
                let help = format!("Counter {field} of a network device.");
                out.counter(
                    &format!("node_network_{field}_total"),
                    &help,
                    &[("device", device)],
                    number("net/dev", word)?,
                );
            }
            if let Some(count) = files.sys_number(&format!("class/net/{device}/statistics/rx_nohandler")) {
                let help = "Packets that nobody on the host wanted.";
                out.counter("node_network_receive_nohandler_total", help, &[("device", device)], count);
            }
        }
        Ok(())
    }
}
