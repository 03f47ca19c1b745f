//! Every HTTP path, in one place.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

use crate::error::{ApiError, ErrorType};
use crate::metrics::{HandlerLabels, RequestLabels};
use crate::server::{Api, Phase};
use crate::{
    admin, agent, agents, alert_history, alertmanager, batch, cardinality, catalog, clean, client_reports,
    cors, dashboards, features, federate, fleet, health, library, notifications, openapi, probe, push, query,
    read, refusals, rules, self_metrics, status, status_page, targets, tokens, ui, vantages,
};

/// The paths and the layers around them.
pub(crate) fn router(api: Arc<Api>) -> Router {
    let data = Router::new()
        .route("/api/v1/query", get(query::instant).post(query::instant))
        .route("/api/v1/query_range", get(query::range).post(query::range))
        .route("/api/v1/format_query", get(query::format).post(query::format))
        .route("/api/v1/parse_query", get(query::parse).post(query::parse))
        .route("/api/v1/query_exemplars", get(catalog::exemplars).post(catalog::exemplars))
        .route("/api/v1/series", get(catalog::series).post(push::datadog::v1_or_catalog))
        .route("/api/v1/labels", get(catalog::label_names).post(catalog::label_names))
        .route("/api/v1/label/{name}/values", get(catalog::label_values))
        .route("/api/v1/metadata", get(catalog::metadata))
        .route("/api/v1/write", post(push::remote_write))
        .route("/api/v1/read", post(read::remote_read))
        .route("/federate", get(federate::federate))
        .route("/api/v1/alertmanagers", get(status::alertmanagers))
        .route("/api/v1/targets/relabel_steps", get(targets::relabel_steps))
        .route("/api/v1/otlp/v1/metrics", post(push::otlp::http))
        .route("/v1/metrics", post(push::otlp::http))
        .route("/opentelemetry/v1/metrics", post(push::otlp::http))
        .route("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", post(push::otlp::grpc))
        .route("/write", post(push::influx::write_v1))
        .route("/influx/write", post(push::influx::write_v1))
        .route("/api/v2/write", post(push::influx::write_v2))
        .route("/influx/api/v2/write", post(push::influx::write_v2))
        .route("/api/v1/import/prometheus", post(push::import::import).put(push::import::import))
        .route("/datadog/api/v1/series", post(push::datadog::v1))
        .route("/datadog/api/v2/series", post(push::datadog::v2))
        .route("/api/v2/series", post(push::datadog::v2))
        .route("/api/v1/check_run", post(push::datadog::not_kept))
        .route("/datadog/api/v1/check_run", post(push::datadog::not_kept))
        .route("/intake/", post(push::datadog::not_kept))
        .route("/datadog/intake/", post(push::datadog::not_kept))
        .route(
            "/metrics/{*group}",
            put(push::pushgateway::group).post(push::pushgateway::group).delete(push::pushgateway::group),
        )
        .route("/api/v1/metrics", get(push::pushgateway::list))
        .route("/api/v1/admin/wipe", put(push::pushgateway::wipe))
        .route("/api/v1/admin/tsdb/delete_series", post(admin::delete_series).put(admin::delete_series))
        .route(
            "/api/v1/admin/tsdb/clean_tombstones",
            post(admin::clean_tombstones).put(admin::clean_tombstones),
        )
        .route("/api/v1/admin/tsdb/snapshot", post(admin::snapshot).put(admin::snapshot))
        .route("/api/v1/status/tsdb", get(status::tsdb))
        .route("/api/v1/status/tsdb/blocks", get(status::tsdb_blocks))
        .route("/api/v1/status/queries", get(status::queries))
        .route("/api/v1/status/cardinality", get(cardinality::show).delete(cardinality::release))
        .route("/api/v1/rules", get(rules::rules))
        .route("/api/v1/alerts", get(rules::alerts))
        .route("/api/v1/alerts/history", get(alert_history::events))
        .route("/api/v1/alerts/timeline", get(alert_history::timeline))
        .route("/api/v1/alerts/report", get(alert_history::report))
        .route("/api/v1/alerts/explain", get(alert_history::explain))
        .route("/api/v1/alerts/receivers/{name}/test", post(alert_history::test_receiver))
        .route("/api/v1/library", get(library::handlers::overview))
        .route("/api/v1/library/import", post(library::handlers::import))
        .route(
            "/api/v1/library/{kind}/{name}",
            get(library::handlers::get).put(library::handlers::put).delete(library::handlers::delete),
        )
        .route("/api/v1/library/{kind}/{name}/versions", get(library::handlers::versions))
        .route("/api/v1/library/{kind}/{name}/diff", get(library::handlers::diff))
        .route("/api/v1/library/{kind}/{name}/undo", post(library::handlers::undo))
        .route("/api/v1/targets", get(targets::targets))
        .route("/api/v1/targets/metadata", get(targets::metadata))
        .route("/api/v1/scrape_pools", get(targets::pools))
        .route("/api/v1/agents", get(agents::list).post(agents::announce))
        .route("/api/v1/agents/direct", get(agents::direct))
        .route("/api/v1/agents/{name}", axum::routing::delete(agents::withdraw))
        .route("/api/v2/status", get(alertmanager::status))
        .route("/api/v2/receivers", get(alertmanager::receivers))
        .route("/api/v2/alerts", get(alertmanager::alerts).post(alertmanager::post_alerts))
        .route("/api/v2/alerts/groups", get(alertmanager::groups))
        .route("/api/v2/silences", get(alertmanager::silences).post(alertmanager::post_silence))
        .route("/api/v2/silence/{id}", get(alertmanager::silence).delete(alertmanager::delete_silence))
        .route("/api/v1/query_batch", post(batch::batch))
        .route("/api/v1/dashboards", get(dashboards::list).post(dashboards::save))
        .route("/api/v1/dashboards/{uid}", get(dashboards::get).delete(dashboards::delete))
        .route("/api/v1/dashboards/{uid}/versions", get(dashboards::versions))
        .route("/api/v1/dashboards/{uid}/versions/{number}", get(dashboards::version))
        .route("/api/v1/host/events", get(agent::host_events))
        .route("/api/v1/probe/vantages", get(vantages::list).post(vantages::introduce))
        .route("/api/v1/probe/coverage", get(vantages::coverage))
        .route("/probe", get(probe::on_server))
        .route("/api/v1/clients/sites", get(client_reports::sites))
        .route("/api/v1/clients/cohorts", get(client_reports::cohorts))
        .route("/api/v1/clients/incidents", get(client_reports::incidents))
        .route("/api/v1/clients/fields", get(client_reports::fields))
        .route("/api/v1/clients/policy", get(client_reports::policy))
        .route("/api/v1/clients/lint", get(client_reports::lint))
        .route("/api/v1/status_page", get(status_page::handlers::show))
        .route("/api/v1/status_page/snapshot", get(status_page::handlers::snapshot))
        .route("/api/v1/status_page/incidents", post(status_page::handlers::open))
        .route("/api/v1/status_page/incidents/{id}", axum::routing::delete(status_page::handlers::delete))
        .route("/api/v1/status_page/incidents/{id}/updates", post(status_page::handlers::update))
        .route(
            "/api/v1/status_page/webhooks",
            get(status_page::handlers::webhooks).post(status_page::handlers::add_webhook),
        )
        .route(
            "/api/v1/status_page/webhooks/{id}",
            axum::routing::delete(status_page::handlers::remove_webhook),
        )
        .route("/api/v1/fleet/topology", get(fleet::handlers::topology))
        .route("/api/v1/fleet/state", get(fleet::handlers::state))
        .route("/api/v1/fleet/stream", get(fleet::handlers::stream))
        .route("/api/v1/fleet/history", get(fleet::handlers::history))
        .route("/api/v1/fleet/rack/{id}", get(fleet::handlers::rack))
        .route("/api/v1/fleet/find", get(fleet::handlers::find))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&api), when_ready));
    let always = Router::new()
        .route("/-/healthy", get(health::healthy))
        .route("/-/ready", get(health::ready))
        .route("/-/reload", post(health::reload).put(health::reload))
        .route("/-/quit", post(health::quit).put(health::quit))
        .route("/metrics", get(self_metrics::serve))
        .route("/ping", get(push::influx::ping).post(push::influx::ping))
        .route("/health", get(push::influx::health))
        .route("/query", get(push::influx::query_or_page).post(push::influx::query))
        .route("/influx/query", get(push::influx::query_or_page).post(push::influx::query))
        .route("/api/v1/validate", get(push::datadog::validate))
        .route("/datadog/api/v1/validate", get(push::datadog::validate))
        .route("/api/v1/status/buildinfo", get(status::build_info))
        .route("/api/v1/status/config", get(status::config))
        .route("/api/v1/status/flags", get(status::flags))
        .route("/api/v1/status/runtimeinfo", get(status::runtime_info))
        .route("/api/v1/status/walreplay", get(status::wal_replay))
        .route("/api/v1/status/self_metrics", get(self_metrics::families))
        .route("/api/v1/features", get(features::features))
        .route("/api/v1/notifications", get(notifications::list))
        .route("/api/v1/notifications/live", get(notifications::live))
        .route("/api/v1/tokens", get(tokens::handlers::list).post(tokens::handlers::issue))
        .route("/api/v1/tokens/{id}", axum::routing::delete(tokens::handlers::revoke))
        .route(
            "/api/v1/session",
            get(tokens::handlers::whoami).post(tokens::handlers::sign_in).delete(tokens::handlers::sign_out),
        )
        .route("/api/v1/openapi.yaml", get(openapi::serve))
        .route("/version", get(status::version));
    data.merge(always)
        .fallback(get(ui::serve))
        .layer(DefaultBodyLimit::max(api.web.max_body_bytes))
        .layer(middleware::from_fn(clean::layer))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), refusals::layer))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), tokens::guard))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), cors::layer))
        .layer(middleware::from_fn_with_state(Arc::clone(&api), measure))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(CompressionLayer::new())
        .with_state(api)
}

/// Queries and pushes wait for recovery: until then they get 503, so that no answer lacks recovered data.
async fn when_ready(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    match api.phase() {
        Phase::Ready | Phase::Stopping => next.run(request).await,
        Phase::Starting => ApiError {
            retry_after: Some(1),
            ..ApiError::new(ErrorType::Unavailable, "data is being recovered, try again in a moment")
        }
        .into_response(),
    }
}

/// Counts and times every request, and ends those that take too long.
async fn measure(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    // The pattern, not the path: its number is bounded.
    let handler = request.extensions().get::<MatchedPath>().map_or("ui", MatchedPath::as_str).to_owned();
    let started = tokio::time::Instant::now();
    let limit = Duration::from_millis(u64::try_from(api.web.read_timeout.ms()).unwrap_or(u64::MAX));
    let response = match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let message = format!("the request took longer than {} (web.read_timeout)", api.web.read_timeout);
            ApiError::new(ErrorType::Timeout, message).into_response()
        }
    };
    let code = response.status().as_u16();
    let seconds = started.elapsed().as_secs_f64();
    api.metrics.request_seconds.get_or_create(&HandlerLabels { handler: handler.clone() }).observe(seconds);
    api.metrics.requests.get_or_create(&RequestLabels { handler, code }).inc();
    response
}

/// A panic in one request ends that request only.
fn panicked(cause: Box<dyn std::any::Any + Send + 'static>) -> Response {
    let text =
        cause.downcast_ref::<String>().map(String::as_str).or_else(|| cause.downcast_ref::<&str>().copied());
    let text = text.unwrap_or("no message");
    tracing::error!(panic = text, "a request handler panicked");
    ApiError::new(ErrorType::Internal, "internal error: the request handler panicked; see the server's log")
        .into_response()
}
