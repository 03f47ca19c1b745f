//! A body as families: for sources within the process that speak text, such as a metrics registry.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use model::{Family, Labels, Metadata, MetricType};

use super::{Cache, Describe, Format, ParseError, Point, Series, Visitor};

#[derive(Default)]
struct Collect {
    described: BTreeMap<String, Metadata>,
    families: Vec<Family>,
    by_name: HashMap<String, usize>,
}

impl Visitor for Collect {
    fn known(&mut self, _: u32, _: &Point<'_>) -> Result<bool, String> {
        Ok(false)
    }

    fn series(&mut self, series: &Series<'_>, point: &Point<'_>) -> Result<u32, String> {
        let name = series.name();
        let at = match self.by_name.get(&*name) {
            Some(at) => *at,
            None => {
                let family = Family {
                    name: name.clone().into_owned(),
                    metadata: Metadata::default(),
                    samples: Vec::new(),
                };
                self.families.push(family);
                self.by_name.insert(name.into_owned(), self.families.len() - 1);
                self.families.len() - 1
            }
        };
        self.families[at].samples.push((Labels::from_pairs(series.labels()), point.value));
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

/// Reads a body into families. The series of a histogram or summary are families of their own (`x_bucket`, `x_sum`,
/// `x_count`) without metadata, beside the described family `x`, which then has no samples. Timestamps, exemplars and native
/// histograms are left out.
///
/// # Errors
/// The first line that is wrong.
pub fn families(format: Format, body: &[u8]) -> Result<Vec<Family>, ParseError> {
    let mut collect = Collect::default();
    super::read(format, body, &mut Cache::new(0), &mut collect)?;
    let Collect { described, mut families, by_name } = collect;
    for (stem, metadata) in described {
        let total = format!("{stem}_total");
        let name = match metadata.kind {
            MetricType::Counter if by_name.contains_key(&total) => total,
            _ => stem,
        };
        match by_name.get(&name) {
            Some(at) => families[*at].metadata = metadata,
            None => families.push(Family { name, metadata, samples: Vec::new() }),
        }
    }
    Ok(families)
}
