//! The routing tree: which options apply to an alert, and in which group it belongs.
//!
//! An alert walks down depth first: a node that matches hands it to its children; the first child that takes it ends
//! the walk unless it says `continue`; a node none of whose children takes it takes it itself. Source: the Alertmanager
//! manual, "Route-related settings".

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::duration::PromDuration;
use model::{Labels, Selector};

use crate::config;

/// What holds at a node, with what it inherits.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteOptions {
    /// Who is told.
    pub receiver: String,
    /// The labels that make a group.
    pub group_by: BTreeSet<String>,
    /// All labels make a group.
    pub group_by_all: bool,
    /// How long a new group waits.
    pub group_wait: PromDuration,
    /// How long until a changed group is sent again.
    pub group_interval: PromDuration,
    /// How long until an unchanged group is sent again.
    pub repeat_interval: PromDuration,
    /// Nothing is sent inside these intervals; not inherited.
    pub mute_time_intervals: Vec<String>,
    /// Nothing is sent outside these intervals; not inherited.
    pub active_time_intervals: Vec<String>,
    /// What templates find under `routeLabels`.
    pub labels: BTreeMap<String, String>,
}

impl Default for RouteOptions {
    fn default() -> Self {
        Self {
            receiver: String::new(),
            group_by: BTreeSet::new(),
            group_by_all: false,
            group_wait: PromDuration(30_000),
            group_interval: PromDuration(300_000),
            repeat_interval: PromDuration(4 * 3_600_000),
            mute_time_intervals: vec![],
            active_time_intervals: vec![],
            labels: BTreeMap::new(),
        }
    }
}

/// A node of the tree.
#[derive(Debug)]
pub struct Node {
    /// The node's place: `0`, `0/1` …; stable for a configuration.
    pub id: String,
    /// Alertmanager's text for it: its matchers and those above, joined by `/`.
    pub key: String,
    /// Its own matchers.
    pub matchers: Selector,
    /// What holds here.
    pub options: Arc<RouteOptions>,
    goes_on: bool,
    children: Vec<Arc<Node>>,
}

/// One step of the walk, for explaining it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Step {
    /// The node's key.
    pub key: String,
    /// Whether its matchers hold.
    pub matched: bool,
    /// The matcher that did not.
    pub failed: Option<String>,
    /// Whether the alert ended here.
    pub taken: bool,
}

/// The tree.
#[derive(Clone, Debug)]
pub struct Tree {
    root: Arc<Node>,
}

impl Tree {
    /// Builds the tree of a checked configuration.
    pub fn new(route: &config::Route) -> Result<Self, String> {
        Ok(Self { root: build(route, &RouteOptions::default(), None, "0".into())? })
    }

    /// The root.
    pub fn root(&self) -> &Arc<Node> {
        &self.root
    }

    /// The nodes that take an alert, in order; never empty.
    pub fn matches(&self, labels: &Labels) -> Vec<Arc<Node>> {
        let mut found = Vec::new();
        walk(&self.root, labels, &mut found);
        found
    }

    /// The walk of an alert, step by step.
    pub fn explain(&self, labels: &Labels) -> Vec<Step> {
        let mut steps = Vec::new();
        explain(&self.root, labels, &mut steps);
        steps
    }

    /// Every node, parents first.
    pub fn nodes(&self) -> Vec<Arc<Node>> {
        let (mut all, mut todo) = (Vec::new(), vec![self.root.clone()]);
        while let Some(node) = todo.pop() {
            todo.extend(node.children.iter().rev().cloned());
            all.push(node);
        }
        all
    }

    /// The tree as `amtool config routes show` draws it.
    pub fn draw(&self) -> String {
        let mut out = String::from("Routing tree:\n.\n");
        draw(&self.root, "", true, &mut out);
        out
    }
}

impl Tree {
    /// The nodes that an alert walks through, as `amtool config routes test --tree` draws them.
    pub fn draw_matching(&self, labels: &Labels) -> String {
        let mut out = String::from("Matching routes:\n.\n");
        draw_matching(&self.root, labels, "", true, &mut out);
        out
    }
}

impl Node {
    /// Its matchers in braces, or `default-route`.
    fn name(&self) -> String {
        let matchers: Vec<String> = self.matchers.iter().map(ToString::to_string).collect();
        if matchers.is_empty() { "default-route".to_owned() } else { format!("{{{}}}", matchers.join(",")) }
    }

    /// The labels that name the group of an alert.
    pub fn group_labels(&self, labels: &Labels) -> Labels {
        let options = &self.options;
        Labels::from_pairs(
            labels.iter().filter(|(name, _)| options.group_by_all || options.group_by.contains(*name)),
        )
    }
}

fn build(
    route: &config::Route,
    parent: &RouteOptions,
    parent_key: Option<&str>,
    id: String,
) -> Result<Arc<Node>, String> {
    let matchers = route.all_matchers()?;
    let shown: Vec<String> = matchers.iter().map(ToString::to_string).collect();
    let own = format!("{{{}}}", shown.join(","));
    let key = match parent_key {
        Some(parent) => format!("{parent}/{own}"),
        None => own,
    };
    let mut options = parent.clone();
    options.mute_time_intervals.clone_from(&route.mute_time_intervals);
    options.active_time_intervals.clone_from(&route.active_time_intervals);
    options.labels.extend(route.labels.iter().map(|(name, value)| (name.clone(), value.clone())));
    if !route.receiver.is_empty() {
        options.receiver.clone_from(&route.receiver);
    }
    match &route.group_by {
        Some(_) if route.groups_by_all() => options.group_by_all = true,
        Some(labels) => {
            options.group_by = labels.iter().cloned().collect();
            options.group_by_all = false;
        }
        None => {}
    }
    let intervals = [
        (&mut options.group_wait, route.group_wait),
        (&mut options.group_interval, route.group_interval),
        (&mut options.repeat_interval, route.repeat_interval),
    ];
    for (inherited, own) in intervals {
        if let Some(own) = own {
            *inherited = own;
        }
    }
    let children = route.routes.iter().enumerate();
    let children = children.map(|(at, child)| build(child, &options, Some(&key), format!("{id}/{at}")));
    let children = children.collect::<Result<_, _>>()?;
    Ok(Arc::new(Node { id, key, matchers, options: Arc::new(options), goes_on: route.goes_on, children }))
}

fn walk(node: &Arc<Node>, labels: &Labels, found: &mut Vec<Arc<Node>>) -> bool {
    if !model::matcher::selects(&node.matchers, labels) {
        return false;
    }
    let before = found.len();
    for child in &node.children {
        if walk(child, labels, found) && !child.goes_on {
            break;
        }
    }
    if found.len() == before {
        found.push(node.clone());
    }
    true
}

fn explain(node: &Arc<Node>, labels: &Labels, steps: &mut Vec<Step>) -> (bool, bool) {
    let failed =
        node.matchers.iter().find(|matcher| !matcher.matches_labels(labels)).map(ToString::to_string);
    let at = steps.len();
    steps.push(Step { key: node.key.clone(), matched: failed.is_none(), failed, taken: false });
    if !steps[at].matched {
        return (false, false);
    }
    let mut taken_below = false;
    for child in &node.children {
        let (matched, taken) = explain(child, labels, steps);
        taken_below |= taken;
        if matched && !child.goes_on {
            break;
        }
    }
    steps[at].taken = !taken_below;
    (true, true)
}

fn draw(node: &Node, indent: &str, last: bool, out: &mut String) {
    let branch = if last { "└── " } else { "├── " };
    let name = node.name();
    let goes_on = if node.goes_on { "  continue: true" } else { "" };
    out.push_str(&format!("{indent}{branch}{name}{goes_on}  receiver: {}\n", node.options.receiver));
    let indent = format!("{indent}{}", if last { "    " } else { "│   " });
    for (at, child) in node.children.iter().enumerate() {
        draw(child, &indent, at + 1 == node.children.len(), out);
    }
}

fn draw_matching(node: &Node, labels: &Labels, indent: &str, last: bool, out: &mut String) {
    let mut taken: Vec<&Arc<Node>> = Vec::new();
    for child in node.children.iter().filter(|child| model::matcher::selects(&child.matchers, labels)) {
        taken.push(child);
        if !child.goes_on {
            break;
        }
    }
    let branch = if last { "└── " } else { "├── " };
    out.push_str(&format!("{indent}{branch}{}", node.name()));
    if taken.is_empty() {
        out.push_str(&format!("  receiver: {}", node.options.receiver));
    }
    out.push('\n');
    let indent = format!("{indent}{}", if last { "    " } else { "│   " });
    for (at, child) in taken.iter().enumerate() {
        draw_matching(child, labels, &indent, at + 1 == taken.len(), out);
    }
}
