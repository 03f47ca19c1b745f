//! What is written about finished queries: the slow ones in the server's log, all of them in a file when one is named
//! (`global.query_log_file`, a JSON object a line, as Prometheus writes it).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::Mutex;
use promql::{Stats, Times};
use serde_json::json;

use super::run::{Question, Timings};

/// The query log.
#[derive(Debug)]
pub struct QueryLog {
    /// Queries that take at least this are said to be slow; zero for none.
    slow: Duration,
    file: Option<(PathBuf, Mutex<File>)>,
}

impl QueryLog {
    /// Opens the file for appending, when there is one.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(slow: Duration, file: Option<&Path>) -> io::Result<Self> {
        let open = |path: &Path| {
            let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
            Ok::<_, io::Error>((path.to_owned(), Mutex::new(file)))
        };
        Ok(Self { slow, file: file.map(open).transpose()? })
    }

    pub(super) fn finished(
        &self,
        question: &Question<'_>,
        took: Duration,
        timings: &Timings,
        outcome: Result<&Stats, &str>,
    ) {
        if !self.slow.is_zero() && took >= self.slow {
            let (samples, series) = outcome.map_or((0, 0), |stats| (stats.samples, stats.series));
            tracing::warn!(
                query = question.text, tenant = %question.tenant, range = %shown(question.times),
                seconds = took.as_secs_f64(), waited = timings.queued.as_secs_f64(), samples, series,
                error = outcome.err().unwrap_or_default(),
                "slow query (query.slow_threshold)"
            );
        }
        let Some((path, file)) = &self.file else { return };
        let seconds = |ms: i64| model::Timestamp(ms).seconds();
        let (start, end, step) = match question.times {
            Times::Instant(at) => (at.ms(), at.ms(), 0),
            Times::Range { start, end, step_ms } => (start.ms(), end.ms(), step_ms),
        };
        let rfc3339 =
            |ms: i64| jiff::Timestamp::from_millisecond(ms).map(|at| at.to_string()).unwrap_or_default();
        let mut line = json!({
            "ts": rfc3339(question.now.ms()),
            "params": { "query": question.text, "start": rfc3339(start), "end": rfc3339(end), "step": seconds(step) },
            "tenant": question.tenant.as_str(),
            "httpRequest": { "path": question.path },
            "stats": {
                "timings": {
                    "execTotalTime": took.as_secs_f64(),
                    "execQueueTime": timings.queued.as_secs_f64(),
                    "queryPreparationTime": timings.prepared.as_secs_f64(),
                    "innerEvalTime": timings.evaluated.as_secs_f64(),
                },
            },
        });
        match outcome {
            Ok(stats) => {
                line["stats"]["samples"] =
                    json!({ "totalQueryableSamples": stats.samples, "peakSamples": stats.peak_samples });
            }
            Err(error) => line["error"] = json!(error),
        }
        let mut text = line.to_string();
        text.push('\n');
        if let Err(err) = file.lock().write_all(text.as_bytes()) {
            tracing::warn!(error = %err, path = %path.display(), "the query log cannot be written");
        }
    }
}

fn shown(times: Times) -> String {
    match times {
        Times::Instant(at) => format!("{}", at.seconds()),
        Times::Range { start, end, step_ms } => {
            format!("{}..{} step {}", start.seconds(), end.seconds(), model::Timestamp(step_ms).seconds())
        }
    }
}
