//! `/api/v1/features`: what this server can do, by Prometheus' categories and names.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use promql::functions::FUNCTIONS;

use crate::reply;
use crate::server::Api;

type Category = BTreeMap<&'static str, bool>;

/// `GET /api/v1/features`
pub(crate) async fn features(State(api): State<Arc<Api>>) -> Response {
    reply::success_of(&all(&api))
}

fn all(api: &Api) -> BTreeMap<&'static str, Category> {
    let language = &api.options;
    let evaluation = &api.eval_options;
    let on = |names: &[&'static str]| names.iter().map(|name| (*name, true)).collect::<Category>();
    let with = |mut category: Category, more: &[(&'static str, bool)]| {
        category.extend(more.iter().copied());
        category
    };
    BTreeMap::from([
        (
            "api",
            with(
                on(&[
                    "exclude_alerts",
                    "label_values_match",
                    "openapi_3.1",
                    "query_stats",
                    "query_warnings",
                    "time_range_labels",
                    "time_range_series",
                ]),
                &[
                    ("admin", api.web.enable_admin_api),
                    ("lifecycle", api.web.enable_lifecycle),
                    ("remote_write_receiver", api.web.enable_remote_write_receiver),
                ],
            ),
        ),
        ("prometheus", on(&["server_mode"])),
        (
            "promql",
            with(
                on(&[
                    "at_modifier",
                    "bool",
                    "by",
                    "group_left",
                    "group_right",
                    "ignoring",
                    "negative_offset",
                    "offset",
                    "on",
                    "per_query_lookback_delta",
                    "per_step_stats",
                    "subqueries",
                    "without",
                ]),
                &[
                    ("anchored", language.extended_range_selectors),
                    ("smoothed", language.extended_range_selectors),
                    ("duration_expr", language.duration_expressions),
                    ("fill", language.fill_modifiers),
                    ("fill_left", language.fill_modifiers),
                    ("fill_right", language.fill_modifiers),
                    ("delayed_name_removal", evaluation.delayed_name_removal),
                    ("type_and_unit_labels", evaluation.type_and_unit_labels),
                ],
            ),
        ),
        (
            "promql_functions",
            FUNCTIONS
                .iter()
                .map(|function| (function.name, !function.experimental || language.experimental_functions))
                .collect(),
        ),
        (
            "promql_operators",
            with(
                on(&[
                    "!=",
                    "!~",
                    "%",
                    "*",
                    "+",
                    "-",
                    "/",
                    "<",
                    "<=",
                    "==",
                    "=~",
                    ">",
                    ">=",
                    "@",
                    "^",
                    "and",
                    "atan2",
                    "avg",
                    "bottomk",
                    "count",
                    "count_values",
                    "group",
                    "max",
                    "min",
                    "or",
                    "quantile",
                    "stddev",
                    "stdvar",
                    "sum",
                    "topk",
                    "unless",
                ]),
                &[
                    ("limitk", language.experimental_functions),
                    ("limit_ratio", language.experimental_functions),
                ],
            ),
        ),
        ("rules", on(&["concurrent_rule_eval", "keep_firing_for", "query_offset"])),
        ("tsdb", on(&["exemplar_storage", "isolation", "native_histograms"])),
    ])
}
