//! Relabelling: Prometheus' `relabel_config`, all actions.
//!
//! Source: the Prometheus manual, "relabel_config".

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::labels::LabelsBuilder;
use crate::pattern::Pattern;

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Sets `target_label` to `replacement` where `regex` matches the joined source labels.
    #[default]
    Replace,
    /// Drops the label set unless `regex` matches.
    Keep,
    /// Drops the label set when `regex` matches.
    Drop,
    /// Drops the label set unless the joined source labels equal `target_label`'s value.
    KeepEqual,
    /// Drops the label set when the joined source labels equal `target_label`'s value.
    DropEqual,
    /// Sets `target_label` to the MD5 hash of the joined source labels modulo `modulus`.
    HashMod,
    /// Copies labels whose names match `regex` to names given by `replacement`.
    LabelMap,
    /// Removes labels whose names match `regex`.
    LabelDrop,
    /// Removes labels whose names do not match `regex`.
    LabelKeep,
    /// Sets `target_label` to the joined source labels in lower case.
    Lowercase,
    /// Sets `target_label` to the joined source labels in upper case.
    Uppercase,
}

/// One rule as it is written in a configuration file.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Labels whose values are joined and matched.
    pub source_labels: Vec<String>,
    /// Between the joined values.
    pub separator: String,
    /// Anchored at both ends.
    pub regex: String,
    /// Modulus for `hashmod`.
    pub modulus: u64,
    /// The label to write.
    pub target_label: String,
    /// The value to write; `$1` and `${name}` refer to capture groups.
    pub replacement: String,
    /// What to do.
    #[serde(deserialize_with = "action")]
    pub action: Action,
}

/// Prometheus reads actions in any case.
fn action<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Action, D::Error> {
    let text = String::deserialize(deserializer)?.to_lowercase();
    Action::deserialize(serde::de::value::StrDeserializer::<serde::de::value::Error>::new(&text))
        .map_err(|_| serde::de::Error::custom(format!("unknown relabel action {text:?}")))
}

impl Default for Config {
    fn default() -> Self {
        Self {
            source_labels: Vec::new(),
            separator: ";".into(),
            regex: "(.*)".into(),
            modulus: 0,
            target_label: String::new(),
            replacement: "$1".into(),
            action: Action::Replace,
        }
    }
}

/// A rule that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidRule(pub String);

/// A rule, checked and compiled.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    config: Config,
    regex: Pattern,
}

impl Rule {
    /// Checks and compiles a rule.
    ///
    /// # Errors
    /// [`InvalidRule`] when a field is missing, or has a value that its action does not allow.
    pub fn new(config: Config) -> Result<Self, InvalidRule> {
        use Action as A;
        let err = |text: String| Err(InvalidRule(text));
        let regex = Pattern::new(&config.regex).map_err(|e| InvalidRule(e.to_string()))?;
        let name = serde_name(config.action);
        let defaults = Config::default();
        match config.action {
            A::HashMod if config.modulus == 0 => {
                return err("relabel configuration for hashmod requires non-zero modulus".into());
            }
            A::Replace | A::HashMod | A::Lowercase | A::Uppercase | A::KeepEqual | A::DropEqual
                if config.target_label.is_empty() =>
            {
                return err(format!("relabel configuration for {name} action requires 'target_label' value"));
            }
            A::HashMod | A::Lowercase | A::Uppercase | A::KeepEqual | A::DropEqual
                if config.target_label.contains('$') =>
            {
                return err(format!("{:?} is invalid 'target_label' for {name} action", config.target_label));
            }
            A::Lowercase | A::Uppercase | A::KeepEqual | A::DropEqual
                if config.replacement != defaults.replacement =>
            {
                return err(format!("'replacement' can not be set for {name} action"));
            }
            A::LabelMap if !crate::labels::is_legacy_label_name(&strip_references(&config.replacement)) => {
                return err(format!("{:?} is invalid 'replacement' for labelmap action", config.replacement));
            }
            A::LabelDrop | A::LabelKeep => {
                let only_regex = Config { regex: config.regex.clone(), action: config.action, ..defaults };
                if config != only_regex {
                    return err(format!("{name} action requires only 'regex', and no other fields"));
                }
            }
            A::KeepEqual | A::DropEqual => {
                let plain = config.regex == defaults.regex
                    && config.modulus == 0
                    && config.separator == defaults.separator;
                if !plain {
                    return err(format!(
                        "{name} action requires only 'source_labels' and `target_label`, and no other fields"
                    ));
                }
            }
            _ => {}
        }
        Ok(Self { config, regex })
    }

    /// The rule as it was written.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Applies the rule; `false` means that the label set is dropped.
    pub fn apply(&self, labels: &mut LabelsBuilder) -> bool {
        let config = &self.config;
        let joined = || {
            let values: Vec<&str> = config.source_labels.iter().map(|name| labels.get(name)).collect();
            values.join(&config.separator)
        };
        match config.action {
            Action::Keep => return self.regex.matches(&joined()),
            Action::Drop => return !self.regex.matches(&joined()),
            Action::KeepEqual => return labels.get(&config.target_label) == joined(),
            Action::DropEqual => return labels.get(&config.target_label) != joined(),
            Action::Replace => {
                let value = joined();
                let Some(captures) = self.regex.regex().captures(&value) else { return true };
                let target = expand(&config.target_label, &captures);
                if target.is_empty() {
                    return true;
                }
                let value = expand(&config.replacement, &captures);
                labels.set(target, value);
            }
            Action::Lowercase => {
                let value = joined().to_lowercase();
                labels.set(config.target_label.as_str(), value);
            }
            Action::Uppercase => {
                let value = joined().to_uppercase();
                labels.set(config.target_label.as_str(), value);
            }
            Action::HashMod => {
                let digest = md5::compute(joined());
                let tail: [u8; 8] = digest.0[8..].try_into().expect("an MD5 digest has 16 bytes");
                let bucket = u64::from_be_bytes(tail) % config.modulus;
                labels.set(config.target_label.as_str(), bucket.to_string());
            }
            Action::LabelMap => {
                let mapped: Vec<(String, String)> = labels
                    .iter()
                    .filter_map(|(name, value)| {
                        let captures = self.regex.regex().captures(name)?;
                        Some((expand(&config.replacement, &captures), value.to_owned()))
                    })
                    .collect();
                for (name, value) in mapped {
                    labels.set(name, value);
                }
            }
            Action::LabelDrop => {
                labels.retain(|name| !self.regex.matches(name));
            }
            Action::LabelKeep => {
                labels.retain(|name| self.regex.matches(name));
            }
        }
        true
    }
}

/// Applies rules in order. `Err` holds the index of the rule that dropped the label set.
pub fn apply(rules: &[Rule], labels: &mut LabelsBuilder) -> Result<(), usize> {
    match rules.iter().position(|rule| !rule.apply(labels)) {
        None => Ok(()),
        Some(index) => Err(index),
    }
}

fn serde_name(action: Action) -> String {
    format!("{action:?}").to_lowercase()
}

/// The template with each reference to a group replaced by a letter, to check that the rest is a name.
fn strip_references(template: &str) -> String {
    let mut out = String::new();
    references(template, |part| match part {
        Part::Text(text) => out.push_str(text),
        Part::Group(_) => out.push('a'),
    });
    out
}

/// Go's `Regexp.Expand`: `$1`, `$name`, `${1}`, `${name}`, `$$`.
fn expand(template: &str, captures: &regex::Captures<'_>) -> String {
    let mut out = String::new();
    references(template, |part| match part {
        Part::Text(text) => out.push_str(text),
        Part::Group(name) => {
            let group = match name.parse::<usize>() {
                Ok(index) => captures.get(index),
                Err(_) => captures.name(name),
            };
            out.push_str(group.map_or("", |m| m.as_str()));
        }
    });
    out
}

enum Part<'a> {
    Text(&'a str),
    Group(&'a str),
}

fn references<'a>(template: &'a str, mut emit: impl FnMut(Part<'a>)) {
    let mut rest = template;
    while let Some((text, tail)) = rest.split_once('$') {
        emit(Part::Text(text));
        if let Some(after) = tail.strip_prefix('$') {
            emit(Part::Text("$"));
            rest = after;
            continue;
        }
        let word =
            |s: &str| s.chars().take_while(|c| c.is_alphanumeric() || *c == '_').map(char::len_utf8).sum();
        let (name, after) = match tail.strip_prefix('{') {
            Some(inner) => {
                let (name, after) = inner.split_at(word(inner));
                match after.strip_prefix('}') {
                    Some(after) if !name.is_empty() => (name, after),
                    // Malformed: Go keeps the dollar sign.
                    _ => ("", tail),
                }
            }
            None => tail.split_at(word(tail)),
        };
        if name.is_empty() {
            emit(Part::Text("$"));
        } else {
            emit(Part::Group(name));
        }
        rest = after;
    }
    emit(Part::Text(rest));
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_name(*self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::Labels;

    fn run(config: Config, labels: &[(&str, &str)]) -> Option<String> {
        let mut builder = Labels::from_pairs(labels.iter().copied()).to_builder();
        let kept = Rule::new(config).unwrap().apply(&mut builder);
        kept.then(|| builder.build().to_string())
    }

    fn config(action: Action) -> Config {
        Config { action, ..Config::default() }
    }

    #[test]
    fn replace() {
        let base = Config {
            source_labels: vec!["a".into(), "b".into()],
            target_label: "d".into(),
            ..config(Action::Replace)
        };
        let labels = [("a", "foo"), ("b", "bar")];
        let run_with = |regex: &str, replacement: &str| {
            run(Config { regex: regex.into(), replacement: replacement.into(), ..base.clone() }, &labels)
                .unwrap()
        };
        assert_eq!(run_with("f(.*);(.*)r", "ch${1}-ch${2}"), r#"{a="foo", b="bar", d="choo-chba"}"#);
        assert_eq!(run_with("x(.*)", "$1"), r#"{a="foo", b="bar"}"#);
        assert_eq!(run_with("f(.*)", ""), r#"{a="foo", b="bar"}"#);
        assert_eq!(run_with("(?P<n>f).*", "${n}$$x$"), r#"{a="foo", b="bar", d="f$x$"}"#);
        // `$1x` names the group "1x", which does not exist.
        assert_eq!(run_with("(f).*", "$1x-"), r#"{a="foo", b="bar", d="-"}"#);
    }

    #[test]
    fn an_empty_replacement_removes_the_target() {
        let rule = Config {
            source_labels: vec!["a".into()],
            target_label: "a".into(),
            replacement: String::new(),
            ..config(Action::Replace)
        };
        assert_eq!(run(rule, &[("a", "x"), ("b", "y")]).unwrap(), r#"{b="y"}"#);
    }

    #[test]
    fn keep_and_drop() {
        let with = |action, regex: &str| Config {
            source_labels: vec!["a".into()],
            regex: regex.into(),
            ..config(action)
        };
        assert!(run(with(Action::Keep, "f.*"), &[("a", "foo")]).is_some());
        assert!(run(with(Action::Keep, "f"), &[("a", "foo")]).is_none());
        assert!(run(with(Action::Drop, "foo|bar"), &[("a", "foo")]).is_none());
        let equal =
            |action| Config { source_labels: vec!["a".into()], target_label: "b".into(), ..config(action) };
        assert!(run(equal(Action::KeepEqual), &[("a", "1"), ("b", "1")]).is_some());
        assert!(run(equal(Action::DropEqual), &[("a", "1"), ("b", "1")]).is_none());
    }

    #[test]
    fn hashmod_is_prometheus() {
        // The value from the Prometheus documentation's own test: md5("foo:bar:baz"…) is not given there, so this one
        // was computed with the md5sum tool: the last 8 bytes of md5("foo;bar") modulo 1000.
        let rule = Config {
            source_labels: vec!["a".into(), "b".into()],
            target_label: "d".into(),
            modulus: 1000,
            ..config(Action::HashMod)
        };
        let digest = md5::compute("foo;bar");
        let expected = u64::from_be_bytes(digest.0[8..].try_into().unwrap()) % 1000;
        assert_eq!(
            run(rule, &[("a", "foo"), ("b", "bar")]).unwrap(),
            format!(r#"{{a="foo", b="bar", d="{expected}"}}"#)
        );
    }

    #[test]
    fn names() {
        let with = |action, regex: &str| Config { regex: regex.into(), ..config(action) };
        let labels = [("__meta_role", "db"), ("a", "1")];
        assert_eq!(
            run(with(Action::LabelMap, "__meta_(.*)"), &labels).unwrap(),
            r#"{__meta_role="db", a="1", role="db"}"#
        );
        assert_eq!(run(with(Action::LabelDrop, "__meta_.*"), &labels).unwrap(), r#"{a="1"}"#);
        assert_eq!(run(with(Action::LabelKeep, "a"), &labels).unwrap(), r#"{a="1"}"#);
    }

    #[test]
    fn wrong_rules_are_refused() {
        let bad = [
            config(Action::Replace),
            config(Action::HashMod),
            Config { target_label: "x".into(), ..config(Action::HashMod) },
            Config { source_labels: vec!["a".into()], ..config(Action::LabelDrop) },
            Config { target_label: "x".into(), regex: "y".into(), ..config(Action::KeepEqual) },
            Config { target_label: "$1".into(), ..config(Action::Lowercase) },
            Config { regex: "(".into(), ..config(Action::Keep) },
            Config { replacement: "a-$1".into(), ..config(Action::LabelMap) },
        ];
        for config in bad {
            assert!(Rule::new(config.clone()).is_err(), "{config:?}");
        }
    }
}
