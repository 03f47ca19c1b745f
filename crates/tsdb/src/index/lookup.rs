//! Matchers to series ids; label names, values and statistics.
//!
//! Literals, alternations, prefixes, `.+` and `.*` never run an automaton. Other patterns run over the label's values once
//! and are remembered; when other matchers have left few series, only these series' values are tested.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use model::Matcher;
use model::matcher::MatchOp;
use parking_lot::Mutex;
use roaring::RoaringBitmap;

use super::dictionary::{Dictionary, Extent, Name, utf8};
use super::{NameStats, PairStats, postings};
use crate::chunk::CorruptChunk;

/// Remembered answers of patterns, by label name and pattern.
const MAX_REMEMBERED: usize = 64;
/// Patterns over fewer values are cheaper to run than to remember.
const MIN_REMEMBERED_VALUES: u32 = 256;

/// The index of an open block.
#[derive(Debug)]
pub(crate) struct Index {
    dictionary: Dictionary,
    postings: Bytes,
    series: u32,
    remembered: Mutex<HashMap<(String, String), Arc<RoaringBitmap>>>,
}

/// The pair ids of a series, appended to the vector.
pub(crate) type PairsOf<'a> = &'a dyn Fn(u32, &mut Vec<u32>) -> Result<(), CorruptChunk>;

impl Index {
    /// From the index sections of a block of `series` series.
    pub(crate) fn new(
        names: &[u8],
        dictionary: Bytes,
        restarts: Bytes,
        postings: Bytes,
        series: u32,
    ) -> Result<Self, CorruptChunk> {
        let dictionary = Dictionary::new(names, dictionary, restarts, postings.len())?;
        Ok(Self { dictionary, postings, series, remembered: Mutex::default() })
    }

    /// The pairs.
    pub(crate) fn dictionary(&self) -> &Dictionary {
        &self.dictionary
    }

    fn read(&self, extent: Extent) -> Result<RoaringBitmap, CorruptChunk> {
        let bytes = extent
            .offset
            .checked_add(extent.len)
            .and_then(|end| self.postings.get(extent.offset..end))
            .ok_or(CorruptChunk("postings lie outside their section"))?;
        postings::decode(bytes, self.series)
    }

    fn all(&self) -> RoaringBitmap {
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.series);
        all
    }

    /// The ids of the series that pass every matcher.
    pub(crate) fn select(
        &self,
        matchers: &[Matcher],
        pairs_of: PairsOf<'_>,
    ) -> Result<RoaringBitmap, CorruptChunk> {
        let mut found: Option<RoaringBitmap> = None;
        let mut without = Vec::new();
        // Cheap matchers first: what they leave decides how the others run. A matcher for series that lack the label is
        // subtracted in the end, from as little as possible.
        let mut order: Vec<&Matcher> = matchers.iter().collect();
        order.sort_by_key(|m| (is_scan(m), m.matches_empty()));
        for matcher in order {
            if found.as_ref().is_some_and(RoaringBitmap::is_empty) {
                break;
            }
            if let Some(few) = &found
                && is_scan(matcher)
                && let Some(name) = self.dictionary.name(matcher.name())
                && few.len() * 4 < u64::from(name.values)
            {
                found = Some(self.test_each(few, matcher, name, pairs_of)?);
                continue;
            }
            let (ids, subtract) = self.of(matcher)?;
            match (&mut found, subtract) {
                (_, true) => without.push(ids),
                (Some(found), false) => *found &= &*ids,
                (None, false) => found = Some(Arc::unwrap_or_clone(ids)),
            }
        }
        let mut found = found.unwrap_or_else(|| self.all());
        for ids in without {
            found -= &*ids;
        }
        Ok(found)
    }

    /// The series to keep, or with `true` the series to remove.
    fn of(&self, matcher: &Matcher) -> Result<(Arc<RoaringBitmap>, bool), CorruptChunk> {
        let subtract = matcher.matches_empty();
        let none = Arc::new(RoaringBitmap::new());
        let Some(name) = self.dictionary.name(matcher.name()) else {
            return Ok((none, subtract));
        };
        let one = |value: &str| -> Result<RoaringBitmap, CorruptChunk> {
            match self.dictionary.find(name, value)? {
                Some(entry) => self.read(entry.postings),
                None => Ok(RoaringBitmap::new()),
            }
        };
        let whole = || self.read(name.postings);
        let ids = match (matcher.op(), matcher.pattern()) {
            // `=""` removes, `!=""` keeps, whatever has the label.
            (MatchOp::Equal | MatchOp::NotEqual, _) | (_, None) => {
                if matcher.value().is_empty() {
                    whole()?
                } else {
                    one(matcher.value())?
                }
            }
            (op, Some(pattern)) => {
                // `=~` that matches "" removes the values that do not match; `!~` is the reverse.
                let keep_matching = (op == MatchOp::Regex) != subtract;
                if pattern.matches_everything() || pattern.matches_any_but_empty() {
                    if keep_matching { whole()? } else { RoaringBitmap::new() }
                } else if let (Some(set), true) = (pattern.as_set(), keep_matching) {
                    let mut ids = RoaringBitmap::new();
                    for value in set.iter().filter(|v| !v.is_empty()) {
                        ids |= one(value)?;
                    }
                    ids
                } else {
                    return Ok((self.scan(name, matcher, subtract)?, subtract));
                }
            }
        };
        Ok((Arc::new(ids), subtract))
    }

    /// Runs a pattern over the values of `name`: the series with a value that passes the matcher, or, with `subtract`, that
    /// does not.
    fn scan(
        &self,
        name: &Name,
        matcher: &Matcher,
        subtract: bool,
    ) -> Result<Arc<RoaringBitmap>, CorruptChunk> {
        let key = (name.name.clone(), format!("{}{}", matcher.op().as_str(), matcher.value()));
        if let Some(ids) = self.remembered.lock().get(&key) {
            return Ok(Arc::clone(ids));
        }
        let mut ids = RoaringBitmap::new();
        // Only values that match can be wanted when the matcher is positive and refuses "".
        let prefix = match (matcher.op(), matcher.pattern()) {
            (MatchOp::Regex, Some(pattern)) if !subtract => pattern.prefix(),
            _ => "",
        };
        self.dictionary.each(name, prefix, |value, entry| {
            if matcher.matches(value) != subtract {
                ids |= self.read(entry.postings)?;
            }
            Ok(true)
        })?;
        let ids = Arc::new(ids);
        if name.values >= MIN_REMEMBERED_VALUES {
            let mut remembered = self.remembered.lock();
            if remembered.len() >= MAX_REMEMBERED {
                remembered.clear();
            }
            remembered.insert(key, Arc::clone(&ids));
        }
        Ok(ids)
    }

    /// Tests the value that each of a few series has.
    fn test_each(
        &self,
        few: &RoaringBitmap,
        matcher: &Matcher,
        name: &Name,
        pairs_of: PairsOf<'_>,
    ) -> Result<RoaringBitmap, CorruptChunk> {
        let (mut pairs, mut value) = (Vec::new(), Vec::new());
        let mut answers: HashMap<u32, bool> = HashMap::new();
        let empty = matcher.matches_empty();
        let mut left = RoaringBitmap::new();
        for id in few {
            pairs.clear();
            pairs_of(id, &mut pairs)?;
            let pair = pairs.iter().copied().find(|p| (name.first..name.first + name.values).contains(p));
            let passes = match pair {
                None => empty,
                Some(pair) => match answers.get(&pair) {
                    Some(&answer) => answer,
                    None => {
                        self.dictionary.pair(pair, &mut value)?;
                        let answer = matcher.matches(utf8(&value)?);
                        answers.insert(pair, answer);
                        answer
                    }
                },
            };
            if passes {
                left.insert(id);
            }
        }
        Ok(left)
    }

    /// Label names of the series in `within` (`None`: of all), sorted.
    pub(crate) fn label_names(&self, within: Option<&RoaringBitmap>) -> Result<Vec<String>, CorruptChunk> {
        let mut names = Vec::new();
        for name in self.dictionary.names() {
            let has = match within {
                None => true,
                Some(within) => !self.read(name.postings)?.is_disjoint(within),
            };
            if has {
                names.push(name.name.clone());
            }
        }
        Ok(names)
    }

    /// The values of label `name` in the series in `within` (`None`: in all), sorted.
    pub(crate) fn label_values(
        &self,
        name: &str,
        within: Option<&RoaringBitmap>,
        pairs_of: PairsOf<'_>,
    ) -> Result<Vec<String>, CorruptChunk> {
        let Some(name) = self.dictionary.name(name) else { return Ok(Vec::new()) };
        let mut values = Vec::new();
        match within {
            Some(few) if few.len() < u64::from(name.values) => {
                let mut found = RoaringBitmap::new();
                let mut pairs = Vec::new();
                for id in few {
                    pairs.clear();
                    pairs_of(id, &mut pairs)?;
                    found.extend(
                        pairs.iter().copied().filter(|p| (name.first..name.first + name.values).contains(p)),
                    );
                }
                let mut value = Vec::new();
                for pair in found {
                    self.dictionary.pair(pair, &mut value)?;
                    values.push(utf8(&value)?.to_owned());
                }
            }
            _ => self.dictionary.each(name, "", |value, entry| {
                let has = match within {
                    None => true,
                    Some(within) => !self.read(entry.postings)?.is_disjoint(within),
                };
                if has {
                    values.push(value.to_owned());
                }
                Ok(true)
            })?,
        }
        Ok(values)
    }

    /// Every label name with its numbers of values and series, in order of names.
    pub(crate) fn name_stats(&self) -> Vec<NameStats> {
        let stats = |n: &Name| NameStats {
            name: n.name.clone(),
            values: u64::from(n.values),
            series: u64::from(n.series),
        };
        self.dictionary.names().iter().map(stats).collect()
    }

    /// The `limit` pairs with the most series (of label `name`, `None`: of all), most first.
    pub(crate) fn top_pairs(&self, name: Option<&str>, limit: usize) -> Result<Vec<PairStats>, CorruptChunk> {
        let mut top: Vec<PairStats> = Vec::new();
        for n in self.dictionary.names().iter().filter(|n| name.is_none_or(|name| n.name == name)) {
            self.dictionary.each(n, "", |value, entry| {
                let series = u64::from(entry.series);
                if top.len() < limit || top.last().is_some_and(|last| last.series < series) {
                    let at = top.partition_point(|t| t.series >= series);
                    top.insert(at, PairStats { name: n.name.clone(), value: value.to_owned(), series });
                    top.truncate(limit);
                }
                Ok(true)
            })?;
        }
        Ok(top)
    }

    /// Reads everything once.
    pub(crate) fn verify(&self) -> Result<(), CorruptChunk> {
        for name in self.dictionary.names() {
            if self.read(name.postings)?.len() != u64::from(name.series) {
                return Err(CorruptChunk("a label name's postings have another length than the name says"));
            }
            self.dictionary.each(name, "", |_, entry| {
                if self.read(entry.postings)?.len() == u64::from(entry.series) {
                    Ok(true)
                } else {
                    Err(CorruptChunk("a pair's postings have another length than the dictionary says"))
                }
            })?;
        }
        Ok(())
    }
}

/// Whether the matcher must look at many values.
fn is_scan(matcher: &Matcher) -> bool {
    let Some(pattern) = matcher.pattern() else { return false };
    if pattern.matches_everything() || pattern.matches_any_but_empty() {
        return false;
    }
    let keep_matching = (matcher.op() == MatchOp::Regex) != matcher.matches_empty();
    !(keep_matching && pattern.as_set().is_some())
}
