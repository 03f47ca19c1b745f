//! Where the API server is and who asks it: as given, from a kubeconfig file, or as the pod this process runs in.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use httpc::{BasicAuth, Secret};
use serde_json::Value;

use crate::discovery::poll::{items, join, text};
use crate::discovery::section::Section;

/// Where a pod finds its credentials.
const POD: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// A larger kubeconfig file is refused.
const MAX_BYTES: u64 = 4 << 20;

/// What the configuration says about access.
#[derive(Clone, Debug)]
pub(super) struct Access {
    http: httpc::Config,
    api_server: String,
    kubeconfig: String,
}

/// A server that can be asked.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) server: String,
    pub(super) http: httpc::Config,
    /// The namespace of the pod that this process runs in.
    pub(super) namespace: Option<String>,
}

impl Access {
    pub(super) fn read(section: &Section<'_>) -> Result<Self, String> {
        let api_server = section.text("api_server");
        if !api_server.is_empty() {
            httpc::Url::parse(&api_server)
                .map_err(|err| format!("api_server: {api_server:?} is not a valid URL: {err}"))?;
        }
        Ok(Self { http: section.http()?, api_server, kubeconfig: section.text("kubeconfig_file") })
    }

    /// Blocks on files.
    pub(super) fn resolve(self) -> Result<Place, String> {
        let namespace = read(&Path::new(POD).join("namespace")).ok().map(|text| text.trim().to_owned());
        if !self.kubeconfig.is_empty() {
            let path = Path::new(&self.kubeconfig);
            let (server, http) = kubeconfig(&read(path)?, path.parent().unwrap_or(Path::new("")))
                .map_err(|reason| format!("{}: {reason}", path.display()))?;
            return Ok(Place { server, http, namespace });
        }
        if !self.api_server.is_empty() {
            return Ok(Place { server: self.api_server, http: self.http, namespace });
        }
        let env = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (Some(host), Some(port)) = (env("KUBERNETES_SERVICE_HOST"), env("KUBERNETES_SERVICE_PORT"))
        else {
            return Err("neither api_server nor kubeconfig_file is given and this is not a pod (KUBERNETES_SERVICE_HOST is not set)".into());
        };
        let mut http = self.http;
        http.tls_config.ca_file = Path::new(POD).join("ca.crt");
        // Read again when it changes: these tokens expire.
        http.authorization = Some(httpc::Authorization {
            credentials_file: Path::new(POD).join("token"),
            ..httpc::Authorization::default()
        });
        Ok(Place { server: format!("https://{}", join(&host, port)), http, namespace })
    }
}

fn read(path: &Path) -> Result<String, String> {
    let fail = |err: &dyn std::fmt::Display| format!("cannot read {}: {err}", path.display());
    let size = std::fs::metadata(path).map_err(|err| fail(&err))?.len();
    if size > MAX_BYTES {
        return Err(fail(&format!("it is larger than {MAX_BYTES} bytes")));
    }
    std::fs::read_to_string(path).map_err(|err| fail(&err))
}

/// The server and credentials of the current context. Source: the Kubernetes manual, "kubeconfig (v1)".
fn kubeconfig(config: &str, folder: &Path) -> Result<(String, httpc::Config), String> {
    let document: Value = yaml::read(config).map_err(|err| err.to_string())?;
    let named = |list: &str, inner: &str, name: &str| {
        items(&document[list])
            .find(|item| item["name"] == *name)
            .map(|item| item[inner].clone())
            .ok_or_else(|| format!("{list} has no {name:?}"))
    };
    let current = text(&document["current-context"]);
    let context = named("contexts", "context", &current)?;
    let cluster = named("clusters", "cluster", &text(&context["cluster"]))?;
    let server = text(&cluster["server"]);
    if server.is_empty() {
        return Err("the cluster has no server".into());
    }
    let mut http = httpc::Config::default();
    let file = |value: &Value| match text(value) {
        path if path.is_empty() => PathBuf::new(),
        path => folder.join(path),
    };
    let tls = &mut http.tls_config;
    tls.insecure_skip_verify = cluster["insecure-skip-tls-verify"].as_bool().unwrap_or(false);
    tls.server_name = text(&cluster["tls-server-name"]);
    (tls.ca, tls.ca_file) = either(&cluster, "certificate-authority", &file)?;
    http.proxy_url = text(&cluster["proxy-url"]).into();
    let user = text(&context["user"]);
    if user.is_empty() {
        return Ok((server, http));
    }
    let user = named("users", "user", &user)?;
    for what in ["exec", "auth-provider"] {
        if !user[what].is_null() {
            return Err(format!(
                "the user's credentials come from {what}, which is not supported: use a token or a certificate"
            ));
        }
    }
    let tls = &mut http.tls_config;
    (tls.cert, tls.cert_file) = either(&user, "client-certificate", &file)?;
    (tls.key, tls.key_file) = either(&user, "client-key", &file)?;
    let (token, token_file) = (text(&user["token"]), file(&user["tokenFile"]));
    if !token.is_empty() || !token_file.as_os_str().is_empty() {
        let credentials_file = if token.is_empty() { token_file } else { PathBuf::new() };
        http.authorization = Some(httpc::Authorization {
            credentials: token.into(),
            credentials_file,
            ..httpc::Authorization::default()
        });
    } else if !text(&user["username"]).is_empty() {
        http.basic_auth = Some(BasicAuth {
            username: text(&user["username"]),
            password: text(&user["password"]).into(),
            ..BasicAuth::default()
        });
    }
    Ok((server, http))
}

/// `NAME-data` in base64, or the file `NAME`.
fn either(object: &Value, name: &str, file: &dyn Fn(&Value) -> PathBuf) -> Result<(Secret, PathBuf), String> {
    let data = text(&object[format!("{name}-data")]);
    if data.is_empty() {
        return Ok((Secret::default(), file(&object[name])));
    }
    let bytes = STANDARD.decode(data.trim()).map_err(|err| format!("{name}-data: {err}"))?;
    let pem = String::from_utf8(bytes).map_err(|_| format!("{name}-data is not a PEM text"))?;
    Ok((pem.into(), PathBuf::new()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_gives_server_and_credentials() {
        let text = "apiVersion: v1\ncurrent-context: a\ncontexts: [{name: a, context: {cluster: c, user: u}}]\n\
            clusters: [{name: c, cluster: {server: 'https://k:6443', certificate-authority-data: QUJD}}]\n\
            users: [{name: u, user: {token: t}}]\n";
        let (server, http) = kubeconfig(text, Path::new("/etc/k")).unwrap();
        assert_eq!(server, "https://k:6443");
        assert_eq!(http.tls_config.ca.expose(), "ABC");
        assert_eq!(http.authorization.unwrap().credentials.expose(), "t");
        let files = text.replace("certificate-authority-data: QUJD", "certificate-authority: ca.crt");
        assert_eq!(
            kubeconfig(&files, Path::new("/etc/k")).unwrap().1.tls_config.ca_file,
            Path::new("/etc/k/ca.crt")
        );
        let exec = text.replace("{token: t}", "{exec: {command: x}}");
        assert!(kubeconfig(&exec, Path::new("")).unwrap_err().contains("exec"));
        assert!(kubeconfig("current-context: b\n", Path::new("")).unwrap_err().contains("\"b\""));
    }
}
