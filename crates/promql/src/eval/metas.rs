//! The labels of a stream's series: those of a selector are made only for what asks for them.

use std::collections::HashSet;

use model::Labels;
use model::labels::METRIC_NAME;
use model::seam::Grouped;

use super::Context;
use super::labels::{Ids, is_metadata, without_metadata};
use super::matrix::{Matrix, Meta};
use super::stream::Source;

/// What becomes of the metric name, and of type and unit with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// It stays.
    Kept,
    /// It is not there any more.
    Dropped,
    /// It goes once the query is done.
    DroppedLater,
}

/// Labels of all series of a stream.
#[derive(Clone)]
pub(crate) enum Metas {
    /// Made already.
    Known(Vec<Meta>),
    /// Those that the stream's selector found: how many, and what became of their names.
    Selected(usize, Name),
}

impl Metas {
    /// How many series.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Known(metas) => metas.len(),
            Self::Selected(len, _) => *len,
        }
    }

    /// Labels of series `index` of a stream of `source`.
    pub(crate) fn get(&self, context: &Context<'_>, source: &Source, index: usize) -> Meta {
        match self {
            Self::Known(metas) => metas[index].clone(),
            Self::Selected(_, name) => {
                let labels = source.labels(context, index);
                match name {
                    Name::Kept => Meta { labels, drop_name: false },
                    Name::Dropped => Meta { labels: without_metadata(&labels), drop_name: false },
                    Name::DroppedLater => Meta { labels, drop_name: true },
                }
            }
        }
    }

    /// The labels alone.
    pub(crate) fn labels(&self, context: &Context<'_>, source: &Source, index: usize) -> Labels {
        self.get(context, source, index).labels
    }

    /// Whether the name of series `index` goes once the query is done.
    pub(crate) fn drops_name(&self, index: usize) -> bool {
        match self {
            Self::Known(metas) => metas[index].drop_name,
            Self::Selected(_, name) => *name == Name::DroppedLater,
        }
    }

    /// Makes the labels of all series.
    pub(crate) fn make(&mut self, context: &Context<'_>, source: &Source) -> &mut Vec<Meta> {
        if let Self::Selected(len, _) = self {
            let all = (0..*len).map(|index| self.get(context, source, index)).collect();
            *self = Self::Known(all);
        }
        match self {
            Self::Known(metas) => metas,
            Self::Selected(..) => unreachable!("made just now"),
        }
    }

    /// Bytes of labels that were made for the series of `matrix`.
    pub(crate) fn new_bytes(&self, matrix: &Matrix) -> u64 {
        match self {
            Self::Known(_) => 0,
            Self::Selected(..) => {
                matrix.metas.iter().map(|meta| meta.labels.as_encoded().len() as u64 + 16).sum()
            }
        }
    }

    /// The series by the labels `names`, or by all others and not the metric name.
    pub(crate) fn group(
        &self,
        context: &Context<'_>,
        source: &Source,
        names: &[String],
        without: bool,
    ) -> Grouped {
        match (self, source) {
            (Self::Selected(_, became), Source::Select(select)) => {
                let keep = |name: &str| {
                    names.iter().any(|n| n == name) != without
                        && !(without && name == METRIC_NAME)
                        && !(*became == Name::Dropped && is_metadata(name))
                };
                context.selected[*select].series.group(&keep)
            }
            _ => {
                let mut ids = if without { Ids::without(names) } else { Ids::by(names) };
                let mut grouped = Grouped::default();
                for index in 0..self.len() {
                    let labels = self.labels(context, source, index);
                    let (id, new) = ids.id(&labels);
                    if new {
                        grouped.labels.push(ids.subset(&labels));
                    }
                    grouped.ids.push(id);
                }
                grouped
            }
        }
    }

    /// Whether two series have the same labels.
    pub(crate) fn clash(&mut self, context: &Context<'_>, source: &Source) -> bool {
        if matches!(self, Self::Selected(..)) && source.common_metadata(context).is_some() {
            // Where names, types and units are equal, the other labels tell the series apart.
            return false;
        }
        let metas = self.make(context, source);
        let mut seen = HashSet::with_capacity(metas.len());
        metas.iter().any(|meta| !seen.insert(&meta.labels))
    }
}
