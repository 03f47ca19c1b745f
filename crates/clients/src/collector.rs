//! The collector: what it holds, its clockwork, and what it passes on. Knows no HTTP and no timer; `api` and the binary bring those.
//! `intake` is the way in.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use model::{Clock, Family};
use parking_lot::{Mutex, RwLock};
use ring::hmac;

use crate::cell::{Cell, Cells, Count};
use crate::config::Config;
use crate::counters::Counters;
use crate::detect::witness::{self, Question, Witness};
use crate::detect::{Detector, KEPT_MINUTES, MINUTE_MS};
use crate::geo::Geo;
use crate::guard::Guard;
use crate::keep::Keep;
use crate::metrics::Metrics;
use crate::names::Names;
use crate::rollup::{Rollup, Row, VERSION};
use crate::sign::Secret;
use crate::sites::Sites;
use crate::view;

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
    pub(crate) fn new(status: u16, message: impl Into<String>) -> Self {
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
    sites: RwLock<Arc<Sites>>,
    pub(crate) secret: Secret,
    pub(crate) geo: Geo,
    clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) seed: u64,
    boot: i64,
    // Locked in this order: guard, names, fresh; names before state.
    pub(crate) guard: Mutex<Guard>,
    pub(crate) names: Mutex<Names>,
    pub(crate) fresh: Mutex<Cells>,
    pub(crate) others: Mutex<HashMap<(u16, usize), (u64, u64)>>,
    pub(crate) day_key: Mutex<(i64, hmac::Key)>,
    pub(crate) state: Mutex<State>,
    pub(crate) keep: Option<Keep>,
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
        config.check().map_err(|wrong| Error::Config(wrong.to_string()))?;
        let secret = secret(&config)?;
        let sites = Arc::new(Sites::new(&config).map_err(Error::Config)?);
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
            geo: Geo::open(&config.geo).map_err(Error::Config)?,
            metrics,
            seed,
            boot: now,
            guard: Mutex::new(Guard::new(limits)),
            names: Mutex::new(Names::new(Arc::clone(&sites), limits)),
            sites: RwLock::new(sites),
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

    /// The settings of the start; what a reload changes is in [`Self::sites`] and the detector.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The sites in force.
    pub fn sites(&self) -> Arc<Sites> {
        Arc::clone(&self.sites.read())
    }

    /// Puts other sites, data centres and rules of detection in force; counts, baselines and open incidents stay. Tells whether
    /// all settings are in force now: the others need a restart.
    ///
    /// # Errors
    /// A setting is wrong, and nothing has changed.
    pub fn reload(&self, config: &Config) -> Result<bool, Error> {
        config.check().map_err(|wrong| Error::Config(wrong.to_string()))?;
        if self.config.secret_file.as_os_str().is_empty() && config.sites.iter().any(|site| site.signed) {
            let text = "signed sites need collector.secret_file, which needs a restart";
            return Err(Error::Config(text.into()));
        }
        let sites = Arc::new(self.sites().changed(config).map_err(Error::Config)?);
        self.names.lock().set_sites(Arc::clone(&sites));
        self.state.lock().detector.configure(&config.detection);
        *self.sites.write() = sites;
        let rest = |config: &Config| Config {
            enabled: true,
            sites: Vec::new(),
            datacenter_asns: Vec::new(),
            detection: self.config.detection.clone(),
            ..config.clone()
        };
        Ok(rest(config) == rest(&self.config))
    }

    /// What to ask other witnesses now: of every site whose clients report trouble.
    pub fn questions(&self) -> Vec<Question> {
        let troubled = self.state.lock().detector.troubled();
        let sites = self.sites();
        let mut out = Vec::new();
        for number in troubled {
            let Some(live) = sites.get(number).filter(|live| !live.gone) else { continue };
            for witness in Witness::ALL {
                let query = witness.query(&live.site.checks);
                if !query.is_empty() {
                    out.push(Question { site: number, witness, query: query.to_owned() });
                }
            }
        }
        out
    }

    /// Takes in what a witness has answered: the values of the query's series, or why there are none.
    pub fn answer(&self, question: &Question, values: Result<Vec<f64>, String>) {
        if values.is_err() {
            self.metrics.check_failures.inc();
        }
        let sites = self.sites();
        let Some(live) = sites.get(question.site) else { return };
        let above = live.site.checks.server_errors_above;
        let answer = witness::Answer { query: question.query.clone(), values, above, at: self.now() };
        self.state.lock().detector.hear(question.site, question.witness, answer);
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
        self.metrics.waiting.set(state.detector.waiting() as i64);
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
