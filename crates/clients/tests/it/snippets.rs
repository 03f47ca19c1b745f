//! What `bellwether client policy --for` prints, in the web servers it is for: their own check accepts it, and the header that
//! comes out is the header that was meant.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clients::policy::{Server, headers, snippet};
use clients::{Site, collector::read_secret};

/// A site whose headers have all that a web server might take for its own: signatures, ports, per cent, patterns.
fn hard() -> Site {
    Site {
        name: "shop-1.x_y".into(),
        origins: vec!["https://shop.example".into(), "https://*.shop.example:8443".into()],
        collectors: vec!["https://c1.example.net:9095/a%20b~1".into(), "https://c2.example.org".into()],
        include_subdomains: true,
        signed: true,
        ..Site::default()
    }
}

fn wanted(folder: &Path, active: bool) -> Vec<(&'static str, String)> {
    let path = folder.join("secret");
    std::fs::write(&path, "0123456789abcdef0123456789abcdef").unwrap();
    headers(&hard(), active, Some(&read_secret(&path).unwrap()), 1_700_000_000_000)
}

/// A program of the system, or the words that it is not here.
fn program(name: &str) -> Option<PathBuf> {
    let folders = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    let found = folders.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file());
    if found.is_none() {
        eprintln!("not run: {name} is not installed");
    }
    found
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The program's own check of its configuration.
fn check(program: &Path, args: &[&str], folder: &Path) {
    let output = Command::new(program).args(args).current_dir(folder).env("HOME", folder).output().unwrap();
    assert!(
        output.status.success(),
        "{}\n{}{}",
        program.display(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Starts the program and gives the headers of its first answer.
fn answer(program: &Path, args: &[&str], folder: &Path, port: u16) -> String {
    let child = Command::new(program)
        .args(args)
        .current_dir(folder)
        .env("HOME", folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut daemon = Daemon(child.unwrap());
    let start = Instant::now();
    loop {
        if let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            return text;
        }
        assert!(daemon.0.try_wait().unwrap().is_none(), "{} has ended", program.display());
        assert!(start.elapsed() < Duration::from_secs(60), "{} does not listen", program.display());
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn compare(answer: &str, wanted: &[(&str, String)]) {
    for (name, value) in wanted {
        let found = answer
            .lines()
            .filter_map(|line| line.split_once(": "))
            .find(|(found, _)| found.eq_ignore_ascii_case(name));
        assert_eq!(found.map(|(_, value)| value.trim_end()), Some(value.as_str()), "{name} in\n{answer}");
    }
}

#[test]
fn nginx_sends_the_headers() {
    let Some(nginx) = program("nginx") else { return };
    for active in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let (wanted, port) = (wanted(folder.path(), active), free_port());
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {}/{kind};", folder.path().display()))
            .join(" ");
        let text = format!(
            "daemon off; pid {0}/pid; error_log {0}/error.log;\nevents {{}}\nhttp {{ access_log off; {temporary}\nserver {{ listen 127.0.0.1:{port};\n{1}\nreturn 204; }} }}\n",
            folder.path().display(),
            snippet(&wanted, Server::Nginx)
        );
        let path = folder.path().join("nginx.conf");
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap();
        let log = folder.path().join("error.log").display().to_string();
        check(&nginx, &["-t", "-e", &log, "-c", path], folder.path());
        compare(&answer(&nginx, &["-e", &log, "-c", path], folder.path(), port), &wanted);
    }
}

#[test]
fn haproxy_sends_the_headers() {
    let Some(haproxy) = program("haproxy") else { return };
    for active in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let (wanted, port) = (wanted(folder.path(), active), free_port());
        let text = format!(
            "defaults\n  mode http\n  timeout client 9s\n  timeout server 9s\n  timeout connect 9s\nfrontend f\n  bind 127.0.0.1:{port}\n{}  http-request return status 200\n",
            snippet(&wanted, Server::Haproxy)
        );
        let path = folder.path().join("haproxy.cfg");
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap();
        check(&haproxy, &["-c", "-f", path], folder.path());
        compare(&answer(&haproxy, &["-db", "-f", path], folder.path(), port), &wanted);
    }
}

#[test]
fn caddy_sends_the_headers() {
    let Some(caddy) = program("caddy") else { return };
    for active in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let (wanted, port) = (wanted(folder.path(), active), free_port());
        let text = format!(
            "{{\n\tadmin off\n\tauto_https off\n}}\nhttp://127.0.0.1:{port} {{\n{}\trespond 204\n}}\n",
            snippet(&wanted, Server::Caddy)
        );
        let path = folder.path().join("Caddyfile");
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap();
        check(&caddy, &["validate", "--config", path, "--adapter", "caddyfile"], folder.path());
        let run = ["run", "--config", path, "--adapter", "caddyfile"];
        compare(&answer(&caddy, &run, folder.path(), port), &wanted);
    }
}

#[test]
fn envoy_reads_the_headers() {
    // No distribution ships Envoy; what can be said without it: the text is YAML with the fields of `HeaderValueOption`, and with Envoy's
    // own escape of per cent undone each value is the one that was meant.
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Route {
        response_headers_to_add: Vec<HeaderValueOption>,
    }
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct HeaderValueOption {
        header: HeaderValue,
        append_action: String,
    }
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct HeaderValue {
        key: String,
        value: String,
    }
    let folder = tempfile::tempdir().unwrap();
    let wanted = wanted(folder.path(), true);
    let route: Route = serde_saphyr::from_str(&snippet(&wanted, Server::Envoy)).unwrap();
    assert_eq!(route.response_headers_to_add.len(), wanted.len());
    for (option, (name, value)) in route.response_headers_to_add.iter().zip(&wanted) {
        assert_eq!(option.append_action, "OVERWRITE_IF_EXISTS_OR_ADD");
        assert_eq!((option.header.key.as_str(), &option.header.value.replace("%%", "%")), (*name, value));
    }
}
