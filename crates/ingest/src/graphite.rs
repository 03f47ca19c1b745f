//! Graphite's receivers: plaintext over TCP and UDP, pickle over TCP. Nobody waits for an answer; an overloaded storage holds up TCP senders.

use std::sync::Arc;

use model::seam::BoxFuture;
use model::{Batch, LabelsBuilder, relabel};
use wire::gather::{Gather, Refused};
use wire::graphite::{Rewrite, decode_lines, decode_pickle};

use crate::config::GraphiteConfig;
use crate::listen::{Context, Serve, Served, Take};

const PROTOCOL: &str = "graphite";
/// Bytes before a pickled message: its length.
const PREFIX: usize = 4;

/// Makes the parts that take bytes.
pub(crate) struct Receiver(Arc<Inner>);

struct Inner {
    context: Context,
    rules: Rules,
}

struct Rules(Vec<relabel::Rule>);

impl Rewrite for Rules {
    fn rewrite(&self, labels: &mut Vec<(String, String)>) -> bool {
        let mut builder = LabelsBuilder::default();
        for (name, value) in labels.drain(..) {
            builder.set(name, value);
        }
        if relabel::apply(&self.0, &mut builder).is_err() {
            return false;
        }
        labels.extend(builder.iter().map(|(n, v)| (n.to_owned(), v.to_owned())));
        true
    }
}

impl Receiver {
    pub(crate) fn new(config: &GraphiteConfig, context: Context) -> Result<Self, relabel::InvalidRule> {
        let rules =
            config.relabel_configs.iter().cloned().map(relabel::Rule::new).collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(Inner { context, rules: Rules(rules) })))
    }

    pub(crate) fn lines(&self) -> Arc<dyn Serve> {
        Arc::new(Lines(Arc::clone(&self.0)))
    }

    pub(crate) fn datagrams(&self) -> Arc<dyn Take> {
        Arc::new(Lines(Arc::clone(&self.0)))
    }

    pub(crate) fn pickle(&self) -> Arc<dyn Serve> {
        Arc::new(Pickle(Arc::clone(&self.0)))
    }
}

impl Inner {
    fn rewrite(&self) -> Option<&dyn Rewrite> {
        if self.rules.0.is_empty() { None } else { Some(&self.rules) }
    }

    fn lines(&self, bytes: &[u8]) -> (Batch, Refused) {
        let (mut gather, mut batch) = (Gather::new(self.context.seed), Batch::new());
        gather.begin(&mut batch);
        let now = self.context.clock.now().ms();
        let refused = decode_lines(bytes, now, self.rewrite(), &mut gather, &mut batch);
        gather.finish(&mut batch);
        (batch, refused)
    }
}

struct Lines(Arc<Inner>);

impl Serve for Lines {
    fn serve<'a>(&'a self, bytes: &'a [u8], end: bool) -> BoxFuture<'a, Result<Served, String>> {
        Box::pin(async move {
            let whole = match bytes.iter().rposition(|b| *b == b'\n') {
                _ if end => bytes.len(),
                Some(at) => at + 1,
                None => return Ok(Served::default()),
            };
            let (batch, refused) = self.0.lines(bytes.get(..whole).unwrap_or_default());
            self.0.context.store(PROTOCOL, &batch, &refused, true).await;
            Ok(Served { used: whole, ..Served::default() })
        })
    }

    fn max_pending(&self) -> usize {
        self.0.context.limits.max_message_bytes
    }
}

impl Take for Lines {
    fn take<'a>(&'a self, datagram: &'a [u8]) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let (batch, refused) = self.0.lines(datagram);
            self.0.context.store(PROTOCOL, &batch, &refused, false).await;
        })
    }
}

struct Pickle(Arc<Inner>);

impl Serve for Pickle {
    fn serve<'a>(&'a self, bytes: &'a [u8], _: bool) -> BoxFuture<'a, Result<Served, String>> {
        Box::pin(async move {
            let context = &self.0.context;
            let mut used = 0;
            while let Some((prefix, rest)) = bytes.get(used..).and_then(|b| b.split_first_chunk::<PREFIX>()) {
                let len = u32::from_be_bytes(*prefix) as usize;
                if len > context.limits.max_message_bytes {
                    let limit = context.limits.max_message_bytes;
                    return Err(format!(
                        "a pickled message of {len} bytes is over the limit of {limit} (ingest.sockets.max_message_bytes)"
                    ));
                }
                let Some(message) = rest.get(..len) else { break };
                used += PREFIX + len;
                let (mut gather, mut batch) = (Gather::new(context.seed), Batch::new());
                gather.begin(&mut batch);
                let now = context.clock.now().ms();
                let refused = decode_pickle(message, now, self.0.rewrite(), &mut gather, &mut batch)?;
                gather.finish(&mut batch);
                context.store(PROTOCOL, &batch, &refused, true).await;
            }
            Ok(Served { used, ..Served::default() })
        })
    }

    fn max_pending(&self) -> usize {
        self.0.context.limits.max_message_bytes + PREFIX
    }
}
