//! What `up` says of every target, noted as it is stored: one small record a target, so that a round reads no series.
//!
//! [`FleetWatch::around`] wraps the storage's `Appender`. Samples count once the storage has taken them; older ones than the
//! newest known are ignored, so that a late sample changes nothing. `node_uname_info` marks its target as a host and names it.

use std::collections::HashMap;
use std::sync::Arc;

use hashbrown::HashTable;
use model::batch::SeriesKey;
use model::labels::{METRIC_NAME, iter_encoded};
use model::seam::BoxFuture;
use model::{Appended, Appender, Batch, Labels, SeamError, TenantId};
use parking_lot::Mutex;

use super::FleetConfig;
use super::codec::Code;

/// No sample yet.
const NEVER: i64 = i64::MIN;
/// Labels that say which machine a target runs on, best first.
pub(crate) const HOST_LABELS: [&str; 3] = ["nodename", "host", "hostname"];
/// What `node_uname_info` says of the machine itself: no part of a target's identity.
const UNAME: [&str; 6] = ["domainname", "machine", "nodename", "release", "sysname", "version"];
const UNAME_INFO: &str = "node_uname_info";

/// A text of the table's arena.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Text {
    at: u32,
    len: u16,
}

impl Text {
    pub(crate) fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// One target.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    identity: u64,
    series: u64,
    /// Newest sample, milliseconds since the epoch.
    pub(crate) last_ms: i64,
    pub(crate) instance: Text,
    /// The machine's name; empty when no label and no `node_uname_info` says it.
    pub(crate) host: Text,
    pub(crate) job: u32,
    pub(crate) place: u32,
    pub(crate) slot: u32,
    /// Failed tries in a row, as far as 255.
    failed: u8,
    stale: bool,
    /// `node_uname_info` came from it.
    pub(crate) uname: bool,
    /// Out of the map until it is seen again.
    pub(crate) gone: bool,
}

/// Names of the four place levels, as symbols; 0 is "none".
pub(crate) type Place = [u32; 4];

/// Every target that has been seen.
#[derive(Debug)]
pub(crate) struct Table {
    by_identity: HashTable<u32>,
    by_series: HashTable<u32>,
    pub(crate) list: Vec<Target>,
    text: String,
    symbols: Vec<Box<str>>,
    symbol_of: HashMap<Box<str>, u32>,
    pub(crate) places: Vec<Place>,
    place_of: HashMap<Place, u32>,
    /// Counts up when the set of targets or what names them changes.
    pub(crate) changes: u64,
    /// Counts up when the positions of targets change.
    pub(crate) epoch: u64,
    /// Targets beyond the limit.
    pub(crate) refused: u64,
    max: usize,
}

impl Table {
    pub(crate) fn new(max: usize) -> Self {
        let mut table = Self {
            by_identity: HashTable::new(),
            by_series: HashTable::new(),
            list: Vec::new(),
            text: String::new(),
            symbols: Vec::new(),
            symbol_of: HashMap::new(),
            places: Vec::new(),
            place_of: HashMap::new(),
            changes: 0,
            epoch: 0,
            refused: 0,
            max,
        };
        table.symbol("");
        table
    }

    pub(crate) fn str(&self, text: Text) -> &str {
        let at = text.at as usize;
        self.text.get(at..at + usize::from(text.len)).unwrap_or_default()
    }

    pub(crate) fn name(&self, symbol: u32) -> &str {
        &self.symbols[symbol as usize]
    }

    /// Every symbol's name, by symbol.
    pub(crate) fn names(&self) -> &[Box<str>] {
        &self.symbols
    }

    /// Memory that the table holds, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let tables = (self.by_identity.capacity() + self.by_series.capacity()) * 6;
        let names: usize = self.symbols.iter().map(|name| 2 * name.len() + 56).sum();
        self.list.capacity() * size_of::<Target>()
            + self.text.capacity()
            + tables
            + names
            + self.places.len() * 48
    }

    fn symbol(&mut self, name: &str) -> u32 {
        if let Some(&known) = self.symbol_of.get(name) {
            return known;
        }
        let symbol = self.symbols.len() as u32;
        self.symbols.push(name.into());
        self.symbol_of.insert(name.into(), symbol);
        symbol
    }

    fn keep(&mut self, text: &str) -> Text {
        // Labels are shorter than 64 KiB behind the gate; a longer one is cut at a character.
        let mut len = text.len().min(usize::from(u16::MAX));
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        let Ok(at) = u32::try_from(self.text.len()) else { return Text::default() };
        self.text.push_str(text.get(..len).unwrap_or_default());
        Text { at, len: len as u16 }
    }

    /// The target whose `up` or `node_uname_info` has these labels; made when it is new and there is room.
    fn target(&mut self, labels: &[u8], info: bool) -> Option<u32> {
        let identity = identity(labels);
        let found =
            self.by_identity.find(identity, |&at| self.list[at as usize].identity == identity).copied();
        if found.is_some() {
            return found;
        }
        if self.list.len() >= self.max {
            self.refused += 1;
            return None;
        }
        let get = |names: &[&str]| {
            names.iter().find_map(|name| iter_encoded(labels).find(|(n, _)| n == name)).map_or("", |(_, v)| v)
        };
        let place = [
            self.symbol(get(&["region"])),
            self.symbol(get(&["datacenter", "dc", "cluster", "zone"])),
            self.symbol(get(&["row"])),
            self.symbol(get(&["rack"])),
        ];
        let next = self.places.len() as u32;
        let place = *self.place_of.entry(place).or_insert_with(|| {
            self.places.push(place);
            next
        });
        let host = if info { "" } else { get(&HOST_LABELS) };
        let target = Target {
            identity,
            series: u64::MAX,
            last_ms: NEVER,
            instance: self.keep(get(&["instance"])),
            host: self.keep(host),
            job: self.symbol(get(&["job"])),
            place,
            slot: self.symbol(get(&["slot", "unit"])),
            failed: 0,
            stale: false,
            uname: false,
            gone: false,
        };
        let at = self.list.len() as u32;
        self.list.push(target);
        let list = &self.list;
        self.by_identity.insert_unique(identity, at, |&at| list[at as usize].identity);
        Some(at)
    }

    fn learn(&mut self, target: u32, series: u64) {
        let known = self.list[target as usize].series;
        if known == series {
            return;
        }
        self.forget_series(known);
        self.list[target as usize].series = series;
        let list = &self.list;
        self.by_series.insert_unique(mix(series), target, |&at| mix(list[at as usize].series));
    }

    fn forget_series(&mut self, series: u64) {
        let list = &self.list;
        if let Ok(entry) = self.by_series.find_entry(mix(series), |&at| list[at as usize].series == series) {
            let (at, _) = entry.remove();
            self.list[at as usize].series = u64::MAX;
        }
    }

    /// Takes a sample of `up` into account.
    pub(crate) fn sample(&mut self, target: u32, time: i64, value: f64) {
        let target = &mut self.list[target as usize];
        if time <= target.last_ms {
            return;
        }
        self.changes += u64::from(target.gone || target.last_ms == NEVER);
        target.gone = false;
        target.last_ms = time;
        target.stale = model::is_stale(value);
        target.failed = if value == 0.0 { target.failed.saturating_add(1) } else { 0 };
    }

    /// Samples of one series of `up`, oldest first, by its labels.
    pub(crate) fn samples(&mut self, labels: &Labels, samples: &model::Samples) {
        let Some(target) = self.target(labels.as_encoded(), false) else { return };
        for (time, value) in samples.times.iter().zip(&samples.values) {
            self.sample(target, *time, *value);
        }
    }

    /// What `node_uname_info` says of its target.
    pub(crate) fn info(&mut self, labels: &[u8]) {
        let Some(target) = self.target(labels, true) else { return };
        let name = iter_encoded(labels).find(|(name, _)| *name == "nodename").map_or("", |(_, value)| value);
        let known = &self.list[target as usize];
        if known.uname && self.str(known.host) == name {
            return;
        }
        // A label that people gave wins over what the machine calls itself.
        let text = if known.host.len == 0 || known.uname { self.keep(name) } else { known.host };
        let target = &mut self.list[target as usize];
        target.host = text;
        target.uname = true;
        self.changes += 1;
    }

    /// What a target says of its server at `now_ms`.
    pub(crate) fn code(target: &Target, now_ms: i64, dead_after: usize) -> Code {
        if target.last_ms <= now_ms - super::LOOKBACK_MS || target.stale {
            Code::NoData
        } else if usize::from(target.failed) >= dead_after.clamp(1, 255) {
            Code::Critical
        } else {
            Code::Ok
        }
    }

    /// Takes targets that were not seen since `before_ms` off the map; whether there were any. Their memory goes when they are many.
    pub(crate) fn forget(&mut self, before_ms: i64) -> bool {
        let (mut gone, mut any) = (0, false);
        for target in &mut self.list {
            let old = target.last_ms < before_ms && target.last_ms != NEVER;
            any |= old && !target.gone;
            target.gone |= old;
            gone += usize::from(target.gone);
        }
        if gone > 1000 && gone > self.list.len() / 4 {
            self.compact();
        }
        any
    }

    fn compact(&mut self) {
        let old = std::mem::replace(self, Self::new(self.max));
        self.changes = old.changes + 1;
        self.epoch = old.epoch + 1;
        self.refused = old.refused;
        for target in old.list.iter().filter(|target| !target.gone) {
            let place = old.places[target.place as usize].map(|symbol| self.symbol(old.name(symbol)));
            let next = self.places.len() as u32;
            let place = *self.place_of.entry(place).or_insert_with(|| {
                self.places.push(place);
                next
            });
            let made = Target {
                instance: self.keep(old.str(target.instance)),
                host: self.keep(old.str(target.host)),
                job: self.symbol(old.name(target.job)),
                slot: self.symbol(old.name(target.slot)),
                place,
                series: u64::MAX,
                ..target.clone()
            };
            let at = self.list.len() as u32;
            let identity = made.identity;
            self.list.push(made);
            let list = &self.list;
            self.by_identity.insert_unique(identity, at, |&at| list[at as usize].identity);
            if target.series != u64::MAX {
                self.learn(at, target.series);
            }
        }
    }
}

fn mix(series: u64) -> u64 {
    (series ^ (series >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// FNV-1a, finished so that every bit depends on every other, over the labels that tell one target from another.
fn identity(labels: &[u8]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut add = |text: &str| {
        for byte in text.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for (name, value) in iter_encoded(labels) {
        if name != METRIC_NAME && !UNAME.contains(&name) {
            add(name);
            add(value);
        }
    }
    mix(hash)
}

/// Which of the two metrics a series is of: `Some(true)` for `node_uname_info`.
fn watched(labels: &[u8]) -> Option<bool> {
    for (name, value) in iter_encoded(labels) {
        if name >= METRIC_NAME {
            return match value {
                "up" if name == METRIC_NAME => Some(false),
                UNAME_INFO if name == METRIC_NAME => Some(true),
                _ => None,
            };
        }
    }
    None
}

/// Sees what is stored on behalf of the fleet map.
#[derive(Clone)]
pub struct FleetWatch {
    pub(crate) table: Arc<Mutex<Table>>,
}

impl FleetWatch {
    /// With the bounds of `config`.
    pub fn new(config: &FleetConfig) -> Self {
        Self { table: Arc::new(Mutex::new(Table::new(config.max_targets))) }
    }

    /// An appender that hands on to `inner` and notes what became of `up`.
    pub fn around(&self, inner: Arc<dyn Appender>) -> Arc<dyn Appender> {
        Arc::new(Tap { inner, table: Arc::clone(&self.table), tenant: TenantId::default() })
    }
}

struct Tap {
    inner: Arc<dyn Appender>,
    table: Arc<Mutex<Table>>,
    tenant: TenantId,
}

impl Appender for Tap {
    fn append<'a>(
        &'a self,
        tenant: &'a TenantId,
        batch: &'a Batch,
    ) -> BoxFuture<'a, Result<Appended, SeamError>> {
        Box::pin(async move {
            let appended = self.inner.append(tenant, batch).await?;
            if *tenant == self.tenant {
                self.note(batch, &appended);
            }
            Ok(appended)
        })
    }
}

impl Tap {
    fn note(&self, batch: &Batch, appended: &Appended) {
        let mut table = self.table.lock();
        // Series of `up` in this batch and their targets: rarely more than one.
        let mut found: Vec<(u32, u32)> = Vec::new();
        for (series, key) in (0u32..).zip(batch.series()) {
            match key {
                SeriesKey::Ref(series_ref) => {
                    let wanted = series_ref.0;
                    let list = &table.list;
                    let known = table.by_series.find(mix(wanted), |&at| list[at as usize].series == wanted);
                    found.extend(known.map(|&target| (series, target)));
                }
                SeriesKey::Labels(_) => {
                    let labels = batch.label_bytes(series).unwrap_or_default();
                    match watched(labels) {
                        None => {}
                        Some(true) => table.info(labels),
                        Some(false) => {
                            let Some(target) = table.target(labels, false) else { continue };
                            if let Some(Some(series_ref)) = appended.refs.get(series as usize) {
                                table.learn(target, series_ref.0);
                            }
                            found.push((series, target));
                        }
                    }
                }
            }
        }
        for &series in &appended.unknown_refs {
            if let Some(SeriesKey::Ref(series_ref)) = batch.series().get(series as usize) {
                table.forget_series(series_ref.0);
            }
        }
        let refused = |series: u32| {
            appended.unknown_refs.contains(&series)
                || appended.rejected.iter().any(|one| one.series == series)
        };
        found.retain(|(series, _)| !refused(*series));
        if found.is_empty() {
            return;
        }
        // Both are ascending by series in the usual batch; look-up by binary search serves the others too.
        for sample in batch.floats() {
            if let Ok(at) = found.binary_search_by_key(&sample.series, |(series, _)| *series) {
                table.sample(found[at].1, sample.time, sample.value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::batch::SeriesRef;
    use model::{STALE_NAN, Samples};

    /// Gives each series its index as reference and takes everything.
    struct Takes;
    impl Appender for Takes {
        fn append<'a>(
            &'a self,
            _: &'a TenantId,
            batch: &'a Batch,
        ) -> BoxFuture<'a, Result<Appended, SeamError>> {
            let refs = (0..batch.series().len()).map(|at| Some(SeriesRef(at as u64))).collect();
            Box::pin(
                async move { Ok(Appended { accepted: batch.sample_count(), refs, ..Appended::default() }) },
            )
        }
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        Labels::from_pairs(pairs.iter().copied())
    }

    fn code(table: &Table, at: usize, now: i64) -> Code {
        Table::code(&table.list[at], now, 3)
    }

    #[test]
    fn a_target_is_dead_only_after_several_tries() {
        let mut table = Table::new(10);
        let up = labels(&[("__name__", "up"), ("instance", "a:9100"), ("job", "node")]);
        let mut samples = Samples::default();
        for (time, value) in [(1, 1.0), (2, 0.0), (3, 0.0)] {
            samples.push_float(time, value);
        }
        table.samples(&up, &samples);
        assert_eq!(code(&table, 0, 3), Code::Ok);
        table.sample(0, 4, 0.0);
        assert_eq!(code(&table, 0, 4), Code::Critical);
        table.sample(0, 3, 1.0);
        assert_eq!(code(&table, 0, 4), Code::Critical, "a late sample changes nothing");
        table.sample(0, 5, 1.0);
        assert_eq!(code(&table, 0, 5), Code::Ok);
        table.sample(0, 6, f64::from_bits(STALE_NAN));
        assert_eq!(code(&table, 0, 6), Code::NoData);
        table.sample(0, 7, 1.0);
        assert_eq!(code(&table, 0, 7 + super::super::LOOKBACK_MS), Code::NoData);
    }

    #[tokio::test]
    async fn samples_are_seen_on_their_way_by_labels_and_by_reference() {
        let watch = FleetWatch::new(&FleetConfig::default());
        let tap = watch.around(Arc::new(Takes));
        let tenant = TenantId::default();
        let mut batch = Batch::new();
        let up = batch.add_series(&labels(&[("__name__", "up"), ("instance", "a:9100"), ("job", "node")]));
        let other = batch.add_series(&labels(&[("__name__", "x"), ("instance", "a:9100"), ("job", "node")]));
        batch.push_float(up, 10, 1.0);
        batch.push_float(other, 10, 0.0);
        tap.append(&tenant, &batch).await.unwrap();
        batch.clear();
        let up = batch.add_series_ref(SeriesRef(0));
        batch.push_float(up, 20, 0.0);
        tap.append(&tenant, &batch).await.unwrap();
        let table = watch.table.lock();
        assert_eq!((table.list.len(), table.list[0].last_ms, table.list[0].failed), (1, 20, 1));
    }

    #[tokio::test]
    async fn uname_names_the_machine_of_its_target() {
        let watch = FleetWatch::new(&FleetConfig::default());
        let tap = watch.around(Arc::new(Takes));
        let mut batch = Batch::new();
        let own = [("instance", "10.0.0.7:9100"), ("job", "node"), ("rack", "r1")];
        let mut info = own.to_vec();
        info.extend([("__name__", "node_uname_info"), ("nodename", "web1"), ("release", "6.1")]);
        batch.add_series(&labels(&info));
        let mut up = own.to_vec();
        up.push(("__name__", "up"));
        batch.add_series(&labels(&up));
        tap.append(&TenantId::default(), &batch).await.unwrap();
        let table = watch.table.lock();
        assert_eq!(table.list.len(), 1);
        assert_eq!((table.str(table.list[0].host), table.list[0].uname), ("web1", true));
    }

    #[test]
    fn the_table_is_bounded_and_forgets() {
        let mut table = Table::new(3000);
        let mut samples = Samples::default();
        samples.push_float(5, 1.0);
        for i in 0..3001 {
            let name = format!("h{i}");
            table.samples(&labels(&[("__name__", "up"), ("instance", &name)]), &samples);
        }
        assert_eq!((table.list.len(), table.refused), (3000, 1));
        for at in 0..10 {
            table.sample(at, 100, 1.0);
        }
        assert!(table.forget(50));
        assert_eq!(table.list.len(), 10, "the memory of many is given back");
        assert_eq!(table.str(table.list[3].instance), "h3");
        assert!(!table.forget(50));
        assert!(table.bytes() > 0);
    }
}
