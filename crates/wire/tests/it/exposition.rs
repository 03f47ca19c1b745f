//! Accept or reject, and what is parsed, for the collected exposition bodies.

use std::borrow::Cow;
use std::path::PathBuf;

use serde_json::Value;
use wire::exposition::{Cache, Describe, Format, Point, Series, Visitor, read};

/// Samples as (labels with the name, value), sorted.
#[derive(Default)]
struct Samples(Vec<(Vec<(String, String)>, f64)>);

impl Visitor for Samples {
    fn known(&mut self, _: u32, _: &Point<'_>) -> Result<bool, String> {
        Err("nothing is known in a first body".into())
    }
    fn series(&mut self, series: &Series<'_>, point: &Point<'_>) -> Result<u32, String> {
        let mut labels: Vec<(String, String)> =
            series.labels().map(|(n, v)| (n.into_owned(), v.into_owned())).collect();
        labels.push(("__name__".into(), series.name().into_owned()));
        labels.sort();
        self.0.push((labels, point.value));
        Ok(0)
    }
    fn describe(&mut self, _: Cow<'_, str>, _: Describe<'_>) {}
}

fn folder() -> Option<PathBuf> {
    std::env::var_os("BELLWETHER_CONFORMANCE").map(|dir| PathBuf::from(dir).join("exposition"))
}

fn unbase64(text: &str) -> Vec<u8> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let mut out = Vec::new();
    let (mut word, mut bits) = (0u32, 0);
    for c in text.bytes().filter(|c| *c != b'=') {
        word = word << 6 | u32::from(digit(c));
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((word >> bits) as u8);
        }
    }
    out
}

#[test]
fn verdicts_of_others() {
    let Some(folder) = folder() else {
        println!("not run: BELLWETHER_CONFORMANCE is not set");
        return;
    };
    let (mut wrong, mut strict, mut strict_rejected, mut compared) = (Vec::new(), 0, 0, 0);
    for (file, format) in
        [("prometheus.jsonl", Format::Text004), ("openmetrics.jsonl", Format::OpenMetrics100)]
    {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        for line in text.lines() {
            let case: Value = serde_json::from_str(line).unwrap();
            let body = match case["input"].as_str() {
                Some(text) => text.as_bytes().to_vec(),
                None => unbase64(case["input_base64"].as_str().unwrap()),
            };
            let mut samples = Samples::default();
            let result = read(format, &body, &mut Cache::new(0), &mut samples);
            let expect = &case["expect"];
            let others = ["OpenMetrics", "client_python"].map(|source| expect[source].as_bool());
            let must = match expect["prometheus"].as_bool() {
                Some(verdict) => Some(verdict),
                None if others.contains(&Some(true)) => Some(true),
                None => {
                    strict += 1;
                    strict_rejected += usize::from(result.is_err());
                    None
                }
            };
            if must.is_some_and(|must| must != result.is_ok()) {
                wrong.push(format!(
                    "{file} {} expect {expect}: {result:?}\n  {:?}",
                    case["id"],
                    String::from_utf8_lossy(&body)
                ));
            } else if result.is_ok()
                && let Some(families) = case["families"].as_array()
            {
                compared += 1;
                if let Some(missing) = missing(families, &samples) {
                    wrong.push(format!(
                        "{file} {}: {missing} not in {:?}\n {:?}",
                        case["id"],
                        samples.0,
                        String::from_utf8_lossy(&body)
                    ));
                }
            }
        }
    }
    println!("strict cases rejected: {strict_rejected} of {strict}; contents compared: {compared}");
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}

/// The first expected sample that was not read, by labels without the name and by value.
fn missing(families: &[Value], got: &Samples) -> Option<String> {
    let without_name = |labels: &[(String, String)]| -> Vec<(String, String)> {
        labels.iter().filter(|(n, _)| n != "__name__").map(|(n, v)| (n.clone(), number(n, v))).collect()
    };
    let mut got: Vec<_> = got.0.iter().map(|(labels, value)| (without_name(labels), *value)).collect();
    for sample in families.iter().filter_map(|f| f["samples"].as_array()).flatten() {
        let Some(value) = float(&sample["value"]) else { continue };
        let mut labels: Vec<(String, String)> = sample["labels"]
            .as_object()
            .map(|map| {
                map.iter().map(|(n, v)| (n.clone(), number(n, v.as_str().unwrap_or_default()))).collect()
            })
            .unwrap_or_default();
        labels.sort();
        let same = |(l, v): &(Vec<(String, String)>, f64)| {
            *l == labels && (v.to_bits() == value.to_bits() || (v - value).abs() <= value.abs() * 1e-15)
        };
        match got.iter().position(same) {
            Some(at) => drop(got.swap_remove(at)),
            None => return Some(sample.to_string()),
        }
    }
    None
}

/// `le` and `quantile` are compared as numbers.
fn number(name: &str, value: &str) -> String {
    match value.parse::<f64>() {
        Ok(number) if matches!(name, "le" | "quantile") => format!("{number:?}"),
        _ => value.to_owned(),
    }
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text
            .parse()
            .ok()
            .map(|v: f64| if v.is_nan() { f64::from_bits(model::sample::NORMAL_NAN) } else { v }),
        _ => None,
    }
}
