//! The browser tests: the real binary on a free port, and Chromium driven by `ui/`'s own script and by the agent's. The tests of a million
//! servers measure time, so they run by hand: `npm run e2e` in `ui/`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::run::{self, cargo, root, step};
use crate::setup;

/// Builds the binary, starts it on a folder of its own, runs `npm run e2e` against it.
pub(crate) fn run() -> Result<()> {
    setup::node()?;
    let chromium = setup::chromium()?;
    step("browser", || {
        cargo(&["build", "--package", "bellwether"])?;
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into);
        let data = target.join("e2e-data");
        if data.exists() {
            std::fs::remove_dir_all(&data)?;
        }
        let mut server = Server::start(
            Command::new(target.join("debug/bellwether"))
                .arg("server")
                .arg(format!("--storage.path={}", data.display()))
                .args(["--web.listen-address=127.0.0.1:0", "--sources.host.interval=1s"]),
        )?;
        let url = server.url()?;
        let environment = [
            ("BELLWETHER_URL".to_owned(), url),
            ("BELLWETHER_BIN".to_owned(), target.join("debug/bellwether").display().to_string()),
            ("CHROMIUM".to_owned(), chromium.display().to_string()),
        ];
        let tests = ["tests/e2e/pages.e2e.ts", "tests/e2e/walk.e2e.ts"];
        run::npm(&[&["run", "--silent", "e2e", "--"], &tests[..]].concat(), &environment)?;
        run::command(
            Command::new("node")
                .arg("agents/browser/test/e2e.mjs")
                .arg(target.join("debug/bellwether"))
                .env("CHROMIUM", &chromium),
        )
    })
}

/// A started server that ends with this value.
struct Server {
    child: Child,
}

impl Server {
    fn start(command: &mut Command) -> Result<Self> {
        let child = command.stdout(Stdio::piped()).spawn().context("cannot start the server")?;
        Ok(Self { child })
    }

    /// The address that the server prints when it is ready.
    fn url(&mut self) -> Result<String> {
        let stdout = self.child.stdout.take().context("the server's output was taken already")?;
        let mut lines = BufReader::new(stdout).lines();
        while let Some(line) = lines.next() {
            let line = line?;
            println!("  {line}");
            if let Some(start) = line.find("http://") {
                let url = line[start..]
                    .split_whitespace()
                    .next()
                    .unwrap_or_default()
                    .trim_end_matches('/')
                    .to_owned();
                // Keep reading, so that the server never blocks on a full pipe.
                std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
                return Ok(url);
            }
        }
        bail!("the server ended before it said where its page is")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing else can be done about a server that is gone already.
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}
