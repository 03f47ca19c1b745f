//! Our own scripts, which need no folder from elsewhere.

use std::path::Path;

use promql::script::{RunOptions, engine, run_paths};

#[test]
fn our_scripts_give_what_they_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let report = run_paths(&[folder], &engine::native, &RunOptions::default()).expect("a readable folder");
    assert!(report.is_ok() && report.passed > 0 && report.skipped == 0, "{report}");
}
