//! The nouns that every other crate speaks: labels, matchers, samples, histograms, batches, alerts, tenants,
//! relabelling, budgets, and the five seams through which the crates meet.
//!
//! No I/O, no runtime, no clock of its own.
//!
//! | module | holds |
//! |---|---|
//! | [`labels`] | [`Labels`]: one series' sorted name–value pairs in a single allocation |
//! | [`matcher`], [`pattern`] | one label test; Go-compatible, fully anchored regular expressions |
//! | [`sample`], [`histogram`] | values and the columns they travel in; native histograms |
//! | [`batch`] | what crosses the write seam, and what was refused of it |
//! | [`family`] | metric type, help and unit; samples grouped as exporters expose them |
//! | [`alert`] | an alert as rules hand it to the alert manager |
//! | [`relabel`] | rewriting a label set on the way in |
//! | [`duration`], [`time`] | Prometheus durations; timestamps and the [`Clock`] |
//! | [`budget`] | bytes that are reserved before they are allocated |
//! | [`tenant`], [`error`], [`seam`] | whose data; what went wrong; where crates meet |
//! | [`setting`] | a field of a configuration whose value cannot be used |
#![warn(missing_docs)]

pub mod alert;
pub mod batch;
pub mod budget;
pub mod duration;
pub mod error;
pub mod family;
pub mod histogram;
pub mod labels;
pub mod matcher;
pub mod pattern;
pub mod relabel;
pub mod sample;
pub mod seam;
pub mod setting;
pub mod tenant;
pub mod time;

pub use alert::Alert;
pub use batch::{Appended, Batch, RejectReason, Rejected, SeriesRef};
pub use budget::Budget;
pub use error::{ErrorKind, SeamError};
pub use family::{Family, Metadata, MetricType};
pub use histogram::Histogram;
pub use labels::{Labels, LabelsBuilder};
pub use matcher::{MatchOp, Matcher, Selector};
pub use sample::{Exemplar, STALE_NAN, Samples, Value, is_stale};
pub use seam::{Appender, Notifier, Querier, StateStore};
pub use setting::InvalidField;
pub use tenant::TenantId;
pub use time::{Clock, Timestamp};
