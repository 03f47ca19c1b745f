//! Probes: `/probe` of `bellwether probe` and of the server, schedules here and at a vantage point, coverage.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};

use crate::harness::{Server, bellwether, file, run, stderr, stdout, wait};

/// A running `bellwether probe`; it ends with the value.
struct Probe {
    child: Child,
    address: String,
}

impl Probe {
    fn start(args: &[&str]) -> Self {
        let mut child = bellwether()
            .args(["probe", "--web.listen-address=127.0.0.1:0"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let address = lines
            .filter_map(|line| Some(line.split_once("http://")?.1.split('/').next()?.to_owned()))
            .next()
            .expect("the probe says where it is");
        Self { child, address }
    }

    /// Status line and body.
    fn ask(&self, method: &str, path: &str, header: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "{method} {path} HTTP/1.0\r\nHost: x\r\n{header}\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

const MODULES: &str = "modules:\n  web: {prober: http, http: {preferred_ip_protocol: ip4}}\n";

#[test]
fn a_modules_file_is_served_as_the_exporter_does() {
    let folder = tempfile::tempdir().unwrap();
    let modules = file(folder.path(), "blackbox.yml", MODULES);
    let probe = Probe::start(&[&format!("--config.file={}", modules.display())]);
    let asked = format!("/probe?module=web&target={}/-/healthy", probe.address);
    let (status, body) = probe.ask("GET", &asked, "X-Prometheus-Scrape-Timeout-Seconds: 10\r\n");
    assert!(status.contains("200") && body.contains("\nprobe_success 1\n"), "{status} {body}");
    assert!(body.contains("# TYPE probe_http_status_code gauge\nprobe_http_status_code 200\n"), "{body}");
    let told = probe.ask("GET", &format!("{asked}&debug=true"), "").1;
    assert!(told.contains("Logs for the probe:") && told.contains("Probe succeeded"), "{told}");
    let (status, body) = probe.ask("GET", "/probe?module=none&target=x", "");
    assert!(status.contains("400") && body == "Unknown module \"none\"\n", "{status} {body}");
    let (status, body) = probe.ask("GET", "/probe?module=web", "");
    assert!(status.contains("400") && body == "Target parameter is missing\n", "{status} {body}");

    file(folder.path(), "blackbox.yml", "modules:\n  tcp: {prober: tcp}\n");
    assert!(probe.ask("POST", "/-/reload", "").0.contains("200"));
    let (_, body) = probe.ask("GET", &format!("/probe?module=tcp&target={}", probe.address), "");
    assert!(body.contains("\nprobe_success 1\n"), "{body}");
    file(folder.path(), "blackbox.yml", "modules:\n  tcp: {prober: nonsense}\n");
    assert!(probe.ask("POST", "/-/reload", "").0.contains("500"));
    let metrics = probe.ask("GET", "/metrics", "").1;
    assert!(metrics.contains("blackbox_exporter_config_last_reload_successful 0"), "{metrics}");

    let check = |text: &str| {
        let modules = file(folder.path(), "checked.yml", text);
        run(&["probe", "--config.check", &format!("--config.file={}", modules.display())])
    };
    assert!(check(MODULES).status.success());
    let refused = check("modules:\n  a:\n    prober: http\n    http: {enable_http3: true}\n");
    assert!(!refused.status.success());
    let said = stderr(&refused);
    assert!(said.contains("enable_http3 is not supported") && said.contains("line 4"), "{said}");
}

fn config(folder: &Path, target: &str) -> String {
    format!(
        "sources:\n  probe:\n    config_file: {0}/blackbox.yml\n    token_file: {0}/tokens\n    lease: 3s\n    schedules:\n      \
         - {{name: here, module: web, targets: ['{target}'], interval: 1s, timeout: 1s, labels: {{team: a}}}}\n      \
         - {{name: there, module: web, targets: ['{target}'], interval: 1s, timeout: 1s, from: vantages, match: {{country: DE|FR}}}}\n      \
         - {{name: nowhere, module: web, targets: ['{target}'], from: vantages, match: {{country: MO}}}}\n",
        folder.display()
    )
}

#[test]
fn schedules_run_here_and_at_vantage_points_and_gaps_are_told() {
    let folder = tempfile::tempdir().unwrap();
    file(folder.path(), "blackbox.yml", MODULES);
    file(folder.path(), "tokens", "# one a line\ns3cret\n");
    let token = file(folder.path(), "token", "s3cret\n");
    // A target that is there before the server is.
    let target = Probe::start(&[]);
    let yaml = config(folder.path(), &format!("{}/-/healthy", target.address));
    let path = file(folder.path(), "bellwether.yml", &yaml);
    let server = Server::start(&folder.path().join("data"), &[&format!("--config.file={}", path.display())]);
    let vantage = Probe::start(&[
        &format!("--server={}", server.url),
        &format!("--token-file={}", token.display()),
        "--vantage-name=berlin",
        "--vantage-labels=country=DE,asn=64500",
        &format!("--path={}", folder.path().join("vantage").display()),
    ]);
    wait("the server's own probe", || {
        server.value("probe_success{job=\"here\",module=\"web\",team=\"a\"}").filter(|value| *value == 1.0)
    });
    wait("the vantage point's probe", || {
        let query = "probe_success{job=\"there\",vantage=\"berlin\",country=\"DE\",asn=\"64500\"}";
        server.value(query).filter(|value| *value == 1.0)
    });
    let (status, body) = server.get(&format!("/probe?module=web&target={}/-/healthy", target.address));
    assert!(status == 200 && body.contains("\nprobe_success 1\n"), "{status} {body}");

    let coverage = server.data("/api/v1/probe/coverage");
    assert_eq!(coverage["vantages"], 1);
    assert_eq!(coverage["country"]["covered"][0]["vantages"][0], "berlin");
    assert_eq!(coverage["schedules_without_vantage"][0], "nowhere");
    let told = run(&["probe", "coverage", &format!("--server={}", server.url)]);
    let told = stdout(&told);
    assert!(
        told.contains("berlin") && told.contains("No vantage point runs the schedule \"nowhere\""),
        "{told}"
    );
    let (status, _) = server.post("/api/v1/probe/vantages", "application/json", b"{\"name\":\"x\"}");
    assert_eq!(status, 401);

    // What is away now shows as a failure, here and there; a reload changes what is probed at the vantage point.
    let gone = target.address.clone();
    drop(target);
    wait("the failure seen from afar", || {
        server.value("probe_success{job=\"there\"}").filter(|value| *value == 0.0)
    });
    let other = Probe::start(&[]);
    file(folder.path(), "bellwether.yml", &yaml.replace(&gone, &other.address));
    assert_eq!(server.post("/-/reload", "text/plain", b"").0, 200);
    wait("the new plan", || {
        server
            .query("probe_success{job=\"there\"} == 1")
            .iter()
            .any(|one| {
                one["metric"]["instance"].as_str().is_some_and(|name| name.starts_with(&other.address))
            })
            .then_some(())
    });
    drop(vantage);
}
