//! Servers that keep what they are sent: HTTP/1.1 and SMTP, as far as the senders speak them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Body {
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) id: String,
    pub(crate) text: String,
    pub(crate) json: serde_json::Value,
}

impl Body {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value.as_str())
    }
}

struct Shared<T> {
    got: Mutex<Vec<T>>,
    taken: Mutex<usize>,
    news: Notify,
    answers: Mutex<VecDeque<u16>>,
}

impl<T: Clone> Shared<T> {
    fn new(answers: Vec<u16>) -> Arc<Self> {
        let answers = Mutex::new(answers.into());
        Arc::new(Self { got: Mutex::default(), taken: Mutex::default(), news: Notify::new(), answers })
    }

    fn keep(&self, one: T) {
        self.got.lock().unwrap().push(one);
        self.news.notify_waiters();
    }

    async fn next(&self) -> T {
        let wait = async {
            loop {
                let news = self.news.notified();
                {
                    let (got, mut taken) = (self.got.lock().unwrap(), self.taken.lock().unwrap());
                    if let Some(one) = got.get(*taken) {
                        *taken += 1;
                        return one.clone();
                    }
                }
                // A new one between the look and the wait is found by the next look.
                if tokio::time::timeout(Duration::from_millis(20), news).await.is_err() {
                    continue;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("nothing came within 20 s")
    }
}

/// The status of an answer that never comes.
pub(crate) const HANG: u16 = 0;

/// An HTTP server that answers with the given status codes, then with 200.
pub(crate) struct HttpSink {
    pub(crate) url: String,
    pub(crate) reply: Arc<Mutex<String>>,
    /// Further header lines of its answers.
    pub(crate) headers: Arc<Mutex<String>>,
    shared: Arc<Shared<Body>>,
}

impl HttpSink {
    pub(crate) async fn start(answers: Vec<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let shared = Shared::new(answers);
        let reply = Arc::new(Mutex::new("{}".to_owned()));
        let headers = Arc::<Mutex<String>>::default();
        let (keep, text, more) = (shared.clone(), reply.clone(), headers.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, keep.clone(), text.clone(), more.clone()));
            }
        });
        Self { url, reply, headers, shared }
    }

    pub(crate) async fn next(&self) -> Body {
        self.shared.next().await
    }

    pub(crate) fn count(&self) -> usize {
        self.shared.got.lock().unwrap().len()
    }

    pub(crate) fn bodies(&self) -> Vec<Body> {
        self.shared.got.lock().unwrap().clone()
    }
}

async fn serve(
    stream: TcpStream,
    shared: Arc<Shared<Body>>,
    reply: Arc<Mutex<String>>,
    headers_out: Arc<Mutex<String>>,
) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        let mut headers = vec![];
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.unwrap();
            let Some((name, value)) = line.trim().split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let find =
            |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone()).unwrap_or_default();
        let mut body = vec![0; find("content-length").parse().unwrap_or(0)];
        stream.read_exact(&mut body).await.unwrap();
        let text = String::from_utf8(body).unwrap();
        let json = serde_json::from_str(&text).unwrap_or_default();
        let id = find("idempotency-key");
        shared.keep(Body { path, headers, id, text, json });
        let status = shared.answers.lock().unwrap().pop_front().unwrap_or(200);
        if status == HANG {
            return std::future::pending().await;
        }
        let (reply, more) = (reply.lock().unwrap().clone(), headers_out.lock().unwrap().clone());
        let answer = format!("HTTP/1.1 {status} X\r\n{more}content-length: {}\r\n\r\n{reply}", reply.len());
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// A mail as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mail {
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
    pub(crate) auth: String,
    pub(crate) data: String,
}

/// An SMTP server that answers mails with the given codes, then with 250.
pub(crate) struct SmtpSink {
    pub(crate) address: String,
    shared: Arc<Shared<Mail>>,
}

impl SmtpSink {
    pub(crate) async fn start(answers: Vec<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Shared::new(answers);
        let keep = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(receive(stream, keep.clone()));
            }
        });
        Self { address, shared }
    }

    pub(crate) async fn next(&self) -> Mail {
        self.shared.next().await
    }
}

async fn receive(stream: TcpStream, shared: Arc<Shared<Mail>>) {
    let mut stream = BufReader::new(stream);
    let mut mail = Mail::default();
    let address = |line: &str| line.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
    stream.write_all(b"220 sink\r\n").await.unwrap();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        let line = line.trim_end();
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        let answer = match verb.as_str() {
            "EHLO" => "250-sink\r\n250 AUTH PLAIN LOGIN\r\n".to_owned(),
            "AUTH" => {
                mail.auth = base64(line.rsplit(' ').next().unwrap_or_default());
                "235 ok\r\n".to_owned()
            }
            "MAIL" => {
                mail.from = address(line);
                "250 ok\r\n".to_owned()
            }
            "RCPT" => {
                mail.to.push(address(line));
                "250 ok\r\n".to_owned()
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await.unwrap();
                loop {
                    let mut line = String::new();
                    stream.read_line(&mut line).await.unwrap();
                    if line == ".\r\n" {
                        break;
                    }
                    mail.data.push_str(&line);
                }
                shared.keep(std::mem::take(&mut mail));
                let code = shared.answers.lock().unwrap().pop_front().unwrap_or(250);
                format!("{code} so be it\r\n")
            }
            "QUIT" => "221 bye\r\n".to_owned(),
            _ => "250 ok\r\n".to_owned(),
        };
        if stream.write_all(answer.as_bytes()).await.is_err() || verb == "QUIT" {
            return;
        }
    }
}

fn base64(text: &str) -> String {
    let value = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u8> = text.bytes().filter(|c| *c != b'=').map(value).collect();
    let mut out = Vec::new();
    for four in digits.chunks(4) {
        let bits = four.iter().enumerate().fold(0u32, |bits, (at, d)| bits | u32::from(*d) << (18 - 6 * at));
        out.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    String::from_utf8(out).unwrap()
}
