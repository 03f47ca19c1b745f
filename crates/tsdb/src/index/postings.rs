//! Postings: the sorted ids of the series that have a label pair.
//!
//! Built as runs, because series in label order make runs; stored as runs or as a roaring bitmap, whichever is
//! shorter. Layout: docs/formats/block.md.

use roaring::RoaringBitmap;

use crate::chunk::CorruptChunk;
use crate::chunk::varint::{self, Cursor};

const RUNS: u8 = 0;
const ROARING: u8 = 1;

/// Postings while a block is being written: ids arrive in ascending order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Builder {
    /// All runs but the last, encoded.
    bytes: Vec<u8>,
    runs: u32,
    /// End (exclusive) of the last encoded run.
    base: u32,
    /// The last run: first id and the id past its end; empty before the first id.
    start: u32,
    end: u32,
    ids: u32,
}

impl Builder {
    /// Adds an id that is not below the last one; the same id twice counts once.
    pub(crate) fn push(&mut self, id: u32) {
        if self.ids > 0 && id + 1 == self.end {
            return;
        }
        debug_assert!(id >= self.end || self.ids == 0);
        if self.ids > 0 && id == self.end {
            self.end += 1;
        } else {
            self.close();
            (self.start, self.end) = (id, id + 1);
        }
        self.ids += 1;
    }

    fn close(&mut self) {
        if self.end > self.start {
            varint::put(&mut self.bytes, u64::from(self.start - self.base));
            varint::put(&mut self.bytes, u64::from(self.end - self.start - 1));
            self.runs += 1;
            self.base = self.end;
        }
    }

    /// How many ids.
    pub(crate) fn len(&self) -> u32 {
        self.ids
    }

    /// Bytes of memory, about.
    pub(crate) fn size_bytes(&self) -> usize {
        size_of::<Self>() + self.bytes.capacity()
    }

    /// Appends the encoded postings.
    pub(crate) fn finish(mut self, out: &mut Vec<u8>) {
        self.close();
        let mut encoded = vec![RUNS];
        varint::put(&mut encoded, u64::from(self.runs));
        encoded.extend_from_slice(&self.bytes);
        // A bitmap takes at least a header and one container: not worth a try for short lists.
        if encoded.len() > 64
            && let Ok(mut bitmap) = decode(&encoded, u32::MAX)
        {
            bitmap.optimize();
            if bitmap.serialized_size() + 1 < encoded.len() {
                out.push(ROARING);
                bitmap.serialize_into(&mut *out).expect("writing into memory does not fail");
                return;
            }
        }
        out.extend_from_slice(&encoded);
    }
}

/// Reads postings whose ids are all below `series`.
pub(crate) fn decode(bytes: &[u8], series: u32) -> Result<RoaringBitmap, CorruptChunk> {
    let mut cursor = Cursor::new(bytes);
    let bitmap = match cursor.byte()? {
        RUNS => {
            let runs = cursor.at_most(bytes.len() / 2)?;
            let mut bitmap = RoaringBitmap::new();
            let mut base = 0u64;
            for _ in 0..runs {
                let start = base + cursor.at_most(series as usize)? as u64;
                let end = start + cursor.at_most(series as usize)? as u64;
                if end >= u64::from(series) {
                    return Err(CorruptChunk("postings name a series that does not exist"));
                }
                if start == end {
                    bitmap.insert(start as u32);
                } else {
                    bitmap.insert_range(start as u32..=end as u32);
                }
                base = end + 1;
            }
            if !cursor.rest().is_empty() {
                return Err(CorruptChunk("postings have bytes behind their end"));
            }
            bitmap
        }
        ROARING => RoaringBitmap::deserialize_from(cursor.rest())
            .map_err(|_| CorruptChunk("postings are no roaring bitmap"))?,
        _ => return Err(CorruptChunk("this version knows no such kind of postings")),
    };
    if bitmap.max().is_some_and(|max| max >= series) {
        return Err(CorruptChunk("postings name a series that does not exist"));
    }
    Ok(bitmap)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(ids: &[u32]) -> Vec<u8> {
        let mut builder = Builder::default();
        ids.iter().for_each(|&id| builder.push(id));
        assert_eq!(builder.len() as usize, ids.len());
        let mut out = Vec::new();
        builder.finish(&mut out);
        out
    }

    #[test]
    fn one_series_and_one_run_are_a_few_bytes() {
        assert_eq!(encoded(&[7]), [0, 1, 7, 0]);
        assert!(encoded(&(1000..90_000).collect::<Vec<_>>()).len() <= 8);
        let odd: Vec<u32> = (0..100_000).filter(|i| i % 2 == 1).collect();
        assert!(encoded(&odd).len() < 20_000);
    }

    proptest! {
        #[test]
        fn round_trip(ids in prop::collection::btree_set(prop_oneof![0u32..200, 0u32..200_000], 0..400)) {
            let ids: Vec<u32> = ids.into_iter().collect();
            let back = decode(&encoded(&ids), 200_000).unwrap();
            prop_assert_eq!(back.into_iter().collect::<Vec<_>>(), ids);
        }

        #[test]
        fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200), series in 0u32..1000) {
            if let Ok(bitmap) = decode(&bytes, series) {
                prop_assert!(bitmap.max().is_none_or(|max| max < series));
            }
        }
    }
}
