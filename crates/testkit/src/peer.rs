//! Other people's programs, for tests that compare with them or are driven by them.

use std::path::PathBuf;

/// A program under one of its names: from the folder that `BELLWETHER_PEERS` names, else from the PATH. `None`, with a word
/// on standard error that says what is not run, where there is none.
#[expect(clippy::print_stderr, reason = "a test that is not run says so")]
pub fn peer(names: &[&str]) -> Option<PathBuf> {
    let peers = std::env::var_os("BELLWETHER_PEERS").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = peers.into_iter().chain(std::env::split_paths(&path)).chain(["/usr/sbin".into()]);
    let mut files = folders.flat_map(|folder| names.iter().map(move |name| folder.join(name)));
    let found = files.find(|file| file.is_file());
    if found.is_none() {
        eprintln!("not run: {} is neither in BELLWETHER_PEERS nor on the PATH", names.join(" or "));
    }
    found
}

/// The Python that has the helpers of `xtask/python.txt`, from `BELLWETHER_TEST_PYTHON`. `None`, with a word on standard error,
/// where it is not set.
#[expect(clippy::print_stderr, reason = "a test that is not run says so")]
pub fn python() -> Option<PathBuf> {
    let found = std::env::var_os("BELLWETHER_TEST_PYTHON").map(PathBuf::from);
    if found.is_none() {
        eprintln!(
            "not run: BELLWETHER_TEST_PYTHON names no Python with the helpers (`cargo xtask test` sets it)"
        );
    }
    found
}

/// The real SMTP server of the tests: `smtp_sink.py FOLDER [--tls …] [--login …] [--answer …]`.
pub const SMTP_SINK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/smtp_sink.py");
