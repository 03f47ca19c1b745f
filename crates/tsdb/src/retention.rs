//! Retention: which blocks are to be deleted.

use crate::block::BlockMeta;
use crate::config::Config;

/// Indices of the blocks to delete: those wholly older than their retention, and the oldest ones while all together have more than
/// `retention_bytes` (0: no bound), raw ones first. The newest raw block stays whatever its size. A tier that is no longer
/// configured is kept as long as the one that is kept longest.
pub(crate) fn expired(blocks: &[BlockMeta], config: &Config, now: i64) -> Vec<usize> {
    let longest = config
        .tiers
        .iter()
        .map(|tier| tier.retention)
        .max()
        .unwrap_or(config.retention)
        .max(config.retention);
    let oldest = |block: &BlockMeta| {
        let tier = config.tiers.iter().find(|tier| tier.resolution.ms() == block.resolution_ms);
        let kept = match (block.resolution_ms, tier) {
            (0, _) => config.retention,
            (_, Some(tier)) => tier.retention,
            (_, None) => longest,
        };
        now.saturating_sub(kept.ms())
    };
    let mut order: Vec<usize> = (0..blocks.len()).collect();
    order.sort_by_key(|&at| (blocks[at].resolution_ms > 0, blocks[at].max_time, &blocks[at].id));
    let raw = blocks.iter().filter(|block| block.resolution_ms == 0).count();
    let mut total: u64 = blocks.iter().map(|block| block.bytes).sum();
    let mut gone = Vec::new();
    for (nth, &at) in order.iter().enumerate() {
        let newest = if raw > 0 { raw - 1 } else { order.len() - 1 };
        let too_big = config.retention_bytes > 0 && total > config.retention_bytes && nth != newest;
        if blocks[at].max_time < oldest(&blocks[at]) || too_big {
            total -= blocks[at].bytes;
            gone.push(at);
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use model::duration::PromDuration;

    use super::*;
    use crate::config::TierConfig;

    #[test]
    fn old_blocks_go_first_and_the_newest_stays() {
        let block = |id: &str, max_time, bytes| BlockMeta { max_time, bytes, ..BlockMeta::new(id, 0) };
        let blocks = [block("c", 30, 5), block("a", 10, 5), block("b", 20, 5)];
        let config = |retention: i64, retention_bytes| Config {
            retention: PromDuration(retention),
            retention_bytes,
            ..Config::default()
        };
        let expired = |blocks: &[BlockMeta], oldest: i64, bytes| {
            super::expired(blocks, &config(100 - oldest, bytes), 100)
        };
        assert_eq!(expired(&blocks, 0, 0), [] as [usize; 0]);
        assert_eq!(expired(&blocks, 20, 0), [1]);
        assert_eq!(expired(&blocks, 31, 0), [1, 2, 0]);
        assert_eq!(expired(&blocks, 0, 10), [1]);
        assert_eq!(expired(&blocks, 0, 1), [1, 2]);
        assert_eq!(expired(&[], 0, 1), [] as [usize; 0]);
    }

    #[test]
    fn each_tier_has_its_own_retention() {
        let block = |id: &str, resolution_ms, max_time| BlockMeta {
            max_time,
            resolution_ms,
            bytes: 5,
            ..BlockMeta::new(id, 0)
        };
        let tier = |resolution, retention| TierConfig {
            resolution: PromDuration(resolution),
            retention: PromDuration(retention),
        };
        let config = Config {
            retention: PromDuration(10),
            tiers: vec![tier(5, 20), tier(60, 40)],
            ..Config::default()
        };
        let blocks =
            [block("a", 0, 85), block("b", 5, 85), block("c", 5, 75), block("d", 60, 75), block("e", 7, 75)];
        assert_eq!(expired(&blocks, &config, 100), [0, 2]);
        // By size raw blocks go first, but for the newest.
        let small = Config { retention: PromDuration(90), retention_bytes: 14, ..config };
        assert_eq!(expired(&blocks, &small, 100), [2, 3, 4]);
    }
}
