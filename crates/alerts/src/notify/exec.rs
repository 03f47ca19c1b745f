//! Programs of this machine, from an allow-list: the action half of an alert.
//!
//! The program gets the notification as JSON (the webhook format) on standard input, its arguments without a shell, and
//! an environment of `PATH` and `BELLWETHER_STATUS`, `…_RECEIVER`, `…_GROUP_KEY`, `…_NOTIFICATION_ID`. Exit status 0 is
//! success, 75 (`EX_TEMPFAIL`) asks for another attempt, anything else ends in failure. Every run, and every one that was
//! held back, is an event of the history with the program, its arguments, its status and the beginning of its output.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use model::seam::{BoxFuture, StateStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::cooldown::CoolDown;
use super::{Attempt, Delivered, Failure, Sender, cut_bytes, webhook};
use crate::config::{AllowedCommand, receiver};
use crate::error::Error;
use crate::message::Notification;
use crate::render::Renderer;

/// Of the program's output so much is kept.
const KEPT_BYTES: u64 = 4096;
/// `EX_TEMPFAIL` of sysexits.h.
const TRY_AGAIN: i32 = 75;

/// What the allow-list says of a section's command.
///
/// # Errors
/// That it is not in the list, or the list names no absolute path for it.
pub(super) fn allowed<'a>(
    section: &receiver::Exec,
    allowed: &'a BTreeMap<String, AllowedCommand>,
) -> Result<&'a AllowedCommand, String> {
    let name = &section.command;
    let allowed = allowed.get(name).ok_or_else(|| {
        format!("exec_configs: command {name:?} is not in the server's allow-list alerts.exec; add it there")
    })?;
    match (allowed.program.is_absolute(), &allowed.program) {
        (true, _) => Ok(allowed),
        (false, program) => Err(format!("alerts.exec.{name}: program {program:?} must be an absolute path")),
    }
}

/// `exec_configs`.
pub struct Exec {
    allowed: AllowedCommand,
    args: Vec<String>,
    dry_run: bool,
    cool_down_ms: i64,
    cool_down: CoolDown,
    timeout: Duration,
    renderer: Renderer,
}

impl Exec {
    /// From its section and the allow-list.
    pub(super) fn new(
        section: &receiver::Exec,
        renderer: &Renderer,
        allowed: &BTreeMap<String, AllowedCommand>,
        state: &Arc<dyn StateStore>,
    ) -> Result<Self, Error> {
        let allowed = self::allowed(section, allowed).map_err(Error::config)?;
        Ok(Self {
            allowed: allowed.clone(),
            args: section.args.clone(),
            dry_run: section.dry_run,
            cool_down_ms: section.cool_down.ms,
            cool_down: CoolDown::new(state.clone(), &section.command, section.cool_down.ms),
            timeout: section.timeout.to_std(),
            renderer: renderer.clone(),
        })
    }

    async fn run(&self, notification: &Notification) -> Attempt {
        let args = self.args.iter().map(|arg| self.renderer.text(arg, &notification.data));
        let args: Vec<String> = args.collect::<Result<_, _>>()?;
        let shown = format!("{:?} {:?} {args:?}", self.allowed.program, self.allowed.args);
        if self.dry_run {
            return Ok(Delivered { status: None, answer: format!("dry run, would run {shown}") });
        }
        if let Some(last) = self.cool_down.begin(notification).await? {
            let (span, last) = (crate::functions::span(self.cool_down_ms), crate::message::rfc3339(last));
            let answer = format!("not run: less than {span} after the last run at {last}");
            return Ok(Delivered { status: None, answer });
        }
        let body = webhook::body(notification, 0)?;
        let mut child = tokio::process::Command::new(&self.allowed.program)
            .args(&self.allowed.args)
            .args(&args)
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("BELLWETHER_STATUS", &*notification.data.status)
            .env("BELLWETHER_RECEIVER", &notification.data.receiver)
            .env("BELLWETHER_GROUP_KEY", &notification.group_key)
            .env("BELLWETHER_NOTIFICATION_ID", &notification.id)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|err| Failure::permanent(format!("cannot start {shown}: {err}")))?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A program that does not read its input is free not to.
                if let Err(err) = stdin.write_all(&body).await {
                    tracing::debug!(error = %err, "program did not read its input");
                }
            }
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let read_out = async {
            match stdout {
                Some(stdout) => drain(stdout, &mut out).await,
                None => Ok(()),
            }
        };
        let read_err = async {
            match stderr {
                Some(stderr) => drain(stderr, &mut err).await,
                None => Ok(()),
            }
        };
        let all = async {
            let ((), out, err, status) = tokio::join!(feed, read_out, read_err, child.wait());
            out.and(err).and(status)
        };
        let status = match tokio::time::timeout(self.timeout, all).await {
            Ok(Ok(status)) => status,
            Ok(Err(err)) => return Err(Failure::permanent(format!("cannot run {shown}: {err}"))),
            // Dropping the child ends it.
            Err(_) => {
                return Err(Failure::transient(format!("{shown} did not end within {:?}", self.timeout)));
            }
        };
        out.extend_from_slice(&err);
        tracing::info!(
            command = shown,
            %status,
            group = notification.group_key,
            notification = notification.id,
            "program has run"
        );
        let answer = cut_bytes(String::from_utf8_lossy(&out).trim(), KEPT_BYTES as usize);
        if status.success() {
            return Ok(Delivered { status: None, answer: format!("{shown}: {answer}") });
        }
        let message = format!("{shown} ended with {status}: {answer}");
        Err(if status.code() == Some(TRY_AGAIN) {
            Failure::transient(message)
        } else {
            Failure::permanent(message)
        })
    }
}

/// Reads to the end, keeps the beginning.
async fn drain(mut from: impl tokio::io::AsyncRead + Unpin, kept: &mut Vec<u8>) -> std::io::Result<()> {
    (&mut from).take(KEPT_BYTES).read_to_end(kept).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok(())
}

impl Sender for Exec {
    fn send<'a>(&'a self, notification: &'a Notification) -> BoxFuture<'a, Attempt> {
        Box::pin(self.run(notification))
    }
}
