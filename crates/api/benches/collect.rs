//! How many requests a second does the collector's listener answer, preflights included, and how soon? Sixty-four connections
//! send what Chromium sends: OPTIONS, then POST with three reports, of 20,000 network prefixes; in plain text and over TLS.
//!
//! `cargo bench -p api --bench collect`. Figures: CPU seconds of the server's own threads, because the machine may be shared, and
//! the 99th percentile of an answer at a quarter of what those figures allow.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a benchmark tells its figures and ends when it cannot"
)]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use api::{CollectListener, Phase};
use clients::config::TlsFiles;
use clients::{Collector, Config, Metrics, Site};
use model::Clock;
use model::time::SystemClock;
use prometheus_client::registry::Registry;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};

const CONNECTIONS: usize = 64;
/// Threads that send.
const SENDERS: usize = 8;
/// Uploads of one measurement.
const UPLOADS: usize = 60_000;

/// CPU seconds of the threads that serve.
fn cpu_seconds() -> f64 {
    let mut ticks = 0.0;
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else { continue };
        if !stat.contains("(serves") {
            continue;
        }
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        ticks += fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    }
    ticks / 100.0
}

/// A preflight and an upload.
fn requests(n: usize) -> (String, String) {
    let report = |m: usize| {
        format!(
            r#"{{"age":{},"body":{{"elapsed_time":{},"method":"GET","phase":"application","protocol":"h2","referrer":"","sampling_fraction":0.05,"server_ip":"198.51.100.7","status_code":200,"type":"ok"}},"type":"network-error","url":"https://s.example/path/{n}?q={m}","user_agent":"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36"}}"#,
            m * 700,
            n + m
        )
    };
    let body = format!("[{}]", (0..3).map(report).collect::<Vec<_>>().join(","));
    let prefix = n % 20_000;
    let head = format!(
        "host: collector.example\r\norigin: https://s.example\r\nx-forwarded-for: 11.{}.{}.9\r\nuser-agent: Mozilla/5.0 Chrome/156.0.0.0\r\n",
        prefix / 256,
        prefix % 256
    );
    let options = format!(
        "OPTIONS /r/s HTTP/1.1\r\n{head}access-control-request-method: POST\r\naccess-control-request-headers: content-type\r\n\r\n"
    );
    let post = format!(
        "POST /r/s HTTP/1.1\r\n{head}content-type: application/reports+json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    (options, post)
}

/// Sends a request and reads the answer, which has no body.
fn ask(stream: &mut (impl Read + Write + ?Sized), request: &str) {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = [0u8; 2048];
    let mut len = 0;
    while !answer[..len].windows(4).any(|four| four == b"\r\n\r\n") {
        let more = stream.read(&mut answer[len..]).unwrap();
        assert!(more > 0, "the server closed the connection");
        len += more;
    }
    assert!(answer.starts_with(b"HTTP/1.1 204"), "{}", String::from_utf8_lossy(&answer[..len]));
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

fn connect(address: SocketAddr, tls: Option<&Arc<rustls::ClientConfig>>) -> Box<dyn Stream> {
    let tcp = TcpStream::connect(address).unwrap();
    tcp.set_nodelay(true).unwrap();
    match tls {
        None => Box::new(tcp),
        Some(config) => {
            let name = ServerName::try_from("collector.example").unwrap();
            let client = rustls::ClientConnection::new(Arc::clone(config), name).unwrap();
            Box::new(rustls::StreamOwned::new(client, tcp))
        }
    }
}

/// Sends `uploads`, each a preflight and a report, at most `rate` a second (0: as fast as it goes); a new connection every `reuse`
/// uploads. Gives the times of all answers, ascending.
fn load(
    address: SocketAddr,
    tls: Option<&Arc<rustls::ClientConfig>>,
    uploads: usize,
    rate: usize,
    reuse: usize,
) -> Vec<Duration> {
    static SERIAL: AtomicUsize = AtomicUsize::new(0);
    let start = Instant::now();
    let one = |sender: usize| {
        let mut streams: Vec<Option<Box<dyn Stream>>> =
            (0..CONNECTIONS / SENDERS).map(|_| Some(connect(address, tls))).collect();
        let mut used = vec![0; streams.len()];
        let mut times = Vec::with_capacity(uploads / SENDERS * 2);
        for n in 0..uploads / SENDERS {
            if rate > 0 {
                let due = start + Duration::from_secs_f64((n * SENDERS + sender) as f64 / rate as f64);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            let at = n % streams.len();
            let (options, post) = requests(SERIAL.fetch_add(1, Ordering::Relaxed));
            if used[at] >= reuse {
                streams[at] = None;
                used[at] = 0;
            }
            let stream = streams[at].get_or_insert_with(|| connect(address, tls));
            used[at] += 1;
            for request in [&options, &post] {
                let begin = Instant::now();
                ask(&mut **stream, request);
                times.push(begin.elapsed());
            }
        }
        times
    };
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..SENDERS).map(|sender| scope.spawn(move || one(sender))).collect();
        handles.into_iter().flat_map(|handle| handle.join().unwrap()).collect()
    });
    times.sort_unstable();
    times
}

/// A collector that listens, ticking.
fn start(
    runtime: &tokio::runtime::Runtime,
    folder: &std::path::Path,
    phase: &tokio::sync::watch::Receiver<Phase>,
    tls: &TlsFiles,
) -> SocketAddr {
    let site = Site { name: "s".into(), origins: vec!["https://s.example".into()], ..Site::default() };
    let config = Config { sites: vec![site], trusted_proxy_hops: 1, ..Config::default() };
    let metrics = Metrics::new(&mut Registry::default());
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let collector = Arc::new(Collector::open(config, folder, clock, metrics, 1).unwrap());
    let listener = runtime.block_on(CollectListener::bind("127.0.0.1:0", tls)).unwrap();
    let address = listener.address();
    let ticking = Arc::clone(&collector);
    runtime.spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let ticking = Arc::clone(&ticking);
            tokio::task::spawn_blocking(move || ticking.tick()).await.unwrap();
        }
    });
    runtime.spawn(listener.serve(collector, phase.clone()));
    address
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["collector.example".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&cert).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = Arc::new(
        rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("serves")
        .enable_all()
        .build()
        .unwrap();
    let (_phase, seen) = tokio::sync::watch::channel(Phase::Ready);
    let plain = start(&runtime, folder.path(), &seen, &TlsFiles::default());
    let secret = start(&runtime, folder.path(), &seen, &TlsFiles { cert_file: cert, key_file: key });
    for (name, address, tls, reuse) in [
        ("plain text, connections kept", plain, None, usize::MAX),
        ("TLS, connections kept", secret, Some(&client), usize::MAX),
        ("TLS, a connection each upload", secret, Some(&client), 1),
    ] {
        load(address, tls, UPLOADS / 10, 0, reuse);
        let before = cpu_seconds();
        let count = load(address, tls, UPLOADS, 0, reuse).len();
        let used = cpu_seconds() - before;
        let each = count as f64 / used;
        println!(
            "{name}: {count} requests in {used:.2} CPU s: {each:.0} a CPU second, {:.0} a second on 2 cores; {:.0} reports a CPU second",
            2.0 * each,
            each * 1.5
        );
        let rate = (each / 4.0) as usize;
        let times = load(address, tls, (rate / 2 * 5).max(1000), rate / 2, reuse);
        let at = |share: f64| times[(times.len() as f64 * share) as usize].as_secs_f64() * 1000.0;
        println!(
            "  at {rate} requests a second: median {:.2} ms, 99th percentile {:.2} ms",
            at(0.5),
            at(0.99)
        );
    }
}
