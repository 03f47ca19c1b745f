//! AWS Signature Version 4: requests that prove who sent them, without an SDK.
//!
//! Source: the AWS General Reference, "Signature Version 4 signing process". The whole query must be in the URL and the whole
//! body in the request before it is signed.

use std::collections::BTreeMap;
use std::fmt::Write;

use ring::{digest, hmac};

use crate::client::Request;
use crate::error::Error;
use crate::secret::Secret;

/// Who signs.
#[derive(Clone, Debug, PartialEq)]
pub struct Credentials {
    /// The access key's name.
    pub access_key: String,
    /// The key.
    pub secret_key: Secret,
    /// The session's token; empty for long-lived keys.
    pub session_token: Secret,
}

/// Signs a request at `now` (seconds since the epoch) for a region and a service such as `ec2` or `aps`.
///
/// # Errors
/// `Header` when a header's value is not text, `Url` when the URL has no host.
pub fn sign(
    mut request: Request,
    credentials: &Credentials,
    region: &str,
    service: &str,
    now: i64,
) -> Result<Request, Error> {
    let (date, stamp) = stamps(now);
    let body_hash = hex(digest::digest(&digest::SHA256, &request.body).as_ref());
    request = request.header("x-amz-date", &stamp)?.header("x-amz-content-sha256", &body_hash)?;
    if !credentials.session_token.is_empty() {
        request = request.header("x-amz-security-token", credentials.session_token.expose())?;
    }
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    headers.insert("host".into(), host(&request)?);
    for (name, value) in &request.headers {
        let name = name.as_str();
        // Proxies and the client may change the others.
        if name.starts_with("x-amz-") || name == "content-type" {
            let value = value.to_str().map_err(|_| Error::Header(name.to_owned()))?;
            headers.insert(name.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    let names = headers.keys().map(String::as_str).collect::<Vec<_>>().join(";");
    let mut canonical = format!("{}\n{}\n{}\n", request.method, path(&request, service), query(&request));
    for (name, value) in &headers {
        canonical.push_str(&format!("{name}:{value}\n"));
    }
    canonical.push_str(&format!("\n{names}\n{body_hash}"));
    let scope = format!("{date}/{region}/{service}/aws4_request");
    let hash = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let to_sign = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hash}");
    let mut key = format!("AWS4{}", credentials.secret_key.expose()).into_bytes();
    for part in [&date, region, service, "aws4_request"] {
        key = mac(&key, part).as_ref().to_vec();
    }
    let signature = hex(mac(&key, &to_sign).as_ref());
    let value = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        credentials.access_key
    );
    request.header("authorization", &value)
}

fn host(request: &Request) -> Result<String, Error> {
    let host = request
        .url
        .host_str()
        .ok_or_else(|| Error::Url { url: request.url.to_string(), reason: "it has no host".into() })?;
    Ok(match request.url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

/// The path, encoded a second time as every service but S3 wants it.
fn path(request: &Request, service: &str) -> String {
    let path = request.url.path();
    if service == "s3" { path.to_owned() } else { path.split('/').map(encode).collect::<Vec<_>>().join("/") }
}

fn query(request: &Request) -> String {
    let mut pairs: Vec<(String, String)> =
        request.url.query_pairs().map(|(name, value)| (encode(&name), encode(&value))).collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// RFC 3986: everything but letters, digits and `-._~`.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn mac(key: &[u8], text: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        write!(out, "{byte:02x}").expect("a string takes everything");
        out
    })
}

/// `20150830` and `20150830T123600Z`. The calendar: Howard Hinnant's `civil_from_days`.
fn stamps(now: i64) -> (String, String) {
    let (days, seconds) = (now.div_euclid(86_400), now.rem_euclid(86_400));
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let date = format!("{year:04}{month:02}{day:02}");
    let stamp = format!("{date}T{:02}{:02}{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60);
    (date, stamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(stamps(0).1, "19700101T000000Z");
        assert_eq!(stamps(1_440_938_160).1, "20150830T123600Z");
        assert_eq!(stamps(1_709_210_096).1, "20240229T123456Z");
    }

    /// The example of the AWS documentation: `GET iam ListUsers`. It signs no `x-amz-content-sha256`, so that only the key
    /// and the string that is signed can be compared.
    #[test]
    fn the_key_is_the_documented_one() {
        let mut key = b"AWS4wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_vec();
        for part in ["20150830", "us-east-1", "iam", "aws4_request"] {
            key = mac(&key, part).as_ref().to_vec();
        }
        assert_eq!(hex(&key), "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9");
        let to_sign = "AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/iam/aws4_request\nf536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59";
        let signature = hex(mac(&key, to_sign).as_ref());
        assert_eq!(signature, "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7");
    }

    #[test]
    fn everything_that_matters_is_signed() {
        let credentials = Credentials {
            access_key: "AKID".into(),
            secret_key: "secret".into(),
            session_token: "session".into(),
        };
        let sign = |url: &str, body: &'static str| {
            let request = Request::post(url, "application/x-www-form-urlencoded", body).unwrap();
            let signed = super::sign(request, &credentials, "eu-west-1", "ec2", 1_440_938_160).unwrap();
            signed.headers["authorization"].to_str().unwrap().to_owned()
        };
        let first = sign("http://h:1/?b=2&a=1", "x");
        assert!(first.starts_with(
            "AWS4-HMAC-SHA256 Credential=AKID/20150830/eu-west-1/ec2/aws4_request, SignedHeaders=content-type;host;x-amz-content-sha256;x-amz-date;x-amz-security-token, Signature="
        ), "{first}");
        assert_eq!(first, sign("http://h:1/?a=1&b=2", "x"));
        for (url, body) in
            [("http://h:1/?a=1&b=3", "x"), ("http://h:2/?a=1&b=2", "x"), ("http://h:1/?a=1&b=2", "y")]
        {
            assert_ne!(first, sign(url, body), "{url} {body}");
        }
    }
}
