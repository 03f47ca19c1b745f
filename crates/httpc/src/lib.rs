//! The HTTP client of everything that reaches out: scrapes, discovery, remote write, notifications.
//!
//! Its configuration is Prometheus' `http_client_config`, field for field, with the same validation; secrets never
//! print; bodies are read up to a cap; files with credentials and certificates are read again when they change.
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | [`Config`] and its parts, [`Config::validate`], [`with_http_fields!`] for sections that inline it |
//! | [`secret`] | [`Secret`]: a text that shows itself as `<secret>` |
//! | [`client`] | [`Client`], [`Request`], [`Response`] |
//! | [`sigv4`] | signing requests to AWS |
//! | [`error`] | [`Error`] and what a caller may do about it |

pub mod aws;
pub mod client;
pub mod config;
pub mod error;
mod file;
mod oauth2;
pub mod secret;
pub mod sigv4;
#[cfg(test)]
mod tests;
mod tls;

pub use aws::SigV4;
pub use client::{Client, Options, Request, Response};
pub use config::{Authorization, BasicAuth, Config, Headers, InvalidConfig, OAuth2, TlsConfig, TlsVersion};
pub use error::Error;
pub use reqwest::header;
pub use reqwest::{Method, StatusCode, Url};
pub use secret::Secret;
pub use tls::{rustls_client_config, trusted_certificates};
