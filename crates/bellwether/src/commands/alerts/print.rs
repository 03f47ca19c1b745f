//! Answers as amtool prints them.

use alerts::api::{ApiMatcher, GettableAlert, GettableSilence, Time};
use alerts::message::Data;
use model::Matcher;
use serde::Serialize;

use super::super::say;
use super::client::{Output, Session};

/// Columns two spaces apart, each as wide as its widest cell; the last one is filled up too.
struct Table(Vec<Vec<String>>);

impl Table {
    fn new(head: &[&str]) -> Self {
        Self(vec![head.iter().map(|cell| (*cell).to_owned()).collect()])
    }

    fn print(&self) {
        let columns = self.0.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.0.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default() + 2
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in &self.0 {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            say(cells.collect::<String>());
        }
    }
}

/// JSON in the way Go writes it.
pub(super) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    say(String::from_utf8(Data::json(value)?)?.trim_end_matches('\n'));
    Ok(())
}

fn date(session: &Session, at: Time) -> String {
    ::template::time::Time::from_ms(at.0.ms()).format(&session.dates)
}

/// A matcher as Alertmanager writes it; what it cannot be read as is shown as sent.
fn matcher(one: &ApiMatcher) -> String {
    Matcher::try_from(one)
        .map_or_else(|_| format!("{}={:?}", one.name, one.value), |matcher| matcher.to_string())
}

fn pairs(labels: &std::collections::BTreeMap<String, String>) -> String {
    let mut shown: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    shown.sort();
    shown.join(" ")
}

/// Alerts by their start.
pub(super) fn alerts(session: &Session, mut all: Vec<GettableAlert>) -> anyhow::Result<()> {
    if session.output == Output::Json {
        return json(&all);
    }
    all.sort_by_key(|alert| alert.starts_at);
    let text = |from: &std::collections::BTreeMap<String, String>, name: &str| {
        from.get(name).cloned().unwrap_or_default()
    };
    let mut table = if session.output == Output::Simple {
        Table::new(&["Alertname", "Starts At", "Summary", "State"])
    } else {
        Table::new(&["Labels", "Annotations", "Starts At", "Ends At", "Generator URL", "State"])
    };
    table.0.extend(all.into_iter().map(|alert| {
        let starts = date(session, alert.starts_at);
        if session.output == Output::Simple {
            let (name, summary) = (text(&alert.labels, "alertname"), text(&alert.annotations, "summary"));
            return vec![name, starts, summary, alert.status.state];
        }
        let ends = date(session, alert.ends_at);
        vec![
            pairs(&alert.labels),
            pairs(&alert.annotations),
            starts,
            ends,
            alert.generator_url,
            alert.status.state,
        ]
    }));
    table.print();
    Ok(())
}

/// Silences by their end.
pub(super) fn silences(session: &Session, mut all: Vec<GettableSilence>) -> anyhow::Result<()> {
    if session.output == Output::Json {
        return json(&all);
    }
    all.sort_by_key(|silence| silence.ends_at);
    let simple = session.output == Output::Simple;
    let mut table = if simple {
        Table::new(&["ID", "Matchers", "Ends At", "Created By", "Comment"])
    } else {
        Table::new(&["ID", "Matchers", "Starts At", "Ends At", "Updated At", "Created By", "Comment"])
    };
    table.0.extend(all.into_iter().map(|silence| {
        let sets = std::iter::once(&silence.matchers).chain(&silence.matcher_sets).map(|set| {
            let shown: Vec<String> = set.iter().map(matcher).collect();
            if simple { shown.join(" ") } else { format!("{{{}}}", shown.join(",")) }
        });
        let matchers = sets.collect::<Vec<_>>().join(" or ");
        let ends = date(session, silence.ends_at);
        if simple {
            return vec![silence.id, matchers, ends, silence.created_by, silence.comment];
        }
        let (starts, updated) = (date(session, silence.starts_at), date(session, silence.updated_at));
        vec![silence.id, matchers, starts, ends, updated, silence.created_by, silence.comment]
    }));
    table.print();
    Ok(())
}
