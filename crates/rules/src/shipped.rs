//! Rules that are shipped with the binary: about hosts, targets, and Bellwether itself.
//!
//! They live in `crates/rules/shipped/`, with a unit test each in `shipped/tests/`.

use crate::error::Problem;
use crate::file::{self, RuleFile};

/// A shipped file.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// Its name, for settings that switch it off and for its groups' `file`: `shipped/host.yml`.
    pub path: &'static str,
    /// Its text.
    pub text: &'static str,
}

/// The file whose alert always fires: for those who ask for it.
pub const WATCHDOG: &str = "shipped/watchdog.yml";

/// All shipped files.
pub const FILES: [Shipped; 7] = [
    Shipped { path: "shipped/host.yml", text: include_str!("../shipped/host.yml") },
    Shipped { path: "shipped/events.yml", text: include_str!("../shipped/events.yml") },
    Shipped { path: "shipped/targets.yml", text: include_str!("../shipped/targets.yml") },
    Shipped { path: "shipped/probes.yml", text: include_str!("../shipped/probes.yml") },
    Shipped { path: "shipped/clients.yml", text: include_str!("../shipped/clients.yml") },
    Shipped { path: "shipped/self.yml", text: include_str!("../shipped/self.yml") },
    Shipped { path: WATCHDOG, text: include_str!("../shipped/watchdog.yml") },
];

/// All shipped rules, to be loaded beside the user's.
///
/// # Errors
/// Only when `options` make the language smaller than Prometheus' default.
pub fn load(options: &promql::Options) -> Result<Vec<RuleFile>, Vec<Problem>> {
    FILES.iter().map(|shipped| file::parse(shipped.path, shipped.text, options)).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use model::{Labels, Timestamp, Value};
    use regex::Regex;

    use super::*;
    use crate::expand::Expander;
    use crate::rule::{Kind, RuleGroup};
    use crate::unit_test::{TestOptions, run_text};

    #[tokio::test]
    async fn every_shipped_rule_fires_when_it_should_and_only_then() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("shipped/tests");
        for shipped in FILES {
            let file = file::parse(shipped.path, shipped.text, &promql::Options::default()).unwrap();
            let test = folder.join(Path::new(shipped.path).file_name().unwrap());
            let test = std::fs::read_to_string(test).unwrap();
            let mut tests = test.matches("\n  - name: ").count();
            for group in &file.groups {
                for rule in &group.rules {
                    // The rule alone, so that not every rule runs in every test.
                    let alone = RuleGroup { rules: vec![Arc::clone(rule)], ..RuleGroup::clone(group) };
                    let alone = vec![Arc::new(alone)];
                    let only = vec![Regex::new(&format!("^{}$", rule.name())).unwrap()];
                    let options = TestOptions { only, ..TestOptions::default() };
                    let (failures, ran) = run_text(&test, &|_| Ok(alone.clone()), &options).await;
                    assert_eq!(
                        (ran.len(), failures.as_slice()),
                        (1, &[][..]),
                        "{}: {failures:#?}",
                        rule.name()
                    );
                    tests -= 1;
                }
            }
            assert_eq!(tests, 0, "{} has tests of rules that do not exist", shipped.path);
        }
    }

    #[test]
    fn texts_expand_and_say_what_to_do() {
        let expander = Expander::new(Timestamp(0), &Labels::empty(), "http://m");
        let names = [
            "instance",
            "vantage",
            "job",
            "device",
            "mountpoint",
            "name",
            "chip",
            "sensor",
            "controller",
            "collector",
            "master",
            "groupname",
            "cause",
            "signal",
            "code",
            "unit",
            "kind",
            "flag",
            "ups",
            "direction",
            "basis",
            "attribute_name",
            "port",
            "reason",
            "integration",
            "rule_group",
            "site",
            "source",
            "verdict",
            "cohort",
            "value",
            "group",
        ];
        let data = expander.data(&Labels::from_pairs(names.map(|name| (name, "⟨x⟩"))), &Value::Float(0.5));
        for file in load(&promql::Options::default()).unwrap() {
            for rule in file.groups.iter().flat_map(|group| &group.rules) {
                let Kind::Alerting(alerting) = &rule.kind else { panic!("{} is no alert", rule.name()) };
                let keys: Vec<&str> = alerting.annotations.iter().map(|(key, _)| key.as_str()).collect();
                assert_eq!(keys, ["description", "summary"], "{}", rule.name());
                for (key, text) in &alerting.annotations {
                    let expanded = expander.expand(text, &data);
                    let least = if key == "summary" { 8 } else { 60 };
                    let whole = !expanded.contains(['<', '\n']) && expanded.len() > least;
                    assert!(whole, "{} {key}: {expanded}", rule.name());
                    // A label that is not among the names above has expanded to nothing.
                    let used = text.source.matches("$labels.").count();
                    assert_eq!(expanded.matches('⟨').count(), used, "{} {key}: {expanded}", rule.name());
                }
            }
        }
    }
}
