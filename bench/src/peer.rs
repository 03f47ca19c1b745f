//! The programs that are compared: where they are, how they are started, what their process costs.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::http::Client;
use crate::wait;

/// Linux counts CPU time in `/proc` in hundredths of a second, whatever its own clock does.
const TICKS_PER_SECOND: f64 = 100.0;

/// A program under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Bellwether,
    VictoriaMetrics,
    Prometheus,
}

impl Kind {
    pub(crate) const ALL: [Self; 3] = [Self::Bellwether, Self::VictoriaMetrics, Self::Prometheus];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bellwether => "bellwether",
            Self::VictoriaMetrics => "victoriametrics",
            Self::Prometheus => "prometheus",
        }
    }

    /// The program: named by `BENCH_BELLWETHER`, `BENCH_VICTORIAMETRICS`, `BENCH_PROMETHEUS`, else found on the `PATH`; our own is
    /// also looked for beside this one.
    pub(crate) fn find(self) -> Option<PathBuf> {
        let variable = format!("BENCH_{}", self.name().to_uppercase());
        if let Some(path) = std::env::var_os(&variable) {
            return Some(PathBuf::from(path));
        }
        let names: &[&str] = match self {
            Self::Bellwether => &["bellwether"],
            Self::VictoriaMetrics => &["victoria-metrics", "victoria-metrics-prod"],
            Self::Prometheus => &["prometheus"],
        };
        let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.to_owned()));
        let beside = beside.filter(|_| self == Self::Bellwether);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = beside.into_iter().chain(std::env::split_paths(&path));
        folders.flat_map(|dir| names.iter().map(move |name| dir.join(name))).find(|path| path.is_file())
    }

    /// What the program says of its version.
    pub(crate) fn version(self, program: &Path) -> String {
        let flag = if self == Self::VictoriaMetrics { "-version" } else { "--version" };
        let output = Command::new(program).arg(flag).output();
        let text = output.map(|o| [o.stdout, o.stderr].concat()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).lines().next().unwrap_or("").trim().to_owned();
        if text.is_empty() { "version not told".to_owned() } else { text }
    }

    fn arguments(self, address: &str, data: &Path, scratch: &Path) -> Result<Vec<String>> {
        Ok(match self {
            // Its own metrics are not part of the load; the others have no such default.
            Self::Bellwether => vec![
                format!("--web.listen-address={address}"),
                format!("--storage.path={}", data.display()),
                "--storage.retention=100d".to_owned(),
                "--web.enable-admin-api=true".to_owned(),
                "--sources.host.enabled=false".to_owned(),
                "--sources.self.enabled=false".to_owned(),
                "--alerts.history.series=0".to_owned(),
                "--query.max-samples=1000000000".to_owned(),
            ],
            Self::VictoriaMetrics => vec![
                format!("-httpListenAddr={address}"),
                format!("-storageDataPath={}", data.display()),
                "-retentionPeriod=100d".to_owned(),
                "-search.maxUniqueTimeseries=10000000".to_owned(),
            ],
            Self::Prometheus => {
                let config = scratch.join("prometheus.yml");
                std::fs::write(&config, "global: {scrape_interval: 15s}\n")?;
                vec![
                    format!("--config.file={}", config.display()),
                    format!("--web.listen-address={address}"),
                    format!("--storage.tsdb.path={}", data.display()),
                    "--storage.tsdb.retention.time=100d".to_owned(),
                    "--web.enable-remote-write-receiver".to_owned(),
                    "--query.max-samples=1000000000".to_owned(),
                    "--log.level=warn".to_owned(),
                ]
            }
        })
    }

    /// Asks a server to bring what is in memory to its final form on disk, as far as it can be asked.
    pub(crate) fn settle(self, client: &mut Client) -> Result<()> {
        if self == Self::VictoriaMetrics {
            client.send("GET", "/internal/force_flush", &[], b"")?;
            client.send("GET", "/internal/force_merge", &[], b"")?;
        }
        self.seal(client)
    }

    /// Asks Bellwether to compress what is in memory, as it does every four minutes: an hour that is written in a minute would
    /// be in memory as a whole. The others do it by size, or with every sample.
    pub(crate) fn seal(self, client: &mut Client) -> Result<()> {
        if self == Self::Bellwether {
            let (status, answer) = client.send("POST", "/api/v1/admin/tsdb/snapshot", &[], b"")?;
            if status != 200 {
                bail!("bellwether: snapshot: status {status}: {}", String::from_utf8_lossy(&answer));
            }
        }
        Ok(())
    }
}

/// A running program.
pub(crate) struct Server {
    pub(crate) kind: Kind,
    child: Child,
    pub(crate) address: String,
    pub(crate) started: Instant,
}

impl Server {
    /// Starts a program on a free port. Its output goes to a file in `scratch`.
    pub(crate) fn start(kind: Kind, program: &Path, data: &Path, scratch: &Path) -> Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        let log =
            File::options().create(true).append(true).open(scratch.join(format!("{}.log", kind.name())))?;
        let started = Instant::now();
        let child = Command::new(program)
            .args(kind.arguments(&address, data, scratch)?)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        Ok(Self { kind, child, address, started })
    }

    /// Waits until `ready` says so; how long after the start that was.
    pub(crate) fn wait_until(
        &mut self,
        what: &str,
        mut ready: impl FnMut(&mut Client) -> Result<bool>,
    ) -> Result<Duration> {
        let mut client = Client::new(&self.address);
        let mut last = String::new();
        while self.started.elapsed() < Duration::from_secs(600) {
            match ready(&mut client) {
                Ok(true) => return Ok(self.started.elapsed()),
                Ok(false) => {}
                Err(err) => last = format!("{err:#}"),
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}) before it was {what}; see its log", self.kind.name());
            }
            wait(Duration::from_millis(2));
        }
        bail!("{} was not {what} within 10 minutes; the last error: {last}", self.kind.name())
    }

    pub(crate) fn wait_ready(&mut self) -> Result<Duration> {
        let path = if self.kind == Kind::VictoriaMetrics { "/health" } else { "/-/ready" };
        self.wait_until("ready", |client| Ok(client.send("GET", path, &[], b"")?.0 == 200))
    }

    /// CPU seconds so far, user and system.
    pub(crate) fn cpu(&self) -> Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        let fields: Vec<&str> = text.rsplit(')').next().unwrap_or("").split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
        Ok((ticks(11) + ticks(12)) / TICKS_PER_SECOND)
    }

    /// Resident bytes: all, without mapped files, and the most so far.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let field = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|l| l.split_whitespace().nth(1)).and_then(|v| v.parse::<u64>().ok()).unwrap_or(0)
                * 1024
        };
        Ok(Memory { resident: field("VmRSS:"), anonymous: field("RssAnon:"), peak: field("VmHWM:") })
    }

    /// Forgets the peak of resident memory.
    pub(crate) fn forget_peak(&self) -> Result<()> {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5")
            .context("reset the peak of memory")
    }

    /// Sends signal 9 and does not wait.
    pub(crate) fn signal_kill(&self) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        Ok(rustix::process::kill_process(pid, rustix::process::Signal::KILL)?)
    }

    /// Kills with signal 9 and waits for the end.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks the program to end and waits for it.
    pub(crate) fn stop(mut self) -> Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let from = Instant::now();
        while self.child.try_wait()?.is_none() {
            if from.elapsed() > Duration::from_secs(120) {
                self.child.kill()?;
                self.child.wait()?;
                bail!("{} did not end within 2 minutes", self.kind.name());
            }
            wait(Duration::from_millis(20));
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // A run that failed leaves no program behind.
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

/// Resident memory in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    pub(crate) anonymous: u64,
    pub(crate) peak: u64,
}

/// Bytes of the files below a folder, as the disk has them.
pub(crate) fn disk_bytes(path: &Path) -> Result<u64> {
    let mut seen = std::collections::BTreeSet::new();
    fn walk(path: &Path, seen: &mut std::collections::BTreeSet<u64>) -> Result<u64> {
        use std::os::unix::fs::MetadataExt;
        let mut sum = 0;
        let entries = match std::fs::read_dir(path) {
            Ok(entries) => entries,
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(0),
            Err(err) => return Err(err.into()),
        };
        for entry in entries {
            let entry = entry?;
            let meta = match entry.metadata() {
                Ok(meta) => meta,
                Err(err) if err.kind() == std::io::ErrorKind::NotFound => continue,
                Err(err) => return Err(err.into()),
            };
            if meta.is_dir() {
                sum += walk(&entry.path(), seen)?;
            } else if seen.insert(meta.ino()) {
                sum += meta.len();
            }
        }
        Ok(sum)
    }
    walk(path, &mut seen)
}
