//! Places for queries that run at once, shared fairly: who waits is served in turn by tenant, not by arrival, so that one
//! tenant's thousand panels do not keep another's single query waiting.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use model::TenantId;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// As many of the tenant's queries wait as may.
    QueueFull,
}

/// The places.
#[derive(Debug)]
pub(crate) struct Slots {
    state: Mutex<State>,
    limits: Bounds,
}

/// How many queries may run and wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// All tenants' running queries.
    pub(crate) running: usize,
    /// One tenant's running queries.
    pub(crate) running_per_tenant: usize,
    /// One tenant's waiting queries.
    pub(crate) waiting_per_tenant: usize,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    tenants: HashMap<TenantId, Tenant>,
    /// Tenants with waiting queries, the next to be served first.
    turn: VecDeque<TenantId>,
}

#[derive(Debug, Default)]
struct Tenant {
    running: usize,
    waiting: VecDeque<oneshot::Sender<Slot>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Arc<Slots>,
    tenant: TenantId,
}

impl Slots {
    pub(crate) fn new(limits: Bounds) -> Arc<Self> {
        let limits = Bounds {
            running: limits.running.max(1),
            running_per_tenant: match limits.running_per_tenant {
                0 => usize::MAX,
                some => some,
            },
            ..limits
        };
        Arc::new(Self { state: Mutex::default(), limits })
    }

    /// Waits for a place. Dropping the future gives the turn up.
    ///
    /// # Errors
    /// [`Refused`] at once when too many wait already.
    pub(crate) async fn acquire(self: &Arc<Self>, tenant: &TenantId) -> Result<Slot, Refused> {
        let waiting = {
            let mut state = self.state.lock();
            let free = state.running < self.limits.running;
            let of_tenant = state.tenants.entry(tenant.clone()).or_default();
            // Those whose client went away need no place.
            of_tenant.waiting.retain(|waiting| !waiting.is_closed());
            if free && of_tenant.waiting.is_empty() && of_tenant.running < self.limits.running_per_tenant {
                of_tenant.running += 1;
                state.running += 1;
                return Ok(Slot { slots: Arc::clone(self), tenant: tenant.clone() });
            }
            if of_tenant.waiting.len() >= self.limits.waiting_per_tenant {
                return Err(Refused::QueueFull);
            }
            let (sender, receiver) = oneshot::channel();
            of_tenant.waiting.push_back(sender);
            if !state.turn.contains(tenant) {
                state.turn.push_back(tenant.clone());
            }
            receiver
        };
        Ok(waiting.await.expect("the sender is kept until it is used: the places outlive the wait"))
    }

    /// How many queries wait.
    pub(crate) fn waiting(&self) -> usize {
        let state = self.state.lock();
        state.tenants.values().map(|tenant| tenant.waiting.iter().filter(|w| !w.is_closed()).count()).sum()
    }

    /// Gives a place back and serves who is next.
    fn release(self: &Arc<Self>, tenant: &TenantId) {
        let mut unwanted = Vec::new();
        {
            let mut state = self.state.lock();
            state.running -= 1;
            if let Some(of_tenant) = state.tenants.get_mut(tenant) {
                of_tenant.running -= 1;
            }
            self.serve(&mut state, &mut unwanted);
            state.tenants.retain(|_, tenant| tenant.running > 0 || !tenant.waiting.is_empty());
        }
        // Places whose taker had just gone: they are dropped, and so given back, without the lock.
        drop(unwanted);
    }

    fn serve(self: &Arc<Self>, state: &mut State, unwanted: &mut Vec<Slot>) {
        for _ in 0..state.turn.len() {
            if state.running >= self.limits.running {
                break;
            }
            let Some(tenant) = state.turn.pop_front() else { break };
            let Some(of_tenant) = state.tenants.get_mut(&tenant) else { continue };
            if of_tenant.running < self.limits.running_per_tenant
                && let Some(next) = of_tenant.waiting.pop_front()
            {
                of_tenant.running += 1;
                state.running += 1;
                let slot = Slot { slots: Arc::clone(self), tenant: tenant.clone() };
                if let Err(slot) = next.send(slot) {
                    unwanted.push(slot);
                }
            }
            if state.tenants.get(&tenant).is_some_and(|of_tenant| !of_tenant.waiting.is_empty()) {
                state.turn.push_back(tenant);
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        Arc::clone(&self.slots).release(&self.tenant);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    fn slots(running: usize, running_per_tenant: usize, waiting_per_tenant: usize) -> Arc<Slots> {
        Slots::new(Bounds { running, running_per_tenant, waiting_per_tenant })
    }

    /// Polls once; the future is kept.
    macro_rules! poll {
        ($future:expr) => {
            futures_util::poll!(&mut $future)
        };
    }

    #[tokio::test]
    async fn tenants_take_turns() {
        let slots = slots(1, 0, 10);
        let (a, b) = (tenant("a"), tenant("b"));
        let first = slots.acquire(&a).await.unwrap();
        let mut second = Box::pin(slots.acquire(&a));
        let mut third = Box::pin(slots.acquire(&a));
        let mut other = Box::pin(slots.acquire(&b));
        assert!(poll!(second).is_pending() && poll!(third).is_pending() && poll!(other).is_pending());
        assert_eq!(slots.waiting(), 3);
        drop(first);
        let second = second.await.unwrap();
        assert!(poll!(third).is_pending());
        drop(second);
        // The other tenant came last and is served before the third query of the first.
        let other = other.await.unwrap();
        assert!(poll!(third).is_pending());
        drop(other);
        drop(third.await.unwrap());
        assert_eq!((slots.waiting(), slots.state.lock().running), (0, 0));
        assert!(slots.state.lock().tenants.is_empty());
    }

    #[tokio::test]
    async fn a_tenant_has_bounds_of_its_own() {
        let slots = slots(3, 1, 1);
        let (a, b) = (tenant("a"), tenant("b"));
        let first = slots.acquire(&a).await.unwrap();
        let mut second = Box::pin(slots.acquire(&a));
        assert!(poll!(second).is_pending());
        assert_eq!(slots.acquire(&a).await.unwrap_err(), Refused::QueueFull);
        let other = slots.acquire(&b).await.unwrap();
        drop(first);
        drop((second.await.unwrap(), other));
    }

    #[tokio::test]
    async fn who_goes_away_loses_the_turn() {
        let slots = slots(1, 0, 1);
        let a = tenant("a");
        let first = slots.acquire(&a).await.unwrap();
        let mut gone = Box::pin(slots.acquire(&a));
        assert!(poll!(gone).is_pending());
        drop(gone);
        let mut next = Box::pin(slots.acquire(&a));
        assert!(poll!(next).is_pending());
        drop(first);
        drop(next.await.unwrap());
        assert_eq!(slots.state.lock().running, 0);
    }
}
