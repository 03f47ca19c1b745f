//! ZooKeeper's protocol, as much of it as reading and watching needs. Source: ZooKeeper's `zookeeper.jute` and its programmer's
//! guide, "ZooKeeper Watches".

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

/// A longer answer is refused; ZooKeeper's own limit for a node is 1 MiB, a list of children may be longer.
const MAX_BYTES: usize = 16 << 20;
const GET_DATA: i32 = 4;
const EXISTS: i32 = 3;
const GET_CHILDREN: i32 = 8;
const PING: i32 = 11;
const PING_XID: i32 = -2;
const EVENT_XID: i32 = -1;
const NO_NODE: i32 = -101;

/// Why [`Client::changed`] returned.
pub(super) enum Watched {
    /// A watch has fired.
    Changed,
}

/// A session.
pub(super) struct Client {
    stream: TcpStream,
    timeout: Duration,
    xid: i32,
    /// A watch has fired while an answer was waited for.
    fired: bool,
    sent: Instant,
    /// What has been read of the next frame; a read that is cancelled loses nothing.
    buffer: Vec<u8>,
}

impl Client {
    pub(super) async fn connect(server: &str, timeout: Duration) -> Result<Self, String> {
        let connected = tokio::time::timeout(timeout, TcpStream::connect(server)).await;
        let stream =
            connected.map_err(|_| "cannot connect in time".to_owned())?.map_err(|err| err.to_string())?;
        let mut client =
            Self { stream, timeout, xid: 0, fired: false, sent: Instant::now(), buffer: Vec::new() };
        let mut request = Vec::new();
        request.extend(0i32.to_be_bytes());
        request.extend(0i64.to_be_bytes());
        request.extend(i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX).to_be_bytes());
        request.extend(0i64.to_be_bytes());
        request.extend(16i32.to_be_bytes());
        request.extend([0; 16]);
        request.push(0);
        client.send(&request).await?;
        let answer = client.frame_in_time().await?;
        let granted = Fields(&answer).skip(4).and_then(|mut fields| fields.int());
        match granted {
            Some(granted) if granted > 0 => {
                client.timeout = Duration::from_millis(granted as u64);
                Ok(client)
            }
            _ => Err("the server refused the session".into()),
        }
    }

    /// A node's data with a watch on it; `None` when there is no such node, which is watched too.
    pub(super) async fn data(&mut self, path: &str) -> Result<Option<Vec<u8>>, String> {
        let Some(answer) = self.ask(GET_DATA, path).await? else {
            self.ask(EXISTS, path).await?;
            return Ok(None);
        };
        let data = Fields(&answer).bytes().ok_or("a broken answer")?.to_vec();
        Ok(Some(data))
    }

    /// The names of a node's children with a watch on them.
    pub(super) async fn children(&mut self, path: &str) -> Result<Vec<String>, String> {
        let Some(answer) = self.ask(GET_CHILDREN, path).await? else { return Ok(Vec::new()) };
        let mut fields = Fields(&answer);
        let count = fields.int().ok_or("a broken answer")?;
        (0..count)
            .map(|_| {
                let name = fields.bytes().ok_or("a broken answer")?;
                String::from_utf8(name.to_vec()).map_err(|_| "a node's name is not UTF-8".to_owned())
            })
            .collect()
    }

    /// Waits for a watch, keeping the session alive.
    pub(super) async fn changed(&mut self) -> Result<Watched, String> {
        while !std::mem::take(&mut self.fired) {
            let ping_at = self.sent + self.timeout / 3;
            let frame = tokio::time::timeout_at(ping_at, self.frame()).await;
            match frame {
                Err(_) => self.ping().await?,
                Ok(frame) => self.note(&frame?),
            }
        }
        Ok(Watched::Changed)
    }

    async fn ping(&mut self) -> Result<(), String> {
        let mut request = PING_XID.to_be_bytes().to_vec();
        request.extend(PING.to_be_bytes());
        self.send(&request).await?;
        loop {
            let frame = self.frame_in_time().await?;
            if Fields(&frame).int() == Some(PING_XID) {
                return Ok(());
            }
            self.note(&frame);
        }
    }

    /// An answer's content; `None` when the node does not exist.
    async fn ask(&mut self, operation: i32, path: &str) -> Result<Option<Vec<u8>>, String> {
        self.xid = self.xid.checked_add(1).unwrap_or(1);
        let mut request = self.xid.to_be_bytes().to_vec();
        request.extend(operation.to_be_bytes());
        request.extend(i32::try_from(path.len()).map_err(|_| "a path is too long")?.to_be_bytes());
        request.extend(path.as_bytes());
        request.push(1);
        self.send(&request).await?;
        loop {
            let frame = self.frame_in_time().await?;
            let mut fields = Fields(&frame);
            if fields.int() != Some(self.xid) {
                self.note(&frame);
                continue;
            }
            let error = fields.skip(8).and_then(|mut fields| fields.int());
            return match error {
                Some(0) => Ok(Some(frame.get(16..).unwrap_or_default().to_vec())),
                Some(NO_NODE) => Ok(None),
                Some(code) => Err(format!("{path}: the server answered with error {code}")),
                None => Err("a broken answer".into()),
            };
        }
    }

    /// Looks at a frame that nobody waits for.
    fn note(&mut self, frame: &[u8]) {
        if Fields(frame).int() == Some(EVENT_XID) {
            self.fired = true;
        }
    }

    async fn send(&mut self, request: &[u8]) -> Result<(), String> {
        let len = u32::try_from(request.len()).map_err(|_| "a request is too long")?;
        let mut frame = len.to_be_bytes().to_vec();
        frame.extend(request);
        self.sent = Instant::now();
        let written = tokio::time::timeout(self.timeout, self.stream.write_all(&frame)).await;
        written.map_err(|_| "the server does not read".to_owned())?.map_err(|err| err.to_string())
    }

    async fn frame_in_time(&mut self) -> Result<Vec<u8>, String> {
        let timeout = self.timeout;
        let frame = tokio::time::timeout(timeout, self.frame()).await;
        frame.map_err(|_| format!("no answer within {timeout:?}"))?
    }

    async fn frame(&mut self) -> Result<Vec<u8>, String> {
        loop {
            if let Some(head) = self.buffer.first_chunk::<4>() {
                let len = u32::from_be_bytes(*head) as usize;
                if len > MAX_BYTES {
                    return Err(format!("an answer is longer than {MAX_BYTES} bytes"));
                }
                if self.buffer.len() >= 4 + len {
                    let frame = self.buffer[4..4 + len].to_vec();
                    self.buffer.drain(..4 + len);
                    return Ok(frame);
                }
            }
            if self.stream.read_buf(&mut self.buffer).await.map_err(|err| err.to_string())? == 0 {
                return Err("the server closed the connection".into());
            }
        }
    }
}

/// Reads Jute's fields.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn int(&mut self) -> Option<i32> {
        let (head, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        Some(i32::from_be_bytes(*head))
    }

    fn skip(self, count: usize) -> Option<Self> {
        self.0.get(count..).map(Fields)
    }

    /// A length and that many bytes; −1 stands for none.
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.int()?;
        let Ok(len) = usize::try_from(len) else { return Some(&[]) };
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }
}
