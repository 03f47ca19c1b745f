//! Sockets of the receivers that do not speak HTTP: bound, counted, ended in good order.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use model::seam::BoxFuture;
use model::{Appender, Batch, Clock, TenantId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use wire::gather::Refused;

use crate::config::{Config, SocketConfig};
use crate::metrics::{Metrics, Protocol};
use crate::push::{Stored, store};

/// The largest datagram.
const DATAGRAM_BYTES: usize = 64 << 10;
/// Bytes that are read at once from a connection.
const READ_BYTES: usize = 64 << 10;
/// Between two attempts to store what the storage cannot take now.
const RETRY: Duration = Duration::from_millis(250);
/// How long a connection is held up by that before its data is dropped and counted.
const RETRY_FOR: Duration = Duration::from_secs(30);

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {protocol} ({setting})")]
pub struct ListenError {
    protocol: &'static str,
    setting: &'static str,
    address: String,
    source: std::io::Error,
}

/// What all receivers need.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) appender: Arc<dyn Appender>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) tenant: TenantId,
    pub(crate) limits: SocketConfig,
    pub(crate) seed: u64,
    stop: watch::Receiver<bool>,
}

impl Context {
    /// Becomes true when the server stops.
    pub(crate) fn stopped(&self) -> watch::Receiver<bool> {
        self.stop.clone()
    }

    /// Stores a batch of a sender who waits for no answer: what cannot be taken now is tried again for a while, which holds up the sender,
    /// then dropped and counted.
    pub(crate) async fn store(
        &self,
        protocol: &'static str,
        batch: &Batch,
        refused: &Refused,
        patient: bool,
    ) -> Stored {
        let give_up = tokio::time::Instant::now() + RETRY_FOR;
        let mut stop = self.stop.clone();
        loop {
            let stored = store(&*self.appender, &self.tenant, batch).await;
            let again =
                patient && matches!(stored, Stored::Later { .. }) && tokio::time::Instant::now() < give_up;
            if again {
                tokio::select! {
                    () = tokio::time::sleep(RETRY) => continue,
                    _ = stop.wait_for(|stop| *stop) => {}
                }
            }
            self.metrics.pushed(protocol, batch, refused, &stored);
            if let Stored::Later { reason, .. } | Stored::Failed { reason, .. } = &stored {
                self.metrics.warn(protocol, reason);
            } else if let Some(reason) = &refused.first {
                self.metrics.warn(protocol, reason);
            }
            return stored;
        }
    }
}

/// Every socket that the configuration asks for, and the tasks behind them.
pub struct Sockets {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    /// Protocol and address, as bound.
    pub addresses: Vec<(&'static str, String)>,
}

impl Sockets {
    /// Binds and serves.
    ///
    /// # Errors
    /// [`ListenError`] for the first address that cannot be had; relabelling rules that are wrong.
    pub async fn open(
        config: &Config,
        appender: Arc<dyn Appender>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
        seed: u64,
    ) -> Result<Self, OpenError> {
        let (stop, stopped) = watch::channel(false);
        let tenant = TenantId::new(&config.sockets.tenant)?;
        let context =
            Context { appender, clock, metrics, tenant, limits: config.sockets.clone(), seed, stop: stopped };
        let mut this = Self { stop, tasks: JoinSet::new(), addresses: Vec::new() };
        let graphite = crate::graphite::Receiver::new(&config.graphite, context.clone())?;
        let lines = config.graphite.listen_address.as_str();
        this.tcp(&context, "graphite", "ingest.graphite.listen_address", lines, graphite.lines()).await?;
        this.udp(&context, "graphite", "ingest.graphite.listen_address", lines, graphite.datagrams()).await?;
        let pickle = config.graphite.pickle_listen_address.as_str();
        this.tcp(&context, "graphite", "ingest.graphite.pickle_listen_address", pickle, graphite.pickle())
            .await?;

        let statsd = Arc::new(crate::statsd::Receiver::new(&config.statsd, context.clone()));
        let address = config.statsd.listen_address.as_str();
        this.tcp(&context, "statsd", "ingest.statsd.listen_address", address, statsd.lines()).await?;
        this.udp(&context, "statsd", "ingest.statsd.listen_address", address, statsd.datagrams()).await?;
        this.unix(&context, "statsd", &config.statsd.unix_socket, statsd.datagrams())?;
        if this.addresses.iter().any(|(protocol, _)| *protocol == "statsd") {
            this.tasks.spawn(Arc::clone(&statsd).flush_forever());
        }

        let zabbix = config.zabbix.listen_address.as_str();
        this.tcp(
            &context,
            "zabbix",
            "ingest.zabbix.listen_address",
            zabbix,
            crate::zabbix::connection(&context),
        )
        .await?;
        let collectd = config.collectd.listen_address.as_str();
        let packets = crate::collectd::datagrams(&context);
        this.udp(&context, "collectd", "ingest.collectd.listen_address", collectd, packets).await?;
        for (protocol, address) in &this.addresses {
            tracing::info!(protocol, %address, "listening for pushes");
        }
        Ok(this)
    }

    /// Ends every task; what StatsD has gathered is stored.
    pub async fn close(mut self) {
        self.stop.send_replace(true);
        while self.tasks.join_next().await.is_some() {}
    }

    async fn tcp(
        &mut self,
        context: &Context,
        protocol: &'static str,
        setting: &'static str,
        address: &str,
        serve: Arc<dyn Serve>,
    ) -> Result<(), ListenError> {
        if address.is_empty() {
            return Ok(());
        }
        let refused = |source| ListenError { protocol, setting, address: address.to_owned(), source };
        let listener = TcpListener::bind(full(address)).await.map_err(refused)?;
        let bound = listener.local_addr().map_err(refused)?;
        self.addresses.push((protocol, format!("tcp://{bound}")));
        self.tasks.spawn(accept(context.clone(), protocol, listener, serve));
        Ok(())
    }

    async fn udp(
        &mut self,
        context: &Context,
        protocol: &'static str,
        setting: &'static str,
        address: &str,
        take: Arc<dyn Take>,
    ) -> Result<(), ListenError> {
        if address.is_empty() {
            return Ok(());
        }
        let refused = |source| ListenError { protocol, setting, address: address.to_owned(), source };
        // Port 0 means the port that TCP got, so that one address serves both.
        let mut wanted = full(address);
        if let (Some(host), Some(port)) = (wanted.strip_suffix(":0"), self.port_of(protocol)) {
            wanted = format!("{host}:{port}");
        }
        let socket = UdpSocket::bind(&wanted).await.map_err(refused)?;
        let bound = socket.local_addr().map_err(refused)?;
        self.addresses.push((protocol, format!("udp://{bound}")));
        let mut stop = context.stop.clone();
        let metrics = context.metrics.clone();
        self.tasks.spawn(async move {
            let mut buffer = vec![0; DATAGRAM_BYTES];
            loop {
                let received = tokio::select! {
                    received = socket.recv(&mut buffer) => received,
                    _ = stop.wait_for(|stop| *stop) => return,
                };
                match received {
                    Ok(len) => take.take(buffer.get(..len).unwrap_or_default()).await,
                    // An ICMP error of an earlier answer; the socket goes on.
                    Err(err) => metrics.warn(protocol, &err.to_string()),
                }
            }
        });
        Ok(())
    }

    fn unix(
        &mut self,
        context: &Context,
        protocol: &'static str,
        path: &Path,
        take: Arc<dyn Take>,
    ) -> Result<(), ListenError> {
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        let refused = |source| ListenError {
            protocol,
            setting: "ingest.statsd.unix_socket",
            address: path.display().to_string(),
            source,
        };
        // A socket that a dead process left is in the way; anything else is not ours to remove.
        if is_socket(path)
            && std::os::unix::net::UnixDatagram::unbound().is_ok_and(|s| s.connect(path).is_err())
        {
            std::fs::remove_file(path).map_err(refused)?;
        }
        let socket = UnixDatagram::bind(path).map_err(refused)?;
        self.addresses.push((protocol, format!("unix://{}", path.display())));
        let mut stop = context.stop.clone();
        let metrics = context.metrics.clone();
        let guard = RemoveOnDrop(path.to_owned());
        self.tasks.spawn(async move {
            let _guard = guard;
            let mut buffer = vec![0; DATAGRAM_BYTES];
            loop {
                let received = tokio::select! {
                    received = socket.recv(&mut buffer) => received,
                    _ = stop.wait_for(|stop| *stop) => return,
                };
                match received {
                    Ok(len) => take.take(buffer.get(..len).unwrap_or_default()).await,
                    Err(err) => metrics.warn(protocol, &err.to_string()),
                }
            }
        });
        Ok(())
    }

    fn port_of(&self, protocol: &str) -> Option<u16> {
        let (_, address) = self.addresses.iter().find(|(p, a)| *p == protocol && a.starts_with("tcp://"))?;
        address.strip_prefix("tcp://")?.parse::<SocketAddr>().ok().map(|a| a.port())
    }
}

/// Why the sockets cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An address.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A rule.
    #[error("ingest.graphite.relabel_configs: {0}")]
    Relabel(#[from] model::relabel::InvalidRule),
    /// The tenant's name.
    #[error("ingest.sockets.tenant: {0}")]
    Tenant(#[from] model::tenant::InvalidTenant),
}

fn full(address: &str) -> String {
    if address.starts_with(':') { format!("0.0.0.0{address}") } else { address.to_owned() }
}

fn is_socket(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
}

struct RemoveOnDrop(PathBuf);

impl Drop for RemoveOnDrop {
    fn drop(&mut self) {
        // It may be gone already.
        drop(std::fs::remove_file(&self.0));
    }
}

/// Takes datagrams.
pub(crate) trait Take: Send + Sync {
    fn take<'a>(&'a self, datagram: &'a [u8]) -> BoxFuture<'a, ()>;
}

/// Serves a connection: takes what has come so far.
pub(crate) trait Serve: Send + Sync {
    /// Looks at all bytes that have not been used yet. `end`: no more will come.
    ///
    /// # Errors
    /// In words: the connection is useless and must be closed.
    fn serve<'a>(&'a self, bytes: &'a [u8], end: bool) -> BoxFuture<'a, Result<Served, String>>;

    /// The most bytes that may wait for their end.
    fn max_pending(&self) -> usize;
}

/// What a look at a connection's bytes led to.
#[derive(Debug, Default)]
pub(crate) struct Served {
    /// Bytes from the front that are done with.
    pub(crate) used: usize,
    /// What to send back.
    pub(crate) answer: Vec<u8>,
    /// Whether the connection ends after the answer.
    pub(crate) close: bool,
}

async fn accept(context: Context, protocol: &'static str, listener: TcpListener, serve: Arc<dyn Serve>) {
    let places = Arc::new(Semaphore::new(context.limits.max_connections.max(1)));
    let mut connections = JoinSet::new();
    let mut stop = context.stop.clone();
    loop {
        // Beyond the limit new connections wait in the kernel's queue.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                let (context, serve) = (context.clone(), Arc::clone(&serve));
                connections.spawn(async move {
                    let open =
                        context.metrics.push_connections.get_or_create(&Protocol::with(protocol, "")).clone();
                    open.inc();
                    if let Err(reason) = connection(&context, stream, &*serve).await {
                        context
                            .metrics
                            .push_requests
                            .get_or_create(&Protocol::with(protocol, "unreadable"))
                            .inc();
                        context.metrics.warn(protocol, &reason);
                    }
                    open.dec();
                    drop(place);
                });
            }
            Err(err) => {
                // No file descriptors, most likely: they come back when connections end.
                context.metrics.warn(protocol, &err.to_string());
                tokio::time::sleep(RETRY).await;
            }
        }
    }
    while connections.join_next().await.is_some() {}
}

async fn connection(context: &Context, mut stream: TcpStream, serve: &dyn Serve) -> Result<(), String> {
    let idle = context.limits.idle_timeout.to_std();
    let mut stop = context.stop.clone();
    let mut pending: Vec<u8> = Vec::new();
    loop {
        pending.reserve(READ_BYTES);
        let read = tokio::select! {
            read = tokio::time::timeout(idle, stream.read_buf(&mut pending)) => read,
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        };
        let end = match read {
            // Somebody who has nothing to say: no fault.
            Err(_) => return Ok(()),
            Ok(Err(err)) => return Err(err.to_string()),
            Ok(Ok(len)) => len == 0,
        };
        let served = serve.serve(&pending, end).await?;
        pending.drain(..served.used.min(pending.len()));
        if !served.answer.is_empty() {
            stream.write_all(&served.answer).await.map_err(|err| err.to_string())?;
        }
        if end || served.close {
            return Ok(());
        }
        if pending.len() > serve.max_pending() {
            return Err(format!(
                "a line or message does not end within {} bytes (ingest.sockets.max_message_bytes)",
                serve.max_pending()
            ));
        }
    }
}
