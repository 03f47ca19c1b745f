//! Target groups in files.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::{Group, Out};
use crate::config::FileSdConfig;

/// The files that match a pattern whose last part may hold one `*`; sorted. A pattern without `*` gives the path itself when
/// the file exists. A folder that does not exist has no files. Blocks.
///
/// # Errors
/// The folder cannot be listed.
pub fn matching(pattern: &str) -> io::Result<Vec<PathBuf>> {
    let Some((before, after)) = pattern.split_once('*') else {
        let path = PathBuf::from(pattern);
        return Ok(if path.exists() { vec![path] } else { Vec::new() });
    };
    let (folder, prefix) = match before.rsplit_once('/') {
        Some(("", prefix)) => ("/", prefix),
        Some((folder, prefix)) => (folder, prefix),
        None => (".", before),
    };
    let entries = match std::fs::read_dir(folder) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        let fits = name.len() >= prefix.len() + after.len()
            && name.starts_with(prefix)
            && name.ends_with(after)
            // As in a shell, a leading dot is matched by a dot only.
            && (prefix.starts_with('.') || !name.starts_with('.'));
        if fits {
            found.push(if before.contains('/') { Path::new(folder).join(name) } else { PathBuf::from(name) });
        }
    }
    found.sort();
    Ok(found)
}

/// The label that names the file.
const FILE_PATH: &str = "__meta_filepath";
/// How often the files' times and sizes are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// Larger files are refused.
const MAX_BYTES: u64 = 64 << 20;

/// What tells whether files have changed.
type Stamps = Vec<(PathBuf, Option<SystemTime>, u64)>;

/// Reads the files, again when they change, until cancelled.
pub(crate) async fn run(config: FileSdConfig, mut out: Out) {
    let mut last: Option<Stamps> = None;
    let mut read_at = Instant::now();
    let mut good: BTreeMap<PathBuf, Vec<Group>> = BTreeMap::new();
    loop {
        let patterns = config.files.clone();
        let stamps = blocking(move || stamps(&patterns)).await;
        match stamps {
            Err(reason) => out.failed(reason).await,
            Ok(stamps) => {
                let due = read_at.elapsed() >= config.refresh_interval.to_std();
                if due || last.as_ref() != Some(&stamps) {
                    read_at = Instant::now();
                    let mut failed = Vec::new();
                    good.retain(|path, _| stamps.iter().any(|(p, ..)| p == path));
                    for (path, ..) in &stamps {
                        let file = path.clone();
                        match blocking(move || read(&file)).await {
                            Ok(groups) => drop(good.insert(path.clone(), groups)),
                            // What the file said before stays true until it can be read again.
                            Err(reason) => failed.push(reason),
                        }
                    }
                    last = Some(stamps);
                    out.all(good.values().flatten().cloned().collect()).await;
                    if !failed.is_empty() {
                        out.failed(failed.join("; ")).await;
                    }
                }
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|err| err.to_string()).flatten()
}

fn stamps(patterns: &[String]) -> Result<Stamps, String> {
    let mut stamps = Vec::new();
    for pattern in patterns {
        for path in matching(pattern).map_err(|err| format!("cannot list {pattern:?}: {err}"))? {
            let meta = std::fs::metadata(&path).map_err(|err| format!("cannot look at {path:?}: {err}"))?;
            stamps.push((path, meta.modified().ok(), meta.len()));
        }
    }
    stamps.sort();
    stamps.dedup();
    Ok(stamps)
}

/// Reads one file of groups, JSON or YAML by its name. Blocks.
fn read(path: &Path) -> Result<Vec<Group>, String> {
    let fail = |err: &dyn std::fmt::Display| format!("cannot read target groups from {path:?}: {err}");
    let size = std::fs::metadata(path).map_err(|err| fail(&err))?.len();
    if size > MAX_BYTES {
        return Err(fail(&format!("the file is larger than {MAX_BYTES} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|err| fail(&err))?;
    parse(
        &text,
        path.extension().is_some_and(|ext| ext.eq_ignore_ascii_case("json")),
        &path.to_string_lossy(),
    )
    .map_err(|err| fail(&err))
}

/// Reads groups from JSON or YAML; `path` becomes their source and `__meta_filepath`.
pub(crate) fn parse(text: &str, json: bool, path: &str) -> Result<Vec<Group>, String> {
    let groups: Vec<Option<Group>> = match json {
        true => serde_json::from_str(text).map_err(|err| err.to_string())?,
        false => yaml::read::<Option<_>>(text).map_err(|err| err.to_string())?.unwrap_or_default(),
    };
    let mut out = Vec::with_capacity(groups.len());
    for (index, group) in groups.into_iter().enumerate() {
        let Some(mut group) = group else { return Err("nil target group item found".into()) };
        group.source = format!("{path}:{index}");
        group.labels.insert(FILE_PATH.into(), path.to_owned());
        out.push(group);
    }
    Ok(out)
}
