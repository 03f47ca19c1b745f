//! A service of one's own that sends the policy's headers, and only to visitors who have agreed: a middleware to copy.
//!
//! `bellwether client policy --config.file=bellwether.yml > client-policy.txt`, then
//! `cargo run -p api --example policy_headers -- client-policy.txt`. Signed sites: print it anew every day.
#![expect(clippy::print_stdout, reason = "an example tells where it listens")]

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;

/// The headers of a policy, one `Name: value` a line; lines with `#` are comments.
fn headers(policy: &str) -> io::Result<HeaderMap> {
    let mut out = HeaderMap::new();
    for line in policy.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let wrong = || io::Error::other(format!("{line:?} is no header: print it with --for=headers"));
        let (name, value) = line.split_once(": ").ok_or_else(wrong)?;
        let name = HeaderName::try_from(name).map_err(|_| wrong())?;
        out.insert(name, HeaderValue::try_from(value).map_err(|_| wrong())?);
    }
    Ok(out)
}

/// Whether the visitor has agreed: here by a cookie that the service's own consent dialog sets.
fn has_agreed(request: &Request) -> bool {
    let cookies = request.headers().get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    cookies.flat_map(|cookies| cookies.split(';')).any(|cookie| cookie.trim() == "reports=yes")
}

/// The middleware.
async fn policy(State(headers): State<Arc<HeaderMap>>, request: Request, next: Next) -> Response {
    let agreed = has_agreed(&request);
    let mut response = next.run(request).await;
    if agreed {
        response.headers_mut().extend(HeaderMap::clone(&headers));
    }
    response
}

fn app(headers: HeaderMap) -> Router {
    Router::new().route("/", get(async || "hello")).layer(from_fn_with_state(Arc::new(headers), policy))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let file = std::env::args().nth(1).unwrap_or_else(|| "client-policy.txt".to_owned());
    let app = app(headers(&std::fs::read_to_string(&file)?)?);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app).await
}

#[cfg(test)]
mod tests {
    use std::future::IntoFuture;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn only_who_has_agreed_gets_the_headers() {
        let site = clients::Site {
            name: "shop".into(),
            origins: vec!["https://shop.example".into()],
            collectors: vec!["https://c1.example.net".into()],
            ..clients::Site::default()
        };
        let list = clients::policy::headers(&site, true, None, 0);
        let text = clients::policy::snippet(&list, clients::policy::Server::Headers);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(
            axum::serve(listener, app(headers(&format!("# site shop\n{text}")).unwrap())).into_future(),
        );
        for (cookie, sent) in [("reports=no", false), ("a=b; reports=yes", true)] {
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let request =
                format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            for (name, value) in &list {
                let line = format!("{}: {value}\r\n", name.to_ascii_lowercase());
                assert_eq!(answer.contains(&line), sent, "{line} in {answer}");
            }
        }
        assert!(headers("nonsense").is_err());
    }
}
