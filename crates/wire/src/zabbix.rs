//! What `zabbix_sender` sends: `ZBXD`, flags, lengths, and a JSON request with values by host and item key.
//!
//! A key `name[a,b]` becomes the metric `name` with the labels `param1`, `param2`; the host is the label `host`. Values that are no numbers are
//! refused one by one. Sources: the Zabbix manual, "Header and data length" and "Zabbix sender protocol".

use model::Batch;
use model::labels::METRIC_NAME;
use serde_json::Value;

use crate::compress::{self, Encoding};
use crate::gather::{Gather, Refused, metric_name};
use crate::number;

/// Bytes of a header with 32-bit lengths.
pub const HEADER_BYTES: usize = 13;
/// Bytes of a header with 64-bit lengths.
pub const LARGE_HEADER_BYTES: usize = 21;

/// A header, understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the header itself.
    pub header_bytes: usize,
    /// Bytes after it.
    pub body_bytes: u64,
    /// Whether they are compressed (zlib).
    pub compressed: bool,
}

/// Reads the start of a message; `None` when more bytes are needed.
///
/// # Errors
/// In words: it is no Zabbix message.
pub fn header(bytes: &[u8]) -> Result<Option<Header>, String> {
    let start = &bytes[..bytes.len().min(4)];
    if !b"ZBXD".starts_with(start) {
        return Err("the message does not start with ZBXD".into());
    }
    let Some(flags) = bytes.get(4) else { return Ok(None) };
    if flags & 1 == 0 || flags & !7 != 0 {
        return Err(format!("the message has the unknown flags {flags:#04x}"));
    }
    let compressed = flags & 2 != 0;
    if flags & 4 == 0 {
        let len = bytes.get(5..9).and_then(|b| b.first_chunk::<4>());
        return Ok(len.map(|len| Header {
            header_bytes: HEADER_BYTES,
            body_bytes: u64::from(u32::from_le_bytes(*len)),
            compressed,
        }));
    }
    let len = bytes.get(5..13).and_then(|b| b.first_chunk::<8>());
    Ok(len.map(|len| Header {
        header_bytes: LARGE_HEADER_BYTES,
        body_bytes: u64::from_le_bytes(*len),
        compressed,
    }))
}

/// Decompresses a body when its header says so.
///
/// # Errors
/// In words: it is not zlib, or larger than `limit` bytes.
pub fn body(header: Header, bytes: Vec<u8>, limit: usize) -> Result<Vec<u8>, String> {
    if !header.compressed {
        return Ok(bytes);
    }
    let mut out = Vec::new();
    compress::decompress(Encoding::Deflate, &bytes, limit, &mut out).map_err(|err| err.to_string())?;
    Ok(out)
}

/// What a request held.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// Values in the request.
    pub total: usize,
    /// Those that were left out.
    pub refused: Refused,
}

/// Decodes a request into `batch`, which is cleared first. `now`: the time of values without one, in milliseconds.
///
/// # Errors
/// In words: the request is none that carries values.
pub fn decode(body: &[u8], now: i64, gather: &mut Gather, batch: &mut Batch) -> Result<Decoded, String> {
    gather.begin(batch);
    let request: Value =
        serde_json::from_slice(body).map_err(|err| format!("the request is no JSON: {err}"))?;
    let kind = request.get("request").and_then(Value::as_str).unwrap_or_default();
    if !matches!(kind, "sender data" | "agent data") {
        return Err(format!("the request {kind:?} is not supported; send \"sender data\" or \"agent data\""));
    }
    let items = request.get("data").and_then(Value::as_array).ok_or("the request has no list \"data\"")?;
    let mut decoded = Decoded { total: items.len(), ..Decoded::default() };
    for item in items {
        if let Err(reason) = value(item, now, gather, batch) {
            decoded.refused.refuse(1, || reason);
        }
    }
    gather.finish(batch);
    Ok(decoded)
}

fn value(item: &Value, now: i64, gather: &mut Gather, batch: &mut Batch) -> Result<(), String> {
    let text = |name: &str| item.get(name).and_then(Value::as_str);
    let (host, key) = (text("host").unwrap_or_default(), text("key").unwrap_or_default());
    if host.is_empty() || key.is_empty() {
        return Err("a value has no host or no key".into());
    }
    let (stem, params) = match key.split_once('[') {
        Some((stem, rest)) => {
            let inner = rest.strip_suffix(']').ok_or_else(|| format!("the key {key:?} lacks its ]"))?;
            (stem, params(inner))
        }
        None => (key, Vec::new()),
    };
    let mut name = String::new();
    metric_name(&mut name, stem);
    if name.bytes().all(|b| b == b'_') {
        return Err(format!("the key {key:?} has no name"));
    }
    let number = match item.get("value") {
        Some(Value::String(text)) => number::parse_float(text.trim().as_bytes()),
        Some(value) => value.as_f64(),
        None => None,
    };
    let number = number.ok_or_else(|| format!("the value of {key:?} of host {host:?} is no number"))?;
    let whole = |name: &str| match item.get(name) {
        Some(Value::String(text)) => text.parse().ok(),
        Some(value) => value.as_i64(),
        None => None,
    };
    let time = match whole("clock") {
        Some(seconds) => seconds.saturating_mul(1000).saturating_add(whole("ns").unwrap_or(0) / 1_000_000),
        None => now,
    };
    let labels: Vec<(String, String)> = (1..).map(|i| format!("param{i}")).zip(params).collect();
    let mut pairs = vec![(METRIC_NAME, name.as_str()), ("host", host)];
    pairs.extend(labels.iter().map(|(n, v)| (n.as_str(), v.as_str())));
    let series = gather.series(&mut pairs, batch)?;
    gather.float(batch, series, time, number);
    Ok(())
}

/// A key's parameters, separated by commas, in quotes where they hold one.
fn params(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if_eq(&' ').is_some() {}
        let mut one = String::new();
        if chars.next_if_eq(&'"').is_some() {
            while let Some(c) = chars.next() {
                match c {
                    '\\' if chars.peek() == Some(&'"') => one.extend(chars.next()),
                    '"' => break,
                    c => one.push(c),
                }
            }
            while chars.next_if(|c| *c != ',').is_some() {}
        } else {
            while let Some(c) = chars.next_if(|c| *c != ',') {
                one.push(c);
            }
        }
        out.push(one);
        if chars.next().is_none() {
            return out;
        }
    }
}

/// The answer to a request.
pub fn reply(processed: usize, failed: usize) -> Vec<u8> {
    let total = processed + failed;
    let info = format!("processed: {processed}; failed: {failed}; total: {total}; seconds spent: 0.000000");
    framed(&serde_json::json!({"response": "success", "info": info}))
}

/// The answer to a request that could not be read or stored.
pub fn failure(reason: &str) -> Vec<u8> {
    framed(&serde_json::json!({"response": "failed", "info": reason}))
}

fn framed(answer: &Value) -> Vec<u8> {
    let text = answer.to_string();
    let mut out = b"ZBXD\x01".to_vec();
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::show;
    use proptest::prelude::*;

    #[test]
    fn values_become_series() {
        let body = br#"{"request":"sender data","data":[
            {"host":"web1","key":"system.cpu.load[percpu,avg1]","value":"0.5","clock":1700000000,"ns":250000000},
            {"host":"web1","key":"vfs.fs.size[\"/a,b\", free]","value":12},
            {"host":"web1","key":"text","value":"up"}, {"host":"","key":"x","value":1}, {"host":"h","key":"x[","value":1}]}"#;
        let (mut gather, mut batch) = (Gather::new(1), Batch::new());
        let decoded = decode(body, 9, &mut gather, &mut batch).unwrap();
        assert_eq!(
            show(&batch),
            [
                "system_cpu_load{host=\"web1\", param1=\"percpu\", param2=\"avg1\"} 0.5@1700000000250",
                "vfs_fs_size{host=\"web1\", param1=\"/a,b\", param2=\"free\"} 12@9",
            ]
        );
        assert_eq!((decoded.total, decoded.refused.count), (5, 3));
        assert!(decode(br#"{"request":"active checks","host":"a"}"#, 0, &mut gather, &mut batch).is_err());
    }

    #[test]
    fn headers() {
        let small = Header { header_bytes: 13, body_bytes: 5, compressed: false };
        assert_eq!(header(b"ZBXD\x01\x05\0\0\0\0\0\0\0"), Ok(Some(small)));
        let large = Header { header_bytes: 21, body_bytes: 7, compressed: true };
        assert_eq!(header(b"ZBXD\x07\x07\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0"), Ok(Some(large)));
        assert_eq!(header(b"ZBXD\x01\x05"), Ok(None));
        assert_eq!(header(b"ZB"), Ok(None));
        assert!(header(b"GET / HTTP/1.1").is_err() && header(b"ZBXD\x00aaaa").is_err());
        assert_eq!(&reply(1, 2)[..5], b"ZBXD\x01");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), key in "[a-z\\[\\]\",\\\\ ]{0,20}") {
            header(&bytes).ok();
            decode(&bytes, 0, &mut Gather::new(1), &mut Batch::new()).ok();
            params(&key);
        }
    }
}
