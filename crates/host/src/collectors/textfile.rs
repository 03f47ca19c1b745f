//! `textfile`: samples that programs leave in `*.prom` files of a folder.
//!
//! A file that cannot be read, holds timestamps or is not in Prometheus' text format costs its own samples, is named in the log and
//! makes `node_textfile_scrape_error` 1.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use model::{Family, Labels, Metadata};
use wire::exposition::{Cache, Describe, Format, Point, Series, Visitor, read};

use crate::files::{self, Files};
use crate::mounts::{Mounts, Silent};
use crate::output::Output;
use crate::{Collector, Error};

/// Files of one folder, and samples of one file, that are read.
const MAX_FILES: usize = 1000;
const MAX_SAMPLES: usize = 50_000;

pub(crate) struct TextFile {
    folders: Vec<PathBuf>,
    /// What was wrong last time, so that it is logged once.
    last: BTreeMap<PathBuf, String>,
    mounts: Arc<Mutex<Mounts>>,
}

impl TextFile {
    /// `directories`: separated by commas; a `*` or `?` in the last part of a path stands for several.
    /// `mounts`: a folder on a mount that does not answer is not read.
    pub(crate) fn new(directories: &str, mounts: Arc<Mutex<Mounts>>) -> Self {
        let folders = directories.split(',').map(str::trim).filter(|path| !path.is_empty());
        Self { folders: folders.map(PathBuf::from).collect(), last: BTreeMap::new(), mounts }
    }
}

impl Collector for TextFile {
    fn name(&self) -> &'static str {
        "textfile"
    }

    fn collect(&mut self, _files: &Files, out: &mut Output) -> Result<(), Error> {
        let mut wrong: BTreeMap<PathBuf, String> = BTreeMap::new();
        let mut helps: BTreeMap<String, (Metadata, PathBuf)> = BTreeMap::new();
        // What is before a wildcard is looked at.
        let roots: Vec<PathBuf> = self.folders.iter().map(|folder| root(folder)).collect();
        let answers = self.mounts.lock().unwrap_or_else(PoisonError::into_inner).ask_also(&roots);
        let mut living = Vec::new();
        for (folder, answer) in self.folders.iter().zip(answers) {
            match answer {
                Err(Silent::Stalled(_) | Silent::NotAsked) => {
                    wrong.insert(folder.clone(), "its file system does not answer".to_owned());
                }
                _ => living.push(folder),
            }
        }
        for folder in living.into_iter().flat_map(|folder| expand(folder)) {
            let names = match files::list(&folder) {
                Ok(names) => names,
                Err(err) => {
                    wrong.insert(folder, err.chain());
                    continue;
                }
            };
            let names: Vec<String> = names.into_iter().filter(|name| name.ends_with(".prom")).collect();
            if names.len() > MAX_FILES {
                wrong
                    .insert(folder.clone(), format!("{} files; the first {MAX_FILES} are read", names.len()));
            }
            for name in names.into_iter().take(MAX_FILES) {
                let path = folder.join(name);
                match load(&path) {
                    Ok(families) => {
                        let modified = std::fs::metadata(&path).and_then(|meta| meta.modified()).ok();
                        let modified =
                            modified.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
                        if let Some(modified) = modified {
                            let file = path.display().to_string();
                            let help = "When a file of the textfile collector was written last, in seconds since the epoch.";
                            let label = [("file", file.as_str())];
                            out.gauge(
                                "node_textfile_mtime_seconds",
                                help,
                                &label,
                                modified.as_secs_f64().floor(),
                            );
                        }
                        for mut family in families {
                            // One name has one type and one text, whichever file says it first.
                            match helps.get(&family.name) {
                                Some((known, first))
                                    if *known != family.metadata && !family.samples.is_empty() =>
                                {
                                    let reason = format!(
                                        "describes {} otherwise than {}; the latter counts",
                                        family.name,
                                        first.display()
                                    );
                                    wrong.insert(path.clone(), reason);
                                    family.metadata = known.clone();
                                }
                                Some(_) => {}
                                None => {
                                    helps
                                        .insert(family.name.clone(), (family.metadata.clone(), path.clone()));
                                }
                            }
                            out.family(family);
                        }
                    }
                    Err(reason) => drop(wrong.insert(path, reason)),
                }
            }
        }
        let help =
            "1 when a folder or file of the textfile collector could not be read as it should, else 0.";
        out.gauge("node_textfile_scrape_error", help, &[], f64::from(u8::from(!wrong.is_empty())));
        for (path, reason) in &wrong {
            if self.last.get(path) != Some(reason) {
                tracing::warn!(path = %path.display(), %reason, "textfile: something was not read");
            }
        }
        self.last = wrong;
        Ok(())
    }
}

/// The folders that a path with wildcards in its last part stands for; a path without any is itself.
fn expand(path: &Path) -> Vec<PathBuf> {
    let last = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Some(parent) = path.parent().filter(|_| last.contains(['*', '?'])) else {
        return vec![path.to_owned()];
    };
    let mut pattern = String::new();
    for c in last.chars() {
        match c {
            '*' => pattern.push_str(".*"),
            '?' => pattern.push('.'),
            c if c.is_alphanumeric() => pattern.push(c),
            c => pattern.extend(['\\', c]),
        }
    }
    let Ok(pattern) = model::pattern::Pattern::new(&pattern) else { return Vec::new() };
    let names = files::list(parent).unwrap_or_default().into_iter();
    names.filter(|name| pattern.matches(name)).map(|name| parent.join(name)).collect()
}

/// The part of a path without wildcards.
fn root(path: &Path) -> PathBuf {
    let last = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match path.parent() {
        Some(parent) if last.contains(['*', '?']) => parent.to_owned(),
        _ => path.to_owned(),
    }
}

fn load(path: &Path) -> Result<Vec<Family>, String> {
    parse(&files::read(path).map_err(|err| err.chain())?)
}

/// The families of a text in Prometheus' format, without timestamps.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn parse(text: &str) -> Result<Vec<Family>, String> {
    let mut found = Found::default();
    read(Format::Text004, text.as_bytes(), &mut Cache::new(0), &mut found).map_err(|err| err.to_string())?;
    Ok(found.families)
}

/// Collects families, and refuses what the collector does not take.
#[derive(Default)]
struct Found {
    families: Vec<Family>,
    at: BTreeMap<String, usize>,
    samples: usize,
}

impl Found {
    fn family(&mut self, name: &str) -> &mut Family {
        let index = match self.at.get(name) {
            Some(index) => *index,
            None => {
                let family =
                    Family { name: name.to_owned(), metadata: Metadata::default(), samples: Vec::new() };
                self.families.push(family);
                self.at.insert(name.to_owned(), self.families.len() - 1);
                self.families.len() - 1
            }
        };
        &mut self.families[index]
    }
}

impl Visitor for Found {
    fn known(&mut self, _: u32, _: &Point<'_>) -> Result<bool, String> {
        Ok(false)
    }

    fn series(&mut self, series: &Series<'_>, point: &Point<'_>) -> Result<u32, String> {
        if point.time.is_some() {
            return Err(
                "samples of the textfile collector must not have timestamps: a file is read again and again"
                    .into(),
            );
        }
        self.samples += 1;
        if self.samples > MAX_SAMPLES {
            return Err(format!("more than {MAX_SAMPLES} samples in one file"));
        }
        let labels = Labels::from_pairs(series.labels());
        self.family(&series.name()).samples.push((labels, point.value));
        Ok(0)
    }

    fn describe(&mut self, family: Cow<'_, str>, what: Describe<'_>) {
        let metadata = &mut self.family(&family).metadata;
        match what {
            Describe::Type(kind) => metadata.kind = kind,
            Describe::Help(text) => metadata.help = text.into_owned(),
            Describe::Unit(unit) => metadata.unit = unit.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(folder: &Path) -> Vec<Family> {
        let mut out = Output::new("textfile");
        let files = Files::new(&crate::Config::default());
        TextFile::new(&folder.display().to_string(), Arc::new(Mutex::new(Mounts::new(None))))
            .collect(&files, &mut out)
            .unwrap();
        out.finish()
    }

    #[test]
    fn a_bad_file_costs_its_own_samples() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("a.prom", "# HELP a The a.\n# TYPE a counter\na{x=\"1\"} 5\n");
        write("ignored.txt", "nonsense");
        let value = |families: &[Family], name: &str| {
            families.iter().find(|family| family.name == name).map(|family| family.samples[0].1)
        };
        let families = collect(folder.path());
        assert_eq!(
            (value(&families, "a"), value(&families, "node_textfile_scrape_error")),
            (Some(5.0), Some(0.0))
        );
        assert_eq!(families[0].metadata.kind, model::MetricType::Counter);
        write("b.prom", "b 1 1700000000000\n");
        write("c.prom", "c{ 1\n");
        write("d.prom", "# TYPE a gauge\na{x=\"2\"} 6\n");
        let families = collect(folder.path());
        assert_eq!((value(&families, "b"), value(&families, "c")), (None, None));
        assert_eq!(value(&families, "node_textfile_scrape_error"), Some(1.0));
        let a = families.iter().find(|family| family.name == "a").unwrap();
        assert_eq!((a.samples.len(), a.metadata.help.as_str()), (2, "The a."));
    }

    #[test]
    fn wildcards_stand_for_several_folders() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["app-1", "app-2", "other"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
            std::fs::write(folder.path().join(name).join("m.prom"), format!("m{{f=\"{name}\"}} 1\n"))
                .unwrap();
        }
        let families = collect(&folder.path().join("app-?"));
        assert_eq!(families.iter().find(|family| family.name == "m").unwrap().samples.len(), 2);
    }
}
