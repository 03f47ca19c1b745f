//! A bounded map that forgets what was used longest ago.

use std::collections::BTreeMap;
use std::hash::Hash;

use hashbrown::HashMap;

/// Values with sizes, together at most `bound`.
#[derive(Debug)]
pub(crate) struct Lru<K, V> {
    entries: HashMap<K, Entry<V>>,
    /// Keys by the moment of their last use.
    order: BTreeMap<u64, K>,
    tick: u64,
    total: u64,
    bound: u64,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    size: u64,
    used: u64,
}

impl<K: Copy + Eq + Hash, V: Clone> Lru<K, V> {
    pub(crate) fn new(bound: u64) -> Self {
        Self { entries: HashMap::new(), order: BTreeMap::new(), tick: 0, total: 0, bound }
    }

    /// The sizes of all values together.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn get(&mut self, key: &K) -> Option<V> {
        let entry = self.entries.get_mut(key)?;
        self.order.remove(&entry.used);
        self.tick += 1;
        entry.used = self.tick;
        self.order.insert(self.tick, *key);
        Some(entry.value.clone())
    }

    pub(crate) fn remove(&mut self, key: &K) -> Option<V> {
        let entry = self.entries.remove(key)?;
        self.order.remove(&entry.used);
        self.total -= entry.size;
        Some(entry.value)
    }

    /// Puts a value in and takes out the oldest ones until the bound holds; the keys that went. A value larger than the
    /// bound goes at once.
    pub(crate) fn insert(&mut self, key: K, value: V, size: u64) -> Vec<K> {
        self.remove(&key);
        self.tick += 1;
        self.entries.insert(key, Entry { value, size, used: self.tick });
        self.order.insert(self.tick, key);
        self.total += size;
        let mut gone = Vec::new();
        while self.total > self.bound
            && let Some((_, &oldest)) = self.order.first_key_value()
        {
            self.remove(&oldest);
            gone.push(oldest);
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes() {
        let mut lru = Lru::new(10);
        assert!(lru.insert(1, "a", 4).is_empty());
        assert!(lru.insert(2, "b", 4).is_empty());
        assert_eq!(lru.get(&1), Some("a"));
        assert_eq!(lru.insert(3, "c", 4), [2]);
        assert_eq!((lru.get(&2), lru.get(&1), lru.total()), (None, Some("a"), 8));
        assert_eq!(lru.insert(4, "d", 11), [3, 1, 4]);
        assert_eq!(lru.total(), 0);
        lru.insert(1, "a", 4);
        lru.insert(1, "b", 5);
        assert_eq!((lru.get(&1), lru.total()), (Some("b"), 5));
    }
}
