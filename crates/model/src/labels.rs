//! Label sets.
//!
//! A [`Labels`] is one shared allocation: for each label, sorted by name, `varint(len) name varint(len) value`.
//! That encoding is canonical (equal sets have equal bytes), so hashing and equality are over the bytes. Empty values are
//! never stored: a label with an empty value is the same as no label.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// The label that holds a series' metric name.
pub const METRIC_NAME: &str = "__name__";

/// An immutable, sorted label set without duplicate names or empty values. Cheap to clone.
#[derive(Clone, PartialEq, Eq)]
pub struct Labels(Arc<[u8]>);

impl Labels {
    /// The empty set.
    pub fn empty() -> Self {
        Self::default()
    }

    /// From pairs in any order; the last of two equal names wins, empty values are dropped.
    pub fn from_pairs<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut builder = LabelsBuilder::default();
        for (name, value) in pairs {
            builder.set(name, value);
        }
        builder.build()
    }

    /// From bytes that [`encode_pair`] wrote, in ascending order of names.
    ///
    /// Returns `None` unless the bytes are canonical: well-formed, UTF-8, sorted, no duplicate, no empty value.
    pub fn from_encoded(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let mut last: Option<&[u8]> = None;
        while !rest.is_empty() {
            let name = take(&mut rest)?;
            let value = take(&mut rest)?;
            if value.is_empty() || last.is_some_and(|last| last >= name) {
                return None;
            }
            std::str::from_utf8(name).ok()?;
            std::str::from_utf8(value).ok()?;
            last = Some(name);
        }
        Some(Self(bytes.into()))
    }

    /// From bytes that are known to be canonical: texts of pairs that were checked when they were stored, ascending by name.
    ///
    /// Other bytes make a set whose use panics.
    pub fn from_canonical(bytes: &[u8]) -> Self {
        debug_assert!(Self::from_encoded(bytes).is_some(), "the bytes are not canonical");
        Self(bytes.into())
    }

    /// The pairs as bytes: to copy them, nobody need know that they are text.
    pub fn iter_bytes(&self) -> Raw<'_> {
        Raw { rest: self.as_encoded() }
    }

    /// The canonical encoding; see the module's documentation.
    pub fn as_encoded(&self) -> &[u8] {
        &self.0
    }

    /// The value of `name`, `None` when the set lacks it.
    pub fn get(&self, name: &str) -> Option<&str> {
        // Names ascend.
        let (_, value) =
            self.raw().find(|(n, _)| *n >= name.as_bytes()).filter(|(n, _)| *n == name.as_bytes())?;
        Some(text(value))
    }

    /// The metric name, `""` when there is none.
    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME).unwrap_or_default()
    }

    /// The pairs, ascending by name.
    pub fn iter(&self) -> Iter<'_> {
        Iter { rest: Raw { rest: &self.0 } }
    }

    /// The pairs as bytes: to compare them, nobody need know that they are text.
    fn raw(&self) -> Raw<'_> {
        Raw { rest: &self.0 }
    }

    /// How many labels.
    pub fn len(&self) -> usize {
        self.raw().count()
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A builder that starts from this set.
    pub fn to_builder(&self) -> LabelsBuilder {
        LabelsBuilder { pairs: self.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect() }
    }

    /// This set without the metric name.
    pub fn without_name(&self) -> Self {
        self.filtered(|name| name != METRIC_NAME)
    }

    /// The labels whose names `keep` accepts.
    pub fn filtered(&self, mut keep: impl FnMut(&str) -> bool) -> Self {
        let mut bytes = Vec::with_capacity(self.0.len());
        for (name, value) in self.iter() {
            if keep(name) {
                encode_pair(&mut bytes, name, value);
            }
        }
        if bytes.len() == self.0.len() { self.clone() } else { Self(bytes.into()) }
    }

    /// FNV-1a over `name 0xff value 0xff …`, as Prometheus and Alertmanager show it in their APIs.
    pub fn fingerprint(&self) -> u64 {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        let mut add = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        for (name, value) in self.raw() {
            name.iter().copied().for_each(&mut add);
            add(0xff);
            value.iter().copied().for_each(&mut add);
            add(0xff);
        }
        hash
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self(Arc::from([]))
    }
}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    /// By name, then value, pair by pair; a prefix sorts first. The order of Prometheus' `labels.Compare`.
    fn cmp(&self, other: &Self) -> Ordering {
        self.raw().cmp(other.raw())
    }
}

impl fmt::Display for Labels {
    /// `name{a="b"}`; names that are not legacy names are quoted inside the braces.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.metric_name();
        let bare = is_legacy_metric_name(name);
        if bare {
            f.write_str(name)?;
        }
        let quoted_name = !name.is_empty() && !bare;
        if bare && self.len() == 1 {
            return Ok(());
        }
        f.write_str("{")?;
        let mut first = true;
        if quoted_name {
            write!(f, "{}", Quoted(name))?;
            first = false;
        }
        for (n, v) in self.iter().filter(|(n, _)| *n != METRIC_NAME) {
            if !first {
                f.write_str(", ")?;
            }
            first = false;
            if is_legacy_label_name(n) {
                write!(f, "{n}={}", Quoted(v))?;
            } else {
                write!(f, "{}={}", Quoted(n), Quoted(v))?;
            }
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = Iter<'a>;
    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl serde::Serialize for Labels {
    /// A map, in the order of names.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> serde::Deserialize<'de> for Labels {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = std::collections::BTreeMap::<String, String>::deserialize(deserializer)?;
        Ok(Self::from_pairs(map))
    }
}

impl schemars::JsonSchema for Labels {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Labels".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        std::collections::BTreeMap::<String, String>::json_schema(generator)
    }
}

/// Pairs of a [`Labels`], ascending by name.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    rest: Raw<'a>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);
    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = self.rest.next()?;
        Some((text(name), text(value)))
    }
}

/// Pairs of a [`Labels`] as bytes, ascending by name.
#[derive(Clone, Debug)]
pub struct Raw<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Raw<'a> {
    type Item = (&'a [u8], &'a [u8]);
    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let mut bytes = || take(&mut self.rest).expect("the encoding was checked when the set was built");
        Some((bytes(), bytes()))
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("the encoding was checked when the set was built")
}

/// Iterates the pairs of bytes that [`encode_pair`] wrote, without building a set.
///
/// The bytes must be canonical, as in a batch's arena; else the iterator panics.
pub fn iter_encoded(bytes: &[u8]) -> Iter<'_> {
    Iter { rest: Raw { rest: bytes } }
}

/// Appends one pair in the canonical encoding. Call in ascending order of names, never with an empty value.
pub fn encode_pair(out: &mut Vec<u8>, name: &str, value: &str) {
    for text in [name, value] {
        let mut len = text.len();
        while len >= 0x80 {
            out.push(len as u8 | 0x80);
            len >>= 7;
        }
        out.push(len as u8);
        out.extend_from_slice(text.as_bytes());
    }
}

/// Takes one length-prefixed text off the front.
fn take<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let mut len = 0usize;
    let mut shift = 0;
    loop {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        len |= usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            // One way only to write each length.
            if byte == 0 && shift > 0 {
                return None;
            }
            break;
        }
        shift += 7;
        if shift > 28 {
            return None;
        }
    }
    let text = rest.get(..len)?;
    *rest = rest.get(len..)?;
    Some(text)
}

/// Builds or edits a label set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelsBuilder {
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// Sets `name`, replacing an earlier value; an empty value removes it.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) -> &mut Self {
        let (name, value) = (name.into(), value.into());
        match self.pairs.iter_mut().find(|(n, _)| *n == name) {
            Some(pair) => pair.1 = value,
            None => self.pairs.push((name, value)),
        }
        self
    }

    /// Removes `name`.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.pairs.retain(|(n, _)| n != name);
        self
    }

    /// Removes every label whose name `keep` refuses.
    pub fn retain(&mut self, mut keep: impl FnMut(&str) -> bool) -> &mut Self {
        self.pairs.retain(|(n, _)| keep(n));
        self
    }

    /// The value of `name`, `""` when there is none.
    pub fn get(&self, name: &str) -> &str {
        self.pairs.iter().find_map(|(n, v)| (n == name).then_some(v.as_str())).unwrap_or_default()
    }

    /// The pairs with a value, in the order in which they were set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().filter(|(_, v)| !v.is_empty()).map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// The label set.
    pub fn build(&self) -> Labels {
        let mut pairs: Vec<(&str, &str)> = self.iter().collect();
        pairs.sort_unstable();
        let mut bytes = Vec::with_capacity(pairs.iter().map(|(n, v)| n.len() + v.len() + 2).sum());
        for (name, value) in pairs {
            encode_pair(&mut bytes, name, value);
        }
        Labels(bytes.into())
    }
}

/// `[a-zA-Z_:][a-zA-Z0-9_:]*`
pub fn is_legacy_metric_name(name: &str) -> bool {
    legacy(name, true)
}

/// `[a-zA-Z_][a-zA-Z0-9_]*`
pub fn is_legacy_label_name(name: &str) -> bool {
    legacy(name, false)
}

fn legacy(name: &str, colon: bool) -> bool {
    !name.is_empty()
        && !name.as_bytes()[0].is_ascii_digit()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || (colon && b == b':'))
}

/// A text in double quotes, escaped as Go's `strconv.Quote` does for printable UTF-8.
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' => f.write_str("\\\"")?,
                '\\' => f.write_str("\\\\")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                '\x07' => f.write_str("\\a")?,
                '\x08' => f.write_str("\\b")?,
                '\x0b' => f.write_str("\\v")?,
                '\x0c' => f.write_str("\\f")?,
                c if (c as u32) < 0x20 || c as u32 == 0x7f => write!(f, "\\x{:02x}", c as u32)?,
                c => write!(f, "{c}")?,
            }
        }
        f.write_str("\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_sorted_unique_and_without_empty_values() {
        let labels = Labels::from_pairs([("b", "2"), ("__name__", "up"), ("a", "x"), ("c", ""), ("a", "1")]);
        assert_eq!(labels.to_string(), r#"up{a="1", b="2"}"#);
        assert_eq!(labels.get("b"), Some("2"));
        assert_eq!(labels.get("c"), None);
        assert_eq!(Labels::from_encoded(labels.as_encoded()), Some(labels.clone()));
        assert_eq!(labels.to_builder().build(), labels);
    }

    #[test]
    fn only_canonical_bytes_are_accepted() {
        let encode = |pairs: &[(&str, &str)]| {
            let mut bytes = Vec::new();
            pairs.iter().for_each(|(n, v)| encode_pair(&mut bytes, n, v));
            bytes
        };
        assert!(Labels::from_encoded(&encode(&[("a", "1"), ("b", "2")])).is_some());
        for bad in [&[("b", "1"), ("a", "2")][..], &[("a", "1"), ("a", "2")], &[("a", "")]] {
            assert!(Labels::from_encoded(&encode(bad)).is_none(), "{bad:?}");
        }
        assert!(Labels::from_encoded(&[1, b'a']).is_none());
        assert!(Labels::from_encoded(&[0x81, 0, b'a', 1, b'b']).is_none());
        assert!(Labels::from_encoded(&[1, 0xff, 1, b'b']).is_none());
    }

    #[test]
    fn long_values_survive() {
        let long = "x".repeat(70_000);
        let labels = Labels::from_pairs([("a", long.clone())]);
        assert_eq!(labels.get("a"), Some(long.as_str()));
        assert!(Labels::from_encoded(labels.as_encoded()).is_some());
    }

    #[test]
    fn the_fingerprint_is_alertmanagers() {
        // The empty set's fingerprint is FNV-1a's offset basis.
        assert_eq!(Labels::empty().fingerprint(), 0xcbf2_9ce4_8422_2325);
        assert_ne!(
            Labels::from_pairs([("a", "bc")]).fingerprint(),
            Labels::from_pairs([("ab", "c")]).fingerprint()
        );
    }

    #[test]
    fn utf8_names_are_quoted() {
        let labels = Labels::from_pairs([("__name__", "my.metric"), ("a.b", "c\n")]);
        assert_eq!(labels.to_string(), r#"{"my.metric", "a.b"="c\n"}"#);
    }

    #[test]
    fn order_is_by_pairs_not_by_bytes() {
        let short = Labels::from_pairs([("a", "z")]);
        let long = Labels::from_pairs([("a", "aaaaaaaaaaaa")]);
        assert!(long < short);
        assert!(Labels::empty() < long);
    }
}
