//! Retention: which blocks are to be deleted.

use crate::block::BlockMeta;

/// Indices of the blocks to delete: those wholly before `oldest`, and the oldest ones while all together have more than
/// `max_bytes` (0: no bound). The newest block stays whatever its size.
pub(crate) fn expired(blocks: &[BlockMeta], oldest: i64, max_bytes: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..blocks.len()).collect();
    order.sort_by_key(|&at| (blocks[at].max_time, &blocks[at].id));
    let mut total: u64 = blocks.iter().map(|block| block.bytes).sum();
    let mut gone = Vec::new();
    for (nth, &at) in order.iter().enumerate() {
        let too_big = max_bytes > 0 && total > max_bytes && nth + 1 < order.len();
        if blocks[at].max_time >= oldest && !too_big {
            break;
        }
        total -= blocks[at].bytes;
        gone.push(at);
    }
    gone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_blocks_go_first_and_the_newest_stays() {
        let block = |id: &str, max_time, bytes| BlockMeta { max_time, bytes, ..BlockMeta::new(id, 0) };
        let blocks = [block("c", 30, 5), block("a", 10, 5), block("b", 20, 5)];
        assert_eq!(expired(&blocks, 0, 0), [] as [usize; 0]);
        assert_eq!(expired(&blocks, 20, 0), [1]);
        assert_eq!(expired(&blocks, 31, 0), [1, 2, 0]);
        assert_eq!(expired(&blocks, 0, 10), [1]);
        assert_eq!(expired(&blocks, 0, 1), [1, 2]);
        assert_eq!(expired(&[], 0, 1), [] as [usize; 0]);
    }
}
