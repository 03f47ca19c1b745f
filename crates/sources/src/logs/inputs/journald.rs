//! systemd's journal, read by `journalctl`, whose JSON output is documented and stable.

use std::borrow::Cow;
use std::process::Stdio;
use std::sync::Arc;

use model::StateStore;
use model::seam::Expect;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::time::Instant;

use super::super::config::JournaldInput;
use super::super::job::Job;
use super::super::parse::Entry;
use super::{BATCH, BUCKET, BackOff, KEEP};

/// A longer entry is refused.
const MAX_ENTRY_BYTES: usize = 16 << 20;

/// Reads until cancelled.
pub(in super::super) async fn run(config: JournaldInput, job: Arc<Job>, state: Option<Arc<dyn StateStore>>) {
    let mut back_off = BackOff::new();
    let mut cursor = match &state {
        None => None,
        Some(state) => match state.get(BUCKET, &key(&job)).await {
            Ok(entry) => entry.map(|entry| String::from_utf8_lossy(&entry.value).into_owned()),
            Err(err) => {
                job.failed(&format!("cannot read the journal's cursor: {}", err.chain()));
                None
            }
        },
    };
    loop {
        let began = Instant::now();
        let reason = follow(&config, &job, state.as_deref(), &mut cursor).await;
        job.failed(&reason);
        if began.elapsed() > super::BACK_OFF.1 {
            back_off.reset();
        }
        back_off.wait().await;
    }
}

fn key(job: &Job) -> String {
    format!("{}:journald", job.name)
}

/// Runs `journalctl` until it ends; why it did.
async fn follow(
    config: &JournaldInput,
    job: &Arc<Job>,
    state: Option<&dyn StateStore>,
    cursor: &mut Option<String>,
) -> String {
    let mut command = tokio::process::Command::new(&config.journalctl);
    command.args(["--follow", "--output=json", "--no-pager", "--quiet"]);
    match cursor {
        Some(cursor) => command.arg(format!("--after-cursor={cursor}")),
        None => command.arg("--lines=0"),
    };
    if !config.directory.is_empty() {
        command.arg(format!("--directory={}", config.directory));
    }
    command
        .args(&config.matches)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(err) => return format!("cannot run {}: {err}", config.journalctl),
    };
    let (Some(out), Some(mut err)) = (child.stdout.take(), child.stderr.take()) else {
        return "journalctl has no output".into();
    };
    let read = read(out, job, state, cursor).await;
    let mut said = Vec::new();
    if let Err(err) = (&mut err).take(4096).read_to_end(&mut said).await {
        tracing::debug!(error = %err, "cannot read what journalctl complains about");
    }
    let status = child.wait().await.map_or_else(|err| err.to_string(), |status| status.to_string());
    let said = String::from_utf8_lossy(&said);
    match read {
        Err(reason) => reason,
        Ok(()) => format!("{} ended ({status}): {}", config.journalctl, said.trim()),
    }
}

async fn read(
    out: impl AsyncRead + Unpin,
    job: &Arc<Job>,
    state: Option<&dyn StateStore>,
    cursor: &mut Option<String>,
) -> Result<(), String> {
    let mut lines = BufReader::with_capacity(256 << 10, out);
    let (mut keep_at, mut line) = (Instant::now() + KEEP, Vec::new());
    loop {
        let (mut entries, mut bytes) = (Vec::new(), 0u64);
        loop {
            line.clear();
            let n = (&mut lines).take(MAX_ENTRY_BYTES as u64).read_until(b'\n', &mut line).await;
            let n = n.map_err(|err| err.to_string())?;
            if n == 0 {
                job.take(entries, bytes).await;
                return Ok(());
            }
            if n == MAX_ENTRY_BYTES {
                return Err(format!("an entry is longer than {MAX_ENTRY_BYTES} bytes"));
            }
            bytes += n as u64;
            let value: Value = serde_json::from_slice(&line)
                .map_err(|err| format!("journalctl does not write JSON: {err}"))?;
            if let Some(at) = value["__CURSOR"].as_str() {
                *cursor = Some(at.to_owned());
            }
            entries.push(entry(value, job.max_line_bytes));
            // What is there already is taken along.
            if entries.len() >= BATCH || lines.buffer().is_empty() {
                break;
            }
        }
        job.take(entries, bytes).await;
        if let (Some(state), Some(at)) = (state, &cursor)
            && Instant::now() >= keep_at
        {
            keep_at = Instant::now() + KEEP;
            if let Err(err) = state.put(BUCKET, &key(job), at.as_bytes(), Expect::Any).await {
                job.failed(&format!("cannot keep the journal's cursor: {}", err.chain()));
            }
        }
    }
}

/// An entry of the journal: fields that are texts, and `MESSAGE`, which is a list of bytes when it is not UTF-8.
fn entry(value: Value, max_bytes: usize) -> Entry {
    let Value::Object(object) = value else { return Entry::default() };
    let mut entry = Entry::default();
    for (name, value) in object {
        let text = match value {
            Value::String(text) => text,
            Value::Array(bytes) => {
                let bytes: Vec<u8> = bytes.iter().filter_map(|b| u8::try_from(b.as_u64()?).ok()).collect();
                String::from_utf8_lossy(&bytes).into_owned()
            }
            _ => continue,
        };
        if name == "MESSAGE" {
            let end =
                (0..=max_bytes.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            entry.text = text.get(..end).unwrap_or_default().to_owned();
        } else {
            entry.fields.push((Cow::Owned(name), text));
        }
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn entries_have_the_journals_fields() {
        let value = json!({"MESSAGE": "hello", "_SYSTEMD_UNIT": "a.service", "PRIORITY": "3", "n": null});
        let found = entry(value, 3);
        assert_eq!(found.text, "hel");
        assert!(found.fields.contains(&("_SYSTEMD_UNIT".into(), "a.service".into())));
        assert_eq!(entry(json!({"MESSAGE": [104, 105, 255]}), 100).text, "hi\u{fffd}");
    }
}
