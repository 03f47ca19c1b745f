//! Lines that belong together.

use regex::Regex;

/// Joins lines to entries: an entry begins with a line that matches.
#[derive(Debug)]
pub(crate) struct Joiner {
    start: Option<Regex>,
    max_lines: usize,
    max_bytes: usize,
    pending: String,
    lines: usize,
}

impl Joiner {
    /// `start` empty: every line is an entry.
    ///
    /// # Errors
    /// `start` is no regular expression.
    pub(crate) fn new(start: &str, max_lines: usize, max_bytes: usize) -> Result<Self, String> {
        let start = match start {
            "" => None,
            pattern => Some(Regex::new(pattern).map_err(|err| format!("multiline.start: {err}"))?),
        };
        Ok(Self { start, max_lines: max_lines.max(1), max_bytes, pending: String::new(), lines: 0 })
    }

    /// Takes a line; the entry that it ends.
    pub(crate) fn push(&mut self, line: String) -> Option<String> {
        let Some(start) = &self.start else { return Some(line) };
        let full = self.lines >= self.max_lines || self.pending.len() + line.len() > self.max_bytes;
        let ended = if self.lines > 0 && (full || start.is_match(&line)) { self.flush() } else { None };
        if self.lines > 0 {
            self.pending.push('\n');
        }
        self.pending.push_str(&line);
        self.lines += 1;
        ended
    }

    /// The entry that has not ended, as nothing more comes.
    pub(crate) fn flush(&mut self) -> Option<String> {
        let any = std::mem::take(&mut self.lines) > 0;
        any.then(|| std::mem::take(&mut self.pending))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_are_one_entry() {
        let mut joiner = Joiner::new(r"^\d", 3, 1000).unwrap();
        let mut out = Vec::new();
        for line in ["1 a", " at x", " at y", " at z", "2 b", "3 c"] {
            out.extend(joiner.push(line.to_owned()));
        }
        out.extend(joiner.flush());
        assert_eq!(out, ["1 a\n at x\n at y", " at z", "2 b", "3 c"]);
        assert!(joiner.flush().is_none());
        assert_eq!(Joiner::new("", 1, 1).unwrap().push("x".into()), Some("x".into()));
    }
}
