//! Operators between scalars and vectors.
//!
//! Series of two vectors are matched once, by dense ids of the labels that count; the operator then runs over whole
//! columns.

use std::collections::HashMap;
use std::sync::Arc;

use model::Labels;

use super::element::{Element, arithmetic, comparison, element};
use super::error::Error;
use super::labels::{Ids, is_metadata};
use super::matrix::{Cell, Grid, Matrix, Meta, Row, RowView, bit, ones, words};
use super::{Evaluator, Scalar, Value, Vector, is_scalar, map_scalar};
use crate::ast::{BinaryOp, Cardinality, VectorMatching};
use crate::plan::{Node, NodeId};

/// Whether the result is another metric than the left side.
fn changes_metric(op: BinaryOp) -> bool {
    use BinaryOp as B;
    matches!(op, B::Add | B::Sub | B::Mul | B::Div | B::Mod | B::Pow | B::Atan2)
}

impl Evaluator<'_, '_> {
    pub(super) fn binary(
        &mut self,
        op: BinaryOp,
        left: NodeId,
        right: NodeId,
        return_bool: bool,
        matching: Option<&VectorMatching>,
        node: &Node,
    ) -> Result<Value, Error> {
        match (is_scalar(self.node_of(left)), is_scalar(self.node_of(right))) {
            (true, true) => {
                let (a, b) = (self.scalar(left)?, self.scalar(right)?);
                scalars(op, &a, &b, node.grid).map(Value::Scalar)
            }
            (false, true) => {
                let scalar = self.scalar(right)?;
                let vector = self.vector(left)?;
                self.with_scalar(op, vector, scalar, false, return_bool, node)
            }
            (true, false) => {
                let scalar = self.scalar(left)?;
                let vector = self.vector(right)?;
                self.with_scalar(op, vector, scalar, true, return_bool, node)
            }
            (false, false) => {
                let default = VectorMatching::default();
                let matching = matching.unwrap_or(&default);
                let (left, right) = (self.matrix(left)?, self.matrix(right)?);
                self.context.check()?;
                let result = if op.is_set() {
                    set(op, &left, &right, matching)?
                } else {
                    self.vectors(op, &left, &right, return_bool, matching, node)?
                };
                Ok(Value::Vector(Vector::Ready(Arc::new(result))))
            }
        }
    }

    fn with_scalar(
        &mut self,
        op: BinaryOp,
        vector: Vector,
        scalar: Scalar,
        scalar_is_left: bool,
        return_bool: bool,
        node: &Node,
    ) -> Result<Value, Error> {
        let span = node.span;
        let drops_name = changes_metric(op) || return_bool;
        self.stage(vector, node.grid, drops_name, move |row, annotations| {
            if row.histograms.is_empty() {
                if let Some(f) = arithmetic(op) {
                    apply(
                        row,
                        &scalar,
                        |value, scalar| if scalar_is_left { f(scalar, value) } else { f(value, scalar) },
                    );
                    return;
                }
                if let Some(test) = comparison(op) {
                    for step in 0..row.values.len() {
                        let (value, scalar) = (row.values[step], scalar.at(step));
                        let holds = if scalar_is_left { test(scalar, value) } else { test(value, scalar) };
                        if return_bool {
                            row.values[step] = f64::from(u8::from(holds));
                        } else if !holds {
                            super::matrix::clear_bit(&mut row.valid, step);
                        }
                    }
                    return;
                }
            }
            let old = std::mem::take(row);
            row.reset(old.values.len());
            for step in ones(&old.valid) {
                let Some(cell) = old.view().get(step) else { continue };
                let scalar = Cell::Float(scalar.at(step));
                let (a, b) = if scalar_is_left { (scalar, cell) } else { (cell, scalar) };
                let result = element(op, a, b, &mut |message| annotations.add(message, span));
                // A comparison keeps the vector's sample, whichever side it is on.
                put(row, step, cell, result, return_bool);
            }
        })
    }

    fn vectors(
        &mut self,
        op: BinaryOp,
        left: &Matrix,
        right: &Matrix,
        return_bool: bool,
        matching: &VectorMatching,
        node: &Node,
    ) -> Result<Matrix, Error> {
        let swapped = matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped { (right, left) } else { (left, right) };
        let steps = node.grid.count;
        let mut ids = matching_ids(matching);
        let many_ids: Vec<u32> = many.metas.iter().map(|meta| ids.id(&meta.labels).0).collect();
        let one_ids: Vec<u32> = one.metas.iter().map(|meta| ids.id(&meta.labels).0).collect();
        let groups = ids.len();

        let mut one_of: Vec<Vec<usize>> = vec![Vec::new(); groups];
        for (row, &id) in one_ids.iter().enumerate() {
            one_of[id as usize].push(row);
        }
        let any_many = union(many.rows().map(|(_, row)| row), steps);
        let filled = matching.fill_left.is_some() || matching.fill_right.is_some();
        for rows in one_of.iter().filter(|rows| rows.len() > 1) {
            check_unique(one, rows, &any_many, filled, &ids, matching, swapped)?;
        }

        // Samples of the "one" side without a partner make series of their own where they are filled.
        let most = many.len() + if filled { one.len() } else { 0 };
        let mut result = Matrix::new(steps);
        result.hold = self.context.reserve(Matrix::bytes(most, steps))?;
        let mut output = Output {
            op,
            return_bool,
            matching,
            swapped,
            grid: node.grid,
            steps,
            result,
            matched: vec![Vec::new(); groups],
            taken: HashMap::new(),
            metas: HashMap::new(),
        };
        for (row, &id) in many_ids.iter().enumerate() {
            let (many_meta, many_row) = (&many.metas[row], many.row(row));
            let candidates = &one_of[id as usize];
            for &candidate in candidates {
                let both: Vec<u64> = zip_bits(many_row.valid, one.row(candidate).valid, |a, b| a & b);
                self.pair(
                    &mut output,
                    id,
                    (many_meta, Side::Row(many_row)),
                    (&one.metas[candidate], Side::Row(one.row(candidate))),
                    &both,
                    node,
                )?;
            }
            if let Some(fill) = matching.fill_right {
                let present = union(candidates.iter().map(|&row| one.row(row)), steps);
                let missing = zip_bits(many_row.valid, &present, |a, b| a & !b);
                let meta = Meta { labels: ids.subset(&many_meta.labels), drop_name: false };
                self.pair(
                    &mut output,
                    id,
                    (many_meta, Side::Row(many_row)),
                    (&meta, Side::Fill(fill)),
                    &missing,
                    node,
                )?;
            }
        }
        if let Some(fill) = matching.fill_left {
            for (row, &id) in one_ids.iter().enumerate() {
                let (one_meta, one_row) = (&one.metas[row], one.row(row));
                let missing = match output.matched[id as usize].as_slice() {
                    [] => one_row.valid.to_vec(),
                    matched => zip_bits(one_row.valid, matched, |a, b| a & !b),
                };
                let meta = Meta { labels: ids.subset(&one_meta.labels), drop_name: false };
                self.pair(
                    &mut output,
                    id,
                    (&meta, Side::Fill(fill)),
                    (one_meta, Side::Row(one_row)),
                    &missing,
                    node,
                )?;
            }
        }
        output.result.merge_same_labels()
    }

    /// Combines a series of the "many" side with one of the "one" side at the steps `at`.
    fn pair(
        &mut self,
        output: &mut Output<'_>,
        id: u32,
        (many_meta, many): (&Meta, Side<'_>),
        (one_meta, one): (&Meta, Side<'_>),
        at: &[u64],
        node: &Node,
    ) -> Result<(), Error> {
        if at.iter().all(|&word| word == 0) {
            return Ok(());
        }
        let key = (many_meta.labels.clone(), one_meta.labels.clone());
        let matching = output.matching;
        let labels = match output.metas.get(&key) {
            Some(labels) => labels.clone(),
            None => {
                let labels = result_labels(&key.0, &key.1, output.op, matching);
                output.metas.insert(key, labels.clone());
                labels
            }
        };
        output.claim(id, &labels, at)?;

        let mut meta = Meta { labels, drop_name: false };
        if output.return_bool {
            self.drop_name(&mut meta);
        }
        let (left, right) = if output.swapped { (one, many) } else { (many, one) };
        let mut row = Row::default();
        row.reset(output.steps);
        if left.histograms().is_empty() && right.histograms().is_empty() {
            floats(output.op, output.return_bool, left, right, at, &mut row);
        }
        if !left.histograms().is_empty()
            || !right.histograms().is_empty()
            || (arithmetic(output.op).is_none() && comparison(output.op).is_none())
        {
            for step in ones(at) {
                let (Some(a), Some(b)) = (left.get(step), right.get(step)) else { continue };
                let span = node.span;
                let result = element(output.op, a, b, &mut |message| self.annotations.add(message, span));
                put(&mut row, step, a, result, output.return_bool);
            }
        }
        output.result.push(meta, row.view());
        Ok(())
    }
}

/// One side of a pair.
#[derive(Clone, Copy)]
enum Side<'a> {
    Row(RowView<'a>),
    /// The same float at every step.
    Fill(f64),
}

impl<'a> Side<'a> {
    fn get(&self, step: usize) -> Option<Cell<'a>> {
        match self {
            Self::Row(row) => row.get(step),
            Self::Fill(value) => Some(Cell::Float(*value)),
        }
    }

    fn histograms(&self) -> &'a [(u32, Arc<model::Histogram>)] {
        match self {
            Self::Row(row) => row.histograms,
            Self::Fill(_) => &[],
        }
    }

    #[inline]
    fn float(&self, step: usize) -> f64 {
        match self {
            Self::Row(row) => row.values[step],
            Self::Fill(value) => *value,
        }
    }
}

/// An operator over columns of floats.
fn floats(op: BinaryOp, return_bool: bool, left: Side<'_>, right: Side<'_>, at: &[u64], row: &mut Row) {
    if let Some(f) = arithmetic(op) {
        if let (Side::Row(a), Side::Row(b)) = (left, right) {
            for ((out, &a), &b) in row.values.iter_mut().zip(a.values).zip(b.values) {
                *out = f(a, b);
            }
        } else {
            for (step, out) in row.values.iter_mut().enumerate() {
                *out = f(left.float(step), right.float(step));
            }
        }
        row.valid.copy_from_slice(at);
    } else if let Some(test) = comparison(op) {
        for step in ones(at) {
            let holds = test(left.float(step), right.float(step));
            if return_bool {
                row.set(step, f64::from(u8::from(holds)));
            } else if holds {
                row.set(step, left.float(step));
            }
        }
    }
}

/// Stores an operator's result; a comparison that holds keeps `kept`.
fn put(row: &mut Row, step: usize, kept: Cell<'_>, result: Element, return_bool: bool) {
    let result = match result {
        Element::Nothing => return,
        Element::Test(holds) if return_bool => Element::Float(f64::from(u8::from(holds))),
        Element::Test(false) => return,
        Element::Test(true) => match kept {
            Cell::Float(value) => Element::Float(value),
            Cell::Histogram(histogram) => Element::Histogram(Arc::clone(histogram)),
        },
        other => other,
    };
    match result {
        Element::Float(value) => row.set(step, value),
        Element::Histogram(histogram) => row.set_histogram(step, histogram),
        Element::Nothing | Element::Test(_) => {}
    }
}

#[inline]
fn apply(row: &mut Row, scalar: &Scalar, f: impl Fn(f64, f64) -> f64) {
    match scalar {
        Scalar::Same(scalar) => row.values.iter_mut().for_each(|value| *value = f(*value, *scalar)),
        Scalar::Each(scalars) => {
            row.values.iter_mut().zip(scalars.iter()).for_each(|(value, scalar)| *value = f(*value, *scalar));
        }
    }
}

fn scalars(op: BinaryOp, a: &Scalar, b: &Scalar, grid: Grid) -> Result<Scalar, Error> {
    let f = |a: f64, b: f64| match (arithmetic(op), comparison(op)) {
        (Some(f), _) => f(a, b),
        (None, Some(test)) => f64::from(u8::from(test(a, b))),
        (None, None) => f64::NAN,
    };
    if arithmetic(op).is_none() && comparison(op).is_none() {
        return Err(Error::evaluation(format!("operator \"{op}\" not allowed for Scalar operations")));
    }
    Ok(match (a, b) {
        (Scalar::Same(a), Scalar::Same(b)) => Scalar::Same(f(*a, *b)),
        (Scalar::Same(a), b) => map_scalar(b, |b| f(*a, b)),
        (a, Scalar::Same(b)) => map_scalar(a, |a| f(a, *b)),
        _ => Scalar::Each(Arc::new((0..grid.count).map(|step| f(a.at(step), b.at(step))).collect())),
    })
}

fn matching_ids(matching: &VectorMatching) -> Ids {
    if matching.on { Ids::by(&matching.labels) } else { Ids::without(&matching.labels) }
}

fn zip_bits(a: &[u64], b: &[u64], f: impl Fn(u64, u64) -> u64) -> Vec<u64> {
    a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect()
}

/// The steps at which any of `rows` has a sample.
fn union<'a>(rows: impl Iterator<Item = RowView<'a>>, steps: usize) -> Vec<u64> {
    let mut all = vec![0; words(steps)];
    for row in rows {
        all.iter_mut().zip(row.valid).for_each(|(all, more)| *all |= more);
    }
    all
}

/// `and`, `or`, `unless`
fn set(op: BinaryOp, left: &Matrix, right: &Matrix, matching: &VectorMatching) -> Result<Matrix, Error> {
    let steps = left.steps;
    let mut ids = matching_ids(matching);
    let left_ids: Vec<u32> = left.metas.iter().map(|meta| ids.id(&meta.labels).0).collect();
    let right_ids: Vec<u32> = right.metas.iter().map(|meta| ids.id(&meta.labels).0).collect();
    let words = words(steps);
    // Of the side that decides: at which steps each group has a sample.
    let mut present = vec![0u64; ids.len() * words];
    let (deciding, deciding_ids) = if op == BinaryOp::Or { (left, &left_ids) } else { (right, &right_ids) };
    for ((_, row), &id) in deciding.rows().zip(deciding_ids) {
        let group = &mut present[id as usize * words..][..words];
        group.iter_mut().zip(row.valid).for_each(|(all, more)| *all |= more);
    }
    let mut result = Matrix::new(steps);
    let mut row = Row::default();
    let mut keep = |matrix: &Matrix, ids: &[u32], invert: bool| {
        for (index, &id) in ids.iter().enumerate() {
            matrix.row(index).copy_to(&mut row);
            let group = &present[id as usize * words..][..words];
            row.mask(|word| if invert { !group[word] } else { group[word] });
            result.push(matrix.metas[index].clone(), row.view());
        }
    };
    match op {
        BinaryOp::And => keep(left, &left_ids, false),
        BinaryOp::Unless => keep(left, &left_ids, true),
        _ => {
            // The left side is present wherever it has a sample.
            keep(left, &left_ids, false);
            keep(right, &right_ids, true);
            return if steps > 1 { result.merge_same_labels() } else { Ok(result) };
        }
    }
    Ok(result)
}

/// The "one" side must have one series only for each group, at every step at which it is looked at.
fn check_unique(
    one: &Matrix,
    rows: &[usize],
    any_many: &[u64],
    filled: bool,
    ids: &Ids,
    matching: &VectorMatching,
    swapped: bool,
) -> Result<(), Error> {
    let mut seen = vec![0u64; any_many.len()];
    for (at, &row) in rows.iter().enumerate() {
        let valid = one.row(row).valid;
        for word in 0..seen.len() {
            let looked_at = if filled { u64::MAX } else { any_many[word] };
            let twice = seen[word] & valid[word] & looked_at;
            if twice != 0 {
                let step = word * 64 + twice.trailing_zeros() as usize;
                let first = rows[..at].iter().copied().find(|&row| bit(one.row(row).valid, step));
                let labels = |row: usize| &one.metas[row].labels;
                let mut pair = [labels(row), labels(first.unwrap_or(row))];
                pair.sort();
                let group = if matching.on {
                    ids.subset(labels(row))
                } else {
                    labels(row).filtered(|name| {
                        name != model::labels::METRIC_NAME && !matching.labels.iter().any(|n| n == name)
                    })
                };
                return Err(Error::evaluation(format!(
                    "found duplicate series for the match group {} on the {} hand-side of the operation: \
                     [{}, {}];many-to-many matching not allowed: matching labels must be unique on one side",
                    braced(&group),
                    if swapped { "left" } else { "right" },
                    braced(pair[0]),
                    braced(pair[1]),
                )));
            }
            seen[word] |= valid[word];
        }
    }
    Ok(())
}

/// Labels with the name inside the braces.
fn braced(labels: &Labels) -> String {
    let pairs: Vec<_> =
        labels.iter().map(|(name, value)| format!("{name}={}", model::labels::Quoted(value))).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// The labels of a result: those of the "many" side, reduced to what was matched for one-to-one.
fn result_labels(many: &Labels, one: &Labels, op: BinaryOp, matching: &VectorMatching) -> Labels {
    let one_to_one = matching.cardinality == Cardinality::OneToOne;
    let listed = |name: &str| matching.labels.iter().any(|n| n == name);
    let base = many.filtered(|name| {
        !(changes_metric(op) && is_metadata(name)) && (!one_to_one || listed(name) == matching.on)
    });
    if matching.include.is_empty() {
        return base;
    }
    let mut builder = base.to_builder();
    for name in &matching.include {
        match one.get(name) {
            Some(value) => builder.set(name.as_str(), value),
            None => builder.remove(name),
        };
    }
    builder.build()
}

/// A vector operation's result so far.
struct Output<'m> {
    op: BinaryOp,
    return_bool: bool,
    matching: &'m VectorMatching,
    /// The "one" side is the left one.
    swapped: bool,
    #[expect(dead_code, reason = "kept for error messages that name the step")]
    grid: Grid,
    steps: usize,
    result: Matrix,
    /// Steps at which each group has matched.
    matched: Vec<Vec<u64>>,
    /// Steps at which a group's result labels are taken.
    taken: HashMap<(u32, Labels), Vec<u64>>,
    /// Result labels by the labels of both sides.
    metas: HashMap<(Labels, Labels), Labels>,
}

impl Output<'_> {
    /// Notes that group `id` has results with `labels` at the steps `at`; an error if it has them already.
    fn claim(&mut self, id: u32, labels: &Labels, at: &[u64]) -> Result<(), Error> {
        let matched = &mut self.matched[id as usize];
        matched.resize(at.len(), 0);
        if self.matching.cardinality == Cardinality::OneToOne {
            if matched.iter().zip(at).any(|(&a, &b)| a & b != 0) {
                return Err(Error::evaluation(
                    "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)",
                ));
            }
        } else {
            let taken = self.taken.entry((id, labels.clone())).or_insert_with(|| vec![0; at.len()]);
            if taken.iter().zip(at).any(|(&a, &b)| a & b != 0) {
                return Err(Error::evaluation(
                    "multiple matches for labels: grouping labels must ensure unique matches",
                ));
            }
            taken.iter_mut().zip(at).for_each(|(taken, at)| *taken |= at);
        }
        matched.iter_mut().zip(at).for_each(|(matched, at)| *matched |= at);
        Ok(())
    }
}
