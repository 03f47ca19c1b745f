//! Keys of AWS: where they come from, and a signer for every request of a client.
//!
//! In this order: those of the configuration, the environment's, those of the shared credentials file, those of the role of the instance that this
//! process runs on. A `role_arn` is assumed through STS. Sources: the AWS SDKs' reference guide, "Credential provider chain"; the EC2 manual,
//! "Instance metadata"; the STS API reference, "AssumeRole"; the Prometheus manual, "sigv4".

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use tokio::time::Instant;

use crate::client::{Client, Options, Request};
use crate::config::{Config, InvalidConfig};
use crate::error::Error;
use crate::secret::Secret;
use crate::sigv4::{Credentials, sign};
use crate::{Method, Url};

/// The metadata service of an instance.
const METADATA: &str = "http://169.254.169.254";
/// How long it may take: where there is none, nobody answers.
const METADATA_PATIENCE: Duration = Duration::from_secs(3);
/// Keys that are not the configuration's are read again after this; an instance's and STS' last longer.
const KEEP: Duration = Duration::from_secs(300);
/// An answer of AWS is small.
const MAX_BYTES: usize = 4 << 20;
/// The type of a request in the query protocol.
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";

/// How requests are signed for AWS: Prometheus' `sigv4`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SigV4 {
    /// Such as `eu-west-1`; empty takes the environment's or the instance's.
    pub region: String,
    /// The access key's name; empty takes the environment's, the shared file's or the instance's.
    pub access_key: String,
    /// The key.
    pub secret_key: Secret,
    /// A profile of the shared credentials file.
    pub profile: String,
    /// A role to assume.
    pub role_arn: String,
    /// What the role's owner wants to be told.
    pub external_id: String,
    /// Ask the FIPS endpoint of STS.
    pub use_fips_sts_endpoint: bool,
    /// The service that is signed for; empty means `aps`.
    pub service_name: String,
}

impl SigV4 {
    /// Checks what the manual forbids.
    ///
    /// # Errors
    /// One key without the other.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        if self.access_key.is_empty() != self.secret_key.is_empty() {
            return Err(InvalidConfig("must provide a AWS SigV4 Access key and Secret Key if credentials are specified in the SigV4 config".into()));
        }
        Ok(())
    }

    fn service(&self) -> &str {
        if self.service_name.is_empty() { "aps" } else { &self.service_name }
    }
}

/// Signs the requests of a client.
#[derive(Debug)]
pub(crate) struct Signer {
    config: SigV4,
    /// Asks the metadata service and STS.
    client: Client,
    known: tokio::sync::Mutex<Option<(String, Credentials, Instant)>>,
}

impl Signer {
    pub(crate) fn new(config: &SigV4) -> Result<Self, Error> {
        config.validate()?;
        let client = Client::new(&Config::default(), Options { max_redirects: 0, ..Options::default() })?;
        Ok(Self { config: config.clone(), client, known: tokio::sync::Mutex::new(None) })
    }

    pub(crate) async fn sign(&self, request: Request) -> Result<Request, Error> {
        let (region, credentials) = {
            let mut known = self.known.lock().await;
            match &*known {
                Some((region, credentials, until)) if *until > Instant::now() => {
                    (region.clone(), credentials.clone())
                }
                _ => {
                    let region = region(&self.config, &self.client).await.map_err(Error::Aws)?;
                    let found = credentials(&self.config, &self.client, &region).await.map_err(Error::Aws)?;
                    *known = Some((region.clone(), found.clone(), Instant::now() + KEEP));
                    (region, found)
                }
            }
        };
        sign(request, &credentials, &region, self.config.service(), now_seconds())
    }
}

#[expect(clippy::disallowed_methods, reason = "a signature is good for minutes of the real time")]
fn now_seconds() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// The domain of a region's services.
pub fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

/// A request in AWS' query protocol; the text of its answer.
///
/// # Errors
/// In words: the request failed, or was refused.
#[expect(clippy::too_many_arguments, reason = "each is a part of the request")]
pub async fn query(
    client: &Client,
    url: &str,
    action: &str,
    version: &str,
    pairs: &[(String, String)],
    credentials: &Credentials,
    region: &str,
    service: &str,
) -> Result<String, String> {
    let mut form = Url::parse("http://h").expect("a constant URL");
    form.query_pairs_mut().append_pair("Action", action).append_pair("Version", version).extend_pairs(pairs);
    let body = form.query().unwrap_or_default().to_owned();
    let request = Request::post(url, FORM, body).map_err(|err| err.chain())?;
    let request = sign(request, credentials, region, service, now_seconds()).map_err(|err| err.chain())?;
    text(client, request).await.map_err(|reason| format!("{action}: {reason}"))
}

async fn text(client: &Client, request: Request) -> Result<String, String> {
    let response = client.send(request).await.map_err(|err| err.chain())?;
    let status = response.status();
    let body = response.bytes(MAX_BYTES).await.map_err(|err| err.chain())?;
    let text = String::from_utf8_lossy(&body).into_owned();
    if status.is_success() {
        return Ok(text);
    }
    let start: String = text.trim().chars().take(300).collect();
    Err(format!("HTTP status {status}: {start}"))
}

/// What the metadata service says, by its version 2.
async fn metadata(client: &Client, path: &str) -> Result<String, String> {
    let request = Request::new(Method::PUT, &format!("{METADATA}/latest/api/token"))
        .and_then(|request| request.header("x-aws-ec2-metadata-token-ttl-seconds", "300"))
        .map_err(|err| err.chain())?
        .timeout(METADATA_PATIENCE);
    let token = text(client, request).await?;
    let request = Request::get(&format!("{METADATA}{path}"))
        .and_then(|request| request.header("x-aws-ec2-metadata-token", token.trim()))
        .map_err(|err| err.chain())?
        .timeout(METADATA_PATIENCE);
    Ok(text(client, request).await?.trim().to_owned())
}

fn env(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// The region: the configuration's, the environment's or the instance's.
///
/// # Errors
/// There is none, in words.
pub async fn region(config: &SigV4, client: &Client) -> Result<String, String> {
    if !config.region.is_empty() {
        return Ok(config.region.clone());
    }
    for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        if !env(name).is_empty() {
            return Ok(env(name));
        }
    }
    let found = metadata(client, "/latest/meta-data/placement/region").await;
    found.map_err(|reason| {
        format!(
            "region is not given, AWS_REGION is not set, and the metadata service does not answer: {reason}"
        )
    })
}

/// The keys, with the role assumed when there is one.
///
/// # Errors
/// There are none, in words.
pub async fn credentials(config: &SigV4, client: &Client, region: &str) -> Result<Credentials, String> {
    let own = if !config.access_key.is_empty() {
        Credentials {
            access_key: config.access_key.clone(),
            secret_key: config.secret_key.clone(),
            session_token: Secret::default(),
        }
    } else if config.profile.is_empty() && !env("AWS_ACCESS_KEY_ID").is_empty() {
        Credentials {
            access_key: env("AWS_ACCESS_KEY_ID"),
            secret_key: env("AWS_SECRET_ACCESS_KEY").into(),
            session_token: env("AWS_SESSION_TOKEN").into(),
        }
    } else if let Some(found) = shared_file(&config.profile).await? {
        found
    } else {
        let path = "/latest/meta-data/iam/security-credentials/";
        let missing = |reason| {
            format!(
                "no keys: neither access_key, AWS_ACCESS_KEY_ID nor a credentials file, and the metadata service does not answer: {reason}"
            )
        };
        let role = metadata(client, path).await.map_err(missing)?;
        let role = role.lines().next().unwrap_or_default().to_owned();
        let text = metadata(client, &format!("{path}{role}")).await.map_err(missing)?;
        let found: serde_json::Value = serde_json::from_str(&text)
            .map_err(|err| format!("the metadata service: the answer is not JSON: {err}"))?;
        let field = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
        Credentials {
            access_key: field("AccessKeyId"),
            secret_key: field("SecretAccessKey").into(),
            session_token: field("Token").into(),
        }
    };
    if config.role_arn.is_empty() {
        return Ok(own);
    }
    let mut pairs = vec![
        ("RoleArn".to_owned(), config.role_arn.clone()),
        ("RoleSessionName".to_owned(), "bellwether".to_owned()),
    ];
    if !config.external_id.is_empty() {
        pairs.push(("ExternalId".to_owned(), config.external_id.clone()));
    }
    let sts = if config.use_fips_sts_endpoint { "sts-fips" } else { "sts" };
    let url = format!("https://{sts}.{region}.{}/", domain(region));
    let xml = query(client, &url, "AssumeRole", "2011-06-15", &pairs, &own, region, "sts").await?;
    assumed(&xml)
}

/// The keys in an answer of `AssumeRole`; they have no characters that XML escapes.
fn assumed(xml: &str) -> Result<Credentials, String> {
    let find = |name: &str| {
        let (_, rest) = xml.split_once(&format!("<{name}>"))?;
        Some(rest.split_once(&format!("</{name}>"))?.0.trim().to_owned())
    };
    let missing = || "AssumeRole: the answer has no keys".to_owned();
    Ok(Credentials {
        access_key: find("AccessKeyId").ok_or_else(missing)?,
        secret_key: find("SecretAccessKey").ok_or_else(missing)?.into(),
        session_token: find("SessionToken").ok_or_else(missing)?.into(),
    })
}

/// A profile of `~/.aws/credentials`; `None` when neither file nor profile exists and none was asked for.
async fn shared_file(profile: &str) -> Result<Option<Credentials>, String> {
    let path = match env("AWS_SHARED_CREDENTIALS_FILE") {
        path if path.is_empty() => format!("{}/.aws/credentials", env("HOME")),
        path => path,
    };
    let wanted = match profile {
        "" => match env("AWS_PROFILE") {
            name if name.is_empty() => "default".to_owned(),
            name => name,
        },
        name => name.to_owned(),
    };
    let text = match tokio::fs::read_to_string(&path).await {
        Ok(text) => text,
        Err(err) if profile.is_empty() && err.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(format!("cannot read {path}: {err}")),
    };
    match profile_of(&text, &wanted) {
        None if profile.is_empty() => Ok(None),
        None => Err(format!("{path} has no profile {wanted:?} with keys")),
        found => Ok(found),
    }
}

fn profile_of(text: &str, wanted: &str) -> Option<Credentials> {
    let mut inside = false;
    let mut values: BTreeMap<&str, &str> = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = name.trim() == wanted;
        } else if inside && let Some((name, value)) = line.split_once('=') {
            values.insert(name.trim(), value.trim());
        }
    }
    Some(Credentials {
        access_key: (*values.get("aws_access_key_id")?).to_owned(),
        secret_key: (*values.get("aws_secret_access_key")?).into(),
        session_token: values.get("aws_session_token").copied().unwrap_or_default().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_from_profiles_and_from_sts() {
        let text = "[default]\naws_access_key_id = A\naws_secret_access_key = B\n[other]\n aws_access_key_id=C\naws_secret_access_key=D\naws_session_token=E\n";
        let of = |name: &str| {
            profile_of(text, name).map(|keys| (keys.access_key, keys.session_token.expose().to_owned()))
        };
        assert_eq!(of("default"), Some(("A".into(), String::new())));
        assert_eq!(of("other"), Some(("C".into(), "E".into())));
        assert_eq!(of("none"), None);
        let xml = "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s/+=</SecretAccessKey><SessionToken>t==</SessionToken></Credentials></AssumeRoleResult></AssumeRoleResponse>";
        let keys = assumed(xml).unwrap();
        assert_eq!(
            (keys.access_key.as_str(), keys.secret_key.expose(), keys.session_token.expose()),
            ("ASIA", "s/+=", "t==")
        );
        assert!(assumed("<Error/>").is_err());
    }
}
