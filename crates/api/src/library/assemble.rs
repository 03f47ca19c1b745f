//! Alertmanager's configuration from the library's documents, and documents from a configuration.

use alerts::Config;
use serde_json::{Map, Value, json};

use super::Kind;

/// The configuration that documents make. Without a route, alerts are recorded and nobody is told.
///
/// # Errors
/// Names the document, or Alertmanager's section, and what is wrong with it.
pub(super) fn config(documents: &[(Kind, String, String)]) -> Result<Config, alerts::Error> {
    let wrong = |reason: String| alerts::Error::Config { path: None, at: None, reason };
    let (mut root, mut texts) = (Map::new(), Vec::new());
    let (mut receivers, mut inhibitions, mut schedules) = (Vec::new(), Vec::new(), Vec::new());
    for (kind, name, content) in documents {
        let place = format!("{} {name:?}", kind.as_str());
        if *kind == Kind::Template {
            texts.push((name.clone(), content.clone()));
            continue;
        }
        let tree: Value = yaml::read(content).map_err(|err| wrong(format!("{place}: {err}")))?;
        if !tree.is_object() {
            return Err(wrong(format!("{place}: a mapping is expected")));
        }
        let named = |tree: Value| {
            if tree["name"] == json!(name) {
                return Ok(tree);
            }
            Err(wrong(format!("{place}: its field name must be {name:?} too")))
        };
        match kind {
            Kind::Global | Kind::Route => {
                if name != kind.as_str() {
                    return Err(wrong(format!("{place}: there is one {0}, named {0:?}", kind.as_str())));
                }
                root.insert(kind.as_str().to_owned(), tree);
            }
            Kind::Receiver => receivers.push(named(tree)?),
            Kind::Schedule => schedules.push(named(tree)?),
            _ => inhibitions.push(tree),
        }
    }
    if !root.contains_key("route") {
        let name = alerts::config::RECORD_ONLY;
        root.insert("route".into(), json!({ "receiver": name, "group_by": ["alertname"] }));
        if !receivers.iter().any(|receiver| receiver["name"] == name) {
            receivers.push(json!({ "name": name }));
        }
    }
    root.insert("receivers".into(), receivers.into());
    root.insert("inhibit_rules".into(), inhibitions.into());
    root.insert("time_intervals".into(), schedules.into());
    // JSON is YAML, and says every text in quotes.
    let mut config = Config::load(&Value::Object(root).to_string()).map_err(alerts::Error::without_place)?;
    config.template_texts = texts;
    Ok(config)
}

/// The documents of a configuration's text and of its template files.
///
/// # Errors
/// When it is none, or a template cannot be read.
pub(super) fn split(
    text: &str,
    templates: Vec<(String, String)>,
) -> Result<Vec<(Kind, String, String)>, String> {
    let tree: Value = yaml::read(text).map_err(|err| err.to_string())?;
    let yaml = |value: &Value| yaml::write(value).map_err(|err| err.to_string());
    let mut documents = Vec::new();
    for kind in [Kind::Global, Kind::Route] {
        if tree[kind.as_str()].is_object() {
            documents.push((kind, kind.as_str().to_owned(), yaml(&tree[kind.as_str()])?));
        }
    }
    let items = |section: &str| tree[section].as_array().cloned().unwrap_or_default();
    let schedules = items("mute_time_intervals").into_iter().chain(items("time_intervals"));
    let named = items("receivers").into_iter().map(|item| (Kind::Receiver, item));
    for (kind, item) in named.chain(schedules.map(|item| (Kind::Schedule, item))) {
        let name = item["name"].as_str().unwrap_or_default().to_owned();
        documents.push((kind, name, yaml(&item)?));
    }
    for (index, item) in items("inhibit_rules").into_iter().enumerate() {
        let name = item["name"].as_str().map_or_else(|| format!("inhibition-{}", index + 1), str::to_owned);
        documents.push((Kind::Inhibition, name, yaml(&item)?));
    }
    documents.extend(templates.into_iter().map(|(name, text)| (Kind::Template, name, text)));
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_survives_being_split_and_assembled() {
        let text = "global: {resolve_timeout: 3m}\nroute:\n  receiver: a\n  routes:\n    - matchers: ['team=\"b\"']\n      receiver: b\n      mute_time_intervals: [night]\nreceivers:\n  - name: a\n  - name: b\n    webhook_configs: [{url: 'http://x.example/'}]\ninhibit_rules:\n  - source_matchers: [a=b]\n    target_matchers: [c=d]\ntime_intervals:\n  - name: night\n    time_intervals: [{times: [{start_time: '22:00', end_time: '24:00'}]}]\n";
        let documents = split(text, vec![("t".into(), r#"{{ define "x" }}y{{ end }}"#.into())]).unwrap();
        let names: Vec<String> =
            documents.iter().map(|(kind, name, _)| format!("{}/{name}", kind.as_str())).collect();
        assert_eq!(
            names,
            [
                "global/global",
                "route/route",
                "receiver/a",
                "receiver/b",
                "schedule/night",
                "inhibition/inhibition-1",
                "template/t"
            ]
        );
        let config = config(&documents).unwrap();
        assert_eq!(config.receivers.len(), 2);
        assert_eq!(config.route.routes[0].receiver, "b");
        assert_eq!(config.global.resolve_timeout.ms(), 180_000);
        assert_eq!(config.template_texts.len(), 1);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |kind, name: &str, content: &str, wanted: &str| {
            let err = config(&[(kind, name.to_owned(), content.to_owned())]).unwrap_err().to_string();
            assert!(err.contains(wanted), "{err}");
        };
        check(Kind::Receiver, "a", "name: b\n", "receiver \"a\": its field name must be \"a\" too");
        check(Kind::Route, "other", "receiver: a\n", "there is one route");
        check(Kind::Route, "route", "receiver: gone\n", "gone");
        check(Kind::Receiver, "a", "- 1\n", "a mapping is expected");
        assert!(config(&[]).is_ok());
    }
}
