//! A server's `/proc` and `/sys` from a text.

use std::path::Path;

/// Writes the tree of `tests/fixtures/NAME` below `root`.
pub(crate) fn write(name: &str, root: &Path) {
    let text = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    for line in std::fs::read_to_string(text).unwrap().lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let make = |path: &str| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            path
        };
        if let Some((path, target)) = line.split_once(" -> ").filter(|(path, _)| !path.contains(" = ")) {
            std::os::unix::fs::symlink(target, make(path)).unwrap();
        } else {
            let (path, text) = line.split_once(" =").unwrap_or_else(|| panic!("no file: {line}"));
            let text = text.strip_prefix(' ').unwrap_or(text).replace("\\n", "\n").replace("\\t", "\t");
            std::fs::write(make(path), format!("{text}\n")).unwrap();
        }
    }
}
