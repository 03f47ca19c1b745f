//! Datadog's series: `/api/v1/series` and `/api/v2/series`.
//!
//! 202 with an empty list of errors when everything is stored; refused points are named in that list with status 400, as far as they were not
//! readable, and 429 or 503 carry `Retry-After`.

use serde_json::json;
use wire::datadog::{self, Format};

use super::{Answer, Push, Pushed, Stored, store};

const PROTOCOL: &str = "datadog";

fn errors(status: u16, reason: &str) -> Answer {
    Answer::json(status, &json!({"errors": [reason]}))
}

impl Push {
    /// Stores series of interface `version` 1 or 2.
    pub async fn datadog(&self, version: u8, pushed: &Pushed<'_>) -> Answer {
        let is_json = pushed.media_type() != "application/x-protobuf";
        let format = match (version, is_json) {
            (1, _) => Format::V1,
            (_, true) => Format::V2,
            (_, false) => Format::V2Protobuf,
        };
        let mut buffers = self.buffers();
        if let Err((status, reason)) = self.decompress(pushed, &mut buffers.body) {
            self.unread(PROTOCOL);
            return errors(status, &reason);
        }
        let decoded = {
            let mut session = self.deltas.session(pushed.tenant, self.clock.now());
            datadog::decode(format, &buffers.body, &mut buffers.gather, &mut buffers.batch, &mut session)
        };
        let refused = match decoded {
            Ok(refused) => refused,
            Err(reason) => {
                self.unread(PROTOCOL);
                return errors(400, &reason);
            }
        };
        let stored = store(&*self.appender, pushed.tenant, &buffers.batch).await;
        self.count(PROTOCOL, &buffers.batch, &refused, &stored);
        self.keep(buffers);
        match stored {
            Stored::Later { status, reason } => errors(status, &reason).retry_after(),
            Stored::Failed { status, reason } => errors(status, &reason),
            Stored::Done { rejected, first } => match refused.first.or(first) {
                None => Answer::json(202, &json!({"errors": []})),
                Some(reason) => {
                    let count = refused.count + rejected;
                    errors(
                        400,
                        &format!("{count} points were refused, the others stored; the first: {reason}"),
                    )
                }
            },
        }
    }
}
