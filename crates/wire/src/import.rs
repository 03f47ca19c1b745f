//! An exposition that is pushed instead of scraped: its samples as a batch.

use std::borrow::Cow;
use std::collections::BTreeMap;

use model::labels::METRIC_NAME;
use model::{Batch, Exemplar, Labels, Metadata, Timestamp};

use crate::exposition::{Cache, Describe, Format, ParseError, Point, Series, Visitor, read};
use crate::gather::Gather;

/// Decodes a body into `batch`, which is cleared first. `now`: the time of samples without one, in milliseconds. `extra`: labels that every
/// series gets, unless it has a label of that name.
///
/// # Errors
/// The first line that is wrong; the batch is then empty.
pub fn decode(
    format: Format,
    body: &[u8],
    now: i64,
    extra: &[(String, String)],
    gather: &mut Gather,
    batch: &mut Batch,
) -> Result<(), ParseError> {
    gather.begin(batch);
    let mut collect = Collect { now, extra, gather, batch, described: BTreeMap::new() };
    let outcome = read(format, body, &mut Cache::new(0), &mut collect);
    let Collect { gather, batch, described, .. } = collect;
    match outcome {
        Ok(()) => {
            for (name, metadata) in described {
                batch.push_metadata(name, metadata);
            }
            gather.finish(batch);
            Ok(())
        }
        Err(err) => {
            batch.clear();
            Err(err)
        }
    }
}

struct Collect<'w> {
    now: i64,
    extra: &'w [(String, String)],
    gather: &'w mut Gather,
    batch: &'w mut Batch,
    described: BTreeMap<String, Metadata>,
}

impl Visitor for Collect<'_> {
    fn known(&mut self, _: u32, _: &Point<'_>) -> Result<bool, String> {
        Ok(false)
    }

    fn series(&mut self, series: &Series<'_>, point: &Point<'_>) -> Result<u32, String> {
        let name = series.name();
        let labels: Vec<(Cow<'_, str>, Cow<'_, str>)> = series.labels().collect();
        let mut pairs: Vec<(&str, &str)> = vec![(METRIC_NAME, &name)];
        pairs.extend(labels.iter().map(|(n, v)| (&**n, &**v)));
        let own = pairs.len();
        for (name, value) in self.extra {
            if !pairs[..own].iter().any(|(n, _)| n == name) {
                pairs.push((name, value));
            }
        }
        let index = self.gather.series(&mut pairs, self.batch)?;
        let time = point.time.unwrap_or(self.now);
        match &point.histogram {
            Some(histogram) => {
                self.gather.histogram(self.batch, index, time, model::Histogram::clone(histogram));
            }
            None => self.gather.float(self.batch, index, time, point.value),
        }
        if let Some(start) = point.start {
            self.batch.push_start(index, time, start);
        }
        if let Some(exemplar) = point.exemplar {
            let at = Timestamp(exemplar.time.unwrap_or(time));
            let labels = Labels::from_pairs(exemplar.labels());
            self.batch.push_exemplar(index, Exemplar { labels, value: exemplar.value, at });
        }
        Ok(0)
    }

    fn describe(&mut self, family: Cow<'_, str>, what: Describe<'_>) {
        let metadata = self.described.entry(family.into_owned()).or_default();
        match what {
            Describe::Type(kind) => metadata.kind = kind,
            Describe::Help(text) => metadata.help = text.into_owned(),
            Describe::Unit(unit) => metadata.unit = unit.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::show;

    #[test]
    fn a_body_becomes_a_batch() {
        let (mut gather, mut batch) = (Gather::new(1), Batch::new());
        let body = b"# TYPE a counter\n# HELP a b\na{x=\"1\",job=\"own\"} 1 5\na{x=\"2\"} 2\na{x=\"1\",job=\"own\"} 3 4\n";
        let extra = [("job".to_owned(), "j".to_owned())];
        decode(Format::Text004, body, 9, &extra, &mut gather, &mut batch).unwrap();
        assert_eq!(
            show(&batch),
            [
                "a{job=\"own\", x=\"1\"} 3@4",
                "a{job=\"own\", x=\"1\"} 1@5",
                "a{job=\"j\", x=\"2\"} 2@9",
                "# a counter \"b\" \"\"",
            ]
        );
        let err = decode(Format::Text004, b"a 1\nb x\n", 9, &[], &mut gather, &mut batch).unwrap_err();
        assert!(err.line == 2 && batch.is_empty());
    }
}
