//! InfluxDB's line protocol: `/write` of version 1 and `/api/v2/write`.
//!
//! 204 when every line is stored. A line that is refused does not hold up the others: the answer is then 400 with the first reason, as
//! InfluxDB's "partial write". 429 and 503 carry `Retry-After`.

use serde_json::json;
use wire::influx::{self, Options, unit_ns};

use super::{Answer, Push, Pushed, Stored, store};

const PROTOCOL: &str = "influx";

/// Which interface a request came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `/write`
    V1,
    /// `/api/v2/write`
    V2,
}

impl Version {
    /// An error as this version's clients expect it.
    fn error(self, status: u16, code: &str, message: &str) -> Answer {
        match self {
            Self::V1 => {
                let mut answer = Answer::json(status, &json!({"error": message}));
                let header: String =
                    message.chars().map(|c| if (' '..='~').contains(&c) { c } else { ' ' }).collect();
                answer.headers.push(("x-influxdb-error", header));
                answer
            }
            Self::V2 => Answer::json(status, &json!({"code": code, "message": message})),
        }
    }
}

impl Push {
    /// Stores lines. `precision` and `database` (of version 2: the bucket) are the query's parameters.
    pub async fn influx(
        &self,
        version: Version,
        precision: &str,
        database: &str,
        pushed: &Pushed<'_>,
    ) -> Answer {
        let Some(unit_ns) = unit_ns(precision) else {
            self.unread(PROTOCOL);
            let text = format!("invalid precision {precision:?}; use ns, us, ms, s, m or h");
            return version.error(400, "invalid", &text);
        };
        let mut buffers = self.buffers();
        if let Err((status, reason)) = self.decompress(pushed, &mut buffers.body) {
            self.unread(PROTOCOL);
            let code = if status == 413 { "request too large" } else { "invalid" };
            return version.error(status, code, &reason);
        }
        let label = self.config.influx.database_label.as_str();
        let extra = (!label.is_empty() && !database.is_empty()).then_some((label, database));
        let options = Options { unit_ns, now: self.clock.now().ms(), extra };
        let refused = influx::decode(&buffers.body, &options, &mut buffers.gather, &mut buffers.batch);
        let stored = store(&*self.appender, pushed.tenant, &buffers.batch).await;
        self.count(PROTOCOL, &buffers.batch, &refused, &stored);
        self.keep(buffers);
        match stored {
            Stored::Later { status, reason } => {
                let code = if status == 429 { "too many requests" } else { "unavailable" };
                version.error(status, code, &reason).retry_after()
            }
            Stored::Failed { status, reason } => {
                version.error(status, if status == 400 { "invalid" } else { "internal error" }, &reason)
            }
            Stored::Done { rejected, first } => match refused.first.or(first) {
                None => Answer::empty(204),
                Some(reason) => {
                    let dropped = refused.count + rejected;
                    version.error(400, "invalid", &format!("partial write: {reason} dropped={dropped}"))
                }
            },
        }
    }
}
