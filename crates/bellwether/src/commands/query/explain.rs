//! How a query was evaluated, as a tree.

use serde_json::Value;

use crate::commands::say;

/// Prints the plan and the totals of a query with `stats=all`.
pub(super) fn print(stats: &Value) {
    for line in lines(stats) {
        say(line);
    }
}

fn lines(stats: &Value) -> Vec<String> {
    let nodes: Vec<&Value> = stats["plan"].as_array().into_iter().flatten().collect();
    let mut out = vec![String::new()];
    if nodes.is_empty() {
        out.push("the server gave no plan".to_owned());
    } else {
        let mut rows = Vec::new();
        tree(&nodes, nodes.len() - 1, "", "", &mut vec![false; nodes.len()], &mut rows);
        let width = rows.iter().map(|(title, _)| title.chars().count()).max().unwrap_or(0);
        out.push(format!("{:<width$}  {:>9}  {:>12}  {:>10}", "plan", "series", "samples", "time"));
        for (title, node) in rows {
            let number = |field: &str| node[field].as_u64().unwrap_or(0);
            let time = milliseconds(&node["seconds"]);
            out.push(format!(
                "{title:<width$}  {:>9}  {:>12}  {time:>10}",
                number("series"),
                number("samples")
            ));
        }
    }
    let (timings, samples) = (&stats["timings"], &stats["samples"]);
    out.push(format!(
        "waited {}, found series in {}, evaluated in {}; {} samples looked at, at most {} at once",
        milliseconds(&timings["execQueueTime"]),
        milliseconds(&timings["queryPreparationTime"]),
        milliseconds(&timings["innerEvalTime"]),
        samples["totalQueryableSamples"],
        samples["peakSamples"],
    ));
    out
}

fn milliseconds(seconds: &Value) -> String {
    format!("{:.2} ms", seconds.as_f64().unwrap_or(0.0) * 1000.0)
}

/// The node and its inputs below it; one that is used twice is shown in full once.
fn tree<'a>(
    nodes: &[&'a Value],
    at: usize,
    lead: &str,
    indent: &str,
    shown: &mut Vec<bool>,
    out: &mut Vec<(String, &'a Value)>,
) {
    let Some(node) = nodes.get(at) else { return };
    let title = node["title"].as_str().unwrap_or_default();
    let again = std::mem::replace(&mut shown[at], true);
    out.push((format!("{lead}{title}{}", if again { "  (as above)" } else { "" }), node));
    if again {
        return;
    }
    let inputs: Vec<usize> = node["inputs"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|i| usize::try_from(i.as_u64()?).ok())
        .collect();
    for (nth, &input) in inputs.iter().enumerate() {
        let last = nth + 1 == inputs.len();
        let (branch, below) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        // Inputs come before what uses them, so that this ends.
        if input < at {
            tree(nodes, input, &format!("{indent}{branch}"), &format!("{indent}{below}"), shown, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_plan_is_a_tree() {
        let node = |title: &str, inputs: &[u64], series: u64| json!({ "title": title, "inputs": inputs, "series": series, "samples": 10, "seconds": 0.0015 });
        let stats = json!({
            "plan": [node("rate({x})", &[], 5), node("sum by (job)", &[0], 2), node("/", &[1, 0], 2)],
            "timings": { "execQueueTime": 0.0, "queryPreparationTime": 0.001, "innerEvalTime": 0.002 },
            "samples": { "totalQueryableSamples": 20, "peakSamples": 7 },
        });
        let lines = lines(&stats);
        let start = |line: usize| lines[line].split("  ").next().unwrap().trim_end().to_owned();
        assert_eq!(start(2), "/");
        assert_eq!(start(3), "├─ sum by (job)");
        assert!(lines[4].starts_with("│  └─ rate({x})"), "{lines:#?}");
        assert!(lines[5].starts_with("└─ rate({x})  (as above)"), "{lines:#?}");
        assert!(lines[4].ends_with("5            10     1.50 ms"), "{lines:#?}");
        assert!(lines[6].contains("20 samples looked at"));
    }
}
