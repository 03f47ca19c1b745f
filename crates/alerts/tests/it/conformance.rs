//! Cases that Alertmanager's project wrote. They are read from the folder that `BELLWETHER_CONFORMANCE` names.

use std::path::PathBuf;

use alerts::Config;
use alerts::config::Route;
use alerts::parse;
use alerts::route::Tree;
use alerts::timeinterval::{TimeInterval, any_contains};
use model::{Labels, Timestamp};
use serde_json::Value;

fn folder() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("BELLWETHER_CONFORMANCE") else {
        println!("not run: BELLWETHER_CONFORMANCE names no folder");
        return None;
    };
    Some(PathBuf::from(folder).join("alertmanager"))
}

fn cases(file: &str) -> Vec<Value> {
    let Some(folder) = folder() else { return vec![] };
    serde_json::from_str(&std::fs::read_to_string(folder.join(file)).unwrap()).unwrap()
}

fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field].as_str().unwrap()
}

#[test]
fn configuration_files() {
    let Some(folder) = folder() else { return };
    let folder = folder.join("config");
    let manifest: serde_json::Map<String, Value> =
        serde_json::from_str(&std::fs::read_to_string(folder.join("manifest.json")).unwrap()).unwrap();
    let mut wrong = vec![];
    for (name, case) in &manifest {
        let result = Config::load_file(&folder.join(name));
        let valid = case["valid"].as_bool().unwrap();
        let wanted = case["upstream_error"].as_str();
        let problem = match (&result, wanted) {
            (Ok(_), _) if valid => None,
            (Ok(_), _) => Some("accepted".to_owned()),
            (Err(err), _) if valid => Some(format!("refused: {err}")),
            (Err(err), Some(wanted)) if !err.to_string().contains(wanted) => {
                Some(format!("refused for another reason: {err}"))
            }
            _ => None,
        };
        wrong.extend(problem.map(|problem| format!("{name}: {problem}")));
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), manifest.len(), wrong.join("\n"));
}

#[test]
fn matchers() {
    let mut wrong = vec![];
    for case in cases("matchers.json") {
        let input = text(&case, "input");
        let found = match text(&case, "parser") {
            "utf8" => parse::utf8(input),
            "utf8-single" => parse::utf8_single(input).map(|matcher| vec![matcher]),
            "classic" => parse::classic(input),
            other => panic!("unknown parser {other}"),
        };
        let shown = found.map(|found| {
            let each = found
                .iter()
                .map(|m| serde_json::json!({"name": m.name(), "op": m.op().as_str(), "value": m.value()}));
            Value::Array(each.collect())
        });
        let right = match &shown {
            Ok(found) => case["valid"] == true && *found == case["matchers"],
            Err(_) => case["valid"] == false,
        };
        if !right {
            wrong.push(format!("{case}\n    got {shown:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn routing() {
    let mut wrong = vec![];
    for case in cases("routing.json") {
        let labels: Labels = serde_json::from_value(case["labels"].clone()).unwrap();
        let (route, whole) = match case["config_yaml"].as_str() {
            Some(yaml) => (Config::load(yaml).unwrap().route, true),
            None => (yaml::read::<Route>(text(&case, "route_yaml")).unwrap(), false),
        };
        let found = Tree::new(&route).unwrap().matches(&labels);
        let problem = if whole {
            let receivers: Vec<&str> = found.iter().map(|node| node.options.receiver.as_str()).collect();
            (serde_json::json!(receivers) != case["receivers"]).then(|| format!("{receivers:?}"))
        } else {
            let matches: Vec<Value> = found
                .iter()
                .map(|node| {
                    let options = &node.options;
                    serde_json::json!({
                        "receiver": options.receiver,
                        "group_by": options.group_by,
                        "group_by_all": options.group_by_all,
                        "group_wait_s": options.group_wait.ms() / 1000,
                        "group_interval_s": options.group_interval.ms() / 1000,
                        "repeat_interval_s": options.repeat_interval.ms() / 1000,
                    })
                })
                .collect();
            let keys: Vec<&str> = found.iter().map(|node| node.key.as_str()).collect();
            let keys_differ = case.get("route_keys").is_some_and(|wanted| *wanted != serde_json::json!(keys));
            (Value::Array(matches.clone()) != case["matches"] || keys_differ)
                .then(|| format!("{matches:?} {keys:?}"))
        };
        wrong.extend(problem.map(|problem| format!("{case}\n    got {problem}")));
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn time_intervals() {
    let mut wrong = vec![];
    for case in cases("time_intervals.json") {
        let yaml = text(&case, "yaml").trim_start().trim_start_matches("---");
        let intervals = match text(&case, "yaml_is") {
            "list of intervals" => yaml::read::<Vec<TimeInterval>>(yaml),
            _ => yaml::read::<TimeInterval>(yaml).map(|one| vec![one]),
        };
        let intervals = match intervals {
            Ok(intervals) => intervals,
            Err(err) => {
                if case["valid"] == true {
                    wrong.push(format!("{case}\n    refused: {err}"));
                }
                continue;
            }
        };
        if case["valid"] == false {
            wrong.push(format!("{case}\n    accepted"));
            continue;
        }
        for (field, wanted) in [("contains", true), ("excludes", false)] {
            for at in case[field].as_array().unwrap() {
                let at = at.as_str().unwrap();
                let instant = jiff::Zoned::strptime("%d %b %y %H:%M %z", at).unwrap();
                let now = Timestamp(instant.timestamp().as_millisecond());
                if any_contains(&intervals, now) != wanted {
                    wrong.push(format!("{case}\n    {at} should be in {field}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
}
