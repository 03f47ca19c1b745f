//! NUT's network protocol, as far as reading needs it. Source: Network UPS Tools, "Network protocol information" (RFC 9271).

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long the server may take for anything.
const PATIENCE: Duration = Duration::from_millis(500);
/// Supplies, variables of one, and bytes of an answer that are read.
const MAX_SUPPLIES: usize = 64;
const MAX_VARIABLES: usize = 512;
const MAX_BYTES: u64 = 256 << 10;

/// A supply: its name and its variables.
pub(super) type Supply = (String, Vec<(String, String)>);

/// Every supply of a server.
pub(super) fn ask(address: &str) -> io::Result<Vec<Supply>> {
    let address =
        address.to_socket_addrs()?.next().ok_or_else(|| io::Error::other("the name has no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut lines = BufReader::new(stream.try_clone()?.take(MAX_BYTES));
    let mut supplies = Vec::new();
    for row in list(&mut stream, &mut lines, "UPS")?.into_iter().take(MAX_SUPPLIES) {
        let Some(name) = row.first().cloned() else { continue };
        let rows = list(&mut stream, &mut lines, &format!("VAR {name}"))?;
        let variables = rows.into_iter().take(MAX_VARIABLES).filter_map(|row| match row.as_slice() {
            [_, variable, value] => Some((variable.clone(), value.clone())),
            _ => None,
        });
        supplies.push((name, variables.collect()));
    }
    drop(stream.write_all(b"LOGOUT\n"));
    Ok(supplies)
}

/// `LIST what`: the words after the first of every line between BEGIN and END.
fn list(out: &mut impl Write, lines: &mut impl BufRead, what: &str) -> io::Result<Vec<Vec<String>>> {
    out.write_all(format!("LIST {what}\n").as_bytes())?;
    let mut rows = Vec::new();
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut words = split(line.trim_end());
        match words.first().map(String::as_str) {
            Some("BEGIN") => {}
            Some("END") => return Ok(rows),
            Some("ERR") => return Err(io::Error::other(words.join(" "))),
            Some(_) => rows.push(words.split_off(1)),
            None => {}
        }
    }
}

/// Words, some of them in quotes, with `\"` and `\\` inside.
fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut chars = line.chars().peekable();
    while let Some(&c) = chars.peek() {
        if c == ' ' {
            chars.next();
        } else if c == '"' {
            chars.next();
            let mut word = String::new();
            while let Some(c) = chars.next() {
                match c {
                    '"' => break,
                    '\\' => word.extend(chars.next()),
                    c => word.push(c),
                }
            }
            words.push(word);
        } else {
            let mut word = String::new();
            while let Some(c) = chars.next_if(|c| *c != ' ') {
                word.push(c);
            }
            words.push(word);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_quotes_are_one() {
        assert_eq!(split(r#"VAR ups ups.mfr "A \"B\" \\ C""#), ["VAR", "ups", "ups.mfr", r#"A "B" \ C"#]);
        assert_eq!(split(r#"UPS x """#), ["UPS", "x", ""]);
        assert_eq!(split(""), Vec::<String>::new());
    }
}
