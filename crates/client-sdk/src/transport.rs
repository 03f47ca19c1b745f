//! One upload.

use std::time::Duration;

/// Until a collector is given up for the next one.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// Sends uploads; an application may have a client of its own.
pub trait Transport: Send + Sync {
    /// Posts a body as `application/json` and gives the status of the answer; `None` when there is none. Sends no cookie, no
    /// credentials and no referrer, and follows no redirection.
    fn post(&self, url: &str, body: &str) -> Option<u16>;
}

/// Plain HTTPS by rustls, with the roots of the web.
#[derive(Debug)]
pub struct Https {
    agent: ureq::Agent,
}

impl Default for Https {
    fn default() -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(PATIENCE))
            .user_agent("bellwether-client")
            .build();
        Self { agent: config.into() }
    }
}

impl Transport for Https {
    fn post(&self, url: &str, body: &str) -> Option<u16> {
        let request = self.agent.post(url).header("content-type", "application/json");
        request.send(body).ok().map(|answer| answer.status().as_u16())
    }
}
