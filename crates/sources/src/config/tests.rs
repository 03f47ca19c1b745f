//! The configuration by example, and against the collected files of Prometheus.

use std::path::{Path, PathBuf};

use super::*;

fn parse(text: &str) -> Result<PrometheusFile, ConfigError> {
    PrometheusFile::parse(text, Path::new("/etc/prom/prometheus.yml"), Mode::Server)
}

#[test]
fn defaults_and_inheritance() {
    let file = parse(
        "
global:
  scrape_interval: 15s
  sample_limit: 7
  external_labels: {dc: '${NOT_SET_ANYWHERE}x$$'}
rule_files:
  # - nothing
alerting:
  alertmanagers:
    - static_configs:
        - targets:
          # - nobody:9093
scrape_configs:
  - job_name: a
    static_configs:
      - targets: ['localhost:9090', \"b\"]
        labels: {x: 1}
    basic_auth: {username: u, password: 0123}
    tls_config: {ca_file: ca.pem}
    relabel_configs:
      - {source_labels: [a], regex: , target_label: b}
  - job_name: b
    scrape_interval: 5s
    sample_limit: 9
",
    )
    .unwrap();
    let [a, b] = file.scrape_configs.as_slice() else { panic!("two jobs") };
    assert_eq!((a.scrape_interval.ms(), a.scrape_timeout.ms(), a.sample_limit), (15_000, 10_000, 7));
    assert_eq!((b.scrape_interval.ms(), b.scrape_timeout.ms(), b.sample_limit), (5000, 5000, 9));
    assert_eq!(a.static_configs[0].labels["x"], "1");
    assert_eq!(a.basic_auth.as_ref().unwrap().password.expose(), "0123");
    assert_eq!(a.tls_config.ca_file, PathBuf::from("/etc/prom/ca.pem"));
    assert_eq!(a.relabel_configs.configs().next().unwrap().regex, "(.*)");
    assert_eq!(a.metrics_path, "/metrics");
    assert_eq!(a.protocols(), Protocol::DEFAULT);
    assert_eq!(file.global.external_labels["dc"], "x$");
    assert_eq!(parse("").unwrap().global.scrape_interval.ms(), 60_000);
    assert_eq!(ScrapeConfig::new("x", vec!["a:1".into()]).static_configs[0].targets, ["a:1"]);
}

#[test]
fn errors_name_file_line_and_field() {
    let cases = [
        (
            "scrape_configs:\n  - job_name: a\n    scrape_intervall: 5s\n",
            3,
            "unknown field `scrape_intervall`",
        ),
        (
            "scrape_configs:\n  - job_name: a\n    scrape_interval: 5\u{20}\n    scrape_timeout: 1x\n",
            3,
            "duration",
        ),
        ("global: {}\nglobal: {}\n", 2, "global is there twice"),
        (
            "scrape_configs:\n  - job_name: a\n  - job_name: a\n",
            3,
            "scrape_configs[1].job_name: found multiple scrape configs with job name \"a\"",
        ),
        ("scrape_configs:\n  - scrape_interval: 5s\n", 2, "job_name is empty"),
        ("scrape_configs:\n  -\n", 2, "empty or null scrape config section"),
    ];
    for (text, line, expected) in cases {
        let err = parse(text).unwrap_err();
        let shown = err.to_string();
        assert!(shown.starts_with("/etc/prom/prometheus.yml:"), "{shown}");
        assert_eq!(err.line, Some(line), "{shown}");
        assert!(shown.contains(expected), "{shown}");
    }
}

#[test]
fn sizes() {
    for (text, bytes) in [("0", 0), ("10MB", 10 << 20), ("1GiB", 1 << 30), ("1KB512B", 1536)] {
        assert_eq!(ByteSize::parse(text), Ok(ByteSize(bytes)), "{text}");
    }
    for bad in ["", "100", "1XB", "MB", "-1MB"] {
        assert!(ByteSize::parse(bad).is_err(), "{bad}");
    }
    assert_eq!(ByteSize(10 << 20).to_string(), "10MiB");
}

#[test]
fn an_unsupported_mechanism_is_named() {
    let job = |section: &str| parse(&format!("scrape_configs:\n  - job_name: a\n    {section}\n"));
    let file = job("linode_sd_configs: [{port: 80}]").unwrap();
    assert_eq!(file.unsupported(), [("a".to_owned(), "linode_sd_configs")]);
    assert_eq!(job("consul_sd_configs: [{server: 'x:1'}]").unwrap().unsupported(), []);
    let refused = |section: &str| job(section).unwrap_err().message;
    assert!(refused("consul_sd_configs: [{sever: 'x:1'}]").contains("sever"));
    assert!(refused("consul_sd_configs: [{refresh_interval: often}]").contains("refresh_interval"));
    assert!(refused("docker_sd_configs: [{host: 'ftp://x'}]").contains("host"));
}

#[test]
fn files_of_a_mechanism_are_beside_the_configuration() {
    let yaml = "scrape_configs:\n  - job_name: a\n    kubernetes_sd_configs: [{role: pod, kubeconfig_file: k.yml}]\n    consul_sd_configs: [{authorization: {credentials_file: t}}]\n";
    let discovery = parse(yaml).unwrap().scrape_configs[0].discovery();
    let of = |name: &str| discovery.sections.iter().find(|(section, _)| *section == name).unwrap().1.clone();
    assert_eq!(of("kubernetes_sd_configs")["kubeconfig_file"], "/etc/prom/k.yml");
    assert_eq!(of("consul_sd_configs")["authorization"]["credentials_file"], "/etc/prom/t");
}

#[test]
fn files_of_prometheus() {
    let Some(folder) = std::env::var_os("BELLWETHER_CONFORMANCE") else {
        println!("not run: BELLWETHER_CONFORMANCE is not set");
        return;
    };
    let folder = PathBuf::from(folder).join("config/prometheus");
    let manifest = std::fs::read_to_string(folder.join("manifest.json")).unwrap();
    let manifest: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&manifest).unwrap();
    let (mut wrong, mut other_words, mut same_words) = (Vec::new(), Vec::new(), 0);
    for (name, case) in &manifest {
        for (mode, verdict) in [(Mode::Server, &case["valid"]), (Mode::Agent, &case["agent_mode_valid"])] {
            let Some(valid) = verdict.as_bool() else { continue };
            let result = PrometheusFile::load(&folder.join(name), mode);
            if result.is_ok() != valid {
                wrong.push(format!("{name} ({mode:?}), valid {valid}: {:?}", result.err()));
            } else if let (Err(err), Some(expected)) = (&result, case["upstream_error_contains"].as_str()) {
                match err.to_string().to_lowercase().contains(&expected.to_lowercase()) {
                    true => same_words += 1,
                    false => other_words.push(format!("{name}: {err}\n    upstream: {expected}")),
                }
            }
        }
    }
    println!("{} files; refused in upstream's words: {same_words}, in ours:", manifest.len());
    println!("{}", other_words.join("\n"));
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn log_files_are_relative_to_the_file() {
    let file = parse(
        "global: {query_log_file: q.log, scrape_failure_log_file: f.log}\nscrape_configs: [{job_name: a}, {job_name: b, scrape_failure_log_file: own.log}]",
    )
    .unwrap();
    assert_eq!(file.global.query_log_file.as_deref(), Some("/etc/prom/q.log"));
    let of = |index: usize| file.scrape_configs[index].scrape_failure_log_file.as_deref().unwrap();
    assert_eq!((of(0), of(1)), ("/etc/prom/f.log", "/etc/prom/own.log"));
}
