//! `tsdb`: looking into data folders and blocks, moving samples in and out, measuring.

mod bench;
mod open_metrics;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Arg, ArgMatches, Command, value_parser};
use model::seam::{Select, SelectHints};
use model::{Budget, Labels, Matcher, Samples, TenantId, Timestamp};
use prometheus_client::registry::Registry;
use tsdb::block::{Block, META_FILE};
use tsdb::import::{Importer, prometheus};
use tsdb::{Db, Disk, RealDisk, tools};

use super::{complain, say};
use crate::cli::EXIT_FAILED;

/// Memory that an import uses for samples.
const IMPORT_BYTES: usize = 512 << 20;

pub(crate) fn command() -> Command {
    let path = || {
        Arg::new("path")
            .default_value("data")
            .value_name("DIR")
            .value_parser(value_parser!(PathBuf))
            .help("The data folder")
    };
    let block = || path().help("The data folder, or the folder of one block");
    let tenant = || {
        Arg::new("tenant")
            .long("tenant")
            .value_name("NAME")
            .help("The tenant; the one of senders that name none when missing")
    };
    let what = || {
        [
            tenant(),
            Arg::new("match").long("match").value_name("SELECTOR").help("Only these series"),
            Arg::new("start")
                .long("start")
                .value_name("MS")
                .allow_negative_numbers(true)
                .value_parser(value_parser!(i64))
                .help("From here on, in milliseconds since the epoch"),
            Arg::new("end")
                .long("end")
                .value_name("MS")
                .allow_negative_numbers(true)
                .value_parser(value_parser!(i64))
                .help("Up to here"),
        ]
    };
    let source = |help: &'static str| {
        Arg::new("source").required(true).value_name("PATH").value_parser(value_parser!(PathBuf)).help(help)
    };
    Command::new("tsdb")
        .about("Look into data folders, move samples in and out; the server that uses a folder must be stopped")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("ls").about("List tenants, their blocks, sealed files and logs; changes nothing").arg(path()),
        )
        .subcommand(
            Command::new("verify")
                .about("Read every byte and check every checksum; changes nothing, ends with status 1 when something is damaged")
                .arg(block()),
        )
        .subcommand(
            Command::new("analyze")
                .about("Show what series, samples and bytes of each block are made of")
                .arg(block())
                .arg(tenant())
                .arg(
                    Arg::new("limit")
                        .long("limit")
                        .default_value("20")
                        .value_parser(value_parser!(usize))
                        .help("Length of the lists"),
                ),
        )
        .subcommand(
            Command::new("dump")
                .about("Print samples, one a line: series, value, time in milliseconds")
                .arg(block())
                .args(what()),
        )
        .subcommand(
            Command::new("export")
                .about("Write samples to a file that other programs read")
                .arg(block())
                .args(what())
                .arg(
                    Arg::new("format")
                        .long("format")
                        .value_parser(["openmetrics", "parquet"])
                        .default_value("openmetrics")
                        .help("OpenMetrics text, or Parquet as in docs/formats/parquet.md"),
                )
                .arg(
                    Arg::new("output")
                        .long("output")
                        .short('o')
                        .required(true)
                        .value_name("FILE")
                        .value_parser(value_parser!(PathBuf))
                        .help("The file; it must not exist"),
                ),
        )
        .subcommand(
            Command::new("import")
                .about("Take in samples of other programs as blocks")
                .subcommand_required(true)
                .arg_required_else_help(true)
                .subcommand(
                    Command::new("prometheus")
                        .about("Blocks of Prometheus")
                        .arg(source("Prometheus' data folder, a snapshot of it, or one block"))
                        .arg(path())
                        .arg(tenant()),
                )
                .subcommand(
                    Command::new("openmetrics")
                        .about("OpenMetrics text with a timestamp on every sample")
                        .arg(source("The file"))
                        .arg(path())
                        .arg(tenant()),
                ),
        )
        .subcommand(
            Command::new("snapshot")
                .about("Copy a data folder that no server uses; of a running one ask POST /api/v1/admin/tsdb/snapshot")
                .arg(
                    Arg::new("path")
                        .required(true)
                        .value_name("DIR")
                        .value_parser(value_parser!(PathBuf))
                        .help("The data folder"),
                )
                .arg(
                    Arg::new("to")
                        .required(true)
                        .value_name("NEW-DIR")
                        .value_parser(value_parser!(PathBuf))
                        .help("The folder to make"),
                ),
        )
        .subcommand(
            Command::new("restore")
                .about("Verify a snapshot and make a data folder of it")
                .arg(source("The snapshot"))
                .arg(
                    Arg::new("to")
                        .required(true)
                        .value_name("NEW-DIR")
                        .value_parser(value_parser!(PathBuf))
                        .help("The data folder to make"),
                ),
        )
        .subcommand(bench::command())
}

pub(crate) fn run(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    match matches.subcommand().context("a subcommand is required")? {
        ("ls", matches) => ls(matches),
        ("verify", matches) => verify(matches),
        ("analyze", matches) => analyze(matches),
        ("dump", matches) => dump(matches),
        ("export", matches) => export(matches),
        ("import", matches) => import(matches),
        ("snapshot", matches) => {
            open(folder(matches)?)?.snapshot(path(matches, "to")?, tsdb::Copied::All)?;
            Ok(ExitCode::SUCCESS)
        }
        ("restore", matches) => {
            let disk: Arc<dyn Disk> = Arc::new(RealDisk);
            let done = tsdb::restore::restore(&disk, path(matches, "source")?, path(matches, "to")?)?;
            say(format_args!("{} files, {} bytes", done.files, done.bytes));
            Ok(ExitCode::SUCCESS)
        }
        ("bench", matches) => bench::run(matches),
        (other, _) => bail!("there is no subcommand {other}"),
    }
}

fn path<'a>(matches: &'a ArgMatches, name: &str) -> anyhow::Result<&'a Path> {
    Ok(matches.get_one::<PathBuf>(name).context("a path is required")?)
}

/// The folder that the command is about; it is there.
fn folder(matches: &ArgMatches) -> anyhow::Result<&Path> {
    let folder = path(matches, "path")?;
    if !folder.is_dir() {
        bail!("{} is no folder", folder.display());
    }
    Ok(folder)
}

fn tenant(matches: &ArgMatches) -> anyhow::Result<TenantId> {
    Ok(match matches.get_one::<String>("tenant") {
        Some(name) => TenantId::new(name)?,
        None => TenantId::default(),
    })
}

/// Opens a data folder as the server would, with its lock.
fn open(folder: &Path) -> anyhow::Result<Arc<Db>> {
    let config = tsdb::Config { path: folder.to_owned(), ..tsdb::Config::default() };
    let metrics = tsdb::Metrics::new(&mut Registry::default());
    Ok(Db::open(config, Arc::new(model::time::SystemClock), Arc::new(RealDisk), metrics)?)
}

fn is_block(folder: &Path) -> bool {
    folder.join(META_FILE).is_file()
}

fn ls(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let folder = folder(matches)?;
    for tools::TenantFolder { tenant, folder } in tools::tenants(&RealDisk, folder)? {
        say(format_args!("tenant {tenant}"));
        let blocks = folder.join("blocks");
        let listed = if blocks.is_dir() { tools::list(&RealDisk, &blocks)? } else { Vec::new() };
        if !listed.is_empty() {
            say(format_args!(
                "  {:<24} {:>5} {:>10} {:>14} {:>14} {:>9} {:>13} {:>13} {:>7}",
                "block",
                "level",
                "resolution",
                "first ms",
                "last ms",
                "series",
                "samples",
                "bytes",
                "B/sample"
            ));
        }
        for block in listed {
            let name = block.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match block.meta {
                Ok(meta) => say(format_args!(
                    "  {name:<24} {:>5} {:>10} {:>14} {:>14} {:>9} {:>13} {:>13} {:>7.3}",
                    meta.level,
                    if meta.resolution_ms == 0 {
                        "raw".to_owned()
                    } else {
                        format!("{}s", meta.resolution_ms / 1000)
                    },
                    meta.min_time,
                    meta.max_time,
                    meta.series,
                    meta.samples,
                    meta.bytes,
                    meta.bytes as f64 / meta.samples.max(1) as f64
                )),
                Err(_) if block.unfinished => {
                    say(format_args!("  {name:<24} unfinished; the next start removes it"))
                }
                Err(err) => say(format_args!("  {name:<24} damaged: {err}")),
            }
        }
        let head = tools::head_files(&RealDisk, &folder)?;
        say(format_args!(
            "  sealed files: {}, {} bytes; logs: {}, {} bytes, {} samples of {} series",
            head.sealed.count,
            head.sealed.bytes,
            head.logs.count,
            head.logs.bytes,
            head.log_samples,
            head.log_series
        ));
    }
    Ok(ExitCode::SUCCESS)
}

fn verify(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let folder = folder(matches)?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let checked = if is_block(folder) {
        vec![tools::verify(&*disk, folder)?]
    } else {
        tools::verify_data(&disk, folder)?
    };
    let mut damaged = 0;
    for file in &checked {
        damaged += usize::from(!file.damage.is_empty());
        for damage in &file.damage {
            complain(format_args!("damaged: {damage}"));
        }
    }
    let samples = |is_log: bool| -> u64 {
        let of_kind = checked.iter().filter(|file| (file.kind == tools::VerifiedKind::Log) == is_log);
        of_kind.map(|file| file.samples).sum()
    };
    say(format_args!(
        "{} blocks and files with {} samples, and {} in write-ahead logs; {damaged} damaged",
        checked.len(),
        samples(false),
        samples(true)
    ));
    Ok(if damaged == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) })
}

fn analyze(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let folder = folder(matches)?;
    let limit = *matches.get_one::<usize>("limit").context("a limit is required")?;
    let folders = if is_block(folder) {
        vec![folder.to_owned()]
    } else {
        let blocks = folder.join(tenant(matches)?.as_str()).join("blocks");
        if !blocks.is_dir() {
            bail!("{} has no blocks; name the tenant with --tenant", blocks.display());
        }
        tools::list(&RealDisk, &blocks)?.into_iter().filter(|b| !b.unfinished).map(|b| b.folder).collect()
    };
    for folder in folders {
        let block = Block::open(&RealDisk, &folder)?;
        let meta = block.meta();
        say(format_args!(
            "{}: {} series, {} samples, {} bytes, {:.3} bytes a sample, {} to {}",
            folder.display(),
            meta.series,
            meta.samples,
            meta.bytes,
            meta.bytes as f64 / meta.samples.max(1) as f64,
            meta.min_time,
            meta.max_time
        ));
        if meta.resolution_ms != 0 {
            say(format_args!("  a tier of {} ms: rows, not samples", meta.resolution_ms));
            continue;
        }
        let found = tools::analyze(&block, limit)?;
        say(format_args!(
            "  {} chunks, {} distinct time columns, {} label pairs",
            found.chunks, found.stats.time_groups, found.stats.label_pairs
        ));
        say(format_args!(
            "  chunks and times: {} bytes; index: {} bytes",
            found.stats.data_bytes, found.stats.index_bytes
        ));
        for (section, bytes) in &found.sections {
            say(format_args!("    {section:<20} {bytes:>12}"));
        }
        say("  metrics by bytes of their chunks:");
        for metric in &found.metrics {
            say(format_args!(
                "    {:<60} {:>12} bytes {:>9} series {:>12} samples",
                metric.name, metric.bytes, metric.series, metric.samples
            ));
        }
        say("  label names by values:");
        for name in &found.names {
            say(format_args!("    {:<60} {:>9} values", name.name, name.values));
        }
        say("  label pairs by series:");
        for pair in &found.pairs {
            say(format_args!(
                "    {:<60} {:>9} series",
                format!("{}={:?}", pair.name, pair.value),
                pair.series
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Calls `each` with every wanted series and its samples, in label order.
fn each_series(
    matches: &ArgMatches,
    mut each: impl FnMut(&Labels, &Samples) -> tsdb::Result<()>,
) -> anyhow::Result<()> {
    let folder = folder(matches)?;
    let matchers: Vec<Matcher> = match matches.get_one::<String>("match") {
        Some(text) => promql::parse_selector(text, &promql::Options::default())
            .map_err(|err| anyhow::anyhow!("--match: {err}"))?,
        None => Vec::new(),
    };
    let start = matches.get_one::<i64>("start").copied().unwrap_or(i64::MIN);
    let end = matches.get_one::<i64>("end").copied().unwrap_or(i64::MAX);
    let range = model::seam::TimeRange { start: Timestamp(start), end: Timestamp(end) };
    if is_block(folder) {
        let block = Block::open(&RealDisk, folder)?;
        tools::dump(&block, &matchers, range, each)?;
        return Ok(());
    }
    let db = open(folder)?;
    let select = Select {
        matchers,
        start: Timestamp(start.saturating_sub(1)),
        end: range.end,
        hints: SelectHints::default(),
    };
    let selected = db.select(&tenant(matches)?, &[select], &Budget::unlimited())?;
    let selected = selected.first().context("one selector has one answer")?;
    for warning in &selected.warnings {
        complain(format_args!("warning: {warning}"));
    }
    let set = &selected.series;
    let mut order: Vec<(Labels, usize)> = (0..set.len()).map(|at| (set.labels(at), at)).collect();
    order.sort_unstable();
    let (mut samples, mut wanted) = (Samples::default(), Samples::default());
    for (labels, at) in order {
        set.read(at, &mut samples)?;
        let from = samples.times.partition_point(|t| *t < start);
        let to = samples.times.partition_point(|t| *t <= end);
        if from == to {
            continue;
        }
        if (from, to) == (0, samples.len()) {
            each(&labels, &samples)?;
        } else {
            wanted.clear();
            for at in from..to {
                match samples.histogram(at) {
                    Some(histogram) => wanted.push_histogram(samples.times[at], Arc::clone(histogram)),
                    None => wanted.push_float(samples.times[at], samples.values[at]),
                }
            }
            each(&labels, &wanted)?;
        }
    }
    Ok(())
}

fn dump(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    each_series(matches, |labels, samples| {
        for at in 0..samples.len() {
            let time = samples.times[at];
            let written = match samples.histogram(at) {
                Some(histogram) => writeln!(out, "{labels} {histogram:?} {time}"),
                None => writeln!(out, "{labels} {} {time}", samples.values[at]),
            };
            written.map_err(|source| tsdb::Error::Io {
                verb: "write",
                path: "standard output".into(),
                source,
            })?;
        }
        Ok(())
    })?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn export(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let output = path(matches, "output")?;
    let file = File::create_new(output).with_context(|| format!("cannot create {}", output.display()))?;
    let out = BufWriter::with_capacity(1 << 20, file);
    let done = match matches.get_one::<String>("format").map(String::as_str) {
        Some("parquet") => {
            let mut export = tsdb::parquet::Parquet::new(out)?;
            each_series(matches, |labels, samples| export.add(labels, samples))?;
            export.finish()?
        }
        _ => {
            let mut export = tsdb::export::OpenMetrics::new(out);
            each_series(matches, |labels, samples| export.add(labels, samples))?;
            export.finish()?
        }
    };
    say(format_args!("{} series, {} samples", done.series, done.samples));
    for (count, what) in
        [(done.histograms_left_out, "native histograms"), (done.stale_left_out, "staleness markers")]
    {
        if count > 0 {
            complain(format_args!("left out: {count} {what}, which the format cannot hold"));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn import(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let (what, matches) = matches.subcommand().context("a subcommand is required")?;
    let (source, data) = (path(matches, "source")?, path(matches, "path")?);
    let tenant = tenant(matches)?;
    // The lock of the folder is held while blocks are written into it.
    let db = open(data)?;
    let blocks = data.join(tenant.as_str()).join("blocks");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let window = db.config().block_range.ms();
    let mut number = 1;
    // A name that no block has.
    let id = loop {
        let id = format!("import{number:04}");
        let taken = std::fs::read_dir(&blocks).into_iter().flatten().flatten();
        if !taken.into_iter().any(|e| e.file_name().to_string_lossy().starts_with(&id)) {
            break id;
        }
        number += 1;
    };
    std::fs::create_dir_all(&blocks).with_context(|| format!("cannot create {}", blocks.display()))?;
    let mut importer = Importer::new(Arc::clone(&disk), &blocks, id, window, IMPORT_BYTES);
    let (mut series, mut samples) = (0u64, 0u64);
    match what {
        "prometheus" => {
            for block in prometheus_blocks(source)? {
                let report =
                    prometheus::read(&*disk, &block, |labels, samples| importer.add(labels, samples))
                        .with_context(|| format!("cannot import {}", block.display()))?;
                series += report.series;
                samples += report.samples;
                for (encoding, count) in &report.chunks_not_read {
                    complain(format_args!(
                        "{}: left out: {count} chunks of Prometheus' encoding {encoding} (2 and 3: native histograms of a schema that does not exist here)",
                        block.display()
                    ));
                }
            }
        }
        _ => {
            let text = std::fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
            let read = open_metrics::read(&text, |labels, time, value| {
                let mut one = Samples::default();
                one.push_float(time, value);
                samples += 1;
                importer.add(labels, &one)
            });
            series += read.with_context(|| format!("cannot import {}", source.display()))?;
        }
    }
    let made = importer.finish()?;
    drop(db);
    say(format_args!("{series} series, {samples} samples in {} blocks of tenant {tenant}", made.len()));
    Ok(ExitCode::SUCCESS)
}

/// The blocks in a folder of Prometheus, or the folder itself when it is one; oldest first, as their names sort.
fn prometheus_blocks(source: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let is_block = |path: &Path| path.join("index").is_file() && path.join("meta.json").is_file();
    if is_block(source) {
        return Ok(vec![source.to_owned()]);
    }
    let entries = std::fs::read_dir(source).with_context(|| format!("cannot list {}", source.display()))?;
    let mut blocks: Vec<PathBuf> = entries
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .filter(|p| is_block(p))
        .collect();
    blocks.sort();
    if blocks.is_empty() {
        bail!(
            "{} holds no block of Prometheus (a folder with index, chunks and meta.json)",
            source.display()
        );
    }
    Ok(blocks)
}
