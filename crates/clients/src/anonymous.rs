//! The one rule of who may be shown: a cohort of at least `k` clients, and none that could be told by subtraction.

/// Which cohorts of one dimension may be shown, by the places of their clients (see [`crate::cell::Count`]).
///
/// A cohort needs `k` bits. When those that are hidden are together fewer than `k`, the smallest shown one is hidden too: else
/// everybody less the shown ones would be the hidden ones.
pub fn visible(clients: &[u64], k: u32) -> Vec<bool> {
    let mut shown: Vec<bool> = clients.iter().map(|bits| bits.count_ones() >= k).collect();
    let hidden =
        clients.iter().zip(&shown).filter(|(_, shown)| !**shown).fold(0, |bits, (own, _)| bits | own);
    if hidden != 0 && hidden.count_ones() < k {
        let smallest = (0..clients.len()).filter(|i| shown[*i]).min_by_key(|i| clients[*i].count_ones());
        if let Some(smallest) = smallest {
            shown[smallest] = false;
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_cohorts_and_their_complements_are_hidden() {
        let bits = |n: u32| (1u64 << n) - 1;
        assert_eq!(visible(&[bits(20), bits(19)], 20), [false, false]);
        assert_eq!(visible(&[bits(20), bits(25)], 20), [true, true]);
        assert_eq!(visible(&[bits(20), bits(25), bits(3)], 20), [false, true, false]);
        // Two small ones are together enough.
        assert_eq!(visible(&[bits(25), bits(15), bits(15) << 15], 20), [true, false, false]);
        assert!(visible(&[], 20).is_empty());
    }
}
