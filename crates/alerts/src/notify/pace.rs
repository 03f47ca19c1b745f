//! How many notifications one way of a receiver has on their way at once.
//!
//! What is on its way when the process dies is sent again, since nobody knows whether it arrived. So a service that answers
//! fast gets one notification after the other, and only a slow one gets several at once: as many as it takes to send one
//! every [`QUANTUM`].

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// At least one notification is sent in such a time, whatever the service takes to answer.
pub const QUANTUM: Duration = Duration::from_millis(100);
/// A service that wants to be left alone for longer is asked again after this: it may have said so by mistake.
pub const HELD_MOST: Duration = Duration::from_secs(60);
/// No way of a receiver has more on their way.
const MAX_AT_ONCE: u32 = 64;

/// The pace of one way.
#[derive(Debug, Default)]
pub struct Pace {
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// When each that is on its way began, the oldest first.
    begun: VecDeque<Instant>,
    /// How long the service takes, smoothed.
    latency: Duration,
    /// Nobody has a turn before.
    held_until: Option<Instant>,
}

impl State {
    fn limit(&self, now: Instant) -> usize {
        // One that hangs counts as slow before it has ended.
        let oldest = self.begun.front().map_or(Duration::ZERO, |begun| now - *begun);
        let needed = self.latency.max(oldest).as_millis().div_ceil(QUANTUM.as_millis());
        needed.clamp(1, u128::from(MAX_AT_ONCE)) as usize
    }
}

impl Pace {
    /// Waits for a turn; it lasts until the guard is dropped.
    pub async fn turn(&self) -> Turn<'_> {
        loop {
            let freed = self.freed.notified();
            let held = self.state().held_until.filter(|until| *until > Instant::now());
            if let Some(until) = held {
                tokio::time::sleep_until(until).await;
                continue;
            }
            {
                let mut state = self.state();
                let now = Instant::now();
                if state.begun.len() < state.limit(now) {
                    state.begun.push_back(now);
                    return Turn { pace: self, begun: now };
                }
            }
            // Looked at again as what is on its way gets older.
            if tokio::time::timeout(QUANTUM, freed).await.is_err() {
                continue;
            }
        }
    }

    /// The service wants to be left alone for so long, by everybody: nobody has a turn until then, [`HELD_MOST`] at most.
    pub fn hold(&self, wait: Duration) {
        let until = Instant::now() + wait.min(HELD_MOST);
        let mut state = self.state();
        state.held_until = Some(state.held_until.map_or(until, |before| before.max(until)));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A turn of a [`Pace`].
#[derive(Debug)]
pub struct Turn<'a> {
    pace: &'a Pace,
    begun: Instant,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        {
            let mut state = self.pace.state();
            let took = self.begun.elapsed();
            state.latency = (state.latency * 3 + took) / 4;
            if let Some(at) = state.begun.iter().position(|begun| *begun == self.begun) {
                state.begun.remove(at);
            }
        }
        self.pace.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// How long a hundred take that each take `ms`, and how many were on their way at most.
    async fn hundred(ms: u64) -> (Duration, usize) {
        let pace = Arc::new(Pace::default());
        let started = Instant::now();
        let (mut tasks, most) = (tokio::task::JoinSet::new(), Arc::new(Mutex::new(0)));
        for _ in 0..100 {
            let (pace, most) = (Arc::clone(&pace), Arc::clone(&most));
            tasks.spawn(async move {
                let _turn = pace.turn().await;
                let now = pace.state().begun.len();
                most.lock().map(|mut most| *most = now.max(*most)).unwrap();
                tokio::time::sleep(Duration::from_millis(ms)).await;
            });
        }
        tasks.join_all().await;
        let most = *most.lock().unwrap();
        (started.elapsed(), most)
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_wants_to_be_left_alone_is() {
        let pace = Pace::default();
        let started = Instant::now();
        pace.hold(Duration::from_secs(7));
        pace.hold(Duration::from_secs(2));
        drop(pace.turn().await);
        assert_eq!(started.elapsed(), Duration::from_secs(7));
        pace.hold(Duration::from_secs(86_400));
        drop(pace.turn().await);
        assert_eq!(started.elapsed(), Duration::from_secs(7) + HELD_MOST);
    }

    #[tokio::test(start_paused = true)]
    async fn fast_services_get_one_at_a_time_and_slow_ones_many() {
        assert_eq!(hundred(2).await, (Duration::from_millis(200), 1));
        let (took, most) = hundred(500).await;
        assert!((4..=8).contains(&most) && took < Duration::from_secs(15), "{took:?}, {most} at once");
        let (took, most) = hundred(30_000).await;
        assert!(most == MAX_AT_ONCE as usize && took < Duration::from_secs(70), "{took:?}, {most} at once");
    }
}
