//! `/api/v1/openapi.yaml`: the HTTP API described for machines.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::server::Api;

/// A parameter: name, what it is, whether it must be given. A name that ends with `[]` may be repeated.
type Param = (&'static str, &'static str, bool);

/// A path: methods, what it does, parameters, the media type of its answer.
struct Path {
    path: &'static str,
    methods: &'static [&'static str],
    summary: &'static str,
    params: &'static [Param],
    media: &'static str,
}

const JSON: &str = "application/json";
const START: Param = ("start", "First time, RFC 3339 or Unix seconds", false);
const END: Param = ("end", "Last time, RFC 3339 or Unix seconds", false);
const LIMIT: Param = ("limit", "Most results; 0 for no limit", false);
const MATCH: Param = ("match[]", "Series selector", false);
const MUST_MATCH: Param = ("match[]", "Series selector", true);
const QUERY: Param = ("query", "PromQL expression", true);
const TIMEOUT: Param = ("timeout", "Evaluation timeout", false);
const STATS: Param = ("stats", "Any value for statistics, `all` for those of every step and the plan", false);
const LOOKBACK: Param = ("lookback_delta", "How far back an instant selector looks", false);

const fn path(
    path: &'static str,
    methods: &'static [&'static str],
    summary: &'static str,
    params: &'static [Param],
) -> Path {
    Path { path, methods, summary, params, media: JSON }
}

const GET: &[&str] = &["get"];
const POST: &[&str] = &["post"];
const BOTH: &[&str] = &["get", "post"];
const ADMIN: &[&str] = &["post", "put"];

const PATHS: &[Path] = &[
    path(
        "/api/v1/query",
        BOTH,
        "Evaluate an expression at one time",
        &[QUERY, ("time", "Evaluation time; now when missing", false), TIMEOUT, LIMIT, STATS, LOOKBACK],
    ),
    path(
        "/api/v1/query_range",
        BOTH,
        "Evaluate an expression over a range of time",
        &[
            QUERY,
            ("start", "First time", true),
            ("end", "Last time", true),
            ("step", "Distance of the times, a duration or seconds", true),
            TIMEOUT,
            LIMIT,
            STATS,
            LOOKBACK,
        ],
    ),
    path("/api/v1/query_exemplars", BOTH, "Exemplars of the series of an expression", &[QUERY, START, END]),
    path("/api/v1/format_query", BOTH, "Format an expression", &[QUERY]),
    path("/api/v1/parse_query", BOTH, "Parse an expression into a tree", &[QUERY]),
    path("/api/v1/series", BOTH, "Series that selectors find", &[MUST_MATCH, START, END, LIMIT]),
    path("/api/v1/labels", BOTH, "Label names", &[MATCH, START, END, LIMIT]),
    path("/api/v1/label/{name}/values", GET, "Values of a label", &[MATCH, START, END, LIMIT]),
    path(
        "/api/v1/metadata",
        GET,
        "Type, help and unit of metrics",
        &[("metric", "One metric", false), LIMIT, ("limit_per_metric", "Most entries of a metric", false)],
    ),
    path(
        "/api/v1/targets",
        GET,
        "Scrape targets",
        &[("state", "active, dropped or any", false), ("scrapePool", "One scrape pool", false)],
    ),
    path(
        "/api/v1/targets/metadata",
        GET,
        "Metadata of the metrics of targets",
        &[("match_target", "Selector of targets", false), ("metric", "One metric", false), LIMIT],
    ),
    path(
        "/api/v1/targets/relabel_steps",
        GET,
        "What each relabelling rule makes of a target",
        &[("scrapePool", "The scrape pool", true), ("labels", "Discovered labels as JSON", true)],
    ),
    path("/api/v1/scrape_pools", GET, "Names of the scrape pools", &[]),
    path(
        "/api/v1/rules",
        GET,
        "Rules and their alerts",
        &[
            ("type", "alert or record", false),
            ("rule_name[]", "Names of rules", false),
            ("rule_group[]", "Names of groups", false),
            ("file[]", "Rule files", false),
            MATCH,
            ("exclude_alerts", "Leave the alerts out", false),
            ("group_limit", "Most groups of a page", false),
            ("group_next_token", "The page that follows", false),
        ],
    ),
    path("/api/v1/alerts", GET, "Active alerts", &[]),
    path("/api/v1/alertmanagers", GET, "Where alerts go", &[]),
    path("/api/v1/status/config", GET, "The configuration file", &[]),
    path("/api/v1/status/flags", GET, "Settings", &[]),
    path("/api/v1/status/runtimeinfo", GET, "The process", &[]),
    path("/api/v1/status/buildinfo", GET, "The version", &[]),
    path("/api/v1/status/tsdb", GET, "Cardinality of the head", &[LIMIT]),
    path("/api/v1/status/tsdb/blocks", GET, "The blocks on the disk", &[]),
    path("/api/v1/status/walreplay", GET, "How far the log has been replayed", &[]),
    path("/api/v1/status/queries", GET, "The queries that run", &[]),
    path(
        "/api/v1/status/self_metrics",
        GET,
        "The server's own metrics",
        &[("metric_name_pattern", "Regular expression", false)],
    ),
    path("/api/v1/features", GET, "What this server can do", &[]),
    path("/api/v1/notifications", GET, "What the operator should know", &[]),
    Path {
        path: "/api/v1/notifications/live",
        methods: GET,
        summary: "The same as it happens",
        params: &[],
        media: "text/event-stream",
    },
    Path {
        path: "/api/v1/read",
        methods: POST,
        summary: "Remote read",
        params: &[],
        media: "application/x-protobuf",
    },
    path("/api/v1/write", POST, "Remote write", &[]),
    path("/api/v1/admin/tsdb/delete_series", ADMIN, "Delete samples of series", &[MUST_MATCH, START, END]),
    path("/api/v1/admin/tsdb/clean_tombstones", ADMIN, "Remove deleted samples from the disk", &[]),
    path("/api/v1/admin/tsdb/snapshot", ADMIN, "Copy the data", &[]),
    Path {
        path: "/federate",
        methods: GET,
        summary: "Newest samples of series, for another server to scrape",
        params: &[MUST_MATCH],
        media: "text/plain",
    },
];

/// `GET /api/v1/openapi.yaml`
pub(crate) async fn serve(State(api): State<Arc<Api>>) -> Response {
    let mut text = String::with_capacity(32 << 10);
    yaml(&mut text, &document(&api.live.config().external_url, api.build.version), 0);
    let mut response = text.into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/yaml; charset=utf-8"));
    response
}

fn document(url: &str, version: &str) -> Value {
    let mut paths = Map::new();
    for one in PATHS {
        let mut item = Map::new();
        for method in one.methods {
            item.insert((*method).to_owned(), operation(one, method));
        }
        paths.insert(one.path.to_owned(), Value::Object(item));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Bellwether HTTP API",
            "description": "Prometheus' HTTP API, and what is ours beside it.",
            "version": version,
        },
        "servers": [{ "url": url }],
        "paths": paths,
        "components": { "schemas": {
            "Success": {
                "type": "object",
                "required": ["status", "data"],
                "properties": {
                    "status": { "type": "string", "enum": ["success"] },
                    "data": {},
                    "warnings": { "type": "array", "items": { "type": "string" } },
                    "infos": { "type": "array", "items": { "type": "string" } },
                },
            },
            "Error": {
                "type": "object",
                "required": ["status", "errorType", "error"],
                "properties": {
                    "status": { "type": "string", "enum": ["error"] },
                    "errorType": { "type": "string" },
                    "error": { "type": "string" },
                },
            },
        }},
    })
}

fn operation(path: &Path, method: &str) -> Value {
    let in_path = path.path.contains("{name}").then(|| {
        json!({
            "name": "name", "in": "path", "required": true, "description": "The label's name",
            "schema": { "type": "string" },
        })
    });
    let schema = |name: &str| match name.ends_with("[]") {
        true => json!({ "type": "array", "items": { "type": "string" } }),
        false => json!({ "type": "string" }),
    };
    let in_query = path.params.iter().map(|(name, description, required)| {
        json!({
            "name": name, "in": "query", "required": required, "description": description, "schema": schema(name),
        })
    });
    let as_form = method == "post" && path.methods == BOTH;
    let parameters: Vec<Value> = match as_form {
        true => in_path.into_iter().collect(),
        false => in_path.into_iter().chain(in_query).collect(),
    };
    let answer = |name: &str| json!({ "$ref": format!("#/components/schemas/{name}") });
    let success = match path.media == JSON {
        true => json!({ "schema": answer("Success") }),
        false => json!({ "schema": { "type": "string" } }),
    };
    let mut found = json!({
        "summary": path.summary,
        "operationId": format!("{method}{}", path.path.replace(['/', '{', '}', '.'], "-")),
        "responses": {
            "200": { "description": "Success", "content": { path.media: success } },
            "default": {
                "description": "Error", "content": { "application/json": { "schema": answer("Error") } },
            },
        },
    });
    if !parameters.is_empty() {
        found["parameters"] = parameters.into();
    }
    if as_form {
        let fields: Map<String, Value> = path
            .params
            .iter()
            .map(|(name, description, _)| {
                let mut field = schema(name);
                field["description"] = (*description).into();
                ((*name).to_owned(), field)
            })
            .collect();
        let required: Vec<&str> =
            path.params.iter().filter(|(.., must)| *must).map(|(name, ..)| *name).collect();
        found["requestBody"] = json!({ "content": { "application/x-www-form-urlencoded": {
            "schema": { "type": "object", "required": required, "properties": fields },
        }}});
    }
    found
}

/// Appends a value as block YAML. Texts are quoted as JSON quotes them, which YAML reads the same.
fn yaml(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                pad(out, indent);
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                below(out, value, indent);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                pad(out, indent);
                out.push('-');
                below(out, item, indent);
            }
        }
        scalar => {
            pad(out, indent);
            out.push_str(&scalar.to_string());
            out.push('\n');
        }
    }
}

fn below(out: &mut String, value: &Value, indent: usize) {
    let is_block = match value {
        Value::Object(fields) => !fields.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if is_block {
        out.push('\n');
        yaml(out, value, indent + 1);
    } else {
        out.push(' ');
        out.push_str(&value.to_string());
        out.push('\n');
    }
}

fn pad(out: &mut String, indent: usize) {
    (0..indent).for_each(|_| out.push_str("  "));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_yaml_with_every_path_once() {
        let mut text = String::new();
        yaml(&mut text, &document("http://localhost:9090", "1"), 0);
        for path in PATHS {
            assert_eq!(text.matches(&format!("  \"{}\":\n", path.path)).count(), 1, "{}", path.path);
        }
        assert!(
            text.starts_with("\"openapi\": \"3.1.0\"\n\"info\":\n  \"title\": \"Bellwether HTTP API\"\n")
        );
        assert!(text.contains("\"servers\":\n  -\n    \"url\": \"http://localhost:9090\"\n"));
    }
}
