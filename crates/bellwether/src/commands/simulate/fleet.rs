//! The layout of a simulated fleet: regions, data centres, rows, racks. Pure, and the same for the same seed.

/// Regions, their data centres and each one's weight.
const PLAN: &[(&str, &[(&str, u32)])] = &[
    ("us-east", &[("iad1", 86), ("iad2", 76), ("iad3", 50), ("cmh1", 43)]),
    ("us-west", &[("pdx1", 70), ("pdx2", 59), ("sfo1", 21), ("slc1", 37)]),
    ("eu-central", &[("fra1", 64), ("fra2", 53), ("ams1", 43), ("zrh1", 15)]),
    ("eu-north", &[("dub1", 58), ("arn1", 43), ("hel1", 26)]),
    ("ap-southeast", &[("sin1", 53), ("sin2", 39), ("syd1", 26), ("nrt1", 51), ("bom1", 33)]),
    ("sa-east", &[("gru1", 32), ("scl1", 13), ("bog1", 9)]),
];
const RACK: u32 = 40;

/// A rack with servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rack {
    pub(crate) region: &'static str,
    pub(crate) datacenter: &'static str,
    /// From 1.
    pub(crate) row: u32,
    /// From 1, within its row.
    pub(crate) position: u32,
    pub(crate) rows: u32,
    pub(crate) row_racks: u32,
    pub(crate) first: u32,
    pub(crate) used: u32,
}

/// All racks; a server is an index, in their order.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) racks: Vec<Rack>,
}

/// A server's name and place in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Words {
    pub(crate) instance: String,
    pub(crate) row: String,
    pub(crate) rack: String,
    pub(crate) slot: String,
}

impl Layout {
    pub(crate) fn new(servers: u32, seed: u64) -> Self {
        let mut random = Random(seed);
        let halls: u32 = PLAN.iter().flat_map(|(_, halls)| halls.iter()).map(|(_, weight)| weight).sum();
        let count = PLAN.iter().map(|(_, halls)| halls.len()).sum::<usize>();
        let mut layout = Self { racks: Vec::new() };
        let (mut first, mut left, mut seen) = (0, servers, 0);
        for (region, list) in PLAN {
            for (datacenter, weight) in *list {
                seen += 1;
                let share = (u64::from(servers) * u64::from(*weight)).div_ceil(u64::from(halls)) as u32;
                let mut want = if seen == count { left } else { share.min(left) };
                left -= want;
                let racks = want.div_ceil(RACK).max(1);
                let row_racks =
                    ((f64::from(racks).sqrt() * (1.15 + 0.25 * random.unit())) as u32).clamp(2, 44);
                let rows = racks.div_ceil(row_racks).max(1);
                let mut at = 0;
                while want > 0 {
                    // Some places are empty, some racks not full.
                    let empty = racks > 4 && random.unit() < 0.04;
                    let full = random.unit() < 0.8;
                    let used = if full { RACK } else { 30 + random.below(10) }.min(want);
                    if !empty {
                        layout.racks.push(Rack {
                            region,
                            datacenter,
                            row: at / row_racks + 1,
                            position: at % row_racks + 1,
                            rows,
                            row_racks,
                            first,
                            used,
                        });
                        first += used;
                        want -= used;
                    }
                    at += 1;
                }
            }
        }
        layout
    }

    pub(crate) fn servers(&self) -> u32 {
        self.racks.last().map_or(0, |rack| rack.first + rack.used)
    }
}

impl Rack {
    /// The words of server `slot` (from 0) of this rack.
    pub(crate) fn words(&self, slot: u32) -> Words {
        Words {
            instance: format!(
                "{}-r{:02}-k{:02}-u{:02}:9100",
                self.datacenter,
                self.row,
                self.position,
                slot + 1
            ),
            row: format!("row {:02}", self.row),
            rack: format!("rack {:02}", self.position),
            slot: format!("{:02}", slot + 1),
        }
    }
}

/// SplitMix64: small, seeded, good enough to scatter faults.
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to just under 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, limit: u32) -> u32 {
        (self.next() % u64::from(limit)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_has_one_place() {
        for servers in [1, 39, 1000, 100_000] {
            let layout = Layout::new(servers, 1);
            assert_eq!(layout.servers(), servers);
            let mut next = 0;
            for rack in &layout.racks {
                assert_eq!(rack.first, next);
                assert!(rack.used > 0 && rack.used <= RACK);
                next += rack.used;
            }
        }
        assert_eq!(Layout::new(5000, 7).racks, Layout::new(5000, 7).racks);
        assert_ne!(Layout::new(5000, 7).racks, Layout::new(5000, 8).racks);
    }

    #[test]
    fn a_server_has_words() {
        let layout = Layout::new(100_000, 1);
        let words = layout.racks[0].words(4);
        assert_eq!(words.instance, "iad1-r01-k01-u05:9100");
        assert_eq!(
            (words.row.as_str(), words.rack.as_str(), words.slot.as_str()),
            ("row 01", "rack 01", "05")
        );
    }
}
