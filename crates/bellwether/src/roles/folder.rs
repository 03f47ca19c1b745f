//! Folders for what is kept.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use anyhow::Context;

/// Creates a folder for its owner alone; one that exists stays as it is, and must be one that can be written. `setting` names
/// it.
///
/// # Errors
/// It is a file, cannot be created, or cannot be written.
pub(super) fn create_private(path: &Path, setting: &str) -> anyhow::Result<()> {
    let shown = path.display();
    if path.exists() && !path.is_dir() {
        anyhow::bail!("{shown} (--{setting}) is a file: the data need a folder");
    }
    let created = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    created.with_context(|| format!("cannot create the data folder {shown} (--{setting})"))?;
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)
        .with_context(|| format!("the data folder {shown} (--{setting}) is not writable"))?;
    let mode = std::fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        tracing::warn!(
            folder = %shown,
            mode = format_args!("{:04o}", mode & 0o7777),
            "others than its owner can look into the data folder; a new one is made with mode 0700"
        );
    }
    Ok(())
}
