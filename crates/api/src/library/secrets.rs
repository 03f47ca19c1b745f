//! Secrets in documents: never shown, and kept when an edited text comes back with their places marked.

use serde_json::Value;

/// What stands for a secret.
const HIDDEN: &str = alerts::config::HIDDEN;

/// A text with its secrets hidden; one without any stays as it was written.
pub(super) fn hidden(text: &str) -> String {
    let Ok(before) = yaml::read::<Value>(text) else { return "# cannot be shown\n".to_owned() };
    let mut tree = before.clone();
    alerts::config::hide_secrets(&mut tree);
    if tree == before { text.to_owned() } else { yaml(&tree) }
}

/// A text whose marks are replaced by the secrets of `before`; one without marks stays as it was written.
///
/// # Errors
/// Names the field whose secret is not known.
pub(super) fn restored(text: &str, before: Option<&str>) -> Result<String, String> {
    let mut tree: Value = yaml::read(text).map_err(|err| err.to_string())?;
    let before = before.and_then(|text| yaml::read(text).ok()).unwrap_or(Value::Null);
    let mut shown = before.clone();
    alerts::config::hide_secrets(&mut shown);
    let mut changed = false;
    restore(&mut tree, Before { secret: &before, shown: &shown }, &mut changed, "")?;
    Ok(if changed { yaml(&tree) } else { text.to_owned() })
}

/// Whether a field says where a secret beside it is sent.
fn is_address(name: &str) -> bool {
    ["url", "host", "target", "server", "address", "endpoint"].iter().any(|end| name.ends_with(end))
}

/// The addresses of an object that can be read, those of objects inside it included.
fn addresses(tree: &Value) -> Vec<(&str, &Value)> {
    let fields = tree.as_object().into_iter().flatten();
    let own = fields.flat_map(|(name, value)| match value {
        Value::Object(_) => addresses(value),
        Value::String(text) if is_address(name) && text != HIDDEN => vec![(name.as_str(), value)],
        _ => Vec::new(),
    });
    own.collect()
}

fn has_mark(tree: &Value) -> bool {
    match tree {
        Value::String(text) => text == HIDDEN,
        Value::Object(map) => map.values().any(has_mark),
        Value::Array(items) => items.iter().any(has_mark),
        _ => false,
    }
}

/// What was there before, and how that is shown.
#[derive(Clone, Copy)]
struct Before<'a> {
    secret: &'a Value,
    shown: &'a Value,
}

impl<'a> Before<'a> {
    fn field(self, name: &str) -> Self {
        Self { secret: &self.secret[name], shown: &self.shown[name] }
    }

    fn items(self) -> Vec<Self> {
        let list = |tree: &'a Value| tree.as_array().into_iter().flatten();
        list(self.secret).zip(list(self.shown)).map(|(secret, shown)| Self { secret, shown }).collect()
    }
}

/// The entry of `before` that `item` with marks was: the one that is shown the same, or at the same place when no entry was
/// added or removed.
fn earlier<'a>(item: &Value, index: usize, len: usize, before: &[Before<'a>]) -> Option<Before<'a>> {
    let mut same = before.iter().filter(|old| old.shown == item);
    match (same.next(), same.next()) {
        (Some(one), None) => Some(*one),
        _ => before.get(index).filter(|_| len == before.len()).copied(),
    }
}

fn restore(tree: &mut Value, before: Before<'_>, changed: &mut bool, at: &str) -> Result<(), String> {
    match tree {
        Value::String(text) if text == HIDDEN => match before.secret {
            Value::String(secret) if secret != HIDDEN => {
                text.clone_from(secret);
                *changed = true;
                Ok(())
            }
            _ => Err(format!(
                "{at}: {HIDDEN} stands for a secret that the last version does not have; give the secret"
            )),
        },
        Value::Object(_) if has_mark(tree) && addresses(tree) != addresses(before.shown) => {
            Err(format!("{at}: an address has changed, and {HIDDEN} would be sent there; give the secrets"))
        }
        Value::Object(map) => {
            map.iter_mut().filter(|(_, value)| has_mark(value)).try_for_each(|(name, value)| {
                restore(value, before.field(name), changed, &format!("{at}/{name}"))
            })
        }
        Value::Array(items) => {
            let (len, old) = (items.len(), before.items());
            items.iter_mut().enumerate().filter(|(_, item)| has_mark(item)).try_for_each(|(index, item)| {
                let at = format!("{at}/{index}");
                let old = earlier(item, index, len, &old).ok_or_else(|| {
                    format!("{at}: it is not known whose secret {HIDDEN} is, as entries were added or removed; give the secret")
                })?;
                restore(item, old, changed, &at)
            })
        }
        _ => Ok(()),
    }
}

fn yaml(tree: &Value) -> String {
    yaml::write(tree).unwrap_or_else(|err| format!("# cannot be shown: {err}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_come_back() {
        let text = "name: a\nwebhook_configs:\n  - url: http://x.example/hush\n    max_alerts: 3\n";
        let shown = hidden(text);
        assert!(!shown.contains("hush") && shown.contains(HIDDEN), "{shown}");
        let edited = shown.replace("max_alerts: 3", "max_alerts: 4");
        let stored = restored(&edited, Some(text)).unwrap();
        assert!(stored.contains("http://x.example/hush") && stored.contains("max_alerts: 4"), "{stored}");
        let err = restored(&edited, None).unwrap_err();
        assert!(err.contains("/webhook_configs/0: "), "{err}");
        assert_eq!(hidden("# a comment\nname: a\n"), "# a comment\nname: a\n");
    }

    #[test]
    fn a_secret_goes_nowhere_else() {
        let text = "name: a\npagerduty_configs:\n  - {routing_key: k1, client: one}\n  - {routing_key: k2, client: two}\n";
        let shown: Value = yaml::read(&hidden(text)).unwrap();
        let restored = |change: &dyn Fn(&mut Vec<Value>)| {
            let mut edited = shown.clone();
            change(edited["pagerduty_configs"].as_array_mut().unwrap());
            let stored = super::restored(&edited.to_string(), Some(text))?;
            let stored: Value = yaml::read(&stored).unwrap();
            let keys = stored["pagerduty_configs"].as_array().unwrap();
            Ok::<_, String>(
                keys.iter().map(|one| one["routing_key"].as_str().unwrap().to_owned()).collect::<Vec<_>>(),
            )
        };
        assert_eq!(restored(&|_| {}), Ok(vec!["k1".to_owned(), "k2".to_owned()]));
        // Moved or left alone, each keeps its own.
        assert_eq!(restored(&|list| list.swap(0, 1)), Ok(vec!["k2".to_owned(), "k1".to_owned()]));
        assert_eq!(restored(&|list| drop(list.remove(0))), Ok(vec!["k2".to_owned()]));
        // Edited otherwise.
        let edited = restored(&|list| list[1]["severity"] = "info".into());
        assert_eq!(edited, Ok(vec!["k1".to_owned(), "k2".to_owned()]));
        let err = restored(&|list| list[1]["url"] = "http://elsewhere.example".into()).unwrap_err();
        assert!(err.contains("/pagerduty_configs/1: an address has changed"), "{err}");
        let err = restored(&|list| {
            list.remove(0);
            list[0]["severity"] = "info".into();
        });
        assert!(err.unwrap_err().contains("it is not known whose secret"));
        // A proxy sees what passes.
        let err = restored(&|list| list[0]["http_config"] = serde_json::json!({"proxy_url": "http://p"}));
        assert!(err.unwrap_err().contains("an address has changed"));
    }

    #[test]
    fn hidden_addresses_stay_with_their_entries() {
        let text = "name: a\nwebhook_configs:\n  - {url: 'http://a.example/1', max_alerts: 1}\n  - {url: 'http://b.example/2'}\n";
        let mut shown: Value = yaml::read(&hidden(text)).unwrap();
        shown["webhook_configs"].as_array_mut().unwrap().remove(0);
        let stored = restored(&shown.to_string(), Some(text)).unwrap();
        assert!(stored.contains("b.example") && !stored.contains("a.example"), "{stored}");
    }
}
