//! OpenMetrics text with timestamps, series by series.

use std::borrow::Cow;

use anyhow::bail;
use model::Labels;
use model::labels::METRIC_NAME;
use wire::exposition::{Cache, Describe, Format, Point, Series, Visitor, read as read_body};

/// Hands every sample to `each`: labels, time in milliseconds, value. How many series there were, one that comes back counted once for
/// each place where it does.
///
/// # Errors
/// The first line that is wrong, has no timestamp, or that `each` refuses; what was handed over before it must be given up.
pub(super) fn read(
    text: &[u8],
    each: impl FnMut(&Labels, i64, f64) -> tsdb::Result<()>,
) -> anyhow::Result<u64> {
    let mut found = Found { each, last: None, series: 0, failed: None };
    let outcome = read_body(Format::OpenMetrics100, text, &mut Cache::new(0), &mut found);
    if let Some(err) = found.failed {
        return Err(err.into());
    }
    match outcome {
        Ok(()) => Ok(found.series),
        Err(err) => bail!("{err}"),
    }
}

struct Found<F> {
    each: F,
    last: Option<Labels>,
    series: u64,
    failed: Option<tsdb::Error>,
}

impl<F: FnMut(&Labels, i64, f64) -> tsdb::Result<()>> Visitor for Found<F> {
    fn known(&mut self, _: u32, _: &Point<'_>) -> Result<bool, String> {
        Ok(false)
    }

    fn series(&mut self, series: &Series<'_>, point: &Point<'_>) -> Result<u32, String> {
        let name = series.name();
        let pairs = series.labels().map(|(name, value)| (name.into_owned(), value.into_owned()));
        let labels = Labels::from_pairs(pairs.chain([(METRIC_NAME.to_owned(), name.clone().into_owned())]));
        let Some(time) = point.time else {
            return Err(format!("a sample of {name} has no timestamp; an import needs one on every sample"));
        };
        if self.last.as_ref() != Some(&labels) {
            self.series += 1;
        }
        if let Err(err) = (self.each)(&labels, time, point.value) {
            let text = err.to_string();
            self.failed = Some(err);
            return Err(text);
        }
        self.last = Some(labels);
        Ok(0)
    }

    fn describe(&mut self, _: Cow<'_, str>, _: Describe<'_>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_with_timestamps_are_read() {
        let text = b"# TYPE a counter\na_total{b=\"1\"} 1 1.5\na_total{b=\"1\"} 2 2.5\n# TYPE c gauge\nc -3 4\n# EOF\n";
        let mut seen = Vec::new();
        let series = read(text, |labels, time, value| {
            seen.push(format!("{labels} {time} {value}"));
            Ok(())
        });
        assert_eq!(series.unwrap(), 2);
        assert_eq!(seen, [r#"a_total{b="1"} 1500 1"#, r#"a_total{b="1"} 2500 2"#, "c 4000 -3"]);
        let err = read(b"c 1\n# EOF\n", |_, _, _| Ok(())).err().unwrap().to_string();
        assert!(err.contains("line 1") && err.contains("no timestamp"), "{err}");
    }
}
