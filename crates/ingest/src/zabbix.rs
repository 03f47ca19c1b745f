//! The receiver for `zabbix_sender` and agents' active checks: each request is answered with how many values were taken.

use std::sync::Arc;

use model::Batch;
use model::seam::BoxFuture;
use wire::gather::Gather;
use wire::zabbix;

use crate::listen::{Context, Serve, Served};
use crate::push::Stored;

const PROTOCOL: &str = "zabbix";

pub(crate) fn connection(context: &Context) -> Arc<dyn Serve> {
    Arc::new(Requests(context.clone()))
}

struct Requests(Context);

impl Serve for Requests {
    fn serve<'a>(&'a self, bytes: &'a [u8], _: bool) -> BoxFuture<'a, Result<Served, String>> {
        Box::pin(async move {
            let limit = self.0.limits.max_message_bytes;
            let Some(header) = zabbix::header(bytes)? else { return Ok(Served::default()) };
            let len = usize::try_from(header.body_bytes).ok().filter(|len| *len <= limit);
            let Some(len) = len else {
                return Err(format!(
                    "a message of {} bytes is over the limit of {limit} (ingest.sockets.max_message_bytes)",
                    header.body_bytes
                ));
            };
            let Some(body) = bytes.get(header.header_bytes..header.header_bytes + len) else {
                return Ok(Served::default());
            };
            let answer = self.request(header, body).await;
            // As Zabbix' server: one request a connection.
            Ok(Served { used: header.header_bytes + len, answer, close: true })
        })
    }

    fn max_pending(&self) -> usize {
        self.0.limits.max_message_bytes + zabbix::LARGE_HEADER_BYTES
    }
}

impl Requests {
    async fn request(&self, header: zabbix::Header, body: &[u8]) -> Vec<u8> {
        let (mut gather, mut batch) = (Gather::new(self.0.seed), Batch::new());
        let now = self.0.clock.now().ms();
        let decoded = zabbix::body(header, body.to_owned(), self.0.limits.max_message_bytes)
            .and_then(|body| zabbix::decode(&body, now, &mut gather, &mut batch));
        let decoded = match decoded {
            Ok(decoded) => decoded,
            Err(reason) => {
                self.0.metrics.warn(PROTOCOL, &reason);
                return zabbix::failure(&reason);
            }
        };
        match self.0.store(PROTOCOL, &batch, &decoded.refused, false).await {
            Stored::Done { rejected, .. } => {
                let failed = (decoded.refused.count + rejected).min(decoded.total);
                zabbix::reply(decoded.total - failed, failed)
            }
            Stored::Later { reason, .. } | Stored::Failed { reason, .. } => zabbix::failure(&reason),
        }
    }
}
