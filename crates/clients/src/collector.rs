//! The collector: uploads in, sums and incidents out. Knows no HTTP and no timer; `api` and the binary bring those.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use model::{Clock, Family};
use parking_lot::Mutex;
use ring::hmac;

use crate::browser;
use crate::cell::{Cell, Cells, Count};
use crate::class::Group;
use crate::config::{Config, Site};
use crate::counters::Counters;
use crate::detect::{Detector, KEPT_MINUTES, MINUTE_MS};
use crate::geo::{self, Geo, Place};
use crate::guard::Guard;
use crate::keep::Keep;
use crate::metrics::{Code, Metrics, Reason};
use crate::names::Names;
use crate::origin::Pattern;
use crate::report::{self, Kind, Refused, Report};
use crate::rollup::{Rollup, Row, VERSION};
use crate::sign::Secret;
use crate::view;

/// A signed path outlives the policy by what browsers may still hold back.
const PATH_GRACE_MS: i64 = 48 * 3_600_000;
/// Least share that is believed when a site's policy names a smaller one.
const MIN_FRACTION: f64 = 1e-4;
/// Edges whose sequence is remembered.
const MAX_EDGES: usize = 10_000;

/// Why the collector cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting is wrong.
    #[error("{0}")]
    Config(String),
    /// A file or folder cannot be used.
    #[error("cannot use {path}")]
    Io {
        /// Which.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// An upload as it came.
#[derive(Clone, Copy, Debug)]
pub struct Upload<'a> {
    /// What follows `/r/`: the site, and the rest of a signed path.
    pub path: &'a str,
    /// The header `Origin`.
    pub origin: Option<&'a str>,
    /// The header `User-Agent`.
    pub user_agent: &'a str,
    /// The client's address. It is used to find its place and forgotten.
    pub client: IpAddr,
    /// The body.
    pub body: &'a [u8],
}

/// What to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// For a person who tries it by hand; empty on success. Repeats nothing of the upload.
    pub message: String,
}

impl Answer {
    fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }
}

/// What changes together.
pub(crate) struct State {
    pub(crate) detector: Detector,
    counters: Counters,
    outbox: Option<Cells>,
    edges: HashMap<String, (i64, u64)>,
    evaluated: i64,
}

/// The collector.
pub struct Collector {
    pub(crate) config: Config,
    patterns: Vec<Vec<Pattern>>,
    secret: Secret,
    geo: Geo,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    seed: u64,
    boot: i64,
    guard: Mutex<Guard>,
    pub(crate) names: Mutex<Names>,
    fresh: Mutex<Cells>,
    others: Mutex<HashMap<(u16, usize), (u64, u64)>>,
    day_key: Mutex<(i64, hmac::Key)>,
    pub(crate) state: Mutex<State>,
    keep: Option<Keep>,
}

impl std::fmt::Debug for Collector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Collector").field("sites", &self.config.sites.len()).finish_non_exhaustive()
    }
}

/// Reads the secret, or makes one for this process.
fn secret(config: &Config) -> Result<Secret, Error> {
    if config.secret_file.as_os_str().is_empty() {
        let mut bytes = [0u8; 32];
        let filled = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes);
        filled.map_err(|_| Error::Config("the system gives no random numbers".into()))?;
        return Secret::new(&bytes).map_err(Error::Config);
    }
    read_secret(&config.secret_file)
}

/// Reads a secret from a file; white space around it does not count.
///
/// # Errors
/// The file cannot be read, or is too short.
pub fn read_secret(path: &Path) -> Result<Secret, Error> {
    let shown = path.display().to_string();
    let bytes = std::fs::read(path).map_err(|source| Error::Io { path: shown.clone(), source })?;
    Secret::new(bytes.trim_ascii()).map_err(|wrong| Error::Config(format!("{shown}: {wrong}")))
}

impl Collector {
    /// Opens databases and the folder of kept reports below `folder`, and reads again what the last minutes held. Blocks.
    ///
    /// # Errors
    /// A setting is wrong or a file cannot be used.
    pub fn open(
        config: Config,
        folder: &Path,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
        seed: u64,
    ) -> Result<Self, Error> {
        config.check().map_err(Error::Config)?;
        let secret = secret(&config)?;
        let patterns = config
            .sites
            .iter()
            .map(|site| site.origins.iter().map(|o| Pattern::parse(o)).collect::<Result<Vec<_>, _>>())
            .collect::<Result<Vec<_>, _>>()
            .map_err(Error::Config)?;
        let keep = match config.keep_reports.ms() {
            0 => None,
            ms => {
                let path = folder.join("reports");
                let keep = Keep::open(&path, ms, config.keep_reports_bytes);
                Some(keep.map_err(|source| Error::Io { path: path.display().to_string(), source })?)
            }
        };
        let limits = &config.limits;
        let now = clock.now().ms();
        let this = Self {
            patterns,
            geo: Geo::open(&config.geo).map_err(Error::Config)?,
            metrics,
            seed,
            boot: now,
            guard: Mutex::new(Guard::new(limits)),
            names: Mutex::new(Names::new(&config)),
            fresh: Mutex::new(Cells::new(limits.cells)),
            others: Mutex::new(HashMap::new()),
            day_key: Mutex::new((now.div_euclid(86_400_000), secret.day_key(now))),
            state: Mutex::new(State {
                detector: Detector::new(&config.detection, config.min_clients, limits.cells, limits.cohorts),
                counters: Counters::new(config.min_clients, limits.cohorts),
                outbox: (!config.push.url.is_empty()).then(|| Cells::new(limits.cells)),
                edges: HashMap::new(),
                evaluated: now,
            }),
            keep,
            secret,
            clock,
            config,
        };
        this.recover(now)?;
        Ok(this)
    }

    /// Takes in again what was kept of the last minutes.
    fn recover(&self, now: i64) -> Result<(), Error> {
        let Some(keep) = &self.keep else { return Ok(()) };
        let mut names = self.names.lock();
        let mut fresh = self.fresh.lock();
        let from = now.div_euclid(MINUTE_MS) - KEPT_MINUTES + 1;
        let torn = keep.read_since(from, |row| {
            if let Some((minute, cell, count)) = row.cell(&mut names) {
                fresh.add(minute, cell, &count);
            }
        });
        let torn = torn.map_err(|source| Error::Io { path: "the kept reports".into(), source })?;
        if torn > 0 {
            tracing::warn!(lines = torn, "kept reports that were torn by a crash were skipped");
        }
        Ok(())
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now().ms()
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The secret, for signed paths.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The databases of places.
    pub fn geo(&self) -> &Geo {
        &self.geo
    }

    /// What the collector measures of itself.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Takes an upload. With `keep_reports` it blocks until the disk has it.
    pub fn upload(&self, upload: &Upload<'_>) -> Answer {
        let answer = self.take(upload);
        self.metrics.uploads.get_or_create(&Code { code: answer.status }).inc();
        answer
    }

    /// Whether an upload's path names a site that takes reports.
    fn site(&self, path: &str, now: i64) -> Result<u16, Answer> {
        let (name, signature) = path.split_once('/').map_or((path, None), |(name, rest)| (name, Some(rest)));
        let index = self.names.lock().site(name);
        let Some(index) = index else {
            return Err(Answer::new(404, "no such site; it must be among collector.sites\n"));
        };
        let site = &self.config.sites[usize::from(index)];
        if site.retired {
            return Err(Answer::new(410, "this site takes no more reports\n"));
        }
        match signature {
            None | Some("") if !site.signed => {}
            signature => {
                let valid = site.max_age.ms().saturating_add(PATH_GRACE_MS);
                let checked = self.secret.check(name, signature.unwrap_or_default(), now, valid);
                checked.map_err(|bad| Answer::new(403, format!("{bad}\n")))?;
            }
        }
        Ok(index)
    }

    fn take(&self, upload: &Upload<'_>) -> Answer {
        let now = self.clock.now().ms();
        let index = match self.site(upload.path, now) {
            Ok(index) => index,
            Err(answer) => return answer,
        };
        if upload.body.len() > self.config.max_body_bytes {
            let text = format!(
                "the body is larger than {} bytes (collector.max_body_bytes)\n",
                self.config.max_body_bytes
            );
            return Answer::new(413, text);
        }
        let place = self.geo.place(upload.client);
        let prefix = geo::prefix(upload.client);
        let reports = match report::parse(upload.body, self.seed, self.config.max_reports) {
            Ok(reports) => reports,
            Err(unreadable) => return Answer::new(400, format!("{unreadable}\n")),
        };
        if let Err(bound) = self.guard.lock().admit(prefix, place.asn, index, reports.len(), now) {
            self.metrics.throttled.get_or_create(&Reason { reason: bound.as_str() }).inc();
            return Answer::new(429, "too many reports\n");
        }
        let mut taken = Vec::with_capacity(reports.len());
        let mut prints = Vec::new();
        let header_family = browser::family(upload.user_agent);
        let sender = upload.origin.map(report_origin);
        for report in reports {
            let counted = report.and_then(|report| {
                let family = report.family.unwrap_or(header_family);
                self.sanitize(index, &report, family, sender.as_deref(), prefix, place, now, &mut prints)
            });
            match counted {
                Ok(Some(row)) => taken.push(row),
                Ok(None) => {}
                Err(refused) => {
                    self.metrics.refused.get_or_create(&Reason { reason: refused.as_str() }).inc();
                }
            }
        }
        if let Some(keep) = &self.keep
            && !taken.is_empty()
        {
            let names = self.names.lock();
            let rows: Vec<Row> =
                taken.iter().map(|(minute, cell, count)| Row::new(*minute, cell, count, &names)).collect();
            drop(names);
            if let Err(err) = keep.append(&rows, now) {
                tracing::error!(error = %err, "reports cannot be kept; the upload is refused so that it comes again");
                self.metrics.keep_failures.inc();
                let mut guard = self.guard.lock();
                prints.into_iter().for_each(|(client, print)| guard.forget(client, print));
                return Answer::new(503, "reports cannot be stored now, try again\n");
            }
        }
        let mut fresh = self.fresh.lock();
        for (minute, cell, count) in taken {
            fresh.add(minute, cell, &count);
            self.metrics.accepted.inc_by(u64::from(count.reports));
        }
        Answer::new(204, "")
    }

    /// A report's cell; `None` when it is only counted by kind.
    #[expect(clippy::too_many_arguments, reason = "what is known of an upload, each used once")]
    fn sanitize(
        &self,
        index: u16,
        report: &Report,
        family: u8,
        sender: Option<&str>,
        prefix: u64,
        place: Place,
        now: i64,
        prints: &mut Vec<(u64, u64)>,
    ) -> Result<Option<(i64, Cell, Count)>, Refused> {
        let site: &Site = &self.config.sites[usize::from(index)];
        let patterns = &self.patterns[usize::from(index)];
        if !patterns.iter().any(|pattern| pattern.matches(&report.origin)) {
            return Err(Refused::Origin);
        }
        // A browser names the reported origin for its own reports; a page names its own, which is one of the site's.
        let agent = matches!(report.kind, Kind::Network { source, .. } if source != report::Source::Nel);
        if let Some(sender) = sender {
            let fits =
                if agent { patterns.iter().any(|p| p.matches(sender)) } else { sender == report.origin };
            if !fits {
                return Err(Refused::Sender);
            }
        }
        if report.age_ms > self.config.max_age.ms() {
            return Err(Refused::TooOld);
        }
        if !self.config.count_automated && browser::is_automated(family) {
            return Err(Refused::Automated);
        }
        let client = self.client(prefix, family, index, now);
        let event = now - report.age_ms;
        let mut guard = self.guard.lock();
        if guard.is_repeated(client, report.fingerprint, event, now) {
            return Err(Refused::Duplicate);
        }
        prints.push((client, report.fingerprint));
        let place_of_client = 1u64 << (client % 64);
        let (source, class, protocol, count, fraction, server) = match report.kind {
            Kind::Network { source, class, protocol, count, fraction, server } => {
                (source, class, protocol, count, fraction, server)
            }
            Kind::Counted(kind) => {
                if guard.contribute(client, 0x80 | kind as u8, false, 1, now) == 0 {
                    return Err(Refused::Contribution);
                }
                let mut others = self.others.lock();
                let entry = others.entry((index, kind)).or_default();
                *entry = (entry.0 + 1, entry.1 | place_of_client);
                self.metrics.accepted.inc();
                return Ok(None);
            }
        };
        let group = class.group();
        let group_key = (source as u8) << 4 | group as u8;
        let counted = guard.contribute(client, group_key, group == Group::Ok, count, now);
        drop(guard);
        if counted == 0 {
            return Err(Refused::Contribution);
        }
        let policy = if group == Group::Ok { site.success_fraction } else { site.failure_fraction };
        let weight = 1.0 / fraction.max(policy.clamp(MIN_FRACTION, 1.0).min(1.0));
        let mut names = self.names.lock();
        let cell = Cell {
            site: index,
            origin: names.origins.number(&report.origin),
            pop: server.map_or(0, |server| names.pop(index, server)),
            class,
            source,
            protocol,
            browser: family,
            country: place.country,
            asn: place.asn,
        };
        let count = Count {
            reports: counted,
            weight: (weight * f64::from(counted)) as f32,
            square: (weight * weight * f64::from(counted)) as f32,
            clients: place_of_client,
        };
        Ok(Some((event.div_euclid(MINUTE_MS), cell, count)))
    }

    /// A client's number for today: of its network prefix, browser family and site, under a key that changes every day.
    fn client(&self, prefix: u64, family: u8, site: u16, now: i64) -> u64 {
        let day = now.div_euclid(86_400_000);
        let mut key = self.day_key.lock();
        if key.0 != day {
            *key = (day, self.secret.day_key(now));
        }
        let name = &self.config.sites[usize::from(site)].name;
        let mut context = hmac::Context::with_key(&key.1);
        drop(key);
        context.update(&prefix.to_be_bytes());
        context.update(&[family]);
        context.update(name.as_bytes());
        let tag = context.sign();
        tag.as_ref().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// Moves what has come in to where it is judged and shown. Call every few seconds.
    pub fn tick(&self) {
        let now = self.clock.now().ms();
        let (fresh, folded) = {
            let mut fresh = self.fresh.lock();
            (fresh.take(), fresh.take_folded())
        };
        let others = std::mem::take(&mut *self.others.lock());
        let mut state = self.state.lock();
        for (minute, cell, count) in &fresh {
            state.add(*minute, *cell, count, now);
        }
        for ((site, kind), (count, clients)) in others {
            state.counters.add_other(site, kind, count, clients);
        }
        state.counters.release(now);
        if now - state.evaluated >= self.config.detection.interval.ms() {
            state.evaluated = now;
            state.detector.evaluate(now);
        }
        let folded = folded + state.detector.take_folded();
        self.metrics.folded.inc_by(folded);
        self.metrics.cohorts_dropped.inc_by(state.counters.take_dropped());
        self.metrics.cells.set(state.detector.cells() as i64);
        self.metrics.incidents.set(state.detector.open().len() as i64);
        drop(state);
        self.metrics.remembered.set(self.guard.lock().len() as i64);
    }

    /// Reads changed databases again and deletes old reports. Blocks; call every minute.
    pub fn maintain(&self) {
        if let Err(wrong) = self.geo.refresh() {
            self.metrics.geo_failures.inc();
            tracing::error!(error = %wrong, "the old database of places stays in use");
        }
        if let Some(keep) = &self.keep {
            match keep.clean(self.clock.now().ms()) {
                Ok(bytes) => {
                    self.metrics.kept_bytes.set(bytes as i64);
                }
                Err(err) => tracing::error!(error = %err, "old reports cannot be deleted"),
            }
        }
    }

    /// Takes what is to be pushed, `None` when there is nothing. `sequence` counts up from 1 by the caller.
    pub fn take_rollup(&self, from: &str, sequence: u64) -> Option<Rollup> {
        let cells = self.state.lock().outbox.as_mut()?.take();
        if cells.is_empty() {
            return None;
        }
        let names = self.names.lock();
        let rows = cells.iter().map(|(minute, cell, count)| Row::new(*minute, cell, count, &names)).collect();
        Some(Rollup { version: VERSION, from: from.to_owned(), boot: self.boot, sequence, rows })
    }

    /// Takes a roll-up of another collector. One that has come before is acknowledged and dropped.
    pub fn receive(&self, body: &[u8], signature: &str) -> Answer {
        if self.config.secret_file.as_os_str().is_empty() {
            return Answer::new(403, "roll-ups need collector.secret_file on both sides\n");
        }
        if !self.secret.check_body(body, signature) {
            return Answer::new(
                403,
                "the signature is wrong: both collectors need the same collector.secret_file\n",
            );
        }
        let rollup = match Rollup::decode(body) {
            Ok(rollup) => rollup,
            Err(err) => return Answer::new(400, format!("{err}\n")),
        };
        let now = self.clock.now().ms();
        let mut names = self.names.lock();
        let mut unknown = 0u64;
        let mut cells = Vec::with_capacity(rollup.rows.len());
        for row in &rollup.rows {
            match row.cell(&mut names) {
                Some(cell) => cells.push(cell),
                None => unknown += 1,
            }
        }
        drop(names);
        let mut state = self.state.lock();
        let known = state.edges.get(&rollup.from).copied();
        if known.is_some_and(|(boot, sequence)| (rollup.boot, rollup.sequence) <= (boot, sequence)) {
            return Answer::new(204, "");
        }
        if known.is_none() && state.edges.len() >= MAX_EDGES {
            return Answer::new(429, format!("more than {MAX_EDGES} collectors push here\n"));
        }
        state.edges.insert(rollup.from.clone(), (rollup.boot, rollup.sequence));
        for (minute, cell, count) in &cells {
            state.add(*minute, *cell, count, now);
        }
        drop(state);
        self.metrics.received.inc();
        if unknown > 0 {
            tracing::warn!(from = %rollup.from, rows = unknown, "rows of sites or types that this collector does not know were dropped");
        }
        Answer::new(204, "")
    }

    /// Series for storage: totals, rates and incidents, each only with enough clients.
    pub fn families(&self) -> Vec<Family> {
        let names = self.names.lock();
        let state = self.state.lock();
        let mut families = state.counters.families(&names);
        families.extend(view::families(
            &state.detector,
            &names,
            self.config.min_clients,
            self.clock.now().ms(),
        ));
        families
    }
}

impl State {
    fn add(&mut self, minute: i64, cell: Cell, count: &Count, now: i64) {
        self.counters.add(&cell, count);
        if let Some(outbox) = &mut self.outbox {
            outbox.add(minute, cell, count);
        }
        // Later than that it is history: counted, not judged.
        if minute > now.div_euclid(MINUTE_MS) - KEPT_MINUTES && minute <= now.div_euclid(MINUTE_MS) {
            self.detector.add(minute, cell, count);
        }
    }
}

/// The header `Origin` as [`crate::origin::origin`] writes it; `null` and the like stay what matches nothing.
fn report_origin(header: &str) -> String {
    crate::origin::origin(header).unwrap_or_default()
}
