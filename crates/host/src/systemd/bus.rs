//! As much of D-Bus as reading another's properties needs: one connection, calls that are sent together, their answers.
//!
//! Source: the D-Bus specification, "Type system", "Message protocol", "Authentication protocol" (EXTERNAL).

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long the other side may take for anything.
const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of one message that are read.
const MAX_MESSAGE: usize = 16 << 20;
/// Messages that are not answers to us and are passed over while one is awaited.
const MAX_OTHERS: usize = 10_000;

const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;

/// A call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    /// Arguments, all of them texts.
    pub(super) arguments: &'a [&'a str],
}

/// An answer's body, or the name of the error.
pub(super) type Answer = Result<Vec<u8>, String>;

/// A connection to a bus.
pub(super) struct Bus {
    stream: BufReader<UnixStream>,
    serial: u32,
    /// Whom calls are for.
    destination: &'static str,
}

fn bad(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

impl Bus {
    /// Connects and says hello.
    pub(super) fn connect(path: &Path, destination: &'static str) -> io::Result<Self> {
        let mut stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let uid = rustix::process::geteuid().as_raw().to_string();
        let hex: String = uid.bytes().map(|byte| format!("{byte:02x}")).collect();
        stream.write_all(format!("\0AUTH EXTERNAL {hex}\r\n").as_bytes())?;
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        (&mut stream).take(4096).read_line(&mut line)?;
        if !line.starts_with("OK ") {
            return Err(io::Error::other(format!("the bus does not let us in: {}", line.trim_end())));
        }
        stream.get_mut().write_all(b"BEGIN\r\n")?;
        let mut bus = Self { stream, serial: 0, destination: "org.freedesktop.DBus" };
        let hello = Call {
            path: "/org/freedesktop/DBus",
            interface: "org.freedesktop.DBus",
            member: "Hello",
            arguments: &[],
        };
        bus.ask(&[hello])?.remove(0).map_err(io::Error::other)?;
        bus.destination = destination;
        Ok(bus)
    }

    /// The answers to some calls, in the order of the calls.
    pub(super) fn ask(&mut self, calls: &[Call<'_>]) -> io::Result<Vec<Answer>> {
        let first = self.serial.wrapping_add(1);
        let mut out = Vec::new();
        for call in calls {
            self.serial = self.serial.wrapping_add(1);
            out.extend(message(call, self.destination, self.serial));
        }
        self.stream.get_mut().write_all(&out)?;
        let mut answers: Vec<Option<Answer>> = calls.iter().map(|_| None).collect();
        let (mut left, mut others) = (calls.len(), 0);
        while left > 0 {
            let (serial, answer) = self.receive()?;
            let index = serial.and_then(|serial| usize::try_from(serial.wrapping_sub(first)).ok());
            match index.and_then(|index| answers.get_mut(index)) {
                Some(place @ None) => {
                    *place = Some(answer);
                    left -= 1;
                }
                _ => {
                    others += 1;
                    if others > MAX_OTHERS {
                        return Err(bad("the bus sends other messages without end"));
                    }
                }
            }
        }
        Ok(answers.into_iter().flatten().collect())
    }

    /// A message: the serial that it answers, and what it says.
    fn receive(&mut self) -> io::Result<(Option<u32>, Answer)> {
        let mut head = [0; 16];
        self.stream.read_exact(&mut head)?;
        if head[0] != b'l' || head[3] != 1 {
            return Err(bad("a message in an order of bytes or a version that is not spoken here"));
        }
        let number =
            |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes")) as usize;
        let (body_len, fields_len) = (number(4), number(12));
        let padded = fields_len.next_multiple_of(8);
        if body_len.saturating_add(padded) > MAX_MESSAGE {
            return Err(bad("a message is too large"));
        }
        let mut fields = vec![0; padded];
        self.stream.read_exact(&mut fields)?;
        let mut body = vec![0; body_len];
        self.stream.read_exact(&mut body)?;
        let mut reader = Reader::new(&fields[..fields_len]);
        let (mut answers, mut error) = (None, String::new());
        while !reader.is_empty() {
            reader.align(8)?;
            let code = reader.byte()?;
            match (code, reader.variant()?) {
                (5, Value::Number(serial)) => answers = u32::try_from(serial as i64).ok(),
                (4, Value::Text(name)) => error = name.to_owned(),
                _ => {}
            }
        }
        Ok(match head[1] {
            RETURN => (answers, Ok(body)),
            ERROR => (answers, Err(error)),
            _ => (None, Err("no answer".to_owned())),
        })
    }
}

/// A message in bytes.
fn message(call: &Call<'_>, destination: &str, serial: u32) -> Vec<u8> {
    let mut body = Writer::default();
    for argument in call.arguments {
        body.text(argument);
    }
    let mut fields = Writer::default();
    let signature = "s".repeat(call.arguments.len());
    for (code, kind, text) in [
        (1, "o", call.path),
        (2, "s", call.interface),
        (3, "s", call.member),
        (6, "s", destination),
        (8, "g", signature.as_str()),
    ] {
        if code == 8 && text.is_empty() {
            continue;
        }
        fields.align(8);
        fields.0.push(code);
        fields.signature(kind);
        if kind == "g" { fields.signature(text) } else { fields.text(text) }
    }
    let mut out = vec![b'l', CALL, 0, 1];
    for number in [body.0.len() as u32, serial, fields.0.len() as u32] {
        out.extend(number.to_le_bytes());
    }
    out.extend(fields.0);
    out.resize(out.len().next_multiple_of(8), 0);
    out.extend(body.0);
    out
}

/// Values in bytes; alignment counts from the start.
#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn align(&mut self, to: usize) {
        self.0.resize(self.0.len().next_multiple_of(to), 0);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.align(4);
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.bytes());
        self.0.push(0);
    }

    fn signature(&mut self, text: &str) {
        self.0.push(text.len() as u8);
        self.0.extend(text.bytes());
        self.0.push(0);
    }
}

/// A simple value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Number(f64),
}

/// Reads values.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(super) fn align(&mut self, to: usize) -> io::Result<()> {
        self.at = self.at.next_multiple_of(to);
        if self.at > self.bytes.len() { Err(bad("a value is cut short")) } else { Ok(()) }
    }

    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let end = self.at.checked_add(count);
        let found = end.and_then(|end| self.bytes.get(self.at..end));
        let found = found.ok_or_else(|| bad("a value is cut short"))?;
        self.at += count;
        Ok(found)
    }

    fn byte(&mut self) -> io::Result<u8> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn u32(&mut self) -> io::Result<u32> {
        self.align(4)?;
        Ok(u32::from_le_bytes(self.take(4)?.try_into().expect("four bytes")))
    }

    fn u64(&mut self) -> io::Result<u64> {
        self.align(8)?;
        Ok(u64::from_le_bytes(self.take(8)?.try_into().expect("eight bytes")))
    }

    fn characters(&mut self, count: usize) -> io::Result<&'a str> {
        let text = self.take(count)?;
        self.take(1)?;
        std::str::from_utf8(text).map_err(|_| bad("a text is not UTF-8"))
    }

    pub(super) fn text(&mut self) -> io::Result<&'a str> {
        let length = self.u32()? as usize;
        self.characters(length)
    }

    /// A value that says what it is; only simple ones are read.
    pub(super) fn variant(&mut self) -> io::Result<Value<'a>> {
        let length = usize::from(self.byte()?);
        Ok(match self.characters(length)? {
            "s" | "o" => Value::Text(self.text()?),
            "g" => {
                let length = usize::from(self.byte()?);
                Value::Text(self.characters(length)?)
            }
            "y" => Value::Number(self.byte()?.into()),
            "b" | "u" | "h" => Value::Number(self.u32()?.into()),
            "i" => Value::Number((self.u32()? as i32).into()),
            "t" => Value::Number(self.u64()? as f64),
            "x" => Value::Number(self.u64()? as i64 as f64),
            other => return Err(bad(&format!("a value of type {other:?} is not read here"))),
        })
    }
}
