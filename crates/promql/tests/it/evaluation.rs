//! Prometheus' scripts against our evaluator.

use promql::script::{Report, RunOptions, engine, run_paths};

use crate::conformance::folder;

#[test]
fn every_evaluation_of_the_suite_gives_what_it_should() {
    let Some(folder) = folder("promql") else { return };
    let report: Report =
        run_paths(&[folder], &engine::native, &RunOptions::default()).expect("a readable folder");
    println!("{report}");
    assert!(report.is_ok() && report.passed > 0 && report.skipped == 0, "{report}");
}
