//! The rules-and-actions database: rules, routes, receivers, schedules, templates and dashboards that people edit over the
//! API, with every version, its author and a way back.
//!
//! Files stay authoritative where there are some: alerting is edited here only while `alerts.config_file` is not set, and a
//! rule group of a file wins over one of the same name here. Both are said by every answer that it concerns; nothing is
//! merged silently. An edit is checked together with everything else that is in force, stored, and put in force.

mod assemble;
pub(crate) mod handlers;
mod secrets;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use model::StateStore;
use rules::RuleFile;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use state::Documents;
use state::documents::{Bounds, DocumentError, Version};

use crate::error::{ApiError, ErrorType};

/// Rules, routes, receivers and dashboards that are edited over the API.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LibraryConfig {
    /// Whether rules may be edited over the API, beside those of `rule_files`.
    pub rules: bool,
    /// So many documents are kept at most, deleted ones included.
    pub max_documents: usize,
    /// A document larger than this many bytes is refused.
    pub max_document_bytes: usize,
    /// So many versions of a document are kept; the oldest are removed.
    pub max_versions: usize,
}

impl Default for LibraryConfig {
    fn default() -> Self {
        let Bounds { max_documents, max_document_bytes, max_versions } = Bounds::default();
        Self { rules: true, max_documents, max_document_bytes, max_versions }
    }
}

/// What a document is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Rule groups, as a rule file.
    Rules,
    /// Defaults of receivers: Alertmanager's `global`. One, named `global`.
    Global,
    /// The routing tree: Alertmanager's `route`. One, named `route`.
    Route,
    /// One of Alertmanager's `receivers`, by its name.
    Receiver,
    /// One of `inhibit_rules`.
    Inhibition,
    /// One of `time_intervals`, by its name.
    Schedule,
    /// Template definitions, as a template file.
    Template,
    /// A dashboard, as JSON.
    Dashboard,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Rules,
        Self::Global,
        Self::Route,
        Self::Receiver,
        Self::Inhibition,
        Self::Schedule,
        Self::Template,
        Self::Dashboard,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Rules => "rules",
            Self::Global => "global",
            Self::Route => "route",
            Self::Receiver => "receiver",
            Self::Inhibition => "inhibition",
            Self::Schedule => "schedule",
            Self::Template => "template",
            Self::Dashboard => crate::dashboards::KIND,
        }
    }

    fn parse(text: &str) -> Result<Self, ApiError> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::as_str).join(", ");
            ApiError::not_found(format!("there are no documents of kind {text:?}; kinds are {known}"))
        })
    }

    /// Whether it is a part of the alert manager's configuration.
    fn is_alerting(self) -> bool {
        !matches!(self, Self::Rules | Self::Dashboard)
    }

    /// Whether its text may hold secrets.
    fn has_secrets(self) -> bool {
        matches!(self, Self::Receiver | Self::Global)
    }
}

/// The documents, and who has the say.
pub struct Library {
    documents: Documents,
    rules: bool,
    language: promql::Options,
    /// Whether a file has the say about alerting.
    alerting_file: AtomicBool,
}

impl Library {
    /// Opens the documents of a store.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn open(
        store: Arc<dyn StateStore>,
        config: &LibraryConfig,
        language: promql::Options,
    ) -> Result<Self, model::SeamError> {
        let bounds = Bounds {
            max_documents: config.max_documents,
            max_document_bytes: config.max_document_bytes,
            max_versions: config.max_versions,
        };
        let documents = Documents::open(store, bounds).await?;
        Ok(Self { documents, rules: config.rules, language, alerting_file: AtomicBool::new(false) })
    }

    /// The documents.
    pub(crate) fn documents(&self) -> &Documents {
        &self.documents
    }

    /// The rules of the documents. One that does not parse any more is left out, with an error in the log.
    pub fn rule_files(&self) -> Vec<RuleFile> {
        if !self.rules {
            return Vec::new();
        }
        let all = self.documents.all(Kind::Rules.as_str()).into_iter();
        all.filter_map(|(name, version)| {
            let text = version.content.unwrap_or_default();
            match rules::file::parse(&path(&name), &text, &self.language) {
                Ok(file) => Some(file),
                Err(problems) => {
                    tracing::error!(
                        name,
                        ?problems,
                        "rules of the library are not evaluated: they do not parse"
                    );
                    None
                }
            }
        })
        .collect()
    }

    /// The alert manager's configuration: `file`'s when there is one, else that of the documents.
    ///
    /// # Errors
    /// When the documents do not make one.
    pub fn alert_config(&self, file: Option<alerts::Config>) -> Result<alerts::Config, alerts::Error> {
        self.alerting_file.store(file.is_some(), Ordering::Relaxed);
        match file {
            Some(config) => {
                if self.has_alerting() {
                    tracing::warn!(
                        "alerts.config_file has the say; routes and receivers of the library are not in force"
                    );
                }
                Ok(config)
            }
            None => assemble::config(&self.alerting(None)),
        }
    }

    fn is_alerting_by_file(&self) -> bool {
        self.alerting_file.load(Ordering::Relaxed)
    }

    fn has_alerting(&self) -> bool {
        Kind::ALL.into_iter().any(|kind| kind.is_alerting() && !self.documents.all(kind.as_str()).is_empty())
    }

    /// The alerting documents, with one as it would be after an edit.
    fn alerting(&self, candidate: Option<(Kind, &str, Option<&str>)>) -> Vec<(Kind, String, String)> {
        let mut all = Vec::new();
        for kind in Kind::ALL.into_iter().filter(|kind| kind.is_alerting()) {
            let stored = self.documents.all(kind.as_str()).into_iter();
            all.extend(stored.map(|(name, version)| (kind, name, version.content.unwrap_or_default())));
        }
        if let Some((kind, name, content)) = candidate {
            all.retain(|(k, n, _)| *k != kind || n != name);
            all.extend(content.map(|content| (kind, name.to_owned(), content.to_owned())));
        }
        all
    }
}

/// Under which file name the rules of a document are.
fn path(name: &str) -> String {
    format!("{}{name}", rules::LIBRARY)
}

impl From<DocumentError> for ApiError {
    fn from(err: DocumentError) -> Self {
        let kind = match &err {
            DocumentError::Name { .. } => ErrorType::BadData,
            DocumentError::NotFound { .. } => ErrorType::NotFound,
            DocumentError::Conflict { .. } => ErrorType::Conflict,
            DocumentError::Limit { .. } => ErrorType::Execution,
            DocumentError::Store(source) => {
                return Self::from(model::SeamError::new(
                    source.kind(),
                    format!("{err}: {}", source.chain()),
                ));
            }
            _ => ErrorType::Internal,
        };
        Self::new(kind, err.to_string())
    }
}

/// A version as the API shows it, without its text.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    kind: Kind,
    name: &'a str,
    version: u32,
    /// Seconds since the epoch.
    at: f64,
    author: &'a str,
    comment: &'a str,
    deleted: bool,
}

impl<'a> Shown<'a> {
    fn new(kind: Kind, name: &'a str, version: &'a Version) -> Self {
        Self {
            kind,
            name,
            version: version.version,
            at: version.at.seconds(),
            author: &version.author,
            comment: &version.comment,
            deleted: version.content.is_none(),
        }
    }
}
