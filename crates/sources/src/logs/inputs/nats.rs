//! A JetStream stream: pull, count, acknowledge.

use std::sync::Arc;

use super::super::config::NatsInput;
use super::super::job::Job;
use super::super::nats::Consumer;
use super::super::parse::Entry;
use super::BackOff;

/// Reads until cancelled.
pub(in super::super) async fn run(config: NatsInput, job: Arc<Job>, seed: u64) {
    let mut back_off = BackOff::new();
    let mut turn = seed;
    loop {
        turn = turn.wrapping_add(0x9e37_79b9_7f4a_7c15);
        match follow(&config, &job, turn, &mut back_off).await {
            Ok(never) => match never {},
            Err(reason) => job.failed(&format!("{}: {reason}", config.url)),
        }
        back_off.wait().await;
    }
}

async fn follow(
    config: &NatsInput,
    job: &Arc<Job>,
    seed: u64,
    back_off: &mut BackOff,
) -> Result<std::convert::Infallible, String> {
    let mut consumer = Consumer::connect(config, seed).await?;
    loop {
        let messages = consumer.pull().await?;
        back_off.reset();
        let bytes = messages.iter().map(|message| message.payload.len() as u64).sum();
        let entries = messages.iter().map(|message| {
            let payload = message.payload.get(..job.max_line_bytes).unwrap_or(&message.payload);
            let fields = vec![("subject".into(), message.subject.clone())];
            Entry { text: String::from_utf8_lossy(payload).into_owned(), fields }
        });
        job.take(entries.collect(), bytes).await;
        // Counted: the server need not send them again.
        consumer.acknowledge(&messages).await?;
    }
}
