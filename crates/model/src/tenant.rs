//! Whose data it is.

use std::fmt;
use std::sync::Arc;

/// A tenant's name: 1 to 64 characters of `a–z A–Z 0–9 _ -`, so that it is also a safe folder and path name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Arc<str>);

/// The name is not 1–64 characters of `a–z A–Z 0–9 _ -`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tenant {0:?} is not 1 to 64 characters of a-z, A-Z, 0-9, '_' and '-'")]
pub struct InvalidTenant(pub String);

impl TenantId {
    /// Checks and wraps a name.
    ///
    /// # Errors
    /// [`InvalidTenant`] when the name is empty, too long or has another character.
    pub fn new(name: &str) -> Result<Self, InvalidTenant> {
        let fits = (1..=64).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
        if fits { Ok(Self(name.into())) } else { Err(InvalidTenant(name.to_owned())) }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TenantId {
    /// The tenant of everything that names none: `default`.
    fn default() -> Self {
        Self("default".into())
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TenantId({})", self.0)
    }
}
