//! Connections with TLS, and the series about them.

use std::sync::Arc;

use httpc::TlsConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::Step;
use crate::certificate::{self, Certificate};
use crate::result::Outcome;

/// What Go prints for a time that is not set, in seconds since the epoch.
const NO_TIME: f64 = -62_135_596_800.0;

/// What the server has shown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    chain: Vec<Certificate>,
    version: &'static str,
    cipher: String,
    /// When the first certificate of the verified chain ends, its root included.
    verified_until: Option<f64>,
}

/// Speaks TLS on a connection. `name`: for SNI and the certificate, unless the settings name another.
pub(crate) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    settings: &TlsConfig,
    name: &str,
    http2: bool,
) -> Step<(TlsStream<S>, Shown)> {
    let name = if settings.server_name.is_empty() { name.to_owned() } else { settings.server_name.clone() };
    let made = {
        let settings = settings.clone();
        tokio::task::spawn_blocking(move || httpc::rustls_client_config(&settings, http2))
    };
    let config = made.await.map_err(|err| err.to_string())?.map_err(|err| format!("tls_config: {err}"))?;
    let server = ServerName::try_from(name.clone()).map_err(|_| format!("{name:?} is no name for TLS"))?;
    let connector = TlsConnector::from(Arc::new(config));
    let stream =
        connector.connect(server, stream).await.map_err(|err| format!("TLS handshake failed: {err}"))?;
    let (_, connection) = stream.get_ref();
    let version = match connection.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLS 1.2",
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
        _ => "unknown",
    };
    let cipher = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str());
    // Go's names of TLS 1.3 suites lack what TLS 1.2's have.
    let cipher = cipher.unwrap_or_default().replace("TLS13_", "TLS_");
    let chain = connection.peer_certificates().unwrap_or_default();
    let chain: Vec<Certificate> = chain.iter().filter_map(|der| certificate::read(der)).collect();
    let verified_until = match settings.insecure_skip_verify {
        true => None,
        false => verified_until(&chain, settings).await?,
    };
    Ok((stream, Shown { chain, version, cipher, verified_until }))
}

/// When the chain ends that leads to a root which is trusted: the earliest end on it; of several roots the latest.
async fn verified_until(chain: &[Certificate], settings: &TlsConfig) -> Step<Option<f64>> {
    let settings = settings.clone();
    let roots = tokio::task::spawn_blocking(move || httpc::trusted_certificates(&settings)).await;
    let roots = roots.map_err(|err| err.to_string())?.map_err(|err| format!("tls_config: {err}"))?;
    let Some(leaf) = chain.first() else { return Ok(None) };
    // From the leaf upwards through what the server has shown.
    let (mut last, mut until) = (leaf, leaf.not_after);
    for _ in 0..chain.len() {
        let issuer = chain.iter().find(|one| one.subject_der == last.issuer_der);
        match issuer {
            Some(issuer) if issuer.subject_der != last.subject_der => {
                (last, until) = (issuer, until.min(issuer.not_after));
            }
            _ => break,
        }
    }
    let root = roots
        .iter()
        .filter_map(|der| certificate::read(der))
        .filter(|root| root.subject_der == last.issuer_der)
        .map(|root| root.not_after)
        .fold(f64::NEG_INFINITY, f64::max);
    Ok(Some(if root.is_finite() { until.min(root) } else { until }))
}

/// Whether HTTP/2 was agreed on.
pub(crate) fn is_http2<S>(stream: &TlsStream<S>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}

impl Shown {
    /// The series about certificates. `cipher`: whether the cipher is shown, which only HTTP does.
    pub(crate) fn show(&self, outcome: &mut Outcome, cipher: bool) {
        self.earliest(outcome);
        if !self.chain.is_empty() {
            outcome.set(
                "probe_ssl_last_chain_expiry_timestamp_seconds",
                "Returns last SSL chain expiry in timestamp",
                self.verified_until.unwrap_or(NO_TIME),
            );
        }
        self.info(outcome);
        self.version(outcome);
        if cipher {
            outcome.with(
                "probe_tls_cipher_info",
                "Returns the TLS cipher negotiated during handshake",
                &[("cipher", &self.cipher)],
                1.0,
            );
        }
    }

    /// When the first of the certificates that were shown ends.
    pub(crate) fn earliest(&self, outcome: &mut Outcome) {
        let earliest = self.chain.iter().map(|c| c.not_after).fold(f64::INFINITY, f64::min);
        if earliest.is_finite() {
            outcome.set(
                "probe_ssl_earliest_cert_expiry",
                "Returns last SSL chain expiry in unixtime",
                earliest,
            );
        }
    }

    /// Which TLS was spoken.
    pub(crate) fn version(&self, outcome: &mut Outcome) {
        outcome.with(
            "probe_tls_version_info",
            "Returns the TLS version used or NaN when unknown",
            &[("version", self.version)],
            1.0,
        );
    }

    /// The server's own certificate.
    pub(crate) fn info(&self, outcome: &mut Outcome) {
        let Some(leaf) = self.chain.first() else { return };
        outcome.with(
            "probe_ssl_last_chain_info",
            "Contains SSL leaf certificate information",
            &[
                ("fingerprint_sha256", &leaf.fingerprint),
                ("issuer", &leaf.issuer),
                ("serialnumber", &leaf.serial),
                ("subject", &leaf.subject),
                ("subjectalternative", &leaf.names),
            ],
            1.0,
        );
    }
}
