//! The collector from its public side: uploads in, series out.

mod collector;
mod replay;
