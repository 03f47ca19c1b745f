//! The blackbox exporter of the distribution as the oracle: the same modules file, the same targets, the same series and
//! values; durations only have to be there on both sides or on neither.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use probe::{Modules, Reach};

use crate::targets::Targets;

/// Values by series, as text of name and sorted labels.
type Series = BTreeMap<String, f64>;

fn modules(targets: &Targets) -> String {
    MODULES.replace("CA", &targets.ca.display().to_string())
}

const MODULES: &str = r#"
modules:
  http: {prober: http, timeout: 5s, http: {preferred_ip_protocol: ip4}}
  no_follow: {prober: http, timeout: 5s, http: {follow_redirects: false, valid_status_codes: [302]}}
  old_no_follow: {prober: http, timeout: 5s, http: {no_follow_redirects: true}}
  post: {prober: http, timeout: 5s, http: {method: POST, body: '12345', headers: {Content-Type: text/plain}, fail_if_body_not_matches_regexp: ['POST 5']}}
  regex_good: {prober: http, timeout: 5s, http: {fail_if_body_matches_regexp: [nothing], fail_if_body_not_matches_regexp: ['all is \w+']}}
  regex_bad: {prober: http, timeout: 5s, http: {fail_if_body_matches_regexp: ['hel+o']}}
  regex_missing: {prober: http, timeout: 5s, http: {fail_if_body_not_matches_regexp: [absent]}}
  header_bad: {prober: http, timeout: 5s, http: {fail_if_header_matches: [{header: X-Kind, regexp: second}]}}
  header_good: {prober: http, timeout: 5s, http: {fail_if_header_not_matches: [{header: X-Kind, regexp: first}], fail_if_header_matches: [{header: X-Other, regexp: x, allow_missing: true}]}}
  header_missing: {prober: http, timeout: 5s, http: {fail_if_header_not_matches: [{header: X-Other, regexp: x}]}}
  statuses: {prober: http, timeout: 5s, http: {valid_status_codes: [404, 500]}}
  versions: {prober: http, timeout: 5s, http: {valid_http_versions: [HTTP/2.0], tls_config: {ca_file: CA, server_name: shop.test}}}
  gzip: {prober: http, timeout: 5s, http: {compression: gzip, headers: {Accept-Encoding: gzip}}}
  small: {prober: http, timeout: 5s, http: {body_size_limit: 10B}}
  fail_ssl: {prober: http, timeout: 5s, http: {fail_if_ssl: true, tls_config: {insecure_skip_verify: true}}}
  fail_not_ssl: {prober: http, timeout: 5s, http: {fail_if_not_ssl: true}}
  basic: {prober: http, timeout: 5s, http: {basic_auth: {username: user, password: pass}}}
  bearer: {prober: http, timeout: 5s, http: {authorization: {credentials: s3cret}}}
  https: {prober: http, timeout: 5s, http: {tls_config: {ca_file: CA, server_name: shop.test}}}
  https_1: {prober: http, timeout: 5s, http: {enable_http2: false, tls_config: {ca_file: CA, server_name: shop.test}}}
  https_any: {prober: http, timeout: 5s, http: {tls_config: {insecure_skip_verify: true}}}
  https_12: {prober: http, timeout: 5s, http: {tls_config: {ca_file: CA, server_name: shop.test, max_version: TLS12}}}
  https_wrong: {prober: http, timeout: 5s, http: {tls_config: {ca_file: CA, server_name: other.test}}}
  https_unknown: {prober: http, timeout: 5s}
  ip6_only: {prober: http, timeout: 5s, http: {preferred_ip_protocol: ip6, ip_protocol_fallback: false}}
  short: {prober: http, timeout: 1s}
  tcp: {prober: tcp, timeout: 5s}
  short_tcp: {prober: tcp, timeout: 1s, tcp: {query_response: [{expect: never}]}}
  banner:
    prober: tcp
    timeout: 5s
    tcp:
      query_response:
        - {expect: '^220 (?P<host>\S+) (.*)$', labels: [{name: host, value: '${host}'}, {name: word, value: '$2'}], send: 'HELO ${host}'}
        - {expect: '^250 '}
  bytes: {prober: tcp, timeout: 5s, tcp: {query_response: [{expect_bytes: '220'}]}}
  bytes_bad: {prober: tcp, timeout: 5s, tcp: {query_response: [{expect_bytes: 'xyz'}]}}
  starttls:
    prober: tcp
    timeout: 5s
    tcp:
      tls_config: {ca_file: CA, server_name: shop.test}
      query_response: [{expect: '^220'}, {send: STARTTLS}, {expect: '^220 go'}, {starttls: true}, {expect: '^220 mail'}]
  tcp_tls: {prober: tcp, timeout: 5s, tcp: {tls: true, tls_config: {ca_file: CA, server_name: shop.test}, query_response: [{expect: '^220'}]}}
  tcp_tls_any: {prober: tcp, timeout: 5s, tcp: {tls: true, tls_config: {insecure_skip_verify: true}}}
  icmp: {prober: icmp, timeout: 5s, icmp: {preferred_ip_protocol: ip4}}
  icmp_sized: {prober: icmp, timeout: 5s, icmp: {preferred_ip_protocol: ip4, payload_size: 100, ttl: 5}}
  dns: {prober: dns, timeout: 5s, dns: {query_name: a.test, query_type: A}}
  dns_tcp: {prober: dns, timeout: 5s, dns: {query_name: a.test, query_type: A, transport_protocol: tcp}}
  dns_soa: {prober: dns, timeout: 5s, dns: {query_name: zone.test, query_type: SOA}}
  dns_none: {prober: dns, timeout: 5s, dns: {query_name: none.test, query_type: A}}
  dns_none_ok: {prober: dns, timeout: 5s, dns: {query_name: none.test, query_type: A, valid_rcodes: [NXDOMAIN]}}
  dns_match: {prober: dns, timeout: 5s, dns: {query_name: a.test, query_type: A, validate_answer_rrs: {fail_if_matches_regexp: ['192\.0\.2\.1$']}}}
  dns_all: {prober: dns, timeout: 5s, dns: {query_name: a.test, query_type: A, validate_answer_rrs: {fail_if_all_match_regexp: ['192\.0\.2\.']}}}
  dns_all_part: {prober: dns, timeout: 5s, dns: {query_name: a.test, query_type: A, validate_answer_rrs: {fail_if_all_match_regexp: ['2\.1$']}}}
  dns_empty: {prober: dns, timeout: 5s, dns: {query_name: a.test, query_type: A, validate_authority_rrs: {fail_if_not_matches_regexp: ['.*']}}}
  dns_not: {prober: dns, timeout: 5s, dns: {query_name: a.test, query_type: A, validate_answer_rrs: {fail_if_not_matches_regexp: ['192\.0\.2\.\d$']}, validate_additional_rrs: {fail_if_not_matches_regexp: ['a\.test\.\t30\tIN\tTXT\t"hello" "world"']}}}
  dns_nothing: {prober: dns, timeout: 5s, dns: {query_name: a.test, query_type: A, validate_answer_rrs: {fail_if_none_matches_regexp: ['198\.']}, validate_authority_rrs: {fail_if_matches_regexp: ['.*']}}}
  grpc: {prober: grpc, timeout: 5s, grpc: {}}
  grpc_down: {prober: grpc, timeout: 5s, grpc: {service: down}}
  grpc_unknown: {prober: grpc, timeout: 5s, grpc: {service: nobody}}
  grpc_tls: {prober: grpc, timeout: 5s, grpc: {tls: true, tls_config: {ca_file: CA, server_name: shop.test}}}
  unix: {prober: unix, timeout: 5s, unix: {query_response: [{expect: '^220'}]}}
"#;

fn peer(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("BELLWETHER_PEERS").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = folder.into_iter().collect();
    folders.extend(std::env::split_paths(&path));
    folders.into_iter().map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Ends the program with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

async fn get(url: &str) -> Option<String> {
    let client = httpc::Client::new(&httpc::Config::default(), httpc::Options::default()).unwrap();
    let response = client.send(httpc::Request::get(url).unwrap()).await.ok()?;
    let body = response.bytes(1 << 20).await.ok()?;
    Some(String::from_utf8(body.to_vec()).unwrap())
}

/// Series and help texts of an exposition as the exporter writes it.
fn read(text: &str) -> (Series, BTreeMap<String, String>) {
    let (mut series, mut help) = (Series::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, text) = rest.split_once(' ').unwrap();
            help.insert(name.to_owned(), text.to_owned());
        } else if !line.starts_with('#') && !line.is_empty() {
            let (name, value) = line.rsplit_once(' ').unwrap();
            series.insert(name.to_owned(), value.parse().unwrap());
        }
    }
    (series, help)
}

fn ours(outcome: &probe::Outcome) -> (Series, BTreeMap<String, String>) {
    let (mut series, mut help) = (Series::new(), BTreeMap::new());
    for family in outcome.families() {
        help.insert(family.name.clone(), family.metadata.help.clone());
        for (labels, value) in family.samples {
            let labels: Vec<String> = labels
                .iter()
                .map(|(n, v)| format!("{n}=\"{}\"", v.replace('\\', "\\\\").replace('"', "\\\"")))
                .collect();
            let name = match labels.is_empty() {
                true => family.name.clone(),
                false => format!("{}{{{}}}", family.name, labels.join(",")),
            };
            series.insert(name, value);
        }
    }
    (series, help)
}

fn is_time(name: &str) -> bool {
    name.contains("duration_seconds") || name.starts_with("probe_dns_lookup_time_seconds")
}

/// What differs, in words.
fn differences(case: &str, ours: &Series, theirs: &Series) -> Vec<String> {
    let mut found = Vec::new();
    for name in ours.keys().chain(theirs.keys()).collect::<std::collections::BTreeSet<_>>() {
        let (a, b) = (ours.get(name), theirs.get(name));
        let same = match (a, b) {
            (Some(a), Some(b)) if is_time(name) => (*a > 0.0) == (*b > 0.0),
            (a, b) => a == b,
        };
        if !same {
            found.push(format!("{case}: {name}: ours {a:?}, the exporter's {b:?}"));
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn series_and_values_are_the_exporters() {
    let Some(program) = peer("prometheus-blackbox-exporter").or_else(|| peer("blackbox_exporter")) else {
        println!("not run: prometheus-blackbox-exporter is neither in BELLWETHER_PEERS nor on the PATH");
        return;
    };
    let targets = Targets::start().await;
    let text = modules(&targets);
    let file = targets.folder.path().join("blackbox.yml");
    std::fs::write(&file, &text).unwrap();
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let exporter = Command::new(program)
        .arg(format!("--config.file={}", file.display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let exporter = Running(exporter);
    let url = format!("http://127.0.0.1:{port}");
    for _ in 0..600 {
        if get(&format!("{url}/-/healthy")).await.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let modules = Modules::parse(&text).unwrap();
    let reach = Arc::new(Reach::default());
    let http = |path: &str| format!("http://{}{path}", targets.http);
    let https = |path: &str| format!("https://{}{path}", targets.https);
    let cases: Vec<(&str, String)> = vec![
        ("http", http("/ok")),
        ("http", format!("{}/ok", targets.http)),
        ("http", http("/redirect")),
        ("http", http("/to-cookie")),
        ("http", http("/loop")),
        ("http", http("/missing")),
        ("http", http("/chunked")),
        ("http", http("/empty")),
        ("http", http("/gzip")),
        ("http", targets.closed.to_string()),
        ("http", format!("http://localhost:{}/ok", targets.http.port())),
        ("http", "http://does-not-exist.invalid/".into()),
        ("no_follow", http("/redirect")),
        ("old_no_follow", http("/redirect")),
        ("post", http("/post")),
        ("regex_good", http("/ok")),
        ("regex_bad", http("/ok")),
        ("regex_missing", http("/ok")),
        ("header_bad", http("/ok")),
        ("header_good", http("/ok")),
        ("header_missing", http("/ok")),
        ("statuses", http("/broken")),
        ("statuses", http("/ok")),
        ("versions", https("/ok")),
        ("versions", http("/ok")),
        ("gzip", http("/gzip")),
        ("gzip", http("/ok")),
        ("small", http("/ok")),
        ("fail_ssl", https("/ok")),
        ("fail_not_ssl", http("/ok")),
        ("basic", http("/basic")),
        ("bearer", http("/bearer")),
        ("http", http("/basic")),
        ("https", https("/ok")),
        ("https", https("/chunked")),
        ("https", https("/redirect")),
        ("https_1", https("/ok")),
        ("https_any", https("/ok")),
        ("https_12", https("/ok")),
        ("https_wrong", https("/ok")),
        ("https_unknown", https("/ok")),
        ("ip6_only", http("/ok")),
        ("short", http("/ok")),
        ("short", targets.hanging.to_string()),
        ("tcp", targets.banner.to_string()),
        ("tcp", targets.closed.to_string()),
        ("short_tcp", targets.hanging.to_string()),
        ("banner", targets.banner.to_string()),
        ("bytes", targets.banner.to_string()),
        ("bytes_bad", targets.banner.to_string()),
        ("starttls", targets.starttls.to_string()),
        ("tcp_tls", targets.tls.to_string()),
        ("tcp_tls_any", targets.tls.to_string()),
        ("tcp_tls", targets.banner.to_string()),
        ("icmp", "127.0.0.1".into()),
        ("icmp_sized", "127.0.0.1".into()),
        ("dns", targets.dns.to_string()),
        ("dns_tcp", targets.dns.to_string()),
        ("dns_soa", targets.dns.to_string()),
        ("dns_none", targets.dns.to_string()),
        ("dns_none_ok", targets.dns.to_string()),
        ("dns_match", targets.dns.to_string()),
        ("dns_all", targets.dns.to_string()),
        ("dns_all_part", targets.dns.to_string()),
        ("dns_empty", targets.dns.to_string()),
        ("dns_not", targets.dns.to_string()),
        ("dns_nothing", targets.dns.to_string()),
        ("dns", targets.closed.to_string()),
        ("dns_tcp", targets.closed.to_string()),
        ("grpc", targets.grpc.to_string()),
        ("grpc_down", targets.grpc.to_string()),
        ("grpc_unknown", targets.grpc.to_string()),
        ("grpc_tls", targets.grpc_tls.to_string()),
        ("grpc", targets.closed.to_string()),
        ("unix", targets.unix.display().to_string()),
    ];
    let mut wrong = Vec::new();
    for (module, target) in &cases {
        let asked: String = target.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let theirs = get(&format!("{url}/probe?module={module}&target={asked}")).await.unwrap();
        let outcome =
            probe::run(&modules.modules[*module], target, None, Duration::from_secs(60), &reach).await;
        let ((ours, our_help), (theirs, their_help)) = (ours(&outcome), read(&theirs));
        let case = format!("{module} {target} ({:?})", outcome.failure);
        wrong.extend(differences(&case, &ours, &theirs));
        for (name, text) in &their_help {
            if our_help.get(name).is_some_and(|help| help != text) {
                wrong.push(format!(
                    "{case}: the help of {name} is {:?}, the exporter's {text:?}",
                    our_help[name]
                ));
            }
        }
    }
    drop(exporter);
    println!("{} probes compared", cases.len());
    assert!(wrong.is_empty(), "{} differences:\n{}", wrong.len(), wrong.join("\n"));
}
