//! Processes: grouped, counted, followed to their end.
//!
//! A scan of `/proc` with every collection gives numbers (`scan`, `collect`); the kernel's process connector tells of beginnings
//! and ends as they happen (`follow`), and [`ledger`] keeps the account of ends, causes and restarts.

pub(crate) mod collect;
pub(crate) mod config;
pub(crate) mod files;
pub(crate) mod follow;
pub(crate) mod groups;
pub(crate) mod ledger;
mod scan;
mod users;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::Error;
use crate::events::Events;
use config::ProcessConfig;
use groups::{Groups, Identity};
use ledger::Ledger;

/// What the scan and the follower share.
pub(crate) struct Processes {
    pub groups: Groups,
    /// Who is who, by PID: so that something can be said of a process that is no more.
    pub identities: Mutex<HashMap<u32, Arc<Identity>>>,
    pub ledger: Mutex<Ledger>,
    pub events: Events,
    pub procfs: PathBuf,
}

impl Processes {
    pub(crate) fn new(config: &ProcessConfig, procfs: PathBuf, events: Events) -> Result<Self, Error> {
        Ok(Self {
            groups: Groups::new(config, procfs.clone())?,
            identities: Mutex::default(),
            ledger: Mutex::default(),
            events,
            procfs,
        })
    }

    /// Who a process is, from memory or from `/proc`.
    pub(crate) fn identity(&self, pid: u32) -> Option<Arc<Identity>> {
        if let Some(known) = self.identities.lock().get(&pid) {
            return Some(Arc::clone(known));
        }
        self.identify(pid)
    }

    /// Reads anew who a process is.
    pub(crate) fn identify(&self, pid: u32) -> Option<Arc<Identity>> {
        let comm = std::fs::read_to_string(self.procfs.join(pid.to_string()).join("comm")).ok()?;
        let identity = Arc::new(self.groups.identify(pid, comm.trim_end_matches('\n')));
        self.identities.lock().insert(pid, Arc::clone(&identity));
        Some(identity)
    }
}
