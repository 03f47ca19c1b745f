//! Syslog over datagrams, connections and TLS. The sockets are bound before the server says that it is ready.

#[cfg(test)]
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::super::config::SyslogInput;
use super::super::job::Job;
use super::super::parse::Entry;
use super::super::syslog::{Frames, parse};
use super::BATCH;

/// The largest datagram.
const DATAGRAM: usize = 65_535;
/// A connection that says nothing for so long is closed.
const IDLE: Duration = Duration::from_secs(600);
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Sockets that are bound.
pub(in super::super) struct Bound {
    udp: Option<UdpSocket>,
    tcp: Vec<(TcpListener, Option<TlsAcceptor>)>,
    connections: Arc<Semaphore>,
}

/// # Errors
/// A socket cannot be bound, or the certificate is none.
pub(in super::super) async fn bind(config: &SyslogInput) -> Result<Bound, String> {
    if config.udp.is_empty() && config.tcp.is_empty() && config.tls.is_empty() {
        return Err("syslog: one of udp, tcp and tls must be set".into());
    }
    let mut bound =
        Bound { udp: None, tcp: Vec::new(), connections: Arc::new(Semaphore::new(config.max_connections)) };
    if !config.udp.is_empty() {
        let socket = UdpSocket::bind(&config.udp).await;
        bound.udp =
            Some(socket.map_err(|err| format!("syslog.udp: cannot listen on {}: {err}", config.udp))?);
    }
    if !config.tcp.is_empty() {
        let listener = TcpListener::bind(&config.tcp).await;
        let listener =
            listener.map_err(|err| format!("syslog.tcp: cannot listen on {}: {err}", config.tcp))?;
        bound.tcp.push((listener, None));
    }
    if !config.tls.is_empty() {
        let (cert, key) = (config.cert_file.clone(), config.key_file.clone());
        let acceptor = tokio::task::spawn_blocking(move || acceptor(&cert, &key)).await;
        let acceptor = acceptor.map_err(|err| err.to_string()).flatten()?;
        let listener = TcpListener::bind(&config.tls).await;
        let listener =
            listener.map_err(|err| format!("syslog.tls: cannot listen on {}: {err}", config.tls))?;
        bound.tcp.push((listener, Some(acceptor)));
    }
    Ok(bound)
}

fn acceptor(cert: &str, key: &str) -> Result<TlsAcceptor, String> {
    let chain = CertificateDer::pem_file_iter(cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|err| format!("syslog.cert_file: {cert:?}: {err}"))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|err| format!("syslog.key_file: {key:?}: {err}"))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|err| format!("syslog.cert_file: {err}"))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

impl Bound {
    /// The addresses: datagrams, then connections.
    #[cfg(test)]
    pub(in super::super) fn addresses(&self) -> Vec<SocketAddr> {
        let udp = self.udp.iter().map(|socket| socket.local_addr().unwrap());
        udp.chain(self.tcp.iter().map(|(listener, _)| listener.local_addr().unwrap())).collect()
    }

    /// Receives until cancelled.
    pub(in super::super) async fn run(self, job: Arc<Job>) {
        let mut tasks = tokio::task::JoinSet::new();
        if let Some(socket) = self.udp {
            tasks.spawn(datagrams(socket, Arc::clone(&job)));
        }
        for (listener, acceptor) in self.tcp {
            tasks.spawn(accept(listener, acceptor, Arc::clone(&job), Arc::clone(&self.connections)));
        }
        // They run until this future, and with it the set, is dropped.
        while let Some(ended) = tasks.join_next().await {
            if let Err(err) = ended {
                job.failed(&format!("a syslog listener ended badly: {err}"));
            }
        }
    }
}

async fn datagrams(socket: UdpSocket, job: Arc<Job>) {
    let mut buffer = vec![0; DATAGRAM];
    let mut counting = tokio::task::JoinSet::new();
    let (mut entries, mut bytes) = (Vec::new(), 0u64);
    loop {
        tokio::select! {
            received = socket.recv_from(&mut buffer) => match received {
                Err(err) => {
                    job.failed(&format!("cannot receive: {err}"));
                    tokio::time::sleep(super::BACK_OFF.0).await;
                }
                // Nobody waits for a sender of datagrams: what cannot be counted now is counted as dropped.
                Ok(_) if entries.len() >= BATCH => drop(job.counters.dropped.inc()),
                Ok((len, _)) => {
                    bytes += len as u64;
                    let message = &buffer[..len.min(job.max_line_bytes)];
                    entries.push(parse(message));
                }
            },
            Some(ended) = counting.join_next() => if let Err(err) = ended {
                job.failed(&format!("counting ended badly: {err}"));
            },
        }
        if counting.is_empty() && !entries.is_empty() {
            let (job, entries, bytes) =
                (Arc::clone(&job), std::mem::take(&mut entries), std::mem::take(&mut bytes));
            counting.spawn(async move { job.take(entries, bytes).await });
        }
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    job: Arc<Job>,
    connections: Arc<Semaphore>,
) {
    let mut open = tokio::task::JoinSet::new();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(err) => {
                    job.failed(&format!("cannot accept: {err}"));
                    tokio::time::sleep(super::BACK_OFF.0).await;
                    continue;
                }
            },
            Some(ended) = open.join_next() => {
                if let Err(err) = ended {
                    job.failed(&format!("a syslog connection ended badly: {err}"));
                }
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else {
            job.counters.dropped.inc();
            continue;
        };
        let (job, acceptor) = (Arc::clone(&job), acceptor.clone());
        open.spawn(async move {
            let result = match acceptor {
                None => connection(stream, &job).await,
                Some(acceptor) => match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => connection(stream, &job).await,
                    Ok(Err(err)) => Err(format!("the TLS handshake failed: {err}")),
                    Err(_) => Err(format!("no TLS handshake within {HANDSHAKE:?}")),
                },
            };
            if let Err(reason) = result {
                job.failed(&format!("{peer}: {reason}"));
            }
            drop(permit);
        });
    }
}

async fn connection(mut stream: impl AsyncRead + Unpin, job: &Arc<Job>) -> Result<(), String> {
    let (mut frames, mut buffer) = (Frames::default(), vec![0; 64 << 10]);
    loop {
        let n = match tokio::time::timeout(IDLE, stream.read(&mut buffer)).await {
            Err(_) => return Ok(()),
            Ok(read) => read.map_err(|err| err.to_string())?,
        };
        if n == 0 {
            let rest: Vec<Entry> = frames.finish().iter().map(|message| parse(message)).collect();
            job.take(rest, 0).await;
            return Ok(());
        }
        let messages = frames.push(&buffer[..n], job.max_line_bytes)?;
        job.take(messages.iter().map(|message| parse(message)).collect(), n as u64).await;
    }
}
