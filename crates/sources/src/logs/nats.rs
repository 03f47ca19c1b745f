//! A pull consumer of NATS JetStream, over NATS' own text protocol. Sources: the NATS client protocol; the JetStream wire API
//! reference (`$JS.API`). Only what pulling and acknowledging needs; the cluster's log has a client of its own.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::config::NatsInput;

/// A larger message is refused.
const MAX_BYTES: usize = 8 << 20;
/// How long an answer of the server may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the server may hold a pull without messages.
const HOLD: Duration = Duration::from_secs(20);
/// Messages of one pull.
const BATCH: usize = 500;

/// A message and where its acknowledgement goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) subject: String,
    pub(crate) reply: String,
    pub(crate) status: Option<u16>,
    pub(crate) payload: Vec<u8>,
}

/// A connection that pulls.
pub(crate) struct Consumer {
    stream: TcpStream,
    buffer: Vec<u8>,
    next: String,
    inbox: String,
}

/// One thing that the server says.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Message(Message),
    Info(String),
    Ping,
    Error(String),
    Other,
}

impl Consumer {
    /// Connects and makes the durable consumer if it is not there. `seed`: makes the inbox unique.
    pub(crate) async fn connect(config: &NatsInput, seed: u64) -> Result<Self, String> {
        let address = config.url.strip_prefix("nats://").unwrap_or(&config.url).trim_end_matches('/');
        let address = if address.contains(':') { address.to_owned() } else { format!("{address}:4222") };
        let connected = tokio::time::timeout(TIMEOUT, TcpStream::connect(&address)).await;
        let stream = connected
            .map_err(|_| format!("{address} does not answer"))?
            .map_err(|err| format!("cannot connect to {address}: {err}"))?;
        let inbox = format!("_INBOX.bellwether.{seed:016x}");
        let next = format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", config.stream, config.consumer);
        let mut this = Self { stream, buffer: Vec::new(), next, inbox };
        let info = match this.said_in_time().await? {
            Said::Info(info) => info,
            other => return Err(format!("{address} is no NATS server: it said {other:?}")),
        };
        let info: Value = serde_json::from_str(&info).unwrap_or_default();
        if info["tls_required"] == true {
            return Err(format!("{address} requires TLS, which is not supported here"));
        }
        let mut connect = json!({
            "verbose": false, "pedantic": false, "tls_required": false, "name": "bellwether", "lang": "rust",
            "version": env!("CARGO_PKG_VERSION"), "protocol": 1, "headers": true, "no_responders": true,
        });
        if !config.username.is_empty() {
            connect["user"] = json!(config.username);
            connect["pass"] = json!(config.password.expose());
        }
        if !config.token.is_empty() {
            connect["auth_token"] = json!(config.token.expose());
        }
        let inbox = this.inbox.clone();
        this.write(format!("CONNECT {connect}\r\nSUB {inbox}.* 1\r\n").as_bytes()).await?;
        let mut wanted = json!({
            "durable_name": config.consumer, "ack_policy": "explicit", "deliver_policy": "new", "ack_wait": 60_000_000_000u64,
            "max_ack_pending": 10_000,
        });
        if !config.subject.is_empty() {
            wanted["filter_subject"] = json!(config.subject);
        }
        let request = json!({"stream_name": config.stream, "config": wanted});
        let subject = format!("$JS.API.CONSUMER.DURABLE.CREATE.{}.{}", config.stream, config.consumer);
        this.publish(&subject, &format!("{inbox}.create"), request.to_string().as_bytes()).await?;
        let answer = this.message_in_time().await?;
        if answer.status == Some(503) {
            return Err(format!("{address} has no JetStream"));
        }
        let answer: Value = serde_json::from_slice(&answer.payload).map_err(|err| err.to_string())?;
        // 10013, 10148: a consumer of this name is there already with other settings, which win.
        match answer["error"]["err_code"].as_u64() {
            None | Some(10_013 | 10_148) => Ok(this),
            Some(_) => {
                let said = answer["error"]["description"].as_str().unwrap_or_default();
                Err(format!("stream {:?}, consumer {:?}: {said}", config.stream, config.consumer))
            }
        }
    }

    /// The next messages, at least one unless none comes for a while.
    pub(crate) async fn pull(&mut self) -> Result<Vec<Message>, String> {
        let request = json!({"batch": BATCH, "expires": HOLD.as_nanos() as u64});
        let (next, inbox) = (self.next.clone(), format!("{}.pull", self.inbox));
        self.publish(&next, &inbox, request.to_string().as_bytes()).await?;
        let mut out = Vec::new();
        loop {
            // After the first message only what is there already is taken along.
            let wait = if out.is_empty() { HOLD + TIMEOUT } else { Duration::from_millis(20) };
            match tokio::time::timeout(wait, self.message()).await {
                Err(_) if out.is_empty() => return Err("the server does not answer".into()),
                Err(_) => return Ok(out),
                Ok(message) => {
                    let message = message?;
                    match message.status {
                        // 404: no messages; 408: the pull's time is over.
                        Some(404 | 408) => return Ok(out),
                        Some(503) => return Err("JetStream is not available".into()),
                        Some(100) => {}
                        Some(code) => return Err(format!("the pull ended with status {code}")),
                        None => out.push(message),
                    }
                }
            }
            if out.len() >= BATCH {
                return Ok(out);
            }
        }
    }

    /// Says that messages have been counted.
    pub(crate) async fn acknowledge(&mut self, messages: &[Message]) -> Result<(), String> {
        let mut out = Vec::new();
        for message in messages.iter().filter(|message| !message.reply.is_empty()) {
            out.extend_from_slice(format!("PUB {} 4\r\n+ACK\r\n", message.reply).as_bytes());
        }
        self.write(&out).await
    }

    async fn publish(&mut self, subject: &str, reply: &str, payload: &[u8]) -> Result<(), String> {
        let mut out = format!("PUB {subject} {reply} {}\r\n", payload.len()).into_bytes();
        out.extend_from_slice(payload);
        out.extend_from_slice(b"\r\n");
        self.write(&out).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        let written = tokio::time::timeout(TIMEOUT, self.stream.write_all(bytes)).await;
        written.map_err(|_| "the server does not read".to_owned())?.map_err(|err| err.to_string())
    }

    async fn message_in_time(&mut self) -> Result<Message, String> {
        let message = tokio::time::timeout(TIMEOUT, self.message()).await;
        message.map_err(|_| "the server does not answer".to_owned())?
    }

    /// The next message; answers to pings on the way.
    async fn message(&mut self) -> Result<Message, String> {
        loop {
            match self.said().await? {
                Said::Message(message) => return Ok(message),
                Said::Ping => self.write(b"PONG\r\n").await?,
                Said::Error(text) => return Err(format!("the server refuses: {text}")),
                Said::Info(_) | Said::Other => {}
            }
        }
    }

    async fn said_in_time(&mut self) -> Result<Said, String> {
        let said = tokio::time::timeout(TIMEOUT, self.said()).await;
        said.map_err(|_| "the server does not answer".to_owned())?
    }

    async fn said(&mut self) -> Result<Said, String> {
        loop {
            if let Some((said, used)) = parse(&self.buffer)? {
                self.buffer.drain(..used);
                return Ok(said);
            }
            if self.stream.read_buf(&mut self.buffer).await.map_err(|err| err.to_string())? == 0 {
                return Err("the server closed the connection".into());
            }
        }
    }
}

/// The first thing in a buffer and its length; `None` until all of it is there.
fn parse(buffer: &[u8]) -> Result<Option<(Said, usize)>, String> {
    let Some(end) = memchr::memmem::find(buffer, b"\r\n") else {
        return if buffer.len() > MAX_BYTES { Err("a line is too long".into()) } else { Ok(None) };
    };
    let line = String::from_utf8_lossy(&buffer[..end]);
    let (verb, rest) = line.split_once(' ').unwrap_or((&line, ""));
    let used = end + 2;
    let said = match verb.to_ascii_uppercase().as_str() {
        verb @ ("MSG" | "HMSG") => {
            let words: Vec<&str> = rest.split_whitespace().collect();
            let headers = verb == "HMSG";
            let sizes = if headers { 2 } else { 1 };
            // subject sid [reply] [header bytes] bytes
            if words.len() < 2 + sizes || words.len() > 3 + sizes {
                return Err(format!("a broken message: {line}"));
            }
            let size = |at: usize| {
                let size = words[at].parse::<usize>().ok().filter(|size| *size <= MAX_BYTES);
                size.ok_or_else(|| format!("a message of {} bytes", words[at]))
            };
            let total = size(words.len() - 1)?;
            let head = if headers { size(words.len() - 2)?.min(total) } else { 0 };
            let Some(body) = buffer.get(used..used + total + 2) else { return Ok(None) };
            let status = String::from_utf8_lossy(&body[..head]);
            let status = status.lines().next().and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
            let message = Message {
                subject: words[0].to_owned(),
                reply: if words.len() == 3 + sizes { words[2].to_owned() } else { String::new() },
                status,
                payload: body[head..total].to_vec(),
            };
            return Ok(Some((Said::Message(message), used + total + 2)));
        }
        "INFO" => Said::Info(rest.to_owned()),
        "PING" => Said::Ping,
        "-ERR" => Said::Error(rest.trim_matches('\'').to_owned()),
        _ => Said::Other,
    };
    Ok(Some((said, used)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol() {
        let (said, used) = parse(b"MSG a.b 1 $JS.ACK.x 5\r\nhello\r\nPING\r\n").unwrap().unwrap();
        assert_eq!(used, 30);
        let Said::Message(message) = said else { panic!("{said:?}") };
        assert_eq!((message.reply.as_str(), message.payload.as_slice()), ("$JS.ACK.x", &b"hello"[..]));
        let head = "NATS/1.0 408 Request Timeout\r\n\r\n";
        let text = format!("HMSG in 1 {} {}\r\n{head}\r\n", head.len(), head.len());
        let (said, _) = parse(text.as_bytes()).unwrap().unwrap();
        assert!(matches!(said, Said::Message(Message { status: Some(408), .. })), "{said:?}");
        assert_eq!(parse(b"MSG a 1 5\r\nhel").unwrap(), None);
        assert_eq!(parse(b"PI").unwrap(), None);
        assert_eq!(parse(b"-ERR 'no'\r\n").unwrap().unwrap().0, Said::Error("no".into()));
        assert!(parse(b"MSG a 1 99999999999\r\n").is_err());
        assert!(parse(b"MSG a\r\n").is_err());
    }
}
