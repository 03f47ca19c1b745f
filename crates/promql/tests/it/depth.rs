//! The deepest and highest trees that the parser lets pass can be evaluated on a thread's ordinary stack.

use model::{Labels, Timestamp, Value};
use promql::script::{Question, Storage, engine};
use promql::{Options, parse, prettify};

#[test]
fn the_deepest_trees_can_be_evaluated() {
    let max = Options::all().max_depth;
    let mut storage = Storage::new();
    storage.insert(&Labels::from_pairs([("__name__", "a")]), 0, Value::Float(1.0), 0);
    for query in [
        format!("{}a{}", "(".repeat(max - 1), ")".repeat(max - 1)),
        format!("a{}", " + a".repeat(max * 4 - 2)),
        format!("a{}", " or a".repeat(max * 4 - 2)),
        format!("{}a{}", "abs(".repeat(max - 1), ")".repeat(max - 1)),
        format!("{}a{}", "sum(".repeat(max - 1), ")".repeat(max - 1)),
        format!("{}a", "-".repeat(max / 2 - 1)),
        format!("a offset {}1m{}", "(".repeat(max - 2), ")".repeat(max - 2)),
    ] {
        let expr = parse(&query, &Options::all()).expect("not too deep");
        assert_eq!(
            parse(&prettify(&expr), &Options::all()).expect("the same depth").to_string(),
            expr.to_string()
        );
        assert!(serde_json::to_string(&expr).is_ok());

        let time = Timestamp(60_000);
        let question = Question { query: &query, start: time, end: time, step_ms: 0 };
        if let Err(err) = engine::native(&storage, &question) {
            panic!("{}…: {err}", &query[..40]);
        }
    }
}
