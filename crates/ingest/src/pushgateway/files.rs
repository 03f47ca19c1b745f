//! Groups on disk, a file each: a line of JSON (key, times, metadata), then the series as a remote write 2.0 message with a checksum.
//! Written beside, synced, then renamed, so that a file is whole or not there. Layout: docs/formats/pushgateway.md.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{Batch, Labels, Metadata, TenantId};
use serde::{Deserialize, Serialize};
use wire::remote_write::{Decoder, Message, encode};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::FolderError;
use super::group::{Group, Value};

const SUFFIX: &str = "group";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Header {
    version: u32,
    tenant: String,
    key: Labels,
    push_time_ms: i64,
    failure_time_ms: i64,
    metadata: BTreeMap<String, Metadata>,
    /// The family of each series, by the order of the message.
    families: Vec<String>,
    /// xxh3-64 of the message.
    checksum: u64,
}

type Id = (TenantId, Labels);

fn path(folder: &Path, id: &Id) -> PathBuf {
    let mut bytes = id.0.as_str().as_bytes().to_vec();
    bytes.push(0);
    bytes.extend_from_slice(id.1.as_encoded());
    folder.join(format!("{:032x}.{SUFFIX}", xxh3_128(&bytes)))
}

fn bytes(id: &Id, group: &Group) -> Vec<u8> {
    let mut batch = Batch::new();
    let mut families = Vec::with_capacity(group.series.len());
    for (labels, (family, value)) in &group.series {
        families.push(family.clone());
        let index = batch.add_series(labels);
        match value {
            Value::Float(value) => batch.push_float(index, 0, *value),
            Value::Histogram(histogram) => batch.push_histogram(index, 0, Arc::clone(histogram)),
        }
    }
    let message = encode(Message::V2, &batch, &|_| None);
    let header = Header {
        version: VERSION,
        tenant: id.0.as_str().to_owned(),
        key: id.1.clone(),
        push_time_ms: group.push_time,
        failure_time_ms: group.failure_time,
        metadata: group.metadata.clone(),
        families,
        checksum: xxh3_64(&message),
    };
    let mut out = serde_json::to_vec(&header).expect("a header of texts and numbers is JSON");
    out.push(b'\n');
    out.extend_from_slice(&message);
    out
}

fn parse(bytes: &[u8]) -> Result<(Id, Group), String> {
    let end = bytes.iter().position(|b| *b == b'\n').ok_or("it has no header")?;
    let (header, message) = bytes.split_at(end);
    let header: Header =
        serde_json::from_slice(header).map_err(|err| format!("its header is wrong: {err}"))?;
    if header.version != VERSION {
        return Err(format!("it has version {}, this program reads {VERSION}", header.version));
    }
    let message = message.get(1..).unwrap_or_default();
    if xxh3_64(message) != header.checksum {
        return Err("its checksum is wrong".into());
    }
    let mut batch = Batch::new();
    Decoder::new(0).decode(Message::V2, message, &mut batch).map_err(|err| err.to_string())?;
    if batch.series().len() != header.families.len() {
        return Err("its series and families do not match".into());
    }
    let mut group = Group {
        key: header.key.clone(),
        metadata: header.metadata,
        push_time: header.push_time_ms,
        failure_time: header.failure_time_ms,
        ..Group::default()
    };
    let floats = batch.floats().iter().map(|s| (s.series, Value::Float(s.value)));
    let histograms =
        batch.histograms().iter().map(|s| (s.series, Value::Histogram(Arc::clone(&s.histogram))));
    for (series, value) in floats.chain(histograms) {
        let labels =
            batch.label_bytes(series).and_then(Labels::from_encoded).ok_or("a series has no labels")?;
        let family = header.families.get(series as usize).cloned().unwrap_or_default();
        group.series.insert(labels, (family, value));
    }
    let tenant = TenantId::new(&header.tenant).map_err(|err| err.to_string())?;
    Ok(((tenant, header.key), group))
}

/// Reads every group; creates the folder.
pub(super) fn load(folder: &Path) -> Result<BTreeMap<Id, Group>, FolderError> {
    let failed = |verb: &'static str| {
        let path = folder.to_owned();
        move |source| FolderError { verb, path, source }
    };
    std::fs::create_dir_all(folder).map_err(failed("create"))?;
    let mut groups = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(failed("read"))? {
        let path = entry.map_err(failed("read"))?.path();
        if path.extension().is_none_or(|e| e != SUFFIX) {
            continue;
        }
        let bytes = std::fs::read(&path).map_err(failed("read a file of"))?;
        match parse(&bytes) {
            Ok((id, group)) => {
                groups.insert(id, group);
            }
            Err(reason) => {
                tracing::error!(?path, %reason, "a pushed group is damaged; it is left alone and not stored")
            }
        }
    }
    Ok(groups)
}

pub(super) async fn write(folder: &Path, id: &Id, group: &Group) -> Result<(), String> {
    let (folder, path, bytes) = (folder.to_owned(), path(folder, id), bytes(id, group));
    off_thread(move || {
        let beside = path.with_extension("new");
        let mut file = std::fs::File::create(&beside)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, &path)?;
        std::fs::File::open(&folder)?.sync_all()
    })
    .await
    .map_err(|err| format!("the pushed group cannot be kept: {err}"))
}

pub(super) async fn remove(folder: &Path, id: &Id) -> Result<(), String> {
    let (folder, path) = (folder.to_owned(), path(folder, id));
    off_thread(move || {
        match std::fs::remove_file(&path) {
            Err(err) if err.kind() != std::io::ErrorKind::NotFound => return Err(err),
            _ => {}
        }
        std::fs::File::open(&folder)?.sync_all()
    })
    .await
    .map_err(|err| format!("the pushed group's file cannot be removed: {err}"))
}

async fn off_thread(work: impl FnOnce() -> std::io::Result<()> + Send + 'static) -> std::io::Result<()> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(err) => Err(std::io::Error::other(err)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::exposition::Format;

    #[tokio::test]
    async fn a_group_survives_and_damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let key = Labels::from_pairs([("job", "j"), ("x", "1")]);
        let body = b"# TYPE a counter\n# HELP a h\na{l=\"1\"} 1.5\nb NaN\n";
        let mut group = Group::read(Format::Text004, body, &key).unwrap();
        (group.push_time, group.failure_time) = (5, 3);
        let id = (TenantId::default(), key);
        write(folder.path(), &id, &group).await.unwrap();
        let back = load(folder.path()).unwrap();
        assert_eq!(format!("{:?}", back.get(&id).unwrap()), format!("{group:?}"));
        let path = path(folder.path(), &id);
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert!(load(folder.path()).unwrap().is_empty() && path.exists());
        remove(folder.path(), &id).await.unwrap();
        assert!(!path.exists());
    }
}
