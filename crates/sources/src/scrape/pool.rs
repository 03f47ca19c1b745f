//! One job: discovery in, target tasks out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use httpc::{Client, Options};
use model::{Labels, Timestamp};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::collect::Rules;
use super::fetch::{Ask, accept};
use super::run::{Origin, Run, Settings, Shared, Stop};
use super::status::{Health, PoolStatus, TargetStatus};
use super::target::{DroppedTarget, Outcome, Target, from_group};
use crate::config::{ScrapeConfig, Validation};
use crate::discovery::{Event, Group, Mechanisms};

/// Groups that wait to be looked at; discovery waits when there are more.
const QUEUE: usize = 64;
/// Groups that come within this time are looked at together.
const SETTLE: Duration = Duration::from_millis(50);

/// What a pool shows.
#[derive(Default)]
pub(crate) struct View {
    pub(crate) active: Vec<Arc<Mutex<TargetStatus>>>,
    pub(crate) dropped: Vec<DroppedTarget>,
    pub(crate) dropped_count: usize,
    pub(crate) problems: Vec<String>,
}

impl View {
    pub(crate) fn status(&self, name: &str) -> PoolStatus {
        let mut active: Vec<TargetStatus> = self.active.iter().map(|status| status.lock().clone()).collect();
        active.sort_by(|a, b| a.scrape_url.cmp(&b.scrape_url).then_with(|| a.labels.cmp(&b.labels)));
        PoolStatus {
            name: name.to_owned(),
            active,
            dropped: self.dropped.clone(),
            dropped_count: self.dropped_count,
            problems: self.problems.clone(),
        }
    }
}

/// A running target.
struct Running {
    stop: watch::Sender<Stop>,
    status: Arc<Mutex<TargetStatus>>,
    target: Target,
    task: JoinHandle<()>,
}

/// A job's task from outside.
pub(crate) struct Handle {
    pub(crate) config: watch::Sender<Arc<ScrapeConfig>>,
    pub(crate) view: Arc<Mutex<View>>,
    stop: watch::Sender<Stop>,
    task: JoinHandle<()>,
}

impl Handle {
    /// Starts a job. The configuration's HTTP section must have been tried by [`client`].
    pub(crate) fn start(shared: Arc<Shared>, config: Arc<ScrapeConfig>, client: Client) -> Self {
        let (config_tx, config_rx) = watch::channel(Arc::clone(&config));
        let (stop_tx, stop_rx) = watch::channel(Stop::Not);
        let view = Arc::new(Mutex::new(View::default()));
        let (settings, _) = watch::channel(Arc::new(settings(&shared, &config, client)));
        let pool = Pool {
            shared,
            config,
            settings,
            targets: HashMap::new(),
            groups: HashMap::new(),
            failures: HashMap::new(),
            view: Arc::clone(&view),
            mechanisms: Mechanisms::default(),
        };
        let task = tokio::spawn(pool.run(config_rx, stop_rx));
        Self { config: config_tx, view, stop: stop_tx, task }
    }

    /// Stops the job and waits until its targets have stopped.
    pub(crate) async fn stop(self, how: Stop) {
        self.stop.send_replace(how);
        if let Err(err) = self.task.await {
            tracing::error!(error = %err, "a scrape pool ended badly");
        }
    }
}

/// The client of a job's scrapes. Blocks on certificate files.
pub(crate) fn client(config: &ScrapeConfig) -> Result<Client, httpc::Error> {
    let options = Options {
        compression: config.enable_compression,
        connect_timeout: config.scrape_timeout.to_std(),
        timeout: config.scrape_timeout.to_std(),
        // One connection a target, kept from scrape to scrape.
        idle_per_host: 1,
        idle_timeout: config.scrape_interval.to_std() * 2 + Duration::from_secs(30),
        sigv4: config.sigv4.clone(),
        ..Options::default()
    };
    Client::new(&config.http(), options)
}

pub(crate) fn rules(config: &ScrapeConfig) -> Rules {
    Rules {
        honor_labels: config.honor_labels,
        honor_timestamps: config.honor_timestamps,
        track_staleness: config.track_timestamps_staleness,
        legacy_names: config.metric_name_validation_scheme == Some(Validation::Legacy),
        native_histograms: config.scrape_native_histograms.unwrap_or(false),
        classic_histograms: config.always_scrape_classic_histograms.unwrap_or(false),
        convert_histograms: config.convert_classic_histograms_to_nhcb.unwrap_or(false),
        max_schema: model::histogram::schema_of_factor(config.native_histogram_min_bucket_factor),
        bucket_limit: usize::try_from(config.native_histogram_bucket_limit).unwrap_or(usize::MAX),
        sample_limit: config.sample_limit,
        label_limit: config.label_limit,
        label_name_length_limit: config.label_name_length_limit,
        label_value_length_limit: config.label_value_length_limit,
        relabel: config.metric_relabel_configs.0.clone(),
    }
}

fn settings(shared: &Shared, config: &ScrapeConfig, client: Client) -> Settings {
    let escaping = config.metric_name_escaping_scheme.unwrap_or(crate::config::Escaping::AllowUtf8);
    let limit = usize::try_from(config.body_size_limit.0).unwrap_or(usize::MAX);
    let ask = Ask {
        accept: accept(config.protocols(), escaping),
        fallback: config.fallback_scrape_protocol.map(crate::config::Protocol::format),
        max_body: if limit == 0 { shared.max_body } else { limit.min(shared.max_body) },
    };
    Settings {
        rules: Arc::new(rules(config)),
        origin: Origin::Http(client, Arc::new(ask)),
        extra: config.extra_scrape_metrics.unwrap_or(false),
        failure_log: config
            .scrape_failure_log_file
            .as_ref()
            .map(|file| Arc::new((config.job_name.clone(), file.clone()))),
    }
}

struct Pool {
    shared: Arc<Shared>,
    config: Arc<ScrapeConfig>,
    settings: watch::Sender<Arc<Settings>>,
    targets: HashMap<u64, Running>,
    /// By mechanism and source.
    groups: HashMap<(u64, String), Group>,
    /// What a mechanism cannot do at the moment.
    failures: HashMap<u64, String>,
    view: Arc<Mutex<View>>,
    mechanisms: Mechanisms,
}

impl Pool {
    async fn run(mut self, mut config: watch::Receiver<Arc<ScrapeConfig>>, mut stop: watch::Receiver<Stop>) {
        let (tx, mut rx) = mpsc::channel(QUEUE);
        self.discover(&tx);
        self.sync().await;
        loop {
            tokio::select! {
                () = stopped(&mut stop) => break,
                changed = config.changed() => {
                    if changed.is_err() {
                        break;
                    }
                    let new = Arc::clone(&config.borrow_and_update());
                    self.reconfigure(new, &tx).await;
                }
                event = rx.recv() => {
                    let Some(event) = event else { break };
                    self.take(event);
                    let settled = tokio::time::sleep(SETTLE);
                    tokio::pin!(settled);
                    loop {
                        tokio::select! {
                            () = &mut settled => break,
                            Some(event) = rx.recv() => self.take(event),
                        }
                    }
                    self.sync().await;
                }
            }
        }
        let how = if *stop.borrow() == Stop::Not { Stop::Shutdown } else { *stop.borrow() };
        self.mechanisms.stop();
        let running: Vec<Running> = self.targets.drain().map(|(_, running)| running).collect();
        self.end(running, how).await;
    }

    async fn reconfigure(&mut self, new: Arc<ScrapeConfig>, tx: &mpsc::Sender<Event>) {
        let built = tokio::task::spawn_blocking({
            let config = Arc::clone(&new);
            move || client(&config)
        });
        match built.await.map_err(|err| err.to_string()).and_then(|c| c.map_err(|err| err.chain())) {
            Ok(client) => {
                self.settings.send_replace(Arc::new(settings(&self.shared, &new, client)));
                self.config = new;
                self.discover(tx);
                self.sync().await;
            }
            Err(reason) => {
                tracing::error!(job = %self.config.job_name, error = %reason, "cannot use the new scrape configuration");
            }
        }
    }

    /// Starts what is new among the mechanisms, ends what is gone, leaves the rest alone.
    fn discover(&mut self, tx: &mpsc::Sender<Event>) {
        let discovery = self.config.discovery();
        let gone = self.mechanisms.apply(&discovery, self.shared.agents.as_ref(), tx);
        self.groups.retain(|(mechanism, _), _| !gone.contains(mechanism) && *mechanism != Event::STATIC);
        self.failures.retain(|mechanism, _| !gone.contains(mechanism));
        for (index, fixed) in discovery.statics.iter().enumerate() {
            let address = |target: &String| [("__address__".to_owned(), target.clone())].into();
            let group = Group {
                source: index.to_string(),
                targets: fixed.targets.iter().map(address).collect(),
                labels: fixed.labels.clone(),
            };
            self.groups.insert((Event::STATIC, group.source.clone()), group);
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Groups { mechanism, .. } | Event::Failed { mechanism, .. }
                if !self.mechanisms.runs(mechanism) => {}
            Event::Groups { mechanism, groups } => {
                self.failures.remove(&mechanism);
                for group in groups {
                    let key = (mechanism, group.source.clone());
                    if group.targets.is_empty() {
                        self.groups.remove(&key);
                    } else {
                        self.groups.insert(key, group);
                    }
                }
            }
            // The targets of before stay: a discovery that is down must not end what it found.
            Event::Failed { mechanism, reason } => {
                self.shared.metrics.discovery_failures.inc();
                tracing::warn!(job = %self.config.job_name, error = %reason, "service discovery failed");
                self.failures.insert(mechanism, reason);
            }
        }
    }

    /// Starts and stops targets until they are what the groups say.
    async fn sync(&mut self) {
        let mut wanted: HashMap<u64, Target> = HashMap::new();
        let mut view = View::default();
        let keep = usize::try_from(self.config.keep_dropped_targets).unwrap_or(usize::MAX);
        for outcome in self.groups.values().flat_map(|group| from_group(&self.config, group)) {
            match outcome {
                Outcome::Target(target) => {
                    wanted.insert(target.identity(), *target);
                }
                Outcome::Dropped(dropped) => {
                    view.dropped_count += 1;
                    if keep == 0 || view.dropped.len() < keep {
                        view.dropped.push(dropped);
                    }
                }
                Outcome::Invalid(reason) => view.problems.push(reason),
            }
        }
        let limit = self.config.target_limit;
        let exceeded = (limit > 0 && wanted.len() as u64 > limit)
            .then(|| format!("target_limit exceeded (number of targets: {}, limit: {limit})", wanted.len()));
        if let Some(reason) = exceeded {
            view.problems.push(reason);
            wanted.clear();
        }
        view.problems.extend(self.failures.values().cloned());
        for section in self.config.discovery().unsupported {
            view.problems.push(format!("{section} is not supported"));
        }
        let gone: Vec<u64> = self
            .targets
            .iter()
            .filter(|(id, running)| {
                wanted.get(*id).is_none_or(|target| {
                    (target.interval, target.timeout) != (running.target.interval, running.target.timeout)
                })
            })
            .map(|(id, _)| *id)
            .collect();
        let stopped: Vec<Running> = gone.iter().filter_map(|id| self.targets.remove(id)).collect();
        // Those that go on with another interval must not be marked stale.
        let (moved, removed): (Vec<Running>, Vec<Running>) =
            stopped.into_iter().partition(|running| wanted.contains_key(&running.target.identity()));
        self.end(moved, Stop::Shutdown).await;
        self.end(removed, Stop::Removed).await;
        for (id, target) in wanted {
            match self.targets.get_mut(&id) {
                Some(running) => {
                    running.status.lock().discovered_labels = target.discovered.clone();
                    running.target = target;
                }
                None => {
                    let running = self.start(id, target);
                    self.targets.insert(id, running);
                }
            }
        }
        view.active = self.targets.values().map(|running| Arc::clone(&running.status)).collect();
        *self.view.lock() = view;
    }

    fn start(&self, id: u64, target: Target) -> Running {
        let (stop, stop_rx) = watch::channel(Stop::Not);
        let status = Arc::new(Mutex::new(status(&self.config.job_name, &target)));
        let run = Run {
            shared: Arc::clone(&self.shared),
            settings: self.settings.subscribe(),
            stop: stop_rx,
            status: Arc::clone(&status),
            labels: target.labels.clone(),
            url: target.url.clone(),
            interval_ms: target.interval.ms(),
            timeout: target.timeout.to_std(),
            phase_ms: ((id ^ self.shared.seed) % target.interval.ms().max(1) as u64) as i64,
            at_once: false,
            wake: None,
        };
        self.shared.metrics.targets.inc();
        Running { stop, status, target, task: tokio::spawn(run.run()) }
    }

    /// Tells targets to stop, then waits for all of them.
    async fn end(&self, running: Vec<Running>, how: Stop) {
        for one in &running {
            one.stop.send_replace(how);
        }
        for one in running {
            self.shared.metrics.targets.dec();
            if let Err(err) = one.task.await {
                tracing::error!(target_url = %one.target.url, error = %err, "a scrape ended badly");
            }
        }
    }
}

async fn stopped(stop: &mut watch::Receiver<Stop>) {
    if stop.wait_for(|stop| *stop != Stop::Not).await.is_err() {
        tracing::trace!("the scraper is gone");
    }
}

fn status(pool: &str, target: &Target) -> TargetStatus {
    TargetStatus {
        discovered_labels: target.discovered.clone(),
        labels: target.labels.clone(),
        scrape_pool: pool.to_owned(),
        scrape_url: target.url.clone(),
        global_url: global_url(&target.url),
        last_error: String::new(),
        last_scrape: Timestamp(0),
        last_scrape_duration: 0.0,
        health: Health::Unknown,
        scrape_interval: target.interval,
        scrape_timeout: target.timeout,
        series: 0,
    }
}

/// A loopback host means nothing elsewhere: this machine's name stands for it.
fn global_url(url: &str) -> String {
    let Ok(mut parsed) = httpc::Url::parse(url) else { return url.to_owned() };
    let local = matches!(parsed.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if local && !name.is_empty() && parsed.set_host(Some(&name)).is_ok() {
        return parsed.into();
    }
    url.to_owned()
}

/// A target within this process.
pub(crate) fn in_process(
    shared: &Arc<Shared>,
    job: &str,
    labels: Labels,
    source: &super::InProcess,
) -> (Arc<Mutex<TargetStatus>>, watch::Sender<Stop>, JoinHandle<()>) {
    let config = ScrapeConfig::new(job, Vec::new());
    let target = Target {
        discovered: labels.clone(),
        labels: labels.clone(),
        url: format!("inprocess:{job}"),
        interval: source.interval,
        timeout: source.timeout.min(source.interval),
    };
    let settings = Settings {
        rules: Arc::new(Rules { honor_labels: source.honor_labels, ..rules(&config) }),
        origin: Origin::InProcess(Arc::clone(&source.collect)),
        extra: false,
        failure_log: None,
    };
    let (settings_tx, settings_rx) = watch::channel(Arc::new(settings));
    let (stop, stop_rx) = watch::channel(Stop::Not);
    let status = Arc::new(Mutex::new(status(job, &target)));
    let run = Run {
        shared: Arc::clone(shared),
        settings: settings_rx,
        stop: stop_rx,
        status: Arc::clone(&status),
        labels,
        url: target.url.clone(),
        interval_ms: target.interval.ms().max(1),
        timeout: target.timeout.to_std(),
        phase_ms: ((target.identity() ^ shared.seed) % target.interval.ms().max(1) as u64) as i64,
        at_once: true,
        wake: source.wake.clone(),
    };
    shared.metrics.targets.inc();
    let task = tokio::spawn(async move {
        // The settings of a source in this process never change; the sender lives as long as the task.
        let _settings = settings_tx;
        run.run().await;
    });
    (status, stop, task)
}
