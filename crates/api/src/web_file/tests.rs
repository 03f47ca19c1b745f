use axum::http::{StatusCode, header};
use base64::Engine;

use super::*;

struct Files {
    folder: tempfile::TempDir,
    config: WebConfig,
}

impl Files {
    fn new(text: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = WebConfig { config_file: folder.path().join("web.yml"), ..WebConfig::default() };
        std::fs::write(&config.config_file, text).unwrap();
        Self { folder, config }
    }

    /// A certificate for localhost and its key.
    fn with_certificate(self) -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(self.folder.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(self.folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        self
    }

    fn wrong(&self) -> String {
        let err = WebFile::open(&self.config).err().unwrap().to_string();
        err.replace(&format!("{}/", self.folder.path().display()), "")
    }
}

fn hashed(password: &str) -> String {
    bcrypt::hash(password, 4).unwrap()
}

fn basic(name: &str, password: &str) -> axum::http::HeaderMap {
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
    [(header::AUTHORIZATION, HeaderValue::from_str(&format!("Basic {text}")).unwrap())].into_iter().collect()
}

#[test]
fn what_cannot_be_used_is_named_with_its_place() {
    for (text, expected) in [
        ("tls_server_config:\n  cert_fil: a\n", "web.yml:2:3: tls_server_config: unknown field `cert_fil`"),
        (
            "tls_server_config:\n  cert_file: cert.pem\n",
            "web.yml:2:3: tls_server_config.key_file: it is missing",
        ),
        ("tls_server_config: {cert_file: none.pem, key_file: key.pem}\n", "tls_server_config.cert_file: "),
        (
            "tls_server_config: {cert_file: key.pem, key_file: key.pem}\n",
            "cert_file: it holds no certificate",
        ),
        (
            "tls_server_config: {cert_file: cert.pem, key_file: cert.pem}\n",
            "key_file: it holds no private key",
        ),
        (
            "tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n  min_version: TLS11\n",
            "web.yml:4:16: tls_server_config.min_version: TLS11 is not spoken",
        ),
        (
            "tls_server_config: {cert_file: cert.pem, key_file: key.pem, client_auth_type: RequireAndVerifyClientCert}",
            "client_auth_type: it needs client_ca_file",
        ),
        ("basic_auth_users:\n  a: secret\n", "web.yml:2:6: basic_auth_users.a: it is no bcrypt hash"),
        ("http_server_config:\n  headers: {Server: x}\n", "headers.Server: it cannot be set; there are"),
    ] {
        let wrong = Files::new(text).with_certificate().wrong();
        assert!(wrong.contains(expected), "{text}: {wrong}");
    }
    let mut tokens = Files::new(&format!("basic_auth_users: {{a: '{}'}}\n", hashed("x")));
    tokens.config.tokens = TokenMode::Push;
    assert!(tokens.wrong().contains("use one of them"), "{}", tokens.wrong());
    let mut none = Files::new("");
    assert!(
        WebFile::open(&none.config).unwrap().is_some_and(|file| !file.is_tls()),
        "an empty file says nothing"
    );
    none.config.config_file = none.folder.path().join("missing.yml");
    assert!(none.wrong().starts_with("missing.yml: "), "{}", none.wrong());
}

#[tokio::test]
async fn passwords_let_in_whom_they_should() {
    let files =
        Files::new(&format!("basic_auth_users:\n  ann: '{}'\n  bob: '{}'\n", hashed("a:1"), hashed("")));
    let file = WebFile::open(&files.config).unwrap().unwrap();
    let read = file.current().await;
    let users = &read.users;
    let admits = async |headers| users.admits(&file.passwords, &headers).await;
    for _ in 0..2 {
        assert!(admits(basic("ann", "a:1")).await);
        assert!(admits(basic("bob", "")).await);
        for (name, password) in [("ann", ""), ("bob", "a:1"), ("eve", "a:1"), ("", "")] {
            assert!(!admits(basic(name, password)).await, "{name}:{password}");
        }
    }
    assert!(!admits(axum::http::HeaderMap::new()).await);
    assert_eq!(users::refused().status(), StatusCode::UNAUTHORIZED);
    assert!(users::NOBODY.parse::<bcrypt::HashParts>().is_ok());
    for i in 0..300 {
        users.admits(&file.passwords, &basic("ann", &i.to_string())).await;
    }
    assert!(file.passwords.len() <= users::REMEMBERED);
    assert_eq!(file.passwords.known(), 2, "guesses make nobody wait who is known");
}

#[tokio::test(start_paused = true)]
async fn a_changed_file_is_read_and_a_wrong_one_is_not() {
    let files = Files::new("http_server_config: {headers: {X-Frame-Options: deny}}\n");
    let file = WebFile::open(&files.config).unwrap().unwrap();
    let path = &files.config.config_file;
    let mut later = SystemTime::UNIX_EPOCH;
    let mut write = |text: &str| {
        std::fs::write(path, text).unwrap();
        later += Duration::from_secs(3600);
        std::fs::File::options().write(true).open(path).unwrap().set_modified(later).unwrap();
    };
    write("nonsense: true\n");
    tokio::time::advance(LOOK).await;
    assert_eq!(file.current().await.headers.len(), 1, "the old one stays");
    write("http_server_config: {http2: false}\n");
    assert_eq!(file.current().await.headers.len(), 1, "not looked at yet");
    tokio::time::advance(LOOK).await;
    assert!(file.current().await.headers.is_empty() && !file.current().await.http2);
}

#[tokio::test]
async fn tls_passwords_and_headers_are_served() {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let text = format!(
        "tls_server_config: {{cert_file: cert.pem, key_file: key.pem}}\n\
         basic_auth_users: {{ann: '{}'}}\n\
         http_server_config: {{headers: {{X-Frame-Options: deny}}}}\n",
        hashed("pw")
    );
    let files = Files::new(&text).with_certificate();
    let file = WebFile::open(&files.config).unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = axum::Router::new().route("/", axum::routing::get(async || "page\n"));
    let incoming = crate::connection::Incoming::small(listener);
    let limits = crate::connection::Limits::SMALL;
    let served =
        tokio::spawn(crate::connection::serve(incoming, router, limits, file, std::future::pending()));

    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(files.folder.path().join("cert.pem")).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let ask = async |credentials: &str| {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = connector.connect(name, stream).await.unwrap();
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{credentials}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    // ann:pw
    let answer = ask("Authorization: Basic YW5uOnB3\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("page\n"), "{answer}");
    assert!(answer.contains("x-frame-options: deny\r\n"), "{answer}");
    let answer = ask("").await;
    assert!(
        answer.starts_with("HTTP/1.1 401 ") && answer.contains("www-authenticate: Basic\r\n"),
        "{answer}"
    );
    let mut plain = tokio::net::TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // An alert and an end, or a reset.
    drop(plain.read_to_end(&mut answer).await);
    assert!(!answer.windows(4).any(|four| four == b"page"), "nothing in the clear");
    served.abort();
}
