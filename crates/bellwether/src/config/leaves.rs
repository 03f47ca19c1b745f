//! The scalar settings of a configuration tree, found in its JSON schema: what becomes a flag, an environment variable and a
//! line of the reference.

use serde_json::Value;

/// One scalar setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    /// Field names from the root, as in the file: `["storage", "retention", "time"]`.
    pub path: Vec<String>,
    /// The field's documentation.
    pub help: String,
    /// The default as it would be written in the file; `None` when there is none.
    pub default: Option<String>,
    /// Whether it is a truth value, so that the flag may stand alone.
    pub is_bool: bool,
    /// The allowed words, when they are few.
    pub choices: Vec<String>,
}

impl Leaf {
    /// The flag: `storage.retention.time`, underscores as hyphens.
    pub(crate) fn flag(&self) -> String {
        self.path.join(".").replace('_', "-")
    }

    /// The environment variable: `BELLWETHER_STORAGE_RETENTION_TIME`.
    pub(crate) fn variable(&self) -> String {
        format!("BELLWETHER_{}", self.path.join("_").to_uppercase())
    }
}

/// Lists the scalar settings of `schema`, in its order. Lists and maps are not scalars.
pub(crate) fn leaves(schema: &Value) -> Vec<Leaf> {
    let mut found = Vec::new();
    walk(schema, schema, &mut Vec::new(), &mut found);
    found
}

fn walk(root: &Value, schema: &Value, path: &mut Vec<String>, found: &mut Vec<Leaf>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    for (name, property) in properties {
        path.push(name.clone());
        let target = resolve(root, property);
        if target.get("properties").is_some() {
            walk(root, target, path, found);
        } else if let Some(leaf) = leaf(property, target, path) {
            found.push(leaf);
        }
        path.pop();
    }
}

/// Follows `$ref`, a lone `allOf`, and `anyOf` with `null`.
fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix("#/$defs/")) {
        return root
            .get("$defs")
            .and_then(|defs| defs.get(name))
            .map_or(schema, |target| resolve(root, target));
    }
    for key in ["allOf", "anyOf"] {
        let Some(options) = schema.get(key).and_then(Value::as_array) else { continue };
        let mut real =
            options.iter().filter(|option| option.get("type").and_then(Value::as_str) != Some("null"));
        if let (Some(only), None) = (real.next(), real.next()) {
            return resolve(root, only);
        }
    }
    schema
}

fn leaf(property: &Value, target: &Value, path: &[String]) -> Option<Leaf> {
    let kind = |name: &str| match target.get("type") {
        Some(Value::String(kind)) => kind == name,
        Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == name),
        _ => false,
    };
    let words = |value: &Value| {
        value.as_array().map(|words| words.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    };
    let choices: Vec<String> = match (target.get("enum"), target.get("oneOf").and_then(Value::as_array)) {
        (Some(list), _) => words(list).unwrap_or_default(),
        (None, Some(options)) => options
            .iter()
            .filter_map(|option| option.get("const").and_then(Value::as_str))
            .map(str::to_owned)
            .collect(),
        _ => Vec::new(),
    };
    let scalar =
        ["string", "integer", "number", "boolean"].iter().any(|name| kind(name)) || !choices.is_empty();
    if !scalar {
        return None;
    }
    let text = |schema: &Value| schema.get("description").and_then(Value::as_str).map(str::to_owned);
    let default = property.get("default").filter(|value| !value.is_null()).map(|value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    });
    Some(Leaf {
        path: path.to_vec(),
        help: text(property).or_else(|| text(target)).unwrap_or_default(),
        default,
        is_bool: kind("boolean"),
        choices,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Serialize, schemars::JsonSchema)]
    #[serde(rename_all = "lowercase")]
    #[expect(dead_code, reason = "only its schema is used")]
    enum Level {
        /// Little.
        Info,
        /// Much.
        Debug,
    }

    #[derive(serde::Serialize, schemars::JsonSchema)]
    struct Inner {
        /// How long.
        #[schemars(default)]
        keep_for: model::duration::PromDuration,
        /// How much.
        size: Option<u64>,
        /// Not a scalar.
        list: Vec<String>,
    }

    #[derive(serde::Serialize, schemars::JsonSchema)]
    struct Tree {
        /// On or off.
        #[schemars(default)]
        on: bool,
        inner: Inner,
        /// How talkative.
        level: Level,
    }

    #[test]
    fn scalars_are_found_at_every_depth() {
        let schema = serde_json::to_value(schemars::schema_for!(Tree)).unwrap();
        let found = leaves(&schema);
        let flags: Vec<String> = found.iter().map(Leaf::flag).collect();
        assert_eq!(flags, ["on", "inner.keep-for", "inner.size", "level"]);
        assert_eq!(found[1].variable(), "BELLWETHER_INNER_KEEP_FOR");
        assert_eq!((found[0].is_bool, found[0].default.as_deref()), (true, Some("false")));
        assert_eq!(found[1].help, "How long.");
        assert_eq!(found[1].default.as_deref(), Some("0s"));
        assert_eq!(found[3].choices, ["info", "debug"]);
    }
}
