//! Sends what the spool holds to one destination.
//!
//! Records are read in portions. The samples of a portion are divided over shards by their series, so that each series stays in order; shards
//! send at once, and the next portion follows when all have been acknowledged. Then the position moves. The number of shards follows what
//! waits. What the destination cannot take now is sent again for as long as it takes; what it refuses for good is dropped and counted.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use httpc::{Request, StatusCode};
use model::{Batch, Clock, Labels, Metadata, TenantId};
use tokio::sync::watch;
use tokio::time::Instant;
use wire::gather::Gather;
use wire::remote_write::{Message, encode, encode_metadata};
use xxhash_rust::xxh3::xxh3_64;

use super::destination::Destination;
use super::spool::Spool;
use crate::metrics::{Dropped, Metrics, To};

/// Metric names of which metadata is remembered.
const MAX_METADATA: usize = 100_000;
/// Series whose rewritten labels are remembered.
const MAX_REWRITTEN: usize = 200_000;
/// An answer's body is read up to here, for the log.
const MAX_ANSWER: usize = 4096;
/// A `Retry-After` beyond this is cut.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

pub(super) struct Sender {
    to: Arc<Destination>,
    spool: Arc<Spool>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    metadata: BTreeMap<String, Metadata>,
    described: Option<Instant>,
    rewritten: HashMap<Labels, Option<Labels>>,
}

/// One request's worth.
struct Portion {
    tenant: TenantId,
    body: Vec<u8>,
    samples: u64,
    newest: i64,
}

/// What became of a request.
enum Sent {
    Done,
    /// The server stops; nothing is known.
    Stopped,
}

impl Sender {
    pub(super) fn new(
        to: Arc<Destination>,
        spool: Arc<Spool>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Self {
        Self {
            to,
            spool,
            clock,
            metrics,
            metadata: BTreeMap::new(),
            described: None,
            rewritten: HashMap::new(),
        }
    }

    fn labels(&self) -> To {
        To { destination: self.to.name().to_owned() }
    }

    pub(super) async fn run(mut self, stop: watch::Receiver<bool>) {
        tracing::info!(destination = self.to.name(), url = self.to.url(), "forwarding samples");
        loop {
            let shards = match self.wait(stop.clone()).await {
                Some(shards) => shards,
                None => return,
            };
            let spool = Arc::clone(&self.spool);
            let name = self.to.name().to_owned();
            let queue = &self.to.queue;
            let max = (shards * queue.max_samples.max(queue.capacity)) as u64;
            let read = tokio::task::spawn_blocking(move || {
                let at = spool.position(&name);
                let passed = spool.passed(&name);
                spool.read(at, passed, max)
            });
            let batches = match read.await {
                Ok(Ok(batches)) => batches,
                Ok(Err(err)) => {
                    self.metrics.warn("forward", &err.to_string());
                    if !pause(self.to.queue.max_backoff, &stop).await {
                        return;
                    }
                    continue;
                }
                Err(err) => {
                    tracing::error!(error = %err, "reading the spool ended early");
                    return;
                }
            };
            let (next, passed) = (batches.next, batches.passed);
            let portions = self.portions(batches.list, shards);
            if !self.describe(&stop).await {
                return;
            }
            let sends = portions.into_iter().map(|shard| self.send_all(shard, stop.clone()));
            let outcomes = futures_util::future::join_all(sends).await;
            if outcomes.iter().any(|sent| matches!(sent, Sent::Stopped)) {
                return;
            }
            let spool = Arc::clone(&self.spool);
            let name = self.to.name().to_owned();
            let committed = tokio::task::spawn_blocking(move || spool.commit(&name, next, passed)).await;
            if let Err(err) = committed {
                tracing::error!(error = %err, "remembering the forwarding position ended early");
            }
        }
    }

    /// Waits until a request is full or a sample has waited long enough; how many shards are to be used. `None` when the server stops.
    async fn wait(&self, mut stop: watch::Receiver<bool>) -> Option<usize> {
        let queue = &self.to.queue;
        let mut news = self.spool.news();
        let mut deadline: Option<Instant> = None;
        loop {
            news.mark_unchanged();
            let pending = self.spool.pending(self.to.name());
            self.metrics.forward_pending.get_or_create(&self.labels()).set(pending as i64);
            let shards =
                (pending as usize / queue.max_samples.max(1)).clamp(queue.min_shards, queue.max_shards);
            if pending >= queue.max_samples as u64 || deadline.is_some_and(|at| at <= Instant::now()) {
                self.metrics.forward_shards.get_or_create(&self.labels()).set(shards as i64);
                return Some(shards);
            }
            if *stop.borrow() {
                return None;
            }
            if pending > 0 && deadline.is_none() {
                deadline = Some(Instant::now() + queue.deadline);
            }
            let sleep = async {
                match deadline {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // Not for every batch of a busy server.
                changed = news.changed() => {
                    if changed.is_err() {
                        return None;
                    }
                }
                () = sleep => {}
                _ = stop.wait_for(|stop| *stop) => return None,
            }
        }
    }

    /// Divides batches over shards, and each shard's samples over requests.
    fn portions(&mut self, batches: Vec<(TenantId, Batch)>, shards: usize) -> Vec<Vec<Portion>> {
        let oldest = match self.to.queue.age_limit_ms {
            0 => i64::MIN,
            limit => self.clock.now().ms() - limit,
        };
        let mut building: Vec<BTreeMap<TenantId, Building>> = (0..shards).map(|_| BTreeMap::new()).collect();
        let mut done: Vec<Vec<Portion>> = (0..shards).map(|_| Vec::new()).collect();
        let mut too_old = 0;
        for (tenant, batch) in batches {
            for (name, metadata) in batch.metadata() {
                if self.metadata.len() < MAX_METADATA || self.metadata.contains_key(name) {
                    self.metadata.insert(name.clone(), metadata.clone());
                }
            }
            // The shard and the labels of each series of this batch.
            let mut places: Vec<Option<(usize, Labels)>> = Vec::with_capacity(batch.series().len());
            for index in 0..batch.series().len() as u32 {
                let labels = batch.label_bytes(index).and_then(Labels::from_encoded);
                let labels = labels.and_then(|labels| self.rewrite(&labels));
                places.push(labels.map(|labels| {
                    let shard = xxh3_64(labels.as_encoded()) as usize % shards;
                    (shard, labels)
                }));
            }
            for sample in batch.floats() {
                let Some((shard, labels)) = &places[sample.series as usize] else { continue };
                if sample.time < oldest {
                    too_old += 1;
                    continue;
                }
                let building = building[*shard].entry(tenant.clone()).or_default();
                let series = building.series(labels);
                building.gather.float(&mut building.batch, series, sample.time, sample.value);
                building.newest = building.newest.max(sample.time);
                self.finish_when_full(&tenant, building, &mut done[*shard]);
            }
            for sample in batch.histograms().iter().filter(|_| self.to.histograms) {
                let Some((shard, labels)) = &places[sample.series as usize] else { continue };
                if sample.time < oldest {
                    too_old += 1;
                    continue;
                }
                let building = building[*shard].entry(tenant.clone()).or_default();
                let series = building.series(labels);
                let histogram = model::Histogram::clone(&sample.histogram);
                building.gather.histogram(&mut building.batch, series, sample.time, histogram);
                building.newest = building.newest.max(sample.time);
                self.finish_when_full(&tenant, building, &mut done[*shard]);
            }
            for (series, time, start) in batch.starts().iter().filter(|_| self.to.message == Message::V2) {
                let Some((shard, labels)) = &places[*series as usize] else { continue };
                if let Some(building) = building[*shard].get_mut(&tenant)
                    && let Some(series) = building.known(labels)
                {
                    building.batch.push_start(series, *time, *start);
                }
            }
            for (series, exemplar) in batch.exemplars().iter().filter(|_| self.to.exemplars) {
                let Some((shard, labels)) = &places[*series as usize] else { continue };
                let building = building[*shard].entry(tenant.clone()).or_default();
                let series = building.series(labels);
                building.batch.push_exemplar(series, exemplar.clone());
            }
        }
        for (shard, tenants) in building.into_iter().enumerate() {
            for (tenant, mut building) in tenants {
                if !building.batch.is_empty() {
                    done[shard].push(self.finish(&tenant, &mut building));
                }
            }
        }
        if too_old > 0 {
            self.metrics.forward_dropped.get_or_create(&Dropped::because("too_old")).inc_by(too_old);
        }
        done
    }

    fn rewrite(&mut self, labels: &Labels) -> Option<Labels> {
        if let Some(known) = self.rewritten.get(labels) {
            return known.clone();
        }
        let rewritten = self.to.rewritten(labels);
        if self.rewritten.len() >= MAX_REWRITTEN {
            self.rewritten.clear();
        }
        self.rewritten.insert(labels.clone(), rewritten.clone());
        rewritten
    }

    fn finish_when_full(&self, tenant: &TenantId, building: &mut Building, done: &mut Vec<Portion>) {
        if building.batch.sample_count() >= self.to.queue.max_samples {
            done.push(self.finish(tenant, building));
        }
    }

    fn finish(&self, tenant: &TenantId, building: &mut Building) -> Portion {
        building.gather.finish(&mut building.batch);
        let metadata = |name: &str| {
            self.metadata.get(name).or_else(|| {
                let stem =
                    ["_bucket", "_count", "_sum", "_total"].iter().find_map(|s| name.strip_suffix(s))?;
                self.metadata.get(stem)
            })
        };
        let message = encode(self.to.message, &building.batch, &metadata);
        let portion = Portion {
            tenant: tenant.clone(),
            body: wire::compress::snappy(&message),
            samples: building.batch.sample_count() as u64,
            newest: building.newest,
        };
        *building = Building::default();
        portion
    }

    /// Sends metadata to a receiver of version 1.0 when it is time. `false` when the server stops.
    async fn describe(&mut self, stop: &watch::Receiver<bool>) -> bool {
        let Some((interval, max)) = self.to.metadata.filter(|_| self.to.message == Message::V1) else {
            return true;
        };
        if self.metadata.is_empty() || self.described.is_some_and(|at| at.elapsed() < interval) {
            return true;
        }
        self.described = Some(Instant::now());
        let entries: Vec<(&String, &Metadata)> = self.metadata.iter().collect();
        for chunk in entries.chunks(max.max(1)) {
            let message = encode_metadata(chunk.iter().map(|(name, metadata)| (name.as_str(), *metadata)));
            let portion = Portion {
                tenant: TenantId::default(),
                body: wire::compress::snappy(&message),
                samples: 0,
                newest: i64::MIN,
            };
            if let Sent::Stopped = self.send(&portion, stop.clone()).await {
                return false;
            }
        }
        true
    }

    async fn send_all(&self, portions: Vec<Portion>, stop: watch::Receiver<bool>) -> Sent {
        for portion in portions {
            if let Sent::Stopped = self.send(&portion, stop.clone()).await {
                return Sent::Stopped;
            }
        }
        Sent::Done
    }

    /// Sends a request until it is taken or refused for good.
    async fn send(&self, portion: &Portion, stop: watch::Receiver<bool>) -> Sent {
        let queue = &self.to.queue;
        let mut backoff = queue.min_backoff;
        let to = self.labels();
        loop {
            let url = self.to.url();
            let (reason, wait) = match self.request(url, portion, &stop).await {
                Attempt::Stopped => return Sent::Stopped,
                Attempt::Taken => {
                    self.metrics.forward_sent.get_or_create(&to).inc_by(portion.samples);
                    if portion.newest != i64::MIN {
                        let lag = (self.clock.now().ms() - portion.newest).max(0);
                        self.metrics.forward_lag_ms.get_or_create(&to).set(lag);
                    }
                    return Sent::Done;
                }
                Attempt::Refused(reason) => {
                    self.metrics
                        .forward_dropped
                        .get_or_create(&Dropped::because("refused"))
                        .inc_by(portion.samples);
                    let text =
                        format!("{} refuses {} samples for good: {reason}", self.to.name(), portion.samples);
                    self.metrics.warn("forward", &text);
                    return Sent::Done;
                }
                Attempt::Again(reason, wait) => (reason, wait),
            };
            self.metrics.forward_retries.get_or_create(&to).inc();
            self.metrics.warn("forward", &format!("{} cannot take samples now: {reason}", self.to.name()));
            self.to.go_on_from(url);
            if !pause(wait.map_or(backoff, |wait| wait.min(MAX_RETRY_AFTER)), &stop).await {
                return Sent::Stopped;
            }
            backoff = (backoff * 2).min(queue.max_backoff);
        }
    }

    async fn request(&self, url: &str, portion: &Portion, stop: &watch::Receiver<bool>) -> Attempt {
        let (kind, version) = match self.to.message {
            Message::V1 => ("application/x-protobuf", "0.1.0"),
            Message::V2 => ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0"),
        };
        let mut request = match Request::post(url, kind, portion.body.clone()) {
            Ok(request) => request,
            Err(err) => return Attempt::Refused(err.chain()),
        };
        let own = [("content-encoding", "snappy"), ("x-prometheus-remote-write-version", version)];
        let tenant = ("x-scope-orgid", portion.tenant.as_str());
        let names_tenant = portion.tenant != TenantId::default();
        let given = self.to.headers.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        for (name, value) in own.into_iter().chain(names_tenant.then_some(tenant)).chain(given) {
            request = match request.header(name, value) {
                Ok(request) => request,
                Err(err) => return Attempt::Refused(err.chain()),
            };
        }
        let request = request.timeout(self.to.timeout);
        let mut stop = stop.clone();
        let answer = tokio::select! {
            answer = self.to.client.send(request) => answer,
            _ = stop.wait_for(|stop| *stop) => return Attempt::Stopped,
        };
        let response = match answer {
            Ok(response) => response,
            Err(err) => return Attempt::Again(err.chain(), None),
        };
        let status = response.status();
        if status.is_success() {
            return Attempt::Taken;
        }
        let wait =
            response.header("retry-after").and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let text = match response.bytes(MAX_ANSWER).await {
            Ok(body) => String::from_utf8_lossy(&body).trim().chars().take(200).collect(),
            Err(_) => String::new(),
        };
        let reason = format!("{status}: {text}");
        let again = match status {
            StatusCode::TOO_MANY_REQUESTS => self.to.queue.retry_429 || wait.is_some(),
            // What an operator puts right: credentials, a path, a proxy. The spool waits for it.
            StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN
            | StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::PROXY_AUTHENTICATION_REQUIRED
            | StatusCode::REQUEST_TIMEOUT => true,
            _ => !status.is_client_error(),
        };
        if again { Attempt::Again(reason, wait) } else { Attempt::Refused(reason) }
    }
}

enum Attempt {
    Taken,
    Refused(String),
    Again(String, Option<Duration>),
    Stopped,
}

/// Waits; `false` when the server stops.
async fn pause(time: Duration, stop: &watch::Receiver<bool>) -> bool {
    let mut stop = stop.clone();
    tokio::select! {
        () = tokio::time::sleep(time) => true,
        _ = stop.wait_for(|stop| *stop) => false,
    }
}

/// A request while it is filled.
struct Building {
    gather: Gather,
    batch: Batch,
    index: HashMap<Labels, u32>,
    newest: i64,
}

impl Default for Building {
    fn default() -> Self {
        let (mut gather, mut batch) = (Gather::new(0), Batch::new());
        gather.begin(&mut batch);
        Self { gather, batch, index: HashMap::new(), newest: i64::MIN }
    }
}

impl Building {
    fn series(&mut self, labels: &Labels) -> u32 {
        if let Some(index) = self.index.get(labels) {
            return *index;
        }
        let index = self.gather.add(labels, &mut self.batch);
        self.index.insert(labels.clone(), index);
        index
    }

    fn known(&self, labels: &Labels) -> Option<u32> {
        self.index.get(labels).copied()
    }
}
