//! `web.config_file`: TLS, users with passwords and extra headers, in the file format that Prometheus, Alertmanager and the
//! exporters share (<https://prometheus.io/docs/prometheus/latest/configuration/https/>).
//!
//! The file and those that it names are looked at again when somebody connects, at most once a second. When what is there now
//! cannot be used, what was read before stays in force, and an error says so.

mod shape;
mod tls;
mod users;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use crate::config::WebConfig;
use crate::tokens::TokenMode;
use shape::Shape;
pub(crate) use users::Passwords;
use users::Users;

/// Between two looks at the files.
const LOOK: Duration = Duration::from_secs(1);

/// The file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}{message}", path = path.display())]
pub struct WebFileError {
    path: PathBuf,
    /// Begins with the place, or with a colon and a space.
    message: String,
}

impl WebFileError {
    fn new(path: &Path, message: impl std::fmt::Display) -> Self {
        Self { path: path.to_owned(), message: format!(": {message}") }
    }
}

/// What the file says.
pub(crate) struct Read {
    pub(crate) tls: Option<TlsAcceptor>,
    users: Users,
    headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) http2: bool,
    stamps: Stamps,
}

type Stamps = Vec<(PathBuf, Option<SystemTime>)>;

fn stamp(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

fn stamps(paths: Vec<PathBuf>) -> Stamps {
    let stamped = |path: PathBuf| {
        let at = stamp(&path);
        (path, at)
    };
    paths.into_iter().map(stamped).collect()
}

fn read(path: &Path, tokens: bool) -> Result<Read, WebFileError> {
    let text = std::fs::read_to_string(path).map_err(|err| WebFileError::new(path, err))?;
    let shape: Shape = match text.trim().is_empty() {
        true => Shape::default(),
        false => yaml::read(&text).map_err(|wrong| {
            let place = wrong.at.map_or(String::new(), |(line, column)| format!(":{line}:{column}"));
            WebFileError { path: path.to_owned(), message: format!("{place}: {}", wrong.of_field()) }
        })?,
    };
    let placed = |(field, message): (String, String)| {
        let at =
            yaml::place(&text, &field).map_or(String::new(), |(line, column)| format!(":{line}:{column}"));
        WebFileError { path: path.to_owned(), message: format!("{at}: {field}: {message}") }
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let users = Users::new(shape.basic_auth_users).map_err(placed)?;
    if tokens && !users.is_empty() {
        let message =
            "tokens (web.tokens) and passwords both come in the Authorization header: use one of them";
        return Err(placed(("basic_auth_users".to_owned(), message.to_owned())));
    }
    let http = shape.http_server_config.unwrap_or_default();
    let mut files = vec![path.to_owned()];
    let tls = match shape.tls_server_config.as_ref() {
        Some(tls) => tls::acceptor(tls, folder, http.http2, &mut files).map_err(placed)?,
        None => None,
    };
    let headers = http.headers.iter().map(|(name, value)| {
        let wrong = || (format!("http_server_config.headers.{name}"), "it is no header".to_owned());
        if !shape::HEADERS.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            let message = format!("it cannot be set; there are {}", shape::HEADERS.join(", "));
            return Err((format!("http_server_config.headers.{name}"), message));
        }
        Ok((name.parse().map_err(|_| wrong())?, HeaderValue::from_str(value).map_err(|_| wrong())?))
    });
    let headers = headers.collect::<Result<_, _>>().map_err(placed)?;
    Ok(Read { tls, users, headers, http2: http.http2, stamps: stamps(files) })
}

/// The file, followed.
pub struct WebFile {
    path: PathBuf,
    tokens: bool,
    current: Mutex<Arc<Read>>,
    /// When the files were last looked at; held while somebody does.
    looked: tokio::sync::Mutex<Instant>,
    passwords: Passwords,
}

impl WebFile {
    /// Reads the file; `None` when the settings name none.
    ///
    /// # Errors
    /// [`WebFileError`].
    pub fn open(config: &WebConfig) -> Result<Option<Arc<Self>>, WebFileError> {
        let (path, tokens) = (&config.config_file, config.tokens != TokenMode::Off);
        if path.as_os_str().is_empty() {
            return Ok(None);
        }
        let current = Mutex::new(Arc::new(read(path, tokens)?));
        let (looked, passwords) = (tokio::sync::Mutex::new(Instant::now()), Passwords::default());
        Ok(Some(Arc::new(Self { path: path.to_owned(), tokens, current, looked, passwords })))
    }

    /// Whether TLS is spoken.
    pub fn is_tls(&self) -> bool {
        self.current.lock().tls.is_some()
    }

    /// What holds now. Whoever comes first after a second looks at the files; the others do not wait for that.
    pub(crate) async fn current(self: &Arc<Self>) -> Arc<Read> {
        if let Ok(mut looked) = self.looked.try_lock()
            && looked.elapsed() >= LOOK
        {
            let this = Arc::clone(self);
            if let Err(err) = tokio::task::spawn_blocking(move || this.look()).await {
                tracing::error!(error = %err, "the file for the web server was not looked at");
            }
            *looked = Instant::now();
        }
        Arc::clone(&self.current.lock())
    }

    /// Reads the files again when they have changed. Blocks.
    fn look(&self) {
        let old = Arc::clone(&self.current.lock());
        if old.stamps.iter().all(|(path, at)| stamp(path) == *at) {
            return;
        }
        let new = match read(&self.path, self.tokens) {
            Ok(new) => {
                tracing::info!(path = %self.path.display(), "the file for the web server was read again");
                new
            }
            Err(err) => {
                tracing::error!(error = %err, "the file for the web server has changed and cannot be used; what was read before stays in force");
                // Said once for each change.
                let stamps = stamps(old.stamps.iter().map(|(path, _)| path.clone()).collect());
                Read {
                    tls: old.tls.clone(),
                    users: old.users.clone(),
                    headers: old.headers.clone(),
                    http2: old.http2,
                    stamps,
                }
            }
        };
        *self.current.lock() = Arc::new(new);
    }
}

/// Lets those in who have a password, where the file asks for one, and adds the headers.
pub(crate) async fn gate(State(file): State<Arc<WebFile>>, request: Request, next: Next) -> Response {
    let read = file.current().await;
    let mut response = match read.users.admits(&file.passwords, request.headers()).await {
        true => next.run(request).await,
        false => users::refused(),
    };
    for (name, value) in &read.headers {
        response.headers_mut().insert(name.clone(), value.clone());
    }
    response
}

#[cfg(test)]
mod tests;
