//! Routes, inhibition rules and named time intervals as written in the file.

use std::collections::{BTreeMap, BTreeSet};

use model::duration::PromDuration;
use model::labels::is_legacy_label_name;
use model::{InvalidField, MatchOp, Matcher, Selector};
use serde::{Deserialize, Deserializer};

use super::value::nullable;
use crate::parse;
use crate::timeinterval::TimeInterval;

/// A node of the routing tree.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Route {
    /// Who is told; inherited when empty.
    #[serde(deserialize_with = "nullable")]
    pub receiver: String,
    /// The labels whose values make a group; `...` alone: all labels.
    pub group_by: Option<Vec<String>>,
    /// Old way to write matchers: labels that must be equal.
    #[serde(rename = "match", deserialize_with = "equals")]
    pub equal: BTreeMap<String, String>,
    /// Old way to write matchers: labels that must match a pattern.
    #[serde(rename = "match_re", deserialize_with = "patterns")]
    pub pattern: BTreeMap<String, String>,
    /// Matchers that must all hold.
    #[serde(deserialize_with = "matchers")]
    pub matchers: Selector,
    /// Names of time intervals in which nothing is sent.
    #[serde(deserialize_with = "nullable")]
    pub mute_time_intervals: Vec<String>,
    /// Names of time intervals outside of which nothing is sent.
    #[serde(deserialize_with = "nullable")]
    pub active_time_intervals: Vec<String>,
    /// Whether an alert that matched goes on to the next sibling.
    #[serde(rename = "continue")]
    pub goes_on: bool,
    /// Children.
    #[serde(deserialize_with = "nullable")]
    pub routes: Vec<Route>,
    /// How long a new group waits for more alerts; inherited.
    pub group_wait: Option<PromDuration>,
    /// How long until a changed group is sent again; inherited.
    pub group_interval: Option<PromDuration>,
    /// How long until an unchanged group is sent again; inherited.
    pub repeat_interval: Option<PromDuration>,
    /// Texts that templates find under `routeLabels`; inherited, a child's win. They may be templates themselves.
    #[serde(deserialize_with = "nullable")]
    pub labels: BTreeMap<String, String>,
}

/// Alerts that match the target are muted while one that matches the source fires.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InhibitRule {
    /// For people and history.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Old way to write `source_matchers`.
    #[serde(deserialize_with = "equals")]
    pub source_match: BTreeMap<String, String>,
    /// Old way to write `source_matchers`.
    #[serde(deserialize_with = "patterns")]
    pub source_match_re: BTreeMap<String, String>,
    /// What the source must match.
    #[serde(deserialize_with = "matchers")]
    pub source_matchers: Selector,
    /// Old way to write `target_matchers`.
    #[serde(deserialize_with = "equals")]
    pub target_match: BTreeMap<String, String>,
    /// Old way to write `target_matchers`.
    #[serde(deserialize_with = "patterns")]
    pub target_match_re: BTreeMap<String, String>,
    /// What the target must match.
    #[serde(deserialize_with = "matchers")]
    pub target_matchers: Selector,
    /// Labels whose values source and target share; a missing label is an empty one.
    #[serde(deserialize_with = "nullable")]
    pub equal: Vec<String>,
}

/// A name for time intervals.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NamedIntervals {
    /// The name.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// The intervals; one of them must hold.
    #[serde(deserialize_with = "nullable")]
    pub time_intervals: Vec<TimeInterval>,
}

fn valid_name(name: &str) -> bool {
    !name.is_empty()
}

fn equals<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    let map: BTreeMap<String, Option<String>> = nullable(from)?;
    map.into_iter()
        .map(|(name, value)| {
            if !is_legacy_label_name(&name) {
                return Err(serde::de::Error::custom(format!("invalid label name {name:?}")));
            }
            Ok((name, value.unwrap_or_default()))
        })
        .collect()
}

fn patterns<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, String>, D::Error> {
    let map: BTreeMap<String, Option<String>> = nullable(from)?;
    map.into_iter()
        .map(|(name, value)| {
            if !is_legacy_label_name(&name) {
                return Err(serde::de::Error::custom(format!("invalid label name {name:?}")));
            }
            let value = value
                .ok_or_else(|| serde::de::Error::custom(format!("invalid regexp value for {name:?}")))?;
            model::pattern::Pattern::new(&value).map_err(serde::de::Error::custom)?;
            Ok((name, value))
        })
        .collect()
}

fn matchers<'de, D: Deserializer<'de>>(from: D) -> Result<Selector, D::Error> {
    let lines: Vec<String> = nullable(from)?;
    let mut all = Selector::new();
    for line in lines {
        all.extend(parse::matchers(&line).map_err(serde::de::Error::custom)?);
    }
    Ok(sorted(all))
}

/// By name, value and operator.
pub(crate) fn sorted(mut matchers: Selector) -> Selector {
    matchers.sort_by(|a, b| (a.name(), a.value(), a.op()).cmp(&(b.name(), b.value(), b.op())));
    matchers
}

/// Joins the three ways to write matchers. A pattern in the old way is kept with the anchors that Alertmanager shows.
fn joined(
    equal: &BTreeMap<String, String>,
    pattern: &BTreeMap<String, String>,
    matchers: &Selector,
) -> Result<Selector, String> {
    let mut all: Selector = equal.iter().map(|(name, value)| Matcher::equal(name, value)).collect();
    for (name, value) in pattern {
        let anchored = format!("^(?:{value})$");
        all.push(Matcher::new(name, MatchOp::Regex, anchored).map_err(|err| err.to_string())?);
    }
    all.extend(matchers.iter().cloned());
    Ok(sorted(all))
}

impl Route {
    /// All matchers of this node, sorted.
    ///
    /// # Errors
    /// When a pattern does not compile with its anchors.
    pub fn all_matchers(&self) -> Result<Selector, String> {
        joined(&self.equal, &self.pattern, &self.matchers)
    }

    /// Whether `group_by` is `...`.
    pub fn groups_by_all(&self) -> bool {
        self.group_by.as_ref().is_some_and(|labels| labels.iter().any(|label| label == "..."))
    }

    /// Checks this node and those below it.
    pub(super) fn check(&self) -> Result<(), InvalidField> {
        if let Some(labels) = &self.group_by {
            let wrong = |text: String| InvalidField::from(text).within("group_by");
            let others: Vec<&String> = labels.iter().filter(|label| *label != "...").collect();
            if let Some(bad) = others.iter().find(|label| !valid_name(label)) {
                return Err(wrong(format!("invalid label name {bad:?} in group_by list")));
            }
            if self.groups_by_all() && !others.is_empty() {
                let text = "cannot have wildcard group_by (`...`) and other labels at the same time";
                return Err(wrong(text.into()));
            }
            let mut seen = BTreeSet::new();
            if let Some(twice) = others.iter().find(|label| !seen.insert(label.as_str())) {
                return Err(wrong(format!("duplicated label {twice:?} in group_by")));
            }
        }
        for (name, interval) in
            [("group_interval", self.group_interval), ("repeat_interval", self.repeat_interval)]
        {
            if interval == Some(PromDuration(0)) {
                return Err(InvalidField::from(format!("{name} cannot be zero")).within(name));
            }
        }
        self.all_matchers()?;
        self.children(Self::check)
    }

    /// Checks that receivers and time intervals exist, children first.
    pub(super) fn check_names(
        &self,
        receivers: &BTreeSet<&str>,
        intervals: &BTreeSet<&str>,
    ) -> Result<(), InvalidField> {
        self.children(|route| route.check_names(receivers, intervals))?;
        if !self.receiver.is_empty() && !receivers.contains(self.receiver.as_str()) {
            let text = format!("undefined receiver {:?} used in route", self.receiver);
            return Err(InvalidField::from(text).within("receiver"));
        }
        let lists = [
            ("active_time_intervals", &self.active_time_intervals),
            ("mute_time_intervals", &self.mute_time_intervals),
        ];
        for (list, names) in lists {
            if let Some(index) = names.iter().position(|name| !intervals.contains(name.as_str())) {
                let text = format!("undefined time interval {:?} used in route", names[index]);
                return Err(InvalidField::from(text).item(list, index));
            }
        }
        Ok(())
    }

    fn children(&self, check: impl Fn(&Self) -> Result<(), InvalidField>) -> Result<(), InvalidField> {
        let mut children = self.routes.iter().enumerate();
        children.try_for_each(|(index, route)| check(route).map_err(|fault| fault.item("routes", index)))
    }
}

impl InhibitRule {
    /// All matchers of the source.
    ///
    /// # Errors
    /// When a pattern does not compile with its anchors.
    pub fn source(&self) -> Result<Selector, String> {
        joined(&self.source_match, &self.source_match_re, &self.source_matchers)
    }

    /// All matchers of the target.
    ///
    /// # Errors
    /// When a pattern does not compile with its anchors.
    pub fn target(&self) -> Result<Selector, String> {
        joined(&self.target_match, &self.target_match_re, &self.target_matchers)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(bad) = self.equal.iter().find(|label| !valid_name(label)) {
            return Err(format!("invalid label name {bad:?} in equal list"));
        }
        self.source().and(self.target()).map(|_| ())
    }
}
