//! Tokens: who may do what, where the server asks. `docs/guides/tokens.md`.
//!
//! A token has 256 random bits, so its SHA-256 is kept without salt: it can be found by it, and not made from it.

mod guard;
pub(crate) mod handlers;
mod scope;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use model::{Clock, ErrorKind, InvalidField, SeamError, StateStore, Timestamp};
use parking_lot::RwLock;
use ring::digest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use guard::guard;
pub(crate) use scope::{Scope, needed};

use crate::config::WebConfig;
use crate::error::{ApiError, ErrorType};

const BUCKET: &str = "tokens";
const MAX_NAME: usize = 100;
/// A shorter one in `web.admin_token_file` could be guessed.
const MIN_ADMIN: usize = 24;
/// Uses closer than this are one.
const USED_MS: i64 = 300_000;

/// When a token is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenMode {
    /// Never.
    #[default]
    Off,
    /// To push data.
    Push,
    /// To push data, and to change anything.
    Write,
    /// For everything.
    All,
}

impl TokenMode {
    pub(crate) fn asks_for(self, scope: Scope) -> bool {
        match self {
            Self::Off => false,
            Self::Push => scope == Scope::Push,
            Self::Write => scope != Scope::Read,
            Self::All => true,
        }
    }
}

/// What is kept of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Token {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) scopes: Vec<Scope>,
    /// SHA-256, in hexadecimal.
    hash: String,
    pub(crate) created_ms: i64,
    /// 0: never.
    #[serde(default)]
    pub(crate) expires_ms: i64,
    #[serde(default)]
    pub(crate) last_used_ms: i64,
}

impl Token {
    fn is_over(&self, now: Timestamp) -> bool {
        self.expires_ms != 0 && self.expires_ms <= now.ms()
    }
}

/// Who shows a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) name: String,
    pub(crate) scopes: Vec<Scope>,
}

impl Holder {
    pub(crate) fn may(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|own| own.covers(scope))
    }
}

/// A new token, as it is sent in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewToken {
    pub(crate) name: String,
    pub(crate) scopes: Vec<Scope>,
    #[serde(default)]
    pub(crate) expires_ms: i64,
}

/// All tokens.
pub struct Tokens {
    mode: TokenMode,
    max: usize,
    /// Hash of the token in `web.admin_token_file`.
    admin: Option<String>,
    state: Arc<dyn StateStore>,
    clock: Arc<dyn Clock>,
    /// By hash.
    held: RwLock<HashMap<String, Token>>,
}

fn hash(token: &str) -> String {
    let digest = digest::digest(&digest::SHA256, token.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads `web.admin_token_file`.
fn admin_token(config: &WebConfig) -> Result<Option<String>, InvalidField> {
    if config.admin_token_file.is_empty() {
        return match config.tokens {
            TokenMode::Off => Ok(None),
            _ => Err(InvalidField::new(
                "web.tokens",
                "web.admin_token_file is empty: nobody could issue the first token",
            )),
        };
    }
    let file = &config.admin_token_file;
    let wrong = |message: String| InvalidField::new("web.admin_token_file", message);
    let text = std::fs::read_to_string(Path::new(file))
        .map_err(|err| wrong(format!("cannot read {file}: {err}")))?;
    let token = text.trim();
    if token.len() < MIN_ADMIN {
        return Err(wrong(format!(
            "the token in {file} has {} characters, at least {MIN_ADMIN} are needed: try `openssl rand -hex 32`",
            token.len()
        )));
    }
    // It travels in headers and in the web UI's cookie.
    if !token.bytes().all(|byte| byte.is_ascii_graphic() && !b"\";,\\".contains(&byte)) {
        return Err(wrong(format!(
            "the token in {file} has characters other than letters, digits and punctuation without quotes, ';', ',' and '\\'"
        )));
    }
    Ok(Some(token.to_owned()))
}

/// Whether the settings about tokens can be put in force.
///
/// # Errors
/// What is wrong with them.
pub fn check(config: &WebConfig) -> Result<(), InvalidField> {
    admin_token(config).map(drop)
}

impl Tokens {
    /// Reads what is kept, and the administrator's file.
    ///
    /// # Errors
    /// When the store fails or holds something else, or the file cannot be used.
    pub async fn open(
        config: &WebConfig,
        state: Arc<dyn StateStore>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, SeamError> {
        let admin =
            admin_token(config).map_err(|wrong| SeamError::new(ErrorKind::Invalid, wrong.to_string()))?;
        let mut held = HashMap::new();
        for (key, entry) in state.list(BUCKET, "").await? {
            let token: Token = serde_json::from_slice(&entry.value).map_err(|err| {
                SeamError::new(ErrorKind::Corrupt, format!("token {key} cannot be read: {err}"))
            })?;
            held.insert(token.hash.clone(), token);
        }
        let admin = admin.as_deref().map(hash);
        Ok(Arc::new(Self {
            mode: config.tokens,
            max: config.max_tokens,
            admin,
            state,
            clock,
            held: RwLock::new(held),
        }))
    }

    pub(crate) fn mode(&self) -> TokenMode {
        self.mode
    }

    /// Who shows this token; `None` when it is none of ours, revoked or too old.
    pub(crate) fn holder(&self, token: &str) -> Option<Holder> {
        // Found by its hash, so that the time this takes tells nothing of the token.
        let hash = hash(token);
        if self.admin.as_ref() == Some(&hash) {
            return Some(Holder { name: "web.admin_token_file".into(), scopes: vec![Scope::Admin] });
        }
        let now = self.clock.now();
        let (holder, used) = {
            let held = self.held.read();
            let known = held.get(&hash).filter(|token| !token.is_over(now))?;
            let holder = Holder { name: known.name.clone(), scopes: known.scopes.clone() };
            (holder, now.ms() - known.last_used_ms >= USED_MS)
        };
        if used {
            self.note_use(&hash, now);
        }
        Some(holder)
    }

    /// Notes when a token was used; on its own time, as nobody waits for it.
    fn note_use(&self, hash: &str, now: Timestamp) {
        let token = {
            let mut held = self.held.write();
            let Some(known) = held.get_mut(hash) else { return };
            known.last_used_ms = now.ms();
            known.clone()
        };
        let state = Arc::clone(&self.state);
        tokio::spawn(async move {
            // Only where it still is: a use must not bring a revoked token back.
            let known = match state.get(BUCKET, &token.id).await {
                Ok(known) => known,
                Err(err) => return tracing::warn!(error = %err.chain(), "the use of a token cannot be noted"),
            };
            let (Some(known), Ok(value)) = (known, serde_json::to_vec(&token)) else { return };
            let expect = model::seam::Expect::Revision(known.revision);
            if let Err(err) = state.put(BUCKET, &token.id, &value, expect).await {
                tracing::warn!(error = %err.chain(), "the use of a token cannot be noted");
            }
        });
    }

    /// Every token, the newest first.
    pub(crate) fn list(&self) -> Vec<Token> {
        let mut all: Vec<Token> = self.held.read().values().cloned().collect();
        all.sort_by(|a, b| (b.created_ms, &b.id).cmp(&(a.created_ms, &a.id)));
        all
    }

    /// Issues one; returns it, which is the only time.
    pub(crate) async fn issue(&self, new: NewToken) -> Result<(Token, String), ApiError> {
        if self.mode == TokenMode::Off {
            let message =
                "web.tokens is off, so anybody could issue tokens: set it and web.admin_token_file first";
            return Err(ApiError::new(ErrorType::Conflict, message));
        }
        let name = new.name.trim();
        if name.is_empty() || name.chars().count() > MAX_NAME {
            return Err(ApiError::bad_data(format!("a token needs a name of 1 to {MAX_NAME} characters")));
        }
        if new.scopes.is_empty() {
            return Err(ApiError::bad_data("a token needs scopes: read, push, edit or admin"));
        }
        let now = self.clock.now();
        if new.expires_ms != 0 && new.expires_ms <= now.ms() {
            return Err(ApiError::bad_data("expires_ms has passed already; 0 means never"));
        }
        let mut scopes = new.scopes;
        scopes.sort_unstable();
        scopes.dedup();
        let secret = format!("bw_{}", crate::random_hex(32)?);
        let token = Token {
            id: crate::random_hex(8)?,
            name: name.to_owned(),
            scopes,
            hash: hash(&secret),
            created_ms: now.ms(),
            expires_ms: new.expires_ms,
            last_used_ms: 0,
        };
        let value = serde_json::to_vec(&token).map_err(|err| {
            ApiError::new(ErrorType::Internal, format!("the token cannot be written as JSON: {err}"))
        })?;
        if self.held.read().len() >= self.max {
            let message = format!("there are {} tokens already (web.max_tokens): revoke some", self.max);
            return Err(ApiError::new(ErrorType::Execution, message));
        }
        self.state.put_all(BUCKET, &[(token.id.clone(), Some(value))]).await?;
        self.held.write().insert(token.hash.clone(), token.clone());
        Ok((token, secret))
    }

    /// Revokes one.
    pub(crate) async fn revoke(&self, id: &str) -> Result<(), ApiError> {
        let known = self.held.read().values().find(|token| token.id == id).map(|token| token.hash.clone());
        let Some(hash) = known else { return Err(ApiError::not_found(format!("there is no token {id:?}"))) };
        // Refused at once, also when the store fails: that is then said, and it is tried again.
        let token = self.held.write().remove(&hash);
        if let Err(err) = self.state.delete(BUCKET, id).await {
            if let Some(token) = token {
                self.held.write().insert(hash, token);
            }
            return Err(err.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::time::SystemClock;

    fn store(folder: &Path) -> Arc<dyn StateStore> {
        let metrics = state::Metrics::new(&mut prometheus_client::registry::Registry::default());
        let path = folder.join("state.sqlite");
        Arc::new(state::Store::open(path, state::Config::default(), metrics).unwrap())
    }

    async fn tokens(folder: &Path, store: &Arc<dyn StateStore>, mode: TokenMode) -> Arc<Tokens> {
        let file = folder.join("admin");
        std::fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
        let config = WebConfig {
            tokens: mode,
            admin_token_file: file.display().to_string(),
            max_tokens: 2,
            ..WebConfig::default()
        };
        Tokens::open(&config, Arc::clone(store), Arc::new(SystemClock)).await.unwrap()
    }

    fn new(name: &str, scopes: &[Scope]) -> NewToken {
        NewToken { name: name.into(), scopes: scopes.to_vec(), expires_ms: 0 }
    }

    #[tokio::test]
    async fn issued_used_kept_and_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let (id, secret) = {
            let tokens = tokens(folder.path(), &store, TokenMode::Write).await;
            assert!(tokens.holder("0123456789abcdef0123456789abcdef").unwrap().may(Scope::Admin));
            let (made, secret) = tokens.issue(new(" ci ", &[Scope::Push])).await.unwrap();
            assert_eq!((made.name.as_str(), secret.len()), ("ci", 67));
            let holder = tokens.holder(&secret).unwrap();
            assert!(holder.may(Scope::Push) && !holder.may(Scope::Read) && !holder.may(Scope::Edit));
            assert!(tokens.list()[0].last_used_ms > 0);
            tokens.issue(new("b", &[Scope::Edit])).await.unwrap();
            assert!(
                tokens.issue(new("c", &[Scope::Edit])).await.unwrap_err().message.contains("web.max_tokens")
            );
            (made.id, secret)
        };
        // The file has no token in it.
        let bytes = std::fs::read(folder.path().join("state.sqlite")).unwrap();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
        let again = tokens(folder.path(), &store, TokenMode::Write).await;
        assert!(again.holder(&secret).is_some());
        again.revoke(&id).await.unwrap();
        assert_eq!(again.holder(&secret), None);
        assert!(again.revoke(&id).await.is_err());
        assert_eq!(tokens(folder.path(), &store, TokenMode::Write).await.holder(&secret), None);
    }

    #[tokio::test]
    async fn nothing_is_issued_where_nobody_is_asked_and_old_ones_end() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let off = tokens(folder.path(), &store, TokenMode::Off).await;
        assert!(
            off.issue(new("a", &[Scope::Admin])).await.unwrap_err().message.contains("web.tokens is off")
        );
        let tokens = tokens(folder.path(), &store, TokenMode::All).await;
        let past = NewToken { expires_ms: 1, ..new("a", &[Scope::Read]) };
        assert!(tokens.issue(past).await.unwrap_err().message.contains("passed already"));
        let (_, secret) = tokens.issue(new("a", &[Scope::Read])).await.unwrap();
        for token in tokens.held.write().values_mut() {
            token.expires_ms = 1;
        }
        assert_eq!(tokens.holder(&secret), None);
    }

    #[test]
    fn the_first_token_must_exist_and_be_hard_to_guess() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = WebConfig { tokens: TokenMode::All, ..WebConfig::default() };
        let wrong = |config: &WebConfig| check(config).unwrap_err().to_string();
        assert!(wrong(&config).starts_with("web.tokens: web.admin_token_file is empty"));
        let file = folder.path().join("admin");
        config.admin_token_file = file.display().to_string();
        assert!(wrong(&config).starts_with("web.admin_token_file: cannot read"));
        std::fs::write(&file, "secret\n").unwrap();
        assert!(wrong(&config).contains("6 characters"));
        std::fs::write(&file, "0123456789abcdef0123456789; Domain=evil\n").unwrap();
        assert!(wrong(&config).contains("characters other than"));
        assert_eq!(check(&WebConfig::default()), Ok(()));
    }
}
