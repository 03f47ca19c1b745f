//! What the checks need beyond a Rust toolchain: found, installed, or named.
//!
//! Node packages come from `ui/package-lock.json`; Chromium from the distribution (installed when we are root on a Debian-like
//! system); Python helpers go to a virtual environment under `target/`.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, bail};

use crate::run::{self, Environment, command, find, root, step};

/// Everything.
pub(crate) fn all() -> Result<()> {
    step("setup", || {
        rust_components()?;
        node()?;
        chromium()?;
        senders();
        services();
        web_servers();
        python().map(drop)
    })
}

/// Daemons that push to us in the tests. Where one cannot be installed, its test says so.
fn senders() {
    if find("collectd").is_none()
        && let Err(err) = install(&["collectd-core"])
    {
        println!("collectd is not installed, its test is not run: {err:#}");
    }
}

/// Daemons that the host source reads. Where one cannot be installed, its test says so.
fn services() {
    for (program, package) in [
        ("apache2", "apache2"),
        ("redis-server", "redis-server"),
        ("memcached", "memcached"),
        ("etcd", "etcd-server"),
    ] {
        if find(program).is_none()
            && let Err(err) = install(&[package])
        {
            println!("{program} is not installed, its test is not run: {err:#}");
        }
    }
}

/// Web servers whose snippets of policy headers are tried out. Where one cannot be installed, its test says so.
fn web_servers() {
    for (program, package) in [("nginx", "nginx-light"), ("haproxy", "haproxy"), ("caddy", "caddy")] {
        if find(program).is_none()
            && let Err(err) = install(&[package])
        {
            println!("{program} is not installed, its test is not run: {err:#}");
        }
    }
}

/// rustfmt and clippy.
fn rust_components() -> Result<()> {
    for (tool, component) in [("cargo-fmt", "rustfmt"), ("cargo-clippy", "clippy")] {
        if find(tool).is_none() {
            command(Command::new("rustup").args(["component", "add", component]))?;
        }
    }
    Ok(())
}

/// The UI's packages, as locked.
pub(crate) fn node() -> Result<()> {
    if find("npm").is_none() {
        bail!(
            "npm is not on the PATH: install Node.js 20 or newer to check the UI (building and running do not need it)"
        );
    }
    let ui = root().join("ui");
    let (lock, stamp) = (ui.join("package-lock.json"), ui.join("node_modules/.package-lock.json"));
    let modified = |path: &PathBuf| std::fs::metadata(path).and_then(|meta| meta.modified());
    let fresh = matches!((modified(&lock), modified(&stamp)), (Ok(lock), Ok(stamp)) if stamp >= lock);
    if fresh { Ok(()) } else { run::npm(&["ci", "--no-audit", "--no-fund", "--loglevel=error"], &[]) }
}

/// The browser, from `CHROMIUM` or the PATH; installed from the distribution when missing.
pub(crate) fn chromium() -> Result<PathBuf> {
    let found = || {
        let named = std::env::var_os("CHROMIUM").map(PathBuf::from).filter(|path| path.is_file());
        named.or_else(|| ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(find))
    };
    if let Some(path) = found() {
        return Ok(path);
    }
    install(&["chromium"])?;
    match found() {
        Some(path) => Ok(path),
        None => {
            bail!("Chromium is missing: install it from the distribution or name its program in CHROMIUM")
        }
    }
}

/// The Python of a virtual environment with the helpers of `xtask/python.txt`.
pub(crate) fn python() -> Result<PathBuf> {
    let folder = root().join("target/python");
    let python = folder.join("bin/python");
    let wanted = std::fs::read_to_string(root().join("xtask/python.txt"))?;
    let stamp = folder.join("installed.txt");
    if python.is_file() && std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(python);
    }
    if find("python3").is_none() {
        install(&["python3", "python3-venv"])?;
    }
    if command(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder)).is_err() {
        install(&["python3-venv"])?;
        command(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    }
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", "xtask/python.txt"]);
    command(&mut pip)?;
    std::fs::write(stamp, wanted)?;
    Ok(python)
}

/// What the tests read from their environment.
pub(crate) fn test_environment() -> Result<Environment> {
    let python = python()?;
    let mut environment = vec![("BELLWETHER_TEST_PYTHON".to_owned(), python.display().to_string())];
    if std::env::var_os("BELLWETHER_PEERS").is_none() {
        println!("BELLWETHER_PEERS is not set: tests against other programs take those that the PATH has");
    }
    if std::env::var_os("BELLWETHER_CONFORMANCE").is_none() {
        println!("BELLWETHER_CONFORMANCE is not set: the suites of other projects are not run");
    }
    environment.push(("RUST_BACKTRACE".to_owned(), "1".to_owned()));
    Ok(environment)
}

/// Whether the lists of packages are those of today.
static UPDATED: AtomicBool = AtomicBool::new(false);

/// Installs distribution packages, or says which to install.
fn install(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if find("apt-get").is_none() {
        bail!("missing: {list}; install it with this system's package manager");
    }
    if !is_root() {
        bail!("missing: {list}; run `sudo apt-get install {list}`");
    }
    let quiet = |args: &[&str]| {
        let mut apt = Command::new("apt-get");
        apt.args(["-qq", "-o", "DPkg::Lock::Timeout=120"])
            .args(args)
            .env("DEBIAN_FRONTEND", "noninteractive");
        command(&mut apt)
    };
    if !UPDATED.swap(true, Ordering::Relaxed) {
        quiet(&["update"])?;
    }
    let mut args = vec!["install", "-y", "--no-install-recommends"];
    args.extend(packages);
    quiet(&args)
}

fn is_root() -> bool {
    run::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}
