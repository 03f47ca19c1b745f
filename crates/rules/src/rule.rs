//! Rules and groups of rules, as loaded.

use std::sync::Arc;

use model::Labels;
use model::labels::METRIC_NAME;
use promql::Expr;
use template::{FunctionNames, Template};

use crate::expand;

/// An expression with its text.
#[derive(Clone, Debug)]
pub struct Query {
    /// As written.
    pub text: String,
    /// As parsed.
    pub expr: Expr,
}

impl Query {
    /// Parses `text`.
    ///
    /// # Errors
    /// What is wrong with it, with its position.
    pub fn new(text: &str, options: &promql::Options) -> Result<Self, promql::ParseErrors> {
        Ok(Self { text: text.to_owned(), expr: promql::parse(text, options)? })
    }
}

/// A text that may be a template.
#[derive(Clone, Debug)]
pub struct Text {
    /// As written.
    pub source: String,
    /// `None` for a text that stands for itself.
    pub(crate) template: Option<Template>,
}

/// What a template of an alert sees without asking: the names that Prometheus gives its data.
const DEFINITIONS: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}\
                           {{$externalURL := .ExternalURL}}{{$value := .Value}}";

impl Text {
    /// Parses a label or annotation of the alert `alert`.
    ///
    /// # Errors
    /// What is wrong with the template.
    pub fn parse(alert: &str, source: &str) -> Result<Self, template::Error> {
        let template = match source.contains("{{") {
            false => None,
            true => {
                let name = format!("__alert_{alert}");
                let names: &FunctionNames = expand::names();
                Some(Template::parse(&name, &format!("{DEFINITIONS}{source}"), names)?)
            }
        };
        Ok(Self { source: source.to_owned(), template })
    }
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Where in its file, from 1.
    pub line: u64,
    /// What is evaluated.
    pub query: Arc<Query>,
    /// What is done with the result.
    pub kind: Kind,
}

/// What a rule does with its result.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Stores it as a metric.
    Recording {
        /// The metric's name.
        metric: String,
        /// Labels that are set on every series, sorted by name; the group's among them.
        labels: Vec<(String, String)>,
    },
    /// Raises an alert for each series.
    Alerting(Alerting),
}

/// The settings of an alerting rule.
#[derive(Clone, Debug)]
pub struct Alerting {
    /// The alert's name.
    pub name: String,
    /// Labels of each alert, sorted by name; the group's among them.
    pub labels: Vec<(String, Text)>,
    /// Annotations of each alert, sorted by name.
    pub annotations: Vec<(String, Text)>,
    /// `for`: how long the condition must hold, in milliseconds.
    pub hold_ms: i64,
    /// How long the alert goes on firing after the condition has ended, in milliseconds.
    pub keep_firing_for_ms: i64,
}

impl Rule {
    /// The metric or alert name.
    pub fn name(&self) -> &str {
        match &self.kind {
            Kind::Recording { metric, .. } => metric,
            Kind::Alerting(alerting) => &alerting.name,
        }
    }

    /// The labels as written.
    pub fn labels(&self) -> Labels {
        match &self.kind {
            Kind::Recording { labels, .. } => {
                Labels::from_pairs(labels.iter().map(|(n, v)| (n.as_str(), v.as_str())))
            }
            Kind::Alerting(alerting) => {
                Labels::from_pairs(alerting.labels.iter().map(|(n, t)| (n.as_str(), t.source.as_str())))
            }
        }
    }

    /// The annotations as written.
    pub fn annotations(&self) -> Labels {
        match &self.kind {
            Kind::Recording { .. } => Labels::empty(),
            Kind::Alerting(alerting) => {
                Labels::from_pairs(alerting.annotations.iter().map(|(n, t)| (n.as_str(), t.source.as_str())))
            }
        }
    }

    /// Whether the two are the same in every setting.
    pub fn same(&self, other: &Self) -> bool {
        let timing = |rule: &Self| match &rule.kind {
            Kind::Recording { .. } => None,
            Kind::Alerting(alerting) => Some((alerting.hold_ms, alerting.keep_firing_for_ms)),
        };
        self.name() == other.name()
            && self.query.text == other.query.text
            && self.labels() == other.labels()
            && self.annotations() == other.annotations()
            && timing(self) == timing(other)
    }

    /// Whether state may go over from `self` to `other`: same kind, name and labels, as in Prometheus.
    pub fn succeeds(&self, other: &Self) -> bool {
        std::mem::discriminant(&self.kind) == std::mem::discriminant(&other.kind)
            && self.name() == other.name()
            && self.labels() == other.labels()
    }

    /// Whether this rule may read what `earlier` writes.
    pub fn may_read(&self, earlier: &Self) -> bool {
        if self.queries_in_templates() {
            return true;
        }
        let written: &[&str] = match &earlier.kind {
            Kind::Recording { metric, .. } => &[metric],
            Kind::Alerting(_) => &["ALERTS", "ALERTS_FOR_STATE"],
        };
        self.query.expr.selectors().iter().any(|selector| {
            let by_name = selector.iter().filter(|m| m.name() == METRIC_NAME);
            written.iter().any(|name| by_name.clone().all(|m| m.matches(name)))
        })
    }

    fn queries_in_templates(&self) -> bool {
        match &self.kind {
            Kind::Recording { .. } => false,
            Kind::Alerting(alerting) => alerting.templates_mention("query"),
        }
    }
}

impl Alerting {
    /// Whether the texts depend on more than the labels and value of a result.
    pub(crate) fn is_volatile(&self) -> bool {
        self.templates_mention("query") || self.templates_mention("now")
    }

    fn templates_mention(&self, word: &str) -> bool {
        let mut texts = self.labels.iter().chain(&self.annotations);
        texts.any(|(_, text)| text.template.is_some() && text.source.contains(word))
    }
}

/// Rules that are evaluated together, in order.
#[derive(Clone, Debug)]
pub struct RuleGroup {
    /// The file that it is from, as given.
    pub file: String,
    /// Unique in its file.
    pub name: String,
    /// Time between evaluations in milliseconds, `None` for the default.
    pub interval_ms: Option<i64>,
    /// How far before now the group looks in milliseconds, `None` for the default.
    pub query_offset_ms: Option<i64>,
    /// Most series or alerts that one rule may make, 0: no limit.
    pub limit: usize,
    /// The rules.
    pub rules: Vec<Arc<Rule>>,
}

impl RuleGroup {
    /// Whether the two are the same in every setting.
    pub fn same(&self, other: &Self) -> bool {
        (&self.file, &self.name, self.interval_ms, self.query_offset_ms, self.limit)
            == (&other.file, &other.name, other.interval_ms, other.query_offset_ms, other.limit)
            && self.rules.len() == other.rules.len()
            && self.rules.iter().zip(&other.rules).all(|(a, b)| a.same(b))
    }

    /// The rules in waves: those of one wave read nothing that another of it writes, so they may run together. Ranges of
    /// rule indexes, in order.
    pub fn waves(&self) -> Vec<std::ops::Range<usize>> {
        let mut waves = Vec::new();
        let mut start = 0;
        for (index, rule) in self.rules.iter().enumerate() {
            if self.rules[start..index].iter().any(|earlier| rule.may_read(earlier)) {
                waves.push(start..index);
                start = index;
            }
        }
        if start < self.rules.len() {
            waves.push(start..self.rules.len());
        }
        waves
    }
}
