//! The last hours of the map, in memory, a frame a minute.

use std::collections::VecDeque;

use super::codec::{self, Code, Frame};

/// Distance of kept frames.
pub(crate) const FRAME_MS: i64 = 60_000;
/// Frames that one request may ask for.
pub(crate) const MAX_FRAMES: usize = 1500;
const KEYFRAME_EVERY: usize = 64;

/// One kept instant.
#[derive(Clone, Debug)]
struct Kept {
    time_ms: i64,
    topo_hash: u64,
    counts: [u32; 3],
    /// Run-length codes.
    codes: Vec<u8>,
}

/// A ring of frames bounded by bytes.
#[derive(Debug)]
pub(crate) struct History {
    frames: VecDeque<Kept>,
    bytes: usize,
    max_bytes: usize,
}

impl History {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, max_bytes }
    }

    /// Keeps an instant when the last one kept is old enough; forgets the oldest when there is no room.
    pub(crate) fn keep(&mut self, time_ms: i64, topo_hash: u64, codes: &[Code]) {
        // A frame stands for its whole minute, so that asking for whole minutes finds one.
        let slot = |ms: i64| ms.div_euclid(FRAME_MS);
        if self.frames.back().is_some_and(|last| slot(last.time_ms) >= slot(time_ms)) {
            return;
        }
        let kept = Kept { time_ms, topo_hash, counts: codec::counts(codes), codes: codec::run_length(codes) };
        self.bytes += size_of::<Kept>() + kept.codes.len();
        self.frames.push_back(kept);
        while self.bytes > self.max_bytes {
            let Some(oldest) = self.frames.pop_front() else { break };
            self.bytes -= size_of::<Kept>() + oldest.codes.len();
        }
    }

    /// Memory that the frames take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The frame that was in force at `time_ms`.
    fn at(&self, time_ms: i64) -> Option<&Kept> {
        let after = self.frames.partition_point(|frame| frame.time_ms <= time_ms);
        let frame = self.frames.get(after.checked_sub(1)?)?;
        (time_ms - frame.time_ms < 2 * FRAME_MS).then_some(frame)
    }

    /// The codes in force at `time_ms`, when they were kept under the same topology.
    pub(crate) fn codes_at(&self, time_ms: i64, topo_hash: u64) -> Option<Vec<Code>> {
        self.at(time_ms).filter(|frame| frame.topo_hash == topo_hash).map(|frame| expand(&frame.codes))
    }

    /// Frames from `from_ms` on, `step_ms` apart.
    pub(crate) fn frames(&self, topo_hash: u64, from_ms: i64, step_ms: i64, count: usize) -> Vec<Frame> {
        let mut out = Vec::with_capacity(count);
        let mut before: Option<Vec<Code>> = None;
        for i in 0..count {
            let Some(kept) = self.at(from_ms + i as i64 * step_ms).filter(|kept| kept.topo_hash == topo_hash)
            else {
                before = None;
                out.push(Frame::Unknown);
                continue;
            };
            let codes = expand(&kept.codes);
            out.push(match &before {
                Some(before) if !i.is_multiple_of(KEYFRAME_EVERY) => {
                    Frame::Delta(codec::delta(before, &codes), kept.counts)
                }
                _ => Frame::Key(kept.codes.clone(), kept.counts),
            });
            before = Some(codes);
        }
        out
    }
}

/// The codes of a run-length plane that this process wrote.
fn expand(bytes: &[u8]) -> Vec<Code> {
    let mut codes = Vec::new();
    let (mut value, mut shift) = (0u32, 0);
    for byte in bytes {
        value |= u32::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            codes.resize(codes.len() + (value >> 2) as usize + 1, Code::from_bits(value as u8));
            (value, shift) = (0, 0);
        }
    }
    codes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_found_by_time() {
        let mut history = History::new(1 << 20);
        let a = vec![Code::Ok; 300];
        let mut b = a.clone();
        b[299] = Code::Critical;
        history.keep(0, 7, &a);
        history.keep(1000, 7, &b);
        history.keep(FRAME_MS, 7, &b);
        assert_eq!(history.codes_at(30_000, 7), Some(a.clone()));
        assert_eq!(history.codes_at(FRAME_MS + 1, 7), Some(b.clone()));
        assert_eq!(history.codes_at(FRAME_MS + 1, 8), None);
        let frames = history.frames(7, 0, FRAME_MS, 4);
        assert_eq!(frames[0], Frame::Key(codec::run_length(&a), [0, 0, 0]));
        assert_eq!(frames[1], Frame::Delta(codec::delta(&a, &b), [0, 1, 0]));
        assert_eq!(frames[3], Frame::Unknown);
    }

    #[test]
    fn the_ring_is_bounded() {
        let mut history = History::new(2000);
        for minute in 0..1000 {
            history.keep(minute * FRAME_MS, 1, &[Code::Ok, Code::Warning]);
        }
        assert!(history.bytes() <= 2000);
        assert!(history.codes_at(999 * FRAME_MS, 1).is_some());
        assert!(history.codes_at(0, 1).is_none());
    }
}
