//! Snapshots: a copy of the data folder that opens like one, made while the database runs.

use std::path::Path;

use crate::db::Db;
use crate::disk::Disk;
use crate::error::{Error, Result};
use crate::tenant::Tenant;

impl Db {
    /// Copies every tenant into the new folder `to`: blocks and sealed files by hard link where the disk can do so. With
    /// [`Copied::All`] it has all that was acknowledged before the call; it opens as a data folder of its own.
    ///
    /// # Errors
    /// `Invalid` when `to` exists, `Io`, `ReadOnly`; what was copied stays then.
    pub fn snapshot(&self, to: &Path, what: Copied) -> Result<()> {
        let disk = self.disk();
        if disk.exists(to).map_err(Error::io("look for", to))? {
            return Err(Error::Invalid(format!("the folder {to:?} exists already; name a new one")));
        }
        disk.create_dir_all(to).map_err(Error::io("create", to))?;
        for tenant in self.all_tenants() {
            tenant.copy(&**disk, &to.join(tenant.id.as_str()), what)?;
        }
        disk.sync_dir(to).map_err(Error::io("sync", to))
    }
}

/// What a snapshot has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copied {
    /// Everything, the newest samples included.
    All,
    /// Blocks alone: what is not in one yet is left out.
    Blocks,
}

impl Tenant {
    fn copy(&self, disk: &dyn Disk, to: &Path, what: Copied) -> Result<()> {
        // No seal, cut or compaction changes a file while this is held; appends go on into the log, which is not copied.
        let mut work = self.work.lock();
        let folders: &[&str] = match what {
            Copied::All => {
                let (_, next) = self.write_seal(&mut work)?;
                self.wal.remove_before(next)?;
                &["wal", "sealed", "blocks"]
            }
            Copied::Blocks => &["blocks"],
        };
        for &folder in folders {
            let (from, to) = (self.dir.join(folder), to.join(folder));
            disk.create_dir_all(&to).map_err(Error::io("create", &to))?;
            for entry in disk.list(&from).map_err(Error::io("list", &from))? {
                let (from, to) = (from.join(&entry.name), to.join(&entry.name));
                match (folder, entry.is_dir) {
                    ("sealed", false) if entry.name.ends_with(".sealed") => link(disk, &from, &to)?,
                    ("blocks", true) if !entry.name.ends_with(crate::block::TMP_SUFFIX) => {
                        disk.create_dir_all(&to).map_err(Error::io("create", &to))?;
                        for file in disk.list(&from).map_err(Error::io("list", &from))? {
                            link(disk, &from.join(&file.name), &to.join(&file.name))?;
                        }
                        disk.sync_dir(&to).map_err(Error::io("sync", &to))?;
                    }
                    // The log of series goes on being written: its bytes so far.
                    ("wal", false) if entry.name.starts_with("series-") && entry.name.ends_with(".log") => {
                        copy(disk, &from, &to)?;
                    }
                    _ => {}
                }
            }
            disk.sync_dir(&to).map_err(Error::io("sync", &to))?;
        }
        for name in ["cut", "meta", "tombstones.json", crate::bucket::REGISTRY_FILE] {
            let from = self.dir.join(name);
            if disk.exists(&from).map_err(Error::io("look for", &from))? {
                copy(disk, &from, &to.join(name))?;
            }
        }
        disk.sync_dir(to).map_err(Error::io("sync", to))
    }
}

fn link(disk: &dyn Disk, from: &Path, to: &Path) -> Result<()> {
    disk.link_or_copy(from, to).map_err(Error::io("link or copy", from))
}

fn copy(disk: &dyn Disk, from: &Path, to: &Path) -> Result<()> {
    let bytes = disk.read(from).map_err(Error::io("read", from))?;
    let mut file = disk.create(to).map_err(Error::io("create", to))?;
    file.write_all(&bytes).map_err(Error::io("write", to))?;
    file.sync().map_err(Error::io("sync", to))
}
