//! Target groups in files.

use std::io;
use std::path::{Path, PathBuf};

/// The files that match a pattern whose last part may hold one `*`; sorted. A pattern without `*` gives the path itself when
/// the file exists. A folder that does not exist has no files. Blocks.
///
/// # Errors
/// The folder cannot be listed.
pub fn matching(pattern: &str) -> io::Result<Vec<PathBuf>> {
    let Some((before, after)) = pattern.split_once('*') else {
        let path = PathBuf::from(pattern);
        return Ok(if path.exists() { vec![path] } else { Vec::new() });
    };
    let (folder, prefix) = match before.rsplit_once('/') {
        Some(("", prefix)) => ("/", prefix),
        Some((folder, prefix)) => (folder, prefix),
        None => (".", before),
    };
    let entries = match std::fs::read_dir(folder) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let Some(name) = name.to_str() else { continue };
        let fits = name.len() >= prefix.len() + after.len()
            && name.starts_with(prefix)
            && name.ends_with(after)
            // As in a shell, a leading dot is matched by a dot only.
            && (prefix.starts_with('.') || !name.starts_with('.'));
        if fits {
            found.push(if before.contains('/') { Path::new(folder).join(name) } else { PathBuf::from(name) });
        }
    }
    found.sort();
    Ok(found)
}
