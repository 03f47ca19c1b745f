//! `info()`: adds the labels of info metrics, such as `target_info`, to the series of the same job and instance.
//!
//! Source: the Prometheus manual, "info".

use std::collections::HashMap;

use model::labels::METRIC_NAME;
use model::matcher::selects;
use model::{Labels, is_stale};

use super::Evaluator;
use super::error::Error;
use super::labels::Ids;
use super::matrix::{Matrix, Meta, Row, ones};
use super::window::Bounds;
use crate::plan::{InfoNode, Node};

/// The labels that tell which info series belongs to a series.
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// An info series and when its newest sample was scraped, at each step.
struct InfoSeries {
    labels: Labels,
    name: usize,
    times: Vec<Option<i64>>,
}

impl Evaluator<'_, '_> {
    pub(super) fn info(&mut self, info: &InfoNode, node: &Node) -> Result<Matrix, Error> {
        let base = self.matrix(info.input)?;
        let steps = node.grid.count;
        let is_info =
            |labels: &Labels| info.name_matchers.iter().all(|matcher| matcher.matches(labels.metric_name()));
        let identified = |labels: &Labels| IDENTIFYING.iter().any(|name| labels.get(name).is_some());
        let wanted = base.metas.iter().any(|meta| !is_info(&meta.labels) && identified(&meta.labels));

        let mut ids = Ids::by(&IDENTIFYING.map(str::to_owned));
        let mut names: Vec<String> = Vec::new();
        // By identity: the info series, in the order of their metrics' names.
        let mut by_id: HashMap<u32, Vec<InfoSeries>> = HashMap::new();
        if wanted {
            self.read_info(info, node, &mut |labels, times| {
                let name = labels.metric_name().to_owned();
                let at = names.iter().position(|known| *known == name).unwrap_or_else(|| {
                    names.push(name);
                    names.len() - 1
                });
                let (id, _) = ids.id(&labels);
                by_id.entry(id).or_default().push(InfoSeries { labels, name: at, times });
            })?;
        }
        let optional = selects(&info.data_matchers, &Labels::empty());
        let mut result = Matrix::new(steps);
        let mut row = Row::default();
        for (meta, view) in base.rows() {
            if is_info(&meta.labels) {
                result.push(meta.clone(), view);
                continue;
            }
            let candidates = if identified(&meta.labels) {
                by_id.get(&ids.id(&meta.labels).0).map_or(&[][..], Vec::as_slice)
            } else {
                &[]
            };
            // Which info series are current changes rarely: one output row for each set of them.
            let mut outputs: Vec<(Vec<usize>, Vec<u64>)> = Vec::new();
            for step in ones(view.valid) {
                let chosen = current(candidates, names.len(), step)?;
                if chosen.is_empty() && !optional {
                    continue;
                }
                let at = outputs.iter().position(|(known, _)| *known == chosen).unwrap_or_else(|| {
                    outputs.push((chosen, vec![0; view.valid.len()]));
                    outputs.len() - 1
                });
                super::matrix::set_bit(&mut outputs[at].1, step);
            }
            for (chosen, mask) in outputs {
                let labels = enriched(&meta.labels, chosen.iter().map(|&at| &candidates[at].labels), info)?;
                view.copy_to(&mut row);
                row.mask(|word| mask[word]);
                result.push(Meta { labels, drop_name: meta.drop_name }, row.view());
            }
        }
        result.merge_same_labels()
    }

    /// Calls `found` with each info series and the time of its newest sample at each step.
    fn read_info(
        &mut self,
        info: &InfoNode,
        node: &Node,
        found: &mut dyn FnMut(Labels, Vec<Option<i64>>),
    ) -> Result<(), Error> {
        let context = self.context;
        let windows = &info.selector.windows;
        let series = &context.selected[info.selector.select].series;
        let mut samples = model::Samples::default();
        let mut bounds = Bounds::default();
        let mut read = 0;
        for index in 0..series.len() {
            context.check()?;
            samples.clear();
            series.read(index, &mut samples).map_err(Error::Storage)?;
            bounds.fill(&samples.times, &node.grid, windows);
            let mut times = vec![None; node.grid.count];
            for (step, time) in times.iter_mut().enumerate() {
                let (low, high) = (bounds.low[step], bounds.high[step]);
                if low >= high {
                    continue;
                }
                let at = high as usize - 1;
                if let Some(histogram) = samples.histogram(at) {
                    if histogram.is_stale() {
                        continue;
                    }
                    return Err(Error::evaluation(format!(
                        "this should be an info metric, with float samples: {}",
                        series.labels(index)
                    )));
                }
                if !is_stale(samples.values[at]) {
                    *time = Some(samples.times[at]);
                    read += 1;
                }
            }
            if times.iter().any(Option::is_some) {
                found(series.labels(index), times);
            }
        }
        self.count(usize::MAX, read, &[]);
        Ok(())
    }
}

/// Of each info metric the series with the newest sample at `step`.
fn current(candidates: &[InfoSeries], names: usize, step: usize) -> Result<Vec<usize>, Error> {
    let mut newest: Vec<Option<(i64, usize)>> = vec![None; names];
    for (at, candidate) in candidates.iter().enumerate() {
        let Some(time) = candidate.times[step] else { continue };
        let slot = &mut newest[candidate.name];
        match slot {
            Some((known, other)) if *known == time => {
                return Err(Error::evaluation(format!(
                    "found duplicate series for info metric: existing {} @ {time}, new {} @ {time}",
                    candidates[*other].labels, candidate.labels
                )));
            }
            Some((known, _)) if *known > time => {}
            _ => *slot = Some((time, at)),
        }
    }
    Ok(newest.into_iter().flatten().map(|(_, at)| at).collect())
}

/// `base` with the data labels of info series. Labels that it has stay as they are.
fn enriched<'a>(
    base: &Labels,
    infos: impl Iterator<Item = &'a Labels>,
    info: &InfoNode,
) -> Result<Labels, Error> {
    let mut added: Vec<(&str, &str)> = Vec::new();
    for labels in infos {
        for (name, value) in labels.iter() {
            let listed = info.data_matchers.iter().any(|matcher| matcher.name() == name);
            if name == METRIC_NAME || !(info.data_matchers.is_empty() || listed) {
                continue;
            }
            if base.get(name).is_some() {
                continue;
            }
            match added.iter().find(|(known, _)| *known == name) {
                Some((_, other)) if *other != value => {
                    return Err(Error::evaluation(format!("conflicting label: {name}")));
                }
                Some(_) => {}
                None => added.push((name, value)),
            }
        }
    }
    let mut builder = base.to_builder();
    for (name, value) in added {
        builder.set(name, value);
    }
    Ok(builder.build())
}
