//! Services that answer in lines: Redis, memcached. Names are those of redis_exporter and memcached_exporter.

use std::io;

use super::{Service, ask, other};
use crate::output::Output;

/// Fields of INFO: the metric, and whether it only grows. Source: the Redis manual, "INFO".
const REDIS: [(&str, &str, bool); 30] = [
    ("uptime_in_seconds", "redis_uptime_in_seconds", false),
    ("connected_clients", "redis_connected_clients", false),
    ("blocked_clients", "redis_blocked_clients", false),
    ("maxclients", "redis_config_maxclients", false),
    ("used_memory", "redis_memory_used_bytes", false),
    ("used_memory_rss", "redis_memory_used_rss_bytes", false),
    ("used_memory_peak", "redis_memory_used_peak_bytes", false),
    ("maxmemory", "redis_memory_max_bytes", false),
    ("mem_fragmentation_ratio", "redis_mem_fragmentation_ratio", false),
    ("loading", "redis_loading_dump_file", false),
    ("rdb_changes_since_last_save", "redis_rdb_changes_since_last_save", false),
    ("rdb_last_save_time", "redis_rdb_last_save_timestamp_seconds", false),
    ("aof_enabled", "redis_aof_enabled", false),
    ("total_connections_received", "redis_connections_received_total", true),
    ("total_commands_processed", "redis_commands_processed_total", true),
    ("rejected_connections", "redis_rejected_connections_total", true),
    ("expired_keys", "redis_expired_keys_total", true),
    ("evicted_keys", "redis_evicted_keys_total", true),
    ("keyspace_hits", "redis_keyspace_hits_total", true),
    ("keyspace_misses", "redis_keyspace_misses_total", true),
    ("total_net_input_bytes", "redis_net_input_bytes_total", true),
    ("total_net_output_bytes", "redis_net_output_bytes_total", true),
    ("total_error_replies", "redis_error_replies_total", true),
    ("connected_slaves", "redis_connected_slaves", false),
    ("master_repl_offset", "redis_master_repl_offset", false),
    ("master_last_io_seconds_ago", "redis_master_last_io_seconds_ago", false),
    ("latest_fork_usec", "redis_latest_fork_usec", false),
    ("used_cpu_sys", "redis_cpu_sys_seconds_total", true),
    ("used_cpu_user", "redis_cpu_user_seconds_total", true),
    ("pubsub_channels", "redis_pubsub_channels", false),
];

fn add(out: &mut Output, name: &str, help: &str, grows: bool, value: f64) {
    match grows {
        true => out.counter(name, help, &[], value),
        false => out.gauge(name, help, &[], value),
    }
}

/// INFO over RESP.
pub(super) fn redis(service: &Service, out: &mut Output) -> io::Result<()> {
    let mut stream = ask::connect(&service.address)?;
    let mut question = Vec::new();
    if !service.password_file.is_empty() {
        let text = std::fs::read_to_string(&service.password_file)
            .map_err(|err| io::Error::other(format!("cannot read {}: {err}", service.password_file)))?;
        let words: Vec<&str> = ["AUTH"].into_iter().chain(text.split_whitespace()).collect();
        question.extend(command(&words));
    }
    let has_password = !question.is_empty();
    question.extend(command(&["INFO", "default"]));
    stream.write_all(&question)?;
    let answer = ask::read_until(&mut *stream, |bytes| is_whole(bytes, has_password))?;
    let text = String::from_utf8_lossy(&answer);
    let text = if has_password { text.split_once("\r\n").map_or("", |(_, rest)| rest) } else { &text };
    if let Some(error) = text.strip_prefix('-') {
        return Err(io::Error::other(error.lines().next().unwrap_or_default().to_owned()));
    }
    if !text.starts_with('$') {
        return Err(other("this is no Redis"));
    }
    let mut version = "";
    for (field, value) in text.lines().filter_map(|line| line.trim_end().split_once(':')) {
        match REDIS.iter().find(|(name, ..)| *name == field) {
            Some((_, metric, grows)) => {
                if let Ok(number) = value.parse() {
                    add(out, metric, &format!("{field} of INFO."), *grows, number);
                }
            }
            None if field == "redis_version" => version = value,
            None if field == "rdb_last_bgsave_status" => {
                let ok = f64::from(u8::from(value == "ok"));
                out.gauge("redis_rdb_last_bgsave_status", "Whether the last save succeeded.", &[], ok);
            }
            None if field == "master_link_status" => {
                let is = f64::from(u8::from(value == "up"));
                out.gauge("redis_master_link_up", "Whether a replica's link to its master is up.", &[], is);
            }
            None if field == "role" => {
                out.gauge(
                    "redis_instance_info",
                    "Always 1; the labels say what it is.",
                    &[("redis_version", version), ("role", value)],
                    1.0,
                );
            }
            // `db0:keys=1,expires=0,avg_ttl=0`
            None if field.starts_with("db") => {
                for (name, number) in value.split(',').filter_map(|pair| pair.split_once('=')) {
                    let metric = match name {
                        "keys" => "redis_db_keys",
                        "expires" => "redis_db_keys_expiring",
                        _ => continue,
                    };
                    if let Ok(number) = number.parse() {
                        out.gauge(metric, "Keys of a database.", &[("db", field)], number);
                    }
                }
            }
            None => {}
        }
    }
    Ok(())
}

/// A command in RESP.
fn command(words: &[&str]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len());
    for word in words {
        out.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    out.into_bytes()
}

/// Whether a bulk string is complete, after one line when there was a password.
fn is_whole(bytes: &[u8], after_line: bool) -> bool {
    let end = |bytes: &[u8]| bytes.windows(2).position(|pair| pair == b"\r\n");
    let mut rest = bytes;
    if after_line {
        let Some(at) = end(rest) else { return false };
        rest = &rest[at + 2..];
    }
    let Some(at) = end(rest) else { return false };
    if rest[0] != b'$' {
        return true;
    }
    let length = std::str::from_utf8(&rest[1..at]).ok().and_then(|text| text.parse::<usize>().ok());
    length.is_none_or(|length| rest.len() >= at + 2 + length + 2)
}

/// Fields of `stats`: the metric, and whether it only grows. Source: memcached's protocol.txt.
const MEMCACHED: [(&str, &str, bool); 17] = [
    ("uptime", "memcached_uptime_seconds", true),
    ("curr_connections", "memcached_current_connections", false),
    ("total_connections", "memcached_connections_total", true),
    ("rejected_connections", "memcached_connections_rejected_total", true),
    ("max_connections", "memcached_max_connections", false),
    ("curr_items", "memcached_current_items", false),
    ("total_items", "memcached_items_total", true),
    ("bytes", "memcached_current_bytes", false),
    ("limit_maxbytes", "memcached_limit_bytes", false),
    ("evictions", "memcached_items_evicted_total", true),
    ("reclaimed", "memcached_items_reclaimed_total", true),
    ("bytes_read", "memcached_read_bytes_total", true),
    ("bytes_written", "memcached_written_bytes_total", true),
    ("rusage_user", "memcached_process_user_cpu_seconds_total", true),
    ("rusage_system", "memcached_process_system_cpu_seconds_total", true),
    ("threads", "memcached_threads", false),
    ("listen_disabled_num", "memcached_connections_listener_disabled_total", true),
];

/// `stats`.
pub(super) fn memcached(service: &Service, out: &mut Output) -> io::Result<()> {
    let mut stream = ask::connect(&service.address)?;
    stream.write_all(b"stats\r\n")?;
    let answer =
        ask::read_until(&mut *stream, |bytes| bytes.ends_with(b"END\r\n") || bytes.ends_with(b"ERROR\r\n"))?;
    let text = String::from_utf8_lossy(&answer);
    if !text.starts_with("STAT ") {
        return Err(other("this is no memcached"));
    }
    for line in text.lines() {
        let mut words = line.split_whitespace().skip(1);
        let (Some(field), Some(value)) = (words.next(), words.next()) else { continue };
        if field == "version" {
            out.gauge("memcached_version", "Always 1; the label says which.", &[("version", value)], 1.0);
        }
        let Ok(number) = value.parse::<f64>() else { continue };
        if let Some((_, metric, grows)) = MEMCACHED.iter().find(|(name, ..)| *name == field) {
            add(out, metric, &format!("{field} of stats."), *grows, number);
            continue;
        }
        // `get_hits`, `cas_badval` …
        if let Some((command, status)) = field.split_once('_')
            && ["get", "set", "delete", "incr", "decr", "cas", "touch"].contains(&command)
            && ["hits", "misses", "badval"].contains(&status)
        {
            let status = status.trim_end_matches('s').replace("misse", "miss");
            let labels = [("command", command), ("status", status.as_str())];
            out.counter("memcached_commands_total", "Commands by how they ended.", &labels, number);
        }
    }
    Ok(())
}
