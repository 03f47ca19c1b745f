//! Attributes as labels: of the resource, of the scope, of the point.

use std::collections::{BTreeMap, HashMap};

use model::labels::{METRIC_NAME, encode_pair};

use super::value::{key_value, plain, push};
use super::{Options, Promote, names};
use crate::proto::{Fields, Malformed, text};

const SERVICE_NAME: &str = "service.name";
const SERVICE_NAMESPACE: &str = "service.namespace";
const SERVICE_INSTANCE: &str = "service.instance.id";

/// Label names of attribute keys, computed once.
#[derive(Debug, Default)]
pub(super) struct LabelNames {
    by_key: HashMap<Box<str>, Option<u32>>,
    names: Vec<Box<str>>,
}

impl LabelNames {
    /// Forgets everything when there is more than `limit`.
    pub(super) fn bound(&mut self, limit: usize) {
        if self.by_key.len() > limit {
            self.by_key.clear();
            self.names.clear();
        }
    }

    fn index(&mut self, options: &Options, key: &str) -> Option<u32> {
        if let Some(index) = self.by_key.get(key) {
            return *index;
        }
        let index = names::label(options, key).map(|name| {
            self.names.push(name.into());
            (self.names.len() - 1) as u32
        });
        self.by_key.insert(key.into(), index);
        index
    }
}

/// Labels that every point of a scope has, and those of the resource's own series.
#[derive(Clone, Debug, Default)]
pub(super) struct Base {
    /// A point's attribute of the same name wins.
    weak: BTreeMap<String, String>,
    /// These win.
    strong: BTreeMap<String, String>,
    /// `None` when the resource names neither a job nor an instance, or nothing besides them.
    info: Option<BTreeMap<String, String>>,
}

impl Base {
    pub(super) fn of_resource(
        options: &Options,
        keys: &mut LabelNames,
        resource: &[u8],
    ) -> Result<Self, Malformed> {
        let mut all: Vec<(&str, String)> = Vec::new();
        let mut fields = Fields(resource);
        while let Some((number, field)) = fields.next()? {
            if number == 1 {
                let (key, value) = key_value(field.bytes()?)?;
                let mut text = String::new();
                push(&mut text, value, 0)?;
                all.push((key, text));
            }
        }
        // Sorted, so that keys which become one label are joined in one order.
        all.sort_by_key(|(key, _)| *key);
        let get = |key: &str| all.iter().find(|(k, _)| *k == key).map(|(_, value)| value.as_str());
        let mut base = Self::default();
        if let Some(name) = get(SERVICE_NAME) {
            let job = match get(SERVICE_NAMESPACE) {
                Some(namespace) => format!("{namespace}/{name}"),
                None => name.to_owned(),
            };
            base.strong.insert("job".into(), job);
        }
        if let Some(instance) = get(SERVICE_INSTANCE) {
            base.strong.insert("instance".into(), instance.to_owned());
        }
        let identifying = |key: &str| [SERVICE_NAME, SERVICE_NAMESPACE, SERVICE_INSTANCE].contains(&key);
        let mut info = BTreeMap::new();
        for (key, value) in all.iter().filter(|(_, value)| !value.is_empty()) {
            let Some(index) = keys.index(options, key) else { continue };
            let name = &*keys.names[index as usize];
            if !identifying(key) || options.keep_identifying {
                join(&mut info, name, value);
            }
            let promoted = match &options.promote {
                Promote::AllBut(except) => !except.iter().any(|k| k == key),
                Promote::Only(these) => these.iter().any(|k| k == key),
            };
            if promoted {
                base.weak.entry(name.to_owned()).or_insert_with(|| value.clone());
            }
        }
        let others = all.iter().any(|(key, _)| !identifying(key));
        if !base.strong.is_empty() && others {
            info.extend(base.strong.clone());
            info.insert(METRIC_NAME.into(), "target_info".into());
            base.info = Some(info);
        }
        base.drop_shadowed();
        Ok(base)
    }

    pub(super) fn add_scope(
        &mut self,
        options: &Options,
        keys: &mut LabelNames,
        scope: &[u8],
        schema: &str,
    ) -> Result<(), Malformed> {
        let (mut name, mut version) = ("", "");
        let mut fields = Fields(scope);
        let mut labels = BTreeMap::new();
        while let Some((number, field)) = fields.next()? {
            match number {
                1 => name = text(field.bytes()?)?,
                2 => version = text(field.bytes()?)?,
                3 => {
                    let (key, value) = key_value(field.bytes()?)?;
                    let mut text = String::new();
                    push(&mut text, value, 0)?;
                    if let Some(index) = keys.index(options, &format!("otel_scope_{key}")) {
                        labels.insert(keys.names[index as usize].to_string(), text);
                    }
                }
                _ => {}
            }
        }
        if !name.is_empty() {
            for (label, value) in [
                ("otel_scope_name", name),
                ("otel_scope_version", version),
                ("otel_scope_schema_url", schema),
            ] {
                labels.insert(label.into(), value.into());
            }
            labels.retain(|_, value| !value.is_empty());
            for (label, value) in labels {
                // The job and the instance win over everything.
                self.strong.entry(label).or_insert(value);
            }
            self.drop_shadowed();
        }
        Ok(())
    }

    fn drop_shadowed(&mut self) {
        let strong = &self.strong;
        self.weak.retain(|name, value| !value.is_empty() && !strong.contains_key(name));
    }

    /// The labels of the resource's own series.
    pub(super) fn target_info(&self) -> Option<impl Iterator<Item = (&str, &str)>> {
        let info = self.info.as_ref()?;
        Some(info.iter().filter(|(_, value)| !value.is_empty()).map(|(n, v)| (n.as_str(), v.as_str())))
    }
}

/// Keys that become one label: their values are joined.
fn join(labels: &mut BTreeMap<String, String>, name: &str, value: &str) {
    match labels.get_mut(name) {
        Some(known) => {
            known.push(';');
            known.push_str(value);
        }
        None => {
            labels.insert(name.to_owned(), value.to_owned());
        }
    }
}

/// A piece of the message or of the scratch text.
#[derive(Clone, Copy, Debug)]
enum Text<'a> {
    Body(&'a str),
    Scratch(u32, u32),
}

/// Reads the attributes of a point.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    scratch: String,
}

/// The labels of a point, ascending by name, all but the metric's name and what belongs to a part of the metric.
pub(super) struct PointLabels<'s>(Vec<(&'s str, &'s str)>);

impl Attributes {
    /// Merges a point's attributes with what its resource and scope give.
    pub(super) fn merge<'s, 'a: 's>(
        &'s mut self,
        options: &Options,
        keys: &'s mut LabelNames,
        base: &'s Base,
        attributes: &[&'a [u8]],
    ) -> Result<PointLabels<'s>, Malformed> {
        self.scratch.clear();
        let mut found: Vec<(&'a str, u32, Text<'a>)> = Vec::with_capacity(attributes.len());
        for body in attributes {
            let (key, value) = key_value(body)?;
            let text = match plain(value)? {
                Some("") => continue,
                Some(text) => Text::Body(text),
                None => {
                    let start = self.scratch.len();
                    push(&mut self.scratch, value, 0)?;
                    if start == self.scratch.len() {
                        continue;
                    }
                    Text::Scratch(start as u32, self.scratch.len() as u32)
                }
            };
            if let Some(index) = keys.index(options, key) {
                found.push((key, index, text));
            }
        }
        let names = &keys.names;
        let name_of = |index: u32| &*names[index as usize];
        // By key within a name, so that keys which become one label are joined in one order.
        let sorted = found.is_sorted_by(|a, b| name_of(a.1) < name_of(b.1));
        if !sorted {
            found.sort_by(|a, b| name_of(a.1).cmp(name_of(b.1)).then(a.0.cmp(b.0)));
            let mut at = 0;
            while at + 1 < found.len() {
                if found[at].1 != found[at + 1].1 && name_of(found[at].1) != name_of(found[at + 1].1) {
                    at += 1;
                    continue;
                }
                let start = self.scratch.len();
                for (i, (_, _, text)) in [found[at], found[at + 1]].into_iter().enumerate() {
                    if i > 0 {
                        self.scratch.push(';');
                    }
                    match text {
                        Text::Body(text) => self.scratch.push_str(text),
                        Text::Scratch(from, to) => {
                            self.scratch.extend_from_within_str(from as usize, to as usize);
                        }
                    }
                }
                found[at].2 = Text::Scratch(start as u32, self.scratch.len() as u32);
                found.remove(at + 1);
            }
        }
        let scratch = self.scratch.as_str();
        let value_of = |text: Text<'a>| -> &'s str {
            match text {
                Text::Body(text) => text,
                Text::Scratch(from, to) => scratch.get(from as usize..to as usize).unwrap_or_default(),
            }
        };
        let mut merged: Vec<(&'s str, &'s str)> =
            Vec::with_capacity(found.len() + base.weak.len() + base.strong.len());
        let own = found.iter().filter(|(_, index, _)| !base.strong.contains_key(name_of(*index)));
        merged.extend(own.map(|(_, index, text)| (name_of(*index), value_of(*text))));
        let own = merged.len();
        for (name, value) in &base.weak {
            if !merged[..own].iter().any(|(n, _)| n == name) {
                merged.push((name, value));
            }
        }
        merged.extend(base.strong.iter().map(|(n, v)| (n.as_str(), v.as_str())));
        if merged.len() > own {
            merged.sort_unstable_by_key(|(name, _)| *name);
        }
        Ok(PointLabels(merged))
    }
}

/// `String::extend_from_within` for a range that is on character boundaries.
trait ExtendFromWithin {
    fn extend_from_within_str(&mut self, from: usize, to: usize);
}

impl ExtendFromWithin for String {
    fn extend_from_within_str(&mut self, from: usize, to: usize) {
        let piece = self.get(from..to).unwrap_or_default().to_owned();
        self.push_str(&piece);
    }
}

impl PointLabels<'_> {
    /// Writes the canonical labels of the series `name`, with one label more for a part of the metric (`le`, `quantile`).
    pub(super) fn encode(&self, out: &mut Vec<u8>, name: &str, part: Option<(&str, &str)>) {
        out.clear();
        let mut special = [Some((METRIC_NAME, name)), part].into_iter().flatten().peekable();
        for (label, value) in &self.0 {
            while let Some((own, text)) = special.next_if(|(own, _)| own < label) {
                encode_pair(out, own, text);
            }
            if special.peek().is_none_or(|(own, _)| own != label) {
                encode_pair(out, label, value);
            }
        }
        for (own, text) in special {
            encode_pair(out, own, text);
        }
    }
}
