//! `netstat`: counters of the network protocols, from `/proc/net/{netstat,snmp,snmp6}`.

use crate::files::{Files, number};
use crate::filter::Filter;
use crate::output::Output;
use crate::{Collector, Error};

pub(crate) struct NetStat {
    fields: Filter,
}

impl NetStat {
    pub(crate) fn new(fields: Filter) -> Self {
        Self { fields }
    }

    fn add(&self, out: &mut Output, key: &str, value: f64) {
        if self.fields.keeps(key) {
            let name = format!("node_netstat_{key}");
            let help = format!("Protocol counter {}.", key.replace('_', ""));
            out.untyped(&name, &help, &[], value);
        }
    }

    /// Pairs of lines: `Tcp: names…`, `Tcp: values…`.
    fn pairs(&self, out: &mut Output, file: &str, text: &str) -> Result<(), Error> {
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.chunks_exact(2) {
            let split = |line| str::split_once(line, ':');
            let (Some((protocol, names)), Some((again, values))) = (split(pair[0]), split(pair[1])) else {
                return Err(Error::Parse { path: file.to_owned(), text: pair[0].to_owned() });
            };
            if protocol != again {
                return Err(Error::Parse { path: file.to_owned(), text: again.to_owned() });
            }
            for (name, value) in names.split_ascii_whitespace().zip(values.split_ascii_whitespace()) {
                self.add(out, &format!("{protocol}_{name}"), number(file, value)?);
            }
        }
        Ok(())
    }
}

impl Collector for NetStat {
    fn name(&self) -> &'static str {
        "netstat"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        for file in ["net/netstat", "net/snmp"] {
            self.pairs(out, file, &files.proc(file)?)?;
        }
        // Absent where IPv6 is switched off.
        match files.proc("net/snmp6") {
            Err(Error::Absent(_)) => Ok(()),
            Err(err) => Err(err),
            Ok(text) => {
                for line in text.lines() {
                    let mut words = line.split_ascii_whitespace();
                    let (Some(key), Some(value)) = (words.next(), words.next()) else { continue };
                    // Ip6InOctets → Ip6_InOctets
                    if let Some(at) = key.find('6') {
                        let (protocol, name) = key.split_at(at + 1);
                        self.add(out, &format!("{protocol}_{name}"), number("net/snmp6", value)?);
                    }
                }
                Ok(())
            }
        }
    }
}
