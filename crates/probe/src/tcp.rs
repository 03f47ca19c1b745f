//! A connection over TCP or a UNIX socket, and a conversation over it, line by line.

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio_rustls::client::TlsStream;

use crate::Step;
use crate::config::{QueryResponse, TcpProbe, UnixProbe};
use crate::resolve::{choose, connect, split};
use crate::result::Outcome;
use crate::tls::{self, Shown};

/// Longest line that is looked at, in bytes: longer ones are no line, as in the exporter.
const MAX_LINE: u64 = 64 << 10;
/// Most bytes that are read in the search for one line.
const MAX_READ: u64 = 64 << 20;

const REGEX: (&str, &str) = ("probe_failed_due_to_regex", "Indicates if probe failed due to regex");
const BYTES: (&str, &str) = ("probe_failed_due_to_bytes", "Indicates if probe failed due to bytes");

enum Stream<S> {
    Plain(BufReader<S>),
    Tls(Box<BufReader<TlsStream<S>>>),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream<S> {
    /// The next line without its end; `None` at the end of the stream.
    async fn line(&mut self) -> Step<Option<Vec<u8>>> {
        let mut line = Vec::new();
        let read = match self {
            Self::Plain(stream) => stream.take(MAX_LINE).read_until(b'\n', &mut line).await,
            Self::Tls(stream) => stream.take(MAX_LINE).read_until(b'\n', &mut line).await,
        };
        read.map_err(|err| format!("reading failed: {err}"))?;
        if line.is_empty() {
            return Ok(None);
        }
        if line.len() as u64 == MAX_LINE && line.last() != Some(&b'\n') {
            return Err(format!("a line is longer than {MAX_LINE} bytes"));
        }
        for end in [b'\n', b'\r'] {
            if line.last() == Some(&end) {
                line.pop();
            }
        }
        Ok(Some(line))
    }

    async fn exactly(&mut self, buffer: &mut [u8]) -> Step<()> {
        let read = match self {
            Self::Plain(stream) => stream.read_exact(buffer).await,
            Self::Tls(stream) => stream.read_exact(buffer).await,
        };
        read.map(drop).map_err(|err| format!("reading failed: {err}"))
    }

    async fn send(&mut self, text: &[u8]) -> Step<()> {
        let line = [text, b"\n"].concat();
        let sent = match self {
            Self::Plain(stream) => stream.write_all(&line).await,
            Self::Tls(stream) => {
                let written = stream.write_all(&line).await;
                if written.is_ok() { stream.flush().await } else { written }
            }
        };
        sent.map_err(|err| format!("sending failed: {err}"))
    }
}

pub(crate) async fn probe(
    config: &TcpProbe,
    target: &str,
    hostname: Option<&str>,
    outcome: &mut Outcome,
) -> Step<()> {
    let (host, port) = split(target)?;
    let name = hostname.unwrap_or(host);
    let (address, _) =
        choose(host, config.preferred_ip_protocol, config.ip_protocol_fallback, outcome).await?;
    let stream = connect((address, port).into(), &config.source_ip_address).await?;
    outcome.note("connected");
    let talk = Talk { tls: config.tls, tls_config: &config.tls_config, steps: &config.query_response, name };
    talk.run(stream, outcome).await
}

/// The same over a UNIX socket, whose path is the target.
pub(crate) async fn probe_unix(
    config: &UnixProbe,
    target: &str,
    hostname: Option<&str>,
    outcome: &mut Outcome,
) -> Step<()> {
    let path = target.strip_prefix("unix://").unwrap_or(target);
    let stream = tokio::net::UnixStream::connect(path).await;
    let stream = stream.map_err(|err| format!("cannot connect to {path}: {err}"))?;
    outcome.note("connected");
    let name = hostname.unwrap_or("localhost");
    let talk = Talk { tls: config.tls, tls_config: &config.tls_config, steps: &config.query_response, name };
    talk.run(stream, outcome).await
}

struct Talk<'a> {
    tls: bool,
    tls_config: &'a httpc::TlsConfig,
    steps: &'a [QueryResponse],
    name: &'a str,
}

impl Talk<'_> {
    async fn secure<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Step<(Stream<S>, Shown)> {
        let (stream, shown) = tls::handshake(stream, self.tls_config, self.name, false).await?;
        Ok((Stream::Tls(Box::new(BufReader::new(stream))), shown))
    }

    async fn run<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S, outcome: &mut Outcome) -> Step<()> {
        let mut stream = match self.tls {
            true => {
                let (stream, shown) = self.secure(stream).await?;
                shown.show(outcome, false);
                stream
            }
            false => Stream::Plain(BufReader::new(stream)),
        };
        outcome.set(REGEX.0, REGEX.1, 0.0);
        outcome.set(BYTES.0, BYTES.1, 0.0);
        for (index, step) in self.steps.iter().enumerate() {
            outcome.note(format!("query and response {index}"));
            let mut sent = step.send.clone().into_bytes();
            if let Some(expect) = &step.expect {
                let (mut matched, mut read) = (false, 0);
                while let Some(line) = stream.line().await? {
                    read += line.len() as u64 + 1;
                    if let Some(captures) = expect.0.captures(&line) {
                        sent = expand(step, &captures, outcome);
                        matched = true;
                        break;
                    }
                    if read > MAX_READ {
                        return Err(format!("no line of {MAX_READ} bytes matched {:?}", expect.0.as_str()));
                    }
                }
                outcome.set(REGEX.0, REGEX.1, f64::from(u8::from(!matched)));
                if !matched {
                    return Err(format!("no line matched {:?}", expect.0.as_str()));
                }
            }
            if !step.expect_bytes.is_empty() {
                let mut buffer = vec![0; step.expect_bytes.len()];
                stream.exactly(&mut buffer).await?;
                let matched = buffer == step.expect_bytes.as_bytes();
                outcome.set(BYTES.0, BYTES.1, f64::from(u8::from(!matched)));
                if !matched {
                    return Err(format!("the bytes {:?} did not come", step.expect_bytes));
                }
            }
            if !sent.is_empty() {
                stream.send(&sent).await?;
            }
            if step.starttls {
                let Stream::Plain(plain) = stream else { return Err("TLS is spoken already".into()) };
                let (upgraded, shown) = self.secure(plain.into_inner()).await?;
                shown.show(outcome, false);
                stream = upgraded;
            }
        }
        Ok(())
    }
}

/// Fills in what matched: in what is sent, and in the labels of `probe_expect_info`.
fn expand(step: &QueryResponse, captures: &regex::bytes::Captures<'_>, outcome: &mut Outcome) -> Vec<u8> {
    let filled = |template: &str| {
        let mut out = Vec::new();
        captures.expand(template.as_bytes(), &mut out);
        out
    };
    if !step.labels.is_empty() {
        let labels: Vec<(&str, String)> = step
            .labels
            .iter()
            .map(|label| (label.name.as_str(), String::from_utf8_lossy(&filled(&label.value)).into_owned()))
            .collect();
        let labels: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (*n, v.as_str())).collect();
        outcome.with("probe_expect_info", "Explicit content matched", &labels, 1.0);
    }
    filled(&step.send)
}
