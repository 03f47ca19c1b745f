//! Writes small databases in MaxMind's format, for tests. Source: the MaxMind DB file format specification 2.0.

use std::collections::BTreeMap;
use std::path::Path;

/// A value of the data section.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// UTF-8 text.
    Text(String),
    /// An unsigned number of 16 (type 5), 32 (type 6) or 64 bits (type 9).
    Number(u8, u32),
    /// Pairs.
    Map(BTreeMap<String, Value>),
    /// A list.
    List(Vec<Value>),
}

/// A country record.
pub(crate) fn country(code: &str) -> Value {
    let inner = BTreeMap::from([("iso_code".to_owned(), Value::Text(code.to_owned()))]);
    Value::Map(BTreeMap::from([("country".to_owned(), Value::Map(inner))]))
}

/// A record of an autonomous system.
pub(crate) fn asn(number: u32) -> Value {
    Value::Map(BTreeMap::from([("autonomous_system_number".to_owned(), Value::Number(6, number))]))
}

fn control(kind: u8, size: usize, out: &mut Vec<u8>) {
    let (low, extra) = if size < 29 { (size as u8, None) } else { (29, Some((size - 29) as u8)) };
    if kind > 7 {
        out.push(low);
        out.push(kind - 7);
    } else {
        out.push(kind << 5 | low);
    }
    out.extend(extra);
}

fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Text(text) => {
            control(2, text.len(), out);
            out.extend_from_slice(text.as_bytes());
        }
        Value::Number(kind, number) => {
            let bytes = number.to_be_bytes();
            let short = if *kind == 5 { &bytes[2..] } else { &bytes[..] };
            control(*kind, short.len(), out);
            out.extend_from_slice(short);
        }
        Value::Map(pairs) => {
            control(7, pairs.len(), out);
            for (key, value) in pairs {
                encode(&Value::Text(key.clone()), out);
                encode(value, out);
            }
        }
        Value::List(list) => {
            control(11, list.len(), out);
            list.iter().for_each(|value| encode(value, out));
        }
    }
}

/// Writes a database of networks and their records.
///
/// # Panics
/// When a network cannot be read or the file cannot be written: it is for tests.
pub(crate) fn write(path: &Path, networks: &[(&str, Value)]) {
    // Record: 0 is empty, n > 0 is node n, n < 0 is the data at -n - 1.
    let mut nodes: Vec<[i64; 2]> = vec![[0, 0]];
    let mut data = Vec::new();
    for (network, value) in networks {
        let network: ipnet::IpNet = network.parse().expect("a network");
        let (bits, length) = match network {
            ipnet::IpNet::V4(v4) => (u128::from(u32::from(v4.network())), 96 + u32::from(v4.prefix_len())),
            ipnet::IpNet::V6(v6) => (u128::from(v6.network()), u32::from(v6.prefix_len())),
        };
        let offset = data.len() as i64;
        encode(value, &mut data);
        let mut node = 0;
        for depth in 0..length {
            let bit = (bits >> (127 - depth) & 1) as usize;
            if depth + 1 == length {
                nodes[node][bit] = -offset - 1;
            } else {
                if nodes[node][bit] <= 0 {
                    nodes.push([0, 0]);
                    nodes[node][bit] = nodes.len() as i64 - 1;
                }
                node = nodes[node][bit] as usize;
            }
        }
    }
    let count = nodes.len() as i64;
    let mut out = Vec::new();
    for record in nodes.iter().flatten() {
        let written = match *record {
            0 => count,
            node if node > 0 => node,
            data => count + 16 + (-data - 1),
        };
        out.extend_from_slice(&(written as u32).to_be_bytes()[1..]);
    }
    out.extend_from_slice(&[0; 16]);
    out.extend_from_slice(&data);
    out.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
    let number = |number| Value::Number(5, number);
    let metadata = BTreeMap::from([
        ("node_count".to_owned(), Value::Number(6, count as u32)),
        ("record_size".to_owned(), number(24)),
        ("ip_version".to_owned(), number(6)),
        ("database_type".to_owned(), Value::Text("Test".into())),
        ("languages".to_owned(), Value::List(Vec::new())),
        ("binary_format_major_version".to_owned(), number(2)),
        ("binary_format_minor_version".to_owned(), number(0)),
        ("build_epoch".to_owned(), Value::Number(9, 1)),
        ("description".to_owned(), Value::Map(BTreeMap::new())),
    ]);
    encode(&Value::Map(metadata), &mut out);
    std::fs::write(path, out).expect("the file is written");
}
