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
    file: Mutex<Option<QueryLogFile>>,
}

/// The file of finished queries, open for appending.
#[derive(Debug)]
pub struct QueryLogFile {
    path: PathBuf,
    file: File,
}

impl QueryLogFile {
    /// Opens the file, creating it when it is not there.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        Ok(Self { path: path.to_owned(), file })
    }
}

impl QueryLog {
    /// A log to `file`, when there is one.
    pub fn new(slow: Duration, file: Option<QueryLogFile>) -> Self {
        Self { slow, file: Mutex::new(file) }
    }

    /// Goes on in `file`, as after a reload: another one, none any more, or the same path opened anew after it was moved away.
    pub fn replace(&self, file: Option<QueryLogFile>) {
        *self.file.lock() = file;
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
        if self.file.lock().is_none() {
            return;
        }
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
        if let Some(QueryLogFile { path, file }) = &mut *self.file.lock()
            && let Err(err) = file.write_all(text.as_bytes())
        {
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, PoisonError};

    use model::{TenantId, Timestamp};

    use super::*;

    fn finished(log: &QueryLog, text: &str, took_ms: u64, outcome: Result<&Stats, &str>) {
        let tenant = TenantId::default();
        let question = Question {
            tenant: &tenant,
            text,
            times: Times::Range { start: Timestamp(0), end: Timestamp(60_000), step_ms: 15_000 },
            timeout_ms: None,
            lookback_ms: None,
            per_step_stats: false,
            use_cache: true,
            now: Timestamp(61_000),
            path: "/api/v1/query_range",
        };
        log.finished(&question, Duration::from_millis(took_ms), &Timings::default(), outcome);
    }

    fn queries(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap();
        let query = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["params"]["query"].as_str().unwrap().to_owned()
        };
        text.lines().map(query).collect()
    }

    #[test]
    fn a_log_that_was_moved_away_goes_on_in_a_new_file() {
        let folder = tempfile::tempdir().unwrap();
        let (path, old) = (folder.path().join("queries.log"), folder.path().join("queries.log.1"));
        let log = QueryLog::new(Duration::ZERO, Some(QueryLogFile::open(&path).unwrap()));
        finished(&log, "one", 1, Ok(&Stats::default()));
        std::fs::rename(&path, &old).unwrap();
        finished(&log, "two", 1, Err("refused"));
        log.replace(Some(QueryLogFile::open(&path).unwrap()));
        finished(&log, "three", 1, Ok(&Stats::default()));
        log.replace(None);
        finished(&log, "four", 1, Ok(&Stats::default()));
        assert_eq!(queries(&old), ["one", "two"]);
        assert_eq!(queries(&path), ["three"]);
        let last = std::fs::read_to_string(&old).unwrap();
        assert!(last.lines().last().unwrap().contains(r#""error":"refused""#));
    }

    /// What is written to the log of the server.
    #[derive(Clone, Default)]
    struct Written(Arc<std::sync::Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn slow_queries_are_named_with_their_range() {
        let written = Written::default();
        let writer = written.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let log = QueryLog::new(Duration::from_millis(100), None);
            finished(&log, "fast", 99, Ok(&Stats::default()));
            finished(&log, "slow", 100, Ok(&Stats { samples: 7, ..Stats::default() }));
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        for part in ["WARN", "slow query (query.slow_threshold)", "slow", "0..60 step 15", "samples=7"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
    }
}
