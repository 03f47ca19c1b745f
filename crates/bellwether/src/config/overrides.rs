//! Settings given outside the file: environment variables and flags, applied to the typed tree.

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Where an override came from; named in errors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A flag, without its dashes.
    Flag(String),
    /// An environment variable.
    Variable(String),
    /// A subcommand that chooses a role.
    Role(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "flag --{name}"),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Role(name) => write!(f, "subcommand {name}"),
        }
    }
}

/// One setting given outside the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Override {
    /// Field names from the root.
    pub path: Vec<String>,
    /// The value as text.
    pub text: String,
    /// Where it came from.
    pub origin: Origin,
}

/// A value that the setting does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: {text:?} is no value: {reason}")]
pub(crate) struct InvalidOverride {
    text: String,
    origin: Origin,
    reason: String,
}

/// Sets the field at `path` below `section`.
///
/// # Errors
/// [`InvalidOverride`] when the field does not take the value.
pub(crate) fn apply<T: Serialize + DeserializeOwned>(
    section: &mut T,
    path: &[String],
    given: &Override,
) -> Result<(), InvalidOverride> {
    let invalid =
        |reason: String| InvalidOverride { text: given.text.clone(), origin: given.origin.clone(), reason };
    let tree = serde_json::to_value(&*section).map_err(|err| invalid(err.to_string()))?;
    let mut first_error = None;
    // A number or truth value where the field takes one, else the text as it stands.
    let typed = serde_json::from_str::<Value>(&given.text)
        .ok()
        .filter(|value| value.is_number() || value.is_boolean());
    for candidate in typed.into_iter().chain([Value::String(given.text.clone())]) {
        let mut tree = tree.clone();
        let mut at = &mut tree;
        for name in path {
            let Value::Object(fields) = at else {
                return Err(invalid(format!("there is no field {name:?}")));
            };
            at = fields.entry(name.as_str()).or_insert(Value::Null);
        }
        *at = candidate;
        match yaml::from_json::<T>(tree) {
            Ok(changed) => {
                *section = changed;
                return Ok(());
            }
            Err(err) => first_error = first_error.or_else(|| Some(err.to_string())),
        }
    }
    Err(invalid(first_error.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Section {
        text: String,
        size: Option<u64>,
        inner: Inner,
    }

    #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        on: bool,
        every: model::duration::PromDuration,
    }

    fn section() -> Section {
        let inner = Inner { on: true, every: model::duration::PromDuration(15_000) };
        Section { text: "a".into(), size: None, inner }
    }

    fn set(path: &str, text: &str) -> Result<Section, String> {
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        let given = Override { path: path.clone(), text: text.into(), origin: Origin::Flag(path.join(".")) };
        let mut changed = section();
        apply(&mut changed, &path, &given).map(|()| changed).map_err(|err| err.to_string())
    }

    #[test]
    fn a_value_is_read_as_the_field_takes_it() {
        assert_eq!(set("size", "5").unwrap().size, Some(5));
        assert_eq!(set("text", "5").unwrap().text, "5");
        assert_eq!(set("text", "true").unwrap().text, "true");
        assert!(!set("inner.on", "false").unwrap().inner.on);
        assert_eq!(set("inner.every", "1m").unwrap().inner.every.ms(), 60_000);
    }

    #[test]
    fn a_wrong_value_names_flag_and_field() {
        let err = set("inner.every", "soon").unwrap_err();
        assert_eq!(
            err,
            r#"flag --inner.every: "soon" is no value: inner.every: not a valid duration string: "soon""#
        );
        assert!(set("size", "-1").is_err());
        assert!(set("inner.off", "true").is_err());
    }
}
