//! collectd's binary network protocol.
//!
//! A value list of plugin `cpu`, type `cpu` becomes `collectd_cpu` (`collectd_cpu_total` when it only rises); the plugin's instance is a label named after the plugin,
//! the type's instance the label `type`, the host the label `instance`. That is how collectd's own Prometheus output names them. Types with
//! several values get the value's name as a suffix. Signed packets are read without checking the signature, encrypted ones are refused.
//! Source: the collectd wiki, "Binary protocol"; `types.db(5)`.

use model::Batch;
use model::labels::METRIC_NAME;

use crate::gather::{Gather, Refused, label_name, metric_name};

/// Names of values of the types that have several, from collectd's `types.db`.
const SOURCES: &[(&str, &[&str])] = &[
    ("load", &["shortterm", "midterm", "longterm"]),
    ("if_octets", &["rx", "tx"]),
    ("if_packets", &["rx", "tx"]),
    ("if_errors", &["rx", "tx"]),
    ("if_dropped", &["rx", "tx"]),
    ("io_octets", &["rx", "tx"]),
    ("io_packets", &["rx", "tx"]),
    ("io_ops", &["read", "write"]),
    ("disk_octets", &["read", "write"]),
    ("disk_ops", &["read", "write"]),
    ("disk_time", &["read", "write"]),
    ("disk_merged", &["read", "write"]),
    ("disk_io_time", &["io_time", "weighted_io_time"]),
    ("df", &["used", "free"]),
    ("ps_count", &["processes", "threads"]),
    ("ps_cputime", &["user", "syst"]),
    ("ps_disk_octets", &["read", "write"]),
    ("ps_disk_ops", &["read", "write"]),
    ("ps_pagefaults", &["minflt", "majflt"]),
    ("ps_state", &["running", "sleeping", "zombies", "stopped", "paging", "blocked"]),
    ("vmpage_faults", &["minflt", "majflt"]),
    ("vmpage_io", &["in", "out"]),
    ("vmpage_number", &["value"]),
    ("dns_octets", &["queries", "responses"]),
    ("mysql_octets", &["rx", "tx"]),
    ("node_octets", &["rx", "tx"]),
    ("serial_octets", &["rx", "tx"]),
    ("swap", &["used", "free"]),
    ("compression", &["uncompressed", "compressed"]),
    ("memcached_octets", &["rx", "tx"]),
];

/// What a packet says before its values; it holds until it is said anew.
#[derive(Clone, Copy, Debug, Default)]
struct Context<'a> {
    host: &'a str,
    plugin: &'a str,
    plugin_instance: &'a str,
    kind: &'a str,
    kind_instance: &'a str,
    /// Milliseconds, 0 for none.
    time: i64,
}

/// Decodes one packet into `batch`, to which it adds. `now`: the time of values without one, in milliseconds.
///
/// # Errors
/// In words: the packet is damaged or encrypted. Values before the damage have been added.
pub fn decode(packet: &[u8], now: i64, gather: &mut Gather, batch: &mut Batch) -> Result<Refused, String> {
    let mut refused = Refused::default();
    let mut context = Context::default();
    let mut rest = packet;
    while !rest.is_empty() {
        let Some((head, _)) = rest.split_first_chunk::<4>() else {
            return Err("the packet ends within a part's header".into());
        };
        let kind = u16::from_be_bytes([head[0], head[1]]);
        let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        if len < 4 || len > rest.len() {
            return Err(format!("a part of type {kind:#06x} claims {len} bytes of {}", rest.len()));
        }
        let body = &rest[4..len];
        rest = &rest[len..];
        match kind {
            0x0000 => context.host = text(body)?,
            0x0002 => {
                (context.plugin, context.plugin_instance) = (text(body)?, "");
                (context.kind, context.kind_instance) = ("", "");
            }
            0x0003 => context.plugin_instance = text(body)?,
            0x0004 => (context.kind, context.kind_instance) = (text(body)?, ""),
            0x0005 => context.kind_instance = text(body)?,
            0x0001 => context.time = number(body)?.saturating_mul(1000).min(i64::MAX as u64) as i64,
            // Units of 2^-30 s.
            0x0008 => context.time = ((u128::from(number(body)?) * 1000) >> 30) as i64,
            0x0006 => values(&context, body, now, gather, batch, &mut refused)?,
            0x0100 => refused.ignored += 1,
            0x0210 => return Err("the packet is encrypted; set SecurityLevel to Sign or None".into()),
            // The interval, the severity of a notification, the signature, and what later versions add.
            _ => {}
        }
    }
    Ok(refused)
}

fn text(body: &[u8]) -> Result<&str, String> {
    let body = body.strip_suffix(&[0]).ok_or("a text in the packet is not terminated")?;
    std::str::from_utf8(body).map_err(|_| "a text in the packet is not UTF-8".into())
}

fn number(body: &[u8]) -> Result<u64, String> {
    let bytes: [u8; 8] = body.try_into().map_err(|_| "a number in the packet has no 8 bytes")?;
    Ok(u64::from_be_bytes(bytes))
}

fn values(
    context: &Context<'_>,
    body: &[u8],
    now: i64,
    gather: &mut Gather,
    batch: &mut Batch,
    refused: &mut Refused,
) -> Result<(), String> {
    let count = body.first_chunk::<2>().map_or(0, |b| usize::from(u16::from_be_bytes(*b)));
    if body.len() != 2 + count * 9 {
        return Err(format!("a part with {count} values has {} bytes", body.len()));
    }
    let (kinds, numbers) = body[2..].split_at(count);
    let (numbers, _) = numbers.as_chunks::<8>();
    if context.plugin.is_empty() || context.kind.is_empty() {
        refused.refuse(count, || "values came before their plugin or type".into());
        return Ok(());
    }
    let sources = SOURCES.iter().find(|(kind, names)| *kind == context.kind && names.len() == count);
    for (i, (kind, bytes)) in kinds.iter().zip(numbers).enumerate() {
        let (value, rises) = match kind {
            0 => (u64::from_be_bytes(*bytes) as f64, true),
            1 => (f64::from_le_bytes(*bytes), false),
            2 => (i64::from_be_bytes(*bytes) as f64, true),
            3 => (u64::from_be_bytes(*bytes) as f64, false),
            other => {
                refused.refuse(1, || format!("a value of {:?} has the unknown kind {other}", context.kind));
                continue;
            }
        };
        let mut name = String::from("collectd_");
        if context.plugin == context.kind {
            metric_name(&mut name, context.plugin);
        } else {
            metric_name(&mut name, context.plugin);
            name.push('_');
            metric_name(&mut name, context.kind);
        }
        match sources {
            Some((_, names)) if names[i] != "value" => {
                name.push('_');
                name.push_str(names[i]);
            }
            // A type of several values that we do not know.
            None if count > 1 => name.push_str(&format!("_{i}")),
            _ => {}
        }
        if rises {
            name.push_str("_total");
        }
        let mut plugin = String::new();
        label_name(&mut plugin, context.plugin);
        let mut pairs = vec![(METRIC_NAME, name.as_str()), ("instance", context.host)];
        // A plugin named like another label keeps that name free.
        let label = if ["instance", "type"].contains(&plugin.as_str()) { "plugin_instance" } else { &plugin };
        pairs.push((label, context.plugin_instance));
        pairs.push(("type", context.kind_instance));
        match gather.series(&mut pairs, batch) {
            Ok(series) => {
                let time = if context.time == 0 { now } else { context.time };
                gather.float(batch, series, time, value);
            }
            Err(reason) => refused.refuse(1, || reason),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::show;
    use proptest::prelude::*;

    fn part(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut out = kind.to_be_bytes().to_vec();
        out.extend_from_slice(&(body.len() as u16 + 4).to_be_bytes());
        out.extend_from_slice(body);
        out
    }

    fn read(packet: &[u8]) -> Result<(Vec<String>, Refused), String> {
        let (mut gather, mut batch) = (Gather::new(1), Batch::new());
        gather.begin(&mut batch);
        let refused = decode(packet, 9, &mut gather, &mut batch)?;
        gather.finish(&mut batch);
        Ok((show(&batch), refused))
    }

    #[test]
    fn value_lists_become_series() {
        let mut load = vec![0, 3, 1, 1, 1];
        [0.5f64, 0.25, 0.125].iter().for_each(|v| load.extend_from_slice(&v.to_le_bytes()));
        let mut cpu = vec![0, 1, 2];
        cpu.extend_from_slice(&42i64.to_be_bytes());
        let packet = [
            part(0, b"web1\0"),
            part(8, &(1_700_000_000u64 << 30).to_be_bytes()),
            part(2, b"load\0"),
            part(4, b"load\0"),
            part(6, &load),
            part(2, b"cpu\0"),
            part(3, b"0\0"),
            part(4, b"cpu\0"),
            part(5, b"idle\0"),
            part(6, &cpu),
            part(2, b"df\0"),
            part(3, b"root\0"),
            part(4, b"df_complex\0"),
            part(5, b"free\0"),
            part(6, &[&[0, 1, 1][..], &7f64.to_le_bytes()].concat()),
            part(0x100, b"a notification\0"),
        ]
        .concat();
        let (shown, refused) = read(&packet).unwrap();
        assert_eq!(
            shown,
            [
                "collectd_load_shortterm{instance=\"web1\"} 0.5@1700000000000",
                "collectd_load_midterm{instance=\"web1\"} 0.25@1700000000000",
                "collectd_load_longterm{instance=\"web1\"} 0.125@1700000000000",
                "collectd_cpu_total{cpu=\"0\", instance=\"web1\", type=\"idle\"} 42@1700000000000",
                "collectd_df_df_complex{df=\"root\", instance=\"web1\", type=\"free\"} 7@1700000000000",
            ]
        );
        assert_eq!(refused, Refused { ignored: 1, ..Refused::default() });
    }

    #[test]
    fn damage_and_encryption_are_named() {
        assert!(read(&part(0x210, &[0; 40])).unwrap_err().contains("encrypted"));
        assert!(read(&[0, 0, 0]).is_err() && read(&[0, 0, 0, 200]).is_err() && read(&part(0, b"a")).is_err());
        assert!(read(&part(6, &[0, 9])).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(packet in proptest::collection::vec(any::<u8>(), 0..200)) {
            read(&packet).ok();
        }
    }
}
