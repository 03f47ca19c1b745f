//! A small HTTP/1.1 client that keeps its connection: the load generator must not cost more than the server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// A connection.
pub(crate) struct Client {
    address: String,
    stream: Option<BufReader<TcpStream>>,
    timeout: Duration,
}

impl Client {
    pub(crate) fn new(address: &str) -> Self {
        Self { address: address.to_owned(), stream: None, timeout: Duration::from_secs(120) }
    }

    /// Sends a request, on a new connection when the old one is gone: status and body.
    pub(crate) fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<(u16, Vec<u8>)> {
        let outcome = self.try_send(method, path, headers, body);
        if outcome.is_err() {
            self.stream = None;
        }
        outcome
    }

    fn try_send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<(u16, Vec<u8>)> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(&self.address).context("connect")?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(self.timeout))?;
            self.stream = Some(BufReader::with_capacity(64 << 10, stream));
        }
        let reader = self.stream.as_mut().context("a connection was just made")?;
        let mut head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n",
            self.address,
            body.len()
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut message = head.into_bytes();
        message.extend_from_slice(body);
        reader.get_mut().write_all(&message)?;
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let status: u16 = line
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .with_context(|| format!("bad status line {line:?}"))?;
        let (mut length, mut chunked, mut close) = (0usize, false, false);
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                bail!("the connection ended in the middle of an answer");
            }
            let text = line.trim_end().to_ascii_lowercase();
            if text.is_empty() {
                break;
            }
            if let Some(value) = text.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            chunked |= text == "transfer-encoding: chunked";
            close |= text == "connection: close";
        }
        let mut out = Vec::new();
        if chunked {
            loop {
                line.clear();
                reader.read_line(&mut line)?;
                let len = usize::from_str_radix(line.trim().split(';').next().unwrap_or(""), 16)?;
                let start = out.len();
                out.resize(start + len, 0);
                reader.read_exact(&mut out[start..])?;
                line.clear();
                reader.read_line(&mut line)?;
                if len == 0 {
                    break;
                }
            }
        } else if status != 204 {
            out.resize(length, 0);
            reader.read_exact(&mut out)?;
        }
        if close {
            self.stream = None;
        }
        Ok((status, out))
    }

    /// The value of an instant query with one number as its answer; 0 when the answer is empty.
    pub(crate) fn query(&mut self, query: &str, time_ms: i64) -> Result<f64> {
        let body = format!("query={}&time={}", escape(query), time_ms as f64 / 1000.0);
        let kind = [("Content-Type", "application/x-www-form-urlencoded")];
        let (status, answer) = self.send("POST", "/api/v1/query", &kind, body.as_bytes())?;
        if status != 200 {
            bail!("{query}: status {status}: {}", String::from_utf8_lossy(&answer));
        }
        let answer: serde_json::Value = serde_json::from_slice(&answer)?;
        let Some(first) = answer["data"]["result"].get(0) else { return Ok(0.0) };
        let text = first["value"][1].as_str().context("the answer has no value")?;
        Ok(text.parse()?)
    }
}

pub(crate) fn escape(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            out.push(byte as char);
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
