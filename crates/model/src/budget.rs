//! Memory budgets: bytes are reserved before they are allocated.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{ErrorKind, SeamError};

/// A bound on bytes, with a parent whose bound holds too (query → tenant → process).
#[derive(Debug)]
pub struct Budget {
    name: String,
    limit_bytes: u64,
    used: AtomicU64,
    peak: AtomicU64,
    parent: Option<Arc<Budget>>,
}

/// A reservation would have passed a budget's limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{budget} may use {limit_bytes} bytes, has {used_bytes} in use and needs {asked_bytes} more")]
pub struct OverBudget {
    /// Which budget refused.
    pub budget: String,
    /// Its limit.
    pub limit_bytes: u64,
    /// What was in use.
    pub used_bytes: u64,
    /// What was asked for.
    pub asked_bytes: u64,
}

impl From<OverBudget> for SeamError {
    fn from(err: OverBudget) -> Self {
        Self::new(ErrorKind::Limit, err.to_string())
    }
}

impl Budget {
    /// A budget of `limit_bytes`; `name` appears in errors ("query memory (query.max_bytes)").
    pub fn new(name: impl Into<String>, limit_bytes: u64, parent: Option<Arc<Budget>>) -> Arc<Self> {
        let (used, peak) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { name: name.into(), limit_bytes, used, peak, parent })
    }

    /// A budget without a bound, for tests and offline tools.
    pub fn unlimited() -> Arc<Self> {
        Self::new("unlimited", u64::MAX, None)
    }

    /// Reserves `bytes` here and in every parent; they are given back when the reservation is dropped.
    ///
    /// # Errors
    /// [`OverBudget`] names the first budget that refused; nothing is reserved then.
    pub fn reserve(self: &Arc<Self>, bytes: u64) -> Result<Reservation, OverBudget> {
        self.take(bytes)?;
        Ok(Reservation { budget: Arc::clone(self), bytes })
    }

    /// Bytes in use.
    pub fn used_bytes(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// The most bytes that were ever in use.
    pub fn peak_bytes(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// The bound.
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes
    }

    fn take(&self, bytes: u64) -> Result<(), OverBudget> {
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|&sum| sum <= self.limit_bytes)
        });
        let used = taken.map_err(|used_bytes| OverBudget {
            budget: self.name.clone(),
            limit_bytes: self.limit_bytes,
            used_bytes,
            asked_bytes: bytes,
        })?;
        if let Some(parent) = &self.parent
            && let Err(refused) = parent.take(bytes)
        {
            self.used.fetch_sub(bytes, Ordering::Relaxed);
            return Err(refused);
        }
        self.peak.fetch_max(used + bytes, Ordering::Relaxed);
        Ok(())
    }

    fn give(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(parent) = &self.parent {
            parent.give(bytes);
        }
    }
}

/// Bytes held in a [`Budget`] until this is dropped.
#[derive(Debug)]
pub struct Reservation {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Reservation {
    /// Reserves `bytes` more under the same reservation.
    ///
    /// # Errors
    /// [`OverBudget`]; the reservation stays as it was.
    pub fn grow(&mut self, bytes: u64) -> Result<(), OverBudget> {
        self.budget.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.give(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_reservation_holds_nothing() {
        let process = Budget::new("process", 100, None);
        let query = Budget::new("query", 80, Some(Arc::clone(&process)));
        let other = process.reserve(50).unwrap();
        assert_eq!(query.reserve(60).unwrap_err().budget, "process");
        assert_eq!(query.reserve(90).unwrap_err().budget, "query");
        assert_eq!((query.used_bytes(), process.used_bytes()), (0, 50));
        drop(other);
        let mut held = query.reserve(60).unwrap();
        held.grow(20).unwrap();
        assert!(held.grow(1).is_err());
        assert_eq!((query.used_bytes(), process.used_bytes()), (80, 80));
        drop(held);
        assert_eq!((query.used_bytes(), process.used_bytes(), process.peak_bytes()), (0, 0, 80));
    }
}
