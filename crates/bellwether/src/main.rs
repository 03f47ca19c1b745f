//! The binary: command line, configuration, wiring by role, shutdown.
//!
//! | module | holds |
//! |---|---|
//! | `cli` | the command line, with a flag for every scalar setting |
//! | `config` | the configuration tree: defaults < file < environment < flags |
//! | `flags` | settings on the command line and in the environment |
//! | `commands` | the subcommands other than the server |
//! | `memory` | when the process may use huge pages |
//! | `roles` | the wiring of the server |
//! | `telemetry` | logging, and what the process measures of itself |

mod bucket;
mod cli;
mod commands;
mod config;
mod flags;
mod memory;
mod roles;
mod telemetry;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Before anything is read or started: this process is small and does one thing.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == roles::MOUNT_CHILD) {
        // Its parent sees the closed pipe.
        return if host::mount_child().is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    cli::run(std::env::args_os())
}
