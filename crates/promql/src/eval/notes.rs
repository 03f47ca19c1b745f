//! What came up in the ranges of a series, and the annotations that become of it.

use crate::annotations::{Annotations, Message, Operation};
use crate::ast::Span;
use crate::histogram as hist;

/// What came up while a series was evaluated; a set of bits, so that noting something costs nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notes(u32);

impl Notes {
    pub(crate) const MIXED_FLOATS: u32 = 1;
    pub(crate) const NOT_COUNTER: u32 = 1 << 1;
    pub(crate) const NOT_GAUGE: u32 = 1 << 2;
    pub(crate) const MIXED_SCHEMAS: u32 = 1 << 3;
    pub(crate) const RECONCILED_ADD: u32 = 1 << 4;
    pub(crate) const RECONCILED_SUB: u32 = 1 << 5;
    pub(crate) const RECONCILED_AGGREGATION: u32 = 1 << 6;
    pub(crate) const RESET_COLLISION: u32 = 1 << 7;
    pub(crate) const HISTOGRAMS_IGNORED: u32 = 1 << 8;
    pub(crate) const START_OVERLAP: u32 = 1 << 9;

    pub(crate) fn add(&mut self, note: u32) {
        self.0 |= note;
    }

    pub(super) fn reconciled(&mut self, combined: hist::Combined, note: u32) {
        if combined.reconciled {
            self.add(note);
        }
    }

    /// Turns the bits into messages about `metric`.
    pub(crate) fn report(self, metric: &str, span: Span, out: &mut Annotations) {
        if self.0 == 0 {
            return;
        }
        let name = || metric.to_owned();
        let all: [(u32, fn(String) -> Message); 10] = [
            (Self::MIXED_FLOATS, |metric| Message::MixedFloatsHistograms { metric }),
            (Self::NOT_COUNTER, |metric| Message::NotACounter { metric }),
            (Self::NOT_GAUGE, |metric| Message::NotAGauge { metric }),
            (Self::MIXED_SCHEMAS, |metric| Message::MixedExponentialCustomHistograms { metric }),
            (Self::RECONCILED_ADD, |_| Message::MismatchedCustomBuckets(Operation::Addition)),
            (Self::RECONCILED_SUB, |_| Message::MismatchedCustomBuckets(Operation::Subtraction)),
            (Self::RECONCILED_AGGREGATION, |_| Message::MismatchedCustomBuckets(Operation::Aggregation)),
            (Self::RESET_COLLISION, |_| Message::ResetCollision(Operation::Aggregation)),
            (Self::HISTOGRAMS_IGNORED, |metric| Message::HistogramIgnoredInMixedRange { metric }),
            (Self::START_OVERLAP, |metric| Message::StartTimeOverlap { metric }),
        ];
        for (note, message) in all {
            if self.0 & note != 0 {
                out.add(message(name()), span);
            }
        }
    }
}
