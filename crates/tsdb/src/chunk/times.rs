//! Columns of timestamps: ascending sample times, and start (created) timestamps.
//!
//! Layout: docs/formats/chunk.md.

use super::ints::{self, Plan};
use super::varint::{self, Cursor};
use super::{CorruptChunk, MAX_COUNT};

const TAG_DIVIDED: u8 = 3;
const TAG_EXACT: u8 = 6;

/// Appends the compressed column of strictly ascending times (milliseconds since the epoch).
///
/// # Panics
/// When the times are not strictly ascending: writing them would lose samples.
pub fn encode_times(times: &[i64], out: &mut Vec<u8>) {
    assert!(times.len() <= MAX_COUNT, "a column has at most {MAX_COUNT} times, not {}", times.len());
    assert!(times.is_sorted_by(|a, b| a < b), "times must be strictly ascending");
    let (Some(&first), Some(&last)) = (times.first(), times.last()) else { return };
    let mean = match times.len() - 1 {
        0 => 0,
        gaps => ((last.wrapping_sub(first) as u64).saturating_add(gaps as u64 / 2) / gaps as u64) as i64,
    };
    let median = median_distance(times).unwrap_or(mean);
    let mut best: Option<(i64, Plan, Vec<i64>)> = None;
    let intervals = [median, mean];
    for &interval in if mean == median { &intervals[..1] } else { &intervals } {
        let rest: Vec<i64> =
            (0i64..).zip(times).map(|(i, t)| t.wrapping_sub(interval.wrapping_mul(i))).collect();
        if rest.iter().all(|&r| r == rest[0]) {
            out.push(TAG_EXACT);
            varint::put_signed(out, interval);
            varint::put_signed(out, first);
            return;
        }
        let plan = ints::plan(&rest);
        if best.as_ref().is_none_or(|(_, best, _)| plan.cost_bits < best.cost_bits) {
            best = Some((interval, plan, rest));
        }
    }
    let (interval, plan, rest) = best.expect("at least one interval was tried");
    out.push(plan.order + if plan.divisor > 1 { TAG_DIVIDED } else { 0 });
    varint::put_signed(out, interval);
    ints::encode(&rest, plan, out);
}

/// Appends `count` times to `out` and returns how many of `bytes` they were.
///
/// # Errors
/// [`CorruptChunk`] when no encoder can have written the bytes, which includes times that do not ascend; `out` may then
/// hold some of the column.
pub fn decode_times(bytes: &[u8], count: usize, out: &mut Vec<i64>) -> Result<usize, CorruptChunk> {
    if count == 0 {
        return Ok(0);
    }
    if count > MAX_COUNT {
        return Err(CorruptChunk("a column has more samples than the format allows"));
    }
    let mut cursor = Cursor::new(bytes);
    let tag = cursor.byte()?;
    let interval = cursor.signed()?;
    let start = out.len();
    out.reserve(count);
    match tag {
        TAG_EXACT => {
            let first = cursor.signed()?;
            out.extend((0..count as i64).map(|i| first.wrapping_add(interval.wrapping_mul(i))));
        }
        0..TAG_EXACT => {
            let (order, divided) = (tag % TAG_DIVIDED, tag >= TAG_DIVIDED);
            let mut line = 0i64;
            ints::decode(&mut cursor, order, divided, count, |rest| {
                out.extend(rest.iter().map(|r| {
                    let time = r.wrapping_add(line);
                    line = line.wrapping_add(interval);
                    time
                }));
            })?;
        }
        _ => return Err(CorruptChunk("this version knows no such time column")),
    }
    if !out[start..].is_sorted_by(|a, b| a < b) {
        return Err(CorruptChunk("the times do not ascend"));
    }
    Ok(cursor.used())
}

fn median_distance(times: &[i64]) -> Option<i64> {
    let mut distances: Vec<i64> = times.windows(2).map(|w| w[1].wrapping_sub(w[0])).collect();
    let middle = distances.len() / 2;
    if distances.is_empty() { None } else { Some(*distances.select_nth_unstable(middle).1) }
}

/// Appends the compressed column of start timestamps (milliseconds since the epoch, 0 for unknown; any order).
pub fn encode_starts(starts: &[i64], out: &mut Vec<u8>) {
    assert!(starts.len() <= MAX_COUNT, "a column has at most {MAX_COUNT} starts, not {}", starts.len());
    let Some(&first) = starts.first() else { return };
    if starts.iter().all(|&s| s == first) {
        out.push(0);
        varint::put_signed(out, first);
        return;
    }
    let plan = ints::plan(starts);
    out.push((plan.order + if plan.divisor > 1 { 5 } else { 2 }) << 4);
    ints::encode(starts, plan, out);
}

/// Appends `count` start timestamps to `out` and returns how many of `bytes` they were.
///
/// # Errors
/// [`CorruptChunk`] when no encoder can have written the bytes; `out` may then hold some of the column.
pub fn decode_starts(bytes: &[u8], count: usize, out: &mut Vec<i64>) -> Result<usize, CorruptChunk> {
    if count == 0 {
        return Ok(0);
    }
    if count > MAX_COUNT {
        return Err(CorruptChunk("a column has more samples than the format allows"));
    }
    let mut cursor = Cursor::new(bytes);
    let tag = cursor.byte()?;
    match (tag & 15, tag >> 4) {
        (0, 0) => {
            let start = cursor.signed()?;
            out.resize(out.len() + count, start);
        }
        (0, kind @ 2..=7) => {
            let divided = kind >= 5;
            let order = kind - if divided { 5 } else { 2 };
            out.reserve(count);
            ints::decode(&mut cursor, order, divided, count, |ints| out.extend_from_slice(ints))?;
        }
        _ => return Err(CorruptChunk("this version knows no such start column")),
    }
    Ok(cursor.used())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(times: &[i64]) -> usize {
        let mut bytes = Vec::new();
        encode_times(times, &mut bytes);
        let mut back = vec![1];
        assert_eq!(decode_times(&bytes, times.len(), &mut back), Ok(bytes.len()));
        assert_eq!(&back[1..], times);
        bytes.len()
    }

    #[test]
    fn sizes_of_typical_columns() {
        let start = 1_700_000_000_123;
        let exact: Vec<i64> = (0..480).map(|i| start + i * 15_000).collect();
        assert!(round_trip(&exact) <= 12);
        let jitter: Vec<i64> = exact.iter().enumerate().map(|(i, t)| t + (i as i64 * 7919 % 5) - 2).collect();
        assert!(round_trip(&jitter) <= 240);
        let gap: Vec<i64> = exact.iter().copied().filter(|t| t % 7 != 0 || t % 15 == 0).collect();
        round_trip(&gap);
        let hole: Vec<i64> = exact[..100].iter().chain(&exact[140..]).copied().collect();
        assert!(round_trip(&hole) <= 50, "{}", round_trip(&hole));
        assert_eq!(round_trip(&[]), 0);
        round_trip(&[5]);
        round_trip(&[i64::MIN, i64::MAX]);
        round_trip(&[i64::MIN, 0, 1, i64::MAX - 1, i64::MAX]);
    }

    #[test]
    #[should_panic(expected = "strictly ascending")]
    fn times_must_ascend() {
        encode_times(&[1, 1], &mut Vec::new());
    }

    #[test]
    fn a_column_that_does_not_ascend_is_refused() {
        assert!(decode_times(&[TAG_EXACT, 1, 0], 2, &mut Vec::new()).is_err());
        assert!(decode_times(&[TAG_EXACT, 0, 0], 1, &mut Vec::new()).is_ok());
    }

    proptest! {
        #[test]
        fn any_times(mut times in prop::collection::vec(any::<i64>(), 0..300)) {
            times.sort_unstable();
            times.dedup();
            round_trip(&times);
        }

        #[test]
        fn scrapes(start in -1i64 << 40..1 << 45, steps in prop::collection::vec((1i64..4, -40i64..40), 0..300)) {
            let mut time = start;
            let times: Vec<i64> = steps.iter().map(|(n, jitter)| { time += n * 15_000 + jitter; time }).collect();
            round_trip(&times);
        }

        #[test]
        fn any_starts(starts in prop::collection::vec(prop_oneof![Just(0), 1_600_000_000_000i64..1_800_000_000_000, any::<i64>()], 0..300)) {
            let mut bytes = Vec::new();
            encode_starts(&starts, &mut bytes);
            let mut back = Vec::new();
            prop_assert_eq!(decode_starts(&bytes, starts.len(), &mut back), Ok(bytes.len()));
            prop_assert_eq!(back, starts);
        }

        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400), count in 0usize..300) {
            let mut out = Vec::new();
            if decode_times(&bytes, count, &mut out).is_ok() {
                prop_assert_eq!(out.len(), count);
            }
            prop_assert!(out.len() <= count);
            out.clear();
            if decode_starts(&bytes, count, &mut out).is_ok() {
                prop_assert_eq!(out.len(), count);
            }
            prop_assert!(out.len() <= count);
        }
    }
}
