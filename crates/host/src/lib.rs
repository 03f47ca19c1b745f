//! This host: what a server can tell of itself, under the names, labels and units of the exporters that people know.
//!
//! A [`Host`] owns its collectors and runs them apart from one another, each with a deadline and a circuit breaker: a hung mount
//! or a sick driver costs its own series and nothing else. What happens between two collections (a process dies, the kernel
//! complains) arrives as an [`Event`](events::Event) within a second.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | settings, with node_exporter's filters |
//! | [`flags`] | node_exporter's command line flags as settings |
//! | `run` | the schedule of one collection: deadlines, breakers, costs |
//! | `files` | reading procfs and sysfs below configurable roots |
//! | `output` | families under construction |
//! | `collectors` | one module a collector of node_exporter's |
//! | [`events`] | what happened, kept in memory and on disk |
//! | `process` | process groups, the largest processes, how processes end |
//! | `kernel` | the kernel's messages |
//! | `containers` | control groups of containers and services |
//! | `hardware` | errors with lasting totals, slowing disks, disks' health |
//! | `power` | watts, uninterruptible supplies |
//! | `sockets` | who talks to whom |
//! | `mounts` | the child process that asks mounted file systems |
//! | `systemd` | units, over D-Bus |
//! | `services` | nginx, Redis and other software of this host |
//! | `netlink` | netlink sockets and messages |

mod collectors;
pub mod config;
mod containers;
mod error;
pub mod events;
mod files;
mod filter;
pub mod flags;
mod hardware;
mod kernel;
mod mounts;
mod netlink;
mod output;
mod power;
mod process;
mod run;
mod services;
mod sockets;
mod state;
mod systemd;
#[cfg(test)]
mod tests;

pub use config::Config;
pub use error::Error;
pub use mounts::{MountChild, child as mount_child};
pub use run::{Host, check};

use files::Files;
use output::Output;

/// One source of families.
pub(crate) trait Collector: Send {
    /// As in node_exporter, where it has one.
    fn name(&self) -> &'static str;

    /// Adds its families.
    fn collect(&mut self, files: &Files, out: &mut Output) -> Result<(), Error>;
}
