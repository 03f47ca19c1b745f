//! Where in the text something is that was found wrong after reading: checks say which value they mean by its path, and
//! only for an error is the text read again, with places.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use yaml::Spanned;

/// One step from a value to one inside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A field.
    Key(&'static str),
    /// An item of a list.
    Item(usize),
}

/// What is wrong, and with which value.
#[derive(Debug)]
pub(super) struct Fault {
    /// From the value to the root: the last step comes first.
    path: Vec<Step>,
    pub(super) reason: String,
}

impl<T: Into<String>> From<T> for Fault {
    fn from(reason: T) -> Self {
        Self { path: Vec::new(), reason: reason.into() }
    }
}

impl Fault {
    /// The same, seen from the value around.
    pub(super) fn within(mut self, step: Step) -> Self {
        self.path.push(step);
        self
    }

    /// The same, of an item of a list.
    pub(super) fn item(self, list: &'static str, index: usize) -> Self {
        self.within(Step::Item(index)).within(Step::Key(list))
    }

    /// Line and column, from 1, of the value, or of the one around it where it is not written down.
    pub(super) fn place(&self, text: &str) -> Option<(u64, u64)> {
        let root: Spanned<Node> = yaml::read(text).ok()?;
        let mut here = &root;
        for step in self.path.iter().rev() {
            let inner = match (step, &here.value) {
                (Step::Key(name), Node::Map(fields)) => {
                    fields.iter().find(|(key, _)| key == name).map(|(_, value)| value)
                }
                (Step::Item(index), Node::List(items)) => items.get(*index),
                _ => None,
            };
            let Some(inner) = inner else { break };
            here = inner;
        }
        let at = (here.referenced.line(), here.referenced.column());
        (!self.path.is_empty() && at.0 > 0).then_some(at)
    }
}

/// A text's values, as far as paths go.
enum Node {
    Map(Vec<(String, Spanned<Node>)>),
    List(Vec<Spanned<Node>>),
    Other,
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Node;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Node::Map(fields))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Node::List(items))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
                Ok(Node::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
                Ok(Node::Other)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
                Ok(Node::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
                Ok(Node::Other)
            }

            fn visit_str<E>(self, _: &str) -> Result<Node, E> {
                Ok(Node::Other)
            }

            fn visit_unit<E>(self) -> Result<Node, E> {
                Ok(Node::Other)
            }

            fn visit_none<E>(self) -> Result<Node, E> {
                Ok(Node::Other)
            }

            fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Node, D::Error> {
                Node::deserialize(from)
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, from: D) -> Result<Node, D::Error> {
                IgnoredAny::deserialize(from).map(|_| Node::Other)
            }
        }

        from.deserialize_any(Any)
    }
}
