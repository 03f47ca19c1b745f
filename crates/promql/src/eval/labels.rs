//! Functions that change labels, and which labels are kept.

use std::collections::HashMap;
use std::sync::Arc;

use model::Labels;
use model::labels::{METRIC_NAME, encode_pair};

use super::error::Error;
use super::matrix::{Grid, Matrix};
use super::{Evaluator, Value, Vector};
use crate::plan::NodeId;

/// Labels that say what a metric is rather than where it is from: its name, type and unit.
pub(super) fn is_metadata(name: &str) -> bool {
    matches!(name, METRIC_NAME | "__type__" | "__unit__")
}

/// `labels` without the metric's name, type and unit.
pub(super) fn without_metadata(labels: &Labels) -> Labels {
    labels.filtered(|name| !is_metadata(name))
}

/// Gives equal label subsets equal numbers, from 0 on, in the order in which they come up.
pub(super) struct Ids {
    names: Vec<String>,
    /// Whether `names` are kept rather than dropped.
    keep: bool,
    /// The metric name is dropped too.
    drop_name: bool,
    known: HashMap<Box<[u8]>, u32>,
    buffer: Vec<u8>,
}

impl Ids {
    /// By the labels `names` alone.
    pub(super) fn by(names: &[String]) -> Self {
        Self::new(names, true, false)
    }

    /// By all labels but `names` and the metric name.
    pub(super) fn without(names: &[String]) -> Self {
        Self::new(names, false, true)
    }

    fn new(names: &[String], keep: bool, drop_name: bool) -> Self {
        Self { names: names.to_vec(), keep, drop_name, known: HashMap::new(), buffer: Vec::new() }
    }

    fn keeps(&self, name: &str) -> bool {
        self.names.iter().any(|n| n == name) == self.keep && !(self.drop_name && name == METRIC_NAME)
    }

    /// The subset of `labels` that counts.
    pub(super) fn subset(&self, labels: &Labels) -> Labels {
        labels.filtered(|name| self.keeps(name))
    }

    /// The number of the subset, and whether it is new.
    pub(super) fn id(&mut self, labels: &Labels) -> (u32, bool) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        if !(self.keep && self.names.is_empty()) {
            for (name, value) in labels.iter() {
                if self.keeps(name) {
                    encode_pair(&mut buffer, name, value);
                }
            }
        }
        let next = self.known.len() as u32;
        let found = match self.known.get(buffer.as_slice()) {
            Some(&id) => (id, false),
            None => {
                self.known.insert(buffer.as_slice().into(), next);
                (next, true)
            }
        };
        self.buffer = buffer;
        found
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}

fn check_name(name: &str, which: &str, function: &str) -> Result<(), Error> {
    // Any text is a label name, but none.
    if name.is_empty() {
        return Err(Error::evaluation(format!("invalid {which} label name in {function}(): {name}")));
    }
    Ok(())
}

impl Evaluator<'_, '_> {
    pub(super) fn label_replace(&mut self, args: &[NodeId], grid: Grid) -> Result<Value, Error> {
        let (target, replacement) = (self.text(args[1])?, self.text(args[2])?);
        let (source, pattern) = (self.text(args[3])?, self.text(args[4])?);
        let invalid =
            || Error::evaluation(format!("invalid regular expression in label_replace(): {pattern}"));
        let regex = model::pattern::Pattern::new(&pattern).map_err(|_| invalid())?;
        check_name(&target, "destination", "label_replace")?;
        self.relabel(args[0], grid, |labels| {
            let value = labels.get(&source).unwrap_or_default();
            let captures = regex.regex().captures(value)?;
            let mut expanded = String::new();
            captures.expand(&replacement, &mut expanded);
            let mut builder = labels.to_builder();
            builder.set(target.as_str(), expanded);
            Some((builder.build(), target == METRIC_NAME))
        })
    }

    pub(super) fn label_join(&mut self, args: &[NodeId], grid: Grid) -> Result<Value, Error> {
        let (target, separator) = (self.text(args[1])?, self.text(args[2])?);
        let sources = args[3..].iter().map(|&arg| self.text(arg)).collect::<Result<Vec<_>, _>>()?;
        for source in &sources {
            check_name(source, "source", "label_join")?;
        }
        check_name(&target, "destination", "label_join")?;
        self.relabel(args[0], grid, |labels| {
            let values: Vec<_> = sources.iter().map(|name| labels.get(name).unwrap_or_default()).collect();
            let mut builder = labels.to_builder();
            builder.set(target.as_str(), values.join(&separator));
            Some((builder.build(), target == METRIC_NAME))
        })
    }

    /// `change` gives the new labels and whether they include a new name, which is to stay; `None` for no change.
    fn relabel(
        &mut self,
        input: NodeId,
        grid: Grid,
        change: impl Fn(&Labels) -> Option<(Labels, bool)>,
    ) -> Result<Value, Error> {
        let vector = self.vector(input)?;
        let mut stream = self.stream(vector, grid);
        let metas = stream.metas.make(self.context, &stream.source);
        for meta in metas.iter_mut() {
            if let Some((labels, named)) = change(&meta.labels) {
                meta.labels = labels;
                meta.drop_name &= !named;
            }
        }
        let mut seen = std::collections::HashSet::with_capacity(metas.len());
        let unique = metas.iter().all(|meta| seen.insert(&meta.labels));
        if unique {
            return Ok(Value::Vector(Vector::Lazy(Arc::new(stream))));
        }
        let matrix = self.collect(Vector::Lazy(Arc::new(stream)), grid)?;
        let merged: Matrix = Arc::unwrap_or_clone(matrix).merge_same_labels()?;
        Ok(Value::Vector(Vector::Ready(Arc::new(merged))))
    }
}
