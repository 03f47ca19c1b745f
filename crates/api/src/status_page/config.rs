//! Settings of the public status page.

use model::InvalidField;
use model::duration::PromDuration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The public status page. It exists when there are components.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StatusPageConfig {
    /// Address and port of the page's own listener; `:8080` answers every network. Empty: no listener here (`bellwether
    /// status-page` serves it elsewhere).
    pub listen_address: String,
    /// The page's title.
    pub title: String,
    /// A line below the title.
    pub about: String,
    /// The URL under which people reach the page, for links in feeds.
    pub url: String,
    /// How often the components are judged.
    pub interval: PromDuration,
    /// Most connections that the page's listener has open at once.
    pub max_connections: usize,
    /// Most incidents that are kept; the oldest that are over go first.
    pub max_incidents: usize,
    /// Most webhooks that are told.
    pub max_webhooks: usize,
    /// What the page shows, in its order.
    pub components: Vec<ComponentConfig>,
}

impl Default for StatusPageConfig {
    fn default() -> Self {
        Self {
            listen_address: String::new(),
            title: "Status".into(),
            about: String::new(),
            url: String::new(),
            interval: PromDuration(30_000),
            max_connections: 1024,
            max_incidents: 2000,
            max_webhooks: 200,
            components: Vec::new(),
        }
    }
}

/// A component of the status page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ComponentConfig {
    /// Short name in addresses and events: letters, digits, `-`, `_`.
    pub id: String,
    /// Name for people; the id when empty.
    pub name: String,
    /// Heading that it stands under.
    pub group: String,
    /// One line more.
    pub description: String,
    /// PromQL: values of 1 for what works, 0 for what does not; their mean is the share that works.
    pub expr: String,
    /// A share below this is degraded.
    pub degraded_below: f64,
    /// A share below this is an outage.
    pub outage_below: f64,
}

impl Default for ComponentConfig {
    fn default() -> Self {
        Self {
            id: String::new(),
            name: String::new(),
            group: String::new(),
            description: String::new(),
            expr: String::new(),
            degraded_below: 1.0,
            outage_below: 0.5,
        }
    }
}

impl ComponentConfig {
    /// The share that works, as PromQL.
    pub(crate) fn share(&self) -> String {
        // On lines of its own: it may end in a comment.
        format!("avg(clamp(\n{}\n, 0, 1))", self.expr)
    }

    fn wrong(&self, options: &promql::Options) -> Option<InvalidField> {
        let wrong = |field: &str, message: String| Some(InvalidField::new(field, message));
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.id.is_empty() || self.id.len() > 64 || !self.id.chars().all(plain) {
            return wrong("id", format!("{:?}: give 1 to 64 letters, digits, - or _", self.id));
        }
        let (out, degraded) = (self.outage_below, self.degraded_below);
        if !(0.0 <= out && out <= degraded && degraded <= 1.0) {
            let text = format!("{out}, and degraded_below is {degraded}: they must be in order, from 0 to 1");
            return wrong("outage_below", text);
        }
        if self.expr.trim().is_empty() {
            return wrong("expr", format!("it is empty: what says whether {:?} works?", self.id));
        }
        if let Err(err) = promql::parse(&self.expr, options) {
            return wrong("expr", err.to_string());
        }
        let share = promql::parse(&self.share(), options);
        share.err().and_then(|err| wrong("expr", format!("it must be an instant vector: {err}")))
    }

    pub(crate) fn title(&self) -> &str {
        if self.name.is_empty() { &self.id } else { &self.name }
    }
}

impl StatusPageConfig {
    /// Says what is wrong with the settings.
    ///
    /// # Errors
    /// The setting, and why.
    pub fn check(&self, options: &promql::Options) -> Result<(), InvalidField> {
        self.wrong(options).map_or(Ok(()), |wrong| Err(wrong.within("status_page")))
    }

    fn wrong(&self, options: &promql::Options) -> Option<InvalidField> {
        let wrong = |field: &str, message: String| Some(InvalidField::new(field, message));
        if self.interval.ms() < 1000 {
            return wrong("interval", format!("{} is too short: give 1s or more", self.interval));
        }
        if !self.url.is_empty() && !self.url.starts_with("https://") && !self.url.starts_with("http://") {
            return wrong("url", format!("{:?} must begin with https:// or http://", self.url));
        }
        for (name, bound) in [
            ("max_connections", self.max_connections),
            ("max_incidents", self.max_incidents),
            ("max_webhooks", self.max_webhooks),
        ] {
            if bound == 0 {
                return wrong(name, "give 1 or more".into());
            }
        }
        if self.components.is_empty() && !self.listen_address.is_empty() {
            return wrong("listen_address", "a page needs status_page.components".into());
        }
        if self.components.len() > 500 {
            return wrong("components", format!("{} entries, at most 500", self.components.len()));
        }
        let mut known = std::collections::HashSet::new();
        for (index, one) in self.components.iter().enumerate() {
            if !known.insert(&one.id) {
                let twice = InvalidField::new("id", format!("there are two components {:?}", one.id));
                return Some(twice.item("components", index));
            }
            if let Some(wrong) = one.wrong(options) {
                return Some(wrong.item("components", index));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(component: ComponentConfig) -> Result<(), String> {
        let config = StatusPageConfig { components: vec![component], ..StatusPageConfig::default() };
        config.check(&promql::Options::default()).map_err(|wrong| wrong.to_string())
    }

    #[test]
    fn what_is_wrong_is_named() {
        let good = ComponentConfig { id: "shop".into(), expr: "up".into(), ..ComponentConfig::default() };
        assert_eq!(check(good.clone()), Ok(()));
        let bad = |change: fn(&mut ComponentConfig)| {
            let mut one = good.clone();
            change(&mut one);
            check(one).unwrap_err()
        };
        assert!(bad(|one| one.id = "a b".into()).contains("status_page.components[0].id"));
        assert!(bad(|one| one.expr = "up{".into()).contains("components[0].expr"));
        assert!(bad(|one| one.expr = "up[5m]".into()).contains("must be an instant vector"));
        assert!(bad(|one| one.outage_below = 2.0).contains("in order"));
        let twice = StatusPageConfig { components: vec![good.clone(), good], ..StatusPageConfig::default() };
        assert!(twice.check(&promql::Options::default()).unwrap_err().message.contains("two components"));
    }
}
