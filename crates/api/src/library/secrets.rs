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
    let mut changed = false;
    restore(&mut tree, &before, &mut changed, "")?;
    Ok(if changed { yaml(&tree) } else { text.to_owned() })
}

fn restore(tree: &mut Value, before: &Value, changed: &mut bool, at: &str) -> Result<(), String> {
    match tree {
        Value::String(text) if text == HIDDEN => match before {
            Value::String(secret) if secret != HIDDEN => {
                text.clone_from(secret);
                *changed = true;
                Ok(())
            }
            _ => Err(format!(
                "{at}: {HIDDEN} stands for a secret that the last version does not have; give the secret"
            )),
        },
        Value::Object(map) => map.iter_mut().try_for_each(|(name, value)| {
            restore(value, &before[name.as_str()], changed, &format!("{at}/{name}"))
        }),
        Value::Array(items) => items
            .iter_mut()
            .enumerate()
            .try_for_each(|(index, value)| restore(value, &before[index], changed, &format!("{at}/{index}"))),
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
        assert!(err.contains("/webhook_configs/0/url"), "{err}");
        assert_eq!(hidden("# a comment\nname: a\n"), "# a comment\nname: a\n");
    }
}
