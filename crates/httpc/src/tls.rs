//! rustls from [`TlsConfig`].

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error as RustlsError, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};

use crate::config::{TlsConfig, TlsVersion};
use crate::error::Error;
use crate::file::Watched;
use crate::secret::Secret;

/// The provider, the same for every client; nothing depends on a process-wide default.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| {
        let mut provider = ring::default_provider();
        // As Go's clients prefer them, so that a server sees no difference: AES-128, AES-256, ChaCha20.
        provider.cipher_suites.sort_by_key(|suite| {
            let name = suite.suite().as_str().unwrap_or_default();
            if name.contains("AES_128") { 0 } else { 1 + u8::from(!name.contains("AES_256")) }
        });
        Arc::new(provider)
    }))
}

/// rustls for a connection of one's own, made from the settings. Blocks on files. `http2`: whether it is offered.
///
/// # Errors
/// `File` and `Tls`.
pub fn rustls_client_config(tls: &TlsConfig, http2: bool) -> Result<ClientConfig, Error> {
    client_config(tls, http2).map(|(config, _)| config)
}

/// The certificates that the settings trust: theirs, or the operating system's. Blocks on files.
///
/// # Errors
/// `File` and `Tls`.
pub fn trusted_certificates(tls: &TlsConfig) -> Result<Vec<CertificateDer<'static>>, Error> {
    match text("tls_config.ca_file", &tls.ca, &tls.ca_file, &mut Vec::new())? {
        Some(pem) => CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|err| bad("tls_config.ca", &err)),
        None => Ok(system_certificates().clone()),
    }
}

/// The operating system's certificates, read once.
fn system_certificates() -> &'static Vec<CertificateDer<'static>> {
    static CERTIFICATES: OnceLock<Vec<CertificateDer<'static>>> = OnceLock::new();
    CERTIFICATES.get_or_init(|| {
        let found = rustls_native_certs::load_native_certs();
        if found.certs.is_empty() {
            let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
            tracing::warn!(errors = ?reasons, "found no system root certificates; https needs tls_config.ca_file");
        }
        found.certs
    })
}

/// The operating system's roots, read once. Without any, every `https` target fails with an unknown issuer.
fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    Arc::clone(ROOTS.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(system_certificates().iter().cloned());
        Arc::new(roots)
    }))
}

/// Builds the client's TLS side and lists the files it was read from. Blocks on files.
pub(crate) fn client_config(tls: &TlsConfig, http2: bool) -> Result<(ClientConfig, Vec<Watched>), Error> {
    let mut files = Vec::new();
    let roots = match text("tls_config.ca_file", &tls.ca, &tls.ca_file, &mut files)? {
        None => system_roots(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for cert in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let cert = cert.map_err(|err| bad("tls_config.ca", &err))?;
                roots.add(cert).map_err(|err| bad("tls_config.ca", &err))?;
            }
            if roots.is_empty() {
                return Err(Error::Tls { field: "tls_config.ca", reason: "has no certificate".into() });
            }
            Arc::new(roots)
        }
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&versions(tls)?)
        .map_err(|err| bad("tls_config", &err))?
        .dangerous()
        .with_custom_certificate_verifier(verifier(tls, roots)?);
    let cert = text("tls_config.cert_file", &tls.cert, &tls.cert_file, &mut files)?;
    let key = text("tls_config.key_file", &tls.key, &tls.key_file, &mut files)?;
    let mut config = match (cert, key) {
        (Some(cert), Some(key)) => {
            let chain: Vec<_> = CertificateDer::pem_slice_iter(cert.as_bytes())
                .collect::<Result<_, _>>()
                .map_err(|err| bad("tls_config.cert", &err))?;
            let key =
                PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|err| bad("tls_config.key", &err))?;
            builder.with_client_auth_cert(chain, key).map_err(|err| bad("tls_config.cert", &err))?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = if http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { Vec::new() };
    Ok((config, files))
}

fn bad(field: &'static str, err: &dyn std::fmt::Display) -> Error {
    Error::Tls { field, reason: err.to_string() }
}

fn text(
    field: &'static str,
    inline: &Secret,
    file: &Path,
    files: &mut Vec<Watched>,
) -> Result<Option<String>, Error> {
    if !inline.is_empty() {
        return Ok(Some(inline.expose().to_owned()));
    }
    if file.as_os_str().is_empty() {
        return Ok(None);
    }
    let read = Watched::read(file).map_err(|source| Error::File { field, path: file.to_owned(), source })?;
    let content = read.content.clone();
    files.push(read);
    Ok(Some(content))
}

/// TLS 1.0 and 1.1 do not exist here: as a minimum they mean "1.2 and up", as a maximum they are an error.
fn versions(tls: &TlsConfig) -> Result<Vec<&'static SupportedProtocolVersion>, Error> {
    let low = tls.min_version.unwrap_or(TlsVersion::Tls12).max(TlsVersion::Tls12);
    let high = tls.max_version.unwrap_or(TlsVersion::Tls13);
    let mut versions = Vec::new();
    if low <= TlsVersion::Tls12 && high >= TlsVersion::Tls12 {
        versions.push(&rustls::version::TLS12);
    }
    if high >= TlsVersion::Tls13 {
        versions.push(&rustls::version::TLS13);
    }
    if versions.is_empty() {
        return Err(Error::Tls {
            field: "tls_config.max_version",
            reason: format!("allows no supported version (TLS12, TLS13) from {low:?} on"),
        });
    }
    Ok(versions)
}

fn verifier(tls: &TlsConfig, roots: Arc<RootCertStore>) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    if tls.insecure_skip_verify {
        return Ok(Arc::new(AcceptAny));
    }
    if roots.is_empty() {
        return Ok(Arc::new(NoRoots));
    }
    let inner = WebPkiServerVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(|err| bad("tls_config.ca", &err))?;
    if tls.server_name.is_empty() {
        return Ok(inner);
    }
    let name =
        ServerName::try_from(tls.server_name.clone()).map_err(|err| bad("tls_config.server_name", &err))?;
    Ok(Arc::new(ByName { name, inner }))
}

/// `insecure_skip_verify`: signatures are checked, the chain is not.
#[derive(Debug)]
struct AcceptAny;

/// No root certificate is known, so that nothing can be trusted.
#[derive(Debug)]
struct NoRoots;

/// `server_name`: the certificate must be for this name, whatever the URL says.
#[derive(Debug)]
struct ByName {
    name: ServerName<'static>,
    inner: Arc<WebPkiServerVerifier>,
}

/// The three methods that are the same for every verifier of ours.
macro_rules! signatures_by_provider {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, RustlsError> {
            let algorithms = &provider().signature_verification_algorithms;
            rustls::crypto::verify_tls12_signature(message, cert, signed, algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, RustlsError> {
            let algorithms = &provider().signature_verification_algorithms;
            rustls::crypto::verify_tls13_signature(message, cert, signed, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            provider().signature_verification_algorithms.supported_schemes()
        }
    };
}

impl ServerCertVerifier for AcceptAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        Ok(ServerCertVerified::assertion())
    }

    signatures_by_provider!();
}

impl ServerCertVerifier for NoRoots {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        Err(rustls::CertificateError::UnknownIssuer.into())
    }

    signatures_by_provider!();
}

impl ServerCertVerifier for ByName {
    fn verify_server_cert(
        &self,
        cert: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, RustlsError> {
        self.inner.verify_server_cert(cert, intermediates, &self.name, ocsp, now)
    }

    signatures_by_provider!();
}
