//! `sort` and its kin. Range queries are sorted by labels in the end, so that only instant queries keep the order.

use std::cmp::Ordering;
use std::sync::Arc;

use super::error::Error;
use super::matrix::{Matrix, Row};
use super::{Evaluator, Value, Vector};
use crate::annotations::Message;
use crate::functions::FunctionId;
use crate::plan::{Node, NodeId};

impl Evaluator<'_, '_> {
    pub(super) fn sort(
        &mut self,
        function: FunctionId,
        args: &[NodeId],
        node: &Node,
    ) -> Result<Value, Error> {
        let by_value = matches!(function, FunctionId::Sort | FunctionId::SortDesc);
        let descending = matches!(function, FunctionId::SortDesc | FunctionId::SortByLabelDesc);
        if !self.context.plan.instant {
            self.annotations.add(Message::SortInRangeQuery, node.span);
        }
        let names = args[1..].iter().map(|&arg| self.text(arg)).collect::<Result<Vec<_>, _>>()?;
        let matrix = self.matrix(args[0])?;
        let mut order: Vec<usize> = (0..matrix.len()).collect();
        if by_value && node.grid.count == 1 {
            order.sort_by(|&a, &b| {
                let (a, b) = (matrix.row(a).values[0], matrix.row(b).values[0]);
                // NaN comes last either way.
                match (a.is_nan(), b.is_nan()) {
                    (false, false) if descending => b.total_cmp(&a),
                    (false, false) => a.total_cmp(&b),
                    (a, b) => a.cmp(&b),
                }
            });
        } else if !by_value {
            order.sort_by(|&a, &b| {
                let (a, b) = (&matrix.metas[a].labels, &matrix.metas[b].labels);
                let get =
                    |labels: &model::Labels, name: &str| labels.get(name).unwrap_or_default().to_owned();
                let by_labels = names
                    .iter()
                    .map(|name| natural_order(&get(a, name), &get(b, name)))
                    .find(|order| order.is_ne())
                    .unwrap_or_else(|| a.cmp(b));
                if descending { by_labels.reverse() } else { by_labels }
            });
        }
        let mut sorted = Matrix::new(matrix.steps);
        sorted.reserve(matrix.len());
        let mut row = Row::default();
        for index in order {
            matrix.row(index).copy_to(&mut row);
            if by_value {
                row.drop_histograms();
            }
            sorted.push(matrix.metas[index].clone(), row.view());
        }
        Ok(Value::Vector(Vector::Ready(Arc::new(sorted))))
    }
}

/// Runs of digits compare as numbers: `a2` before `a10`.
pub(super) fn natural_order(a: &str, b: &str) -> Ordering {
    let (mut a_rest, mut b_rest) = (chunks(a), chunks(b));
    loop {
        let (a_chunk, b_chunk) = match (a_rest.next(), b_rest.next()) {
            (None, None) => return a.cmp(b),
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => (a, b),
        };
        let number = |chunk: &str| chunk.starts_with(|c: char| c.is_ascii_digit());
        let order = if number(a_chunk) && number(b_chunk) {
            let (a, b) = (a_chunk.trim_start_matches('0'), b_chunk.trim_start_matches('0'));
            a.len().cmp(&b.len()).then_with(|| a.cmp(b)).then_with(|| b_chunk.len().cmp(&a_chunk.len()))
        } else {
            a_chunk.cmp(b_chunk)
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// Runs of digits and of anything else.
fn chunks(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let digit = rest.chars().next()?.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != digit).unwrap_or(rest.len());
        let (chunk, tail) = rest.split_at(end);
        rest = tail;
        Some(chunk)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_within_texts_compare_as_numbers() {
        let mut texts = ["a10", "a2", "a", "b1", "a02", "10", "9", ""];
        texts.sort_by(|a, b| natural_order(a, b));
        assert_eq!(texts, ["", "9", "10", "a", "a02", "a2", "a10", "b1"]);
    }
}
