//! The receiver for collectd's network plugin: datagrams, without an answer.

use std::sync::Arc;

use model::Batch;
use model::seam::BoxFuture;
use wire::gather::{Gather, Refused};

use crate::listen::{Context, Take};

const PROTOCOL: &str = "collectd";

pub(crate) fn datagrams(context: &Context) -> Arc<dyn Take> {
    Arc::new(Packets(context.clone()))
}

struct Packets(Context);

impl Take for Packets {
    fn take<'a>(&'a self, datagram: &'a [u8]) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let (mut gather, mut batch) = (Gather::new(self.0.seed), Batch::new());
            gather.begin(&mut batch);
            let now = self.0.clock.now().ms();
            let refused = match wire::collectd::decode(datagram, now, &mut gather, &mut batch) {
                Ok(refused) => refused,
                Err(reason) => Refused { count: 1, first: Some(reason), ignored: 0 },
            };
            gather.finish(&mut batch);
            self.0.store(PROTOCOL, &batch, &refused, false).await;
        })
    }
}
