//! All of it together: what an application holds, and the thread that sends.

use std::error::Error;
use std::hash::{BuildHasher, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::failure::{Failure, origin};
use crate::policy::Policy;
use crate::queue::{Consent, Entry, Next, Outcome, Queue, encode};
use crate::store::{Store, Stored};
use crate::transport::{Https, PATIENCE, Transport};

/// Longest sleep of the thread: it looks whether it is still wanted.
const IDLE: Duration = Duration::from_secs(30);
/// A second look at an origin is taken no sooner than after this, in milliseconds.
const DIAGNOSE_AGAIN_MS: i64 = 60_000;

/// Every field that is sent, for the application's privacy page.
pub const FIELDS: [(&str, &str); 8] = [
    ("url", "origin of the request: scheme, host and port; no path, no query"),
    ("type", "what happened, from a fixed list"),
    ("status_code", "HTTP status of an error"),
    ("protocol", "HTTP version, when the application tells it"),
    ("count", "how many requests the entry stands for"),
    ("sampling_fraction", "the chance with which each was counted"),
    ("age", "milliseconds since the first of them"),
    (
        "server_ip",
        "with the further consent only: the server's address that was tried; the collector keeps its point of presence",
    ),
];

/// How a reporter is set up.
pub struct Options {
    /// What the site asks, until [`Reporter::policy`] says otherwise. A stored one that is newer wins.
    pub policy: Option<Policy>,
    /// File for consent, policy and queue; `None` keeps them in memory.
    pub store: Option<PathBuf>,
    /// Who sends.
    pub transport: Box<dyn Transport>,
}

impl Default for Options {
    fn default() -> Self {
        Self { policy: None, store: None, transport: Box::new(Https::default()) }
    }
}

struct State {
    queue: Queue,
    seen: i64,
    /// When an origin was last looked at.
    looked: Vec<(String, i64)>,
    /// Origins to look at.
    look: Vec<Entry>,
    changed: bool,
    /// The last writing failed.
    unsaved: bool,
    ended: bool,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    store: Option<Store>,
    transport: Box<dyn Transport>,
}

/// What an application tells of its requests. Clones share one queue; the thread ends with the last.
#[derive(Clone)]
pub struct Reporter {
    shared: Arc<Shared>,
    _thread: Arc<Thread>,
}

impl std::fmt::Debug for Reporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reporter").field("consent", &self.state_of_consent()).finish_non_exhaustive()
    }
}

struct Thread {
    shared: Weak<Shared>,
    handle: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Thread {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.lock().ended = true;
            shared.wake.notify_all();
        }
        // What waits is stored by the thread before it ends; an upload on its way is not waited for.
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(handle) = handle.filter(JoinHandle::is_finished) {
            drop(handle.join());
        }
    }
}

/// Milliseconds since the epoch.
#[expect(clippy::disallowed_methods, reason = "applications bring no clock; the queue is told the time")]
fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// A number that is another one in every process.
fn seed() -> u64 {
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what has changed. A disk that refuses costs what waits at the next restart, never more: the next change tries again.
    fn save(&self, state: &mut State) {
        if !std::mem::take(&mut state.changed) {
            return;
        }
        let Some(store) = &self.store else { return };
        let queue = &state.queue;
        let consent = queue.consent();
        let stored = Stored {
            consent,
            policy: queue
                .policy()
                .filter(|_| consent > Consent::Off)
                .map(|policy| (policy.clone(), state.seen)),
            entries: queue.entries().to_vec(),
        };
        state.unsaved = store.save(&stored).is_err();
    }

    /// Tries the collectors in order.
    fn send(&self, collectors: &[String], batch: &[Entry]) -> Outcome {
        let body = encode(batch, now());
        for url in collectors {
            match self.transport.post(url, &body) {
                Some(200..=299) => return Outcome::Sent,
                Some(410) => return Outcome::Gone,
                // It will not like it better the next time; another one has the same rules.
                Some(400 | 413 | 415) => return Outcome::Refused,
                _ => {}
            }
        }
        Outcome::Failed
    }

    /// One round of the thread: looks, sends, stores; how long to sleep.
    fn round(&self) -> Duration {
        let mut state = self.lock();
        let look = std::mem::take(&mut state.look);
        if !look.is_empty() {
            drop(state);
            for mut entry in look {
                let found = Failure::diagnose(&entry.origin, PATIENCE);
                entry.kind = found.failure.map_or(entry.kind, |failure| failure.kind().to_owned());
                entry.server = found.server;
                let mut state = self.lock();
                state.queue.record(entry);
                state.changed = true;
            }
            state = self.lock();
        }
        if let Some((collectors, batch)) = state.queue.take(now()) {
            drop(state);
            let outcome = self.send(&collectors, &batch);
            state = self.lock();
            state.queue.settle(batch, outcome, now());
            state.changed = true;
        }
        self.save(&mut state);
        match state.queue.next() {
            Next::Nothing => IDLE,
            Next::At(due) => Duration::from_millis((due - now()).clamp(0, IDLE.as_millis() as i64) as u64),
        }
    }
}

/// The thread: never holds the reporter alive.
fn run(shared: &Weak<Shared>) {
    loop {
        let Some(shared) = shared.upgrade() else { return };
        let pause = shared.round();
        let state = shared.lock();
        let idle = |state: &mut State| !state.ended && state.look.is_empty() && !state.changed;
        let (mut state, _) =
            shared.wake.wait_timeout_while(state, pause, idle).unwrap_or_else(PoisonError::into_inner);
        if state.ended {
            shared.save(&mut state);
            return;
        }
    }
}

impl Reporter {
    /// Loads what was stored and starts the thread that sends. Without consent it sleeps.
    pub fn start(options: Options) -> Self {
        let store = options.store.as_deref().map(Store::new);
        let stored = store.as_ref().map(Store::load).unwrap_or_default();
        let now = now();
        let holds =
            |(policy, seen): &(Policy, i64)| now - seen < (policy.max_age as i64).saturating_mul(1000);
        let known = stored.policy.filter(holds);
        let seen = known.as_ref().map_or(now, |(_, seen)| *seen);
        let policy = known.map(|(policy, _)| policy).or(options.policy);
        let mut queue = Queue::new(stored.consent, policy, stored.entries, seed());
        queue.wake(now);
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                queue,
                seen,
                looked: Vec::new(),
                look: Vec::new(),
                changed: false,
                unsaved: false,
                ended: false,
            }),
            wake: Condvar::new(),
            store,
            transport: options.transport,
        });
        let weak = Arc::downgrade(&shared);
        let handle = std::thread::Builder::new().name("bellwether-client".into()).spawn({
            let weak = Weak::clone(&weak);
            move || run(&weak)
        });
        // A system without another thread sends nothing: the application goes on.
        let thread = Arc::new(Thread { shared: weak, handle: Mutex::new(handle.ok()) });
        Self { shared, _thread: thread }
    }

    fn change(&self, work: impl FnOnce(&mut State)) {
        let mut state = self.shared.lock();
        work(&mut state);
        state.changed = true;
        drop(state);
        self.shared.wake.notify_all();
    }

    /// The user agrees, or no longer; any time, as often as they like. Off empties queue and file.
    pub fn consent(&self, consent: Consent) {
        self.change(|state| {
            state.queue.set_consent(consent);
            if consent == Consent::Off {
                state.look.clear();
                state.looked.clear();
            }
        });
        if consent == Consent::Off {
            let mut state = self.shared.lock();
            self.shared.save(&mut state);
        }
    }

    /// What the user has agreed to.
    pub fn state_of_consent(&self) -> Consent {
        self.shared.lock().queue.consent()
    }

    /// Takes in a policy, such as that of a response's header `Bellwether-Policy`.
    pub fn policy(&self, policy: Policy) {
        let now = now();
        self.change(|state| {
            state.seen = now;
            state.queue.set_policy(policy);
        });
    }

    /// A request was answered with this HTTP status.
    pub fn answered(&self, url: &str, status: u16) {
        self.answered_by(url, status, "");
    }

    /// The same with the HTTP version: `http/1.1`, `h2` or `h3`.
    pub fn answered_by(&self, url: &str, status: u16, protocol: &str) {
        let bad = status >= 400;
        self.record(
            url,
            if bad { "http.error" } else { "ok" },
            if bad { status } else { 0 },
            protocol,
            false,
        );
    }

    /// A request failed with this error. Of its text nothing is kept.
    pub fn failed(&self, url: &str, error: &(dyn Error + 'static)) {
        self.failed_with(url, Failure::of(error));
    }

    /// A request failed so.
    pub fn failed_with(&self, url: &str, failure: Failure) {
        let vague =
            matches!(failure, Failure::Other | Failure::TimedOut | Failure::GaveUp | Failure::Unreachable);
        self.record(url, failure.kind(), 0, "", vague);
    }

    /// The network is back: what waits is sent soon.
    pub fn online(&self) {
        let now = now();
        self.change(|state| state.queue.wake(now));
    }

    fn record(&self, url: &str, kind: &str, status: u16, protocol: &str, look: bool) {
        let Some(origin) = origin(url) else { return };
        let at = now();
        let entry = Entry {
            at,
            origin: origin.clone(),
            kind: kind.to_owned(),
            status,
            protocol: protocol.chars().take(10).collect(),
            server: None,
            count: 1,
            fraction: 1.0,
        };
        self.change(|state| {
            state.looked.retain(|(_, when)| at - when < DIAGNOSE_AGAIN_MS);
            let known = state.looked.iter().any(|(known, _)| *known == origin);
            if look && !known && state.looked.len() < 16 && state.queue.consent() == Consent::Diagnostics {
                state.looked.push((origin, at));
                state.look.push(entry);
            } else {
                state.queue.record(entry);
            }
        });
    }

    /// Entries that wait, and those that were dropped because too many did.
    pub fn waiting(&self) -> (usize, u64) {
        let state = self.shared.lock();
        (state.queue.entries().len(), state.queue.dropped())
    }

    /// Whether what waits would be lost by a restart because the disk refuses it.
    pub fn is_unsaved(&self) -> bool {
        self.shared.lock().unsaved
    }

    /// Whether a policy is in force: without one, or after a collector has answered 410, nothing is reported.
    pub fn is_active(&self) -> bool {
        let state = self.shared.lock();
        state.queue.policy().is_some() && state.queue.consent() > Consent::Off
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers as it is told, and remembers what came.
    #[derive(Default)]
    struct Told {
        answers: Mutex<Vec<Option<u16>>>,
        came: Mutex<Vec<(String, String)>>,
        news: Condvar,
    }

    struct Line(Arc<Told>);

    impl Transport for Line {
        fn post(&self, url: &str, body: &str) -> Option<u16> {
            let mut came = self.0.came.lock().unwrap();
            came.push((url.to_owned(), body.to_owned()));
            self.0.news.notify_all();
            let mut answers = self.0.answers.lock().unwrap();
            if answers.is_empty() { Some(204) } else { answers.remove(0) }
        }
    }

    impl Told {
        /// Waits for so many uploads.
        fn wait(&self, count: usize) -> Vec<(String, String)> {
            let came = self.came.lock().unwrap();
            let (came, waited) = self
                .news
                .wait_timeout_while(came, Duration::from_secs(30), |came| came.len() < count)
                .unwrap();
            assert!(!waited.timed_out(), "{came:?}");
            came.clone()
        }
    }

    const POLICY: &str =
        r#"{"max_age":3600,"collectors":["https://a.example.net/r/s","https://b.example.org/r/s"]}"#;

    fn options(told: &Arc<Told>, store: Option<PathBuf>) -> Options {
        Options { policy: Policy::parse(POLICY).ok(), store, transport: Box::new(Line(Arc::clone(told))) }
    }

    #[test]
    fn the_next_collector_takes_what_the_first_does_not() {
        let told = Arc::new(Told::default());
        *told.answers.lock().unwrap() = vec![None, Some(204)];
        let reporter = Reporter::start(options(&told, None));
        reporter.failed(
            "https://shop.example/cart?card=4111",
            &std::io::Error::from(std::io::ErrorKind::ConnectionReset),
        );
        assert_eq!(reporter.waiting().0, 0, "nothing before consent");
        reporter.consent(Consent::Basic);
        reporter.failed(
            "https://shop.example/cart?card=4111",
            &std::io::Error::from(std::io::ErrorKind::ConnectionReset),
        );
        let came = told.wait(2);
        assert!(came[0].0.starts_with("https://a.") && came[1].0.starts_with("https://b."));
        assert!(came[1].1.contains("tcp.reset") && !came[1].1.contains("card"), "{}", came[1].1);
    }

    #[test]
    fn what_waits_survives_a_restart_and_a_withdrawal_leaves_no_trace() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("client.json");
        let told = Arc::new(Told::default());
        *told.answers.lock().unwrap() = vec![None, None];
        let reporter = Reporter::start(options(&told, Some(path.clone())));
        reporter.consent(Consent::Basic);
        reporter.failed_with("https://shop.example/", Failure::Refused);
        told.wait(2);
        // The thread stores before it sleeps, and before it ends.
        let mut tries = 0;
        while !std::fs::read_to_string(&path).is_ok_and(|text| text.contains("tcp.refused")) {
            tries += 1;
            assert!(tries < 100_000, "nothing is stored");
            std::thread::yield_now();
        }
        drop(reporter);
        let again = Reporter::start(options(&told, Some(path.clone())));
        assert_eq!(again.state_of_consent(), Consent::Basic);
        let came = told.wait(3);
        assert!(came[2].1.contains("tcp.refused"));
        again.consent(Consent::Off);
        assert_eq!(again.waiting().0, 0);
        assert!(!path.exists(), "consent was withdrawn");
    }
}
