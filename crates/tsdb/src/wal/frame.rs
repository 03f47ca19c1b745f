//! Frames: the checksummed unit in which logs are written and read back.
//!
//! `length u32 | crc32c u32 | payload`, little endian; the checksum covers the length and the payload, so that a run of
//! zeros is no frame. A frame is what one commit writes: either all of it is there or none of it counts.

/// Bytes before the payload.
pub(crate) const HEADER: usize = 8;

/// A frame is never longer; bounds what a damaged length can ask for.
pub(crate) const MAX_PAYLOAD: usize = 1 << 30;

/// Appends the frame of `payload`.
pub(crate) fn put(out: &mut Vec<u8>, payload: &[u8]) {
    let len = (payload.len() as u32).to_le_bytes();
    let crc = crc32c::crc32c_append(crc32c::crc32c(&len), payload);
    out.reserve(HEADER + payload.len());
    out.extend_from_slice(&len);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(payload);
}

/// Reads frames one after the other.
pub(crate) struct Frames<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Frames<'a> {
    /// The frames in `bytes` from `at`.
    pub(crate) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Where the next frame starts: the end of what is good.
    pub(crate) fn offset(&self) -> usize {
        self.at
    }

    /// The next payload; `Ok(None)` at the end.
    ///
    /// # Errors
    /// What is wrong with the bytes at [`Frames::offset`].
    pub(crate) fn next(&mut self) -> Result<Option<&'a [u8]>, &'static str> {
        let rest = &self.bytes[self.at.min(self.bytes.len())..];
        if rest.is_empty() {
            return Ok(None);
        }
        let Some((header, rest)) = rest.split_at_checked(HEADER) else {
            return Err("the last frame's header is cut short");
        };
        let word =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let len = word(0) as usize;
        if len > MAX_PAYLOAD {
            return Err("a frame's length is impossible");
        }
        let Some(payload) = rest.get(..len) else {
            return Err("the last frame is cut short");
        };
        if crc32c::crc32c_append(crc32c::crc32c(&header[..4]), payload) != word(4) {
            return Err("a frame's checksum does not match");
        }
        self.at += HEADER + len;
        Ok(Some(payload))
    }
}

/// Whether a good frame starts anywhere behind the bad one at `bad`: then the damage is no torn end. Looks at a bounded
/// number of bytes, nearest first.
pub(crate) fn good_behind(bytes: &[u8], bad: usize) -> bool {
    let mut budget = 512 << 20;
    for at in bad + 1..bytes.len().saturating_sub(HEADER) {
        let len = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize;
        // Every record and entry starts with a small number.
        if len == 0 || len > bytes.len() - at - HEADER || !(1..=5).contains(&bytes[at + HEADER]) {
            continue;
        }
        if matches!(Frames::new(bytes, at).next(), Ok(Some(_))) {
            return true;
        }
        budget -= len.min(budget);
        if budget == 0 {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_and_every_cut_is_seen() {
        let mut bytes = Vec::new();
        put(&mut bytes, b"one");
        let first = bytes.len();
        put(&mut bytes, b"");
        put(&mut bytes, b"three");
        let read = |bytes: &[u8]| {
            let mut frames = Frames::new(bytes, 0);
            let mut all = Vec::new();
            loop {
                match frames.next() {
                    Ok(Some(payload)) => all.push(payload.to_vec()),
                    Ok(None) => return (all, true),
                    Err(_) => return (all, false),
                }
            }
        };
        assert_eq!(read(&bytes), (vec![b"one".to_vec(), vec![], b"three".to_vec()], true));
        for bit in 0..first * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&bad), (vec![], false), "bit {bit}");
        }
        for cut in 1..first {
            assert_eq!(read(&bytes[..cut]), (vec![], false));
        }
        assert!(!read(&[0; 64]).1);
    }
}
