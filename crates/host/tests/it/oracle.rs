//! node_exporter, from the PATH or `BELLWETHER_NODE_EXPORTER`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use model::{Family, Labels, MetricType};

/// Samples by metric and labels, and types by metric.
#[derive(Default)]
pub(crate) struct Seen {
    pub samples: BTreeMap<(String, Vec<(String, String)>), f64>,
    pub types: BTreeMap<String, MetricType>,
}

impl Seen {
    pub(crate) fn of(families: &[Family]) -> Self {
        let mut seen = Self::default();
        for family in families.iter().filter(|family| family.name.starts_with("node_")) {
            seen.types.insert(family.name.clone(), family.metadata.kind);
            for (labels, value) in &family.samples {
                seen.samples.insert((family.name.clone(), pairs(labels)), *value);
            }
        }
        seen
    }
}

/// An empty label is the same as none.
fn pairs(labels: &Labels) -> Vec<(String, String)> {
    let filled = labels.iter().filter(|(_, value)| !value.is_empty());
    filled.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The program; a word on standard error where there is none.
pub(crate) fn program() -> Option<PathBuf> {
    let named = std::env::var_os("BELLWETHER_NODE_EXPORTER").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let found = named.into_iter().chain(
        folders
            .iter()
            .flat_map(|folder| ["prometheus-node-exporter", "node_exporter"].map(|name| folder.join(name))),
    );
    let found = found.into_iter().find(|path| path.is_file());
    if found.is_none() {
        eprintln!(
            "not run: the comparison with node_exporter needs the package prometheus-node-exporter, or its path in BELLWETHER_NODE_EXPORTER"
        );
    }
    found
}

/// A running node_exporter; it ends with the value.
pub(crate) struct Oracle {
    child: Child,
    address: String,
}

impl Oracle {
    pub(crate) fn start(program: &PathBuf, args: &[String]) -> Self {
        let mut child = Command::new(program)
            .arg("--web.listen-address=127.0.0.1:0")
            .args(args)
            .stderr(Stdio::piped())
            .spawn()
            .expect("node_exporter starts");
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, rest) = line.split_once("\"Listening on\" address=")?;
            Some(rest.trim().to_owned())
        });
        // Nobody waits for a reader that has gone.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Self { child, address: address.expect("node_exporter says where it listens") }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn scrape(&self) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET /metrics HTTP/1.0\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split_once("\r\n\r\n").expect("an HTTP answer has a body").1.to_owned()
    }

    pub(crate) fn seen(&self) -> Seen {
        let text = self.scrape();
        Seen::of(&wire::exposition::families(wire::Format::Text004, text.as_bytes()).unwrap())
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}
