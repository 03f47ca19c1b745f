//! Graphite: plaintext lines (`path;tag=value 1.5 1700000000`) and pickled lists of `(path, (time, value))`.
//!
//! A path becomes a metric name, with `_` for `.`; tags become labels. Sources: the Graphite manual, "Feeding in your data" and
//! "Tag support"; the Python manual, "pickle" and "pickletools".

use std::collections::HashMap;
use std::rc::Rc;

use model::Batch;
use model::labels::METRIC_NAME;

use crate::gather::{Gather, Refused, label_name, metric_name};
use crate::number;

/// The label that holds the path as sent while a [`Rewrite`] looks at it.
pub const PATH: &str = "__graphite_path__";

/// Rewrites labels before they are looked up: relabelling rules.
pub trait Rewrite {
    /// `labels` holds the metric's name, the tags and [`PATH`]; `false` drops the sample.
    fn rewrite(&self, labels: &mut Vec<(String, String)>) -> bool;
}

/// Reads whole lines into `batch`, to which it adds. `now`: the time of lines without one, in milliseconds.
pub fn decode_lines(
    body: &[u8],
    now: i64,
    rewrite: Option<&dyn Rewrite>,
    gather: &mut Gather,
    batch: &mut Batch,
) -> Refused {
    let mut refused = Refused::default();
    let mut add = Add { now, rewrite, gather, batch };
    for raw in body.split(|b| *b == b'\n') {
        let raw = raw.trim_ascii();
        if raw.is_empty() {
            continue;
        }
        let outcome = std::str::from_utf8(raw).map_err(|_| "it is not UTF-8".to_owned()).and_then(|line| {
            let mut words = line.split_ascii_whitespace();
            let (Some(path), Some(value)) = (words.next(), words.next()) else {
                return Err("expected a path and a value".to_owned());
            };
            let time = words.next();
            if words.next().is_some() {
                return Err("expected a path, a value and a time, got more".to_owned());
            }
            let value =
                number::parse_float(value.as_bytes()).ok_or_else(|| format!("{value:?} is no number"))?;
            let time = match time {
                None | Some("-1" | "N") => None,
                Some(text) => {
                    Some(number::parse_float(text.as_bytes()).ok_or_else(|| format!("{text:?} is no time"))?)
                }
            };
            add.sample(path, time, value)
        });
        if let Err(reason) = outcome {
            refused.refuse(1, || {
                let shown: String = String::from_utf8_lossy(raw).chars().take(120).collect();
                format!("cannot read the line {shown:?}: {reason}")
            });
        }
    }
    refused
}

/// Reads one pickled message (without its length prefix) into `batch`, to which it adds.
///
/// # Errors
/// In words: the message is no pickle of a list, or one of a kind that could run code.
pub fn decode_pickle(
    body: &[u8],
    now: i64,
    rewrite: Option<&dyn Rewrite>,
    gather: &mut Gather,
    batch: &mut Batch,
) -> Result<Refused, String> {
    let mut refused = Refused::default();
    let mut add = Add { now, rewrite, gather, batch };
    for item in pickle(body)? {
        let outcome = (|| {
            let wrong = || "expected (path, (time, value))".to_owned();
            let [path, point] = item.items().ok_or_else(wrong)? else { return Err(wrong()) };
            let [time, value] = point.items().ok_or_else(wrong)? else { return Err(wrong()) };
            let Item::Text(path) = path else { return Err(wrong()) };
            let value = value.number().ok_or_else(|| format!("the value of {path:?} is no number"))?;
            let time = time.number().ok_or_else(|| format!("the time of {path:?} is no number"))?;
            add.sample(path, Some(time).filter(|t| *t != -1.0), value)
        })();
        if let Err(reason) = outcome {
            refused.refuse(1, || reason);
        }
    }
    Ok(refused)
}

struct Add<'w> {
    now: i64,
    rewrite: Option<&'w dyn Rewrite>,
    gather: &'w mut Gather,
    batch: &'w mut Batch,
}

impl Add<'_> {
    /// `time` in seconds.
    fn sample(&mut self, path: &str, time: Option<f64>, value: f64) -> Result<(), String> {
        let time = match time {
            None => self.now,
            Some(seconds) if seconds.is_finite() && seconds.abs() < 9e15 => (seconds * 1000.0).round() as i64,
            Some(seconds) => return Err(format!("the time {seconds} is out of range")),
        };
        let mut parts = path.split(';');
        let stem = parts.next().unwrap_or_default();
        let mut name = String::with_capacity(stem.len());
        metric_name(&mut name, stem);
        if name.bytes().all(|b| b == b'_') {
            return Err("the path has no name".into());
        }
        let mut labels = vec![(METRIC_NAME.to_owned(), name)];
        for tag in parts {
            let Some((key, value)) =
                tag.split_once('=').filter(|(key, value)| !key.is_empty() && !value.is_empty())
            else {
                return Err(format!("the tag {tag:?} is not name=value"));
            };
            let mut name = String::new();
            label_name(&mut name, key);
            labels.push((name, value.to_owned()));
        }
        if let Some(rewrite) = self.rewrite {
            labels.push((PATH.to_owned(), stem.to_owned()));
            if !rewrite.rewrite(&mut labels) {
                return Ok(());
            }
            labels.retain(|(name, _)| name == METRIC_NAME || !name.starts_with("__"));
        }
        let mut pairs: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let series = self.gather.series(&mut pairs, self.batch)?;
        self.gather.float(self.batch, series, time, value);
        Ok(())
    }
}

/// What a pickle may hold here: no classes, no calls.
#[derive(Clone, Debug)]
enum Item {
    Text(Rc<str>),
    Number(f64),
    /// Items, and how deep they are nested.
    List(Rc<Vec<Item>>, u8),
    /// A list while it is built.
    Open(Vec<Item>),
    Nothing,
    Mark,
}

/// Lists in lists may go this deep; samples need three.
const MAX_DEPTH: u8 = 6;

impl Item {
    fn items(&self) -> Option<&[Item]> {
        match self {
            Self::List(items, _) => Some(items),
            Self::Open(items) => Some(items),
            _ => None,
        }
    }

    fn depth(&self) -> u8 {
        match self {
            Self::List(_, depth) => *depth,
            Self::Open(items) => items.iter().map(Self::depth).max().unwrap_or(0) + 1,
            _ => 0,
        }
    }

    fn number(&self) -> Option<f64> {
        match self {
            Self::Number(value) => Some(*value),
            Self::Text(text) => number::parse_float(text.as_bytes()),
            _ => None,
        }
    }
}

struct Machine<'a> {
    rest: &'a [u8],
    stack: Vec<Item>,
    memo: HashMap<u32, Item>,
}

/// Runs a pickle whose result is a list; its items.
fn pickle(body: &[u8]) -> Result<Vec<Item>, String> {
    let mut machine = Machine { rest: body, stack: Vec::new(), memo: HashMap::new() };
    loop {
        let [op] = machine.array::<1>()?;
        if op == b'.' {
            break;
        }
        machine.step(op)?;
    }
    match machine.stack.pop() {
        Some(Item::Open(items)) => Ok(items),
        Some(Item::List(items, _)) => Ok(Rc::unwrap_or_clone(items)),
        _ => Err("the pickle holds no list".into()),
    }
}

impl<'a> Machine<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or("the pickle is cut off")?;
        self.rest = rest;
        Ok(*head)
    }

    fn bytes(&mut self, len: usize) -> Result<&'a [u8], String> {
        let (head, rest) = self.rest.split_at_checked(len).ok_or("a text is longer than the pickle")?;
        self.rest = rest;
        Ok(head)
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let end = memchr::memchr(b'\n', self.rest).ok_or("a line in the pickle does not end")?;
        let line = self.bytes(end)?;
        self.rest = &self.rest[1..];
        std::str::from_utf8(line).map_err(|_| "a text in the pickle is not UTF-8".into())
    }

    fn text(&mut self, len: usize) -> Result<(), String> {
        let bytes = self.bytes(len)?;
        let text = std::str::from_utf8(bytes).map_err(|_| "a text in the pickle is not UTF-8")?;
        self.stack.push(Item::Text(text.into()));
        Ok(())
    }

    fn number(&mut self, value: f64) {
        self.stack.push(Item::Number(value));
    }

    fn pop(&mut self) -> Result<Item, String> {
        self.stack.pop().ok_or_else(|| "the pickle takes what is not there".to_owned())
    }

    /// The items after the last mark, which goes too.
    fn marked(&mut self) -> Result<Vec<Item>, String> {
        let at = self
            .stack
            .iter()
            .rposition(|item| matches!(item, Item::Mark))
            .ok_or("the pickle lacks a mark")?;
        let items = self.stack.split_off(at + 1);
        self.stack.pop();
        Ok(items)
    }

    fn close(&mut self, items: Vec<Item>) -> Result<(), String> {
        let depth = items.iter().map(Item::depth).max().unwrap_or(0) + 1;
        if depth > MAX_DEPTH {
            return Err("lists in the pickle are nested too deep".into());
        }
        self.stack.push(Item::List(Rc::new(items), depth));
        Ok(())
    }

    fn tuple(&mut self, len: usize) -> Result<(), String> {
        let at = self.stack.len().checked_sub(len).ok_or("the pickle takes what is not there")?;
        let items = self.stack.split_off(at);
        self.close(items)
    }

    fn put(&mut self, key: u32) -> Result<(), String> {
        // A list that is still built cannot be shared here; nobody refers to it again.
        let item = match self.stack.last() {
            Some(Item::Open(_)) => Item::Nothing,
            Some(item) => item.clone(),
            None => return Err("the pickle stores what is not there".into()),
        };
        self.memo.insert(key, item);
        Ok(())
    }

    fn get(&mut self, key: u32) -> Result<(), String> {
        let item = self.memo.get(&key).ok_or("the pickle fetches what was not stored")?;
        self.stack.push(item.clone());
        Ok(())
    }

    fn append(&mut self, items: Vec<Item>) -> Result<(), String> {
        match self.stack.last_mut() {
            Some(Item::Open(list)) => {
                list.extend(items);
                Ok(())
            }
            _ => Err("the pickle appends to what is no list".into()),
        }
    }

    fn step(&mut self, op: u8) -> Result<(), String> {
        match op {
            0x80 => drop(self.array::<1>()?),
            0x95 => drop(self.array::<8>()?),
            b'(' => self.stack.push(Item::Mark),
            b']' => self.stack.push(Item::Open(Vec::new())),
            b'l' => {
                let items = self.marked()?;
                self.stack.push(Item::Open(items));
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.marked()?;
                self.append(items)?;
            }
            b')' => self.close(Vec::new())?,
            b't' => {
                let items = self.marked()?;
                self.close(items)?;
            }
            0x85..=0x87 => self.tuple(usize::from(op - 0x84))?,
            b'q' => {
                let [key] = self.array()?;
                self.put(u32::from(key))?;
            }
            b'r' => {
                let key = u32::from_le_bytes(self.array()?);
                self.put(key)?;
            }
            b'p' => {
                let key = self.line()?.parse().map_err(|_| "a bad key in the pickle")?;
                self.put(key)?;
            }
            0x94 => self.put(self.memo.len() as u32)?,
            b'h' => {
                let [key] = self.array()?;
                self.get(u32::from(key))?;
            }
            b'j' => {
                let key = u32::from_le_bytes(self.array()?);
                self.get(key)?;
            }
            b'g' => {
                let key = self.line()?.parse().map_err(|_| "a bad key in the pickle")?;
                self.get(key)?;
            }
            b'U' | b'C' | 0x8c => {
                let [len] = self.array()?;
                self.text(usize::from(len))?;
            }
            b'T' | b'B' | b'X' => {
                let len = u32::from_le_bytes(self.array()?);
                self.text(len as usize)?;
            }
            0x8d | 0x8e => {
                let len = u64::from_le_bytes(self.array()?);
                self.text(usize::try_from(len).map_err(|_| "a text is longer than the pickle")?)?;
            }
            b'S' => {
                let line = self.line()?;
                let quoted = line.strip_prefix(['\'', '"']).and_then(|l| l.strip_suffix(['\'', '"']));
                let text = quoted.ok_or("a text in the pickle has no quotes")?;
                if text.contains('\\') {
                    return Err("a text in the pickle has escapes".into());
                }
                self.stack.push(Item::Text(text.into()));
            }
            b'V' => {
                let line = self.line()?;
                self.stack.push(Item::Text(line.into()));
            }
            b'J' => {
                let value = i32::from_le_bytes(self.array()?);
                self.number(f64::from(value));
            }
            b'K' => {
                let [value] = self.array()?;
                self.number(f64::from(value));
            }
            b'M' => {
                let value = u16::from_le_bytes(self.array()?);
                self.number(f64::from(value));
            }
            b'G' => {
                let value = f64::from_be_bytes(self.array()?);
                self.number(value);
            }
            b'I' | b'L' | b'F' => {
                let line = self.line()?;
                let digits = line.strip_suffix('L').unwrap_or(line);
                let value = number::parse_float(digits.as_bytes()).ok_or("a bad number in the pickle")?;
                self.number(value);
            }
            0x8a => {
                let [len] = self.array()?;
                let bytes = self.bytes(usize::from(len))?;
                if bytes.len() > 16 {
                    return Err("an integer in the pickle is too long".into());
                }
                let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
                let mut full = [if negative { 0xff } else { 0 }; 16];
                full[..bytes.len()].copy_from_slice(bytes);
                self.number(i128::from_le_bytes(full) as f64);
            }
            b'N' => self.stack.push(Item::Nothing),
            0x88 => self.number(1.0),
            0x89 => self.number(0.0),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.marked()?),
            b'2' => {
                let item = self.stack.last().cloned().ok_or("the pickle copies what is not there")?;
                if matches!(item, Item::Open(_)) {
                    return Err("the pickle copies a list".into());
                }
                self.stack.push(item);
            }
            other => {
                return Err(format!(
                    "the pickle has the instruction {other:#04x}, which is not allowed here"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::show;
    use proptest::prelude::*;

    #[test]
    fn lines_with_and_without_tags_and_times() {
        let (mut gather, mut batch) = (Gather::new(1), Batch::new());
        gather.begin(&mut batch);
        let body =
            b"servers.web-1.cpu 1.5 1700000000\r\ndisk;host=a;dev=sda1 2 1700000000.25\nnow 3\nnow2 4 -1\n\n\
                     bad\nbad x 1\nbad 1 y\nbad;t 1 1\n. 1 1\na 1 2 3\n\xff 1 1\n";
        let refused = decode_lines(body, 9, None, &mut gather, &mut batch);
        gather.finish(&mut batch);
        assert_eq!(
            show(&batch),
            [
                "servers_web_1_cpu 1.5@1700000000000",
                "disk{dev=\"sda1\", host=\"a\"} 2@1700000000250",
                "now 3@9",
                "now2 4@9",
            ]
        );
        assert_eq!(refused.count, 7);
    }

    fn unpickle(body: &[u8]) -> Result<(Vec<String>, Refused), String> {
        let (mut gather, mut batch) = (Gather::new(1), Batch::new());
        gather.begin(&mut batch);
        let refused = decode_pickle(body, 9, None, &mut gather, &mut batch)?;
        gather.finish(&mut batch);
        Ok((show(&batch), refused))
    }

    #[test]
    fn pickles_of_protocol_0_2_and_4() {
        // pickle.dumps([("a.b", (1700000000, 1.5)), ("a.b", (1700000001, 2))], protocol=…)
        let zero = b"(lp0\n(Va.b\np1\n(I1700000000\nF1.5\ntp2\ntp3\na(g1\n(I1700000001\nI2\ntp4\ntp5\na.";
        let two = b"\x80\x02]q\x00(X\x03\x00\x00\x00a.bq\x01J\x00\xf1SeG?\xf8\x00\x00\x00\x00\x00\x00\x86q\x02\x86q\x03h\x01J\x01\xf1SeK\x02\x86q\x04\x86q\x05e.";
        let four = b"\x80\x04\x95+\x00\x00\x00\x00\x00\x00\x00]\x94(\x8c\x03a.b\x94J\x00\xf1SeG?\xf8\x00\x00\x00\x00\x00\x00\x86\x94\x86\x94h\x01J\x01\xf1SeK\x02\x86\x94\x86\x94e.";
        for body in [&zero[..], two, four] {
            let (shown, refused) = unpickle(body).unwrap();
            assert_eq!(shown, ["a_b 1.5@1700000000000", "a_b 2@1700000001000"]);
            assert_eq!(refused.count, 0);
        }
    }

    #[test]
    fn a_pickle_that_would_run_code_is_refused() {
        // cos\nsystem\n(S'true'\ntR.
        let err = unpickle(b"cos\nsystem\n(S'true'\ntR.").unwrap_err();
        assert!(err.contains("0x63"), "{err}");
        let mut deep = b"]N".to_vec();
        deep.extend(std::iter::repeat_n(0x85, 100_000));
        deep.extend_from_slice(b"a.");
        assert!(unpickle(&deep).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            unpickle(&body).ok();
            decode_lines(&body, 0, None, &mut Gather::new(1), &mut Batch::new());
        }

        #[test]
        fn no_program_panics(body in proptest::collection::vec(proptest::sample::select(b"(]lae)t\x85\x86qhKN012.\x94\x01\x00".to_vec()), 0..60)) {
            unpickle(&body).ok();
        }
    }
}
