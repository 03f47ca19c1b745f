//! What every subcommand that talks to a server shares: amtool's settings, and requests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ArgMatches;
use clap::parser::ValueSource;
use httpc::{BasicAuth, Client, Method, Options, Request, Secret, Url};
use model::Matcher;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::complain;

const DEFAULT_URL: &str = "http://localhost:9090/";
const DEFAULT_DATES: &str = "2006-01-02 15:04:05 MST";
/// No answer that a terminal shows is larger.
const MAX_ANSWER_BYTES: usize = 256 << 20;
/// What `--enable-feature` may name, as Alertmanager has it. Only the two modes change what these commands do.
const FEATURES: [&str; 7] = [
    "alert-names-in-metrics",
    "receiver-name-in-metrics",
    "group-key-in-metrics",
    "classic-mode",
    "utf8-strict-mode",
    "auto-gomemlimit",
    "event-recorder",
];

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Output {
    Simple,
    Extended,
    Json,
}

/// Settings of a command, and the server that it talks to.
pub(super) struct Session {
    pub(super) output: Output,
    /// Go's layout of dates.
    pub(super) dates: String,
    /// Flags as amtool's files set them.
    file: BTreeMap<String, String>,
    url: String,
    http: Option<PathBuf>,
    timeout: Duration,
    verbose: bool,
    version_check: bool,
    parser: fn(&str) -> Result<Matcher, alerts::parse::InvalidMatchers>,
}

/// An answer of a server that is no success.
#[derive(Debug, thiserror::Error)]
#[error("{method} {path}: {status}: {text}")]
pub(super) struct Refused {
    method: Method,
    path: String,
    pub(super) status: u16,
    text: String,
}

impl Session {
    /// From flags and amtool's files.
    pub(super) fn new(matches: &ArgMatches) -> anyhow::Result<Self> {
        let file = amtool_files()?;
        let text = |name: &str| given(matches, name).or_else(|| file.get(name).cloned());
        let output = match text("output").as_deref() {
            None | Some("simple") => Output::Simple,
            Some("extended") => Output::Extended,
            Some("json") => Output::Json,
            Some(other) => bail!("output must be simple, extended or json, not {other:?}"),
        };
        let timeout = text("timeout").unwrap_or_else(|| "30s".to_owned());
        let timeout = alerts::config::value::GoDuration::parse(&timeout)
            .map_err(|err| anyhow::anyhow!("--timeout: {err}"))?;
        Ok(Self {
            output,
            dates: text("date.format").unwrap_or_else(|| DEFAULT_DATES.to_owned()),
            url: text("alertmanager.url").unwrap_or_else(|| DEFAULT_URL.to_owned()),
            http: given_path(matches).or_else(|| file.get("http.config.file").map(PathBuf::from)),
            timeout: timeout.to_std(),
            verbose: matches.get_flag("verbose"),
            version_check: matches.get_flag("version-check"),
            parser: parser(&text("enable-feature").unwrap_or_default())?,
            file,
        })
    }

    /// A flag of one subcommand: as given, or as amtool's files set it.
    pub(super) fn text(&self, matches: &ArgMatches, name: &str) -> Option<String> {
        given(matches, name).or_else(|| self.file.get(name).cloned())
    }

    /// Whether the server was named.
    pub(super) fn has_url(&self) -> bool {
        self.url != DEFAULT_URL
    }

    /// Reads one matcher.
    pub(super) fn matcher(&self, text: &str) -> anyhow::Result<Matcher> {
        (self.parser)(text).map_err(|err| anyhow::anyhow!("{err}"))
    }

    /// Runs a command's requests to their end, at most `--timeout`.
    pub(super) fn run<T>(
        &self,
        work: impl AsyncFnOnce(Server<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let (config, base) = self.config()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let client = Client::new(&config, Options { timeout: self.timeout, ..Options::default() })?;
            let server = Server { client, base, session: self };
            let all = async {
                if self.version_check {
                    server.compare_versions().await?;
                }
                work(server).await
            };
            let limit = self.timeout;
            tokio::time::timeout(limit, all).await.with_context(|| format!("no answer within {limit:?}"))?
        })
    }

    /// The client's settings and the URL under which `/api/v2` is.
    fn config(&self) -> anyhow::Result<(httpc::Config, String)> {
        let mut url = Url::parse(&self.url).with_context(|| format!("--alertmanager.url={}", self.url))?;
        let mut config = match &self.http {
            None => httpc::Config::default(),
            Some(path) => load_http(path)?,
        };
        if !url.username().is_empty() {
            if self.http.is_some() {
                bail!("basic authentication in the URL and http.config.file are mutually exclusive");
            }
            config.basic_auth = Some(BasicAuth {
                username: url.username().to_owned(),
                password: Secret::new(url.password().unwrap_or_default()),
                ..BasicAuth::default()
            });
            let cleared = url.set_username("").and_then(|()| url.set_password(None));
            if cleared.is_err() {
                bail!("--alertmanager.url: the URL cannot have a user");
            }
        }
        Ok((config, url.as_str().trim_end_matches('/').to_owned()))
    }
}

fn load_http(path: &Path) -> anyhow::Result<httpc::Config> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut config: httpc::Config = yaml::read(&text).with_context(|| path.display().to_string())?;
    config.validate().with_context(|| path.display().to_string())?;
    config.set_directory(path.parent().unwrap_or(Path::new("")));
    Ok(config)
}

fn given(matches: &ArgMatches, name: &str) -> Option<String> {
    let source = matches.try_get_raw(name).ok().flatten().and_then(|_| matches.value_source(name));
    match source {
        Some(ValueSource::CommandLine) => matches.try_get_one::<String>(name).ok().flatten().cloned(),
        _ => None,
    }
}

fn given_path(matches: &ArgMatches) -> Option<PathBuf> {
    matches.get_one::<PathBuf>("http.config.file").cloned()
}

/// The flags that amtool's files set; the first file that names one wins.
fn amtool_files() -> anyhow::Result<BTreeMap<String, String>> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let files = [
        home.join(".config/amtool/config.yml"),
        home.join(".config/prometheus/amtool.yml"),
        PathBuf::from("/etc/amtool/config.yml"),
        PathBuf::from("/etc/prometheus/amtool.yml"),
    ];
    let mut flags = BTreeMap::new();
    for path in files {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => continue,
            Err(err) => return Err(err).with_context(|| format!("cannot read {}", path.display())),
        };
        let found: BTreeMap<String, serde_json::Value> =
            yaml::read(&text).with_context(|| path.display().to_string())?;
        for (name, value) in found {
            let name = if name == "comment_required" { "require-comment".to_owned() } else { name };
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            flags.entry(name).or_insert(value);
        }
    }
    Ok(flags)
}

fn parser(features: &str) -> anyhow::Result<fn(&str) -> Result<Matcher, alerts::parse::InvalidMatchers>> {
    let names: Vec<&str> = features.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if let Some(unknown) = names.iter().find(|name| !FEATURES.contains(name)) {
        bail!("--enable-feature={unknown}: unknown; known are {}", FEATURES.join(", "));
    }
    match (names.contains(&"classic-mode"), names.contains(&"utf8-strict-mode")) {
        (true, true) => bail!("classic-mode and utf8-strict-mode cannot both be enabled"),
        (true, false) => Ok(alerts::parse::classic_single),
        (false, true) => Ok(alerts::parse::utf8_single),
        (false, false) => Ok(alerts::parse::matcher),
    }
}

/// A server's API v2.
pub(super) struct Server<'a> {
    client: Client,
    base: String,
    session: &'a Session,
}

impl Server<'_> {
    /// A GET's answer.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        params: &[(&str, String)],
    ) -> anyhow::Result<T> {
        let query: Vec<String> = params
            .iter()
            .map(|(name, value)| format!("{}={}", api::encode(name), api::encode(value)))
            .collect();
        let path = if query.is_empty() { path.to_owned() } else { format!("{path}?{}", query.join("&")) };
        let body = self.send(Method::GET, &path, None).await?;
        serde_json::from_slice(&body).with_context(|| format!("GET {path}: the answer cannot be read"))
    }

    /// A POST's answer.
    pub(super) async fn post(&self, path: &str, body: &impl Serialize) -> anyhow::Result<Vec<u8>> {
        self.send(Method::POST, path, Some(serde_json::to_vec(body)?)).await
    }

    /// A DELETE.
    pub(super) async fn delete(&self, path: &str) -> anyhow::Result<()> {
        self.send(Method::DELETE, path, None).await.map(drop)
    }

    async fn send(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> anyhow::Result<Vec<u8>> {
        let url = format!("{}/api/v2{path}", self.base);
        let mut request = match body {
            Some(body) => Request::post(&url, "application/json", body)?,
            None => Request::get(&url)?,
        };
        request.method = method.clone();
        let response = self.client.send(request).await?;
        let status = response.status();
        if self.session.verbose {
            complain(format_args!("{method} {url}: {status}"));
        }
        let body = response.bytes(MAX_ANSWER_BYTES).await?;
        if status.is_success() {
            return Ok(body.to_vec());
        }
        // An error is a JSON string, or `{"code":…,"message":…}`.
        let text = match serde_json::from_slice::<serde_json::Value>(&body) {
            Ok(serde_json::Value::String(text)) => text,
            Ok(value) if value["message"].is_string() => {
                value["message"].as_str().unwrap_or_default().to_owned()
            }
            _ => String::from_utf8_lossy(&body).trim().to_owned(),
        };
        let path = path.split('?').next().unwrap_or_default().to_owned();
        Err(Refused { method, path, status: status.as_u16(), text }.into())
    }

    async fn compare_versions(&self) -> anyhow::Result<()> {
        let status: serde_json::Value = self.get("/status", &[]).await?;
        let theirs = status["versionInfo"]["version"].as_str().unwrap_or_default();
        let ours = env!("CARGO_PKG_VERSION");
        let minor = |version: &str| version.split('.').take(2).collect::<Vec<_>>().join(".");
        if minor(theirs) != minor(ours) {
            complain(format_args!(
                "Warning: this program's version ({ours}) and the server's ({theirs}) are different."
            ));
        }
        Ok(())
    }
}
