//! Reference pages that are written from the code.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::{output, root};

/// Pages and the arguments of the binary that prints each.
const PAGES: &[(&str, &[&str])] = &[
    ("docs/reference/config.md", &["docs", "config"]),
    ("docs/reference/cli.md", &["docs", "cli"]),
    ("docs/reference/metrics.md", &["docs", "metrics"]),
    ("docs/reference/client-fields.md", &["docs", "client-fields"]),
];

/// Writes every page.
pub(crate) fn write() -> Result<()> {
    for (path, text) in pages()? {
        std::fs::create_dir_all(path.parent().context("a page lies in a folder")?)?;
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Fails when a page differs from what the code says.
pub(crate) fn check() -> Result<()> {
    let stale: Vec<String> = pages()?
        .into_iter()
        .filter(|(path, text)| std::fs::read_to_string(path).ok().as_ref() != Some(text))
        .map(|(path, _)| path.display().to_string())
        .collect();
    if stale.is_empty() { Ok(()) } else { bail!("stale: {}; run `cargo xtask gen`", stale.join(", ")) }
}

fn pages() -> Result<Vec<(PathBuf, String)>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    PAGES
        .iter()
        .map(|(page, args)| {
            let mut run = Command::new(&cargo);
            run.args(["run", "--quiet", "--package", "bellwether", "--"]).args(*args);
            Ok((root().join(page), output(&mut run)?))
        })
        .collect()
}
