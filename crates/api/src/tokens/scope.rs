//! Which scope a request needs. Pure: method, path and the body's type decide.

use axum::http::Method;
use serde::{Deserialize, Serialize};

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scope {
    Read,
    Push,
    Edit,
    Admin,
}

impl Scope {
    pub(crate) fn covers(self, other: Self) -> bool {
        self == other || self == Self::Admin || (self == Self::Edit && other == Self::Read)
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Push => "push",
            Self::Edit => "edit",
            Self::Admin => "admin",
        }
    }
}

/// Answered to everybody: health, who one is, and what has tokens of its own.
const OPEN: [(&str, &str); 7] = [
    ("GET", "/-/healthy"),
    ("GET", "/-/ready"),
    ("HEAD", "/-/healthy"),
    ("HEAD", "/-/ready"),
    ("POST", "/api/v1/agents"),
    ("GET", "/api/v1/agents/direct"),
    ("POST", "/api/v1/probe/vantages"),
];

/// Questions that may be asked by POST.
const QUESTIONS: [&str; 9] = [
    "/api/v1/query",
    "/api/v1/query_range",
    "/api/v1/query_batch",
    "/api/v1/query_exemplars",
    "/api/v1/format_query",
    "/api/v1/parse_query",
    "/api/v1/labels",
    "/api/v1/read",
    "/api/v1/search",
];

/// Where data comes in.
const PUSHES: [&str; 14] = [
    "/api/v1/write",
    "/api/v1/otlp/",
    "/v1/metrics",
    "/opentelemetry",
    "/write",
    "/influx/",
    "/api/v2/write",
    "/api/v1/import/",
    "/datadog/",
    "/api/v2/series",
    "/api/v1/check_run",
    "/intake/",
    "/metrics/",
    "/ping",
];

/// The scope that a request needs; `None`: everybody may. `form`: the body is a form, as of a query.
pub(crate) fn needed(method: &Method, path: &str, form: bool) -> Option<Scope> {
    let is = |open: &(&str, &str)| open.0 == method.as_str() && open.1 == path;
    if *method == Method::OPTIONS || path == "/api/v1/session" || OPEN.iter().any(is) {
        return None;
    }
    let reads = *method == Method::GET || *method == Method::HEAD;
    if path.starts_with("/api/v1/tokens")
        || path.starts_with("/api/v1/admin/")
        || path == "/-/reload"
        || path == "/-/quit"
    {
        return Some(Scope::Admin);
    }
    if PUSHES.iter().any(|prefix| path.starts_with(prefix)) {
        return Some(if reads { Scope::Read } else { Scope::Push });
    }
    if reads {
        // The web UI's files hold nothing that is not in the program.
        let data =
            ["/api/", "/metrics", "/federate", "/probe", "/query", "/health", "/version", "/-/", "/debug/"];
        return data.iter().any(|prefix| path.starts_with(prefix)).then_some(Scope::Read);
    }
    match path {
        path if QUESTIONS.contains(&path) => Some(Scope::Read),
        // Prometheus' catalogue takes a form, Datadog's series are JSON.
        "/api/v1/series" => Some(if form { Scope::Read } else { Scope::Push }),
        // Alerts of other servers; statements of Influx' clients, which make databases.
        "/api/v2/alerts" | "/query" => Some(Scope::Push),
        _ => Some(Scope::Edit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_request_has_its_scope() {
        use Scope::{Admin, Edit, Push, Read};
        let cases: &[(&str, Option<Scope>)] = &[
            ("GET /", None),
            ("GET /assets/index-1.js", None),
            ("GET /host/web-1", None),
            ("GET /-/healthy", None),
            ("OPTIONS /api/v1/query", None),
            ("GET /api/v1/session", None),
            ("POST /api/v1/session", None),
            ("POST /api/v1/agents", None),
            ("GET /metrics", Some(Read)),
            ("GET /federate", Some(Read)),
            ("GET /api/v1/query", Some(Read)),
            ("POST /api/v1/query_range", Some(Read)),
            ("POST /api/v1/query_batch", Some(Read)),
            ("POST /api/v1/read", Some(Read)),
            ("GET /api/v1/agents", Some(Read)),
            ("GET /api/v1/status/config", Some(Read)),
            ("GET /api/v1/status_page/snapshot", Some(Read)),
            ("POST /api/v1/write", Some(Push)),
            ("POST /api/v1/otlp/v1/metrics", Some(Push)),
            ("POST /opentelemetry.proto.collector.metrics.v1.MetricsService/Export", Some(Push)),
            ("POST /api/v1/import/prometheus", Some(Push)),
            ("PUT /metrics/job/backup", Some(Push)),
            ("DELETE /metrics/job/backup", Some(Push)),
            ("POST /api/v2/alerts", Some(Push)),
            ("POST /datadog/api/v2/series", Some(Push)),
            ("POST /api/v1/series", Some(Push)),
            ("POST /api/v2/silences", Some(Edit)),
            ("DELETE /api/v2/silence/1", Some(Edit)),
            ("PUT /api/v1/library/rules/a", Some(Edit)),
            ("POST /api/v1/dashboards", Some(Edit)),
            ("POST /api/v1/status_page/incidents", Some(Edit)),
            ("DELETE /api/v1/status/cardinality", Some(Edit)),
            ("DELETE /api/v1/agents/a", Some(Edit)),
            // What nobody has thought of is not less.
            ("POST /api/v1/something/new", Some(Edit)),
            ("GET /api/v1/tokens", Some(Admin)),
            ("POST /api/v1/tokens", Some(Admin)),
            ("POST /api/v1/admin/tsdb/delete_series", Some(Admin)),
            ("PUT /api/v1/admin/wipe", Some(Admin)),
            ("POST /-/reload", Some(Admin)),
        ];
        for (line, expected) in cases {
            let (method, path) = line.split_once(' ').unwrap();
            assert_eq!(needed(&method.parse().unwrap(), path, false), *expected, "{line}");
        }
        assert_eq!(needed(&Method::POST, "/api/v1/series", true), Some(Read));
    }

    #[test]
    fn scopes_hold_what_they_say() {
        use Scope::{Admin, Edit, Push, Read};
        let covers = |own: Scope| [Read, Push, Edit, Admin].map(|other| own.covers(other));
        assert_eq!(covers(Read), [true, false, false, false]);
        assert_eq!(covers(Push), [false, true, false, false]);
        assert_eq!(covers(Edit), [true, false, true, false]);
        assert_eq!(covers(Admin), [true; 4]);
    }
}
