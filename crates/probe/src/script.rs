//! The settings of a script: HTTP requests one after another, each made from what the ones before it brought.
//!
//! `${name}` in a URL, header or body is a variable: `target`, `hostname`, those of `variables`, and what earlier steps extract.
//! `$$` is a dollar sign. Names are checked when the file is read, so that a script cannot fail over a misspelt one.

use std::collections::{BTreeMap, BTreeSet};

use httpc::config::httpc_yes;
use model::duration::PromDuration;
use serde::Deserialize;

use crate::config::{HeaderMatch, HttpProbe, Pattern, Protocol};

/// Steps of a script.
const MAX_STEPS: usize = 100;

httpc::with_http_fields! {
    /// Settings of scripts.
    pub struct ScriptProbe {
        /// Which addresses are used.
        #[serde(default)]
        #[schemars(skip)]
        pub preferred_ip_protocol: Protocol,
        /// Whether the other kind of address will do.
        #[serde(default = "httpc_yes")]
        pub ip_protocol_fallback: bool,
        /// `gzip`, `deflate` or `br`: how answers are compressed.
        #[serde(default)]
        pub compression: String,
        /// Headers of every request.
        #[serde(default)]
        pub headers: BTreeMap<String, String>,
        /// Values by name.
        #[serde(default)]
        pub variables: BTreeMap<String, String>,
        /// The requests, in order. The first that fails ends the script.
        #[serde(default)]
        #[schemars(skip)]
        pub steps: Vec<Step>,
    }
}

impl Default for ScriptProbe {
    fn default() -> Self {
        yaml::read("{}").expect("every field has a default")
    }
}

/// One request and what its answer must be.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Unique; the label `step`.
    pub name: String,
    /// The URL; what begins with `/` is relative to the step before, the first time to the target.
    pub url: String,
    /// `GET` when empty.
    #[serde(default)]
    pub method: String,
    /// Headers of this request.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The body that is sent.
    #[serde(default)]
    pub body: String,
    /// What the answer must be.
    #[serde(default)]
    pub expect: Expect,
    /// What is taken from the answer.
    #[serde(default)]
    pub extract: Vec<Extract>,
}

/// What an answer must be.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Expect {
    /// Statuses that are right; 2xx when empty.
    pub status: Vec<u16>,
    /// The body must match all.
    pub body_matches: Vec<Pattern>,
    /// The body must match none.
    pub body_not_matches: Vec<Pattern>,
    /// Headers that must match.
    pub headers: Vec<HeaderMatch>,
    /// Places in the JSON body.
    pub json: Vec<JsonCheck>,
    /// How long the step may take, redirects and body included.
    pub max_duration: Option<PromDuration>,
}

/// What must be at a place of a JSON body; without `equals` and `matches` it must be there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonCheck {
    /// The place, as RFC 6901 writes it: `/items/0/id`.
    pub pointer: String,
    /// The value, exactly.
    #[serde(default)]
    pub equals: Option<serde_json::Value>,
    /// What the value as text must match.
    #[serde(default)]
    pub matches: Option<Pattern>,
}

/// A value taken from an answer: exactly one of `json`, `regexp` and `header` alone, or `header` with `regexp`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extract {
    /// The variable.
    pub name: String,
    /// A place in the JSON body.
    #[serde(default)]
    pub json: Option<String>,
    /// A header.
    #[serde(default)]
    pub header: Option<String>,
    /// In the body, or in the header: the first group, or the whole match when it has none.
    #[serde(default)]
    pub regexp: Option<Pattern>,
}

impl ScriptProbe {
    /// How its requests are made.
    pub(crate) fn requests(&self) -> HttpProbe {
        let mut http = HttpProbe {
            preferred_ip_protocol: self.preferred_ip_protocol,
            ip_protocol_fallback: self.ip_protocol_fallback,
            compression: self.compression.clone(),
            ..HttpProbe::default()
        };
        http.set_http(self.http());
        http
    }

    /// # Errors
    /// What is wrong.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.http().validate().map_err(|err| err.to_string())?;
        crate::config::check_compression(&self.compression, None)?;
        if !self.proxy_url.is_empty() {
            self.requests().proxy_for(false, "").map_err(|wrong| format!("proxy_url: {wrong}"))?;
        }
        if self.steps.is_empty() || self.steps.len() > MAX_STEPS {
            return Err(format!("steps: there must be 1 to {MAX_STEPS}"));
        }
        let mut known: BTreeSet<&str> = ["target", "hostname"].into();
        known.extend(self.variables.keys().map(String::as_str));
        for value in self.headers.values() {
            uses(value, &known)?;
        }
        let mut names = BTreeSet::new();
        for step in &self.steps {
            step.check(&mut known).map_err(|wrong| format!("steps: {:?}: {wrong}", step.name))?;
            if !names.insert(&step.name) {
                return Err(format!("steps: the name {:?} is given twice", step.name));
            }
        }
        Ok(())
    }
}

impl Step {
    fn check<'a>(&'a self, known: &mut BTreeSet<&'a str>) -> Result<(), String> {
        if self.name.is_empty() || self.url.is_empty() {
            return Err("a step needs a name and a url".into());
        }
        for text in self.headers.values().chain([&self.url, &self.body]) {
            uses(text, known)?;
        }
        for check in &self.expect.json {
            pointer(&check.pointer)?;
        }
        for one in &self.extract {
            let wrong = |what: &str| format!("extract: {:?}: {what}", one.name);
            match (&one.json, &one.header, &one.regexp) {
                (Some(place), None, None) => pointer(place).map_err(|err| wrong(&err))?,
                (None, Some(_), _) | (None, None, Some(_)) => {}
                _ => return Err(wrong("give json, or regexp, or header, or header with regexp")),
            }
            if one.name.is_empty() || ["target", "hostname"].contains(&one.name.as_str()) {
                return Err(wrong("this cannot be a variable's name"));
            }
            known.insert(&one.name);
        }
        Ok(())
    }
}

fn pointer(text: &str) -> Result<(), String> {
    match text.is_empty() || text.starts_with('/') {
        true => Ok(()),
        false => Err(format!("{text:?} is no JSON pointer: it must begin with /")),
    }
}

/// Calls `found` for each variable of a text, and `plain` for what is between them.
fn parts(
    text: &str,
    mut plain: impl FnMut(&str),
    mut found: impl FnMut(&str) -> Result<(), String>,
) -> Result<(), String> {
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        plain(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            plain("$");
            rest = after;
        } else if let Some(after) = rest.strip_prefix('{') {
            let (name, after) =
                after.split_once('}').ok_or_else(|| format!("{text:?} has a ${{ without }}"))?;
            found(name)?;
            rest = after;
        } else {
            plain("$");
        }
    }
    plain(rest);
    Ok(())
}

fn uses(text: &str, known: &BTreeSet<&str>) -> Result<(), String> {
    parts(
        text,
        |_| {},
        |name| match known.contains(name) {
            true => Ok(()),
            false => Err(format!("${{{name}}} is not known here")),
        },
    )
}

/// Puts the values in the variables' places.
pub(crate) fn fill(text: &str, values: &BTreeMap<String, String>) -> Result<String, String> {
    let out = std::cell::RefCell::new(String::with_capacity(text.len()));
    parts(
        text,
        |plain| out.borrow_mut().push_str(plain),
        |name| {
            let value = values.get(name).ok_or_else(|| format!("${{{name}}} has no value"))?;
            out.borrow_mut().push_str(value);
            Ok(())
        },
    )?;
    Ok(out.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Modules;

    #[test]
    fn variables_are_filled_in() {
        let values = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        assert_eq!(fill("x${a}y$$z$", &values).unwrap(), "x1y$z$");
        assert!(fill("${b}", &values).is_err());
    }

    #[test]
    fn a_script_cannot_name_what_it_does_not_have() {
        let script = |steps: &str| {
            Modules::parse(&format!("modules: {{a: {{prober: script, script: {{steps: {steps}}}}}}}"))
        };
        assert!(
            script(
                "[{name: a, url: '${target}/x', extract: [{name: t, json: /t}]}, {name: b, url: '/${t}'}]"
            )
            .is_ok()
        );
        let said = script("[{name: b, url: '/${t}'}]").unwrap_err();
        assert!(said.contains("${t} is not known here"), "{said}");
        assert!(script("[]").is_err());
        assert!(script("[{name: a, url: /}, {name: a, url: /}]").unwrap_err().contains("twice"));
        assert!(script("[{name: a, url: /, extract: [{name: t, json: x}]}]").is_err());
    }
}
