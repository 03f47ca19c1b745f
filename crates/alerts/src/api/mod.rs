//! Alertmanager's API v2 as functions: requests and answers in its JSON shapes. HTTP is the `api` crate's.
//!
//! Source: Alertmanager's OpenAPI description, version 2.

mod alerts;
mod silences;
mod time;

use std::collections::BTreeMap;

use model::{Selector, Timestamp};
use serde::{Deserialize, Serialize};

pub use self::alerts::*;
pub use self::silences::*;
pub use self::time::Time;
use crate::dispatcher::Dispatcher;
use crate::error::Error;
use crate::parse;

/// A name alone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReceiverName {
    /// The name.
    pub name: String,
}

/// Texts by name.
pub type Kv2 = BTreeMap<String, String>;

/// The status page.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The cluster: none.
    pub cluster: ClusterStatus,
    /// The configuration without secrets.
    pub config: ConfigStatus,
    /// When it was loaded.
    pub uptime: Time,
    /// Versions.
    pub version_info: VersionInfo,
}

/// The cluster.
#[derive(Clone, Debug, Serialize)]
pub struct ClusterStatus {
    /// None.
    pub peers: Vec<ReceiverName>,
    /// `disabled`: other servers are reached in other ways.
    pub status: &'static str,
}

/// The configuration.
#[derive(Clone, Debug, Serialize)]
pub struct ConfigStatus {
    /// Its text, secrets hidden.
    pub original: String,
}

/// Versions, in Alertmanager's fields.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionInfo {
    /// Unknown.
    pub branch: &'static str,
    /// Unknown.
    pub build_date: &'static str,
    /// Unknown.
    pub build_user: &'static str,
    /// None: this is not written in Go.
    pub go_version: &'static str,
    /// Unknown.
    pub revision: &'static str,
    /// This program's.
    pub version: &'static str,
}

/// `GET /api/v2/status`. `started`: when the server was.
pub fn status(dispatcher: &Dispatcher, started: Timestamp) -> Status {
    let setup = dispatcher.look(|core, _| core.setup.clone());
    Status {
        cluster: ClusterStatus { status: "disabled", peers: vec![] },
        config: ConfigStatus { original: setup.config.shown() },
        uptime: Time(started),
        version_info: VersionInfo {
            branch: "",
            build_date: "",
            build_user: "",
            go_version: "",
            revision: "",
            version: env!("CARGO_PKG_VERSION"),
        },
    }
}

/// `GET /api/v2/receivers`.
pub fn receivers(dispatcher: &Dispatcher) -> Vec<ReceiverName> {
    let setup = dispatcher.look(|core, _| core.setup.clone());
    setup.config.receivers.iter().map(|receiver| ReceiverName { name: receiver.name.clone() }).collect()
}

fn filters(texts: &[String]) -> Result<Selector, Error> {
    let read = |text: &String| {
        parse::matcher(text).map_err(|err| Error::Invalid(format!("bad matcher format: {text}: {err}")))
    };
    texts.iter().map(read).collect()
}
