//! Services as they are: the distribution's daemons on free ports. A daemon that is not installed is named and its part not run.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::*;
use crate::Config;

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.0.kill().is_ok() {
            drop(self.0.wait());
        }
    }
}

fn program(names: &[&str]) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let own = std::env::var_os("BELLWETHER_PEERS").unwrap_or_default();
    let all = std::env::split_paths(&folders).chain(std::env::split_paths(&own)).chain(["/usr/sbin".into()]);
    let all: Vec<PathBuf> = all.collect();
    let found =
        names.iter().find_map(|name| all.iter().map(|folder| folder.join(name)).find(|path| path.is_file()));
    if found.is_none() {
        eprintln!("not run: {} is not installed", names[0]);
    }
    found
}

fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn start(program: &Path, args: &[&str]) -> Daemon {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Daemon(command.spawn().expect("the daemon starts"))
}

/// Samples by `name{labels}`.
type Seen = std::collections::BTreeMap<String, f64>;

fn look(config: &ServicesConfig, name: &str) -> Result<Seen, Error> {
    let mut service =
        all(config).into_iter().find(|service| service.name() == name).expect("it is configured");
    let mut out = Output::new("test");
    service.collect(&Files::new(&Config::default()), &mut out)?;
    let families = out.finish().into_iter();
    Ok(families
        .flat_map(|family| {
            let name = family.name;
            family.samples.into_iter().map(move |(labels, value)| (format!("{name}{labels}"), value))
        })
        .collect())
}

/// Looks until the service answers.
fn seen(config: &ServicesConfig, name: &str) -> Seen {
    let (until, up) =
        (Instant::now() + Duration::from_secs(30), all(config).into_iter().find(|s| s.name() == name));
    let up = format!("{}{{}}", up.unwrap().kind.up);
    loop {
        let seen = look(config, name).unwrap();
        if seen.get(&up) == Some(&1.0) {
            return seen;
        }
        if Instant::now() > until {
            let service = all(config).into_iter().find(|service| service.name() == name).unwrap();
            panic!("{name} does not answer: {:?}", (service.kind.ask)(&service, &mut Output::new("test")));
        }
        #[expect(clippy::disallowed_methods, reason = "another process cannot be awaited, only looked at")]
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn exchange(port: u16, text: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(text).unwrap();
    let mut buffer = [0; 4096];
    let count = stream.read(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..count]).into_owned()
}

#[test]
fn nginx_and_haproxy() {
    let Some(nginx) = program(&["nginx"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (web, at) = (port(), folder.path().display().to_string());
    let text = format!(
        "daemon off; pid {at}/pid; error_log {at}/error.log; events {{}} http {{ access_log off; client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s; server {{ listen 127.0.0.1:{web}; location /nginx_status {{ stub_status; }} location / {{ return 200 ok; }} }} }}"
    );
    let file = folder.path().join("nginx.conf");
    std::fs::write(&file, text).unwrap();
    let _nginx = start(&nginx, &["-c", &file.display().to_string(), "-p", &at]);
    let config =
        ServicesConfig { nginx: format!("http://127.0.0.1:{web}/nginx_status"), ..ServicesConfig::default() };
    let before = seen(&config, "nginx");
    for _ in 0..3 {
        exchange(web, b"GET / HTTP/1.0\r\n\r\n");
    }
    let after = seen(&config, "nginx");
    // Ours counts too.
    assert_eq!(after["nginx_http_requests_total{}"] - before["nginx_http_requests_total{}"], 4.0);
    assert_eq!(after["nginx_connections_writing{}"], 1.0);
    // Not a status page: a service that is expected is down.
    let wrong = ServicesConfig { nginx: format!("http://127.0.0.1:{web}/"), ..ServicesConfig::default() };
    assert_eq!(look(&wrong, "nginx").unwrap()["nginx_up{}"], 0.0);

    let Some(haproxy) = program(&["haproxy"]) else { return };
    let (front, page) = (port(), port());
    let text = format!(
        "global\n  stats socket {at}/admin.sock\ndefaults\n  mode http\n  timeout connect 1s\n  timeout client 5s\n  timeout server 5s\nfrontend stats\n  bind 127.0.0.1:{page}\n  stats enable\n  stats uri /stats\nfrontend web\n  bind 127.0.0.1:{front}\n  default_backend app\nbackend app\n  server one 127.0.0.1:{web}\n  server two 127.0.0.1:{web} disabled\n"
    );
    let file = folder.path().join("haproxy.cfg");
    std::fs::write(&file, text).unwrap();
    let _haproxy = start(&haproxy, &["-f", &file.display().to_string(), "-db"]);
    let socket = ServicesConfig { haproxy: format!("{at}/admin.sock"), ..ServicesConfig::default() };
    seen(&socket, "haproxy");
    exchange(front, b"GET / HTTP/1.0\r\n\r\n");
    let by_socket = seen(&socket, "haproxy");
    assert_eq!(by_socket[r#"haproxy_backend_http_responses_total{code="2xx", proxy="app"}"#], 1.0);
    assert_eq!(by_socket[r#"haproxy_frontend_http_requests_total{proxy="web"}"#], 1.0);
    assert_eq!(by_socket[r#"haproxy_server_status{proxy="app", server="two", state="DOWN"}"#], 1.0);
    assert_eq!(by_socket[r#"haproxy_backend_status{proxy="app", state="UP"}"#], 1.0);
    let by_page =
        ServicesConfig { haproxy: format!("http://127.0.0.1:{page}/stats"), ..ServicesConfig::default() };
    assert_eq!(seen(&by_page, "haproxy")[r#"haproxy_server_sessions_total{proxy="app", server="one"}"#], 1.0);
}

#[test]
fn apache() {
    let Some(apache) = program(&["apache2"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (web, at) = (port(), folder.path().display().to_string());
    let modules = "/usr/lib/apache2/modules";
    let text = format!(
        "ServerRoot {at}\nPidFile {at}/pid\nServerName localhost\nListen 127.0.0.1:{web}\nErrorLog {at}/error.log\nDefaultRuntimeDir {at}\nDocumentRoot {at}\nLoadModule mpm_event_module {modules}/mod_mpm_event.so\nLoadModule authz_core_module {modules}/mod_authz_core.so\nLoadModule status_module {modules}/mod_status.so\nExtendedStatus On\nUser nobody\nGroup nogroup\n<Location /server-status>\n  SetHandler server-status\n</Location>\n"
    );
    let file = folder.path().join("apache.conf");
    std::fs::write(&file, text).unwrap();
    let _apache = start(&apache, &["-f", &file.display().to_string(), "-DFOREGROUND"]);
    let config = ServicesConfig {
        apache: format!("http://127.0.0.1:{web}/server-status"),
        ..ServicesConfig::default()
    };
    let found = seen(&config, "apache");
    assert!(found[r#"apache_workers{state="idle"}"#] > 0.0);
    assert!(found[r#"apache_scoreboard{state="open_slot"}"#] > 0.0);
    assert!(
        found.contains_key("apache_accesses_total{}") && found.contains_key("apache_sent_kilobytes_total{}")
    );
}

#[test]
fn redis_with_and_without_a_password() {
    let Some(redis) = program(&["redis-server", "valkey-server"]) else { return };
    let folder = tempfile::tempdir().unwrap();
    let (at, there) = (folder.path().display().to_string(), port());
    let number = there.to_string();
    let _redis = start(&redis, &["--port", &number, "--dir", &at, "--save", "", "--bind", "127.0.0.1"]);
    let config = ServicesConfig { redis: format!("127.0.0.1:{there}"), ..ServicesConfig::default() };
    seen(&config, "redis");
    assert!(exchange(there, b"SET a 1\r\nGET a\r\nGET b\r\n").contains("OK"));
    let found = seen(&config, "redis");
    assert_eq!(found[r#"redis_db_keys{db="db0"}"#], 1.0);
    assert_eq!((found["redis_keyspace_hits_total{}"], found["redis_keyspace_misses_total{}"]), (1.0, 1.0));
    assert!(found["redis_memory_used_bytes{}"] > 100_000.0);
    exchange(there, b"CONFIG SET requirepass secret\r\n");
    assert_eq!(look(&config, "redis").unwrap()["redis_up{}"], 0.0);
    let file = folder.path().join("password");
    std::fs::write(&file, "secret\n").unwrap();
    let config = ServicesConfig { redis_password_file: file.display().to_string(), ..config };
    assert!(seen(&config, "redis")["redis_connected_clients{}"] >= 1.0);
}

#[test]
fn memcached() {
    let Some(memcached) = program(&["memcached"]) else { return };
    let there = port();
    let number = there.to_string();
    let _memcached = start(&memcached, &["-p", &number, "-l", "127.0.0.1", "-u", "nobody"]);
    let config = ServicesConfig { memcached: format!("127.0.0.1:{there}"), ..ServicesConfig::default() };
    seen(&config, "memcached");
    assert!(exchange(there, b"set a 0 0 1\r\nx\r\n").contains("STORED"));
    assert!(exchange(there, b"get a\r\n").contains("VALUE"));
    let found = seen(&config, "memcached");
    assert_eq!(found["memcached_current_items{}"], 1.0);
    assert_eq!(found[r#"memcached_commands_total{command="get", status="hit"}"#], 1.0);
}

#[test]
fn nats_and_etcd() {
    if let Some(nats) = program(&["nats-server"]) {
        let folder = tempfile::tempdir().unwrap();
        let (own, there) = (port().to_string(), port());
        let number = there.to_string();
        let args = [
            "-a",
            "127.0.0.1",
            "-p",
            &own,
            "-m",
            &number,
            "-js",
            "-sd",
            &folder.path().display().to_string(),
        ];
        let _nats = start(&nats, &args);
        let config =
            ServicesConfig { nats: format!("http://127.0.0.1:{there}"), ..ServicesConfig::default() };
        let found = seen(&config, "nats");
        let has = |name: &str| found.keys().any(|key| key.starts_with(name));
        assert!(
            has("gnatsd_varz_connections{server_id=")
                && has("gnatsd_varz_in_msgs{")
                && has("jetstream_server_total_streams{")
        );
    }
    if let Some(etcd) = program(&["etcd"]) {
        let folder = tempfile::tempdir().unwrap();
        let (client, peer) = (format!("http://127.0.0.1:{}", port()), format!("http://127.0.0.1:{}", port()));
        let data = folder.path().join("data").display().to_string();
        let args = [
            "--data-dir",
            &data,
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
            "--initial-cluster",
            &format!("default={peer}"),
        ];
        let _etcd = start(&etcd, &args);
        let config = ServicesConfig { etcd: format!("{client}/metrics"), ..ServicesConfig::default() };
        let found = seen(&config, "etcd");
        assert!(
            found.contains_key("etcd_server_has_leader{}") && !found.keys().any(|key| key.starts_with("go_"))
        );
    }
}

/// Answers every request with this body.
fn page(body: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut buffer = [0; 4096];
            let _head = stream.read(&mut buffer);
            drop(stream.write_all(
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).as_bytes(),
            ));
        }
    });
    format!("http://{address}/jolokia")
}

#[test]
fn a_java_machine_by_jolokias_answers() {
    let url = page(
        r#"[{"value":{"HeapMemoryUsage":{"init":1,"used":5,"committed":6,"max":7},"NonHeapMemoryUsage":{"used":2}},"status":200},
{"value":{"ThreadCount":12,"DaemonThreadCount":3,"PeakThreadCount":20}},
{"value":{"java.lang:name=G1 Young Generation,type=GarbageCollector":{"CollectionCount":4,"CollectionTime":250}}},
{"value":{"LoadedClassCount":900}},{"value":{"OpenFileDescriptorCount":77}},{"value":{"Uptime":1500}}]"#,
    );
    let found = seen(&ServicesConfig { jolokia: url, ..ServicesConfig::default() }, "jolokia");
    assert_eq!(found[r#"jvm_memory_bytes_used{area="heap"}"#], 5.0);
    assert_eq!(found[r#"jvm_gc_collection_seconds_sum{gc="G1 Young Generation"}"#], 0.25);
    assert_eq!((found["jvm_threads_current{}"], found["jvm_uptime_seconds{}"]), (12.0, 1.5));
}

#[test]
fn what_is_looked_for_and_not_there_is_absent() {
    for service in all(&ServicesConfig { discover: true, ..ServicesConfig::default() }) {
        assert!(names().any(|name| name == service.name()) && !service.expected);
    }
    assert!(all(&ServicesConfig::default()).is_empty());
    let address = format!("127.0.0.1:{}", port());
    let mut looked_for = all(&ServicesConfig { redis: address, ..ServicesConfig::default() }).remove(0);
    looked_for.expected = false;
    let found = looked_for.collect(&Files::new(&Config::default()), &mut Output::new("test"));
    assert!(matches!(found, Err(Error::Absent(_))), "{found:?}");
    // Somebody else at that address.
    let url = page("hello");
    let mut wrong = all(&ServicesConfig { nats: url, ..ServicesConfig::default() }).remove(0);
    wrong.expected = false;
    assert!(wrong.collect(&Files::new(&Config::default()), &mut Output::new("test")).is_err());
}
