//! Requests in JSON through the whole decoder, which covers both forms.

use model::Batch;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::test_support::{Sums, show};

fn decode(options: Options, request: &Value) -> (Vec<String>, Refused) {
    let body = json::to_protobuf(request.to_string().as_bytes()).unwrap();
    let mut batch = Batch::new();
    let mut decoder = Decoder::new(1, Arc::new(options));
    let mut sums = Sums::default();
    let refused = decoder.decode(&body, &mut batch, &mut sums).unwrap();
    let (first, again) = (show(&batch), decoder.decode(&body, &mut batch, &mut Sums::default()).unwrap());
    // Cached names must not change anything.
    assert_eq!((&first, &refused), (&show(&batch), &again));
    (first, refused)
}

fn attribute(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}

fn request(attributes: Value, metrics: Value) -> Value {
    json!({"resourceMetrics": [{
        "resource": {"attributes": attributes},
        "scopeMetrics": [{"scope": {"name": "lib", "version": "1.0", "attributes": [attribute("k", "v")]}, "metrics": metrics}]
    }]})
}

fn service() -> Value {
    json!([
        attribute("service.name", "shop"),
        attribute("service.namespace", "eu"),
        attribute("service.instance.id", "i1"),
        attribute("host.name", "h1")
    ])
}

const T: &str = "1700000000000000000";

#[test]
fn gauges_and_counters() {
    let metrics = json!([
        {"name": "queue.size", "unit": "1", "gauge": {"dataPoints": [
            {"timeUnixNano": T, "asInt": "7", "attributes": [attribute("queue.name", "q"), {"key": "n", "value": {"intValue": "3"}}]}
        ]}},
        {"name": "requests", "description": "How many", "sum": {"isMonotonic": true, "aggregationTemporality": 2, "dataPoints": [
            {"startTimeUnixNano": "1600000000000000000", "timeUnixNano": T, "asDouble": 2.5,
             "exemplars": [{"timeUnixNano": T, "asDouble": 1, "traceId": "0102", "spanId": "0000"}]}
        ]}},
        {"name": "gone", "gauge": {"dataPoints": [{"timeUnixNano": T, "flags": 1}]}}
    ]);
    let (shown, refused) = decode(Options::default(), &request(service(), metrics));
    assert_eq!(
        shown,
        [
            "queue_size_ratio{instance=\"i1\", job=\"eu/shop\", n=\"3\", queue_name=\"q\"} 7@1700000000000",
            "requests_total{instance=\"i1\", job=\"eu/shop\"} 2.5@1700000000000",
            "gone{instance=\"i1\", job=\"eu/shop\"} stale@1700000000000",
            "target_info{host_name=\"h1\", instance=\"i1\", job=\"eu/shop\"} 1@1700000000000",
            "requests_total{instance=\"i1\", job=\"eu/shop\"} start 1600000000000@1700000000000",
            "requests_total{instance=\"i1\", job=\"eu/shop\"} ex {trace_id=\"0102\"} 1@1700000000000",
            "# queue_size_ratio gauge \"\" \"1\"",
            "# requests_total counter \"How many\" \"\"",
            "# gone gauge \"\" \"\"",
        ]
    );
    assert_eq!(refused, Refused::default());
}

#[test]
fn histograms_of_every_kind() {
    let metrics = json!([
        {"name": "took", "unit": "s", "histogram": {"aggregationTemporality": 2, "dataPoints": [
            {"timeUnixNano": T, "count": "6", "sum": 9.5, "bucketCounts": ["1", "2", "3"], "explicitBounds": [0.5, 10],
             "exemplars": [{"timeUnixNano": T, "asDouble": 7}]}
        ]}},
        {"name": "exp", "exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": [
            {"timeUnixNano": T, "count": 4, "sum": 5, "scale": 0, "zeroCount": 1, "positive": {"offset": 1, "bucketCounts": [1, 0, 2]}},
            {"timeUnixNano": T, "count": 4, "scale": -9}
        ]}},
        {"name": "sum", "summary": {"dataPoints": [
            {"timeUnixNano": T, "count": 3, "sum": 1.5, "quantileValues": [{"quantile": 0.99, "value": 0.75}]}
        ]}}
    ]);
    let (shown, refused) =
        decode(Options { target_info: false, ..Options::default() }, &request(json!([]), metrics.clone()));
    assert_eq!(
        shown.iter().filter(|line| !line.starts_with('#')).map(String::as_str).collect::<Vec<_>>(),
        [
            "took_seconds_sum 9.5@1700000000000",
            "took_seconds_count 6@1700000000000",
            "took_seconds_bucket{le=\"0.5\"} 1@1700000000000",
            "took_seconds_bucket{le=\"10\"} 3@1700000000000",
            "took_seconds_bucket{le=\"+Inf\"} 6@1700000000000",
            "sum_sum 1.5@1700000000000",
            "sum_count 3@1700000000000",
            "sum{quantile=\"0.99\"} 0.75@1700000000000",
            "exp h0 s5 n4 [(2, 3)] [1.0, 0.0, 2.0]@1700000000000",
            "took_seconds_bucket{le=\"10\"} ex {} 7@1700000000000",
        ]
    );
    assert!(refused.count == 1 && refused.first.unwrap().contains("scale -9"));
    let options = Options { histograms_to_nhcb: true, ..Options::default() };
    let (shown, _) = decode(options, &request(json!([]), metrics));
    assert!(
        shown.contains(&"took_seconds h-53 s9.5 n6 [(0, 3)] [1.0, 2.0, 3.0]@1700000000000".to_owned()),
        "{shown:?}"
    );
}

#[test]
fn deltas_are_added_up() {
    let point = |t: u64, v: f64| json!({"startTimeUnixNano": "1000000", "timeUnixNano": t * 1_000_000, "asDouble": v});
    let metrics = json!([{"name": "d", "sum": {"isMonotonic": true, "aggregationTemporality": 1,
        "dataPoints": [point(10, 2.0), point(20, 3.0)]}}]);
    let request = request(json!([]), metrics);
    let (shown, _) = decode(Options::default(), &request);
    assert_eq!(shown[..2], ["d_total 2@10", "d_total 5@20"]);
    let body = json::to_protobuf(request.to_string().as_bytes()).unwrap();
    let mut batch = Batch::new();
    let refused = Decoder::new(1, Arc::default()).decode(&body, &mut batch, &mut NoDeltas).unwrap();
    assert!(refused.count == 2 && batch.floats().is_empty());
}

#[test]
fn resource_and_scope_become_labels_when_asked() {
    let metrics = json!([{"name": "g", "gauge": {"dataPoints": [
        {"timeUnixNano": T, "asInt": 1, "attributes": [attribute("host.name", "own"), attribute("a.b", "2"), attribute("a_b", "1"), attribute("job", "x")]}
    ]}}]);
    let with = |options: Options| decode(options, &request(service(), metrics.clone())).0;
    let first = |options: Options| with(options).swap_remove(0);
    let only = Options { promote: Promote::Only(vec!["host.name".into()]), ..Options::default() };
    assert_eq!(
        first(only),
        "g{a_b=\"2;1\", host_name=\"own\", instance=\"i1\", job=\"eu/shop\"} 1@1700000000000"
    );
    let all = Options {
        promote: Promote::AllBut(vec!["host.name".into()]),
        promote_scope: true,
        escape: false,
        ..Options::default()
    };
    assert_eq!(
        first(all),
        "g{\"a.b\"=\"2\", a_b=\"1\", \"host.name\"=\"own\", instance=\"i1\", job=\"eu/shop\", otel_scope_k=\"v\", otel_scope_name=\"lib\", \
         otel_scope_version=\"1.0\", \"service.instance.id\"=\"i1\", \"service.name\"=\"shop\", \"service.namespace\"=\"eu\"} 1@1700000000000"
    );
    let keep = Options { keep_identifying: true, ..Options::default() };
    assert!(with(keep)[1].contains("service_name=\"shop\""));
    // Nothing identifies the resource: no target_info.
    let (shown, _) =
        decode(Options::default(), &request(json!([attribute("host.name", "h")]), metrics.clone()));
    assert!(!shown.iter().any(|line| line.contains("target_info")));
}

#[test]
fn nonsense_is_counted_or_refused() {
    let metrics = json!([
        {"name": "nothing"},
        {"name": "t", "sum": {"dataPoints": [{"timeUnixNano": T, "asInt": 1}, {"timeUnixNano": T, "asInt": 1}]}},
        {"name": "v", "gauge": {"dataPoints": [{"timeUnixNano": T}]}},
        {"name": "b", "histogram": {"aggregationTemporality": 2, "dataPoints": [
            {"timeUnixNano": T, "count": 1, "bucketCounts": [1], "explicitBounds": [1, 2]}]}},
        {"name": "--", "gauge": {"dataPoints": [{"timeUnixNano": T, "asInt": 1}]}}
    ]);
    let (shown, refused) = decode(Options::default(), &request(json!([]), metrics));
    assert_eq!(refused.count, 6);
    assert!(!shown.iter().any(|line| !line.starts_with('#')), "{shown:?}");
    for (body, word) in [
        ("x", "JSON"),
        (r#"{"resourceMetrics": 1}"#, "resourceMetrics: expected a list"),
        (
            r#"{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": 1}]}]}]}"#,
            "metrics.name: expected a text",
        ),
    ] {
        let err = json::to_protobuf(body.as_bytes()).unwrap_err();
        assert!(err.contains(word), "{err}");
    }
    assert!(Decoder::new(1, Arc::default()).decode(&[10, 200], &mut Batch::new(), &mut NoDeltas).is_err());
}

proptest! {
    #[test]
    fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut batch = Batch::new();
        let decoded = Decoder::new(1, Arc::default()).decode(&body, &mut batch, &mut Sums::default());
        prop_assert!(decoded.is_ok() || batch.series().is_empty());
    }

    #[test]
    fn no_broken_message_panics(at in 0usize..2000, to in any::<u8>(), cut in 0usize..2000, nhcb in any::<bool>()) {
        let metrics = json!([
            {"name": "a.b", "unit": "s", "sum": {"aggregationTemporality": 1, "dataPoints": [{"timeUnixNano": T, "asInt": 1, "attributes": [attribute("k", "v")]}]}},
            {"name": "h", "histogram": {"aggregationTemporality": 2, "dataPoints": [
                {"timeUnixNano": T, "count": 3, "sum": 1, "bucketCounts": [1, 2], "explicitBounds": [1]}]}},
            {"name": "e", "exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": [
                {"timeUnixNano": T, "count": 3, "scale": 12, "positive": {"offset": 1, "bucketCounts": [1, 0, 2]}}]}}
        ]);
        let mut body = json::to_protobuf(request(service(), metrics).to_string().as_bytes()).unwrap();
        let len = body.len();
        body[at % len] = to;
        body.truncate(cut.max(1));
        let options = Options { histograms_to_nhcb: nhcb, promote_scope: true, ..Options::default() };
        let mut batch = Batch::new();
        Decoder::new(1, Arc::new(options)).decode(&body, &mut batch, &mut Sums::default()).ok();
        for index in 0..batch.series().len() as u32 {
            prop_assert!(model::Labels::from_encoded(batch.label_bytes(index).unwrap()).is_some());
        }
    }

    #[test]
    fn no_json_panics(text in "[{}\\[\\]\":,a-z0-9]{0,80}") {
        json::to_protobuf(text.as_bytes()).ok();
    }
}
