//! Software that exposes Prometheus' text itself: its metrics as they are.

use std::io;

use super::{Service, ask, other};
use crate::collectors::textfile;
use crate::output::Output;

pub(super) fn ask(service: &Service, out: &mut Output) -> io::Result<()> {
    let text = ask::get(&service.address)?;
    for family in textfile::parse(&text).map_err(|reason| other(&reason))? {
        // The Go runtime's and the process' are known from the process groups, and would be mixed up with those of others.
        if !family.name.starts_with("go_") && !family.name.starts_with("process_") {
            out.family(family);
        }
    }
    Ok(())
}
