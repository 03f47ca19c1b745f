//! HAProxy's statistics, from its socket or its page, under the names of its own Prometheus exporter.
//!
//! Source: the HAProxy management guide, "Statistics and monitoring", CSV format.

use std::io;

use super::{Service, ask, other};
use crate::output::Output;

/// Columns: the metric's end, its factor, whether it only grows, for whom (frontend, backend, server).
const COLUMNS: [(&str, &str, f64, bool, &str); 24] = [
    ("scur", "current_sessions", 1.0, false, "fbs"),
    ("smax", "max_sessions", 1.0, false, "fbs"),
    ("slim", "limit_sessions", 1.0, false, "fbs"),
    ("stot", "sessions_total", 1.0, true, "fbs"),
    ("bin", "bytes_in_total", 1.0, true, "fbs"),
    ("bout", "bytes_out_total", 1.0, true, "fbs"),
    ("dreq", "requests_denied_total", 1.0, true, "fb"),
    ("dresp", "responses_denied_total", 1.0, true, "fbs"),
    ("ereq", "request_errors_total", 1.0, true, "f"),
    ("econ", "connection_errors_total", 1.0, true, "bs"),
    ("eresp", "response_errors_total", 1.0, true, "bs"),
    ("wretr", "retry_warnings_total", 1.0, true, "bs"),
    ("wredis", "redispatch_warnings_total", 1.0, true, "bs"),
    ("qcur", "current_queue", 1.0, false, "bs"),
    ("qmax", "max_queue", 1.0, false, "bs"),
    ("act", "active_servers", 1.0, false, "b"),
    ("bck", "backup_servers", 1.0, false, "b"),
    ("chkfail", "check_failures_total", 1.0, true, "s"),
    ("chkdown", "check_up_down_total", 1.0, true, "bs"),
    ("downtime", "downtime_seconds_total", 1.0, true, "bs"),
    ("req_tot", "http_requests_total", 1.0, true, "fb"),
    ("rtime", "response_time_average_seconds", 0.001, false, "bs"),
    ("ctime", "connect_time_average_seconds", 0.001, false, "bs"),
    ("qtime", "queue_time_average_seconds", 0.001, false, "bs"),
];
const CODES: [(&str, &str); 6] = [
    ("hrsp_1xx", "1xx"),
    ("hrsp_2xx", "2xx"),
    ("hrsp_3xx", "3xx"),
    ("hrsp_4xx", "4xx"),
    ("hrsp_5xx", "5xx"),
    ("hrsp_other", "other"),
];
/// Frontends, backends and servers.
const MAX_ROWS: usize = 20_000;

pub(super) fn ask(service: &Service, out: &mut Output) -> io::Result<()> {
    let text = if service.address.starts_with('/') {
        let mut stream = ask::connect(&service.address)?;
        stream.write_all(b"show stat\n")?;
        String::from_utf8_lossy(&ask::read_until(&mut *stream, |_| false)?).into_owned()
    } else {
        ask::get(&format!("{};csv", service.address.trim_end_matches(";csv")))?
    };
    let mut lines = text.lines();
    let head =
        lines.next().and_then(|line| line.strip_prefix("# ")).ok_or_else(|| other("this is no HAProxy"))?;
    let columns: Vec<&str> = head.split(',').collect();
    let at = |name: &str| columns.iter().position(|column| *column == name);
    let (Some(proxy_at), Some(server_at), Some(status_at)) = (at("pxname"), at("svname"), at("status"))
    else {
        return Err(other("the statistics lack columns"));
    };
    for line in lines.filter(|line| !line.is_empty()).take(MAX_ROWS) {
        // Texts in quotes come after the columns that are read.
        let values: Vec<&str> = line.split(',').collect();
        let value = |index: usize| values.get(index).copied().unwrap_or_default();
        let (proxy, server) = (value(proxy_at), value(server_at));
        let (kind, mark) = match server {
            "FRONTEND" => ("frontend", 'f'),
            "BACKEND" => ("backend", 'b'),
            _ => ("server", 's'),
        };
        let mut labels = vec![("proxy", proxy)];
        if mark == 's' {
            labels.push(("server", server));
        }
        let number = |name: &str| at(name).and_then(|index| value(index).parse::<f64>().ok());
        for (column, name, factor, grows, whose) in COLUMNS {
            let Some(number) = number(column).filter(|_| whose.contains(mark)) else { continue };
            let (metric, help) =
                (format!("haproxy_{kind}_{name}"), format!("{column} of HAProxy's statistics."));
            match grows {
                true => out.counter(&metric, &help, &labels, number * factor),
                false => out.gauge(&metric, &help, &labels, number * factor),
            }
        }
        for (column, code) in CODES {
            if let Some(number) = number(column) {
                let labels: Vec<_> = labels.iter().copied().chain([("code", code)]).collect();
                let metric = format!("haproxy_{kind}_http_responses_total");
                out.counter(&metric, "Answers by class of their status.", &labels, number);
            }
        }
        let status = value(status_at);
        let is_up = ["UP", "OPEN", "no check", "DRAIN"].iter().any(|good| status.starts_with(good));
        let help = "1 for the state that it is in.";
        let state = if is_up { "UP" } else { "DOWN" };
        for one in ["UP", "DOWN"] {
            let labels: Vec<_> = labels.iter().copied().chain([("state", one)]).collect();
            out.gauge(&format!("haproxy_{kind}_status"), help, &labels, f64::from(u8::from(one == state)));
        }
    }
    Ok(())
}
