//! Suites of others, read from the folder that `BELLWETHER_CONFORMANCE` names; "not run" without it.

mod exposition;
