//! `tls_server_config` as the TLS library wants it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{NamedGroup, ProtocolVersion, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio_rustls::TlsAcceptor;

use super::shape::TlsServer;

/// A field and what is wrong with it.
type Wrong = (String, String);

fn wrong(field: &str, message: impl std::fmt::Display) -> Wrong {
    (format!("tls_server_config.{field}"), message.to_string())
}

/// The PEM text that is given in one of two ways; `None` when it is in neither.
fn pem(
    text: (&str, &str),
    file: (&str, &Path),
    folder: &Path,
    files: &mut Vec<PathBuf>,
) -> Result<Option<Vec<u8>>, Wrong> {
    match (text.1.is_empty(), file.1.as_os_str().is_empty()) {
        (false, false) => Err(wrong(text.0, format!("give it or {}, not both", file.0))),
        (false, true) => Ok(Some(text.1.as_bytes().to_vec())),
        (true, true) => Ok(None),
        (true, false) => {
            let path = folder.join(file.1);
            let bytes =
                std::fs::read(&path).map_err(|err| wrong(file.0, format!("{}: {err}", path.display())))?;
            files.push(path);
            Ok(Some(bytes))
        }
    }
}

fn certificates(field: &str, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(wrong(field, "it holds no certificate")),
        Err(err) => Err(wrong(field, format!("it is no PEM: {err}"))),
    }
}

/// `None` when neither certificate nor key is given. The files that were read are added to `files`.
///
/// # Errors
/// The field, and what is wrong with it.
pub(super) fn acceptor(
    config: &TlsServer,
    folder: &Path,
    http2: bool,
    files: &mut Vec<PathBuf>,
) -> Result<Option<TlsAcceptor>, Wrong> {
    let chain = pem(("cert", &config.cert), ("cert_file", &config.cert_file), folder, files)?;
    let key = pem(("key", &config.key), ("key_file", &config.key_file), folder, files)?;
    let authorities =
        pem(("client_ca", &config.client_ca), ("client_ca_file", &config.client_ca_file), folder, files)?;
    let (chain, key) = match (chain, key) {
        (Some(chain), Some(key)) => (chain, key),
        (None, None) if authorities.is_none() && config.client_auth_type.is_empty() => return Ok(None),
        (None, _) => return Err(wrong("cert_file", "it is missing")),
        (Some(_), None) => return Err(wrong("key_file", "it is missing")),
    };
    let chain = certificates("cert_file", &chain)?;
    let key = PrivateKeyDer::from_pem_slice(&key)
        .map_err(|err| wrong("key_file", format!("it holds no private key: {err}")))?;
    if !config.client_allowed_sans.is_empty() {
        return Err(wrong(
            "client_allowed_sans",
            "names in clients' certificates are not looked at; leave it out",
        ));
    }

    let provider = Arc::new(provider(config)?);
    let versions = versions(config)?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions)
        .map_err(|err| wrong("min_version", err))?;
    let required = match config.client_auth_type.as_str() {
        "" | "NoClientCert" => None,
        "RequireAndVerifyClientCert" => Some(true),
        "VerifyClientCertIfGiven" => Some(false),
        "RequestClientCert" | "RequireAnyClientCert" | "RequireClientCert" => {
            let message = "certificates that nobody verifies prove nothing; use RequireAndVerifyClientCert or VerifyClientCertIfGiven";
            return Err(wrong("client_auth_type", message));
        }
        other => return Err(wrong("client_auth_type", format!("{other:?} is not known"))),
    };
    let builder = match (required, authorities) {
        (None, None) => builder.with_no_client_auth(),
        (None, Some(_)) => return Err(wrong("client_ca_file", "it has no effect without client_auth_type")),
        (Some(_), None) => return Err(wrong("client_auth_type", "it needs client_ca_file")),
        (Some(required), Some(authorities)) => {
            let mut roots = RootCertStore::empty();
            for one in certificates("client_ca_file", &authorities)? {
                roots.add(one).map_err(|err| wrong("client_ca_file", err))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if required { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build().map_err(|err| wrong("client_ca_file", err))?)
        }
    };
    let mut server = builder.with_single_cert(chain, key).map_err(|err| wrong("key_file", err))?;
    server.ignore_client_order = config.prefer_server_cipher_suites.unwrap_or(true);
    if http2 {
        server.alpn_protocols.push(b"h2".to_vec());
    }
    server.alpn_protocols.push(b"http/1.1".to_vec());
    Ok(Some(TlsAcceptor::from(Arc::new(server))))
}

fn versions(config: &TlsServer) -> Result<Vec<&'static SupportedProtocolVersion>, Wrong> {
    let number = |field: &str, text: &str, default| match text {
        "" => Ok(default),
        "TLS12" => Ok(12),
        "TLS13" => Ok(13),
        "TLS10" | "TLS11" => Err(wrong(field, format!("{text} is not spoken; use TLS12 or TLS13"))),
        other => Err(wrong(field, format!("{other:?} is not known; use TLS12 or TLS13"))),
    };
    let least = number("min_version", &config.min_version, 12)?;
    let most = number("max_version", &config.max_version, 13)?;
    if least > most {
        return Err(wrong("max_version", "it is below min_version"));
    }
    let both = [(13, &rustls::version::TLS13), (12, &rustls::version::TLS12)];
    Ok(both.into_iter().filter(|(n, _)| (least..=most).contains(n)).map(|(_, version)| version).collect())
}

/// The cryptography, narrowed to the suites and curves that are named by their Go names. As in Go, suites of TLS 1.3 are
/// not chosen.
fn provider(config: &TlsServer) -> Result<CryptoProvider, Wrong> {
    let mut provider = rustls::crypto::ring::default_provider();
    let is_13 = |suite: &rustls::SupportedCipherSuite| suite.version().version == ProtocolVersion::TLSv1_3;
    let name =
        |suite: &rustls::SupportedCipherSuite| format!("{:?}", suite.suite()).replace("TLS13_", "TLS_");
    if !config.cipher_suites.is_empty() {
        let known: Vec<String> = provider.cipher_suites.iter().map(name).collect();
        if let Some(other) = config.cipher_suites.iter().find(|suite| !known.contains(suite)) {
            return Err(wrong(
                "cipher_suites",
                format!("{other:?} is not spoken; there are {}", known.join(", ")),
            ));
        }
        provider.cipher_suites.retain(|suite| is_13(suite) || config.cipher_suites.contains(&name(suite)));
    }
    if !config.curve_preferences.is_empty() {
        let mut groups = Vec::new();
        for curve in &config.curve_preferences {
            let group = match curve.as_str() {
                "CurveP256" => NamedGroup::secp256r1,
                "CurveP384" => NamedGroup::secp384r1,
                "X25519" => NamedGroup::X25519,
                other => {
                    let message = format!("{other:?} is not spoken; there are CurveP256, CurveP384, X25519");
                    return Err(wrong("curve_preferences", message));
                }
            };
            groups.extend(provider.kx_groups.iter().copied().filter(|known| known.name() == group));
        }
        provider.kx_groups = groups;
    }
    Ok(provider)
}
