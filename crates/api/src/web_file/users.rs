//! Users with passwords: HTTP basic authentication (RFC 7617) against bcrypt hashes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use ring::digest::{Context, SHA256};

/// Most outcomes that are remembered.
pub(super) const REMEMBERED: usize = 256;
/// Compared with when there is no such user, so that an answer does not tell by its time who there is.
pub(super) const NOBODY: &str = "$2b$10$7EqJtq98hPqEX7fNZaFWoOhi5m3J7Zt0F3CkB0v1C4eF5Cj0Y8vqK";

/// Names and hashes.
#[derive(Clone, Debug, Default)]
pub(super) struct Users(Arc<BTreeMap<String, String>>);

/// Outcomes of comparisons, which cost tens of milliseconds each: one at a time, and remembered.
#[derive(Default)]
pub(crate) struct Passwords {
    seen: Mutex<HashMap<[u8; 32], bool>>,
    comparing: tokio::sync::Mutex<()>,
}

#[cfg(test)]
impl Passwords {
    pub(super) fn len(&self) -> usize {
        self.seen.lock().len()
    }

    /// Right ones that are remembered.
    pub(super) fn known(&self) -> usize {
        self.seen.lock().values().filter(|same| **same).count()
    }
}

impl Users {
    /// # Errors
    /// The field that is no hash, and why.
    pub(super) fn new(users: Option<BTreeMap<String, String>>) -> Result<Self, (String, String)> {
        let users = users.unwrap_or_default();
        for (name, hash) in &users {
            let wrong = |message: &str| Err((format!("basic_auth_users.{name}"), message.to_owned()));
            if name.is_empty() || name.contains(':') {
                return wrong("a name is not empty and has no colon");
            }
            if hash.parse::<bcrypt::HashParts>().is_err() {
                return wrong("it is no bcrypt hash; make one with: htpasswd -nBC 10 \"\"");
            }
        }
        Ok(Self(Arc::new(users)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the request may go on.
    pub(super) async fn admits(&self, passwords: &Passwords, headers: &HeaderMap) -> bool {
        if self.is_empty() {
            return true;
        }
        let Some((name, password)) = sent(headers) else { return false };
        let known = self.0.get(&name);
        let hash = known.map_or(NOBODY, String::as_str).to_owned();
        let mut context = Context::new(&SHA256);
        for part in [name.as_bytes(), hash.as_bytes(), &password[..]] {
            context.update(&(part.len() as u64).to_le_bytes());
            context.update(part);
        }
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        let remembered = |passwords: &Passwords| passwords.seen.lock().get(&key).copied();
        if let Some(same) = remembered(passwords) {
            return same;
        }
        let _turn = passwords.comparing.lock().await;
        if let Some(same) = remembered(passwords) {
            return same;
        }
        let is_known = known.is_some();
        let compared = tokio::task::spawn_blocking(move || bcrypt::verify(&password, &hash)).await;
        let same = is_known && matches!(compared, Ok(Ok(true)));
        let mut seen = passwords.seen.lock();
        if seen.len() >= REMEMBERED {
            // Guesses go first, so that a guesser makes nobody wait again who is known.
            seen.retain(|_, same| *same);
        }
        if seen.len() >= REMEMBERED {
            seen.clear();
        }
        seen.insert(key, same);
        same
    }
}

fn sent(headers: &HeaderMap) -> Option<(String, Vec<u8>)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (kind, rest) = value.split_once(' ')?;
    let bytes = kind.eq_ignore_ascii_case("basic").then(|| STANDARD.decode(rest.trim()).ok())??;
    let colon = bytes.iter().position(|byte| *byte == b':')?;
    Some((String::from_utf8(bytes[..colon].to_vec()).ok()?, bytes[colon + 1..].to_vec()))
}

/// The answer to everybody else.
pub(super) fn refused() -> Response {
    let ask = [(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic"))];
    (StatusCode::UNAUTHORIZED, ask, "Unauthorized\n").into_response()
}
