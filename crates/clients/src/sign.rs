//! Secrets of a collector: signed paths, keys of clients, signatures of roll-ups.
//!
//! A signed path is the same for every user of a site on a day, so that it cannot tell users apart.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

/// Milliseconds in a day.
const DAY_MS: i64 = 86_400_000;
/// Bytes of a path's code: 96 bits.
const MAC_BYTES: usize = 12;

/// A shared secret and what is derived from it.
#[derive(Clone)]
pub struct Secret {
    key: hmac::Key,
    id: String,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why a signed path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPath {
    /// The parts are not those of a signed path.
    #[error("the collector path is not signed or not whole; take it from `bellwether client policy`")]
    Shape,
    /// Made with another secret.
    #[error("the collector path was signed with another key; make the policy again")]
    Key,
    /// The code does not fit.
    #[error("the signature of the collector path is wrong; make the policy again")]
    Mac,
    /// Too old, or of a day to come.
    #[error("the collector path is out of date; make the policy again")]
    Day,
}

impl Secret {
    /// From at least 16 bytes.
    ///
    /// # Errors
    /// In words, when it is shorter.
    pub fn new(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() < 16 {
            return Err(format!("the secret has {} bytes: at least 16 are needed", bytes.len()));
        }
        let key = hmac::Key::new(hmac::HMAC_SHA256, bytes);
        let id = hmac::sign(&key, b"key-id");
        let id = id.as_ref().iter().take(4).map(|b| format!("{b:02x}")).collect();
        Ok(Self { key, id })
    }

    /// Tells secrets apart without revealing them: 8 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn path_mac(&self, site: &str, day: i64) -> String {
        let tag = hmac::sign(&self.key, format!("path\n{site}\n{day}").as_bytes());
        URL_SAFE_NO_PAD.encode(&tag.as_ref()[..MAC_BYTES])
    }

    /// `/r/{site}/{key-id}/{day}/{mac}` for the day of `now_ms`.
    pub fn path(&self, site: &str, now_ms: i64) -> String {
        let day = now_ms.div_euclid(DAY_MS);
        format!("/r/{site}/{}/{day}/{}", self.id, self.path_mac(site, day))
    }

    /// Checks the three parts after the site. A path is good from its day on for `valid_ms`, and a day earlier for clocks
    /// that differ.
    ///
    /// # Errors
    /// Why it is not.
    pub fn check(&self, site: &str, parts: &str, now_ms: i64, valid_ms: i64) -> Result<(), BadPath> {
        let mut parts = parts.split('/');
        let (Some(id), Some(day), Some(mac), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(BadPath::Shape);
        };
        if id != self.id {
            return Err(BadPath::Key);
        }
        let day: i64 = day.parse().map_err(|_| BadPath::Shape)?;
        let expected = self.path_mac(site, day);
        // The codes are hashed once more so that the comparison tells nothing by its time.
        let digest = |text: &str| hmac::sign(&self.key, text.as_bytes());
        if digest(&expected).as_ref() != digest(mac).as_ref() {
            return Err(BadPath::Mac);
        }
        let start = day.saturating_mul(DAY_MS);
        let good = (start.saturating_sub(DAY_MS)..=start.saturating_add(DAY_MS).saturating_add(valid_ms))
            .contains(&now_ms);
        if good { Ok(()) } else { Err(BadPath::Day) }
    }

    /// The key under which clients are told apart on a day.
    pub fn day_key(&self, now_ms: i64) -> hmac::Key {
        let day = now_ms.div_euclid(DAY_MS);
        let tag = hmac::sign(&self.key, format!("clients\n{day}").as_bytes());
        hmac::Key::new(hmac::HMAC_SHA256, tag.as_ref())
    }

    /// The signature of a roll-up's body, in hexadecimal.
    pub fn sign_body(&self, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(b"rollup\n");
        context.update(body);
        context.sign().as_ref().iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Whether a roll-up's signature is right.
    pub fn check_body(&self, body: &[u8], signature: &str) -> bool {
        let expected = self.sign_body(body);
        let digest = |text: &str| hmac::sign(&self.key, text.as_bytes());
        digest(&expected).as_ref() == digest(signature).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_good_for_their_time_and_site() {
        let secret = Secret::new(b"0123456789abcdef").unwrap();
        let now = 20_000 * DAY_MS + 5;
        let path = secret.path("shop", now);
        let parts = path.strip_prefix("/r/shop/").unwrap();
        let check = |site: &str, parts: &str, at| secret.check(site, parts, at, 2 * DAY_MS);
        assert_eq!(check("shop", parts, now), Ok(()));
        assert_eq!(check("shop", parts, now + 2 * DAY_MS), Ok(()));
        assert_eq!(check("shop", parts, now + 4 * DAY_MS), Err(BadPath::Day));
        assert_eq!(check("shop", parts, now - 3 * DAY_MS), Err(BadPath::Day));
        assert_eq!(check("other", parts, now), Err(BadPath::Mac));
        assert_eq!(check("shop", "a/b", now), Err(BadPath::Shape));
        let another = Secret::new(b"0123456789abcdeX").unwrap();
        assert_eq!(another.check("shop", parts, now, DAY_MS), Err(BadPath::Key));
        assert!(Secret::new(b"short").is_err());
    }

    #[test]
    fn bodies_are_signed() {
        let secret = Secret::new(b"0123456789abcdef").unwrap();
        assert!(secret.check_body(b"x", &secret.sign_body(b"x")));
        assert!(!secret.check_body(b"y", &secret.sign_body(b"x")));
        assert!(!format!("{secret:?}").contains("0123"));
    }
}
