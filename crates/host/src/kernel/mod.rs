//! The kernel's own messages, from `/dev/kmsg`: read as they come, sorted into kinds, counted, the line kept.

mod line;
mod messages;

pub(crate) use line::parse;
pub(crate) use messages::{KINDS, Kind, classify};
