//! Asking the system's name servers: a datagram first, TCP when the answer is too long for one.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::message::{Answer, Record, parse, question};

/// How long one server may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Which servers to ask, and how short names are completed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Servers {
    pub(crate) servers: Vec<SocketAddr>,
    pub(crate) search: Vec<String>,
    pub(crate) ndots: usize,
}

impl Servers {
    /// Reads the text of a `resolv.conf`. Without a name server this machine's is asked, as resolv.conf(5) says.
    pub(crate) fn parse(text: &str) -> Self {
        let mut out = Self { servers: Vec::new(), search: Vec::new(), ndots: 1 };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|w| w.split('%').next()?.parse::<IpAddr>().ok());
                    out.servers.extend(address.map(|address| SocketAddr::new(address, 53)));
                }
                Some("search" | "domain") => out.search = words.map(str::to_owned).collect(),
                Some("options") => {
                    for ndots in words.filter_map(|w| w.strip_prefix("ndots:")?.parse().ok()) {
                        out.ndots = ndots;
                    }
                }
                _ => {}
            }
        }
        if out.servers.is_empty() {
            out.servers.push(SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 53));
        }
        out
    }

    /// The names to try for a configured name, in order.
    pub(crate) fn candidates(&self, name: &str) -> Vec<String> {
        if name.ends_with('.') {
            return vec![name.to_owned()];
        }
        let mut names: Vec<String> =
            self.search.iter().map(|suffix| format!("{name}.{}", suffix.trim_end_matches('.'))).collect();
        let at = if name.matches('.').count() >= self.ndots { 0 } else { names.len() };
        names.insert(at, name.to_owned());
        names
    }

    /// All records of a kind; empty when no candidate has any.
    pub(crate) async fn lookup(&self, name: &str, kind: u16) -> Result<Vec<Record>, String> {
        let mut last = Ok(Vec::new());
        for candidate in self.candidates(name) {
            match self.ask_all(&candidate, kind).await {
                Ok(records) if !records.is_empty() => return Ok(records),
                Ok(_) => {}
                Err(reason) => last = Err(reason),
            }
        }
        last
    }

    async fn ask_all(&self, name: &str, kind: u16) -> Result<Vec<Record>, String> {
        let mut reasons = Vec::new();
        for server in &self.servers {
            match tokio::time::timeout(TIMEOUT, ask(*server, name, kind)).await {
                Ok(Ok(records)) => return Ok(records),
                Ok(Err(reason)) => reasons.push(format!("{server}: {reason}")),
                Err(_) => reasons.push(format!("{server}: no answer within {TIMEOUT:?}")),
            }
        }
        Err(reasons.join(", "))
    }
}

async fn ask(server: SocketAddr, name: &str, kind: u16) -> Result<Vec<Record>, String> {
    let fail = |err: std::io::Error| err.to_string();
    let local: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(local).await.map_err(fail)?;
    // Only what this server sends is received; the port that the system chose is the harder part to guess.
    socket.connect(server).await.map_err(fail)?;
    let port = socket.local_addr().map_err(fail)?.port();
    let id = xxh3_64_with_seed(name.as_bytes(), u64::from(port)) as u16;
    let question = question(id, name, kind)?;
    socket.send(&question).await.map_err(fail)?;
    let mut buffer = vec![0; 4096];
    let len = socket.recv(&mut buffer).await.map_err(fail)?;
    match parse(&buffer[..len], id, kind)? {
        Answer::Records(records) => return Ok(records),
        Answer::NoName => return Ok(Vec::new()),
        Answer::Truncated => {}
    }
    let mut stream = TcpStream::connect(server).await.map_err(fail)?;
    stream.write_u16(question.len() as u16).await.map_err(fail)?;
    stream.write_all(&question).await.map_err(fail)?;
    let len = stream.read_u16().await.map_err(fail)?;
    buffer.resize(usize::from(len), 0);
    stream.read_exact(&mut buffer).await.map_err(fail)?;
    match parse(&buffer, id, kind)? {
        Answer::Records(records) => Ok(records),
        Answer::NoName => Ok(Vec::new()),
        Answer::Truncated => Err("the answer is cut off by TCP, too".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::dns::message::NS;

    #[test]
    fn resolv_conf() {
        let conf = Servers::parse(
            "# x\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\nsearch a.b c.\noptions ndots:2\n",
        );
        assert_eq!(conf.servers.len(), 2);
        assert_eq!(conf.candidates("x.y"), ["x.y.a.b", "x.y.c", "x.y"]);
        assert_eq!(conf.candidates("x.y.z"), ["x.y.z", "x.y.z.a.b", "x.y.z.c"]);
        assert_eq!(conf.candidates("x."), ["x."]);
        assert_eq!(Servers::parse("").servers[0].to_string(), "127.0.0.1:53");
    }

    #[tokio::test]
    async fn a_long_answer_comes_by_tcp() {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let addr = udp.local_addr().unwrap();
        let tcp = tokio::net::TcpListener::bind(addr).await.unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            let (len, from) = udp.recv_from(&mut buffer).await.unwrap();
            let mut answer = buffer[..len].to_vec();
            answer[2] = 0x83;
            udp.send_to(&answer, from).await.unwrap();
            let (mut stream, _) = tcp.accept().await.unwrap();
            let len = stream.read_u16().await.unwrap();
            let mut answer = vec![0; usize::from(len)];
            stream.read_exact(&mut answer).await.unwrap();
            answer.truncate(answer.len() - 11);
            (answer[2], answer[7], answer[11]) = (0x81, 1, 0);
            answer.extend_from_slice(&[0xc0, 12, 0, 2, 0, 1, 0, 0, 0, 9, 0, 4, 1, b'n', 0xc0, 12]);
            stream.write_u16(answer.len() as u16).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        });
        let servers = Servers { servers: vec![addr], search: Vec::new(), ndots: 1 };
        assert_eq!(servers.lookup("x.example", NS).await, Ok(vec![Record::Ns("n.x.example.".into())]));
    }
}
