//! The client against servers of our own on the loopback.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::config::*;
use crate::*;

/// A server that answers each request head with what `answer` says, one request a connection.
async fn serve(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let mut head = Vec::new();
                let mut part = [0; 4096];
                while !head.windows(4).any(|w| w == b"\r\n\r\n") {
                    match stream.read(&mut part).await {
                        Ok(n) if n > 0 => head.extend_from_slice(&part[..n]),
                        _ => return,
                    }
                }
                let answer = answer(&String::from_utf8_lossy(&head));
                if stream.write_all(&answer).await.is_ok() {
                    stream.shutdown().await.ok();
                }
            });
        }
    });
    addr
}

fn ok(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
        .into_bytes()
}

async fn get(config: &Config, url: &str, limit: usize) -> Result<String, Error> {
    let client = Client::new(config, Options::default())?;
    let answer = client.send(Request::get(url)?.timeout(Duration::from_secs(2))).await?;
    Ok(String::from_utf8(answer.bytes(limit).await?.to_vec()).unwrap())
}

fn echo_header(name: &'static str) -> impl Fn(&str) -> Vec<u8> + Send + Sync {
    move |head| {
        let prefix = format!("{name}: ");
        let lines: Vec<&str> = head.lines().filter_map(|l| l.strip_prefix(&prefix)).collect();
        ok(&lines.join("|"))
    }
}

#[tokio::test]
async fn credentials_are_sent_and_files_read_again() {
    let addr = serve(echo_header("authorization")).await;
    let url = format!("http://{addr}/");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "Sesame\n").unwrap();
    let basic =
        BasicAuth { username: "Aladdin".into(), password_file: "password".into(), ..BasicAuth::default() };
    let mut config = Config { basic_auth: Some(basic), ..Config::default() };
    config.set_directory(folder.path());
    let client = Client::new(&config, Options::default()).unwrap();
    let ask = || async {
        let answer = client.send(Request::get(&url).unwrap()).await.unwrap();
        String::from_utf8(answer.bytes(1000).await.unwrap().to_vec()).unwrap()
    };
    assert_eq!(ask().await, "Basic QWxhZGRpbjpTZXNhbWU=");
    std::fs::write(&file, "open").unwrap();
    assert_eq!(ask().await, "Basic QWxhZGRpbjpvcGVu");
    std::fs::remove_file(&file).unwrap();
    let err = client.send(Request::get(&url).unwrap()).await.unwrap_err();
    assert!(err.to_string().contains("basic_auth.password_file"), "{err}");

    let bearer = Config { bearer_token: "abc".into(), ..Config::default() };
    assert_eq!(get(&bearer, &url, 1000).await.unwrap(), "Bearer abc");
    let custom = Authorization { kind: "Token".into(), credentials: "x".into(), ..Authorization::default() };
    let custom = Config { authorization: Some(custom), ..Config::default() };
    assert_eq!(get(&custom, &url, 1000).await.unwrap(), "Token x");
}

#[tokio::test]
async fn headers_keep_all_their_values() {
    let addr = serve(echo_header("x-a")).await;
    let headers =
        Headers { values: vec!["1".into()], secrets: vec!["2".into(), "3".into()], files: Vec::new() };
    let config = Config { http_headers: [("X-A".to_owned(), headers)].into(), ..Config::default() };
    assert_eq!(get(&config, &format!("http://{addr}/"), 100).await.unwrap(), "1|2|3");
}

#[tokio::test]
async fn a_body_is_read_up_to_its_limit_also_when_it_is_a_bomb() {
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for _ in 0..64 {
        gz.write_all(&vec![b' '; 1 << 20]).unwrap();
    }
    let bomb = gz.finish().unwrap();
    let addr = serve(move |head| {
        if head.starts_with("GET /plain") {
            return ok("0123456789");
        }
        let mut answer =
            format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", bomb.len())
                .into_bytes();
        answer.extend_from_slice(&bomb);
        answer
    })
    .await;
    let config = Config::default();
    assert_eq!(get(&config, &format!("http://{addr}/plain"), 10).await.unwrap(), "0123456789");
    for path in ["plain", "bomb"] {
        let err = get(&config, &format!("http://{addr}/{path}"), 9).await.unwrap_err();
        assert!(matches!(err, Error::BodyTooLarge { limit: 9, .. }), "{err}");
        assert!(err.to_string().contains("limit of 9 bytes"));
    }
}

#[tokio::test]
async fn redirects_end() {
    let addr =
        serve(|_| b"HTTP/1.1 302 Found\r\nlocation: /again\r\ncontent-length: 0\r\n\r\n".to_vec()).await;
    let url = format!("http://{addr}/");
    let err = get(&Config::default(), &url, 100).await.unwrap_err();
    assert!(matches!(err, Error::Redirect { limit: 10, .. }), "{err:?}");
    let config = Config { follow_redirects: false, ..Config::default() };
    let client = Client::new(&config, Options::default()).unwrap();
    assert_eq!(client.send(Request::get(&url).unwrap()).await.unwrap().status(), StatusCode::FOUND);
}

#[tokio::test]
async fn silence_and_refusal_are_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let client = Client::new(&Config::default(), Options::default()).unwrap();
    let request =
        Request::get(&format!("http://user:pw@{addr}/")).unwrap().timeout(Duration::from_millis(100));
    let err = client.send(request.clone()).await.unwrap_err();
    assert!(matches!(err, Error::Timeout { .. }), "{err:?}");
    drop(listener);
    let err = client.send(request.timeout(Duration::from_secs(5))).await.unwrap_err();
    assert!(matches!(err, Error::Connect { .. }), "{err:?}");
    assert!(err.to_string().contains("refused") && !err.to_string().contains("pw"), "{err}");
}

#[tokio::test]
async fn a_token_is_fetched_once() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let addr = serve(move |head| {
        if head.starts_with("POST /token") {
            count.fetch_add(1, Ordering::Relaxed);
            // "id:s&c" with the secret form-escaped, as RFC 6749 §2.3.1 asks.
            assert!(head.contains("authorization: Basic aWQ6cyUyNmM="), "{head}");
            return ok(r#"{"access_token":"tok","token_type":"bearer","expires_in":3600}"#);
        }
        echo_header("authorization")(head)
    })
    .await;
    let oauth2 = OAuth2 {
        client_id: "id".into(),
        client_secret: "s&c".into(),
        token_url: format!("http://{addr}/token"),
        ..OAuth2::default()
    };
    let config = Config { oauth2: Some(oauth2), ..Config::default() };
    let client = Client::new(&config, Options::default()).unwrap();
    for _ in 0..2 {
        let answer = client.send(Request::get(&format!("http://{addr}/")).unwrap()).await.unwrap();
        assert_eq!(answer.bytes(100).await.unwrap(), "Bearer tok");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

async fn serve_tls(cert: &rcgen::CertifiedKey<rcgen::KeyPair>) -> SocketAddr {
    let key = rustls::pki_types::PrivateKeyDer::try_from(cert.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut head = [0; 4096];
                if stream.read(&mut head).await.is_ok() && stream.write_all(&ok("tls")).await.is_ok() {
                    stream.shutdown().await.ok();
                }
            });
        }
    });
    addr
}

#[tokio::test]
async fn certificates_are_checked_against_the_configuration() {
    let cert = rcgen::generate_simple_self_signed(vec!["db.internal".into()]).unwrap();
    let addr = serve_tls(&cert).await;
    let url = format!("https://{addr}/");
    let err = get(&Config::default(), &url, 10).await.unwrap_err();
    assert!(matches!(err, Error::Connect { .. }) && err.to_string().contains("certificate"), "{err}");
    let tls = |tls_config| Config { tls_config, ..Config::default() };
    let ca = TlsConfig { ca: cert.cert.pem().into(), ..TlsConfig::default() };
    assert!(get(&tls(ca.clone()), &url, 10).await.is_err(), "the certificate is for another name");
    let named = TlsConfig { server_name: "db.internal".into(), ..ca.clone() };
    assert_eq!(get(&tls(named.clone()), &url, 10).await.unwrap(), "tls");
    let any = TlsConfig { insecure_skip_verify: true, ..TlsConfig::default() };
    assert_eq!(get(&tls(any), &url, 10).await.unwrap(), "tls");
    let old = TlsConfig { max_version: Some(TlsVersion::Tls11), ..named };
    let err = Client::new(&tls(old), Options::default()).unwrap_err();
    assert!(err.to_string().contains("max_version"), "{err}");
    let junk = TlsConfig { ca: "junk".into(), ..TlsConfig::default() };
    assert!(Client::new(&tls(junk), Options::default()).is_err());
}

#[test]
fn contradictions_are_refused_in_prometheus_words() {
    let parse = |json: serde_json::Value| serde_json::from_value::<Config>(json).unwrap().validate();
    let j = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let cases = [
        (
            r#"{"bearer_token":"a","bearer_token_file":"b"}"#,
            "at most one of bearer_token & bearer_token_file",
        ),
        (
            r#"{"basic_auth":{},"bearer_token":"b"}"#,
            "at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured",
        ),
        (
            r#"{"basic_auth":{},"authorization":{}}"#,
            "at most one of basic_auth, oauth2 & authorization must be configured",
        ),
        (r#"{"basic_auth":{"password":"a","password_file":"b"}}"#, "basic_auth password & password_file"),
        (r#"{"authorization":{"type":"Basic"}}"#, "authorization type cannot be set to \"basic\""),
        (r#"{"authorization":{},"bearer_token":"a"}"#, "authorization is not compatible with bearer_token"),
        (r#"{"oauth2":{"token_url":"x"}}"#, "oauth2 client_id must be configured"),
        (r#"{"tls_config":{"ca":"a","ca_file":"b"}}"#, "at most one of ca & ca_file"),
        (r#"{"tls_config":{"cert_file":"b"}}"#, "exactly one of key or key_file"),
        (r#"{"tls_config":{"key_file":"b"}}"#, "exactly one of cert or cert_file"),
        (r#"{"no_proxy":"a"}"#, "if no_proxy is configured"),
        (r#"{"proxy_url":"http://a","proxy_from_environment":true}"#, "proxy_url must not be configured"),
        (r#"{"proxy_connect_header":{"a":["b"]}}"#, "if proxy_connect_header is configured"),
        (r#"{"http_headers":{"Host":{}}}"#, "setting header \"Host\" is not allowed"),
    ];
    for (json, expected) in cases {
        let err = parse(j(json)).unwrap_err().to_string();
        assert!(err.contains(expected), "{json}: {err}");
    }
    parse(j(r#"{"proxy_url":"http://a","no_proxy":"b","authorization":{"credentials":"c"}}"#)).unwrap();
    assert!(
        serde_json::from_str::<Config>(r#"{"basic_auht":{}}"#)
            .unwrap_err()
            .to_string()
            .contains("basic_auht")
    );
}

#[test]
fn secrets_do_not_print() {
    let config: Config = serde_json::from_str(
        r#"{"basic_auth":{"password":"hunter2"},"proxy_url":"http://u:hunter2@p","http_headers":{"a":{"secrets":["hunter2"]}}}"#,
    )
    .unwrap();
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2") && shown.contains("<secret>"), "{shown}");
    assert_eq!(serde_json::to_string(&Secret::from("x")).unwrap(), "\"<secret>\"");
}
