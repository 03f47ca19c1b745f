//! `processes`: how many processes and threads there are, and in which state.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;

use super::super::files::{self, Files, number};
use super::super::output::Output;
use super::super::{Collector, Error};

/// One line of `/proc/PID/stat` fits easily.
const LINE_BYTES: usize = 4096;

/// Keeps its buffer from scrape to scrape.
pub(in super::super) struct Processes {
    buffer: Vec<u8>,
}

impl Processes {
    pub(in super::super) fn new() -> Self {
        Self { buffer: Vec::with_capacity(LINE_BYTES) }
    }

    /// State and thread count of a process; `None` when it has ended meanwhile.
    fn read(&mut self, files: &Files, pid: &str) -> Option<(char, f64)> {
        self.buffer.clear();
        let file = File::open(files.proc_path(pid).join("stat")).ok()?;
        file.take(LINE_BYTES as u64).read_to_end(&mut self.buffer).ok()?;
        parse(&String::from_utf8_lossy(&self.buffer))
    }
}

/// The command's name, in parentheses, may hold anything, parentheses too: fields are counted after the last one.
fn parse(line: &str) -> Option<(char, f64)> {
    let (_, rest) = line.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(16)?.parse().ok()?))
}

impl Collector for Processes {
    fn name(&self) -> &'static str {
        "processes"
    }

    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error> {
        let mut states: BTreeMap<char, u32> = BTreeMap::new();
        let (mut pids, mut threads) = (0u32, 0.0);
        for name in files::list(&files.proc_path(""))? {
            if !name.bytes().all(|byte| byte.is_ascii_digit()) {
                continue;
            }
            if let Some((state, count)) = self.read(files, &name) {
                pids += 1;
                threads += count;
                *states.entry(state).or_default() += 1;
            }
        }
        out.gauge("node_processes_pids", "Processes that exist.", &[], f64::from(pids));
        out.gauge("node_processes_threads", "Threads that exist.", &[], threads);
        for (state, count) in states {
            let state = state.to_string();
            out.gauge(
                "node_processes_state",
                "Processes by state, as ps shows it.",
                &[("state", &state)],
                f64::from(count),
            );
        }
        for (file, name, help) in [
            ("sys/kernel/threads-max", "node_processes_max_threads", "Most threads that may exist."),
            ("sys/kernel/pid_max", "node_processes_max_processes", "Most processes that may exist."),
        ] {
            out.gauge(name, help, &[], number(file, files.proc(file)?.trim())?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_hostile_command_name_is_no_trap() {
        let line = "12 (a) R (b) S 1 12 12 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 37 0 99 1 2";
        assert_eq!(super::parse(line), Some(('S', 37.0)));
        assert_eq!(super::parse("nonsense"), None);
    }
}
