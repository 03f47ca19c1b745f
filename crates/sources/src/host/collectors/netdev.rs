//! `netdev`: bytes, packets and errors of network devices, from `/proc/net/dev`.

use model::pattern::Pattern;

use super::super::files::{Files, number};
use super::super::output::Output;
use super::super::{Collector, Error};
use super::excludes;

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

pub(in super::super) struct NetDev {
    exclude: Option<Pattern>,
}

impl NetDev {
    pub(in super::super) fn new(exclude: Option<Pattern>) -> Self {
        Self { exclude }
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
            if excludes(self.exclude.as_ref(), device) {
                continue;
            }
            for (field, word) in FIELDS.iter().zip(rest.split_ascii_whitespace()) {
                let help = format!("Network device statistic {field}.");
                out.counter(
                    &format!("node_network_{field}_total"),
                    &help,
                    &[("device", device)],
                    number("net/dev", word)?,
                );
            }
            if let Some(count) = files.sys_number(&format!("class/net/{device}/statistics/rx_nohandler")) {
                let help = "Network device statistic receive_nohandler.";
                out.counter("node_network_receive_nohandler_total", help, &[("device", device)], count);
            }
        }
        Ok(())
    }
}
