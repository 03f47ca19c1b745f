//! Status pages: nginx, Apache httpd, NATS, Jolokia. Names are those of nginx-prometheus-exporter, apache_exporter,
//! prometheus-nats-exporter and the JMX exporter.

use std::io;

use serde_json::{Value, json};

use super::{Service, ask, other};
use crate::output::Output;

/// `stub_status`. Source: the nginx manual, "ngx_http_stub_status_module".
pub(super) fn nginx(service: &Service, out: &mut Output) -> io::Result<()> {
    let text = ask::get(&service.address)?;
    let wrong = || other("this is no stub_status page");
    let mut lines = text.lines().map(str::trim);
    let active = lines.next().and_then(|line| line.strip_prefix("Active connections:"));
    let active: f64 = active.and_then(|text| text.trim().parse().ok()).ok_or_else(wrong)?;
    let counts: Vec<f64> =
        lines.nth(1).unwrap_or_default().split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [accepted, handled, requests] = counts[..] else { return Err(wrong()) };
    let states: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().collect();
    out.gauge("nginx_connections_active", "Connections of clients, waiting ones included.", &[], active);
    for pair in states.chunks_exact(2) {
        let name = match pair[0] {
            "Reading:" => "nginx_connections_reading",
            "Writing:" => "nginx_connections_writing",
            "Waiting:" => "nginx_connections_waiting",
            _ => continue,
        };
        out.gauge(name, "Connections in this state.", &[], pair[1].parse().map_err(|_| wrong())?);
    }
    out.counter("nginx_connections_accepted", "Connections that were accepted.", &[], accepted);
    out.counter("nginx_connections_handled", "Connections that were handled.", &[], handled);
    out.counter("nginx_http_requests_total", "Requests of clients.", &[], requests);
    Ok(())
}

/// States of a worker by their letter. Source: the Apache manual, "mod_status".
const SCOREBOARD: [(char, &str); 11] = [
    ('_', "idle"),
    ('S', "startup"),
    ('R', "read"),
    ('W', "reply"),
    ('K', "keepalive"),
    ('D', "dns"),
    ('C', "closing"),
    ('L', "logging"),
    ('G', "graceful_stop"),
    ('I', "idle_cleanup"),
    ('.', "open_slot"),
];

/// `server-status?auto`.
pub(super) fn apache(service: &Service, out: &mut Output) -> io::Result<()> {
    let text = ask::get(&format!("{}?auto", service.address.trim_end_matches("?auto")))?;
    if !text.contains("Scoreboard:") {
        return Err(other("this is no server-status page"));
    }
    for (name, value) in text.lines().filter_map(|line| line.split_once(": ")) {
        if name == "Scoreboard" {
            for (letter, state) in SCOREBOARD {
                let count = value.chars().filter(|c| *c == letter).count();
                let help = "Workers by what they do.";
                out.gauge("apache_scoreboard", help, &[("state", state)], count as f64);
            }
            continue;
        }
        let Ok(number) = value.trim().parse::<f64>() else { continue };
        match name {
            "Total Accesses" => {
                out.counter("apache_accesses_total", "Requests that were answered.", &[], number);
            }
            "Total kBytes" => {
                out.counter("apache_sent_kilobytes_total", "Kilobytes that were sent.", &[], number);
            }
            "Total Duration" => {
                out.counter("apache_duration_ms_total", "Milliseconds that requests took.", &[], number);
            }
            "CPULoad" => out.gauge("apache_cpuload", "Processor time in percent.", &[], number),
            "Uptime" => out.counter("apache_uptime_seconds_total", "Seconds since the start.", &[], number),
            "BusyWorkers" => out.gauge("apache_workers", "Workers by state.", &[("state", "busy")], number),
            "IdleWorkers" => out.gauge("apache_workers", "Workers by state.", &[("state", "idle")], number),
            "ConnsTotal" => {
                out.gauge("apache_connections", "Connections by state.", &[("state", "total")], number);
            }
            "ConnsAsyncWriting" => {
                out.gauge("apache_connections", "Connections by state.", &[("state", "writing")], number);
            }
            "ConnsAsyncKeepAlive" => {
                out.gauge("apache_connections", "Connections by state.", &[("state", "keepalive")], number);
            }
            "ConnsAsyncClosing" => {
                out.gauge("apache_connections", "Connections by state.", &[("state", "closing")], number);
            }
            _ => {}
        }
    }
    Ok(())
}

fn parse(text: &str) -> io::Result<Value> {
    serde_json::from_str(text).map_err(|err| other(&format!("the answer is not JSON: {err}")))
}

/// Numbers of `/varz`, and whether they only grow.
const VARZ: [(&str, bool); 14] = [
    ("connections", false),
    ("total_connections", true),
    ("routes", false),
    ("remotes", false),
    ("leafnodes", false),
    ("in_msgs", true),
    ("out_msgs", true),
    ("in_bytes", true),
    ("out_bytes", true),
    ("slow_consumers", true),
    ("subscriptions", false),
    ("mem", false),
    ("cpu", false),
    ("max_connections", false),
];
/// Numbers of `/jsz`.
const JSZ: [(&str, bool); 7] = [
    ("streams", false),
    ("consumers", false),
    ("messages", false),
    ("bytes", false),
    ("memory", false),
    ("storage", false),
    ("api_errors", true),
];

/// NATS' `/varz`, and `/jsz` where JetStream is on. Source: the NATS manual, "Monitoring".
pub(super) fn nats(service: &Service, out: &mut Output) -> io::Result<()> {
    let url = service.address.trim_end_matches('/');
    let found = parse(&ask::get(&format!("{url}/varz"))?)?;
    let id = found["server_id"].as_str().ok_or_else(|| other("this is no NATS server"))?;
    let label = [("server_id", id)];
    let mut add = |prefix: &str, name: &str, grows: bool, value: &Value| {
        let Some(number) = value.as_f64() else { return };
        let (metric, help) = (format!("{prefix}_{name}"), format!("{name} of the server's monitoring page."));
        match grows {
            true => out.counter(&metric, &help, &label, number),
            false => out.gauge(&metric, &help, &label, number),
        }
    };
    for (name, grows) in VARZ {
        add("gnatsd_varz", name, grows, &found[name]);
    }
    if found["jetstream"]["config"].is_object() {
        let mut streams = parse(&ask::get(&format!("{url}/jsz"))?)?;
        streams["api_errors"] = streams["api"]["errors"].take();
        for (name, grows) in JSZ {
            add("jetstream_server_total", name, grows, &streams[name]);
        }
    }
    Ok(())
}

/// What is asked of a Java virtual machine. Source: the Jolokia manual, "Protocol"; the platform MXBeans.
pub(super) fn jolokia(service: &Service, out: &mut Output) -> io::Result<()> {
    let read = |mbean: &str| json!({"type": "read", "mbean": mbean});
    let body = json!([
        read("java.lang:type=Memory"),
        read("java.lang:type=Threading"),
        read("java.lang:type=GarbageCollector,name=*"),
        read("java.lang:type=ClassLoading"),
        read("java.lang:type=OperatingSystem"),
        read("java.lang:type=Runtime"),
    ]);
    let found = parse(&ask::post(&service.address, &body.to_string())?)?;
    let answers = found.as_array().filter(|all| all.len() == 6).ok_or_else(|| other("this is no Jolokia"))?;
    let value = |index: usize| &answers[index]["value"];
    for (area, field) in [("heap", "HeapMemoryUsage"), ("nonheap", "NonHeapMemoryUsage")] {
        for name in ["used", "committed", "max", "init"] {
            if let Some(bytes) = value(0)[field][name].as_f64() {
                let metric = format!("jvm_memory_bytes_{name}");
                out.gauge(&metric, "Memory of the virtual machine.", &[("area", area)], bytes);
            }
        }
    }
    let mut gauge = |metric: &str, help: &str, value: &Value| {
        if let Some(number) = value.as_f64() {
            out.gauge(metric, help, &[], number);
        }
    };
    gauge("jvm_threads_current", "Threads.", &value(1)["ThreadCount"]);
    gauge("jvm_threads_daemon", "Daemon threads.", &value(1)["DaemonThreadCount"]);
    gauge("jvm_threads_peak", "The most threads so far.", &value(1)["PeakThreadCount"]);
    gauge("jvm_classes_loaded", "Classes that are loaded.", &value(3)["LoadedClassCount"]);
    gauge("jvm_open_file_descriptors", "Open descriptors.", &value(4)["OpenFileDescriptorCount"]);
    if let Some(ms) = value(5)["Uptime"].as_f64() {
        out.gauge("jvm_uptime_seconds", "Seconds since the start.", &[], ms / 1000.0);
    }
    for (mbean, fields) in value(2).as_object().into_iter().flatten() {
        let gc = mbean.split([',', ':']).find_map(|part| part.strip_prefix("name=")).unwrap_or(mbean);
        if let (Some(count), Some(ms)) =
            (fields["CollectionCount"].as_f64(), fields["CollectionTime"].as_f64())
        {
            let label = [("gc", gc)];
            out.counter("jvm_gc_collection_seconds_count", "Collections of garbage.", &label, count);
            out.counter("jvm_gc_collection_seconds_sum", "Time that they took.", &label, ms / 1000.0);
        }
    }
    Ok(())
}
