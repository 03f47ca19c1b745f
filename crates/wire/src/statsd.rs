//! StatsD and DogStatsD datagrams: `name:1.5|c|@0.1|#tag:value,other`.
//!
//! Only reading: what comes of the values over time is the receiver's. Sources: the etsy/statsd "Metric types" page and the
//! DogStatsD datagram format, protocol 1.0 to 1.3.

use crate::number;

/// What a value does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change<'a> {
    /// Adds to a counter.
    Count(f64),
    /// Sets a gauge.
    Set(f64),
    /// Adds to a gauge.
    Add(f64),
    /// Is an observation of a distribution.
    Observe(f64),
    /// Is an observation of a time in milliseconds.
    ObserveMs(f64),
    /// Is a member of a set.
    Member(&'a str),
}

/// One value of a datagram.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample<'a> {
    /// As sent.
    pub name: &'a str,
    /// What it does.
    pub change: Change<'a>,
    /// The part of the events that was sent, in (0, 1].
    pub rate: f64,
    /// Tags as sent, separated by commas; each `name:value`, or a name alone.
    pub tags: &'a str,
    /// Milliseconds since the epoch, when the sender gave a time.
    pub time: Option<i64>,
}

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Values.
    Values,
    /// An event or a service check: not a metric.
    Ignored,
}

/// Reads one line; calls `each` for every value. Several values separated by `:` share the rest.
///
/// # Errors
/// In words. Values before the bad one have been given to `each`.
pub fn read_line<'a>(line: &'a [u8], mut each: impl FnMut(Sample<'a>)) -> Result<Kind, String> {
    let line = std::str::from_utf8(line).map_err(|_| "the line is not UTF-8".to_owned())?;
    if line.starts_with("_e{") || line.starts_with("_sc|") {
        return Ok(Kind::Ignored);
    }
    let mut parts = line.split('|');
    let head = parts.next().unwrap_or_default();
    let Some((head_name, values)) = head.split_once(':') else {
        return Err("expected name:value|type".into());
    };
    // Some senders put tags into the name: name,tag=value (InfluxDB), name#tag:value (Librato uses =).
    let (name, name_tags) = match head_name.split_once([',', '#', ';']) {
        Some((name, tags)) => (name, tags),
        None => (head_name, ""),
    };
    if name.is_empty() {
        return Err("the name is empty".into());
    }
    let Some(kind) = parts.next().filter(|kind| !kind.is_empty()) else {
        return Err(format!("{name:?} has no type"));
    };
    let (mut rate, mut tags, mut time) = (1.0, name_tags, None);
    for part in parts {
        if let Some(text) = part.strip_prefix('@') {
            rate = number::parse_float(text.as_bytes())
                .filter(|r| *r > 0.0 && *r <= 1.0)
                .ok_or_else(|| format!("the sample rate {text:?} of {name:?} is not between 0 and 1"))?;
        } else if let Some(text) = part.strip_prefix('#') {
            tags = text;
        } else if let Some(text) = part.strip_prefix('T') {
            let seconds: i64 =
                text.parse().map_err(|_| format!("the time {text:?} of {name:?} is no number"))?;
            time = Some(seconds.saturating_mul(1000));
        }
        // The container (c:) and whatever later versions add say nothing about the value.
    }
    for text in values.split(':') {
        let parsed = || {
            number::parse_float(text.as_bytes())
                .filter(|v| v.is_finite())
                .ok_or_else(|| format!("the value {text:?} of {name:?} is no number"))
        };
        let change = match kind {
            "c" | "m" => Change::Count(parsed()?),
            "g" if text.starts_with(['+', '-']) => Change::Add(parsed()?),
            "g" => Change::Set(parsed()?),
            "ms" => Change::ObserveMs(parsed()?),
            "h" | "d" => Change::Observe(parsed()?),
            "s" => Change::Member(text),
            other => return Err(format!("{name:?} has the unknown type {other:?}")),
        };
        each(Sample { name, change, rate, tags, time });
    }
    Ok(Kind::Values)
}

/// The tags of a sample: name and value; a tag without a value is `true`.
pub fn tags(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(',').filter(|tag| !tag.is_empty()).map(|tag| {
        let (name, value) = tag.split_once([':', '=']).unwrap_or((tag, "true"));
        (name, if value.is_empty() { "true" } else { value })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(line: &str) -> Result<Vec<Sample<'_>>, String> {
        let mut found = Vec::new();
        read_line(line.as_bytes(), |sample| found.push(sample))?;
        Ok(found)
    }

    #[test]
    fn every_type() {
        let plain = |change| Sample { name: "a.b", change, rate: 1.0, tags: "", time: None };
        assert_eq!(read("a.b:1|c").unwrap(), [plain(Change::Count(1.0))]);
        assert_eq!(read("a.b:-1|g").unwrap(), [plain(Change::Add(-1.0))]);
        assert_eq!(read("a.b:7.5|g").unwrap(), [plain(Change::Set(7.5))]);
        assert_eq!(read("a.b:320|ms").unwrap(), [plain(Change::ObserveMs(320.0))]);
        assert_eq!(read("a.b:joe|s").unwrap(), [plain(Change::Member("joe"))]);
        let many = read("a.b:1:2|d|@0.5|#env:prod,canary|c:abc|T1700000000").unwrap();
        assert_eq!(many.len(), 2);
        assert_eq!(
            (many[1].change, many[1].rate, many[1].time),
            (Change::Observe(2.0), 0.5, Some(1_700_000_000_000))
        );
        assert_eq!(tags(many[0].tags).collect::<Vec<_>>(), [("env", "prod"), ("canary", "true")]);
        assert_eq!(tags(read("a,x=1:1|c").unwrap()[0].tags).collect::<Vec<_>>(), [("x", "1")]);
        assert_eq!(read_line(b"_e{5,4}:title|text", |_| {}), Ok(Kind::Ignored));
    }

    #[test]
    fn nonsense_is_named() {
        for bad in ["", "a", "a:1", ":1|c", "a:x|c", "a:1|q", "a:1|c|@2", "a:1|c|@x", "a:NaN|g", "a:1|c|Tx"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..80)) {
            read_line(&body, |sample| tags(sample.tags).for_each(|_| {})).ok();
        }
    }
}
