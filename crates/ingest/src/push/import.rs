//! Prometheus text, OpenMetrics or protobuf, pushed: `/api/v1/import/prometheus`.
//!
//! 204 when everything is stored; a body that does not parse is refused as a whole, with the line.

use wire::exposition::Format;

use super::{Answer, Push, Pushed, Stored, store};

const PROTOCOL: &str = "import";

impl Push {
    /// Stores an exposition. `extra`: labels for every series that lacks them.
    pub async fn import(&self, extra: &[(String, String)], pushed: &Pushed<'_>) -> Answer {
        let mut buffers = self.buffers();
        if let Err((status, reason)) = self.decompress(pushed, &mut buffers.body) {
            self.unread(PROTOCOL);
            return Answer::text(status, reason);
        }
        // Scripts name no type, or that of a form.
        let format = pushed.content_type.and_then(Format::from_content_type).unwrap_or(Format::Text004);
        let now = self.clock.now().ms();
        let decoded =
            wire::import::decode(format, &buffers.body, now, extra, &mut buffers.gather, &mut buffers.batch);
        if let Err(err) = decoded {
            self.unread(PROTOCOL);
            return Answer::text(400, format!("{err}\n"));
        }
        let stored = store(&*self.appender, pushed.tenant, &buffers.batch).await;
        self.count(PROTOCOL, &buffers.batch, &wire::gather::Refused::default(), &stored);
        self.keep(buffers);
        match stored {
            Stored::Later { status, reason } => Answer::text(status, format!("{reason}\n")).retry_after(),
            Stored::Failed { status, reason } => Answer::text(status, format!("{reason}\n")),
            Stored::Done { rejected: 0, .. } => Answer::empty(204),
            Stored::Done { rejected, first } => {
                let first = first.unwrap_or_default();
                Answer::text(
                    400,
                    format!("{rejected} samples were refused, the others stored; the first: {first}\n"),
                )
            }
        }
    }
}
