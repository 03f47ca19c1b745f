//! Looking at blocks from outside: list, verify, dump, analyze. Functions that return data; the binary prints it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::seam::TimeRange;
use model::{Exemplar, Histogram, Labels, Matcher, Metadata, Samples, TenantId};

use crate::block::{Block, BlockMeta, BlockStats, META_FILE, NameStats, PairStats, TMP_SUFFIX};
use crate::disk::Disk;
use crate::head::sealed;
use crate::wal;
use crate::wal::record::{Reader, Replay};
use crate::wal::series_log::{Entry, read_entries};
use crate::{Error, Result};

/// A folder that is a block, or should be one.
#[derive(Debug)]
pub struct Listed {
    /// The folder.
    pub folder: PathBuf,
    /// What its meta file says, or why that cannot be read.
    pub meta: Result<BlockMeta>,
    /// Whether it is unfinished work that the next start removes.
    pub unfinished: bool,
}

/// The blocks in a folder, by name. Folders without a meta file that are not unfinished blocks are left out.
///
/// # Errors
/// `Io` when the folder cannot be listed.
pub fn list(disk: &dyn Disk, folder: &Path) -> Result<Vec<Listed>> {
    let mut blocks = Vec::new();
    for entry in disk.list(folder).map_err(Error::io("list", folder))?.into_iter().filter(|e| e.is_dir) {
        let path = folder.join(&entry.name);
        let meta = path.join(META_FILE);
        let unfinished = entry.name.ends_with(TMP_SUFFIX);
        if unfinished || disk.exists(&meta).map_err(Error::io("look for", &meta))? {
            let read = disk.read(&meta).map_err(Error::io("read", &meta));
            let meta = read.and_then(|bytes| BlockMeta::parse(&bytes, &meta));
            blocks.push(Listed { folder: path, meta, unfinished });
        }
    }
    Ok(blocks)
}

/// Where samples are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifiedKind {
    /// A block.
    Block,
    /// A sealed file.
    Sealed,
    /// A segment of a write-ahead log.
    Log,
    /// A log of series.
    Series,
}

/// What a verification found.
#[derive(Debug)]
pub struct Verified {
    /// The block's folder, or the file.
    pub folder: PathBuf,
    /// Each damaged part, with file and offset; empty when every byte is as it was written.
    pub damage: Vec<Error>,
    /// What it is.
    pub kind: VerifiedKind,
    /// Samples in the block as its meta file says, in the sealed file, or in the good part of the log; 0 when that cannot be
    /// read. A log may repeat what is sealed, and have a sample twice that was sent twice.
    pub samples: u64,
    /// Series that the block, or the log of series, names.
    pub series: u64,
}

/// Reads every byte of the block in `folder`, checks all checksums and decodes everything.
///
/// # Errors
/// `Io`; damage is the answer.
pub fn verify(disk: &dyn Disk, folder: &Path) -> Result<Verified> {
    match Block::open(disk, folder) {
        Ok(block) => {
            let (samples, series) = (block.meta().samples, block.meta().series);
            let kind = VerifiedKind::Block;
            Ok(Verified { folder: folder.to_owned(), damage: block.verify()?, kind, samples, series })
        }
        Err(err @ Error::Corrupt { .. }) => {
            let kind = VerifiedKind::Block;
            Ok(Verified { folder: folder.to_owned(), damage: vec![err], kind, samples: 0, series: 0 })
        }
        Err(err) => Err(err),
    }
}

/// A tenant's folder below a data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantFolder {
    /// The tenant.
    pub tenant: TenantId,
    /// Its folder.
    pub folder: PathBuf,
}

/// The tenants of a data folder.
///
/// # Errors
/// `Io` when the folder cannot be listed.
pub fn tenants(disk: &dyn Disk, data: &Path) -> Result<Vec<TenantFolder>> {
    let mut found = Vec::new();
    for entry in disk.list(data).map_err(Error::io("list", data))?.into_iter().filter(|e| e.is_dir) {
        let folder = data.join(&entry.name);
        let is_tenant = ["wal", "sealed", "blocks"].iter().any(|part| {
            // What cannot be looked for is looked into, and fails there with its reason.
            disk.exists(&folder.join(part)).unwrap_or(true)
        });
        if let (true, Ok(tenant)) = (is_tenant, TenantId::new(&entry.name)) {
            found.push(TenantFolder { tenant, folder });
        }
    }
    Ok(found)
}

/// Files of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Files {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What lies beside a tenant's blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadFiles {
    /// Sealed files.
    pub sealed: Files,
    /// Segments of the write-ahead log, and the log of series.
    pub logs: Files,
    /// Samples in the segments, as [`Verified::samples`] counts them.
    pub log_samples: u64,
    /// Series in the log of series; those that were dropped since it was written anew are still in it.
    pub log_series: u64,
}

/// Counts what lies beside the blocks in a tenant's folder. Reads the logs.
///
/// # Errors
/// `Io`.
pub fn head_files(disk: &dyn Disk, tenant: &Path) -> Result<HeadFiles> {
    let count = |folder: PathBuf, suffixes: &[&str]| -> Result<Files> {
        let mut files = Files::default();
        if !disk.exists(&folder).map_err(Error::io("look for", &folder))? {
            return Ok(files);
        }
        for entry in disk.list(&folder).map_err(Error::io("list", &folder))? {
            if suffixes.iter().any(|suffix| entry.name.ends_with(suffix)) {
                files.count += 1;
                files.bytes += entry.len;
            }
        }
        Ok(files)
    };
    let wal = tenant.join("wal");
    let (sealed, logs) =
        (count(tenant.join("sealed"), &[".sealed"])?, count(wal.clone(), &[".wal", ".log"])?);
    let mut found = HeadFiles { sealed, logs, ..HeadFiles::default() };
    if logs.count > 0 {
        for entry in disk.list(&wal).map_err(Error::io("list", &wal))? {
            let kind = match entry.name.rsplit('.').next() {
                Some("wal") => VerifiedKind::Log,
                Some("log") => VerifiedKind::Series,
                _ => continue,
            };
            let log = verify_log(disk, wal.join(&entry.name), kind, true)?;
            found.log_samples += log.samples;
            found.log_series += log.series;
        }
    }
    Ok(found)
}

/// Verifies a data folder that nobody writes: every block, sealed file and log of every tenant, in that order. A torn end of the last log
/// segment is no damage: it is of a write that had not ended.
///
/// # Errors
/// `Io`; damage is the answer.
pub fn verify_data(disk: &Arc<dyn Disk>, data: &Path) -> Result<Vec<Verified>> {
    let mut found = Vec::new();
    for TenantFolder { folder, .. } in tenants(&**disk, data)? {
        let blocks = folder.join("blocks");
        if disk.exists(&blocks).map_err(Error::io("look for", &blocks))? {
            for block in list(&**disk, &blocks)?.into_iter().filter(|block| !block.unfinished) {
                found.push(verify(&**disk, &block.folder)?);
            }
        }
        let sealed = folder.join("sealed");
        if disk.exists(&sealed).map_err(Error::io("look for", &sealed))? {
            for entry in disk.list(&sealed).map_err(Error::io("list", &sealed))? {
                if let Some(number) = sealed::file_number(&entry.name) {
                    found.push(verify_sealed(disk, sealed.join(&entry.name), number)?);
                }
            }
        }
        let wal = folder.join("wal");
        if disk.exists(&wal).map_err(Error::io("look for", &wal))? {
            let entries = disk.list(&wal).map_err(Error::io("list", &wal))?;
            let last = entries.iter().rfind(|e| e.name.ends_with(".wal")).map(|e| e.name.clone());
            for entry in entries {
                let kind = match entry.name.rsplit('.').next() {
                    Some("wal") => VerifiedKind::Log,
                    Some("log") => VerifiedKind::Series,
                    _ => continue,
                };
                let may_be_torn = Some(&entry.name) == last.as_ref() || kind == VerifiedKind::Series;
                found.push(verify_log(&**disk, wal.join(&entry.name), kind, may_be_torn)?);
            }
        }
    }
    Ok(found)
}

fn verify_sealed(disk: &Arc<dyn Disk>, path: PathBuf, number: u64) -> Result<Verified> {
    let (mut damage, mut samples) = (Vec::new(), 0);
    match sealed::open_file(disk, &path, number) {
        Ok(chunks) => {
            let mut column_samples = Samples::default();
            for (_, chunk) in chunks {
                let read = chunk.open().and_then(|open| {
                    for column in open.columns() {
                        column_samples.clear();
                        open.read(column, &mut column_samples)?;
                        samples += column_samples.len() as u64;
                    }
                    Ok(())
                });
                damage.extend(read.err());
            }
        }
        Err(err @ Error::Corrupt { .. }) => damage.push(err),
        Err(err) => return Err(err),
    }
    Ok(Verified { folder: path, damage, kind: VerifiedKind::Sealed, samples, series: 0 })
}

/// Counts what a log says.
#[derive(Default)]
struct Count(u64);

impl Replay for Count {
    fn floats(&mut self, _: u64, samples: &[(u32, i64, f64)]) {
        self.0 += samples.len() as u64;
    }
    fn histogram(&mut self, _: u64, _: u32, _: i64, _: Arc<Histogram>) {
        self.0 += 1;
    }
    fn start(&mut self, _: u64, _: u32, _: i64, _: i64) {}
    fn exemplar(&mut self, _: u64, _: u32, _: Exemplar) {}
    fn metadata(&mut self, _: String, _: Metadata) {}
}

fn verify_log(disk: &dyn Disk, path: PathBuf, kind: VerifiedKind, may_be_torn: bool) -> Result<Verified> {
    let bytes = disk.read(&path).map_err(Error::io("read", &path))?;
    let header = if kind == VerifiedKind::Series { wal::series_log::HEADER } else { wal::SEGMENT_HEADER };
    let (mut damage, mut samples, mut series) = (Vec::new(), Count::default(), 0);
    if bytes.len() >= header {
        let mut frames = wal::frame::Frames::new(&bytes, header);
        let mut reader = Reader::default();
        let mut at = frames.offset();
        while let Ok(Some(payload)) = frames.next() {
            let read = match kind {
                VerifiedKind::Series => read_entries(payload, |entry| {
                    series += u64::from(matches!(entry, Entry::Series { .. }));
                    Ok(())
                }),
                _ => reader.read(payload, &mut samples),
            };
            damage.extend(read.err().map(|err| Error::corrupt(&path, at as u64, err.to_string())));
            at = frames.offset();
        }
        if at < bytes.len() && (!may_be_torn || wal::frame::good_behind(&bytes, at)) {
            damage.push(Error::corrupt(&path, at as u64, "a frame does not match its checksum"));
        }
    }
    // A segment that is shorter than its header was created and never begun; a series log is whole or absent.
    let begins = match kind {
        VerifiedKind::Series => wal::series_log::header(&bytes).is_some(),
        _ => wal::start_of(&bytes) != wal::Start::Damaged,
    };
    if !begins {
        damage = vec![Error::corrupt(&path, 0, "it does not begin as such a file does")];
    }
    Ok(Verified { folder: path, damage, kind, samples: samples.0, series })
}

/// Calls `each` with every series that passes all matchers and its samples in `range` (both ends included), in label
/// order. Returns how many series had samples.
///
/// # Errors
/// `Corrupt`, `Io`, and what `each` answers.
pub fn dump(
    block: &Arc<Block>,
    matchers: &[Matcher],
    range: TimeRange,
    mut each: impl FnMut(&Labels, &Samples) -> Result<()>,
) -> Result<u64> {
    let mut samples = Samples::default();
    let mut found = 0;
    for series in block.select(matchers, range)? {
        series.read(range, &mut samples)?;
        if !samples.is_empty() {
            found += 1;
            each(&series.labels()?, &samples)?;
        }
    }
    Ok(found)
}

/// What one metric costs in a block.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricStats {
    /// The metric's name.
    pub name: String,
    /// How many series.
    pub series: u64,
    /// How many samples.
    pub samples: u64,
    /// Bytes of its chunks, without times and index.
    pub bytes: u64,
}

/// What is in a block and where its bytes go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Analysis {
    /// The block's numbers.
    pub stats: BlockStats,
    /// Bytes of each part of the data file.
    pub sections: Vec<(&'static str, u64)>,
    /// Chunks of all series.
    pub chunks: u64,
    /// The metrics with the most bytes.
    pub metrics: Vec<MetricStats>,
    /// The label pairs with the most series.
    pub pairs: Vec<PairStats>,
    /// The label names with the most values.
    pub names: Vec<NameStats>,
}

/// Finds what a block's series, samples and bytes are made of; lists have at most `limit` entries.
///
/// # Errors
/// `Corrupt`, `Io`.
pub fn analyze(block: &Arc<Block>, limit: usize) -> Result<Analysis> {
    let stats = block.stats()?;
    let mut by_metric: BTreeMap<String, MetricStats> = BTreeMap::new();
    let mut chunks = 0;
    let mut scan = block.scan()?;
    while let Some(labels) = scan.next()? {
        let name = labels.metric_name();
        let metric = match by_metric.get_mut(name) {
            Some(metric) => metric,
            None => by_metric.entry(name.to_owned()).or_default(),
        };
        metric.series += 1;
        metric.samples += scan.samples()?;
        metric.bytes += scan.chunk_bytes();
        chunks += scan.chunks() as u64;
    }
    let mut metrics: Vec<MetricStats> =
        by_metric.into_iter().map(|(name, metric)| MetricStats { name, ..metric }).collect();
    metrics.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.name.cmp(&b.name)));
    metrics.truncate(limit);
    let mut names = stats.names.clone();
    names.sort_by(|a, b| b.values.cmp(&a.values).then_with(|| a.name.cmp(&b.name)));
    names.truncate(limit);
    let pairs = block.top_pairs(None, limit)?;
    Ok(Analysis { sections: block.section_bytes(), chunks, metrics, pairs, names, stats })
}

#[cfg(test)]
mod tests {
    use model::Timestamp;

    use super::*;
    use crate::block::BlockWriter;
    use crate::disk::FaultDisk;

    const ALL: TimeRange = TimeRange { start: Timestamp::MIN, end: Timestamp::MAX };

    fn disk() -> FaultDisk {
        let disk = FaultDisk::new();
        let mut writer =
            BlockWriter::create(Arc::new(disk.clone()), Path::new("/d/b1"), BlockMeta::new("b1", 0)).unwrap();
        for (name, host, n) in [("a", "x", 3), ("a", "y", 2), ("b", "x", 1)] {
            let mut samples = Samples::default();
            (0..n).for_each(|i| samples.push_float(i, i as f64));
            writer.add_series(&Labels::from_pairs([("__name__", name), ("host", host)]), &samples).unwrap();
        }
        writer.finish().unwrap();
        disk
    }

    #[test]
    fn blocks_are_listed_dumped_and_analyzed() {
        let disk = disk();
        BlockWriter::create(Arc::new(disk.clone()), Path::new("/d/b2"), BlockMeta::new("b2", 0)).unwrap();
        disk.create_dir_all(Path::new("/d/wal")).unwrap();
        let listed = list(&disk, Path::new("/d")).unwrap();
        assert_eq!(listed.len(), 2);
        assert_eq!(listed[0].meta.as_ref().unwrap().samples, 6);
        assert!(listed[1].unfinished && listed[1].meta.is_err());

        let block = Block::open(&disk, Path::new("/d/b1")).unwrap();
        let mut lines = Vec::new();
        let range = TimeRange { start: Timestamp(1), end: Timestamp(9) };
        let found = dump(&block, &[Matcher::equal("host", "x")], range, |labels, samples| {
            lines.push(format!("{labels} {:?}", samples.times));
            Ok(())
        });
        assert_eq!(found.unwrap(), 1);
        assert_eq!(lines, [r#"a{host="x"} [1, 2]"#]);
        assert_eq!(dump(&block, &[], ALL, |_, _| Ok(())).unwrap(), 3);

        let analysis = analyze(&block, 1).unwrap();
        assert_eq!((analysis.metrics[0].name.as_str(), analysis.metrics[0].samples), ("a", 5));
        assert_eq!(analysis.pairs.len(), 1);
        assert_eq!(analysis.names[0].values, 2);
        assert_eq!(analysis.chunks, 3);
        let bytes: u64 = analysis.sections.iter().map(|(_, bytes)| bytes).sum();
        assert!(bytes < block.meta().bytes);
    }

    #[test]
    fn verify_names_the_damage() {
        let disk = disk();
        assert!(verify(&disk, Path::new("/d/b1")).unwrap().damage.is_empty());
        disk.flip(Path::new("/d/b1/data"), 12, 4).unwrap();
        let damage = verify(&disk, Path::new("/d/b1")).unwrap().damage;
        assert!(damage[0].to_string().contains("/d/b1/data"), "{damage:?}");
        disk.flip(Path::new("/d/b1/data"), 0, 4).unwrap();
        assert_eq!(verify(&disk, Path::new("/d/b1")).unwrap().damage.len(), 1);
        assert!(matches!(verify(&disk, Path::new("/d/none")), Err(Error::Io { .. })));
    }
}
