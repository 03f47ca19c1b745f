//! Restoring: a snapshot, which is a data folder at rest, becomes a data folder again.

use std::path::Path;
use std::sync::Arc;

use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::tools;

/// What a restore copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Copies the snapshot in `from` (by hard link where the disk can do so) to the new data folder `to`, after every byte of it was
/// verified. `to` appears whole or not at all.
///
/// # Errors
/// `Invalid` when `to` exists, the first damage that verification finds, `Io`; there is no folder `to` then.
pub fn restore(disk: &Arc<dyn Disk>, from: &Path, to: &Path) -> Result<Restored> {
    if disk.exists(to).map_err(Error::io("look for", to))? {
        return Err(Error::Invalid(format!("{to:?} exists already; move it away or name a new folder")));
    }
    let mut damaged = tools::verify_data(disk, from)?.into_iter().flat_map(|file| file.damage);
    if let Some(damage) = damaged.next() {
        return Err(damage);
    }
    drop(damaged);
    let name = to.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let temporary = to.with_file_name(format!("{name}.restore"));
    if disk.exists(&temporary).map_err(Error::io("look for", &temporary))? {
        // Left over from a restore that did not end.
        disk.remove_dir_all(&temporary).map_err(Error::io("remove", &temporary))?;
    }
    let mut restored = Restored::default();
    copy(&**disk, from, &temporary, &mut restored)?;
    disk.rename(&temporary, to).map_err(Error::io("rename", &temporary))?;
    let above = to.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    disk.sync_dir(above).map_err(Error::io("sync", above))?;
    Ok(restored)
}

fn copy(disk: &dyn Disk, from: &Path, to: &Path, restored: &mut Restored) -> Result<()> {
    disk.create_dir_all(to).map_err(Error::io("create", to))?;
    for entry in disk.list(from).map_err(Error::io("list", from))? {
        let (from, to) = (from.join(&entry.name), to.join(&entry.name));
        if entry.is_dir {
            copy(disk, &from, &to, restored)?;
        } else if is_written_again(&entry.name) {
            // The snapshot must stay what it is when these go on being written.
            let bytes = disk.read(&from).map_err(Error::io("read", &from))?;
            let mut file = disk.create(&to).map_err(Error::io("create", &to))?;
            file.write_all(&bytes).map_err(Error::io("write", &to))?;
            file.sync().map_err(Error::io("sync", &to))?;
            restored.files += 1;
            restored.bytes += entry.len;
        } else {
            disk.link_or_copy(&from, &to).map_err(Error::io("link or copy", &from))?;
            restored.files += 1;
            restored.bytes += entry.len;
        }
    }
    disk.sync_dir(to).map_err(Error::io("sync", to))
}

/// Whether a file of a data folder is changed in place; blocks and sealed files never are.
fn is_written_again(name: &str) -> bool {
    !(name.ends_with(".sealed") || name == "data" || name == crate::block::META_FILE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::FaultDisk;

    #[test]
    fn a_damaged_snapshot_is_not_restored() {
        let fault = FaultDisk::new();
        let disk: Arc<dyn Disk> = Arc::new(fault.clone());
        let folder = Path::new("/s/anonymous/blocks/b1");
        let mut writer = crate::block::BlockWriter::create(
            Arc::clone(&disk),
            folder,
            crate::block::BlockMeta::new("b1", 0),
        )
        .unwrap();
        let mut samples = model::Samples::default();
        (0..100).for_each(|i| samples.push_float(i, i as f64));
        writer.add_series(&model::Labels::from_pairs([("__name__", "up")]), &samples).unwrap();
        writer.finish().unwrap();
        fault.flip(Path::new("/s/anonymous/blocks/b1/data"), 12, 1).unwrap();
        let err = restore(&disk, Path::new("/s"), Path::new("/new")).err().unwrap();
        assert!(err.to_string().contains("/s/anonymous/blocks/b1/data"), "{err}");
        assert!(!disk.exists(Path::new("/new")).unwrap());
        fault.flip(Path::new("/s/anonymous/blocks/b1/data"), 12, 1).unwrap();
        let done = restore(&disk, Path::new("/s"), Path::new("/new")).unwrap();
        assert_eq!(done.files, 2);
        assert!(tools::verify_data(&disk, Path::new("/new")).unwrap().iter().all(|f| f.damage.is_empty()));
        assert!(matches!(restore(&disk, Path::new("/s"), Path::new("/new")), Err(Error::Invalid(_))));
    }
}
