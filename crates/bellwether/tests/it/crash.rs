//! `kill -9` at random moments while a thousand alerts are told: each is told at least once, none is lost, none resolves
//! because of a crash, and crashes repeat little.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::harness::{Server, file, wait};

const ALERTS: usize = 1000;
const CRASHES: usize = 12;

/// What came: by alert, how many times it was told as firing, under which ids.
#[derive(Default)]
struct Told {
    firing: BTreeMap<String, Vec<String>>,
    resolved: usize,
}

/// A webhook that keeps connections and counts.
fn sink() -> (String, Arc<Mutex<Told>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let told: Arc<Mutex<Told>> = Arc::default();
    let kept = Arc::clone(&told);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let kept = Arc::clone(&kept);
            std::thread::spawn(move || {
                let mut out = stream.try_clone().unwrap();
                let mut reader = BufReader::new(stream);
                while let Some((id, body)) = request(&mut reader) {
                    {
                        let mut told = kept.lock().unwrap();
                        for alert in body["alerts"].as_array().into_iter().flatten() {
                            let name = alert["labels"]["n"].as_str().unwrap_or_default().to_owned();
                            match alert["status"].as_str() {
                                Some("firing") => told.firing.entry(name).or_default().push(id.clone()),
                                _ => told.resolved += 1,
                            }
                        }
                    }
                    if out.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, told)
}

/// The next request's idempotency key and body; `None` when the connection ends.
fn request(reader: &mut impl BufRead) -> Option<(String, Value)> {
    let (mut length, mut id) = (0, String::new());
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim();
        if line.is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "idempotency-key" => value.trim().clone_into(&mut id),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((id, serde_json::from_slice(&body).ok()?))
}

/// Sends every alert, as a Prometheus does again and again; whether the server took all of them.
fn send_all(server: &Server) {
    for batch in 0..10 {
        let alerts: Vec<Value> = (0..ALERTS / 10)
            .map(
                |n| json!({ "labels": { "alertname": "Many", "n": format!("{}", batch * ALERTS / 10 + n) } }),
            )
            .collect();
        let (status, text) = server.send("POST", "/api/v2/alerts", Some(&json!(alerts)));
        assert_eq!(status, 200, "{text}");
    }
}

#[test]
fn a_thousand_alerts_survive_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let (url, told) = sink();
    let text = format!(
        "route: {{receiver: r, group_by: ['...'], group_wait: 1s, group_interval: 5s, repeat_interval: 4h}}\nreceivers: [{{name: r, webhook_configs: [{{url: '{url}'}}]}}]\n"
    );
    let config = file(folder.path(), "alertmanager.yml", &text);
    let args = [format!("--alerts.config-file={}", config.display()), "--rules.shipped=false".to_owned()];
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let data = folder.path().join("data");
    let count = || told.lock().unwrap().firing.values().map(Vec::len).sum::<usize>();
    // Seeded, so that the moments differ and a failure can be repeated as far as another process allows.
    let mut random = 0x9e37_79b9_7f4a_7c15u64;
    for _ in 0..CRASHES {
        let server = Server::start(&data, &args);
        send_all(&server);
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Killed in the middle of the storm: after so many further notifications, or when nothing is left to tell.
        let goal = count() + (random >> 33) as usize % (ALERTS / CRASHES * 2);
        wait("notifications before the crash", || {
            let left = told.lock().unwrap().firing.len() < ALERTS;
            (count() >= goal || !left).then_some(())
        });
        server.kill();
    }
    let server = Server::start(&data, &args);
    send_all(&server);
    wait("every alert to be told", || (told.lock().unwrap().firing.len() == ALERTS).then_some(()));
    // Whatever a claim left open is sent again within two group intervals.
    let open = || server.value("bellwether_alerts_sending").is_some_and(|sending| sending > 0.0);
    wait("nothing to be on its way", || (!open()).then_some(()));
    let told = told.lock().unwrap();
    let repeated: Vec<&Vec<String>> = told.firing.values().filter(|ids| ids.len() > 1).collect();
    let again: usize = repeated.iter().map(|ids| ids.len() - 1).sum();
    eprintln!("{CRASHES} crashes: {ALERTS} alerts told, {again} notifications repeated");
    assert_eq!(told.resolved, 0, "a crash resolved alerts");
    // A repeat says that it is one: the receiver can tell by the id.
    for ids in repeated {
        assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "repeated under another id: {ids:?}");
    }
    assert!(again <= CRASHES, "{again} repeated notifications after {CRASHES} crashes");
}
